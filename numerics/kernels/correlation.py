r"""Flows that are the same for all pairs: a map of the correlation for positively homogeneous networks, an affine map for linear ones.

Where the flow scales with its inputs, :math:`\rho = K_{\alpha\beta}/\sqrt{K_{\alpha\alpha}K_{\beta\beta}}` and
:math:`\theta = \Theta_{\alpha\beta}/\sqrt{K_{\alpha\alpha}K_{\beta\beta}}` obey the derived rates at inputs of size 1, less the growth
:math:`g\rho` and :math:`g\theta` with :math:`\dot K_{\alpha\alpha} = g K_{\alpha\alpha}`. So :math:`\rho_t` and :math:`\theta_t` are functions of
:math:`\rho_0 = \cos u` alone. In u they are analytic on :math:`[0, \pi]`, ends included, so Chebyshev series
converge geometrically; terms are added until the last ones vanish.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.polynomial import chebyshev
from numpy.typing import NDArray
from scipy.linalg import expm

from derivations.symbols import time
from numerics.compile import compile_expression
from numerics.kernels.derived import Block, DerivedFlow
from numerics.kernels.integration import integrate
from numerics.kernels.tables import chebyshev_points

Array = NDArray[np.float64]
_EXACT = 1e-13
_MOST_GROWTH = 709.0  # of a variance's logarithm: e^710 is beyond doubles


@dataclass(frozen=True)
class CorrelationMap:
    """From the correlation at depth 0 to that at depth t and the normalised tangent kernel; growth is of the variances."""

    correlation: Array
    tangent: Array
    growth: float

    @classmethod
    def solve(cls, flow: DerivedFlow, t: float, tolerance: float) -> CorrelationMap:
        """Integrate at Chebyshev points in u, twice as many until the series ends below the tolerance."""
        size = 128
        while size <= 512:
            points, to_series = chebyshev_points(size)
            u = (points + 1) * np.pi / 2
            rho, theta, grown = _flow(flow, np.cos(u), t, tolerance / 10)
            series = [to_series @ values for values in (rho, theta)]
            if all(np.abs(s[-4:]).max() <= tolerance * np.abs(s).max() / 10 for s in series):
                kept = [_trimmed(s, tolerance / 100) for s in series]
                return cls(kept[0], kept[1], float(np.exp(grown)))
            size *= 2
        raise ValueError(f"the correlation map at t = {t:g} is too steep for {size // 2} terms; choose a smaller t")

    def __call__(self, correlation: Array, tangent: bool) -> tuple[Array, Array | None]:
        """Apply to an array of correlations."""
        z = np.arccos(np.clip(correlation, -1.0, 1.0)) * (2 / np.pi) - 1
        series = (self.correlation, self.tangent if tangent else None)
        rho, theta = (None if s is None else np.asarray(chebyshev.chebval(z, s), dtype=float) for s in series)
        assert rho is not None
        return rho, theta


def _trimmed(series: NDArray[np.floating], tolerance: float) -> Array:
    large = np.flatnonzero(np.abs(series) > tolerance * np.abs(series).max())
    return np.asarray(series[: large[-1] + 1] if len(large) else series[:1], dtype=float)


def _require_doubles(growth: float, s: float, t: float) -> None:
    """Refuse variances that are larger than doubles, by the logarithm of their growth."""
    if growth > _MOST_GROWTH:
        raise ValueError(
            f"the kernel is larger than a double can be at depth t = {s:.6g}, got t = {t:g}; choose a smaller t or smaller variances"
        )


def _flow(flow: DerivedFlow, start: Array, t: float, tolerance: float) -> tuple[Array, Array, float]:
    """Correlations, normalised tangent kernels, and the logarithm of the growth of the variances."""
    parts, unit = 1 + flow.tangent, np.ones((len(flow.flow.states), 1))
    every, known = Block(slice(None), slice(None)), flow.velocity_alone(0.0, unit)
    moves = flow.flow.moves_alone

    def velocity(s: float, y: Array) -> Array:
        _require_doubles(y[-1], s, t)
        kernels = y[:-1].reshape(parts, 1, -1)
        kernels = np.concatenate([np.clip(kernels[:1], -1.0, 1.0), kernels[1:]])
        growth = (flow.velocity_alone(s, unit) if moves else known)[flow.flow.states.index(1), 0]
        speed = flow.velocity(s, unit, every, kernels) - growth * y[:-1].reshape(kernels.shape)
        return np.append(speed.ravel(), growth)

    if t == 0.0:
        return start, start, 0.0
    both = np.append(np.tile(start, parts), 0.0)
    end = integrate(velocity, both, t, max(tolerance, _EXACT), np.ones(len(both))).y[:, -1]
    _require_doubles(end[-1], t, t)
    found = end[:-1].reshape(parts, -1)
    return found[0], found[-1], float(end[-1])


def affine_map(flow: DerivedFlow, t: float) -> Array:
    """K and Θ of a pair at depth t from their value at depth 0 where their equation is affine: a constant and a factor a row."""
    entries = flow.flow.generator
    size, at = entries.rows, compile_expression((time,), list(entries))

    def generator(s: float) -> Array:
        return np.array([float(entry) for entry in at(s)]).reshape(size, size)

    if entries.has(time):

        def velocity(s: float, y: Array) -> Array:
            return (generator(s) @ y.reshape(size, size)).ravel()

        moved = integrate(velocity, np.eye(size).ravel(), t, _EXACT, np.ones(size**2)).y[:, -1].reshape(size, size)
    else:
        moved = expm(t * generator(0.0))
    found: Array = np.stack([moved[1:, 0], moved[1:, 1:].sum(axis=1)], axis=1)
    return found
