"""Where and when a process leaves an interval, with symbols; every value against another way to it, and a wrong one beside it."""

import mpmath
import numpy as np
import pytest
import sympy as sp
from mpmath import mp
from scipy.linalg import solve_banded

from derivations.calculus.exits import hitting_probability, mean_exit_time
from derivations.calculus.iterated import IteratedIntegral
from derivations.diffusion import Diffusion
from derivations.errors import DerivationError, NoClosedForm
from derivations.laws import first_passage
from derivations.symbols import initial, time

x, p = sp.Symbol("x", real=True), sp.Symbol("p", positive=True)
mu, a = sp.symbols("mu a", real=True)
sigma, low, start, high, kappa, theta, delta = sp.symbols("sigma l s h kappa theta delta", positive=True)
HALF = sp.Interval.open(0, sp.oo)
ONE, TWO = sp.S.One, sp.Integer(2)
brownian = Diffusion((x,), [mu], [[sigma**2]])
geometric = Diffusion((p,), [mu * p], [[sigma**2 * p**2]], HALF)
square_root = Diffusion((p,), [kappa * (theta - p)], [[sigma**2 * p]], HALF)
numbers = {sigma: sp.Rational(1, 2), low: sp.S.Half, start: ONE, high: TWO, kappa: TWO, theta: sp.Rational(1, 3)}
at_one = {**numbers, mu: sp.Rational(3, 10)}


def close(value, expected, tolerance=1e-12):
    return abs(sp.N(value, 20) - sp.N(expected, 20)) < tolerance


# --- first passage with a drift of unknown sign ---


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rate", "above"),
    [
        (sp.Rational(3, 10), True),
        (sp.Rational(-3, 10), False),
        pytest.param(sp.Rational(3, 10), False, marks=pytest.mark.slow),
        pytest.param(sp.Rational(-3, 10), True, marks=pytest.mark.slow),
        pytest.param(sp.S.Zero, True, marks=pytest.mark.slow),
    ],
)
def test_first_passage_of_brownian_motion_with_any_drift_is_inverse_gaussian(rate, above):
    level = sp.Symbol("b", real=True)
    found = first_passage(brownian, level, above)
    at = {level: sp.S.Half, mu: rate, sigma: sp.Rational(3, 4), initial: TWO if above else -ONE}
    density, probability, ever = (sp.sympify(e).subs(at) for e in (found.density, found.probability, found.ever))
    gap, away = sp.Rational(3, 2), rate if above else -rate  # drift away from the level
    s = sp.Rational(3, 4)
    expected = gap / (s * sp.sqrt(2 * sp.pi * time**3)) * sp.exp(-((gap + away * time) ** 2) / (2 * s**2 * time))
    assert close((density / expected).subs(time, sp.Rational(7, 5)), 1)
    assert close(sp.diff(probability, time).subs(time, sp.Rational(7, 5)), density.subs(time, sp.Rational(7, 5)))
    # a defective law when the drift points away: e^{2μb/σ²}
    defect = sp.exp(-2 * away * gap / s**2) if away > 0 else ONE
    assert close(ever, defect)
    with mp.workdps(15):
        total = mp.quad(sp.lambdify(time, density, "mpmath"), [0, 1, 4, 20, 200, mp.inf])
    assert abs(total - mpmath.mpf(str(sp.N(defect, 20)))) < (1e-10 if rate else 1e-1)
    assert rate == 0 or abs(total - 1) > 1e-2 or away < 0  # the control


@pytest.mark.slow
def test_first_passage_of_geometric_brownian_motion_is_that_of_its_logarithm():
    found = first_passage(geometric, TWO, above=False)
    nu = mu - sigma**2 / 2
    log_process = Diffusion((x,), [nu], [[sigma**2]])
    of_log = first_passage(log_process, sp.log(2), above=False)
    at = {sigma: sp.Rational(2, 3), time: sp.Rational(3, 2)}
    for rate in (sp.Rational(1, 10), sp.Rational(-1, 2), sp.Rational(2, 9)):
        there = {**at, mu: rate, initial: sp.Rational(4, 5)}
        by_log = {**there, initial: sp.log(sp.Rational(4, 5))}
        for own, other in ((found.density, of_log.density), (found.probability, of_log.probability)):
            assert close(own.subs(there), other.subs(by_log))
        expected = sp.Min(1, (sp.Rational(4, 5) / 2) ** (1 - 2 * rate / at[sigma] ** 2))  # (x/b)^{1 − 2μ/σ²}
        assert close(found.ever.subs(there), expected)


