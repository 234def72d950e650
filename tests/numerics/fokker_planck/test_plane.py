"""The law of two states on a lattice: against Gaussian laws, change of measure, and one-dimensional solutions; what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp
from scipy.linalg import expm
from scipy.stats import multivariate_normal, norm

from derivations import MLP, Diffusion, ResNet, ShapedMLP, derive, gelu, identity, relu, tanh
from derivations.calculus.gram import norm_and_correlation
from derivations.errors import NotClosed
from numerics import solve_fokker_planck
from numerics.fokker_planck.plane import _kernel, _motion, _window

x, y = sp.symbols("x y", real=True)
v, w = sp.symbols("v w", positive=True)
HALF = sp.Interval.open(0, sp.oo)
TURN = np.array([[-1.0, 0.8], [-0.5, -0.3]])
NOISE = np.array([[1.0, 0.6], [0.6, 2.0]])
LINEAR = Diffusion(
    (x, y),
    [-x + sp.Rational(4, 5) * y, -x / 2 - sp.Rational(3, 10) * y],
    [[1, sp.Rational(3, 5)], [sp.Rational(3, 5), 2]],
)


def gaussian(t, noise):
    """Mean and covariance of the linear equation from (1, -1/2), by Van Loan's exponential."""
    both = expm(t * np.block([[-TURN, noise], [np.zeros((2, 2)), TURN.T]]))
    return multivariate_normal(expm(t * TURN) @ [1.0, -0.5], both[2:, 2:].T @ both[:2, 2:])


def distance(found, law):
    points = np.linspace(-5, 5, 141)
    a, b = np.meshgrid(points, points, indexing="ij")
    return np.abs(found.pdf(a, b) - law.pdf(np.stack([a, b], -1))).sum() * (points[1] - points[0]) ** 2


@pytest.fixture(scope="module")
def linear():
    return solve_fokker_planck(LINEAR, (1.0, -0.5), t=0.7, tol=1e-3)


def test_a_linear_equation_with_shared_noise_has_its_gaussian_law(linear):
    law = gaussian(0.7, NOISE)
    assert distance(linear, law) < linear.error < 1e-3
    assert distance(linear, gaussian(0.7, NOISE - 0.01 * np.eye(2)[::-1])) > 3e-3
    np.testing.assert_allclose(linear.mean(), law.mean, atol=1e-3)
    np.testing.assert_allclose(linear.cov(), law.cov, atol=1e-3)
    points = np.array([-1.0, 0.3, 2.0])
    for k in (0, 1):
        np.testing.assert_allclose(
            linear.marginal(k, points), norm(law.mean[k], law.cov[k, k] ** 0.5).pdf(points), atol=1e-3
        )
    samples = linear.rvs(4000, rng=1)
    off = (samples.mean(0) - law.mean) / (samples.std(0) / np.sqrt(len(samples)))
    assert np.abs(off).max() < 4
    assert np.isnan(linear.pdf(np.nan, 0.0))
    assert linear.pdf(1e6, 0.0) == 0


def test_each_step_is_a_markov_chain_whatever_the_correlation():
    process = Diffusion(
        (x, y), [sp.sin(y), -x], [[1, sp.cos(x) * sp.Rational(4, 5)], [sp.cos(x) * sp.Rational(4, 5), 1]]
    )
    motion = _motion(process, (0.0, 0.0), 0.3)
    kernel, _ = _kernel(motion, _window(motion, 0.3, 1e-2, 6), 0.05)
    assert kernel.data.min() >= 0
    np.testing.assert_allclose(kernel.sum(axis=0), 1, rtol=1e-13)


@pytest.mark.slow
def test_norm_and_correlation_of_a_shaped_network():
    # V is a martingale with V/V0 the density of a measure under which the correlation has the drift b + d<log V, rho>/dt
    limit = derive(ShapedMLP(relu, inputs=2, c_plus=1, c_minus=-1), order="joint").limit
    process = norm_and_correlation(limit, limit.states)
    t, start = 0.5, 0.3
    found = solve_fokker_planck(process, (1.0, start), t=t, tol=1e-3)
    assert found.error < 1e-3
    assert found.density.min() >= 0
    points = np.array([0.2, 0.6, 1.3, 3.0])
    lognormal = norm(-t, np.sqrt(2 * t)).pdf(np.log(points)) / points
    np.testing.assert_allclose(found.marginal(0, points), lognormal, atol=3e-4)
    norms, rho = process.states
    cross = process.covariance[0, 1] / norms
    inside = sp.Interval.open(-1, 1)
    plain, tilted = (
        solve_fokker_planck(
            Diffusion((rho,), [process.drift[1] + more], [[process.covariance[1, 1]]], inside), start, t=t
        )
        for more in (0, sp.expand(cross))
    )
    inner = np.array([-0.5, 0.2, 0.5, 0.9])
    np.testing.assert_allclose(found.marginal(1, inner), plain.pdf(inner), atol=1e-3)
    together = found.expectation(lambda v, r: v * r)
    assert together == pytest.approx(tilted.mean(), abs=1e-3)
    assert abs(together - plain.mean()) > 0.05  # what it would be if they shared no noise
    # so close to 1 that doubles do not resolve the end from states within reach, and while probability gathers there
    for (v0, start), t in (((1e6, 0.999999), 0.5), ((1.0, 0.3), 4.0)):
        scalar = Diffusion((rho,), [process.drift[1]], [[process.covariance[1, 1]]], inside)
        late = solve_fokker_planck(process, (v0, start), t=t, tol=1e-2)
        assert late.expectation(lambda v, r: r) == pytest.approx(
            solve_fokker_planck(scalar, start, t=t).mean(), abs=2e-3
        )
    t, start = 0.5, 0.3
    # Monte Carlo by hand, in log V and artanh rho
    rng, steps, samples = np.random.default_rng(7), 100, 100_000
    logs, angle = np.zeros(samples), np.full(samples, np.arctanh(start))
    for _ in range(steps):
        one, two = rng.standard_normal((2, samples)) * np.sqrt(t / steps)
        r = np.tanh(angle)
        drift = 2 / np.pi * (np.sqrt(1 - r**2) - r * np.arccos(r)) - r * (1 - r**2) / 2
        angle = angle + (drift / (1 - r**2) + r) * t / steps + two
        logs = logs - t / steps + r * two + np.sqrt(2 - r**2) * one
    drawn = np.exp(logs / 2) * np.tanh(angle)
    error = drawn.std() / np.sqrt(samples)
    assert abs(drawn.mean() - found.expectation(lambda v, r: np.sqrt(v) * r)) < 4 * error + 1e-3
    apart = found.expectation(lambda v, r: np.sqrt(v)) * found.expectation(lambda v, r: r)
    assert abs(drawn.mean() - apart) > 8 * error + 2e-3


