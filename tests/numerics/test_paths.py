"""Schemes against exact laws: orders with their own errors, the same bits for any workers, refusals."""

from __future__ import annotations

import pickle
from concurrent.futures import ProcessPoolExecutor
from fractions import Fraction
from multiprocessing import get_context

import numpy as np
import pytest
import sympy as sp
from scipy import stats

from derivations.activations import absolute, identity, leaky_relu, ornstein_uhlenbeck, relu, tanh
from derivations.architectures import ResNet
from derivations.diffusion import Diffusion, Flow
from derivations.laws import Normal, recognise
from derivations.limits import depth_limit, width_limit
from derivations.symbols import time, width
from numerics.compile import compile_law
from numerics.linalg import nearest_semidefinite, semidefinite_factor, times_transposed
from numerics.paths import SCHEMES, EulerMaruyama, ExactLaw, sample_law, simulate_sde

LINEAR = depth_limit(ResNet(identity, width=1))
OU = Diffusion((sp.Symbol("x", real=True),), [-sp.Symbol("x", real=True)], [[1]])
LAYER = depth_limit(ResNet(relu, width=3, inputs=2))


@pytest.mark.parametrize(
    "limit", [LINEAR, OU, LAYER, depth_limit(ResNet(tanh, width=1, inputs=2))], ids=["gbm", "ou", "layer", "dense"]
)
def test_any_number_of_workers_gives_the_same_bits(limit):
    samples = 2 * (1 << 15) // len(limit.states) + 5  # three blocks
    kwargs = {"x0": 0.7, "steps": 2, "samples": samples, "seed": 11}
    one = simulate_sde(limit, **kwargs)
    assert one.shape == (samples, len(limit.states))
    assert all(np.array_equal(one, simulate_sde(limit, **kwargs, workers=w)) for w in (2, 3))
    assert not np.array_equal(one, simulate_sde(limit, **{**kwargs, "seed": 12}))


def test_processes_give_the_same_bits():
    kwargs = {"x0": 0.7, "steps": 2, "samples": 70_000, "seed": 11}
    with ProcessPoolExecutor(1, mp_context=get_context("forkserver")) as executor:
        assert np.array_equal(simulate_sde(LINEAR, **kwargs), simulate_sde(LINEAR, **kwargs, workers=executor))


def euler_mean_square(steps: int) -> float:
    """E X² of Euler–Maruyama for dX = X dB, X₀ = 1: one step multiplies it by 1 + h."""
    return (1 + 1 / steps) ** steps


def test_weak_order_is_one():
    errors, deviations = [], []
    sizes = (1, 2, 4, 8)
    for steps in sizes:
        square = simulate_sde(LINEAR, x0=1.0, steps=steps, samples=400_000, seed=steps)[:, 0] ** 2
        deviation = square.std() / np.sqrt(square.size)
        assert abs(square.mean() - euler_mean_square(steps)) < 4 * deviation  # the scheme does what it says
        errors.append(np.e - square.mean())
        deviations.append(deviation)
    errors, deviations = np.array(errors), np.array(deviations)
    spread = deviations / errors
    slope, slope_error = weighted_slope(np.log(sizes), np.log(errors), spread)
    # the next term of the error, 1 - (11/12) h …, bends the line: its own slope is computed without noise
    bent, _ = weighted_slope(np.log(sizes), np.log([np.e - euler_mean_square(s) for s in sizes]), spread)
    assert abs(slope + float(EulerMaruyama().weak_order)) < 4 * slope_error + abs(bent + 1)
    assert abs(slope + 0.5) > 4 * slope_error  # the control: order 1/2 is rejected


def weighted_slope(u, v, deviations):
    weights = 1 / deviations**2
    centre = np.average(u, weights=weights)
    total = (weights * (u - centre) ** 2).sum()
    return (weights * (u - centre) * v).sum() / total, total**-0.5


def test_strong_order_of_additive_noise_is_seen_in_the_law():
    # additive noise: Euler's chain is Gaussian, with a variance known exactly
    h = 1 / 4
    x = simulate_sde(OU, x0=1.0, steps=4, samples=20_000, seed=1)[:, 0]
    mean, variance = (1 - h) ** 4, h * sum((1 - h) ** (2 * k) for k in range(4))
    assert stats.kstest(x, stats.norm(mean, variance**0.5).cdf).pvalue > 1e-3
    assert stats.kstest(x, stats.norm(mean, 1.05 * variance**0.5).cdf).pvalue < 1e-3


