"""Blocks over tokens by weights drawn by hand: one layer's conditional second moments, and the interpreter's networks."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import sympy as sp

from derivations import AttentionBlock, ConvBlock, TransformerBlock, relu, width_limit
from derivations.limits import gram_limit
from numerics import simulate_network, solve_flow
from numerics.compile import compile_expression

SIZE, SAMPLES = 0.02, 20_000
START = np.random.default_rng(7).standard_normal((4, 3))  # four neurons, three positions
PAIRS = [(a, b) for a in range(3) for b in range(a, 3)]

COMMON = {"width": 4, "positions": (3,)}
BLOCKS = {
    "heads, mask": AttentionBlock(
        **COMMON, heads=2, size=3, value_size=2, masked=True, norm="rms", bias_variance=sp.Rational(1, 2)
    ),
    "few keys": AttentionBlock(**COMMON, size=1, scale="linear", weight_variance=2),
    "transformer": TransformerBlock(**COMMON, activation=relu, size=2, hidden=5),
    "parallel": TransformerBlock(**COMMON, activation=relu, size=2, hidden=5, parallel=True, norm="none"),
    "convolution": ConvBlock(relu, 4, positions=(3,), filter=(3,), hidden=3, circular=False),
}


def _drawn(rng, rows, x, variance=1.0, bias=0.0):
    """A fresh matrix for each sample, applied to neurons × positions."""
    weights = rng.standard_normal((SAMPLES, rows, x.shape[-2])) * np.sqrt(variance / x.shape[-2])
    return weights @ x + np.sqrt(bias) * rng.standard_normal((SAMPLES, rows, 1))


def _attended(rng, x, block):
    total, bias, heads = 0.0, float(block.bias_variance), block.heads
    k, values, variance = int(block.size), block.value_size.subs(sp.Symbol("n"), 4), float(block.weight_variance)
    values = int(values) if values.is_Integer else 4
    for _ in range(heads):
        q, key = (_drawn(rng, k, x, variance, bias) for _ in range(2))
        scores = np.swapaxes(q, 1, 2) @ key / (k if block.scale == "linear" else np.sqrt(k))
        shares = np.exp(scores) * (np.tril(np.ones((3, 3))) if block.masked else 1)
        shares /= shares.sum(axis=2, keepdims=True)
        seen = _drawn(rng, values, x, variance, bias) @ np.swapaxes(shares, 1, 2)
        total = total + _drawn(rng, 4, seen, variance / heads, bias / heads)
    return total


def _normed(x):
    return x / np.sqrt(np.mean(x**2, axis=-2, keepdims=True))


def _by_hand(name, rng):
    block, x = BLOCKS[name], np.broadcast_to(START, (SAMPLES, 4, 3))
    if name == "convolution":

        def filtered(rows, read):
            total = 0.0
            for offset in (-1, 0, 1):
                moved = np.zeros_like(read)
                here = slice(max(0, -offset), 3 - max(0, offset))
                there = slice(max(0, offset), 3 - max(0, -offset))
                moved[..., here] = read[..., there]
                total = total + _drawn(rng, rows, moved, 1 / 3)
            return total

        return x + SIZE * filtered(4, np.maximum(filtered(3, x), 0))
    read = _normed if block.norm == "rms" else (lambda y: y)
    seen = x + SIZE * _attended(rng, read(x), block)
    if not isinstance(block, TransformerBlock):
        return seen
    hidden = np.maximum(_drawn(rng, 5, read(x if block.parallel else seen)), 0)
    return seen + SIZE * _drawn(rng, 4, hidden)


@cache
def _rates(name):
    """The Gram matrix's drift at the start."""
    gram = gram_limit(BLOCKS[name].program(), 3).process
    V = START.T @ START / 4
    return np.ravel(compile_expression(gram.states, list(gram.drift))(*(V[pair] for pair in PAIRS)))


def _distance(after, rates):
    """In standard errors: of the mean of the products of increments per unit of time."""
    step = (after - START) / SIZE
    worst = 0.0
    for rate, (a, b) in zip(rates, PAIRS, strict=True):
        product = (step[:, :, a] * step[:, :, b]).mean(axis=1)
        # points for a softmax err by some thousandths
        error = np.hypot(product.std() / np.sqrt(SAMPLES), 2e-3)
        worst = max(worst, abs(product.mean() - rate) / error)
    return worst


@pytest.mark.parametrize("name", [pytest.param(n, marks=[] if n == "few keys" else [pytest.mark.slow]) for n in BLOCKS])
def test_one_layer_s_moments_are_those_of_weights_drawn_by_hand(name):
    sample = _by_hand(name, np.random.default_rng(31))
    assert _distance(sample, _rates(name)) < 4.8
    assert _distance(sample, 1.15 * _rates(name)) > 4.8


@pytest.mark.slow
@pytest.mark.parametrize("name", BLOCKS)
def test_the_interpreter_draws_these_blocks(name):
    after = simulate_network(BLOCKS[name], 1, SAMPLES, x0=START, seed=32, t=SIZE**2)
    assert _distance(after, _rates(name)) < 4.8


@pytest.mark.slow
def test_a_deep_transformer_of_a_few_keys_follows_its_flow():
    # the width goes to infinity and the number of keys does not: scores are not Gaussian
    block = TransformerBlock(48, positions=(2,), activation=relu, size=2)
    kernel = np.array([[1.0, 0.3], [0.3, 1.0]])
    root = np.linalg.cholesky(kernel)

    flow = width_limit(replace(block, width=sp.oo))
    path = solve_flow(flow, [1.0, 0.3, 1.0], t=1.8, rtol=1e-5)
    gram = simulate_network(
        block, 40, 400, inputs=np.sqrt(2) * root.T[None], t=1.5, seed=33, record="gram", method="weights"
    )
    for k, place in ((0, (0, 0)), (1, (0, 1))):
        found = gram[(slice(None), *place)]
        error, wanted, later = found.std() / 20, path(1.5)[k], path(1.8)[k]
        # the width and the depth leave terms of the size of their inverses
        assert abs(found.mean() - wanted) < 4 * error + wanted / 40
        assert abs(found.mean() - later) > 4 * error + wanted / 40