# --- exit probabilities ---


@pytest.mark.slow
def test_an_end_is_tended_to_by_cases():
    to_one = hitting_probability(brownian, sp.S.Zero, -sp.oo, ONE)
    assert to_one == sp.Piecewise((sp.exp(2 * mu / sigma**2), mu < 0), (1, True))
    assert close(hitting_probability(brownian, ONE, sp.S.Zero, sp.oo).subs({mu: 1, sigma: 1}), 1 - sp.exp(-2))
    ruin = hitting_probability(geometric, start, low, sp.oo)
    assert close(ruin.subs(at_one), 1 - sp.Rational(1, 2) ** sp.Rational(7, 5))
    assert ruin.subs({**numbers, mu: sp.Rational(1, 10)}) == 0
    with pytest.raises(NoClosedForm, match="recurrent"):
        hitting_probability(Diffusion((x,), [0], [[1]]), sp.S.Zero, -sp.oo, sp.oo)
    # for parameters at which neither end is tended to there is no answer
    both = hitting_probability(brownian, sp.S.Zero, -sp.oo, sp.oo)
    assert both.subs({mu: 0, sigma: 1}) is sp.nan
    assert both.subs({mu: 1, sigma: 1}) == 1


@pytest.mark.slow
def test_special_parameters_have_their_own_formula():
    up = hitting_probability(geometric, start, low, high)
    martingale = sp.log(start / low) / sp.log(high / low)
    assert close(up.subs(mu, sigma**2 / 2).subs(numbers), martingale.subs(numbers))
    nearly = up.subs({**numbers, mu: sp.Rational(1, 8) + sp.Rational(1, 10**9)})
    assert close(nearly, martingale.subs(numbers), 1e-7)
    bessel = hitting_probability(Diffusion((p,), [(delta - 1) / (2 * p)], [[1]], HALF), start, low, high)
    assert close(bessel.subs(delta, 2).subs(numbers), sp.S.Half)
    assert close(bessel.subs(delta, 3).subs(numbers), (2 - 1) / (2 - sp.S.Half))


# --- mean exit times ---

THIRD = sp.Rational(1, 3)
CASES = {
    "Brownian": brownian,
    "geometric": geometric,
    "Ornstein–Uhlenbeck": Diffusion((x,), [-2 * (x - THIRD)], [[1]]),
    "square root": Diffusion((p,), [2 * (THIRD - p)], [[p]], HALF),
    "Bessel": Diffusion((p,), [sp.Rational(3, 4) / p], [[1]], HALF),
    "constant elasticity": Diffusion((p,), [p], [[p**3]], HALF),
    "without drift": Diffusion((p,), [0], [[p**4]], HALF),
    "logarithmic": Diffusion((p,), [p**3 + 2 * p], [[p**2]], HALF),
    "rational": Diffusion((x,), [0], [[(1 + x**2) ** 2]]),
    "sine": Diffusion((x,), [sp.sin(x)], [[1]]),
}
#: Of each kind of answer one in the fast lane.
FAST = {"Brownian", "Bessel", "logarithmic"}


@pytest.mark.slow
@pytest.mark.parametrize("name", [n if n in FAST else pytest.param(n, marks=pytest.mark.slow) for n in CASES])
def test_mean_exit_times_solve_their_equation(name):
    process = CASES[name]
    (state,) = process.states
    found = mean_exit_time(process, start, sp.S.Half, TWO).subs({k: v for k, v in at_one.items() if k != start})
    drift, variance = (e.subs(at_one) for e in (process.drift[0], process.covariance[0]))

    def u(z):
        return mpmath.mpf(str(sp.N(found.subs(start, sp.Rational(z)), 20)))

    assert abs(u("1/2")) < 1e-15
    assert abs(u("2")) < 1e-15
    with mp.workdps(20):
        h = mp.mpf(1) / 1000
        down, here, up = u("1249/1000"), u("1250/1000"), u("1251/1000")
        m, v = (mpmath.mpf(str(sp.N(e.subs(state, sp.Rational(5, 4)), 30))) for e in (drift, variance))
        residual = v / 2 * (up - 2 * here + down) / h**2 + m * (up - down) / (2 * h)
    # second differences: an error of order h² u''''
    assert abs(residual + 1) < 1e-3
    assert here > 0.01  # the zero function would not do