@pytest.mark.slow
@pytest.mark.parametrize(
    "phi", [identity, absolute, leaky_relu(sp.Rational(1, 2)), ornstein_uhlenbeck, sp.Integer(2)], ids=str
)
def test_exact_scheme_and_sampler_follow_the_law(phi):
    limit = depth_limit(ResNet(phi, width=1))
    law = recognise(limit)
    compiled = compile_law(law, x0=-0.6, t=0.8)
    for samples in (
        simulate_sde(limit, x0=-0.6, t=0.8, samples=20_000, seed=1, scheme=ExactLaw())[:, 0],
        sample_law(law, x0=-0.6, t=0.8, samples=20_000, seed=2),
    ):
        assert stats.kstest(samples, compiled.cdf).pvalue > 1e-3
        chart = compiled.parts[0].chart
        z = chart.forward(samples)
        wrong = chart.backward(z.mean() + 1.05 * (z - z.mean()))[0]
        assert stats.kstest(wrong, compiled.cdf).pvalue < 1e-3


def test_exact_transitions_compose():
    two = simulate_sde(OU, x0=1.0, t=1.0, samples=20_000, seed=1, scheme="exact", times=[0.3, 1.0])
    assert two.shape == (2, 20_000, 1)
    for t, row in zip((0.3, 1.0), two[..., 0], strict=True):
        exact = stats.norm(np.exp(-t), ((1 - np.exp(-2 * t)) / 2) ** 0.5)
        assert stats.kstest(row, exact.cdf).pvalue > 1e-3
    lag = np.cov(two[0, :, 0], two[1, :, 0])  # Cov(X_s, X_t) = e^{-(t-s)} Var X_s
    assert abs(lag[0, 1] / lag[0, 0] - np.exp(-0.7)) < 4 * np.sqrt(lag[1, 1] / lag[0, 0] / 20_000)


def test_a_layer_moves_with_its_covariance():
    x0 = np.array([[1.0, -1.0], [2.0, 0.5], [-1.0, 3.0]])
    x = simulate_sde(LAYER, x0=x0, t=1e-2, steps=1, samples=40_000, seed=5)
    active = np.maximum(x0, 0)
    gram = active.T @ active / 3
    increments = (x - x0.ravel()) / 0.1
    expected = np.kron(np.eye(3), gram)  # independent neurons, one G for all, inputs last
    measured = increments.T @ increments / len(x)
    error = np.sqrt((np.outer(np.diag(expected), np.diag(expected)) + expected**2) / len(x))
    assert np.all(np.abs(measured - expected) < 5 * error)
    assert np.any(np.abs(measured - 1.05**2 * expected) > 5 * error)


def test_equal_inputs_stay_equal():
    x = simulate_sde(LAYER, x0=np.array([[1.0, 1.0]] * 3), steps=20, samples=200).reshape(200, 3, 2)
    np.testing.assert_allclose(x[..., 0], x[..., 1], rtol=1e-6, atol=1e-6)
    assert x.std() > 0.1


def test_dead_layers_do_not_move():
    assert np.all(simulate_sde(LAYER, x0=-1.0, steps=5, samples=10) == -1)


def test_factors_of_many_matrices_are_those_of_each():
    rows = np.random.default_rng(0).standard_normal((10_000, 3, 2))
    grams = np.moveaxis(rows @ rows.swapaxes(1, 2), 1, 2)
    factors = semidefinite_factor(grams)
    assert np.array_equal(
        factors[[0, 8191, 8192, 9999]], [semidefinite_factor(grams[k]) for k in (0, 8191, 8192, 9999)]
    )
    assert np.array_equal(semidefinite_factor(grams[:, None]), factors[:, None])
    assert semidefinite_factor(grams[:0]).shape == (0, 3, 3)
    assert not np.array_equal(factors[8192], factors[8191])  # control


def test_a_semidefinite_factor_multiplies_back():
    rng = np.random.default_rng(0)
    thin = rng.standard_normal((50, 4, 2))
    for gram in (thin @ thin.swapaxes(-1, -2), np.zeros((2, 3, 3)), np.ones((1, 3, 3))):
        factor = semidefinite_factor(gram)
        assert np.all(np.triu(factor, 1) == 0)
        np.testing.assert_allclose(factor @ factor.swapaxes(-1, -2), gram, atol=1e-13 * (1 + gram.max()))


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_the_nearest_semidefinite_matrices_are_those_without_negative_eigenvalues(size):
    rng = np.random.default_rng(size)
    rows, other = rng.standard_normal((400, size, size + 1)), rng.standard_normal((400, size, size))
    given = rows @ rows.swapaxes(1, 2) + 0.7 * (other + other.swapaxes(1, 2))
    given[0] = 0.0
    values, vectors = np.linalg.eigh(given)
    assert 0.05 < np.mean(values[:, 0] < 0) < 0.95  # some of both
    found = nearest_semidefinite(given)
    expected = (vectors * np.maximum(values, 0)[:, None, :]) @ vectors.swapaxes(1, 2)
    np.testing.assert_allclose(found, expected, atol=1e-13 * np.abs(given).max())
    assert np.array_equal(found[values[:, 0] > 1e-9], given[values[:, 0] > 1e-9])  # as they are
    assert np.abs(given - expected).max() > 0.1  # the control


