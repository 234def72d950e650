"""Neurons that are off with positive probability: behind them a Gaussian number is 0 for sure, and a layer's moments are those of its value at 0."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp

from derivations import Network, Weights, derive, epsilon, jacobian
from derivations.errors import DerivationError, NotClosed
from derivations.gaussian import expect
from derivations.interchange import read_source
from derivations.language import parse_layer
from derivations.limits.elimination.averages import layer_average, may_vanish
from derivations.notation import latex, plain, typst
from derivations.notation.nodes import Total
from derivations.piecewise.continued import Continued
from numerics.compile import compile_expression
from tests.numerics.networks.test_random_programs import against_the_limit, check_against_the_limit
from tests.random_layers import limit_at

OFF, MIXED = np.array([[-1.0], [-0.4]]), np.array([[-1.0], [0.8]])
#: Layers over two neurons, and what a mean that knows only positive variances says of the noise where all are off.
LAYERS = {
    "x + eps*A(max(B(relu(x)) - 1/2, 0))": None,
    "x + eps*A(max(B(relu(x)) - 1/2, 0) + max(-B(relu(x)) - 1, 0))": None,
    "x + eps*A(max(B(relu(x)) + 1/2, 0))": None,
    "x + eps*A(sign(B(relu(x))))": 1,
    "x + eps*A(heaviside(B(relu(x))))": sp.Rational(1, 2),
    "x + eps*A(heaviside(B(relu(x)) - 1/2))": None,
    "x + eps*A(max(B(relu(x)) - 1/2, 0)*C(x))": None,
    "x + eps*A(max(B(average(relu(x))) - 1/2, 0))": None,
}


@pytest.mark.parametrize("text", LAYERS)
def test_moments_are_those_of_drawn_layers(text):
    net = Network(parse_layer(text), width=2)
    for start in (OFF, MIXED):
        drift, covariance = limit_at(net, start)
        assert against_the_limit(net, start, "weights", 20_000, drift, covariance) < 1
    assert against_the_limit(net, MIXED, "weights", 20_000, drift, 1.5 * covariance) > 1
    if LAYERS[text] is not None:
        wrong = float(LAYERS[text]) * np.eye(2)
        assert against_the_limit(net, OFF, "weights", 20_000, np.zeros(2), wrong) > 1


@pytest.mark.parametrize("text", ["x + eps*A(relu(B(relu(x))))", "x + eps*A(max(B(relu(x)) - 1/2, 0))"])
def test_of_two_inputs_one_may_be_off(text):
    net = Network(parse_layer(text), width=1, inputs=2)
    for start in ([[-1.0, -2.0]], [[-1.0, 0.7]], [[0.6, 1.5]]):
        drift, covariance = limit_at(net, np.array(start))
        assert against_the_limit(net, np.array(start), "weights", 10_000, drift, covariance) < 1
    assert against_the_limit(net, np.array(start), "weights", 10_000, drift, 1.5 * covariance) > 1


def test_the_random_program_that_found_it():
    assert check_against_the_limit(9123, 2_000)


def test_a_kink_at_an_average_that_may_be_0():
    """E max(B relu(x), 0)² with a mean of B's entries: the kink moves with an average, so no derivative at variance 0 is known."""
    b, c = Weights("B", mean=sp.Rational(1, 2), out=3), Weights("C", out=3)
    net = Network(lambda x: x + epsilon * Weights("A")(c(x**2) * sp.Max(b(sp.Max(x, 0)), 0)), width=2)
    for start in (OFF, MIXED):
        drift, covariance = limit_at(net, start)
        assert against_the_limit(net, start, "weights", 20_000, drift, covariance) < 1
    assert against_the_limit(net, MIXED, "weights", 20_000, drift, 1.5 * covariance) > 1


def test_one_neuron_has_a_diffusion_by_pieces():
    limit = derive(Network(parse_layer("x + eps*A(max(B(relu(x), out=1) - 1/2, 0))"), width=1)).limit
    (x,) = limit.states
    assert not limit.covariance.has(Continued)
    assert limit.covariance[0, 0].subs(x, -1) == 0
    # E max(U − 1/2, 0)² with U ~ N(0, 4)
    u = np.random.default_rng(0).normal(scale=2, size=400_000)
    values = np.maximum(u - 0.5, 0) ** 2
    size = next(iter(limit.covariance.free_symbols - {x}), None)
    assert size is None
    assert abs(float(limit.covariance[0, 0].subs(x, 2)) - values.mean()) < 4 * values.std() / np.sqrt(len(u))


