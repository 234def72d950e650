"""What becomes of samples: exploded ones are counted, undefined states are errors that say where, ends are kept."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import sympy as sp
from scipy import stats

from derivations import Network, NoLimit, Weights, derive, epsilon
from derivations.activations import parse_activation, relu, tanh
from derivations.architectures import ResNet, ShrinkingResNet
from derivations.diffusion import Diffusion
from derivations.laws import Normal
from derivations.limits import depth_limit
from derivations.symbols import time
from numerics.depth_extrapolation import expect_network
from numerics.ensembles import Moments, seed_sequence
from numerics.expectations import expect_sde
from numerics.expectations.choice import choose_scheme
from numerics.fokker_planck import solve_fokker_planck
from numerics.networks import simulate_network
from numerics.outcomes import ExplosionWarning, UndefinedState, count_outcomes
from numerics.paths import simulate_sde
from numerics.schemes import SCHEMES, Milstein

x, y = sp.symbols("x y", real=True)
HALF, UNIT = sp.Interval.open(0, sp.oo), sp.Interval.open(0, 1)
STEPPED = [s.name for s in SCHEMES if s.name not in ("exact", "congruence", "gram_euler", "linear_form", "lamperti")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x**(1/3)", r"x\*\*\(1/3\) has no value at x = -.*layer \d+ of 50, sample \d+, neuron"),
        ("1/(x-1)", r"has no value at x = 1: layer 1 of 50, sample 1, neuron 1"),
        ("log(x+1/2)", r"log\(x \+ 1/2\) has no value at x = -.*layer"),
        ("tanh(x)*sqrt(x)", "has no value"),
    ],
)
def test_a_network_that_comes_to_an_undefined_state_says_where(text, message):
    with pytest.raises(UndefinedState, match=message):
        simulate_network(ResNet(parse_activation(text), width=2), depth=50, samples=300, x0=1.0)
    kwargs = {"record": lambda x: x[:, 0], "reduce": Moments(), "workers": 2}
    with pytest.raises(UndefinedState, match=message):
        simulate_network(ResNet(parse_activation(text), width=2), depth=50, samples=300, x0=1.0, **kwargs)


@pytest.mark.parametrize("width", [1, 2])
def test_a_path_that_comes_to_an_undefined_state_says_where(width):
    limit = depth_limit(ResNet(1 / (x - 1), width=width))
    with pytest.raises(UndefinedState, match=r"has no value at x = 1, t = 0 \(step 1 of 9 of path 1\)"):
        simulate_sde(limit, 1.0, steps=9, samples=3)


@pytest.mark.parametrize("text", ["exp(exp(x))", "x**3"])
def test_explosions_are_counted_and_hold_no_nan(text):
    network = ResNet(parse_activation(text), width=2)
    with pytest.warns(ExplosionWarning, match=r"\d+ of 300 networks exploded"):
        ends = simulate_network(network, depth=50, samples=300, x0=1.0)
    assert not np.isnan(ends).any()
    count = count_outcomes(depth_limit(network), ends)
    assert 0 < count.exploded < 300
    with pytest.warns(ExplosionWarning, match=f"{count.exploded} of 300"):
        simulate_network(network, depth=50, samples=300, x0=1.0, reduce=Moments())
    with pytest.warns(ExplosionWarning, match="of 300 paths"):
        paths = simulate_sde(depth_limit(network), 1.0, steps=50, samples=300)
    assert not np.isnan(paths).any()


def test_a_start_at_the_edge_of_the_numbers():
    # ReLU networks are homogeneous: from 1e308 those leave the doubles whose states, or increments before they are
    # multiplied by ε = 20^{-1/2}, pass 1.7977 on the way from 1
    way = simulate_network(ResNet(relu, width=3), 20, 40, x0=1.0, at=range(21))
    largest = np.maximum(np.abs(way).max((0, 2, 3)), np.abs(np.diff(way, axis=0)).max((0, 2, 3)) * np.sqrt(20))
    lost = largest > np.finfo(float).max / 1e308
    assert 0 < lost.sum() < 40
    with pytest.warns(ExplosionWarning, match=f"{lost.sum()} of 40 networks"):
        ends = simulate_network(ResNet(relu, width=3), 20, 40, x0=1e308)
    assert not np.isnan(ends).any()
    np.testing.assert_array_equal(np.isinf(ends).any((1, 2)), lost)
    np.testing.assert_allclose(ends[~lost], 1e308 * way[-1][~lost], rtol=1e-13)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.all(simulate_network(ResNet(tanh, width=3), 20, 5, x0=1e308) == 1e308)


@pytest.mark.filterwarnings("ignore::numerics.ExplosionWarning")
def test_infinite_paths_of_an_equation_that_cannot_explode_have_failed():
    """Of two neurons the norm is a Brownian motion of the plane in a clock of its own, which leaves every disc and comes back."""
    for width, explodes in ((2, False), (3, True)):
        d = derive(ResNet(x**2, width=width))
        count = count_outcomes(d, simulate_sde(d.limit, 1.5, t=2.0, steps=200, samples=300, seed=0))
        assert (count.exploded > 30, count.failed > 30) == (explodes, not explodes)
        assert min(count.exploded, count.failed) == 0


def test_finite_absorbed_and_exploded_states_are_distinguished():
    limit = depth_limit(ResNet(relu, width=2))
    states = [[1, 2], [-1, -2], [np.inf, 0], [np.nan, 1], [-1, 0]]
    count = count_outcomes(limit, states)
    assert (count.samples, count.exploded, count.absorbed, count.failed) == (5, 1, 2, 1)
    count = count_outcomes(derive(ResNet(relu, width=2)), states)  # which cannot explode
    assert (count.samples, count.exploded, count.absorbed, count.failed) == (5, 0, 2, 2)
    motion = Diffusion((x,), [0], [[1]], UNIT)
    ends = simulate_sde(motion, 0.5, t=0.1, steps=1000, samples=4000)
    # P(B stays in (0, 1) up to t from ½) = (4/π) Σ (−1)^k e^{−(2k+1)²π²t/2}/(2k+1); steps see ends that are 0.58 √h further away
    k = np.arange(20)
    stays = 4 / np.pi * np.sum((-1.0) ** k * np.exp(-((2 * k + 1) ** 2) * np.pi**2 * 0.1 / 2) / (2 * k + 1))
    assert (
        abs(count_outcomes(motion, ends).absorbed / 4000 - (1 - stays)) < 4 * np.sqrt(stays * (1 - stays) / 4000) + 0.02
    )
    assert count_outcomes(Diffusion((x,), [1 - x], [[x]], HALF), [[0.0], [1.0]]).absorbed == 0  # it comes back


ENDS = {
    "low Feller": (Diffusion((x,), [sp.Rational(1, 10) - x], [[x]], HALF), 0.1 + 0.2 * np.exp(-1)),
    "absorbed": (Diffusion((x,), [-x], [[x]], HALF), 0.3 * np.exp(-1)),
    "two ends": (Diffusion((x,), [sp.Rational(1, 2) - x], [[x * (1 - x)]], UNIT), 0.5 - 0.2 * np.exp(-1)),
    "upper": (
        Diffusion((x,), [sp.Rational(9, 10) - x], [[1 - x]], sp.Interval.open(-sp.oo, 1)),
        0.9 - 0.6 * np.exp(-1),
    ),
}


@pytest.mark.parametrize(
    ("name", "scheme"),
    [
        pytest.param(name, scheme, marks=[pytest.mark.slow] if (name, scheme) == ("two ends", "weak_second") else [])
        for name in ENDS
        for scheme in STEPPED
    ],
)
def test_paths_stay_in_their_domain_in_every_scheme(name, scheme):
    process, mean = ENDS[name]
    ends = simulate_sde(process, 0.3, steps=60, samples=2000, scheme=scheme, backend="numpy")[:, 0]
    assert np.all((ends >= float(process.domain.inf)) & (ends <= float(process.domain.sup)))
    error = ends.std() / np.sqrt(len(ends))
    assert abs(ends.mean() - mean) < 4 * error + 0.02  # the end is met in a share √h of the steps, of size √h each
    assert abs(ends.mean() - mean - 0.1) > 4 * error + 0.02  # the control


def test_ends_of_every_kind_follow_their_laws():
    # absorbed CIR: P(X_t = 0) = exp(−2 x0 e^{−t}/(1 − e^{−t})) for dX = −X dt + √X dB
    absorbed = Diffusion((x,), [-x], [[x]], HALF)
    ends = simulate_sde(absorbed, 0.3, steps=400, samples=4000, scheme="milstein")[:, 0]
    share = np.exp(-2 * 0.3 * np.exp(-1) / (1 - np.exp(-1)))
    assert abs(np.mean(ends == 0) - share) < 4 * np.sqrt(share / 4000) + 0.02
    # a Bessel process of dimension 3 from ½: its square over t is noncentral χ²
    bessel = simulate_sde(Diffusion((x,), [1 / x], [[1]], HALF), 0.5, steps=400, samples=4000)[:, 0]
    exact = stats.ncx2(3, 0.25)
    assert stats.kstest(bessel**2, exact.cdf).pvalue > 1e-3
    assert stats.kstest(1.05**2 * bessel**2, exact.cdf).pvalue < 0.05


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["euler_maruyama", "milstein"])
def test_machine_code_stays_inside_too(scheme):
    pytest.importorskip("numba", reason="machine-code kernels need the extra fast")
    kwargs = {"x0": 0.3, "steps": 20, "samples": 50, "scheme": scheme}
    process = ENDS["low Feller"][0]
    arrays, kernel = (simulate_sde(process, **kwargs, backend=b) for b in ("numpy", "numba"))
    np.testing.assert_allclose(kernel, arrays, rtol=1e-9, atol=1e-12)
    fine, coarse = Milstein().couple(process)(np.full((50, 1), 0.05), 0.0, 0.05, 20, np.random.default_rng(0))
    assert min(fine.min(), coarse.min()) >= 0


def test_starts_outside_the_domain_are_refused_with_their_share():
    motion = Diffusion((x,), [0], [[1]], HALF)
    with pytest.raises(ValueError, match="50 % of its mass outside"):
        simulate_sde(motion, Normal(0, 1), samples=5)
    with pytest.raises(ValueError, match="for 2 of 3 samples"):
        simulate_sde(motion, [-1.0, 0.0, 2.0], samples=3)
    simulate_sde(motion, Normal(50, 1), steps=2, samples=5)


def test_seeds_and_starts_of_every_kind():
    network = ResNet(relu, width=1)
    ones = {"depth": 4, "samples": 6, "x0": np.ones(6)}
    first, again = (simulate_network(network, **ones, seed=np.random.default_rng(5)) for _ in range(2))
    assert np.array_equal(first, again)
    rng = np.random.default_rng(5)
    moved = [simulate_network(network, **ones, seed=rng) for _ in range(2)]
    assert np.array_equal(moved[0], first)
    assert not np.array_equal(moved[0], moved[1])  # a generator moves on
    assert not np.array_equal(*(simulate_network(network, **ones, seed=None) for _ in range(2)))
    assert seed_sequence(3).entropy == seed_sequence(np.random.SeedSequence(3)).entropy
    for wrong in (-1, 1.5, "a", True):
        with pytest.raises(ValueError, match="seed must be"):
            simulate_network(network, **ones, seed=wrong)
    starts = np.arange(1.0, 7.0)
    assert np.array_equal(simulate_network(network, 0, 6, x0=starts)[:, 0, 0], starts)
    wide = starts.reshape(3, 2)
    assert np.array_equal(simulate_network(ResNet(relu, width=2), 0, 3, x0=wide)[:, :, 0], wide)
    assert simulate_sde(depth_limit(network), starts, steps=1, samples=6).shape == (6, 1)


def test_paths_start_at_a_time_of_their_own():
    growing = Diffusion((x,), [2 * time], [[0]])
    for t0 in (0.0, 1.0):  # Euler's sum of 2 t h, exact up to h (t − t0)
        end = simulate_sde(growing, 0.0, t=2.0, t0=t0, steps=1000, samples=1)[0, 0]
        assert end == pytest.approx(4 - t0**2 - (2 - t0) ** 2 / 1000)
    kept = simulate_sde(growing, 0.0, t=2.0, t0=1.0, steps=10, samples=1, times=[1.0, 1.5])
    assert kept[0, 0, 0] == 0
    with pytest.raises(ValueError, match="t0"):
        simulate_sde(growing, 0.0, t=1.0, t0=1.0)
    with pytest.raises(ValueError, match="between 1 and"):
        simulate_sde(growing, 0.0, t=2.0, t0=1.0, times=[0.5])


@pytest.mark.parametrize("scheme", [s for s in STEPPED if s != "derivative_free"])
def test_states_that_share_a_motion_move_together(scheme):
    # X = exp(B − t/2), Y = 2 log X + t: one Brownian motion, whatever the scheme
    shared = Diffusion((x, y), [0, 0], sigma=[x, 2])
    ends = simulate_sde(shared, [1.0, 0.0], t=0.25, steps=64, samples=400, scheme=scheme, backend="numpy")
    follow = np.corrcoef(np.log(ends[:, 0]), ends[:, 1])[0, 1]
    assert follow > 0.99
    assert abs(ends[:, 1].std() / 1.0 - 1) < 4 / np.sqrt(800)


def test_shrinking_silu_networks_are_simulated():
    from derivations.activations import identity, silu

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExplosionWarning)
        ends = simulate_network(ShrinkingResNet(silu, identity, width=3), 64, 500, x0=1.0)
    assert not np.isnan(ends).any()


@pytest.mark.slow
def test_a_long_formula_is_named_in_one_short_line():
    z = sp.Symbol("z", real=True)
    formula = sp.log(z) * sp.Add(*(sp.sin(k * z) * k for k in range(1, 30)))
    with pytest.raises(UndefinedState, match=r" … .*characters\) has no value at x = -") as refused:
        simulate_network(ResNet(formula, width=3), 2, 10, x0=-1.0)
    assert len(str(formula)) > 300 > len(str(refused.value))
    with pytest.raises(NoLimit, match=" … ") as no_limit:
        derive(Network(lambda x: sp.Add(*(x**k for k in range(40))) + epsilon * Weights("A")(x), width=3))
    assert len(str(no_limit.value)) < 400


@pytest.mark.slow
def test_means_over_exploded_paths_are_said():
    # E f was "cannot convert float NaN to integer", the choice of a scheme a bias of 0, the mean of the law nan
    cubic = Diffusion((x,), [x**3], [[1]])
    with pytest.raises(
        ValueError, match=r"infinite, no number or beyond 1e\+150 on \d+ of \d+ paths of \d+ steps, which exploded"
    ):
        expect_sde(cubic, lambda s: s[:, 0], x0=3.0, tol=0.1)
    with pytest.raises(ValueError, match="which exploded"):
        choose_scheme(cubic, 3.0, 1.0, tol=1e-2)
    bounded = expect_sde(cubic, lambda s: (s[:, 0] > 0).astype(float), x0=3.0, tol=0.1)
    assert bounded.value == pytest.approx(1.0, abs=0.1)
    law = solve_fokker_planck(cubic, 0.5, t=1.0, tol=1e-3)
    assert all(place in (-np.inf, np.inf) for place, _ in law.atoms)
    for moment in (law.mean, law.var):
        with pytest.raises(ValueError, match="probability at an infinite end"):
            moment()


@pytest.mark.parametrize("states", [3.0, float("nan"), [], np.empty((0, 2))])
def test_states_without_a_row_are_refused(states):
    with pytest.raises(ValueError, match="states must have a row for each sample, as simulate_sde returns them"):
        count_outcomes(depth_limit(ResNet(relu, width=1)), states)


@pytest.mark.parametrize("tol", [1e200, 1e308])
def test_a_tolerance_whose_square_overflows_is_refused(tol):
    with pytest.raises(ValueError, match="tol must be 0 or of a size from 1e-75 to 1e75"):
        expect_sde(depth_limit(ResNet(relu, width=1)), lambda x: x[:, 0], x0=1.0, tol=tol)
    with pytest.raises(ValueError, match="tol must be 0 or of a size from 1e-75 to 1e75"):
        expect_network(ResNet(relu, width=1), lambda x: x[:, 0, 0], tol=tol)


def test_networks_without_a_layer_have_no_twice_as_deep_ones():
    with pytest.raises(ValueError, match="depth must be at least 1, got 0: networks of so many layers are compared"):
        expect_network(ResNet(relu, width=1), lambda x: x[:, 0, 0], depth=0)