@pytest.mark.parametrize("samples", [0, 3, 500])
@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (4, 2), (6, 6)])
def test_products_of_many_small_matrices_are_those_of_each(samples, shape):
    left, right = np.random.default_rng(0).standard_normal((2, samples, *shape))
    found = times_transposed(left, right)
    np.testing.assert_allclose(found, np.einsum("sak,sbk->sab", left, right), atol=1e-13)
    if samples and shape[0] > 1:  # the control
        assert not np.allclose(found, found.swapaxes(1, 2))


def test_starts_of_every_shape():
    one = simulate_sde(LAYER, x0=0.5, steps=3, samples=4)
    for x0 in (np.full(6, 0.5), np.full((3, 2), 0.5), np.full((4, 6), 0.5), np.full((4, 3, 2), 0.5)):
        assert np.array_equal(one, simulate_sde(LAYER, x0=x0, steps=3, samples=4))
    spread = simulate_sde(OU, x0=Normal(1, 4), t=1e-9, steps=1, samples=20_000)
    assert stats.kstest(spread[:, 0], stats.norm(1, 2).cdf).pvalue > 1e-3


def test_chosen_times_are_on_one_path():
    path = simulate_sde(LINEAR, x0=1.0, t=1.0, steps=10, samples=5, seed=2, times=[0.0, 0.5, 1.0])
    assert path.shape == (3, 5, 1)
    assert np.all(path[0] == 1)
    assert np.array_equal(path[2], simulate_sde(LINEAR, x0=1.0, t=1.0, steps=10, samples=5, seed=2))


def test_time_enters_the_coefficients():
    x = sp.Symbol("x", real=True)
    limit = Diffusion((x,), [2 * time], [[0]])
    # Euler's sum of 2t h over t = 0, h, …: 1 - h
    assert simulate_sde(limit, x0=0.0, steps=4, samples=2)[0, 0] == pytest.approx(0.75)


def test_a_flow_is_integrated():
    x, y = sp.symbols("x y", real=True)
    rotation = Flow((x, y), sp.ImmutableMatrix([-y, x]))
    end = simulate_sde(rotation, x0=[1.0, 0.0], t=np.pi / 2, samples=3)
    np.testing.assert_allclose(end, [[0, 1]] * 3, atol=1e-9)
    many = simulate_sde(rotation, x0=np.eye(2), t=np.pi / 2, samples=2, times=[np.pi / 4, np.pi / 2])
    np.testing.assert_allclose(many[1], [[0, 1], [-1, 0]], atol=1e-9)
    kernel = width_limit(ResNet(relu, width=sp.oo))
    assert simulate_sde(kernel, x0=2.0, t=1.0, samples=1)[0, 0] == pytest.approx(2 * np.exp(0.5))


def test_schemes_state_their_orders():
    assert {s.name for s in SCHEMES} == {
        *("euler_maruyama", "milstein", "derivative_free", "lamperti", "two_point", "weak_second"),
        *("exact", "congruence", "gram_euler", "linear_form"),
    }
    half, one, two = Fraction(1, 2), Fraction(1), Fraction(2)
    assert {s.name: (s.strong_order, s.weak_order) for s in SCHEMES} == {
        "euler_maruyama": (half, one),
        "milstein": (one, one),
        "derivative_free": (one, one),
        "lamperti": (one, one),
        "two_point": (None, one),  # its normals are signs: no paths to compare
        "weak_second": (half, two),
        "exact": (None, None),
        "congruence": (half, one),
        "gram_euler": (half, one),
        "linear_form": (one, one),
    }
    assert all(pickle.loads(pickle.dumps(s)) == s for s in SCHEMES)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"limit": depth_limit(ResNet(relu, width=width))}, "positive integer"),
        (
            {"limit": depth_limit(ResNet(identity, width=1, weight_variance=sp.Symbol("v", positive=True)))},
            "parameters v left",
        ),
        ({"limit": None}, "expected a limit"),
        ({"x0": np.nan}, "must be finite"),
        ({"x0": [1.0, 2.0]}, "x0 must be"),
        (
            {"limit": Diffusion((sp.Symbol("x", real=True),), [0], [[1]], sp.Interval.open(0, sp.oo)), "x0": 0.0},
            "in the domain",
        ),
        ({"t": 0}, "the time t"),
        ({"t": np.inf}, "the time t"),
        ({"steps": 0}, "steps must be"),
        ({"samples": -1}, "samples must be"),
        ({"times": [0.5, 0.2]}, "times must increase"),
        ({"times": [2.0]}, "times must increase"),
        ({"scheme": "guess"}, "unknown scheme 'guess'"),
        ({"limit": LAYER, "scheme": "exact"}, "scalar diffusions"),
    ],
)
def test_senseless_requests_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        simulate_sde(**{"limit": LINEAR, "x0": 1.0, "steps": 2, "samples": 3, **change})