@pytest.mark.slow
def test_targets_formats_and_derivatives_agree():
    d = derive(Network(parse_layer("x + eps*A(max(B(relu(x)) - 1/2, 0))"), width=2))
    explicit = d.limit.explicit
    formula, states = explicit.covariance[0, 0], explicit.states
    assert formula.has(Continued)
    for at in ((-1.0, -2.0), (-1.0, 0.7), (0.5, 1.5)):
        exact = float(formula.subs(dict(zip(states, at, strict=True))))
        step_by_step = formula.subs(states[0], at[0]).subs(states[1], at[1])
        assert float(step_by_step) == exact
        for target in ("numpy", "mpmath"):
            assert float(compile_expression(states, formula, target)(*at)) == pytest.approx(exact, abs=1e-14)
            assert float(sp.lambdify(states, formula, target)(*at)) == pytest.approx(exact, abs=1e-14)
        slope = float(formula.diff(states[1]).subs(dict(zip(states, at, strict=True))))
        near = [float(formula.subs({states[0]: at[0], states[1]: at[1] + h})) for h in (1e-5, -1e-5)]
        assert slope == pytest.approx((near[0] - near[1]) / 2e-5, abs=1e-8)
    assert exact > 0.1
    assert read_source(sp.srepr(formula)) == formula
    (noise,) = d.limit.neuron_covariance
    assert "Cov[Δ, Δ | X_l]" in str(d)
    for text in (plain.plain(noise), latex.latex(noise), typst.typst(noise)):
        assert "otherwise" in text or "cases" in text


@pytest.mark.parametrize("body", ["heaviside(eps*B(x))", "sign(eps*B(x) - eps/2)", "heaviside(eps*x)*x"])
def test_a_step_does_not_see_how_small_its_argument_is(body):
    """Its value at 0, 1/2 of heaviside and 0 of sign, was taken for all of it."""
    net = Network(parse_layer(f"x + eps*A({body})"), width=2)
    drift, covariance = limit_at(net, MIXED)
    assert against_the_limit(net, MIXED, "weights", 4_000, drift, covariance) < 1
    assert against_the_limit(net, MIXED, "weights", 4_000, drift, covariance / 2) > 1


@pytest.mark.parametrize("body", ["heaviside(B(eps*x))", "sign(B(eps*relu(x)))"])
def test_a_step_of_what_a_small_matrix_puts_out_is_refused(body):
    for start in ("x + eps*A({})", "x + eps**2*{}"):
        with pytest.raises(DerivationError, match="take ε out of the step"):
            derive(Network(parse_layer(start.format(body)), width=2))


def test_a_mean_that_jumps_at_variance_0_has_no_power_series():
    """E heaviside(z, 1) is 1 at variance 0 and 1/2 beside it, and the variance moves with ε."""
    layer = "x + eps**2*A(x) + eps*average(heaviside(B(relu(x)*(1 + eps)), 1) - heaviside(C(x)))"
    with pytest.raises(NotClosed, match=r"has no derivative there: .* give the matrix a bias variance"):
        derive(Network(parse_layer(layer), width=2))
    biased = layer.replace("*(1 + eps)", "*(1 + eps), bias_variance=1")
    assert derive(Network(parse_layer(biased), width=2)).limit.states


@pytest.mark.parametrize("layer", ["x + A(eps*x)", "x + A(relu(eps*B(x)))"])
def test_a_small_parameter_inside_a_matrix_is_asked_to_be_taken_out(layer):
    """The layer was said to move at random at ε = 0, where it stands still."""
    with pytest.raises(DerivationError, match="take it out, as eps"):
        derive(Network(parse_layer(layer), width=2))
    with pytest.raises(DerivationError, match="at random"):
        derive(Network(parse_layer("x + A(x)"), width=2))


@pytest.mark.slow
def test_a_condition_on_a_sum_of_cases_is_printed_as_it_stands():
    """SymPy folds the cases inside a sum into one condition, ITE(X_r <= 0, Sum_r 0 > 0, ...), in which r is bound nowhere."""
    found = jacobian(Network(parse_layer("x + eps*A(max(B(relu(x)) - 1/2, 0))"), width=2))
    text = " ".join(str(found).split())
    assert "if Sum_r {0 if X_r <= 0; X_r**2 otherwise} > 0; 0 otherwise}" in text
    assert "sqrt((Sum_r {0 if X_r <= 0; X_r**2 otherwise})/pi)" in text
    assert not any("ITE" in shown for shown in (text, found.latex(), found.typst()))
    r = sp.Symbol("r", real=True)
    total = Total(sp.Piecewise((0, r <= 0), (r, True)), r, 2, sp.Tuple())
    node = Continued(sp.Lambda(r, 1 / r), total, sp.Tuple(0))
    assert node.cases().has(sp.ITE)
    assert "ITE" not in plain.plain(node)


def test_sympy_s_own_code_keeps_the_sign_of_a_parameter():
    z, m = sp.symbols("z m", real=True)
    mean = expect(sp.tanh(z), z, 1, m)
    assert float(sp.lambdify(m, mean, "mpmath")(-0.5)) == pytest.approx(float(mean.subs(m, -0.5)), rel=1e-14)


def test_a_kink_at_an_average_may_vanish():
    x = sp.Symbol("x", real=True)
    mean = layer_average(x**2, (x,), 0)
    assert may_vanish(sp.Max(mean * x - mean**2, 0))
    assert not may_vanish(sp.Abs(x - mean))
