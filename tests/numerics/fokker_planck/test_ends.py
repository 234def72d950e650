"""Laws between ends that are no doubles, where coefficients have digits of the distance only if they are computed for it."""

import mpmath
import numpy as np
import pytest
import sympy as sp
from scipy import stats

from derivations import ResNet, derive, parse_activation
from derivations.diffusion import Diffusion
from numerics import distribution, solve_fokker_planck
from numerics.compile.beside import Beside
from numerics.fokker_planck.charts import Odds

x = sp.Symbol("x", real=True)

# dX = φ∘dB in Stratonovich's sense, so that ∫dx/φ is a Brownian motion: the noise φ, its coordinate, a start, a time
MOVED = {
    "two ends": (sp.cos(x), lambda v: np.arctanh(np.sin(v)), 0.3, 1.0),
    "two ends, far": (sp.cos(x), lambda v: np.arctanh(np.sin(v)), 0.3, 6.0),
    "one end": (x * sp.log(x), lambda v: np.log(np.log(v)), 2.0, 0.1),
    "one end below": (
        sp.exp(sp.sqrt(2)) - sp.exp(x),
        lambda v: (v - np.log(np.exp(np.sqrt(2)) - np.exp(v))) / np.exp(np.sqrt(2)),
        1.0,
        0.05,
    ),
    "an end at 0 and another": (sp.sin(x), lambda v: np.log(np.tan(v / 2)), 1.0, 2.0),
}


def solved(noise, start, t):
    domain = sp.Interval.open(1, sp.oo) if noise.has(sp.log) else sp.S.Reals
    process = Diffusion((x,), [noise * sp.diff(noise, x) / 2], [[noise**2]], domain)
    return solve_fokker_planck(process, start, t=t)


@pytest.mark.parametrize("case", MOVED)
def test_a_brownian_motion_moved_between_ends(case):
    noise, coordinate, start, t = MOVED[case]
    found = solved(noise, start, t)
    levels = np.linspace(0.02, 0.98, 25)
    states = found.ppf(levels)
    exact, wrong = (stats.norm(coordinate(start), scale * np.sqrt(t)).cdf(coordinate(states)) for scale in (1.0, 1.01))
    assert np.abs(exact - levels).max() < found.error < 1e-6
    assert np.abs(wrong - levels).max() > 1e-4
    ends = np.array(found.support(), dtype=float)
    beyond = np.array([-np.inf, ends[0] - 1, ends[1] + 1, np.inf])
    np.testing.assert_array_equal(found.pdf(beyond[~np.isnan(beyond)]), 0.0)
    density = stats.norm(coordinate(start), np.sqrt(t)).pdf(coordinate(states)) / np.abs(sp.lambdify(x, noise)(states))
    np.testing.assert_allclose(found.pdf(states), density, rtol=2e-6)
    many = np.linspace(states[0], states[-1], 30_001)
    np.testing.assert_allclose(
        found.cdf(many), stats.norm(coordinate(start), np.sqrt(t)).cdf(coordinate(many)), atol=2e-6
    )
    np.testing.assert_allclose(found.pdf(many)[::3000], found.pdf(many[::3000]), rtol=1e-6)


def test_what_is_closer_to_an_end_than_doubles_is_said_and_counted():
    # z = artanh(sin x) is normal with deviation √60: beyond 18 a double is the end
    found = solved(sp.cos(x), 0.0, 60.0)
    assert found.remark.count("of the law lies nearer to its end") == 2
    inside = np.array([-1.5, 0.0, 1.5])
    assert np.abs(found.cdf(inside) - stats.norm(0, np.sqrt(60)).cdf(np.arctanh(np.sin(inside)))).max() < 1e-6


#: E f(X) at t = 1 from 1 by the backward equation in log((x − l)/(r − x)) or log(x − l), by Crank and Nicolson on 6001 and 12001 points
PEERS = {
    "cos(abs(x**4*x))": (
        (lambda v: v**2, 1.1319695664),
        (lambda v: np.sin(3 * v), -0.1203182969),
        (lambda v: 1 / (1 + v**2), 0.4809965836),
    ),
    "1.3-(abs(x)+x)**3": ((lambda v: 1 / (1 + v**2), 0.7705402377), (lambda v: np.exp(-v), 0.5794349294)),
}


@pytest.mark.parametrize("formula", PEERS)
def test_formulas_that_did_not_converge(formula):
    found = distribution(derive(ResNet(parse_activation(formula), width=1)))
    assert found.error < 1e-6
    assert found.cells < 20_000
    for function, value in PEERS[formula]:
        assert found.expectation(function) == pytest.approx(value, abs=1e-8)


@pytest.mark.parametrize(
    ("formula", "end", "side", "power"),
    [
        (sp.sin(x) ** 2, sp.pi, -1, 2),
        (sp.log(x) ** 2, sp.S.One, 1, 2),
        (sp.exp(x) * sp.Abs(x - sp.sqrt(2)) ** sp.Rational(1, 2), sp.sqrt(2), -1, 0.5),
        (1 / sp.cos(x), sp.pi / 2, -1, -1),
    ],
)
def test_a_function_beside_a_point_has_its_digits(formula, end, side, power):
    found = Beside.fitted(formula, x, end, side, 1.0)
    assert found.power == power
    with mpmath.workdps(150):
        for distance in (1e-90, 1e-16, found.radius / 2, found.radius):
            exact = formula.xreplace({x: end + side * sp.Rational(distance)}).evalf(120)
            assert float(found(np.array([distance]))[0]) == pytest.approx(float(exact), rel=1e-14)


def test_a_function_that_is_no_power_beside_a_point_has_none():
    assert Beside.fitted(sp.log(x - 1) ** 2, x, sp.S.One, 1, 1.0) is None
    assert Beside.fitted(sp.log(sp.log(x)), x, sp.S.One, -1, 1.0) is None  # it has no values there


def test_odds_tell_states_apart_beside_both_ends():
    chart = Odds(1.0, np.pi)
    states = np.array([1.0, 1.0 + 2**-52, 2.0, np.nextafter(np.pi, 0), np.pi])
    np.testing.assert_array_equal(chart.state(chart.number(states)), states)
    y = np.array([1e-100, 0.5, 3.0, 1e100])
    np.testing.assert_allclose(chart.distance(y, np.inf) / chart.distance(y, 0.0), 1 / y, rtol=1e-15)
    step = 1e-6 * y
    np.testing.assert_allclose(
        chart.stretch(y[1:3]) * 2 * step[1:3], (chart.state(y + step) - chart.state(y - step))[1:3], rtol=1e-8
    )
