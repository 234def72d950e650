r"""Positively homogeneous networks: one map of the correlation serves all pairs.

Without bias and means, :math:`K_{\alpha\alpha}` grows by the same factor for all inputs, and
:math:`\rho = K_{\alpha\beta}/\sqrt{K_{\alpha\alpha}K_{\beta\beta}}` and :math:`\theta = \Theta_{\alpha\beta}/\sqrt{K_{\alpha\alpha}K_{\beta\beta}}` obey

.. math:: \dot\rho = p\sigma_w^2(e_1(\rho) - e_1(1)\rho), \qquad \dot\theta = p\sigma_w^2(e_1(\rho) + (e_0(\rho) - e_1(1))\theta),

with :math:`e_1 = \mathbb{E}\psi\psi` and :math:`e_0 = \mathbb{E}\psi'\psi'` at unit variance. So :math:`\rho_t` and :math:`\theta_t` are functions of
:math:`\rho_0 = \cos u` alone. In u they are analytic on :math:`[0, \pi]`, ends included, so Chebyshev series
converge geometrically; terms are added until the last ones vanish.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.polynomial import chebyshev
from numpy.typing import NDArray

from numerics.kernels.rates import Rates, integrate

Array = NDArray[np.float64]
_BLOCK = 1 << 15


@dataclass(frozen=True)
class CorrelationMap:
    """From the correlation at depth 0 to that at depth t and the normalised tangent kernel; growth is of the variances."""

    correlation: Array
    tangent: Array
    growth: float

    @classmethod
    def solve(cls, rates: Rates, t: float, tolerance: float) -> CorrelationMap:
        """Integrate at Chebyshev points in u, twice as many until the series ends below the tolerance."""
        size = 32
        while size <= 512:
            u = (chebyshev.chebpts1(size) + 1) * np.pi / 2
            rho, theta = _flow(rates, np.cos(u), t, tolerance / 100)
            series = [chebyshev.chebfit(chebyshev.chebpts1(size), values, size - 1) for values in (rho, theta)]
            if all(np.abs(s[-4:]).max() <= tolerance * np.abs(s).max() / 10 for s in series):
                kept = [_trimmed(s, tolerance / 100) for s in series]
                growth = rates.noise * rates.weight_variance * _unit_square(rates) + 2 * rates.own
                return cls(kept[0], kept[1], float(np.exp(growth * t)))
            size *= 2
        raise ValueError(f"the correlation map at t = {t:g} is too steep for {size // 2} terms; choose a smaller t")

    def __call__(self, correlation: Array, tangent: bool) -> tuple[Array, Array | None]:
        """Apply to an array of correlations."""
        flat = np.ravel(correlation)
        rho, theta = np.empty_like(flat), np.empty_like(flat) if tangent else None
        for first in range(0, flat.size, _BLOCK):
            part = slice(first, first + _BLOCK)
            z = np.arccos(np.clip(flat[part], -1.0, 1.0)) * (2 / np.pi) - 1
            rho[part] = chebyshev.chebval(z, self.correlation)
            if theta is not None:
                theta[part] = chebyshev.chebval(z, self.tangent)
        return rho.reshape(correlation.shape), None if theta is None else theta.reshape(correlation.shape)


def _trimmed(series: NDArray[np.floating], tolerance: float) -> Array:
    large = np.flatnonzero(np.abs(series) > tolerance * np.abs(series).max())
    return np.asarray(series[: large[-1] + 1] if len(large) else series[:1], dtype=float)


def _unit_square(rates: Rates) -> float:
    return float(rates.inner.square(np.zeros(1), np.ones(1))[0])


def _flow(rates: Rates, start: Array, t: float, tolerance: float) -> tuple[Array, Array]:
    gain, one = rates.noise * rates.weight_variance, _unit_square(rates)
    unit = np.ones(1)
    every = slice(None)
    product = rates.inner.pairs(np.zeros(1), unit)
    slopes = None if rates.slope is None else rates.slope.pairs(np.zeros(1), unit)

    def velocity(_: float, y: Array) -> Array:
        rho, theta = y.reshape(2, -1)
        inside = np.clip(rho, -1.0, 1.0)[None]
        e1 = product(every, every, inside)[0]
        e0 = slopes(every, every, inside)[0] if slopes is not None else 0.0
        return gain * np.concatenate([e1 - one * rho, e1 + (e0 - one) * theta])

    if t == 0.0:
        return start, start
    both = np.concatenate([start, start])
    rho, theta = integrate(velocity, both, t, max(tolerance, 1e-13), np.ones(len(both))).y[:, -1].reshape(2, -1)
    return rho, theta
