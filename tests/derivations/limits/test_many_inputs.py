"""Formulas over many inputs come from a generic pair and a generic quadruple: the same formulas, for the same work."""

import pickle

import numpy as np
import pytest
import sympy as sp

from derivations import (
    AttentionBlock,
    ConvBlock,
    MLPBlock,
    Network,
    Weights,
    derive,
    epsilon,
    gelu,
    layer_norm,
    relu,
    rms_norm,
    silu,
    symbols,
    tanh,
)
from derivations.kernels import ntk
from derivations.limits.elimination.labels import relabelled, symmetric_pairs
from derivations.limits.elimination.moments import LayerMoments, layer_moments
from derivations.limits.gram import gram_matrix, upper
from tests.helpers import equal_by_sampling, equal_symbolically

n = symbols.width
A, B, C = Weights("A"), Weights("B", out=4 * n), Weights("C", out=4 * n)
LAYERS = {
    "two matrices": lambda x: x + epsilon * A(relu(B(x))),
    "layer norm": lambda x: x + epsilon * A(relu(B(layer_norm(x)))),
    "gate": lambda x: x + epsilon * A(silu(B(rms_norm(x))) * C(rms_norm(x))),
    "norm at the end": lambda x: rms_norm(x + epsilon * A(relu(B(x)))),
}


def relu_pair(a, b, c):
    """E relu relu for the covariance [[a, b], [b, c]]: the arc-cosine kernel."""
    return (sp.sqrt(a * c - b**2) + b * (sp.pi / 2 + sp.asin(b / sp.sqrt(a * c)))) / (2 * sp.pi)


@pytest.mark.slow
def test_covariance_of_six_inputs_is_that_of_the_theory():
    gram = derive(Network(LAYERS["two matrices"], width=n, inputs=6)).gram
    S, place = gram.matrix, {pair: i for i, pair in enumerate(upper(6))}

    def force(a, b):
        return S[a, a] / 2 if a == b else relu_pair(S[a, a], S[a, b], S[b, b])

    for (a, b), (c, d) in (((2, 3), (3, 5)), ((4, 5), (0, 1)), ((4, 4), (0, 4)), ((1, 5), (1, 5))):
        found = gram.covariance[place[a, b], place[c, d]]
        wanted = (S[a, c] * force(b, d) + S[a, d] * force(b, c) + S[b, c] * force(a, d) + S[b, d] * force(a, c)) / n
        assert equal_symbolically(found, wanted)
        assert found == gram.covariance[place[c, d], place[a, b]]
    assert gram.covariance[place[2, 3], place[3, 5]] != gram.covariance[place[2, 3], place[4, 5]]  # the control
    assert pickle.loads(pickle.dumps(gram)).covariance == gram.covariance


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name in ("layer norm", "gate") else []) for name in LAYERS]
)
def test_work_does_not_grow_with_the_inputs(name, monkeypatch):
    counted, mean = [], LayerMoments.mean

    def counting(self, *arguments):
        counted[-1] += 1
        return mean(self, *arguments)

    monkeypatch.setattr(LayerMoments, "mean", counting)
    for inputs in (5, 11):
        counted.append(0)
        layer_moments.cache_clear()  # what a limit of other inputs has asked for
        _ = derive(Network(LAYERS[name], width=n, inputs=inputs)).gram if name != "norm at the end" else None
        ntk(Network(LAYERS[name], width=sp.oo, inputs=inputs))
    assert counted[0] == counted[1] > 0


def test_symmetric_pairs_are_all_labels_of_one_covariance():
    assert set(symmetric_pairs(0, 1, 2, 3)) == {(*p, *q) for p in ((0, 1), (1, 0)) for q in ((2, 3), (3, 2))} | {
        (*q, *p) for p in ((0, 1), (1, 0)) for q in ((2, 3), (3, 2))
    }


def test_names_of_entries_are_different_for_a_hundred_inputs():
    matrix = gram_matrix(112)
    names = [str(matrix[pair]) for pair in upper(112)]
    assert len(set(names)) == len(names)


def test_relabelling_is_replacement():
    few, many = gram_matrix(2), gram_matrix(30)
    rule = {few[0, 0]: many[21, 21], few[0, 1]: many[3, 21], few[1, 1]: many[3, 3]}
    expr = relu_pair(few[0, 0], few[0, 1], few[1, 1]) + sp.exp(few[0, 1] - few[0, 0]) / (1 + few[1, 1]) ** 2
    assert relabelled(expr, rule) == expr.xreplace(rule)
    assert relabelled(expr, {}) == expr


