r"""Drift and variance of a scalar diffusion on an interval as functions of arrays, with the points inside at which they are not smooth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from numerics.fokker_planck.charts import Chart, Shift

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Crossing:
    r"""A zero of the noise at which :math:`1/\varphi^2` is integrable, a pole at which :math:`\varphi^2` is, a jump, or a cusp.

    Parameters
    ----------
    place : float
    orders : tuple of float
        The exponents :math:`|q| < \tfrac12` with :math:`\varphi \sim |x - c|^q` from the left and from the right.
    is_cusp : bool
        Whether a coefficient without such a power changes there faster than in proportion to the distance, as
        :math:`1 + |x|^{1/4}` or :math:`\log|x|` at 0.
    """

    place: float
    orders: tuple[float, float]
    is_cusp: bool = False

    @property
    def is_jump(self) -> bool:
        """Whether the noise has positive limits from both sides."""
        return self.orders == (0.0, 0.0)


@dataclass(frozen=True)
class Coefficients:
    r"""Drift :math:`\mu` and variance a of a scalar diffusion on an interval, as functions of arrays.

    States are counted by the numbers of a chart, so that there are digits where they are asked for.

    Parameters
    ----------
    drift, variance : callable
        Array to array; the variance is positive inside.
    left, right : float
        The ends, finite or not.
    kinks : tuple of float
        Points inside at which a formula changes.
    crossings : tuple of Crossing
        Zeros, poles and jumps of the noise inside, which the process crosses.
    chart : Shift or Odds
        What states are counted by.
    held : tuple of float
        How far from the left and the right end the coefficients have all digits of the distance.
    """

    drift: Callable[[Array], Array]
    variance: Callable[[Array], Array]
    left: float
    right: float
    kinks: tuple[float, ...] = ()
    crossings: tuple[Crossing, ...] = ()
    chart: Chart = field(default_factory=Shift)
    held: tuple[float, float] = (0.0, 0.0)

    @property
    def ends(self) -> tuple[float, float]:
        """The states at the ends."""
        left, right = self.chart.state(np.array([self.left, self.right]))
        return float(left), float(right)

    def state(self, y: float) -> float:
        """The state that is counted as a number."""
        return float(self.chart.state(np.array(y)))

    def pace(self, y: Array) -> Array:
        """The noise of the number by which states are counted."""
        return self.scale(y) / self.chart.stretch(y)

    def scale(self, x: Array) -> Array:
        r"""The noise :math:`\varphi = \sqrt a`."""
        a = np.asarray(self.variance(x), dtype=float)
        if not np.all(a > 0):
            where = self.chart.state(np.asarray(x, dtype=float)[~(a > 0)])
            raise ValueError(
                f"the noise must be positive inside ({self.ends[0]:g}, {self.ends[1]:g}), got a = {a[~(a > 0)].flat[0]:.3g} "
                f"at x = {where.flat[0]:.6g}; restrict the diffusion's domain to an interval without zeros of the noise"
            )
        return np.sqrt(a)

    def tilt(self, x: Array) -> Array:
        r""":math:`2\mu/a`, the logarithmic derivative of 1/s."""
        mu = np.asarray(self.drift(x), dtype=float)
        found = np.zeros(mu.shape)
        if not mu.any():
            return found
        with np.errstate(over="ignore", divide="ignore"):
            np.divide(2 * mu, np.asarray(self.variance(x), dtype=float), out=found, where=mu != 0)
        return found
