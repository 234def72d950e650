"""Limits of blocks with several statements: the published and the re-derived formulas, symbolically."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import sympy as sp

from derivations import (
    MLP,
    Network,
    NoLimit,
    NotClosed,
    PreNormResNet,
    Regime,
    ResNet,
    Weights,
    average,
    derive,
    drop_branch,
    dropout,
    epsilon,
    gelu,
    gram_limit,
    layer_norm,
    relu,
    rms_norm,
    tanh,
    width_limit,
)
from derivations.gaussian import expect_pair
from derivations.kernels import ntk
from derivations.symbols import state as x
from derivations.symbols import width as n
from tests.helpers import equal_symbolically

k = sp.Symbol("k", integer=True, positive=True)
A, B, C = Weights("A", variance=2), Weights("B", out=k, variance=3), Weights("C", out=k)
V = sp.Symbol("V", positive=True)
V11, V12, V22 = sp.Symbol("V_11", positive=True), sp.Symbol("V_12", real=True), sp.Symbol("V_22", positive=True)
P = sp.Rational(3, 4)


def relu_pair(a, b, c):
    """E relu relu for the covariance [[a, b], [b, c]], written out: the arc-cosine kernel."""
    return (sp.sqrt(a * c - b**2) + b * (sp.pi / 2 + sp.asin(b / sp.sqrt(a * c)))) / (2 * sp.pi)


def test_gram_matrix_of_two_matrices_closes_at_every_width():
    # dS = F dt + n^{-1/2} dM with d[S_ab, S_cd] = (S_ac F_bd + S_ad F_bc + S_bc F_ad + S_bd F_ac)/n, whatever k
    gram = derive(Network(lambda x: x + epsilon * A(relu(B(x))), width=n, inputs=2, parameters=(k,))).gram
    S = sp.Matrix([[V11, V12], [V12, V22]])
    F = sp.Matrix(2, 2, lambda a, b: 2 * (3 * S[a, a] / 2 if a == b else relu_pair(3 * V11, 3 * V12, 3 * V22)))
    pairs = [(0, 0), (0, 1), (1, 1)]
    for i, (a, b) in enumerate(pairs):
        assert equal_symbolically(gram.drift[i], F[a, b])
        for j, (c, d) in enumerate(pairs):
            wanted = (S[a, c] * F[b, d] + S[a, d] * F[b, c] + S[b, c] * F[a, d] + S[b, d] * F[a, c]) / n
            assert equal_symbolically(gram.covariance[i, j], wanted)


def test_norm_of_two_matrices_with_relu_is_log_normal_at_every_width():
    d = derive(Network(lambda x: x + epsilon * A(relu(B(x))), width=n, parameters=(k,)))
    s2 = 6  # σ² = σ_a²σ_b²
    assert equal_symbolically(d.gram.drift[0], s2 * V / 2)
    assert equal_symbolically(d.gram.covariance[0], 2 * s2 * V**2 / n)
    assert d.gram_law.name == "geometric Brownian motion"
    # log V ~ N((1/2 - 1/n) σ² t, 2σ² t/n): the moments of V say the same
    t, v0 = sp.Symbol("t", positive=True), sp.Symbol("v_0", positive=True)
    assert equal_symbolically(sp.log(d.gram_law.moment(1, t, v0)), sp.log(v0) + s2 * t / 2)
    ratio = d.gram_law.moment(2, t, v0) / d.gram_law.moment(1, t, v0) ** 2
    assert equal_symbolically(sp.expand_log(sp.log(ratio), force=True), 2 * s2 * t / n)


@pytest.mark.parametrize("norm", [rms_norm, layer_norm])
def test_pre_norm_makes_neurons_brownian_and_the_norm_a_squared_bessel_process(norm):
    d = derive(Network(lambda x: x + epsilon * A(relu(B(norm(x)))), width=n, parameters=(k,)))
    g = 2 * sp.Rational(3, 2)  # σ_a² E φ(σ_b Z)²
    assert d.limit.neuron_covariance[0] == g
    assert d.limit.neuron_drift[0] == 0
    assert equal_symbolically(d.gram.drift[0], g)  # d(nV/g) = n dt + 2 √(nV/g) dB: dimension n
    assert equal_symbolically(d.gram.covariance[0], 4 * g * V / n)


def test_layer_norm_closes_in_the_centred_states_with_one_dimension_less():
    closed = gram_limit(Network(lambda x: x + epsilon * A(layer_norm(x)), width=n, inputs=2).program(), 2)
    rho = V12 / sp.sqrt(V11 * V22)
    assert closed.centred
    assert equal_symbolically(closed.process.drift[0], 2 * (n - 1) / n)
    assert equal_symbolically(closed.process.drift[1], 2 * (n - 1) / n * rho)


@pytest.mark.parametrize(("activation", "variance"), [(relu, sp.Rational(1, 2) - 1 / (2 * sp.pi)), (sp.sin, None)])
def test_hidden_neurons_without_their_mean(activation, variance):
    """Of k i.i.d. numbers without their mean the mean square is (1 - 1/k) Var f(Z)."""
    centred = Network(lambda x: x + epsilon * A(activation(C(x)) - average(activation(C(x)))), width=n, parameters=(k,))
    drift = derive(centred).gram.drift[0]
    V = derive(centred).gram.states[0]
    own = V * variance if variance is not None else (1 - sp.exp(-2 * V)) / 2
    assert equal_symbolically(drift, 2 * (1 - 1 / k) * own)


def test_gate_explodes_in_the_flow_and_not_behind_a_norm():
    gate = Network(
        lambda x: x + epsilon * Weights("A")(relu(Weights("B", out=k)(x)) * C(x)), width=sp.oo, parameters=(k,)
    )
    K = sp.Symbol("K", positive=True)
    assert width_limit(gate).drift[0] == K**2 / 2  # s' = s²/2 blows up at 2/s_0
    normed = Network(lambda x: x + epsilon * A(relu(B(rms_norm(x))) * C(rms_norm(x))), width=sp.oo, parameters=(k,))
    assert width_limit(normed).drift[0] == 3


def test_post_norm_stays_on_the_sphere():
    layer = lambda x: rms_norm(x + epsilon * A(relu(B(x))))  # noqa: E731
    d = derive(Network(layer, width=3, parameters=(k,)))
    g, X = 3, sp.Matrix(d.limit.states)
    assert equal_symbolically((d.limit.drift + sp.Rational(2, 6) * g * X).norm(), 0)  # -((n-1)/2n) g X
    assert (d.limit.covariance - g * (sp.eye(3) - X * X.T / 3)).applyfunc(sp.expand).is_zero_matrix
    pair = gram_limit(Network(layer, width=n, inputs=2, parameters=(k,)).program(), 2)
    assert pair.fixed == {V11: 1, V22: 1}
    assert pair.process.states == (V12,)


@pytest.mark.slow
def test_dropout_with_masks_of_their_own_reaches_the_diagonal_only():
    def entries(layer):
        drift = derive(Network(layer, width=n, inputs=2, parameters=(k,))).gram.drift
        return drift[0], drift[1]

    plain = entries(lambda x: x + epsilon * A(relu(B(x))))
    own = entries(lambda x: x + epsilon * A(dropout(relu(B(x)), P)))
    shared = entries(lambda x: x + epsilon * A(dropout(relu(B(x)), P, shared=True)))
    branch = entries(lambda x: x + epsilon * drop_branch(A(relu(B(x))), P, shared=True))
    assert equal_symbolically(own[0], plain[0] / P)
    assert equal_symbolically(own[1], plain[1])
    for both in (shared, branch):
        assert equal_symbolically(both[0], plain[0] / P)
        assert equal_symbolically(both[1], plain[1] / P)


@pytest.mark.parametrize("activation", [relu, gelu, tanh], ids=str)
def test_flow_of_two_matrices_is_the_gaussian_mean(activation):
    flow = width_limit(Network(lambda x: x + epsilon * A(activation(B(x))), width=sp.oo, inputs=2, parameters=(k,)))
    k11, k12, k22 = flow.states
    block = ((3 * k11, 3 * k12), (3 * k12, 3 * k22))
    assert equal_symbolically(flow.drift[1], 2 * expect_pair(activation.expr, activation.expr, x, block))


def test_tangent_kernel_of_two_matrices():
    # own parameters: of A, E φφ; of B, E φ′φ′ K; passed on: E φ′φ′ Θ
    net = Network(lambda x: x + epsilon * Weights("A")(relu(Weights("B", out=k)(x))), width=sp.oo, parameters=(k,))
    flow = ntk(net)
    K, theta = flow.states
    assert equal_symbolically(flow.drift[1], K + theta / 2)


def test_gram_matrix_of_one_matrix_with_relu_does_not_close_and_says_why():
    d = derive(ResNet(relu, width=n))
    assert d.gram is None
    assert "neuron by neuron" in d.why_no_gram
    with pytest.raises(NotClosed, match="neuron by neuron"):
        gram_limit(ResNet(relu, width=n).program())


def test_linear_one_matrix_closes():
    d = derive(ResNet(x, width=n))
    assert equal_symbolically(d.gram.drift[0], V)
    assert equal_symbolically(d.gram.covariance[0], 4 * V**2 / n)


@pytest.mark.parametrize(
    ("layer", "says"),
    [
        (lambda x: x + A(relu(B(x))), "does not become continuous in depth"),
        (lambda x: x / 2 + epsilon * A(x), "does not become continuous in depth"),
        (lambda x: (x + rms_norm(x)) / 2 + epsilon * A(x), "0 at the mean square 1 only"),
        (lambda x: (x + layer_norm(x)) / 2 + epsilon * A(x), "0 at the mean square 1 only"),
        (lambda x: x + epsilon * average(x), "must vanish at order 1"),
        (lambda x: x + sp.sqrt(epsilon) * A(x), "covariance of one layer.s step"),
    ],
)
def test_a_wrong_scaling_is_refused(layer, says):
    with pytest.raises(NoLimit, match=says):
        derive(Network(layer, width=2, parameters=(k,)))


@pytest.mark.slow
def test_larger_of_two_matrices_in_one_body():
    # Var max(p, q) = V (1 - 1/pi) for two independent N(0, V), and half of it stays after the mean of two neurons is taken off
    p, q, r = Weights("P"), Weights("Q"), Weights("R")
    net = Network(lambda x: x + epsilon * r(sp.Max(p(x), q(x)) - average(sp.Max(p(x), q(x)))), width=2)
    assert equal_symbolically(derive(net).gram.drift[0], V * (1 - 1 / sp.pi) / 2)


def test_an_average_inside_a_kink_at_a_width_that_is_a_number():
    limit = derive(Network(lambda x: x + epsilon * Weights("A")(relu(x - average(x))), width=3)).limit.explicit
    at = dict(zip(limit.states, (1, 2, 6), strict=True))  # of which 6 is above the mean 3
    assert limit.covariance.xreplace(at) == 3 * sp.eye(3)
    pair = derive(Network(lambda x: x + epsilon * Weights("A")(relu(x - average(x))) * x, width=2, inputs=3)).limit
    at = dict(zip(pair.states, (1, 2, 3, 3, 0, 9), strict=True))  # three inputs, above their means by 1, 1, 3
    assert pair.covariance[0, 2].xreplace(at) == 1 * 3 * sp.Rational(1 * 3, 2)
    assert pair.covariance[3, 5].xreplace(at) == 3 * 9 * sp.Rational(1 * 3, 2)
    assert pair.covariance[0, 3] == 0


@pytest.mark.slow
def test_an_average_of_a_kink_inside_a_kink():
    # relu(x - <relu(x)>): SymPy folded the inner pieces into the outer ones, K/2 - 3K/(4π) came out
    layer = lambda x: x + epsilon * Weights("A")(relu(x - average(relu(x))))  # noqa: E731
    flow = derive(Network(layer, width=sp.oo)).limit
    m, z = 1 / sp.sqrt(2 * sp.pi), sp.Symbol("z", real=True)
    wanted = sp.Integral((z - m) ** 2 * sp.exp(-(z**2) / 2) / sp.sqrt(2 * sp.pi), (z, m, sp.oo)).evalf(20)
    assert abs(flow.drift[0].subs(flow.states[0], 1).evalf(20) - wanted) < 1e-15
    assert abs(sp.N(sp.S.Half - 3 / (4 * sp.pi)) - wanted) > 0.008
    pair = derive(Network(layer, width=2)).limit.explicit
    assert pair.covariance.subs(dict(zip(pair.states, (1, 3), strict=True))) == sp.eye(2) / 2
    scaled = derive(Network(lambda x: x + epsilon * Weights("A")(relu(x * average(sp.Abs(x)))), width=2)).limit.explicit
    assert scaled.covariance.subs(dict(zip(scaled.states, (-1, 3), strict=True))) == 18 * sp.eye(2)


def test_a_transpose_over_more_inputs_than_a_pair():
    w = Weights("W", out=2)
    limit = derive(
        Network(lambda x: x - epsilon**2 * w.T(w(x)) + epsilon * Weights("A")(x), width=2, inputs=3)
    ).limit.explicit
    at = dict(zip(limit.states, (1, 2, 3, 3, 0, 9), strict=True))
    assert list(limit.drift.xreplace(at)) == [-1, -2, -3, -3, 0, -9]


def test_at_a_fixed_width_a_small_parameter_is_free_that_the_recipe_ties_to_the_width():
    sigma = sp.Symbol("sigma", positive=True)
    d = derive(PreNormResNet(relu, width=2, weight_variance=sigma**2), order="depth")
    limit = d.limit.explicit
    at = dict(zip(limit.states, (3, -4), strict=True))  # r² = 25/2, <relu(x)²>/r² = (9/2)/(25/2)
    assert limit.covariance.xreplace(at) == sigma**2 * sp.Rational(9, 25) * sp.eye(2)
    assert d.architecture.time_of(7) is None
    tied = Network(lambda x: x + epsilon * Weights("A")(x), width=3, regime=Regime(depth=1))
    assert derive(tied, order="depth").limit == derive(replace(tied, regime=Regime())).limit
    with pytest.raises(NoLimit, match="does not become continuous"):
        derive(MLP(relu, width=3), order="depth")


@pytest.mark.slow
def test_a_matrix_is_averaged_out_after_all_that_reads_it():
    # A is known last, since its second body stands behind B and C; C reads it all the same
    a, b, c, d = map(Weights, "ABCD")
    net = Network(lambda x: x + epsilon * c(a(x) ** 2) + epsilon * d(sp.tanh(b(x)) * a(sp.Max(x, 0))), width=2)
    found = derive(net).limit.covariance[0, 0]
    x1, x2 = sp.Rational(3, 5), sp.Rational(-7, 4)
    spread = (x1**2 + x2**2) / 2
    z = np.polynomial.hermite_e.hermegauss(200)
    squares = float(z[1] @ np.tanh(float(sp.sqrt(spread)) * z[0]) ** 2 / np.sqrt(2 * np.pi))
    states = sorted(found.free_symbols, key=str)
    assert float(found.xreplace({states[0]: x1, states[1]: x2}).evalf()) == pytest.approx(
        float(3 * spread**2 + squares * x1**2 / 2), rel=1e-9
    )
    with pytest.raises(NotClosed, match="A is applied again to what depends on what it put out"):
        derive(Network(lambda x: x + epsilon * c(a(sp.tanh(b(a(x))))), width=3))
