"""The two measures that need no map: a point, and a piece of a normal distribution."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import log_ndtr, ndtr, ndtri

from numerics.densities.base import LOG_ROOT_TWO_PI, Array, Function, Measure, weighted
from numerics.densities.integrals import by_panels


@dataclass(frozen=True)
class PointMass(Measure):
    """All probability in one point."""

    location: float
    mass: float = 1.0

    @property
    def support(self) -> tuple[float, float]:  # type: ignore[override]
        """The point, twice."""
        return self.location, self.location

    def logpdf(self, x: ArrayLike) -> Array:
        """Minus infinity: there is no density."""
        return np.where(np.isnan(x), np.nan, -np.inf)[()]

    def cdf(self, x: ArrayLike) -> Array:
        """A step."""
        return np.where(np.isnan(x), np.nan, np.where(np.asarray(x) >= self.location, self.mass, 0.0))[()]

    def sf(self, x: ArrayLike) -> Array:
        """A step down."""
        return np.where(np.isnan(x), np.nan, np.where(np.asarray(x) >= self.location, 0.0, self.mass))[()]

    def quantile(self, q: Array, upper: bool = False) -> Array:
        """The point."""
        return np.full(q.shape, self.location)

    def draw(self, generator: np.random.Generator, size: int) -> Array:
        """The point, many times."""
        return np.full(size, self.location)

    def integral(self, function: Function, kinks: Sequence[float] = ()) -> float:
        """The value there, times the mass."""
        return float(weighted(function, np.array([self.location]), np.array([self.mass]))[0])


@dataclass(frozen=True)
class GaussianPiece(Measure):
    """A normal distribution restricted to an interval: a Gaussian start on a part of the line.

    Parameters
    ----------
    left, right : float
    mean, deviation : float
    """

    left: float
    right: float
    mean: float
    deviation: float

    @property
    def support(self) -> tuple[float, float]:  # type: ignore[override]
        """The interval."""
        return self.left, self.right

    @cached_property
    def mass(self) -> float:  # type: ignore[override]
        """Probability that the start is in the interval."""
        return float(self.between(self.left, self.right))

    def between(self, low: ArrayLike, high: ArrayLike) -> Array:
        """Probability of an interval, by the tails on its own side of the mean, which do not cancel."""
        a = (np.asarray(low, dtype=float) - self.mean) / self.deviation
        b = (np.asarray(high, dtype=float) - self.mean) / self.deviation
        return np.where(a > 0, ndtr(-a) - ndtr(-b), ndtr(b) - ndtr(a))[()]

    def logpdf(self, x: ArrayLike) -> Array:
        """A parabola inside the interval."""
        x = np.asarray(x, dtype=float)
        with np.errstate(over="ignore"):  # beyond 1e154 deviations the density is 0
            value = -np.square((x - self.mean) / self.deviation) / 2 - np.log(self.deviation) - LOG_ROOT_TWO_PI
        return np.where((x < self.left) | (x > self.right), -np.inf, value)[()]

    def cdf(self, x: ArrayLike) -> Array:
        """Probability between the left end and x."""
        return self.between(self.left, np.clip(x, self.left, self.right))

    def sf(self, x: ArrayLike) -> Array:
        """Probability between x and the right end."""
        return self.between(np.clip(x, self.left, self.right), self.right)

    def quantile(self, q: Array, upper: bool = False) -> Array:
        """From the normal quantile, counted from the tail in which the interval lies."""
        a, b = (self.left - self.mean) / self.deviation, (self.right - self.mean) / self.deviation
        u = (
            np.where(a > 0, -ndtri(ndtr(-b) + q), ndtri(ndtr(b) - q))
            if upper
            else np.where(a > 0, -ndtri(ndtr(-a) - q), ndtri(ndtr(a) + q))
        )
        return np.clip(self.mean + self.deviation * u, self.left, self.right)

    def draw(self, generator: np.random.Generator, size: int) -> Array:
        """By inversion."""
        return self.quantile(self.mass * generator.uniform(np.finfo(float).tiny, 1.0, size))

    def logcdf(self, x: ArrayLike) -> Array:
        """The logarithm of the same."""
        return self._log_between(self.left, np.clip(x, self.left, self.right))

    def logsf(self, x: ArrayLike) -> Array:
        """The logarithm of the same."""
        return self._log_between(np.clip(x, self.left, self.right), self.right)

    def _log_between(self, low: ArrayLike, high: ArrayLike) -> Array:
        a = (np.asarray(low, dtype=float) - self.mean) / self.deviation
        b = (np.asarray(high, dtype=float) - self.mean) / self.deviation
        a, b = np.where(a > 0, -b, a), np.where(a > 0, -a, b)
        with np.errstate(divide="ignore", invalid="ignore"):
            value = log_ndtr(b) + np.log1p(-np.exp(log_ndtr(a) - log_ndtr(b)))
        return np.where(np.isnan(value) & ~np.isnan(a + b), -np.inf, value)[()]

    def integral(self, function: Function, kinks: Sequence[float] = ()) -> float:
        """On panels of a deviation, cut at the kinks."""
        steps = self.mean + self.deviation * np.linspace(-38.5, 38.5, 78)
        edges = np.unique(np.clip([*steps, *kinks], max(self.left, steps[0]), min(self.right, steps[-1])))
        if edges.size < 2:
            return 0.0
        ends = bool(edges[0] == steps[0]), bool(edges[-1] == steps[-1])
        return by_panels(lambda x: weighted(function, x, self.pdf(x)), edges, ends)