@pytest.mark.slow
def test_two_lognormal_states_to_a_small_error():
    process = Diffusion((v, w), [v / 2, 0], [[v**2, v * w / 2], [v * w / 2, 2 * w**2]], sp.ProductSet(HALF, HALF))
    found = solve_fokker_planck(process, (1.0, 2.0), t=0.4)
    assert found.error < 1e-4
    law = multivariate_normal([0.0, np.log(2) - 0.4], 0.4 * np.array([[1, 0.5], [0.5, 2]]))
    a, b = np.meshgrid(*(np.linspace(-5, 5, 201),) * 2, indexing="ij")
    off = np.abs(found.pdf(np.exp(a), np.exp(b)) * np.exp(a + b) - law.pdf(np.stack([a, b], -1))).sum() * 0.05**2
    assert off < found.error


REFUSED = {
    "one Brownian motion": (
        lambda: solve_fokker_planck(derive(ResNet(tanh, width=1, inputs=2)).limit, (1.0, 0.5)),
        "one Brownian motion",
    ),
    "almost one": (
        lambda: solve_fokker_planck(
            Diffusion((x, y), [0, 0], [[1, 1 - sp.exp(-(x**2)) / 2], [1 - sp.exp(-(x**2)) / 2, 1]]), (0.0, 0.0), t=4.0
        ),
        "move almost together",
    ),
    "an end that is reached": (
        lambda: solve_fokker_planck(Diffusion((v, w), [1, 0], [[v, 0], [0, 1]], sp.ProductSet(HALF, HALF)), (1.0, 1.0)),
        "the end v = 0 is at the distance 2",
    ),
    "one number": (lambda: solve_fokker_planck(LINEAR, 1.0), "must be two numbers"),
    "a start outside": (
        lambda: solve_fokker_planck(
            Diffusion((v, w), [0, 0], [[v**2, 0], [0, w**2]], sp.ProductSet(HALF, HALF)), (1.0, -1.0)
        ),
        "outside the domain",
    ),
    "time": (
        lambda: solve_fokker_planck(Diffusion((x, y), [LINEAR.time, 0], [[1, 0], [0, 1]]), (0.0, 0.0)),
        "depend on time",
    ),
    "no noise": (
        lambda: solve_fokker_planck(Diffusion((x, y), [0, x], [[1, 0], [0, 0]]), (0.0, 0.0)),
        "y has no noise",
    ),
    "a jump of the noise": (
        lambda: solve_fokker_planck(
            Diffusion((x, y), [0, 0], [[sp.Piecewise((4, x < 0), (1, True)), 0], [0, 1]]), (0.5, 0.0)
        ),
        "vanishes or jumps at x = 0",
    ),
    "a kink": (
        lambda: solve_fokker_planck(Diffusion((x, y), [0, 0], [[(1 + sp.Abs(x)) ** 2, 0], [0, 1]]), (0.3, 0.0), t=0.5),
        "because of kinks, jumps or a steep drift",
    ),
    "few points": (lambda: solve_fokker_planck(LINEAR, (1.0, 0.0), tol=1e-5, points=100), "raise points or tol"),
    "three states": (
        lambda: solve_fokker_planck(derive(MLP(identity, inputs=2), order="joint").limit, 1.0),
        "one state or two, got 3",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_solved_for_two_states_is_refused_with_its_cause(name):
    call, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        call()


def test_marginals_are_of_one_of_two_states(linear):
    with pytest.raises(ValueError, match="must be 0 or 1"):
        linear.marginal(2, 0.0)


def test_norm_and_correlation_that_do_not_close():
    limit = derive(ShapedMLP(gelu, inputs=2, a=1), order="joint").limit
    with pytest.raises(NotClosed, match="also depend"):
        norm_and_correlation(limit, limit.states)