@pytest.mark.slow
def test_mean_exit_time_of_geometric_brownian_motion_by_optional_stopping():
    # E log X_τ = log x + (μ − σ²/2) E τ
    nu = mu - sigma**2 / 2
    up = hitting_probability(geometric, start, low, high)
    stopped = (up * sp.log(high / low) - sp.log(start / low)) / nu
    found = mean_exit_time(geometric, start, low, high)
    for rate in (sp.Rational(3, 10), sp.Rational(-1, 5)):
        assert close(found.subs({**numbers, mu: rate}), stopped.subs({**numbers, mu: rate}))
    # at μ = σ²/2 the logarithm is a Brownian motion: (log h − log x)(log x − log l)/σ²
    special = sp.log(high / start) * sp.log(start / low) / sigma**2
    assert close(found.subs(mu, sigma**2 / 2).subs(numbers), special.subs(numbers))


def test_mean_exit_time_of_the_ornstein_uhlenbeck_process():
    found = mean_exit_time(Diffusion((x,), [-x], [[2]]), sp.S.Zero, -ONE, ONE)
    assert found == sp.hyper([1, 1], [sp.Rational(3, 2), 2], sp.S.Half) / 2
    assert abs(float(found.n()) - 0.5957493) < 5e-8
    unstable = mean_exit_time(Diffusion((x,), [x], [[2]]), sp.S.Zero, -ONE, ONE)
    assert float(unstable.n()) < 0.5 < float(found.n())  # Brownian motion's lies between


@pytest.mark.slow
@pytest.mark.parametrize(
    ("process", "levels", "expected"),
    [
        (brownian, (start, -sp.oo, high), (high - start) / mu),
        (geometric, (start, sp.S.Zero, high), sp.log(high / start) / (mu - sigma**2 / 2)),
        (Diffusion((p,), [(delta - 1) / (2 * p)], [[1]], HALF), (start, sp.S.Zero, high), (high**2 - start**2) / delta),
    ],
    ids=["Brownian", "geometric", "Bessel"],
)
def test_mean_times_to_one_level(process, levels, expected):
    found = mean_exit_time(process, *levels)
    at = {**at_one, delta: sp.Rational(7, 2)}
    assert close(found.subs(at), expected.subs(at))
    assert mean_exit_time(brownian, start, -sp.oo, high).subs({**numbers, mu: -1}) == sp.oo


@pytest.mark.slow
def test_a_mean_time_from_far_away_and_one_that_is_infinite():
    # dX = 2(1/3 − X)dt + ½ dB from 2 down to ½: ∫ s(y) m(y, ∞) dy by quadrature; and its mirror image
    found = mean_exit_time(Diffusion((x,), [-2 * (x - THIRD)], [[sp.Rational(1, 4)]]), TWO, sp.S.Half, sp.oo)
    mirrored = mean_exit_time(Diffusion((x,), [-2 * (x + THIRD)], [[sp.Rational(1, 4)]]), -TWO, -sp.oo, -sp.S.Half)
    assert close(found, mirrored)
    k, c, s = 2, mp.mpf(1) / 3, mp.mpf(1) / 2
    g = k / s**2
    by_hand = mp.quad(
        lambda y: mp.exp(g * (y - c) ** 2) * 2 / s**2 * mp.sqrt(mp.pi / g) / 2 * mp.erfc(mp.sqrt(g) * (y - c)), [0.5, 2]
    )
    assert close(found, sp.Float(str(by_hand), 15), 1e-10)
    wright_fisher = Diffusion((p,), [0], [[p * (1 - p)]], sp.Interval.open(0, 1))
    third = sp.Rational(1, 3)
    until_fixed = mean_exit_time(wright_fisher, third, sp.S.Zero, ONE)
    assert close(until_fixed, -2 * (third * sp.log(third) + (1 - third) * sp.log(1 - third)))
    assert mean_exit_time(Diffusion((x,), [0], [[1]]), sp.S.Zero, -sp.oo, ONE) == sp.oo


