r"""Dense networks, pair by pair: blocks of pairs are integrated each with its own steps."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from numerics.compile.jit import Kernel
from numerics.kernels.means import BELOW_ONE, LEAST
from numerics.kernels.rates import Alone, Rates, integrate

Array = NDArray[np.float64]


def solve_block(
    rates: Rates,
    alone: Alone,
    rows: slice,
    columns: slice,
    start: Array,
    t: float,
    tolerance: float,
    tangent: bool,
    kernel: Kernel | None = None,
) -> tuple[Array, Array | None]:
    """K and Θ for all pairs of some inputs (rows) with some others (columns).

    Parameters
    ----------
    alone : Alone
        The flows of the inputs themselves.
    start : array, shape (rows, columns)
        Their kernel at depth 0, which is also the tangent kernel there.
    kernel : callable, optional
        The right-hand side as machine code, of :meth:`numerics.kernels.rates.Rates.jit`; without it arrays.
    """
    shape, parts = start.shape, 2 if tangent else 1
    if t == 0.0 or not start.size:
        return start, start if tangent else None
    # an input with itself is no pair: at correlation 1 the means have no derivative, and ``alone`` has the answer
    own = alone.at(0.0)[1]
    same = np.maximum(np.abs(start - own[rows, None]), np.abs(start - own[columns])) <= 1e-13 * own[rows, None]
    opposite = np.zeros_like(same)
    if (
        rates.mirrored
    ):  # an input with its negative: minus the answer, where correlation -1 would be left by rounding alone
        opposite = np.maximum(np.abs(start + own[rows, None]), np.abs(start + own[columns])) <= 1e-13 * own[rows, None]
    start = np.where(same | opposite, 0.0, start)

    def velocity(s: float, y: Array) -> Array:
        kernels = y.reshape(parts, *shape)
        mean, second, _ = alone.at(s)
        variance = np.maximum(second - mean**2, 0.0)
        speed = np.empty_like(kernels)
        if kernel is not None:
            numbers = BELOW_ONE, rates.noise, rates.own, rates.weight_variance, rates.bias_variance
            variance = np.maximum(variance, LEAST)
            kernel(variance[rows], variance[columns], kernels, *numbers, speed)
            return speed.ravel()
        covariance = kernels[0] - mean[rows, None] * mean[columns] if rates.moving else kernels[0]
        gram = rates.covariance(rates.inner.pairs(mean, variance)(rows, columns, covariance))
        speed[0] = rates.noise * gram
        if tangent and rates.slope is not None:
            slopes = rates.slope.pairs(mean, variance)(rows, columns, covariance)
            speed[1] = rates.noise * (gram + rates.weight_variance * slopes * kernels[1])
        if rates.own:
            speed += 2 * rates.own * kernels
        if rates.moving:
            diagonal = rates.covariance(rates.inner.square(mean, variance))
            push = rates.push(rates.inner.first(mean, variance), diagonal)
            speed[0] += mean[rows, None] * push[columns] + push[rows, None] * mean[columns]
        return speed.ravel()

    both = np.concatenate([start.ravel()] * parts)
    ends = alone.at(t)[1:]
    sizes = [np.maximum(own, end) for end in ends[:parts]]
    scale = np.concatenate([np.sqrt(np.outer(size[rows], size[columns])).ravel() for size in sizes])
    solved = integrate(velocity, both, t, tolerance, scale).y[:, -1].reshape(parts, *shape)
    for solution, value in zip(solved, ends, strict=False):
        solution[same] = np.broadcast_to(value[rows, None], shape)[same]
        solution[opposite & ~same] = -np.broadcast_to(value[rows, None], shape)[opposite & ~same]
    return solved[0], solved[1] if tangent else None
