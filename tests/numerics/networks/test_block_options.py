"""Options of blocks, one layer at a time: the neurons' drift and covariance by weights drawn by hand, with controls."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp

from derivations import AttentionBlock, ConvBlock, GatedBlock, MLPBlock, TransformerBlock, identity, relu, tanh
from derivations.limits.depth import neuron_limit
from numerics import simulate_network
from tests.drawn_blocks import DrawnBlock, distances, valued

HALF = sp.Rational(1, 2)
MEANS = {"weight_mean": HALF, "bias_mean": -HALF, "output_mean": 1, "output_bias_mean": HALF}
PAIR = [[2, HALF], [HALF, 1]]

BLOCKS = {
    "means of attention": AttentionBlock(width=2, size=2, value_size=3, bias_variance=HALF, **MEANS),
    "filters, covariances": ConvBlock(
        identity, width=2, hidden=2, circular=False, row_covariance=PAIR, column_covariance=PAIR, keep=HALF
    ),
    "gate, means": GatedBlock(tanh, width=2, inputs=2, hidden=3, **MEANS),
    "signs": MLPBlock(identity, width=2, hidden=3, law="rademacher", norm="rms", weight_variance=2, keep_branch=HALF),
    "covariance of heads": AttentionBlock(
        width=2, size=1, value_size=2, scale="linear", row_covariance=PAIR, weight_mean=1
    ),
    "heads, mask, 3 tokens": AttentionBlock(
        width=2, positions=3, heads=2, size=3, value_size=2, masked=True, norm="rms", bias_variance=HALF, bias_mean=-1
    ),
    "one key, over k": AttentionBlock(width=2, positions=3, size=1, value_size=1, scale="linear", weight_variance=2),
    "transformer": TransformerBlock(
        width=2, activation=relu, size=2, value_size=2, hidden=3, keep_branch=0.8, output_mean=1
    ),
    "parallel": TransformerBlock(
        width=2, activation=relu, size=2, hidden=3, parallel=True, norm="none", bias_mean=HALF
    ),
    "post-norm": AttentionBlock(width=2, size=2, value_size=2, norm="rms", place="post"),
    "filters, means": ConvBlock(identity, width=2, positions=(2,), filter=(1,), hidden=2, **MEANS),
    "orthogonal": ConvBlock(relu, width=2, hidden=1, law="orthogonal", output_bias_mean=1),
}
QUICK = ("filters, means", "signs")
SIZE, SAMPLES, MORE = 0.01, 8000, 40_000


def _start(block):
    start = np.random.default_rng(7).standard_normal((int(block.width), block.coordinates))
    return start / np.sqrt((start**2).mean(axis=0)) if block.place == "post" else start  # where the layers leave it


def _derived(block, start):
    """Drift and covariance at a start, each with what it may err by."""
    limit = neuron_limit(block.program(), block.coordinates)
    limit = getattr(limit, "explicit", limit)
    at = dict(zip(limit.states, map(sp.Float, start.ravel()), strict=True))
    drift = np.array([valued(entry.xreplace(at)) for entry in limit.drift])
    covariance = np.zeros((start.size, start.size, 2))
    for i in range(start.size):
        for j in range(i + 1):
            covariance[i, j] = covariance[j, i] = valued(limit.covariance[i, j].xreplace(at))
    return drift, covariance


def _cases(quick):
    return [pytest.param(n, marks=[] if n in QUICK else [pytest.mark.slow]) for n in BLOCKS if quick or n not in QUICK]


@pytest.mark.parametrize("name", _cases(True))
def test_drift_and_covariance_are_those_of_weights_drawn_by_hand(name):
    block = BLOCKS[name]
    start = _start(block)
    drift, covariance = _derived(block, start)
    samples = SAMPLES if name in QUICK else MORE
    net = DrawnBlock(block, start, samples, np.random.default_rng(8))

    def at(size):
        """The increment's parts that are even and odd in the last matrices, per unit of time and of its root."""
        plus, minus = (net.step(size, sign).reshape(samples, -1) for sign in (1.0, -1.0))
        odd = (plus - minus) / (2 * size)
        return (plus + minus) / (2 * size**2), np.einsum("si,sj->sij", odd, odd)

    # the next terms are of relative size ε², and fall away between two sizes
    moved, products = ((4 * near - far) / 3 for near, far in zip(at(SIZE), at(2 * SIZE), strict=True))
    assert distances(moved, drift[:, 0], drift[:, 1]).max() < 4.8
    assert distances(products, covariance[..., 0], covariance[..., 1]).max() < 4.8
    assert distances(products, 1.15 * covariance[..., 0], covariance[..., 1]).max() > 4.8
    if np.any(drift):
        assert distances(moved, 1.3 * drift[:, 0], drift[:, 1]).max() > 4.8


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in BLOCKS if name != "one key, over k"])
def test_networks_draw_these_blocks(name):
    block = BLOCKS[name]
    start = _start(block)
    by_hand = start + DrawnBlock(block, start, SAMPLES, np.random.default_rng(8)).step(1.0)
    after = simulate_network(block, 1, SAMPLES, x0=start, t=1, seed=9, method="weights")
    for power in (1, 2):  # moments of bounded functions
        one, other = (np.tanh(x.reshape(SAMPLES, -1)) ** power for x in (by_hand, after))
        error = np.hypot(one.std(axis=0), other.std(axis=0)) / np.sqrt(SAMPLES)
        assert np.all(np.abs(one.mean(axis=0) - other.mean(axis=0)) < 4.8 * error + 1e-12)
