"""Expectations to a tolerance: the error that is promised is the error that is made, and the bias is seen."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp
from scipy import stats

from derivations.activations import identity, relu, tanh
from derivations.architectures import MLP, ResNet
from derivations.diffusion import Diffusion, Flow
from derivations.laws import Normal
from derivations.limits import depth_limit
from numerics.depth_extrapolation import expect_network
from numerics.expectations import Budget, expect_sde
from numerics.expectations.choice import choose_scheme
from numerics.expectations.levels import Level, Levels, Problem
from numerics.networks import simulate_network
from numerics.paths import simulate_sde
from numerics.schemes import find_scheme

x = sp.Symbol("x", positive=True)
GBM = Diffusion((x,), [x / 4], [[x**2]], sp.Interval.open(0, sp.oo))
EXACT = float(np.exp(0.25))


def first(states: np.ndarray) -> np.ndarray:
    return states[:, 0]


@pytest.mark.parametrize("scheme", ["auto", "weak_second", "milstein", "euler_maruyama", "lamperti"])
def test_the_promised_error_is_kept(scheme):
    budget = expect_sde(GBM, first, 1.0, tol=4e-3, scheme=scheme, seed=5)
    assert budget.error <= 4.05e-3
    assert abs(budget.value - EXACT) < 4 * budget.statistical + budget.step_bias
    assert abs(budget.value - EXACT * 1.05) > 4 * budget.statistical + budget.step_bias  # the control
    assert (budget.step_bias > 0) == (scheme != "auto")  # an exact law has no step


@pytest.mark.slow
def test_the_error_is_of_the_size_that_is_said():
    # z-scores of independent repetitions are standard normal but for the bias, which is below the noise
    scores = []
    for seed in range(40):
        budget = expect_sde(GBM, first, 1.0, tol=2e-2, scheme="milstein", seed=seed)
        scores.append((budget.value - EXACT) / budget.statistical)
    spread = float(np.std(scores))
    low, high = np.sqrt(stats.chi2(39).ppf([1e-4, 1 - 1e-4]) / 39)
    assert low < spread < high
    assert not low < spread * 2 < high  # the control: an error half as large as it is


def test_any_number_of_workers_gives_the_same_number():
    one, two = (expect_sde(GBM, first, 1.0, tol=2e-2, scheme="milstein", workers=w) for w in (1, 2))
    assert one == two
    assert expect_sde(GBM, first, 1.0, tol=2e-2, workers=2) == expect_sde(GBM, first, 1.0, tol=2e-2)


@pytest.mark.slow
def test_layers_of_neurons_and_several_states():
    limit, start = depth_limit(ResNet(relu, width=3)), [1.0, -0.5, 0.3]
    budgets = [
        expect_sde(limit, lambda s: (s**2).sum(1), start, tol=0.05, scheme=s, seed=2)
        for s in ("auto", "euler_maruyama", "weak_second")
    ]
    for other in budgets[1:]:
        gap = abs(budgets[0].value - other.value)
        assert gap < 4 * np.hypot(budgets[0].error, other.error)
    # no drift: each neuron keeps its mean, and the sum of squares grows as Σx₊² does
    mean = expect_sde(limit, first, start, tol=0.05, seed=3)
    assert abs(mean.value - start[0]) < 4 * mean.error
    assert abs(mean.value - start[1]) > 4 * mean.error  # the control: another neuron


@pytest.mark.parametrize("points", ["antithetic", "sobol"])
def test_spread_points_beat_random_ones(points):
    random = EXACT * np.sqrt(np.e - 1) / np.sqrt(1 << 14)  # the standard error of as many random points
    budget = expect_sde(GBM, first, 1.0, points=points, steps=8, samples=1 << 14, seed=1)
    assert abs(budget.value - EXACT) < 4 * budget.statistical + budget.step_bias
    assert budget.statistical < random * (0.8 if points == "antithetic" else 0.4)
    assert abs(budget.value - EXACT * 1.05) > 4 * budget.statistical + budget.step_bias  # the control


def test_running_moments_join():
    values = np.random.default_rng(0).normal(3.0, 2.0, 1000)
    level = Level(1, 1.0)
    for part in np.split(values, [10, 400]):
        level.add(len(part), part.mean(), ((part - part.mean()) ** 2).sum())
    assert level.mean == pytest.approx(values.mean())
    assert level.variance == pytest.approx(values.var(ddof=1))


def test_a_bias_is_seen_where_there_is_one():
    levels = Levels(Problem(GBM, first, np.ones(1), 1.0), find_scheme("euler_maruyama"), 0, 1)
    for _ in range(4):
        levels.extend()
    exact = EXACT - (1 + 0.25 / levels.levels[-1].steps) ** levels.levels[-1].steps  # Euler's own mean is known
    assert levels.bias >= exact
    assert levels.bias_at(16) < 20 * exact


def test_the_cheapest_scheme_for_a_tolerance():
    assert choose_scheme(GBM, 1.0, 1.0, 1e-3).scheme.name == "exact"
    limit = depth_limit(ResNet(tanh, width=1))
    coarse, fine = (choose_scheme(limit, 1.0, 1.0, tol) for tol in (1e-2, 1e-3))
    assert coarse.steps < fine.steps
    assert fine.bias <= 1e-3
    kwargs = {"x0": 1.0, "samples": 50, "seed": 1}
    chosen = simulate_sde(limit, tol=1e-3, **kwargs)
    assert np.array_equal(chosen, simulate_sde(limit, scheme=fine.scheme, steps=fine.steps, **kwargs))
    wide = depth_limit(ResNet(relu, width=9))
    assert choose_scheme(wide, 1.0, 1.0, 5e-2).scheme.name == "euler_maruyama"  # the only one with sums over a layer


def test_a_budget_says_where_its_error_comes_from():
    budget = Budget(1.25, 3e-4, 4e-4, 0.0, 1000, 5000, "2 levels of milstein")
    assert budget.error == pytest.approx(5e-4)
    assert str(budget) == "1.25 ± 5.0e-04 (3.0e-04 statistical, 4.0e-04 step; 2 levels of milstein, 5.0e+03 path-steps)"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tol": 0.0}, "tol must be"),
        ({"limit": Flow((x,), sp.ImmutableMatrix([x]))}, "no randomness"),
        ({"function": lambda s: s}, "one number for each"),
        ({"points": "grid"}, "points must be"),
        ({"points": "sobol", "scheme": "euler_maruyama"}, "a formula"),
        ({"points": "sobol", "steps": 30_000}, "dimensions"),
        ({"scheme": "exact", "limit": depth_limit(ResNet(tanh, width=1))}, "not known"),
        ({"x0": Normal(0, 1)}, "fixed start"),
        ({"x0": -1.0}, "in the domain"),
    ],
)
def test_senseless_requests_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        expect_sde(**{"limit": GBM, "function": first, "x0": 1.0, "tol": 0.1, **change})


def test_networks_tell_the_bias_of_their_depth():
    # a linear network of width 1 has E x² = (1 + 1/L)^L, in the limit e
    network, depth = ResNet(identity, width=1), 4
    square = lambda x: x[:, 0, 0] ** 2  # noqa: E731
    kwargs = {"depth": depth, "samples": 400_000, "x0": 1.0, "seed": 3}
    plain = expect_network(network, square, **kwargs, extrapolate=False)
    better = expect_network(network, square, **kwargs, workers=2)
    exact = (1 + 1 / (2 * depth)) ** (2 * depth)
    assert abs(plain.value - exact) < 4 * plain.statistical
    assert abs(plain.value - np.e) > 4 * plain.statistical  # the control: the limit itself is refused
    assert abs(plain.value - np.e) < 2 * plain.depth_bias + 4 * plain.statistical
    assert abs(better.value - np.e) < 2 * better.depth_bias + 4 * better.statistical
    assert better.depth_bias < plain.depth_bias / 3
    # the two depths draw from streams of their own, or the errors would not add up as independent ones do
    coarse, fine = (
        simulate_network(network, layers, 400_000, x0=1.0, seed=stream)[:, 0, 0] ** 2
        for layers, stream in zip((depth, 2 * depth), np.random.SeedSequence(3).spawn(2), strict=True)
    )
    assert better.value == pytest.approx(2 * fine.mean() - coarse.mean(), rel=1e-12)
    with pytest.raises(ValueError, match="one number for each"):
        expect_network(network, lambda x: x, depth=2, samples=10, x0=1.0)
    with pytest.raises(ValueError, match="not free where depth and width grow together"):
        expect_network(MLP(identity, width=4), square, depth=2, samples=10, x0=1.0)
