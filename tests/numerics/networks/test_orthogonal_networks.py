"""Orthogonal weights, drawn here: a shaped perceptron loses its noise, a residual network has the limit that it has with Gaussian weights."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp
from scipy import stats

from derivations import Flow, Network, Regime, ResNet, Weights, derive, epsilon, relu
from derivations.symbols import width as n
from numerics import simulate_sde

H = Weights("H", law="orthogonal")


def haar(rng, count, size):
    """Uniform orthogonal matrices."""
    q, r = np.linalg.qr(rng.standard_normal((count, size, size)))
    return q * np.sign(np.einsum("sii->si", r))[:, None, :]


@pytest.mark.slow
def test_a_shaped_perceptron_loses_its_noise():
    size, depth, count = 32, 16, 300
    limit = derive(Network(lambda x: H(sp.tanh(epsilon * x) / epsilon), width=n, regime=Regime(depth=1))).limit
    assert isinstance(limit, Flow)
    logs = {}
    for name in ("orthogonal", "gaussian"):
        rng = np.random.default_rng(5)
        x = rng.standard_normal((count, size, 1))
        x /= np.sqrt((x**2).mean(axis=1, keepdims=True))
        for _ in range(depth):
            w = haar(rng, count, size) if name == "orthogonal" else rng.standard_normal((count, size, size)) / size**0.5
            x = w @ (np.tanh(x / size**0.5) * size**0.5)
        logs[name] = np.log((x**2).mean(axis=(1, 2)))
    # with Gaussian weights log V has variance 2 per unit of time but for the drift; without noise what is left is of order 1/n
    t = depth / size
    assert logs["orthogonal"].var() < 2 * t / size
    assert logs["gaussian"].var() > 10 * 2 * t / size
    # V' = -2V² from 1, up to 1/n
    assert abs(np.exp(logs["orthogonal"]).mean() - 1 / (1 + 2 * t)) < 1 / size


@pytest.mark.slow
def test_a_residual_network_has_the_same_limit():
    depth, count = 200, 4000
    rng = np.random.default_rng(6)
    x = np.broadcast_to(np.array([1.0, -0.5]), (count, 2))
    for _ in range(depth):
        angle, mirror = rng.uniform(0, 2 * np.pi, count), rng.choice([-1.0, 1.0], count)
        y = np.maximum(x, 0)
        turned = np.stack(
            [np.cos(angle) * y[:, 0] - np.sin(angle) * y[:, 1], np.sin(angle) * y[:, 0] + np.cos(angle) * y[:, 1]], 1
        )
        turned[:, 1] *= mirror
        x = x + turned / np.sqrt(depth)
    assert derive(Network(lambda x: x + epsilon * H(relu(x)), width=2)).limit == derive(ResNet(relu, width=2)).limit
    for variance, same in ((1, True), (sp.Rational(3, 2), False)):
        paths = simulate_sde(
            derive(ResNet(relu, width=2, weight_variance=variance)).limit,
            x0=[1.0, -0.5],
            t=1.0,
            steps=100,
            samples=count,
            seed=7,
        )
        found = [
            stats.ks_2samp(f(x), f(paths)).pvalue
            for f in (lambda z: z[:, 0], lambda z: z[:, 1], lambda z: (z**2).sum(1))
        ]
        assert (min(found) > 1e-3) == same
