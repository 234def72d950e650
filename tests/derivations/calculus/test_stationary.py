"""Stationary laws of Pearson's diffusions against SciPy's distributions, also where an end is reached and the process comes back."""

import math

import mpmath
import numpy as np
import pytest
import sympy as sp
from scipy import stats

from derivations.calculus.exits import stationary
from derivations.calculus.pearson import pearson_density
from derivations.calculus.settling import settling
from derivations.calculus.speed import scale_density
from derivations.diffusion import Diffusion
from derivations.errors import NoClosedForm
from derivations.laws import recognise
from derivations.laws.behaviour import end_behaviour

x = sp.Symbol("x", real=True)
p = sp.Symbol("p", positive=True)
kappa, theta, sigma, mu, a, b = sp.symbols("kappa theta sigma mu a b", positive=True)
half_line, unit = sp.Interval.open(0, sp.oo), sp.Interval.open(0, 1)
R = sp.Rational


def on_half_line(drift, variance):
    return Diffusion((p,), [drift], [[variance]], half_line)


def on_unit(drift, variance):
    return Diffusion((x,), [drift], [[variance]], unit)


low = {kappa: R(1, 10), theta: R(1, 10), sigma: R(1, 2)}
CASES = {
    "CIR": (on_half_line(kappa * (theta - p), sigma**2 * p), low, stats.gamma(0.08, scale=1.25)),
    "logistic": (on_half_line(mu * p * (1 - p), sigma**2 * p**2), {mu: 2, sigma: 1}, stats.gamma(3, scale=0.25)),
    "Wright–Fisher": (on_unit(a * (1 - x) - a * x, x * (1 - x)), {a: R(1, 5)}, stats.beta(0.4, 0.4)),
    "two rates": (on_unit(a * (1 - x) - b * x, x * (1 - x)), {a: R(1, 5), b: 3}, stats.beta(0.4, 6)),
    "Ornstein–Uhlenbeck": (
        Diffusion((x,), [-kappa * (x - mu)], [[sigma**2]]),
        {kappa: 2, mu: R(1, 3), sigma: 3},
        stats.norm(1 / 3, 1.5),
    ),
    "Student": (Diffusion((x,), [-kappa * x], [[1 + x**2]]), {kappa: 2}, stats.t(5, scale=5**-0.5)),
    "inverse gamma": (
        on_half_line(kappa * (theta - p), sigma**2 * p**2),
        {kappa: 1, theta: 2, sigma: 1},
        stats.invgamma(3, scale=4),
    ),
    "F": (on_half_line(a - b * p, p * (1 + p)), {a: R(1, 3), b: 2}, stats.betaprime(2 / 3, 5)),
    "Gompertz": (
        on_half_line(-p * sp.log(p), sigma**2 * p**2),
        {sigma: 1},
        stats.lognorm(0.5**0.5, scale=np.exp(-0.5)),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [n if n in ("CIR", "Wright–Fisher", "logistic") else pytest.param(n, marks=pytest.mark.slow) for n in CASES]
)
def test_densities_are_scipys(name):
    process, values, reference = CASES[name]
    law = stationary(process)
    assert law.condition.subs(values) == sp.true
    (state,) = process.states
    density = sp.lambdify(state, law.density.subs(values), ["scipy", "numpy"])
    points = reference.ppf([0.05, 0.3, 0.5, 0.8, 0.99])
    np.testing.assert_allclose(density(points), reference.pdf(points), rtol=1e-10)
    wrong = process.drift.subs(values) * R(11, 10)  # control
    other = stationary(Diffusion(process.states, wrong, process.covariance.subs(values), process.domain)).density
    assert np.abs(sp.lambdify(state, other, ["scipy", "numpy"])(points) / reference.pdf(points) - 1).max() > 1e-3


@pytest.mark.slow
def test_conditions_are_for_which_parameters_the_process_settles():
    assert stationary(CASES["CIR"][0]).condition == sp.true  # the end reflects where it is reached
    assert stationary(CASES["logistic"][0]).condition == (mu > sigma**2 / 2)
    with pytest.raises(NoClosedForm, match="no stationary law"):  # shape 2μ/σ² − 1 ≤ 0
        stationary(on_half_line(p * (1 - p) / 2, p**2))
    with pytest.raises(NoClosedForm, match="no stationary law"):  # absorbed at both ends
        stationary(on_unit(0, x * (1 - x)))
    with pytest.raises(NoClosedForm, match="no stationary law"):
        stationary(on_half_line(R(1, 100), 4 * p))  # squared Bessel: recurrent, but spread over all scales


@pytest.mark.parametrize(
    ("log_derivative", "interval"),
    [
        (-R(1, 3) / x - 2, (sp.S.Zero, sp.oo)),
        (R(-2) / (-1 - x) + 3, (-sp.oo, -sp.S.One)),
        (-R(7, 2) / x + 2 / x**2, (sp.S.Zero, sp.oo)),
        (R(1, 2) / (x - 2) - 4 / (x + 1), (sp.S(2), sp.oo)),
        (R(-1, 2) / (x - 1) - R(1, 3) / (4 - x), (sp.S.One, sp.S(4))),
        (1 - 3 * x, (-sp.oo, sp.oo)),
        (-4 * (x - 1) / ((x - 1) ** 2 + 9), (-sp.oo, sp.oo)),
    ],
)
def test_shapes_have_mass_one_and_their_derivative(log_derivative, interval):
    density = pearson_density(log_derivative, x, interval)
    assert sp.cancel(sp.together(sp.diff(sp.expand_log(sp.log(density), force=True), x) - log_derivative)) == 0
    f = sp.lambdify(x, density, "mpmath")
    ends = [mpmath.mpf(float(e)) for e in interval]
    middle = [e for e in (-1, 1, 3) if ends[0] < e < ends[1]]
    assert abs(mpmath.quad(f, [ends[0], *middle, ends[1]]) - 1) < 1e-6


def test_other_shapes_are_left_alone():
    assert pearson_density(x - x**3, x, (-sp.oo, sp.oo)) is None
    assert pearson_density(-1 / x + 1 / x**2 - 1, x, (sp.S.Zero, sp.oo)) is None
    assert pearson_density((1 - x) / (1 + x**2), x, (-sp.oo, sp.oo)) is None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("drift", "variance"),
    [
        (R(0), p),
        (R(1, 100), p),
        (R(-1, 5), p),
        (R(1, 4) - p, p),
        (R(2) - p, p),
        (R(1, 4) / p, 1),
        (R(-1, 4) / p, 1),
        (0, sp.sqrt(p)),
    ],
)
def test_laws_and_ends_are_one_decision(drift, variance):
    process = on_half_line(drift, variance)
    left, right = end_behaviour(process, (sp.S.Zero, sp.oo), sp.S.One)
    atoms = {atom.location for atom in recognise(process).atoms}
    assert atoms == {end.point for end in (left, right) if end.keeps}


