"""Ends that hold the process for a time: atoms and means against Dynkin's formula, the speed measure, and paths."""

import numpy as np
import pytest
import sympy as sp
from scipy.integrate import quad

from derivations.calculus.boundaries import classify
from derivations.calculus.exits import stationary
from derivations.diffusion import Diffusion
from derivations.errors import NoClosedForm
from derivations.laws.approach import approach
from derivations.laws.behaviour import end_behaviour
from numerics import simulate_sde
from numerics.fokker_planck import solve_fokker_planck

x = sp.Symbol("x", real=True)
p, q = sp.symbols("p q", positive=True)
HALF, UNIT = sp.Interval.open(0, sp.oo), sp.Interval.open(0, 1)
R = sp.Rational


def pulled(power, scale=1):
    """dX = (1 − X) dt + (scale · X^power)^{1/2} dB on (0, ∞)."""
    return Diffusion((p,), [1 - p], [[scale * p**power]], HALF)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("power", "returns", "sticky"),
    [(R(1, 4), True, True), (R(1, 2), True, True), (R(1), True, False), (0, False, False)],
)
def test_numbers_and_algebra_follow_one_rule(power, returns, sticky):
    process = pulled(power, R(9, 2))
    way = approach(process, sp.S.Zero, sp.S.One)
    end, _ = classify(process)
    decided = end_behaviour(process, (sp.S.Zero, sp.oo), sp.S.One)[0]
    assert way.attainable
    assert (way.returns, way.sticky) == (end.returns == sp.true, end.sticky == sp.true) == (returns, sticky)
    assert (decided.returns, decided.sticky, decided.keeps) == (returns, sticky, not returns)


@pytest.mark.slow
def test_the_rule_in_a_parameter():
    process = Diffusion((p,), [q - p], [[sp.sqrt(p)]], HALF)
    assert classify(process)[0].sticky == sp.true
    with pytest.raises(NoClosedForm, match="has an atom there"):
        stationary(process)


@pytest.mark.parametrize(
    ("process", "mean"),
    [
        (pulled(R(1, 2)), 1 - 0.7 * np.exp(-1)),
        (Diffusion((x,), [R(1, 5) - x], [[sp.sqrt(x * (1 - x)) / 2]], UNIT), 0.2 + 0.1 * np.exp(-1)),  # two sticky ends
        (Diffusion((x,), [-x], [[sp.sqrt(1 + x)]], sp.Interval.open(-1, sp.oo)), 0.3 * np.exp(-1)),
    ],
)
def test_the_mean_is_the_equations_own(process, mean):
    # E X_t = x0 + ∫ E μ(X_s) ds: a reflection would push it up, an absorption leave it behind
    law = solve_fokker_planck(process, 0.3, t=1.0, tol=1e-4)
    assert abs(law.mean() - mean) < 5 * law.error
    assert sum(mass for _, mass in law.atoms) > 50 * law.error
    assert law.cdf(np.inf) == pytest.approx(1, abs=1e-9)


def test_after_a_long_time_the_atom_is_its_share_of_the_speed_measure():
    law = solve_fokker_planck(pulled(R(1, 2)), 0.3, t=30.0, tol=1e-4)
    # m = 2 e^E/√x with E = ∫ 2(1 − x)/√x dx = 4√x − (4/3) x^{3/2}, in x = v²; the atom has 1/(1 · s(0)) = 1
    rest = quad(lambda v: 4 * np.exp(4 * v - 4 / 3 * v**3), 0, 6)[0]
    ((place, mass),) = law.atoms
    assert place == 0
    assert mass == pytest.approx(1 / (1 + rest), abs=5 * law.error)
    assert abs(mass - 2 / (2 + rest)) > 100 * law.error  # control: another time at the end


