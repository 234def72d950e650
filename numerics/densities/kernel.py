"""Measures known by their density: distribution function and quantiles by quadrature in the Lamperti coordinate."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from numerics.densities.base import Array, Function, Measure
from numerics.densities.integrals import NODES, WEIGHTS, by_panels
from numerics.densities.panels import Panels, settled_panels

_BLOCK = 1 << 13  # points at a time: temporaries stay in the cache
_FAR = 1e3  # widths from an end beyond which offsets from the centre are the better variable
_GRID = 2000  # points at which the scale of states is looked at
_RESOLVED = 1e-6  # how far the scale of the next double may be off


class KernelDensity(ABC):
    """The density of a law on an interval, in logarithms."""

    @abstractmethod
    def at(self, y: Array, offset: Array) -> Array:
        """Per unit of y, at points y whose offsets from the centre are given too, as one may have lost digits of the other."""

    @abstractmethod
    def per_x(self, x: Array) -> Array:
        """Per unit of x."""

    @abstractmethod
    def log_scale(self, x: Array) -> Array:
        """Logarithm of |dx/dy|."""


@dataclass(frozen=True)
class KernelMeasure(Measure):
    r"""A density on an interval, smooth in a coordinate y over (low, high).

    Integrals are taken with Gauss–Legendre rules on panels that are halved until the rule has settled. Towards a finite end the density is
    a power :math:`y^p`, and what lies between the end and the first panel is :math:`y\,q(y)/(1 + p)`. A tail is counted from its own
    end up to the median, and from there on is what the other tail leaves, so that neither cancels, and both add up to the mass.

    Parameters
    ----------
    left, right : float
        The interval.
    coordinate, back : callable
        Points x inside the interval to y, and y to x.
    direction : int
        1 if y grows with x, else −1.
    low, high : float
        The range of y.
    powers : pair of float or None
        p at the ends of that range; None at infinite ones.
    centre, width : float
        Where the mass starts from, and a scale on which the density of y changes.
    density : KernelDensity
    known_mass : float or None
        Its integral, if that is known to more digits than by the sum over the panels.
    sample : callable or None
        Generator and number to exact samples; None to draw by inversion.
    features : tuple of float
        Values of y between which the density may change on scales of its own.
    apart : callable or None
        Offsets from the centre, in y, to the differences between the states there and at the centre, to all digits.
    """

    left: float
    right: float
    coordinate: Callable[[Array], Array]
    back: Callable[[Array], Array]
    direction: int
    low: float
    high: float
    powers: tuple[float | None, float | None]
    centre: float
    width: float
    density: KernelDensity
    known_mass: float | None
    sample: Callable[[np.random.Generator, int], Array] | None = field(default=None)
    features: tuple[float, ...] = field(default=())
    apart: Callable[[Array], Array] | None = field(default=None)

    @property
    def support(self) -> tuple[float, float]:  # type: ignore[override]
        """The whole interval."""
        return self.left, self.right

    @cached_property
    def mass(self) -> float:  # type: ignore[override]
        """The integral of the density."""
        total = self._panels.total
        if self.known_mass is None:
            return total
        if abs(total - self.known_mass) > 1e-8:
            raise ValueError(
                f"the density sums to {total:.12g} instead of {self.known_mass:.12g}: it cannot be resolved in double precision "
                "from this start at this time; use the law's own formulas, which are exact"
            )
        # a small remainder is known better by its density than by what is missing from 1
        return self.known_mass if self.known_mass > 1e-3 else total

    @cached_property
    def _by_offset(self) -> bool:
        room = min(self.centre - self.low, self.high - self.centre, abs(self.centre))
        return room > _FAR * self.width

    @cached_property
    def _shift(self) -> float:
        """What is added to the variable of the panels to give y."""
        return self.centre if self._by_offset else 0.0

    def _log_at(self, s: Array) -> Array:
        """The logarithm of the density in the panels' variable; nothing outside or where it is no number."""
        y, offset = (s + self.centre, s) if self._by_offset else (s, s - self.centre)
        with np.errstate(all="ignore"):
            value = self.density.at(y, offset)
        return np.where((y > self.low) & (y < self.high) & ~np.isnan(value), value, -np.inf)

    @cached_property
    def _panels(self) -> Panels:
        low, high = self.low - self._shift, self.high - self._shift
        features = np.array(self.features) - self._shift
        return settled_panels(self._log_at, low, high, self.centre - self._shift, self.width, self.powers, features)

    def logpdf(self, x: ArrayLike) -> Array:
        """Logarithm of the density; minus infinity outside."""
        return self._on_interval(self.density.per_x, x, -np.inf, -np.inf)

    def pdf(self, x: ArrayLike) -> Array:
        """Density; 0 outside."""
        return self._on_interval(lambda inner: np.exp(self.density.per_x(inner)), x, 0.0, 0.0)

    def cdf(self, x: ArrayLike) -> Array:
        """Probability up to x, by quadrature."""
        return self._on_interval(lambda inner: self._tail(inner, self.direction < 0), x, 0.0, self.mass)

    def sf(self, x: ArrayLike) -> Array:
        """Probability beyond x, by quadrature from there."""
        return self._on_interval(lambda inner: self._tail(inner, self.direction > 0), x, self.mass, 0.0)

    def logcdf(self, x: ArrayLike) -> Array:
        """Logarithm of :meth:`cdf`, far beyond where that underflows."""
        return self._on_interval(lambda inner: self._log_tail(inner, self.direction < 0), x, -np.inf, np.log(self.mass))

    def logsf(self, x: ArrayLike) -> Array:
        """Logarithm of :meth:`sf`, far beyond where that underflows."""
        return self._on_interval(lambda inner: self._log_tail(inner, self.direction > 0), x, np.log(self.mass), -np.inf)

    def _on_interval(self, value: Function, x: ArrayLike, below: float, above: float) -> Array:
        x = np.asarray(x, dtype=float)
        flat = x.ravel()
        result = np.where(flat <= self.left, below, np.where(flat >= self.right, above, np.nan))
        inside = np.flatnonzero((flat > self.left) & (flat < self.right))
        with np.errstate(all="ignore"):  # a density may be 0 or infinite at the last number before an end
            for start in range(0, inside.size, _BLOCK):
                here = inside[start : start + _BLOCK]
                result[here] = value(flat[here])
        return result.reshape(x.shape)[()]

    def _variable(self, x: Array) -> Array:
        y = self.coordinate(x)
        lost = np.isnan(y) & ~np.isnan(x)
        if lost.any():  # the last doubles before an end
            rising = (np.abs(x - self.right) < np.abs(x - self.left)) == (self.direction > 0)
            y = np.where(lost, np.where(rising, self.high, self.low), y)
        return y - self._shift

    @property
    def _factor(self) -> float:
        return self.mass / self._panels.total

    def _tail(self, x: Array, upper: bool) -> Array:
        """Probability of coordinates below that of x, or above it."""
        value, counted_upper = self._panels.nearer_tail(self._log_at, self._variable(x))
        scaled = np.minimum(value * self._factor, self.mass)
        return np.where(counted_upper == upper, scaled, self.mass - scaled)

    def _log_tail(self, x: Array, upper: bool) -> Array:
        s = self._variable(x)
        value = self._tail(x, upper)
        result = np.log(value)
        deep = (value < 1e-30) & ~np.isnan(s)
        if deep.any():
            result[deep] = self._panels.log_deep_tail(self._log_at, s[deep], upper) + np.log(self._factor)
        return result

    def quantile(self, q: Array, upper: bool = False) -> Array:
        """A root in the coordinate, inside the panel that holds it."""
        q = np.asarray(q, dtype=float)
        upper_y = np.full(q.shape, upper != (self.direction < 0))
        q, total = q / self._factor, self._panels.total
        other = q > np.where(upper_y, total - self._panels.half, self._panels.half)
        q, upper_y = np.where(other, np.maximum(total - q, 0.0), q), upper_y != other
        s = np.empty(q.shape)
        for side in (False, True):
            some = upper_y == side
            if some.any():
                s[some] = self._panels.inverse(self._log_at, q[some], side)
        return self._to_x(s)

    def _to_x(self, s: Array) -> Array:
        with np.errstate(all="ignore"):
            x = self._state(s)
            off = s - self._variable(x)
            for _ in range(60):  # Newton's method makes up for digits that y lost near an end
                better = x + self.direction * off * np.exp(self.density.log_scale(x))
                inside = (better > self.left) & (better < self.right)
                left = s - self._variable(np.where(inside, better, x))
                good = inside & (np.abs(left) < np.abs(off))
                x, off = np.where(good, better, x), np.where(good, left, off)
                if not (good & (np.abs(off) > 1e-9)).any():
                    break
            return np.clip(x, self.left, self.right)  # an end rounds to either side

    def _state(self, s: Array) -> Array:
        """X at values of the panels' variable, an end where that is beyond what the coordinate covers in doubles."""
        with np.errstate(all="ignore"):
            x = np.asarray(self.back(s + self._shift), dtype=float)
        beyond = (s > self.centre - self._shift) == (self.direction > 0)
        return np.clip(np.where(np.isnan(x), np.where(beyond, self.right, self.left), x), self.left, self.right)

    def draw(self, generator: np.random.Generator, size: int) -> Array:
        """Exact samples of the part that moves."""
        if self.sample is None:
            return self.quantile(self.mass * generator.random(size))
        return self.sample(generator, size)

    def integral(self, function: Function, kinks: Sequence[float] = ()) -> float:
        """In the coordinate, on the panels, cut at the kinks."""
        return self._averaged(lambda s, x: function(x), kinks)

    def entropy(self) -> float:
        """In the coordinate, where the density has its digits also if states have none of them."""
        scale = self._continued_scale()
        return -self._averaged(lambda s, x: self._log_at(s) - scale(s, x) + np.log(self._factor), ())

    def _continued_scale(self) -> Callable[[Array, Array], Array]:
        """The logarithm of |dx/dy|, continued by a line to where doubles do not resolve states close to an end: there they gather exponentially."""
        grid = np.linspace(self._panels.edges[0], self._panels.edges[-1], _GRID)
        with np.errstate(all="ignore"):
            states = self._state(grid)
            known = self.density.log_scale(states)
            resolved = self._resolves(states, known)
        if resolved.all() or np.count_nonzero(resolved) < _GRID // 20:
            return lambda s, x: self.density.log_scale(x)
        inside = np.flatnonzero(resolved)
        first, last, apart = inside[0], inside[-1], max(1, len(inside) // 20)
        lines = [
            (k, (known[k] - known[j]) / (grid[k] - grid[j])) for k, j in ((first, first + apart), (last, last - apart))
        ]

        def scale(s: Array, x: Array) -> Array:
            found = self.density.log_scale(x)
            for beyond, (k, slope) in zip((s < grid[first], s > grid[last]), lines, strict=True):
                found = np.where(beyond, known[k] + slope * (s - grid[k]), found)
            return found

        return scale

    def _resolves(self, x: Array, scale: Array) -> NDArray[np.bool_]:
        """Whether the next double has the same scale."""
        beside = self.density.log_scale(np.nextafter(x, self._state(np.array([self.centre - self._shift]))))
        return np.asarray(np.abs(beside - scale) < _RESOLVED)

    def _averaged(self, function: Callable[[Array, Array], Array], kinks: Sequence[float]) -> float:
        """The integral of a function of the panels' variable and of the state."""
        panels = self._panels
        inner = np.array([k for k in kinks if self.left < k < self.right])
        edges = panels.edges
        ends = panels.faded
        if not ends[0]:
            edges = np.concatenate([edges[0] * 0.5 ** np.arange(40, 0, -1), edges])
        cuts = self._variable(inner) if inner.size else inner
        edges = np.unique(np.concatenate([edges, cuts[(cuts > edges[0]) & (cuts < edges[-1])]]))

        def integrand(s: Array) -> Array:
            weight = np.exp(self._log_at(s))
            kept = weight > 0
            values, inside = np.zeros(s.shape), s[kept]
            with np.errstate(all="ignore"):
                values[kept] = function(inside, self._state(inside)) * weight[kept]
            return values

        total = by_panels(integrand, edges, ends)
        if not ends[0]:  # what is left at the end, where the function must have settled
            first = edges[:1]
            with np.errstate(all="ignore"):
                here, before = (float(function(s, np.atleast_1d(self.back(s)))[0]) for s in (first, 2.0**8 * first))
            left_over = panels.end_mass(self._log_at, first)[0]
            if abs(here) > 1.1 * abs(before) and left_over * abs(here) > 1e-9 * abs(total):
                raise ValueError(
                    "the expectation is infinite or does not exist: the function outgrows the law at an end"
                )
            total += here * left_over if left_over > 0 and np.isfinite(here) else 0.0
        return total * self._factor

    def central(self, order: int) -> float | None:
        """From differences of states, which have all their digits also where they are small beside the states."""
        if self.apart is None or not self._by_offset:
            return None
        differences, weights = self._spread
        middle = differences @ weights
        return float(((differences - middle) ** order) @ weights)

    @cached_property
    def _spread(self) -> tuple[Array, Array]:
        """Differences of states from that of the centre at the nodes of the panels, and their probabilities."""
        assert self.apart is not None
        edges = self._panels.edges
        half = np.diff(edges)[:, None] / 2
        s = (edges[:-1, None] + half * (1 + NODES)).ravel()
        weights = np.exp(self._log_at(s)) * (half * WEIGHTS).ravel()
        kept = weights > 0
        return self.apart(s[kept]), weights[kept] / weights[kept].sum()


@dataclass(frozen=True)
class CrossedMeasure(KernelMeasure):
    """One side of a zero of the noise that the process crosses, at which the density is infinite, as that of speed is."""

    def pdf(self, x: ArrayLike) -> Array:
        """Density; infinite at the zero, 0 outside."""
        return np.where(self._at_zero(x), np.inf, super().pdf(x))[()]

    def logpdf(self, x: ArrayLike) -> Array:
        """Logarithm of the density."""
        return np.where(self._at_zero(x), np.inf, super().logpdf(x))[()]

    def _at_zero(self, x: ArrayLike) -> Array:
        return np.asarray(x, dtype=float) == (self.left if self.direction > 0 else self.right)