def test_what_explodes_has_no_stationary_law_though_its_speed_measure_is_finite():
    # at infinity s = V^{-2c} and m = V^{2c-4} for the drift c V³ and the noise V²: both finite for ½ < c < 3/2
    for c, explodes in ((R(1, 4), False), (R(1), True)):
        found = settling(on_half_line(c * p**3 + p, p**4 + p**2))
        assert (found.explodes, found.stationary) == (explodes, not explodes)


def test_where_coefficients_oscillate_towards_an_end_that_is_said_and_no_parameter_is_asked_for():
    with pytest.raises(NoClosedForm, match="is not known; what the process does at that end is not decided by it"):
        stationary(Diffusion((x,), [1 - x / 2], [[(2 + sp.sin(x)) ** 2]]))


@pytest.mark.slow
def test_what_sympys_limits_give_up_on_is_refused():
    with pytest.raises(NoClosedForm, match="is not known"):  # a bare RecursionError
        stationary(Diffusion((x,), [-sp.sign(x)], [[(2 + sp.sin(x)) ** 2]]))


def test_a_scale_density_is_found_by_the_rules_of_exit_times():
    # ∫ 2e^{-x}/cosh x = 4x - 2 log(e^{2x} + 1) was said not to be elementary
    found = scale_density(Diffusion((x,), [sp.exp(-x)], [[sp.cosh(x)]]), (-sp.oo, sp.oo))
    logarithm = sp.lambdify(x, sp.diff(sp.log(found), x))
    for at in (-1.3, 0.2, 1.7):
        assert abs(logarithm(at) + 2 * math.exp(-at) / math.cosh(at)) < 1e-12
        assert abs(logarithm(at) + math.exp(-at) / math.cosh(at)) > 1e-3
