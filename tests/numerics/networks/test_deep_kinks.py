"""Unshaped kinks through 50 layers: two inputs come together as their own expansion at correlation 1 says; what has none is refused."""

import numpy as np
import pytest
import sympy as sp

from derivations import MLP, Network, Weights, average, derive, relu
from derivations.errors import DerivationError
from derivations.symbols import width

pytestmark = pytest.mark.slow


def euler(limit, start, begin, end, factors=(1, 1), paths=100_000, steps=400):
    """Samples of q by Euler's scheme for log q, with drift and variance per unit of log q times factors."""
    (q,), t = limit.states, limit.time
    drift, variance = sp.lambdify((q, t), limit.drift[0] / q), sp.lambdify((q, t), limit.covariance[0, 0] / q**2)
    logs, rng, dt = np.full(paths, np.log(start)), np.random.default_rng(2), (end - begin) / steps
    for k in range(steps):
        at, now = np.exp(logs), begin + k * dt
        rate, spread = factors[0] * drift(at, now), factors[1] * variance(at, now)
        logs = logs + (rate - spread / 2) * dt + np.sqrt(spread * dt) * rng.standard_normal(paths)
    return np.exp(logs)


def test_two_inputs_of_an_unshaped_perceptron_come_together():
    size, depth, count, gap = 100, 50, 12_000, 0.01
    rng, rho = np.random.default_rng(1), 1 - gap
    x = rng.standard_normal((count, size), dtype=np.float32)
    y = rng.standard_normal((count, size), dtype=np.float32)
    # two vectors of norm √n at the correlation ρ exactly
    x *= np.sqrt(size / (x**2).sum(1, keepdims=True))
    y -= (x * y).sum(1, keepdims=True) / size * x
    y *= np.sqrt(size / (y**2).sum(1, keepdims=True))
    y = np.float32(rho) * x + np.float32(np.sqrt(1 - rho**2)) * y
    for layer in range(depth):
        if layer:
            x, y = np.maximum(x, 0), np.maximum(y, 0)
        # given the last layer, neurons are i.i.d. Gaussian pairs: the first, and what the second differs by
        a, b, c = 2 * (x * x).mean(1), 2 * (x * (y - x)).mean(1), 2 * ((y - x) ** 2).mean(1)
        if not layer:
            a, b, c = a / 2, b / 2, c / 2
        first, own = rng.standard_normal((2, count, size), dtype=np.float32)
        x = np.sqrt(a)[:, None] * first
        y = x + (b / np.sqrt(a))[:, None] * first + np.sqrt(c - b * b / a)[:, None] * own
    x, y = np.maximum(x, 0), np.maximum(y, 0)
    a, b, c = (x * x).mean(1), (x * (y - x)).mean(1), ((y - x) ** 2).mean(1)
    # sin² of the angle is (ac − b²)/(a |y|²)
    cosine = (a + b) / np.sqrt(a * (a + 2 * b + c))
    left = (a * c - b * b) / (a * (a + 2 * b + c)) / (1 + cosine)

    limit = derive(MLP(relu, inputs=2), order="joint").limit
    begin, end = 0.5, 0.5 + depth / size  # ℓ counts from any layer on: q = ℓ²(1 − ρ)

    def roots(factors):
        return np.sqrt(euler(limit, (begin * size) ** 2 * gap, begin, end, factors)) / (end * size)

    found, derived = np.sqrt(left), roots((1, 1))
    error = np.hypot(found.std() / np.sqrt(count), derived.std() / np.sqrt(len(derived)))
    allowed = 4 * error + 2 / size * derived.mean()
    assert abs(found.mean() - derived.mean()) < allowed
    assert abs(found.mean() - roots((1.1, 1)).mean()) > allowed
    spread = np.log(found).var()
    assert abs(spread / np.log(derived).var() - 1) < 4 * np.sqrt(2 / count) + 4 / size
    assert abs(spread / np.log(roots((1, 1.25))).var() - 1) > 4 * np.sqrt(2 / count) + 4 / size


def test_kinks_of_more_pairs_are_refused():
    with pytest.raises(DerivationError, match="follow them pair by pair"):
        derive(MLP(relu, inputs=3), order="joint")
    rectified = Weights("A", variance=2)
    with pytest.raises(DerivationError, match="moves a kink"):
        derive(Network(lambda x: rectified(relu(x - average(x))), width=width, inputs=2), order="joint")
