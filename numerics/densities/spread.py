"""A transformed Gaussian from a Gaussian start: an average over the noise that is smooth down to t = 0."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import elementwise

from numerics.densities.base import LOG_ROOT_TWO_PI, Array, Chart, Function, Measure, weighted
from numerics.densities.integrals import by_panels
from numerics.densities.plain import GaussianPiece

_EDGE = 38.6  # standard deviations; beyond, a normal density is 0 in double precision
_STILL = 1e-13  # relative error at which a quadrature has settled
_FEW = 64  # points at a time, each with some hundred nodes


@dataclass(frozen=True)
class SpreadStart(Measure):
    r"""The law of :math:`x(Z_t)`, :math:`Z_t = \gamma Z_0 + \delta + sG`, with :math:`X_0 = x(Z_0)` Gaussian on the interval.

    *Derivation.* Given :math:`G = g` the end is an increasing function of the start, whose inverse is
    :math:`\zeta(x, g) = x\bigl((z(x) - \delta - s g)/\gamma\bigr)`. So with f and F density and distribution function of :math:`X_0`,

    .. math:: p(x) = \int f(\zeta)\,\frac{\partial\zeta}{\partial x}\,\varphi(g)\,\mathrm{d}g, \qquad
              P(x) = \int F(\zeta)\,\varphi(g)\,\mathrm{d}g .

    The integrands are smooth for every s, with no peak to resolve as s → 0, and decay like a Gaussian: the
    trapezoidal rule converges exponentially, and is refined until it stands still.

    Parameters
    ----------
    chart : Chart
    gain, shift, deviation : float
        :math:`\gamma > 0`, :math:`\delta` and s.
    start : GaussianPiece
        The law of :math:`X_0`, restricted to the chart's interval.
    """

    chart: Chart
    gain: float
    shift: float
    deviation: float
    start: GaussianPiece

    @property
    def support(self) -> tuple[float, float]:  # type: ignore[override]
        """The whole interval."""
        return self.chart.left, self.chart.right

    @property
    def mass(self) -> float:  # type: ignore[override]
        """Probability that the start is in the interval, which is never left."""
        return self.start.mass

    def logpdf(self, x: ArrayLike) -> Array:
        """The integral over the noise, in logarithms."""

        def at(z: Array) -> Array:
            return self._log_average(z, self._log_density) - np.log(self.gain) - self.chart.backward(z)[1]

        return self.chart.on_interval(at, x, -np.inf, -np.inf)

    def cdf(self, x: ArrayLike) -> Array:
        """The start's distribution function, averaged over the noise."""
        return self.chart.on_interval(lambda z: np.exp(self._log_tail(z, False)), x, 0.0, self.mass)

    def sf(self, x: ArrayLike) -> Array:
        """The start's upper tail, averaged over the noise."""
        return self.chart.on_interval(lambda z: np.exp(self._log_tail(z, True)), x, self.mass, 0.0)

    def logcdf(self, x: ArrayLike) -> Array:
        """The logarithm of the average, far beyond where that underflows."""
        return self.chart.on_interval(lambda z: self._log_tail(z, False), x, -np.inf, np.log(self.mass))

    def logsf(self, x: ArrayLike) -> Array:
        """The logarithm of the average, far beyond where that underflows."""
        return self.chart.on_interval(lambda z: self._log_tail(z, True), x, np.log(self.mass), -np.inf)

    def _log_density(self, z0: Array) -> Array:
        x0, log_scale = self.chart.backward(z0)
        value = self.start.logpdf(x0)
        return np.where(np.isneginf(value), -np.inf, value + np.where(np.isposinf(log_scale), 0.0, log_scale))

    def _log_tail(self, z: Array, upper: bool) -> Array:
        probability = self.start.sf if upper else self.start.cdf

        def log_tail(z0: Array) -> Array:
            with np.errstate(divide="ignore"):
                return np.log(probability(self.chart.state(z0)))

        return self._log_average(z, log_tail)

    def _log_average(self, z: Array, log_value: Callable[[Array], Array]) -> Array:
        r""":math:`\log \mathbb{E}\exp \ell((z - \delta - sG)/\gamma)`, few points at a time."""
        flat = z.ravel()
        result = np.empty(flat.shape)
        for begin in range(0, flat.size, _FEW):
            result[begin : begin + _FEW] = self._few(flat[begin : begin + _FEW, np.newaxis], log_value)
        return result.reshape(z.shape)

    def _few(self, z: Array, log_value: Callable[[Array], Array]) -> Array:
        def log_sum(nodes: NDArray[Any]) -> Array:
            values = log_value((z - self.shift - self.deviation * nodes) / self.gain)
            return _log_sum(values - np.square(nodes) / 2 - LOG_ROOT_TWO_PI)

        count = int(np.ceil(_EDGE * 2 * max(1.0, self.deviation / self.gain)))
        step = float(_EDGE / count)
        total = log_sum(step * np.arange(-count, count + 1))
        for _ in range(6):
            total, last = np.logaddexp(total, log_sum(step * (np.arange(-count, count) + 0.5))), total
            step, count = step / 2, 2 * count
            # halving the step of a converged rule doubles the sum, and squares the error of one that is not
            some = np.isfinite(total) & np.isfinite(last)
            change = np.abs(total[some] - last[some] - np.log(2))
            if change.max(initial=0.0) < np.sqrt(_STILL) and np.all(some | np.isneginf(total)):
                break
        return total + np.log(step)

    def quantile(self, q: Array, upper: bool = False) -> Array:
        """A root in the Lamperti coordinate, from a bracket that grows until it holds one."""
        sign = -1 if upper else 1

        def excess(z: Array, q: Array) -> Array:
            return sign * (np.maximum(self._log_tail(np.asarray(z, dtype=float), upper), -800.0) - np.log(q))

        middle = self.start.quantile(np.array([self.mass / 2]))
        centre = float(self.gain * self.chart.forward(middle)[0] + self.shift)
        width = self.deviation + self.gain
        ones = np.ones(q.shape)
        bracket = elementwise.bracket_root(excess, (centre - width) * ones, (centre + width) * ones, args=(q,))
        root = elementwise.find_root(excess, bracket.bracket, args=(q,))
        return self.chart.state(np.asarray(root.x))

    def draw(self, generator: np.random.Generator, size: int) -> Array:
        """A start, then the noise."""
        z0 = self.chart.forward(self.start.draw(generator, size))
        return self.chart.state(self.gain * z0 + self.shift + self.deviation * generator.standard_normal(size))

    def integral(self, function: Function, kinks: Sequence[float] = ()) -> float:
        """In the coordinate, cut at the kinks, over all that is reached within 38 standard deviations of start and noise."""
        start, chart = self.start, self.chart
        first, last = (
            np.clip(
                start.mean + side * _EDGE * start.deviation,
                np.nextafter(chart.left, np.inf),
                np.nextafter(chart.right, -np.inf),
            )
            for side in (-1, 1)
        )
        with np.errstate(divide="ignore"):
            inner = chart.forward(np.array([first, last, *(k for k in kinks if chart.left < k < chart.right)]))
        ends = self.gain * inner[:2] + self.shift + self.deviation * np.array([-_EDGE, _EDGE])
        cuts = inner[2:][(inner[2:] > ends[0]) & (inner[2:] < ends[1])]

        def integrand(z: Array) -> Array:
            density = np.exp(self._log_average(z, self._log_density)) / self.gain
            return weighted(function, chart.state(z), density)

        # a coordinate is as long as logarithms of doubles, of which the law may take the last panel: shorter ones towards both ends
        near = (ends[1] - ends[0]) / 2.0 ** np.arange(7, 15)
        panels = np.concatenate([np.linspace(ends[0], ends[1], 65), ends[0] + near, ends[1] - near, cuts])
        return by_panels(integrand, np.unique(panels))


def _log_sum(values: Array) -> Array:
    """Logarithm of the sum of exponentials over the last axis; of nothing, minus infinity."""
    top = values.max(axis=-1)
    finite = np.where(np.isneginf(top), 0.0, top)
    with np.errstate(divide="ignore"):
        return finite + np.log(np.exp(values - finite[..., np.newaxis]).sum(axis=-1))
