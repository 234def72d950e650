r"""Drift and variance of a scalar diffusion on an interval as functions of arrays, with the points inside at which they are not smooth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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

    States are counted from ``origin``, so that the zero of the noise at which the most digits are asked for is 0.

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
    origin : float
        The state that is called 0 here.
    """

    drift: Callable[[Array], Array]
    variance: Callable[[Array], Array]
    left: float
    right: float
    kinks: tuple[float, ...] = ()
    crossings: tuple[Crossing, ...] = ()
    origin: float = 0.0

    def scale(self, x: Array) -> Array:
        r"""The noise :math:`\varphi = \sqrt a`."""
        a = np.asarray(self.variance(x), dtype=float)
        if not np.all(a > 0):
            where = np.asarray(x, dtype=float)[~(a > 0)]
            raise ValueError(
                f"the noise must be positive inside ({self.left:g}, {self.right:g}), got a = {a[~(a > 0)].flat[0]:.3g} "
                f"at x = {self.origin + where.flat[0]:.6g}; restrict the diffusion's domain to an interval without zeros of the noise"
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