@pytest.mark.slow
def test_paths_are_held_there_too():
    law = solve_fokker_planck(pulled(R(1, 2)), 0.3, t=1.0, tol=1e-4)
    ends = simulate_sde(pulled(R(1, 2)), 0.3, steps=1000, samples=20_000, seed=3)[:, 0]
    points = np.array([0.01, 0.1, 0.5, 1.0])
    seen = (ends[:, None] <= points).mean(0)
    # steps of length h move by h^{3/8}: with h = 0.001 their weak error is of order h
    np.testing.assert_allclose(seen, law.cdf(points), atol=4 / np.sqrt(4 * 20_000) + 0.001)
    assert np.abs(seen - law.cdf(points) + law.atoms[0][1]).min() > 0.02  # control: without the atom


STEP = sp.Heaviside(x, 0)


@pytest.mark.parametrize(
    ("drift", "variance", "start", "mean"),
    [
        (
            1,
            STEP,
            0.5,
            1.5,
        ),  # Brownian motion that is held at 0: beyond it there is no noise, and the drift brings back
        (R(1, 2) - x, STEP, 1.0, 0.5 + 0.5 * np.exp(-1)),
        (1, 1 - STEP.subs(x, x - 1), 2.5, None),
        (-1, sp.Heaviside(2 - x, 0), 1.5, 0.5),  # the right end
    ],
)
def test_what_oversteps_a_jump_of_the_noise_to_0_is_brought_back(drift, variance, start, mean):
    process = Diffusion((x,), [drift], [[variance]])
    if mean is None:
        with pytest.raises(ValueError, match="degenerate at the start"):
            solve_fokker_planck(process, start)
        return
    law = solve_fokker_planck(process, start, tol=1e-5)
    assert any(end.sticky for end in law.ends)
    assert abs(law.mean() - mean) < 5 * law.error  # E μ integrated; an end that keeps is off by more than 0.2


@pytest.mark.slow
def test_paths_that_overstep_it_are_brought_back():
    states, rng, steps = np.full(20_000, 0.5), np.random.default_rng(0), 2000
    for _ in range(steps):
        states = states + 1 / steps + (states > 0) * rng.standard_normal(states.size) / np.sqrt(steps)
    law = solve_fokker_planck(Diffusion((x,), [1], [[STEP]]), 0.5, tol=1e-5)
    places, spread = np.array([0.1, 0.5, 1.5, 2.5]), 4 * 0.5 / np.sqrt(states.size)
    seen = np.array([np.mean(states <= place) for place in places])
    assert np.abs(seen - law.cdf(places)).max() < spread + 0.3 / np.sqrt(steps)  # they overstep by so much
    kept = solve_fokker_planck(Diffusion((x,), [1], [[1]], HALF.subs(x, x)), 0.5, tol=1e-5)
    assert np.abs(seen - kept.cdf(places)).max() > 0.1  # control: an end that keeps


@pytest.mark.parametrize(
    ("drift", "variance"),
    [
        (-1, STEP),
        (-1, sp.Abs(x)),
        (-1, sp.Max(x, 0)),
        (-1, sp.sqrt(sp.Max(x, 0))),
        (-1, x**2),
        (-sp.sqrt(sp.Abs(x)), sp.Max(x, 0)),  # leaves 0 in finite time
        (sp.Piecewise((1, x > 0), (-1, True)), STEP),
    ],
)
def test_a_drift_that_takes_the_process_over_an_end_inside_is_said(drift, variance):
    # mass that goes on was kept at 0
    with pytest.raises(NoClosedForm, match="takes it on to the other side"):
        solve_fokker_planck(Diffusion((x,), [drift], [[variance]]), 0.5)


@pytest.mark.slow
def test_a_drift_that_jumps_where_the_noise_ends():
    steps = sp.Piecewise((1, x > 0), (0, True))
    with pytest.raises(NoClosedForm, match="the drift jumps, and what follows is not decided"):
        solve_fokker_planck(Diffusion((x,), [steps], [[4 * sp.Max(x, 0)]]), 0.5)
    stays = solve_fokker_planck(Diffusion((x,), [steps], [[steps]]), 0.5)  # overshot, for there is nothing beyond
    assert stays.atoms[0][0] == 0.0
    pressed = solve_fokker_planck(Diffusion((x,), [-sp.sign(x)], [[sp.Abs(x)]]), 0.5)  # from both sides
    assert pressed.atoms[0][1] > 0.8
