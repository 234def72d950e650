r"""Networks over a grid: the kernel of all inputs and positions at once, each pair fed by what the filter reads."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from derivations.language.filters import Tap
from numerics.kernels.rates import Rates, integrate

Array = NDArray[np.float64]


def solve_grid(
    rates: Rates, taps: tuple[Tap, ...], start: Array, t: float, tolerance: float, tangent: bool
) -> tuple[Array, Array | None]:
    """K and Θ over all coordinates (inputs times positions), shape (coordinates, coordinates)."""
    size, every = len(start), slice(None)
    reads = np.array([[-1 if a is None else a for a in tap] for tap in taps]) if taps else np.arange(size)[None]

    def gathered(values: Array) -> Array:
        """The average over the filter of what pairs of coordinates read; beyond a border 0."""
        bordered = np.zeros((size + 1, size + 1))
        bordered[:-1, :-1] = values
        total = np.zeros((size, size))
        for read in reads:
            total += bordered[np.ix_(read, read)]
        return total / len(reads)

    def velocity(_: float, y: Array) -> Array:
        mean, kernels = y[:size], y[size:].reshape(-1, size, size)
        variance = np.maximum(np.diag(kernels[0]) - mean**2, 0.0)
        covariance = kernels[0] - np.outer(mean, mean)
        product = rates.inner.pairs(mean, variance)(every, every, covariance)
        np.fill_diagonal(product, rates.inner.square(mean, variance))
        gram = rates.covariance(gathered(product))
        push = np.zeros(size)
        if rates.moving:
            first = np.append(rates.inner.first(mean, variance), 0.0)[reads].mean(axis=0)
            push = rates.push(first, np.diag(gram))
        speed = np.empty_like(kernels)
        speed[0] = rates.noise * gram + np.outer(mean, push) + np.outer(push, mean)
        if tangent and rates.slope is not None:
            slopes = rates.slope.pairs(mean, variance)(every, every, covariance)
            np.fill_diagonal(slopes, rates.slope.square(mean, variance))
            speed[1] = rates.noise * (gram + rates.weight_variance * gathered(slopes * kernels[1]))
        speed += 2 * rates.own * kernels
        return np.concatenate([rates.own * mean + push, speed.ravel()])

    if t == 0.0:
        return start, start if tangent else None
    parts = 2 if tangent else 1
    both = np.concatenate([np.zeros(size), *[start.ravel()] * parts])
    own = np.diag(start)
    scale = np.full(len(both), max(float(own.max()), float(np.abs(velocity(0.0, both)).max()) * t))
    solved = integrate(velocity, both, t, tolerance, scale).y[size:, -1].reshape(parts, size, size)
    return solved[0], solved[1] if tangent else None
