"""Means without closed form as numbers in the coefficients of a diffusion: every answer beside the one for a decimal in their place."""

from functools import cache

import numpy as np
import pytest
import sympy as sp
from scipy.integrate import quad

from derivations.calculus.boundaries import explosion
from derivations.calculus.exits import hitting_probability, mean_exit_time, stationary
from derivations.calculus.intervals import moving_interval, zeros_between
from derivations.calculus.means import as_numbers
from derivations.constants import Constant
from derivations.diffusion import Diffusion
from derivations.errors import DerivationError, NoClosedForm
from derivations.gaussian import expect, expect_pair
from derivations.laws import first_passage, recognise
from numerics import distribution
from tests.refused import assert_refused, refusals

x, z = sp.symbols("x z", real=True)
b = sp.Symbol("b", positive=True)
R = sp.Rational
ONE = expect(sp.tanh(z) ** 2, z)
TWO = expect_pair(sp.tanh(z), sp.atan(z), z, ((1, 1), R(1, 2)))


@cache
def decimals():
    """A decimal in the place of each mean."""
    return {mean: R(str(mean.evalf(15))) for mean in (ONE, TWO)}


def line(drift, variance):
    return Diffusion((x,), [drift], [[variance]])


PROCESSES = {
    "cubic drift": line(-ONE * x**3, 1),
    "double well": line(x * ONE - x**3, 1),
    "both coefficients": line(-x, TWO + ONE * x**2),
    "difference": line(-x * (ONE - TWO), 1),
}


def own_density(process, at, factor=1.0):
    """The speed density at a point over its mass, by quadrature of numbers; the drift times a factor."""
    drift, noise = (sp.lambdify(x, e[0].xreplace(decimals()), "math") for e in (process.drift, process.covariance))

    def speed(v):
        return np.exp(quad(lambda u: 2 * factor * drift(u) / noise(u), 0, v, epsabs=1e-12)[0]) / noise(v)

    return speed(at) / quad(speed, -np.inf, np.inf, epsabs=1e-11)[0]


@pytest.mark.parametrize(
    "name",
    [
        "cubic drift",
        "double well",
        *(pytest.param(n, marks=pytest.mark.slow) for n in ("difference", "both coefficients")),
    ],
)
def test_stationary_laws_are_those_of_the_numbers(name):
    process = PROCESSES[name]
    density = stationary(process).density
    assert not density.atoms(Constant)  # shown as the formulas that they are
    expected = own_density(process, 0.3)
    assert abs(sp.N(density.subs(x, R(3, 10)), 12) - expected) < 1e-8
    assert abs(own_density(process, 0.3, 1.1) - expected) > 1e-4  # control


def test_laws_on_a_grid_are_those_of_the_numbers():
    process = PROCESSES["cubic drift"]
    found, expected = (distribution(p, x0=0.2, t=0.5).cdf(0.3) for p in (process, process.xreplace(decimals())))
    assert abs(found - expected) < 1e-9
    assert abs(distribution(line(-(x**3), 1), x0=0.2, t=0.5).cdf(0.3) - expected) > 1e-3  # control


def test_the_sign_of_a_difference_of_means_is_known():
    growing = line(x * (ONE - TWO), 1)  # E tanh² > E tanh·atan at correlation 1/2
    with pytest.raises(NoClosedForm, match="no stationary law"):
        stationary(growing)
    assert stationary(line(x * (TWO - ONE), 1)).condition == sp.true  # control
    assert recognise(growing).name == "Ornstein–Uhlenbeck process"
    assert explosion(line((ONE - TWO) * x**3, 1)) == sp.true
    assert explosion(line((TWO - ONE) * x**3, 1)) == sp.false  # control


def test_intervals_and_exits_with_means():
    process = Diffusion((x,), [0], [[x**2 * (ONE - x) ** 2]])
    low, high = moving_interval(process, R(1, 5))
    assert (low, high) == (0, ONE)
    assert zeros_between(process, -sp.S.One, sp.S.One, R(1, 5)) == (0, ONE)
    chance = hitting_probability(line(-ONE * x, 1), R(1, 5), R(1, 10), R(3, 10))
    expected = hitting_probability(line(-decimals()[ONE] * x, 1), R(1, 5), R(1, 10), R(3, 10))
    assert abs(sp.N(chance - expected, 15)) < 1e-12
    assert abs(sp.N(expected, 15) - 0.5) > 1e-3  # control: without drift


def test_a_mean_that_is_not_told_from_0_is_no_constant():
    assert as_numbers(expect(sp.tanh(z) ** 2, z, R(1, 10**25))) == {}
    assert list(as_numbers(ONE)) == [ONE]  # control


HELD = line(0, x**2)
REFUSED = {
    "a level beyond a zero of the noise": (lambda: hitting_probability(HELD, 1, -1, 2), "^the noise vanishes at x = 0"),
    "no level below it": (lambda: mean_exit_time(HELD, 1, -sp.oo, 2), "give ends between which it does not vanish"),
    "several zeros": (
        lambda: mean_exit_time(line(0, x**2 * (x - ONE) ** 2), 3, -3, 4),
        r"^the noise vanishes at x = 0, E\[tanh",
    ),
    "a stationary law around it": (lambda: stationary(line(-(x**3), x**2)), "^the noise vanishes at x = 0"),
    "an end with a parameter": (
        lambda: first_passage(Diffusion((x,), [0], [[x * (b - x)]], sp.Interval.open(0, b)), R(1, 10)),
        r"depends on the sign of 10\*b - 1",
    ),
}


@refusals(REFUSED)
def test_questions_across_a_zero_of_the_noise_are_refused(call, message):
    assert_refused(call, message)


def test_they_are_answered_on_one_side_of_it():
    assert hitting_probability(HELD, sp.S.One, sp.S.Zero, sp.Integer(2)) == R(1, 2)
    assert sp.expand(mean_exit_time(HELD, sp.S.One, R(1, 2), sp.Integer(2)) - 2 * sp.log(2) / 3) == 0
    with pytest.raises(DerivationError):  # control
        hitting_probability(HELD, sp.S.One, -sp.S.One, sp.Integer(2))
    half = Diffusion((sp.Symbol("p", positive=True),), [0], [[1]], sp.Interval.open(0, sp.oo))
    assert hitting_probability(half, sp.S.One, sp.S.Zero, sp.Integer(2)) == R(1, 2)