@pytest.mark.slow
def test_tangent_kernel_through_layer_norm_at_sixteen_inputs():
    # u ~ N(0, K_ab/√(K_aa K_bb)): own parameters of A: F; of B: E φ'φ' ρ; passed on: E φ'φ' Θ/√(K_aa K_bb)
    flow = ntk(Network(LAYERS["layer norm"], width=sp.oo, inputs=16))
    K, theta = gram_matrix(16, "K"), gram_matrix(16, "Theta")
    velocity = dict(zip(flow.states, flow.drift, strict=True))
    a, b = 4, 13
    size = sp.sqrt(K[a, a] * K[b, b])
    rho = K[a, b] / size
    slope = (sp.pi / 2 + sp.asin(rho)) / (2 * sp.pi)
    wanted = relu_pair(1, rho, 1) + slope * (rho + theta[a, b] / size)
    points = {K[a, a]: [2, 3], K[b, b]: [1, 2], K[a, b]: ["1/3", "-1/2"], theta[a, b]: [1, "-2/7"]}
    assert equal_by_sampling(velocity[theta[a, b]], wanted, points)
    with pytest.raises(AssertionError):
        equal_by_sampling(velocity[theta[a, b]], wanted + rho / 1000, points)  # the control
    assert equal_symbolically(velocity[theta[a, a]], 1 + theta[a, a] / (2 * K[a, a]))


@pytest.mark.slow
def test_norm_at_the_end_takes_the_radial_part_off_the_tangent():
    # V_aa = 1: Θ' = F + E φ'φ' (K + Θ) - ½(g_a + g_b) Θ with g = F_aa = ½, and K_aa is no state
    flow = ntk(Network(LAYERS["norm at the end"], width=sp.oo, inputs=3))
    assert [str(s) for s in flow.states[:3]] == ["K_12", "K_13", "K_23"]
    velocity = {str(s): v for s, v in zip(flow.states, flow.drift, strict=True)}
    k, theta = flow.states[1], sp.Symbol("Theta_13", real=True)
    slope = (sp.pi / 2 + sp.asin(k)) / (2 * sp.pi)
    assert equal_symbolically(velocity["Theta_13"], relu_pair(1, k, 1) + slope * (k + theta) - theta / 2)
    assert velocity["Theta_11"] == 1


def test_all_neurons_of_many_inputs_are_those_of_two_under_other_names():
    def limit(inputs):
        return derive(Network(LAYERS["norm at the end"], width=2, inputs=inputs)).limit

    two, many = limit(2), limit(12)
    assert len(many.states) == 24
    for first, second in ((3, 7), (9, 0)):
        names = dict(zip(two.states, (many.states[i * 12 + a] for i in range(2) for a in (first, second)), strict=True))
        place = {s: k for k, s in enumerate(many.states)}
        for k, s in enumerate(two.states):
            assert sp.expand(two.drift[k].xreplace(names) - many.drift[place[names[s]]]) == 0
            for j, r in enumerate(two.states):
                assert (
                    sp.expand(two.covariance[k, j].xreplace(names) - many.entry(place[names[s]], place[names[r]])) == 0
                )
    assert two.covariance[0, 0] != two.covariance[0, 1] != two.covariance[0, 2]  # the control


def test_a_covariance_of_many_inputs_is_made_when_it_is_read():
    limit = derive(Network(LAYERS["two matrices"], width=n, inputs=6)).limit
    assert limit.neuron_covariance == sp.Matrix(6, 6, limit.neuron_entry)
    assert pickle.loads(pickle.dumps(limit)).neuron_covariance == limit.neuron_covariance


PRODUCTS = {
    "filters": ConvBlock(gelu, width=symbols.width, positions=3),
    "three inputs": MLPBlock(tanh, width=3, inputs=3, norm="rms"),
    "centred": MLPBlock(relu, width=4, inputs=3, norm="layer"),
    "linear attention": AttentionBlock(width=symbols.width, positions=3, kind="linear", heads=2, norm="rms"),
}


@pytest.mark.parametrize("name", PRODUCTS)
def test_the_noise_of_gram_matrices_is_made_of_the_entries_that_are_printed(name):
    d = derive(PRODUCTS[name])
    gram, rng = d.closure, np.random.default_rng(1)
    m = gram.matrix.rows
    x = rng.standard_normal((7, m))
    at = {gram.matrix[a, b]: sp.Float((x.T @ x / 7)[a, b], 20) for a in range(m) for b in range(a, m)}
    places = {entry: (a, b) for a in range(m) for b in range(a, m) if (entry := gram.matrix[a, b])}
    F = sp.zeros(m, m)
    for state, drift in zip(gram.process.states, gram.process.drift, strict=True):
        a, b = places[state]
        F[a, b] = F[b, a] = drift.xreplace(at) / (1 - sp.Integer(gram.centred) / gram.width)
    for (a, b), entry in gram.noises.items():
        assert abs(sp.N(entry.xreplace(at) - F[a, b])) < 1e-12
    V = gram.matrix.xreplace(at)
    count = len(gram.process.states)
    for i, j in {(0, 0), (0, count - 1), (1, 2), *map(tuple, rng.integers(count, size=(3, 2)))}:
        (a, b), (c, e) = (places[gram.process.states[k]] for k in (i, j))
        wanted = (V[a, c] * F[b, e] + V[a, e] * F[b, c] + V[b, c] * F[a, e] + V[b, e] * F[a, c]) / gram.width
        found = gram.process.entry(int(i), int(j)).xreplace(at)
        assert abs(sp.N((found - wanted).subs(symbols.width, 5))) < 1e-12
    printed = str(d)
    assert len(printed) < 16_000
    for line in (*(() if gram.centred else ("E[dV_αβ | V] = F_αβ dt",)), "d[V_αβ, V_γδ]_t = 1/", "F_12 ="):
        assert line in printed
