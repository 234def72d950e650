"""Centred normal distributions with a random variance, given as a weighted list of deviations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import elementwise
from scipy.special import factorial2, log_ndtr, logsumexp

from numerics.densities.base import LOG_ROOT_TWO_PI, Array, ByContent, Function, Measure, Moments, weighted
from numerics.densities.integrals import by_panels

_FEW = 256  # points at a time, each with all deviations


@dataclass(frozen=True, eq=False)
class HalfMixture(ByContent, Measure):
    r"""One half of :math:`\sum_k w_k\,\mathcal{N}(0, s_k^2)`: the numbers above 0, or those below.

    Parameters
    ----------
    weights, deviations : array
        :math:`w_k` and :math:`s_k`, all positive.
    sign : {1, -1}
        Above or below 0.
    """

    weights: Array
    deviations: Array
    sign: int
    _log_weights: Array = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_log_weights", np.log(self.weights))

    @property
    def support(self) -> tuple[float, float]:  # type: ignore[override]
        """A half-line."""
        return (0.0, np.inf) if self.sign > 0 else (-np.inf, 0.0)

    @property
    def mass(self) -> float:  # type: ignore[override]
        """Half of all weights."""
        return float(self.weights.sum()) / 2

    def _mixed(self, y: ArrayLike, log_term: Callable[[Array], Array]) -> Array:
        """The logarithm of a weighted sum over the deviations at points y."""
        y = np.asarray(y, dtype=float)
        flat = y.ravel()
        made = np.empty(flat.shape)
        with np.errstate(all="ignore"):
            for start in range(0, flat.size, _FEW):
                scaled = flat[start : start + _FEW, None] / self.deviations
                made[start : start + _FEW] = logsumexp(self._log_weights + log_term(scaled), axis=1)
        return made.reshape(y.shape)

    def _own(self, x: ArrayLike) -> tuple[Array, Array]:
        """Distance from 0 on the own side, and whether x is on it."""
        y = self.sign * np.asarray(x, dtype=float)
        return np.maximum(y, 0.0), (y > 0) | ((y == 0) & (self.sign > 0))

    def logpdf(self, x: ArrayLike) -> Array:
        """The mixture's density on the own side."""
        y, inside = self._own(x)
        value = self._mixed(y, lambda z: -np.square(z) / 2 - LOG_ROOT_TWO_PI - np.log(self.deviations))
        return np.where(np.isnan(x), np.nan, np.where(inside, value, -np.inf))[()]

    def _log_beyond(self, x: ArrayLike) -> Array:
        """The logarithm of the probability further from 0."""
        return np.where(np.isnan(x), np.nan, self._mixed(self._own(x)[0], lambda z: log_ndtr(-z)))

    def _log_nearer(self, x: ArrayLike) -> Array:
        """The logarithm of the probability between 0 and x."""

        def between(z: Array) -> Array:
            return np.log(-np.expm1(log_ndtr(-z) + np.log(2))) - np.log(2)

        return np.where(np.isnan(x), np.nan, self._mixed(self._own(x)[0], between))

    def logcdf(self, x: ArrayLike) -> Array:
        """The logarithm of the probability up to x."""
        return (self._log_nearer(x) if self.sign > 0 else self._log_beyond(x))[()]

    def logsf(self, x: ArrayLike) -> Array:
        """The logarithm of the probability beyond x."""
        return (self._log_beyond(x) if self.sign > 0 else self._log_nearer(x))[()]

    def cdf(self, x: ArrayLike) -> Array:
        """Probability up to x."""
        return np.exp(self.logcdf(x))

    def sf(self, x: ArrayLike) -> Array:
        """Probability beyond x."""
        return np.exp(self.logsf(x))

    def quantile(self, q: Array, upper: bool = False) -> Array:
        """From the tail by root finding in logarithms."""
        q = np.asarray(q, dtype=float)
        if upper != (self.sign > 0):  # counted from 0
            q = self.mass - q
        goal = np.log(np.clip(q, np.finfo(float).tiny, None))
        ends = np.zeros(q.shape), np.full(q.shape, 40.0 * float(self.deviations.max()))
        inside = goal < self._log_beyond(np.zeros(()))  # of the sum as it is added up there, or the root has no bracket
        found = elementwise.find_root(
            lambda y, g: self._log_beyond(self.sign * y) - g, ends, args=(np.where(inside, goal, -1.0),)
        )
        return self.sign * np.where(inside, found.x, 0.0)

    def draw(self, generator: np.random.Generator, size: int) -> Array:
        """A deviation, then a normal number."""
        chosen = generator.choice(len(self.weights), size, p=self.weights / self.weights.sum())
        return self.sign * np.abs(generator.normal(size=size)) * self.deviations[chosen]

    def integral(self, function: Function, kinks: Sequence[float] = ()) -> float:
        """On panels that double from below the smallest deviation to beyond the largest."""
        low, high = float(self.deviations.min()), 38.5 * float(self.deviations.max())
        steps = np.geomspace(low, high, max(2, int(2 * (np.log2(high) - np.log2(low)))))
        own = [self.sign * k for k in kinks if 0 < self.sign * k < high]
        edges = np.unique([0.0, *steps, *own])
        return by_panels(
            lambda y: weighted(function, self.sign * y, np.exp(self.logpdf(self.sign * y))), edges, (False, True)
        )


@dataclass(frozen=True)
class EvenMoments(Moments):
    r"""Moments of :math:`\sqrt{S}\,Z`: :math:`(2k-1)!!\;\mathbb{E}S^k`, and 0 for odd orders.

    Parameters
    ----------
    of_variance : callable
        From k to :math:`\mathbb{E}S^k`.
    """

    of_variance: Callable[[int], float]

    def raw(self, order: int) -> float:
        """The moment about 0; an odd one is 0 where the next even one is finite.

        Raises
        ------
        ValueError
            For an odd order where that is infinite.
        """
        if order % 2:
            if not np.isfinite(self.of_variance((order + 1) // 2)):
                raise ValueError(
                    f"the moment of order {order} is not known: that of order {order + 1} is infinite or overflows; ask for quantiles"
                )
            return 0.0
        return float(factorial2(order - 1)) * self.of_variance(order // 2)

    def central(self, order: int) -> float:
        """The same: the mean is 0."""
        return self.raw(order)
