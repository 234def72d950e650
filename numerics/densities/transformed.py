"""Mixtures of Gaussians under the inverse of a Lamperti map: a law from a fixed start."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import elementwise
from scipy.special import log_ndtr, logsumexp, ndtr, ndtri

from numerics.densities.base import LOG_ROOT_TWO_PI, Array, Chart, Function, Measure, weighted
from numerics.densities.integrals import by_panels


@dataclass(frozen=True)
class TransformedMixture(Measure):
    r"""The law of x(Z), where Z is :math:`N(m_j, s_j^2)` with probability :math:`w_j`.

    Parameters
    ----------
    chart : Chart
        The map between x and Z.
    weights, means, deviations : tuple of float
        :math:`w_j`, :math:`m_j` and :math:`s_j`.
    """

    chart: Chart
    weights: tuple[float, ...]
    means: tuple[float, ...]
    deviations: tuple[float, ...]
    mass: float = field(default=1.0, init=False)

    @property
    def support(self) -> tuple[float, float]:  # type: ignore[override]
        """The whole interval."""
        return self.chart.left, self.chart.right

    @property
    def _components(self) -> list[tuple[float, float, float]]:
        return list(zip(self.weights, self.means, self.deviations, strict=True))

    def logpdf(self, x: ArrayLike) -> Array:
        r""":math:`\log \sum_j w_j N(z; m_j, s_j^2) - \log \mathrm{d}x/\mathrm{d}z`."""
        return self.chart.on_interval(self._log_density, x, -np.inf, -np.inf)

    def _log_density(self, z: Array) -> Array:
        """Of the state, at its coordinate."""
        _, log_scale = self.chart.backward(z)
        with np.errstate(over="ignore"):  # beyond 1e154 deviations the density is 0
            squares = [np.square((z - m) / s) for _, m, s in self._components]
        logs = [
            np.log(w / s) - LOG_ROOT_TWO_PI - u2 / 2 for (w, _, s), u2 in zip(self._components, squares, strict=True)
        ]
        total = logs[0] if len(logs) == 1 else logsumexp(logs, axis=0)
        with np.errstate(invalid="ignore"):
            # the last double before an end may have z = ∞: no mass is left there
            return np.where(np.isneginf(total), -np.inf, total - log_scale)

    def pdf(self, x: ArrayLike) -> Array:
        """Density; for one Gaussian with the constants taken out of the exponential's argument once."""
        if len(self.weights) > 1:
            with np.errstate(over="ignore"):  # a density beyond the doubles is infinite
                return np.exp(self.logpdf(x))
        ((_, m, s),) = self._components
        constant, rate = -np.log(s) - LOG_ROOT_TWO_PI, np.sqrt(0.5) / s

        def at(z: Array) -> Array:
            _, log_scale = self.chart.backward(z)
            u = z - m
            u *= rate
            with np.errstate(over="ignore", invalid="ignore"):
                u *= u
                u += log_scale
            np.subtract(constant, u, out=u)
            np.exp(u, out=u)
            u[np.isinf(z)] = 0.0
            return u

        return self.chart.on_interval(at, x, 0.0, 0.0)

    def cdf(self, x: ArrayLike) -> Array:
        """A sum of normal distribution functions."""
        return self.chart.on_interval(lambda z: self._tail(z, 1), x, 0.0, 1.0)

    def sf(self, x: ArrayLike) -> Array:
        """A sum of upper tails, each without cancellation."""
        return self.chart.on_interval(lambda z: self._tail(z, -1), x, 1.0, 0.0)

    def _tail(self, z: Array, sign: int) -> Array:
        return sum((w * ndtr(sign * (z - m) / s) for w, m, s in self._components), np.zeros_like(z))

    def logcdf(self, x: ArrayLike) -> Array:
        """The logarithm of the sum, far beyond where that underflows."""
        return self.chart.on_interval(lambda z: self._log_tail(z, 1), x, -np.inf, 0.0)

    def logsf(self, x: ArrayLike) -> Array:
        """The logarithm of the sum, far beyond where that underflows."""
        return self.chart.on_interval(lambda z: self._log_tail(z, -1), x, 0.0, -np.inf)

    def _log_tail(self, z: Array, sign: int) -> Array:
        return logsumexp([np.log(w) + log_ndtr(sign * (z - m) / s) for w, m, s in self._components], axis=0)

    def quantile(self, q: Array, upper: bool = False) -> Array:
        """In closed form for one Gaussian; the root between its extreme components' quantiles for several."""
        sign = -1 if upper else 1
        ends = np.array([m + sign * s * ndtri(q) for _, m, s in self._components])
        if len(self.weights) == 1:
            return self.chart.state(ends[0])
        slack = 1e-9 * (1 + np.abs(ends))
        low, high = (ends - slack).min(axis=0), (ends + slack).max(axis=0)

        def excess(z: Array, q: Array) -> Array:
            return np.log(np.maximum(self._tail(z, sign), 1e-320)) - np.log(q)

        root = elementwise.find_root(excess, (low, high), args=(q,))
        return self.chart.state(np.asarray(root.x))

    def draw(self, generator: np.random.Generator, size: int) -> Array:
        """A component, then its Gaussian."""
        which = generator.choice(len(self.weights), size, p=self.weights) if len(self.weights) > 1 else 0
        normal = generator.standard_normal(size)
        z = np.asarray(self.means)[which] + np.asarray(self.deviations)[which] * normal
        return self.chart.state(z)

    def integral(self, function: Function, kinks: Sequence[float] = ()) -> float:
        """In the coordinate, on panels of a deviation, cut at the kinks."""
        return self._averaged(lambda z: function(self.chart.state(z)), kinks)

    def entropy(self) -> float:
        """In the coordinate, also where states are beyond doubles."""
        return -self._averaged(self._log_density, ())

    def _averaged(self, function: Function, kinks: Sequence[float]) -> float:
        low = min(m - 38.5 * s for _, m, s in self._components)
        high = max(m + 38.5 * s for _, m, s in self._components)
        inner = np.array([k for k in kinks if self.chart.left < k < self.chart.right])
        cuts = self.chart.forward(inner) if inner.size else inner
        steps = [m + s * np.linspace(-38.5, 38.5, 78) for _, m, s in self._components]
        edges = np.unique(np.clip(np.concatenate([*steps, cuts]), low, high))

        def integrand(z: Array) -> Array:
            density = sum(
                (w / s * np.exp(-np.square((z - m) / s) / 2 - LOG_ROOT_TWO_PI) for w, m, s in self._components),
                np.zeros_like(z),
            )
            return weighted(function, z, density)

        return by_panels(integrand, edges)