def test_an_iterated_integral_is_sympys_nested_one():
    y, c = sp.Symbol("y", real=True), sp.Symbol("c", positive=True)
    node = IteratedIntegral(sp.Lambda(y, sp.exp(c * y)), sp.Lambda(y, c * y), -ONE, sp.S.Zero, c)
    # ∫_{−1}^y cz dz = c(y² − 1)/2
    plain = sp.Integral(sp.exp(c * y) * c * (y**2 - 1) / 2, (y, 0, c))
    assert close(node.subs(c, sp.S.Half), plain.subs(c, sp.S.Half))
    step = sp.Rational(1, 10**6)
    ends = [node.subs(c, sp.S.Half + sign * step).n(30) for sign in (1, -1)]
    assert close(sp.diff(node, c).subs(c, sp.S.Half), (ends[0] - ends[1]) / (2 * step), 1e-10)
    assert node.free_symbols == {c}
    assert node.n() == node
    assert r"\int" in sp.latex(node)
    assert IteratedIntegral(*node.args[:3], c, c) == 0
    improper = IteratedIntegral(sp.Lambda(y, y), sp.Lambda(y, sp.exp(y)), -sp.oo, sp.S.Zero, ONE)
    assert close(improper, 1)  # ∫ y e^y
    from_above = IteratedIntegral(sp.Lambda(y, y), sp.Lambda(y, sp.exp(-y)), sp.oo, sp.S.Zero, ONE)
    assert close(from_above, 2 * sp.exp(-1) - 1)  # −∫ y e^{−y}


def test_a_scale_function_of_whole_index_is_left_as_an_integral():
    # S = ∫ e^{4p} p^{-4} has a logarithm, at which the hypergeometric form has a pole
    up = hitting_probability(Diffusion((p,), [2 * (1 - p)], [[p]], HALF), ONE, sp.S.Half, TWO)
    below, whole = (mp.quad(lambda z: mp.exp(4 * z) / z**4, [0.5, end]) for end in (1, 2))
    assert abs(mpmath.mpf(str(up.n(15))) - below / whole) < 1e-12


def by_differences(drift, variance, ends, n=4000):
    """The mean exit time on a grid, by central differences."""
    grid = np.linspace(*ends, n + 1)
    step = grid[1] - grid[0]
    mu, var = (np.broadcast_to(sp.lambdify(x, e)(grid[1:-1]), n - 1) for e in (drift, variance))
    bands = np.zeros((3, n - 1))
    bands[0, 1:] = (var / 2 / step**2 + mu / 2 / step)[:-1]
    bands[1] = -var / step**2
    bands[2, :-1] = (var / 2 / step**2 - mu / 2 / step)[1:]
    return np.interp(0.75, grid[1:-1], solve_banded((1, 1), bands, -np.ones(n - 1)))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("noise", "drift"),
    [
        (sp.tanh(x), -sp.tanh(x)),
        (1 + x**2, sp.S.Half),
        (sp.sin(x), sp.S.Half),
        (sp.sqrt(sp.cosh(x)), sp.exp(-x)),
    ],
)
def test_exit_times_over_which_sympys_rules_go_round_in_circles(noise, drift):
    # powers of tanh, and exponentials of an arctangent; the cotangent in the scale of the sine was written with complex exponentials;
    # the arctangent of an exponential times powers of 1 + e^{2x} was searched for minutes
    found = mean_exit_time(Diffusion((x,), [drift], [[noise**2]]), sp.Rational(3, 4), sp.S.Half, sp.Rational(7, 4))
    value = float(found.n(10))
    assert abs(value / by_differences(drift, noise**2, (0.5, 1.75)) - 1) < 1e-5  # (step / scale)² of the differences
    assert abs(value / by_differences(-drift, noise**2, (0.5, 1.75)) - 1) > 1e-2


def test_levels_out_of_order_or_outside_are_refused():
    for question in (hitting_probability, mean_exit_time):
        with pytest.raises(DerivationError, match="expected low < start < high"):
            question(brownian, sp.Integer(3), ONE, TWO)
        with pytest.raises(DerivationError, match="outside the domain"):
            question(geometric, ONE, -ONE, TWO)
        with pytest.raises(DerivationError, match="kinks"):
            question(Diffusion((x,), [-abs(x)], [[1]]), sp.S.Zero, -ONE, ONE)
