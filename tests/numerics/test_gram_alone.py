"""Blocks whose neurons have no equation one by one: the limit at a symbolic width is the Gram matrix's, against networks drawn by hand."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp

from derivations import Network, NotClosed, Weights, derive, epsilon, gelu, layer_norm, relu, rms_norm
from derivations.symbols import width as n
from numerics import simulate_sde

A, B = Weights("A", variance=2), Weights("B", out=4 * n)
WIDTH, DEPTH, NETWORKS = 8, 200, 1500


def block(x):
    return rms_norm(x + epsilon * A(relu(B(x))))


def test_the_limit_is_that_of_the_correlations():
    d = derive(Network(block, width=n, inputs=2))
    assert d.gram_alone
    assert d.limit == d.gram
    (v,) = d.limit.states
    assert d.limit.covariance[0].subs(v, 1) == 0  # equal inputs stay equal
    assert sp.simplify(d.limit.drift[0].subs(v, 1)) == 0
    assert d.existence.explodes == "cannot"
    said = " ".join(str(d).split())
    assert "No neuron has an equation by itself" in said
    assert "d[X" not in said
    assert not derive(Network(lambda x: x + epsilon * A(relu(B(x))), width=n, inputs=2)).gram_alone


def test_layer_norms_too():
    d = derive(Network(lambda x: layer_norm(x + epsilon * A(gelu(B(x)))), width=n, inputs=2))
    assert d.gram_alone
    assert len(d.limit.states) == 1


def test_one_input_is_refused_with_the_way_out():
    with pytest.raises(NotClosed, match="follow inputs=2: the Gram matrix of one input is fixed by every layer"):
        derive(Network(block, width=n))


def test_neurons_at_a_width_that_is_a_number_are_printed_as_neurons():
    said = " ".join(str(derive(Network(block, width=3))).split())
    assert "the neurons together follow a diffusion" in said
    assert "d[X^1, X^2]_t" in said
    assert "X_i^2" not in said
    assert "of its own" not in said


@pytest.mark.slow
def test_networks_drawn_by_hand_have_these_correlations():
    rng = np.random.default_rng(0)
    signs = np.where(np.arange(WIDTH) < 6, 1.0, -1.0)
    x = np.repeat(np.stack([np.ones(WIDTH), signs], -1)[None], NETWORKS, 0)  # correlation 1/2
    for _ in range(DEPTH):
        inner = rng.normal(size=(NETWORKS, 4 * WIDTH, WIDTH)) / np.sqrt(WIDTH)
        outer = rng.normal(size=(NETWORKS, WIDTH, 4 * WIDTH)) * np.sqrt(2 / (4 * WIDTH * DEPTH))
        x = x + outer @ np.maximum(inner @ x, 0)
        x /= np.sqrt((x**2).mean(1, keepdims=True))
    measured = (x[..., 0] * x[..., 1]).mean(1)
    limit = derive(Network(block, width=n, inputs=2)).limit

    def scores(width):
        paths = simulate_sde(limit.subs(n, width), x0=0.5, t=1.0, steps=200, samples=20_000, seed=1)[:, 0]
        first = (measured.mean() - paths.mean()) / np.sqrt(measured.var() / NETWORKS + paths.var() / 20_000)
        spread = np.sqrt(np.var((measured - measured.mean()) ** 2) / NETWORKS)
        return first, (measured.var() - paths.var()) / spread

    bias = 1 / DEPTH  # of order of a layer's share of the time, beside standard errors of 1/150 and 1/30
    assert bias < np.sqrt(measured.var() / NETWORKS)
    assert max(map(abs, scores(WIDTH))) < 4
    assert abs(scores(2 * WIDTH)[1]) > 5  # the control: networks twice as wide fluctuate half as much
