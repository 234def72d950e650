"""Answers that people from outside asked for, with values found without the project's code."""

from __future__ import annotations

import json

import mpmath
import numpy as np
import pytest
import sympy as sp
from scipy.stats import norm

from derivations import (
    Diffusion,
    Network,
    ResNet,
    ShrinkingResNet,
    Weights,
    derive,
    epsilon,
    identity,
    parse_activation,
    recognise,
    silu,
    symbols,
    tanh,
)
from derivations.calculus.exits import hitting_probability, mean_exit_time, stationary
from derivations.errors import DerivationError
from derivations.gaussian import expect
from numerics import compile_law, distribution, kernel_matrix
from numerics.cli import main
from numerics.compile import compile_expression

x = symbols.state
INPUTS = [[1, 0.3], [-0.2, 0.8]]


@pytest.mark.parametrize(
    ("formula", "entry"),
    [("log(1+abs(x))", 0.10387739), ("tanh(abs(x))", 0.120876320973), ("tanh(max(x,0))", 0.04618167)],
)
def test_kernels_over_kinks_keep_their_digits(formula, entry):
    found = kernel_matrix(ResNet(parse_activation(formula), width=sp.oo), INPUTS, t=0.5)[0, 1]
    assert found == pytest.approx(entry, abs=6e-9)
    assert found != pytest.approx(entry + 2e-3, abs=1e-3)  # what smooth quadrature gave


@pytest.mark.slow
@pytest.mark.parametrize(
    ("drift", "noise", "interval", "coordinate"),
    [
        (-sp.sin(x) * sp.cos(x) ** 3, sp.cos(x) ** 2, (-sp.pi / 2, sp.pi / 2), np.tan),
        (sp.sin(x) ** 3 * sp.cos(x), sp.sin(x) ** 2, (0, sp.pi), lambda q: -1 / np.tan(q)),
    ],
    ids=["arctan", "arccot"],
)
def test_angles_of_brownian_motion(drift, noise, interval, coordinate):
    """X = arctan(W + tan x₀), and its mirror image."""
    law = recognise(Diffusion((x,), [drift], [[noise**2]], domain=sp.Interval.open(*interval)))
    start, points = 0.3, np.array([-1.0, 0.2, 1.2]) if interval[0] else np.array([0.2, 0.4, 2.0])
    wanted = norm.cdf((coordinate(points) - coordinate(start)) / np.sqrt(0.7))
    assert compile_law(law, x0=start, t=0.7).cdf(points) == pytest.approx(wanted, abs=1e-13)
    assert np.max(np.abs(compile_law(law, x0=start, t=0.5).cdf(points) - wanted)) > 1e-3


def test_odd_means_vanish_and_the_covariance_is_a_mean_of_squares():
    W, z = Weights("W"), sp.Dummy(real=True)
    limit = derive(Network(x + epsilon * tanh(W(x)), width=1)).limit
    assert limit.drift == sp.zeros(1, 1)
    assert sp.N(limit.covariance[0, 0].subs(x, 1)) == pytest.approx(0.394294, abs=1e-6)  # ∫ tanh² φ
    assert expect(sp.atan(z), z) == 0


def test_superlinear_drift_is_said_to_explode():
    assert "it can explode" in str(derive(ShrinkingResNet(silu, identity, width=3)).existence)


# --- A4: roots and logarithms are real on the domain ---


@pytest.mark.slow
def test_exit_times_and_stationary_laws_hold_no_imaginary_unit():
    w, unit = sp.Symbol("w", real=True), sp.Interval.open(0, 1)
    kimura = mean_exit_time(Diffusion((w,), [0], [[w * (1 - w)]], unit), w, 0, 1)
    assert not kimura.has(sp.I)
    assert sp.expand(kimura + 2 * w * sp.log(w) + 2 * (1 - w) * sp.log(1 - w)) == 0
    turned = hitting_probability(Diffusion((w,), [-w / 4], [[1 - w**2]], sp.Interval.open(-1, 1)), w, -1, 1)
    assert not any(integral.function.subs(integral.variables[0], 0).has(sp.I) for integral in turned.atoms(sp.Integral))
    well = stationary(Diffusion((w,), [w - w**3], [[1]])).density
    assert not well.has(sp.I)
    mass = 2 * mpmath.quad(lambda y: mpmath.exp(y**2 - y**4 / 2), [0, 2, 8])
    assert well.subs(w, 0).evalf(20) == pytest.approx(1 / mass, rel=1e-14)
    assert well.subs(w, 1).evalf(20) != pytest.approx(1 / mass, rel=1e-3)


# --- A14, A16: what is not real or too large is said, and counted ---


@pytest.mark.parametrize("formula", ["sqrt(x)", "x**(1/3)", "log(x)", "x + asin(x)", "x**x"])
@pytest.mark.parametrize("width", [1, 3, sp.oo])
def test_functions_that_are_not_real_everywhere_are_refused(formula, width):
    with pytest.raises(DerivationError, match=r"is not real at x = -?\d+(/\d+)?, and neurons take all real values"):
        derive(ResNet(parse_activation(formula), width=width))


def test_masked_roots_pass():
    assert derive(ResNet(parse_activation("where(x > 0, sqrt(x), 0)"), width=3)).limit.width == 3
    assert derive(ResNet(parse_activation("(x > 0)*x**(1/3) + x"), width=3)).limit.width == 3


