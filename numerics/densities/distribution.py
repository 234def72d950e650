"""The frozen distribution that users hold."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from numerics.densities.base import Array, Measure
from numerics.densities.plain import PointMass

Seed = int | np.random.Generator | None


@dataclass(frozen=True)
class FrozenDistribution:
    """A distribution on the line with the methods of SciPy's frozen ones.

    Parameters
    ----------
    name : str
        What it is the law of, for people.
    parts : tuple of Measure
        On disjoint intervals, from left to right; their masses add up to 1.
    moments : callable
        Order k to the k-th moment, infinity where it is not finite.
    variance : callable
        Without arguments to the variance, which the difference of two moments would lose to rounding.
    error : float
        Estimated distance from the exact law in L¹, atoms included; 0 where the formulas are exact.
    """

    name: str
    parts: tuple[Measure, ...]
    moments: Callable[[int], float] = field(repr=False)
    variance: Callable[[], float] = field(repr=False)
    error: float = field(default=0.0)

    def pdf(self, x: ArrayLike) -> Array:
        """Density of the absolutely continuous part; 0 outside the domain, and it knows nothing of atoms."""
        return self._total([part.pdf(x) for part in self.parts])

    def logpdf(self, x: ArrayLike) -> Array:
        """Logarithm of the density, finite far beyond where the density itself underflows."""
        # disjoint supports: all but one term are minus infinity, or none is at a shared end
        return np.max([part.logpdf(x) for part in self.parts], axis=0)[()]

    def cdf(self, x: ArrayLike) -> Array:
        """Probability up to and including x, atoms included."""
        return self._total([part.cdf(x) for part in self.parts])

    def sf(self, x: ArrayLike) -> Array:
        """Probability beyond x, computed as such."""
        return self._total([part.sf(x) for part in self.parts])

    @staticmethod
    def _total(values: list[Array]) -> Array:
        return values[0] if len(values) == 1 else np.sum(values, axis=0)[()]

    def ppf(self, q: ArrayLike) -> Array:
        """The smallest x with probability q up to it; ``nan`` unless 0 ≤ q ≤ 1."""
        return self._quantile(q, upper=False)

    def isf(self, q: ArrayLike) -> Array:
        """The point beyond which there is probability q."""
        return self._quantile(q, upper=True)

    def _quantile(self, q: ArrayLike, upper: bool) -> Array:
        q = np.asarray(q, dtype=float)
        result = np.full(q.shape, np.nan)
        low, high = self.support()
        result[q == 0], result[q == 1] = (high, low) if upper else (low, high)
        for side in (False, True):  # counted from the nearer end
            chosen = (q > 0) & (q < 1) & ((q <= 0.5) != side)
            if chosen.any():
                result[chosen] = self._counted(1 - q[chosen] if side else q[chosen], upper != side)
        return result[()]

    def _counted(self, q: Array, upper: bool) -> Array:
        """Quantiles counted from the left or from the right end."""
        result = np.full(q.shape, np.nan)
        before, left = 0.0, np.ones(q.shape, dtype=bool)
        order = self.parts[::-1] if upper else self.parts
        for index, part in enumerate(order):
            last = index == len(order) - 1
            here = left & ((q <= before + part.mass) | last)
            if here.any():
                local = np.clip(q[here] - before, np.finfo(float).tiny, part.mass * (1 - 1e-16))
                result[here] = part.quantile(local, upper)
            left &= ~here
            before += part.mass
        return result

    def rvs(self, size: int | tuple[int, ...] | None = None, random_state: Seed = None) -> Array:
        """Exact samples.

        Parameters
        ----------
        size : int or tuple of int, optional
            A single number by default.
        random_state : int or Generator, optional
        """
        generator = np.random.default_rng(random_state)
        count = int(np.prod(size)) if size is not None else 1
        if len(self.parts) == 1:
            samples = self.parts[0].draw(generator, count)
        else:
            masses = np.array([part.mass for part in self.parts])
            which = generator.choice(len(masses), count, p=masses / masses.sum())
            samples = np.empty(count)
            for index, part in enumerate(self.parts):
                chosen = which == index
                samples[chosen] = part.draw(generator, int(chosen.sum()))
        return samples.reshape(size)[()] if size is not None else samples[0]

    def moment(self, order: int) -> float:
        """The moment of an order, about 0; infinity where it is not finite."""
        if isinstance(order, bool) or not isinstance(order, int | np.integer) or order < 0:
            raise ValueError(f"the order of a moment must be a whole number ≥ 0, got {order!r}")
        return 1.0 if order == 0 else self.moments(int(order))

    def mean(self) -> float:
        """The mean."""
        return self.moment(1)

    def var(self) -> float:
        """The variance; infinity from the time on at which the second moment is not finite."""
        return self.variance()

    def std(self) -> float:
        """The standard deviation."""
        return float(np.sqrt(self.variance()))

    def median(self) -> float:
        """The median."""
        return float(self.ppf(0.5))

    def interval(self, confidence: ArrayLike) -> tuple[Array, Array]:
        """Ends of the central interval with a given probability."""
        outside = (1 - np.asarray(confidence, dtype=float)) / 2
        return self.ppf(outside), self.isf(outside)

    def support(self) -> tuple[float, float]:
        """The ends of the smallest interval that carries all probability."""
        return self.parts[0].support[0], self.parts[-1].support[1]

    @property
    def atoms(self) -> tuple[tuple[float, float], ...]:
        """Points of positive probability, each with its probability."""
        return tuple((part.location, part.mass) for part in self.parts if isinstance(part, PointMass))
