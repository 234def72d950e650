"""Measures known by their density: distribution function and quantiles by quadrature in the unit-noise coordinate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import elementwise

from numerics.densities.base import Array, Measure

_POINTS = 16  # Gauss–Legendre nodes of a panel
_FADED = 80.0  # fall of the logarithm of the density beyond which it adds nothing in double precision
_BLOCK = 1 << 13  # points at a time: temporaries stay in the cache
_GRADES = 60  # halvings towards an end at which the density is a power of the distance

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(_POINTS)


@dataclass(frozen=True)
class KernelMeasure(Measure):
    r"""A density on an interval, smooth in a coordinate y over (0, length) or over the line.

    Integrals are taken in y with Gauss–Legendre rules on panels of a fraction of :math:`\sqrt t`, halved again and again
    towards finite ends. In the last panel before y = 0, where the density is :math:`C y^p` to rounding, the power is integrated
    in closed form, :math:`\int_0^y = C y^{p+1}/(p+1)`: for p close to −1 much of the mass may lie there, even below the smallest
    double. A distribution function is a sum of whole panels and one part of a panel, from the end from which it is counted,
    so that neither tail cancels.

    Parameters
    ----------
    left, right : float
        The interval.
    coordinate : callable
        Points x inside the interval to y.
    back : callable
        y to x.
    direction : int
        1 if y grows with x, else −1.
    low, high : float
        The range of y.
    centre, width : float
        Where the mass starts from, and the scale on which the density of y changes.
    log_density : callable
        Points x to the logarithm of their density.
    log_density_y : callable
        The same for y, per unit of y.
    mass : float
        Its integral.
    sample : callable
        Generator and number to exact samples.
    """

    left: float
    right: float
    coordinate: Callable[[Array], Array]
    back: Callable[[Array], Array]
    direction: int
    low: float
    high: float
    centre: float
    width: float
    log_density: Callable[[Array], Array]
    log_density_y: Callable[[Array], Array]
    mass: float
    sample: Callable[[np.random.Generator, int], Array]

    @property
    def support(self) -> tuple[float, float]:  # type: ignore[override]
        """The whole interval."""
        return self.left, self.right

    def logpdf(self, x: ArrayLike) -> Array:
        """Logarithm of the density; minus infinity outside."""
        return self._on_interval(self.log_density, x, -np.inf, -np.inf)

    def pdf(self, x: ArrayLike) -> Array:
        """Density; 0 outside."""
        return self._on_interval(lambda inner: np.exp(self.log_density(inner)), x, 0.0, 0.0)

    def cdf(self, x: ArrayLike) -> Array:
        """Probability up to x, by quadrature."""
        return self._on_interval(
            lambda inner: self._tail(self.coordinate(inner), self.direction < 0), x, 0.0, self.mass
        )

    def sf(self, x: ArrayLike) -> Array:
        """Probability beyond x, by quadrature from there."""
        return self._on_interval(
            lambda inner: self._tail(self.coordinate(inner), self.direction > 0), x, self.mass, 0.0
        )

    def _on_interval(self, value: Callable[[Array], Array], x: ArrayLike, below: float, above: float) -> Array:
        x = np.asarray(x, dtype=float)
        flat = x.ravel()
        result = np.where(flat <= self.left, below, np.where(flat >= self.right, above, np.nan))
        inside = np.flatnonzero((flat > self.left) & (flat < self.right))
        with np.errstate(all="ignore"):  # a density may be 0 or infinite at the last number before an end
            for start in range(0, inside.size, _BLOCK):
                here = inside[start : start + _BLOCK]
                result[here] = value(flat[here])
        return result.reshape(x.shape)[()]

    @cached_property
    def _edges(self) -> Array:
        """Ends of the panels, over all of y that carries mass."""
        step = self.width / 2
        ends = [self._faded(-1, step), self._faded(1, step)]
        count = int(np.clip(np.ceil((ends[1] - ends[0]) / step), 4, 4000))
        even = np.linspace(ends[0], ends[1], count + 1)
        halves = (even[1] - even[0]) * 0.5 ** np.arange(1, _GRADES)
        graded = [even]
        if ends[0] == self.low:
            graded.append(ends[0] + halves)
        if ends[1] == self.high:
            graded.append(ends[1] - halves[: 45 if ends[1] else None])
        return np.unique(np.concatenate(graded))

    def _faded(self, sign: int, step: float) -> float:
        """The end of y on one side, or the point at which the density has faded."""
        end = self.high if sign > 0 else self.low
        at, peak = self.centre, -np.inf
        for _ in range(2000):
            if sign * at >= sign * end:
                return end
            with np.errstate(all="ignore"):
                value = float(self.log_density_y(np.array([at]))[0])
            peak = max(peak, value)
            if value < peak - _FADED:
                return at
            at += sign * step
        return at

    def _density_y(self, y: Array) -> Array:
        with np.errstate(all="ignore"):
            value = np.exp(self.log_density_y(y))
        return np.where(np.isfinite(value), value, 0.0)

    @cached_property
    def _power(self) -> tuple[float, float]:
        """Of the density before y = 0: one more than its exponent, and the mass of the first panel; the mass is 0 without such an end."""
        end = self._edges[1]
        if self._edges[0] != 0:
            return 1.0, 0.0
        with np.errstate(all="ignore"):
            near, far = self.log_density_y(np.array([end / 4, end]))
        order = 1 + float(far - near) / np.log(4.0)
        return (order, float(end * np.exp(far) / order)) if order > 0 and np.isfinite(order) else (1.0, 0.0)

    @cached_property
    def _sums(self) -> tuple[Array, Array]:
        """Probabilities below and above each panel's end."""
        half = np.diff(self._edges) / 2
        nodes = self._edges[:-1, None] + half[:, None] * (1 + _NODES)
        panels = half * (self._density_y(nodes) @ _WEIGHTS)
        if self._edges[0] == 0:
            panels[0] = self._power[1]
        below = np.concatenate([[0.0], np.cumsum(panels)])
        above = np.concatenate([np.cumsum(panels[::-1])[::-1], [0.0]])
        return below, above

    def _tail(self, y: Array, upper: bool) -> Array:
        """Probability of coordinates below y, or above it."""
        below, above = self._sums
        y = np.clip(y, self._edges[0], self._edges[-1])
        panel = np.clip(np.searchsorted(self._edges, y, side="right") - 1, 0, self._edges.size - 2)
        from_end = self._edges[panel + 1] if upper else self._edges[panel]
        half = np.abs(from_end - y) / 2
        nodes = np.minimum(from_end, y)[:, None] + half[:, None] * (1 + _NODES)
        part = half * (self._density_y(nodes) @ _WEIGHTS)
        if self._edges[0] == 0:
            order, mass = self._power
            below_y = mass * (y / self._edges[1]) ** order
            part = np.where(panel == 0, mass - below_y if upper else below_y, part)
        return part + (above[panel + 1] if upper else below[panel])

    def quantile(self, q: Array, upper: bool = False) -> Array:
        """A root in the coordinate, inside the panel that holds it."""
        upper_y = upper != (self.direction < 0)
        below, above = self._sums
        q = np.minimum(q, below[-1])
        panel = (
            above.size - 1 - np.searchsorted(above[::-1], q, side="right")
            if upper_y
            else np.searchsorted(below, q, side="right") - 1
        )
        panel = np.clip(panel, 0, self._edges.size - 2)
        sign = -1 if upper_y else 1
        bracket = self._edges[panel], self._edges[panel + 1]
        root = elementwise.find_root(
            lambda y, p: sign * (self._tail(np.ravel(y), upper_y).reshape(np.shape(y)) - p), bracket, args=(q,)
        )
        y = np.where(root.success, root.x, bracket[0])
        order, mass = self._power
        if mass > 0:
            share = np.clip((above[0] - q if upper_y else q) / mass, 0.0, 1.0)
            y = np.where(panel == 0, self._edges[1] * share ** (1 / order), y)
        with np.errstate(all="ignore"):
            return np.clip(np.asarray(self.back(y)), self.left, self.right)  # an end rounds to either side

    def draw(self, generator: np.random.Generator, size: int) -> Array:
        """Exact samples of the part that moves."""
        return self.sample(generator, size)

    def average(self, function: Callable[[Array], Array]) -> float:
        """The integral of a function of x against the measure."""
        half = np.diff(self._edges) / 2
        nodes = self._edges[:-1, None] + half[:, None] * (1 + _NODES)
        with np.errstate(all="ignore"):
            values = function(self.back(nodes)) * self._density_y(nodes)
            totals = half * (np.where(np.isfinite(values), values, 0.0) @ _WEIGHTS)
            order, mass = self._power
            if mass > 0:  # by the share of the panel's mass, in which the density is constant
                inside = self._edges[1] * ((1 + _NODES) / 2) ** (1 / order)
                totals[0] = mass * (np.asarray(function(self.back(inside))) @ _WEIGHTS) / 2
        return float(np.sum(totals))