@pytest.mark.parametrize("drift", [sp.I, sp.sqrt(x), sp.log(x), x ** sp.Rational(1, 3)], ids=str)
def test_drifts_that_are_not_real_are_refused(drift):
    with pytest.raises(DerivationError, match="is not real"):
        Diffusion((x,), [drift], [[1]])
    p = sp.Symbol("p", positive=True)
    if drift.free_symbols:
        assert Diffusion((p,), [drift.subs(x, p)], [[1]], sp.Interval.open(0, sp.oo)).drift[0] == drift.subs(x, p)


def test_quantiles_of_norms_keep_their_digits_beside_states_that_grow(capsys):
    options = ["simulate", "--activation", "exp(exp(x))", "--samples", "400", "--depth", "40", "--json"]
    assert main(options) == 1
    one, norm_ = json.loads(capsys.readouterr().out)["statistics"]
    assert abs(one["mean"]) > 1e200  # whose square is no number
    assert 0.1 < norm_["quantiles"]["0.05"] < norm_["quantiles"]["0.5"] < 10


# --- A9, A10, C: functions whose parts are singular where they are not ---


@pytest.mark.slow
def test_factors_of_a_function_are_judged_together():
    def tangent(formula):
        return kernel_matrix(ResNet(parse_activation(formula), width=sp.oo), INPUTS, t=0.5, kind="ntk")

    assert tangent("(x>0)*x") == pytest.approx(tangent("relu"), rel=1e-12)
    assert tangent("x*sign(x)") == pytest.approx(tangent("abs(x)"), rel=1e-12)
    for jumps in ("(x>1)*x", "cos(x)*sign(x)"):
        with pytest.raises(DerivationError, match="jumps at x"):
            tangent(jumps)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("formula", "value", "slope"),
    [
        ("sin(x)/x", np.sinc, lambda y: (np.cos(y) - np.sinc(y / np.pi)) / y),
        ("(exp(x)-1)/x", lambda y: np.expm1(y * np.pi) / (y * np.pi), lambda y: (np.exp(y) - np.expm1(y) / y) / y),
    ],
)
def test_tangent_kernels_of_quotients_against_a_rule_of_our_own(formula, value, slope):
    """Gauss's rule and Runge–Kutta steps; nodes of even order avoid 0."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    weights = weights / weights.sum()

    def means(kernel):
        (a, c), (_, b) = kernel
        first = np.sqrt(a) * nodes[:, None]
        second = c / np.sqrt(a) * nodes[:, None] + np.sqrt(b - c * c / a) * nodes[None, :]
        both = weights[:, None] * weights[None, :]
        pairs = {(0, 0): (first, first), (0, 1): (first, second), (1, 1): (second, second)}
        f = np.zeros((2, 2, 2))
        for (i, j), (u, v) in pairs.items():
            f[0, i, j] = f[0, j, i] = (both * value(u / np.pi) * value(v / np.pi)).sum()
            f[1, i, j] = f[1, j, i] = (both * slope(u) * slope(v)).sum()
        return f

    def rate(both):
        plain, slopes = means(both[0])
        return np.stack([plain, plain + slopes * both[1]])

    at = np.stack([np.array(INPUTS) @ np.array(INPUTS).T / 2] * 2)
    for _ in range(50):
        k1 = rate(at)
        k2 = rate(at + 0.005 * k1)
        k3 = rate(at + 0.005 * k2)
        at = at + 0.01 * (k1 + 2 * k2 + 2 * k3 + rate(at + 0.01 * k3)) / 6
    found = kernel_matrix(ResNet(parse_activation(formula), width=sp.oo), INPUTS, t=0.5, kind="ntk")
    assert found == pytest.approx(at[1], rel=1e-6)
    assert found != pytest.approx(at[0], rel=1e-3)  # the other kernel


def test_means_over_removable_points_keep_their_digits_where_powers_cancel():
    z = sp.Symbol("z", real=True)
    f = sp.expand(sp.diff((sp.sin(z) - z) / z**3, z) ** 2)
    own = sp.lambdify(z, f, "mpmath")
    with mpmath.workdps(80):
        wanted = 2 * mpmath.quad(lambda u: own(u) * mpmath.npdf(u), [mpmath.mpf(10) ** -4, 1, 4, 12])
    assert expect(f, z).evalf(12) == pytest.approx(float(wanted), rel=1e-9)  # the integrand is O(z²)
    with pytest.raises(DerivationError, match="diverges"):
        expect((1 - sp.cos(z)) / z**3, z).evalf()


# --- B1: size of nested formulas ---


def test_formulas_whose_numbers_leave_every_range_are_judged():
    nested = parse_activation("selu(selu(selu(x)))").expr ** 2
    at = compile_expression((x,), nested)(np.array([-3.0, 0.0, 2.0]))
    scale, alpha = 1.0507009873554804934, 1.6732632423543772848

    def selu(y):
        return scale * np.where(y > 0, y, alpha * np.expm1(np.minimum(y, 0)))

    assert at == pytest.approx(selu(selu(selu(np.array([-3.0, 0.0, 2.0])))) ** 2, rel=1e-14)
    with pytest.raises(ValueError, match="come too close"):
        distribution(derive(ResNet(parse_activation("exp(exp(exp(x)))"), width=1)), x0=0.7)
