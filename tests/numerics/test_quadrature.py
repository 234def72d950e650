"""Quadrature against integrals known by hand, at kinks, near degenerate covariances and in the tails."""

import numpy as np
import pytest
from scipy import integrate, special, stats

from numerics import quadrature
from numerics.quadrature import expect, expect_pair, gauss_hermite


def relu(x):
    return np.maximum(x, 0.0)


def step(x):
    return (x > 0.0).astype(float)


@pytest.mark.parametrize("variance", [1e-4, 0.3, 1.0, 25.0])
@pytest.mark.parametrize("mean", [0.0, -1.3])
def test_mean_of_smooth_functions(variance, mean):
    exact = np.exp(-variance / 2) * np.cos(mean)
    assert expect(np.cos, variance, mean) == pytest.approx(exact, rel=1e-12, abs=1e-14)
    assert expect(lambda x: x**4, variance, mean) == pytest.approx(
        mean**4 + 6 * mean**2 * variance + 3 * variance**2, rel=1e-13
    )
    assert gauss_hermite(lambda x: x**4, variance, mean, order=4) == pytest.approx(
        expect(lambda x: x**4, variance, mean), rel=1e-12
    )


@pytest.mark.parametrize("kink", [0.0, 0.7, -3.0, 9.0])
def test_half_line_moments(kink):
    value = expect(lambda x: relu(x - kink), kinks=[kink])
    assert value == pytest.approx(stats.norm.pdf(kink) - kink * stats.norm.sf(kink), rel=1e-12)


def test_agrees_with_adaptive_quadrature():
    def f(x):
        return np.tanh(3 * x) * np.exp(x / 2)

    value, _ = integrate.quad(lambda z: f(2 * z) * stats.norm.pdf(z), -12, 12, epsabs=1e-13, epsrel=1e-13, limit=200)
    assert expect(f, 4.0) == pytest.approx(value, rel=1e-11)
    assert gauss_hermite(lambda x: np.exp(x / 2), 4.0) == pytest.approx(np.exp(0.5), rel=1e-13)


def test_growth_just_inside_the_density():
    assert expect(lambda x: np.exp(0.45 * x**2)) == pytest.approx(10**0.5, rel=1e-12)


RHOS = [0.0, 0.4, -0.4, 0.99, -0.999999, 1 - 1e-10, 1.0, -1.0]


@pytest.mark.parametrize("rho", RHOS)
def test_orthant_probability(rho):
    covariance = np.array([[4.0, rho], [rho, 0.25]])
    value = expect_pair(step, step, covariance, [0.0], [0.0])
    assert value == pytest.approx(0.25 + np.arcsin(rho) / (2 * np.pi), abs=2e-12)
    if abs(rho) > 0.1:
        assert value != pytest.approx(0.25 + 1.05 * np.arcsin(rho) / (2 * np.pi), abs=1e-9)


@pytest.mark.parametrize("rho", RHOS)
def test_product_of_exponentials(rho):
    covariance = np.array([[1.0, 3 * rho], [3 * rho, 9.0]])
    value = expect_pair(np.exp, lambda v: np.exp(v / 3), covariance)
    assert value == pytest.approx(np.exp(1 + rho), rel=1e-12)


@pytest.mark.parametrize("rho", RHOS)
def test_swapping_the_two_sides_changes_nothing(rho):
    covariance = np.array([[1.0, rho * 2**0.5], [rho * 2**0.5, 2.0]])
    one = expect_pair(np.tanh, lambda v: relu(v - 0.5), covariance, [], [0.5])
    two = expect_pair(lambda v: relu(v - 0.5), np.tanh, covariance[::-1, ::-1], [0.5], [])
    assert one == pytest.approx(two, rel=1e-11, abs=1e-14)


def test_a_point_mass():
    assert expect(np.exp, 0.0, 2.0) == np.exp(2.0)
    assert expect_pair(np.cos, np.cos, [[0.0, 0.0], [0.0, 1.0]]) == pytest.approx(np.exp(-0.5), rel=1e-13)


def test_refusals():
    with pytest.raises(ValueError, match="nonnegative"):
        expect(np.cos, -1.0)
    with pytest.raises(ValueError, match="nonnegative"):
        gauss_hermite(np.cos, -1.0)
    with pytest.raises(ValueError, match="positive"):
        gauss_hermite(np.cos, order=0)
    with pytest.raises(ValueError, match="kink"):
        expect(lambda x: relu(x - 0.123))
    with pytest.raises(ValueError, match="symmetric"):
        expect_pair(np.cos, np.cos, [[1.0, 0.2], [0.1, 1.0]])
    with pytest.raises(ValueError, match="semidefinite"):
        expect_pair(np.cos, np.cos, [[1.0, 2.0], [2.0, 1.0]])


POLES = [(j + 0.5) * np.pi for j in range(-12, 12)]


@pytest.mark.parametrize(
    ("function", "kinks"),
    [
        (np.tan, []),
        (np.tan, POLES),
        (lambda x: 1000 + np.tan(x), []),
        (lambda x: 1 / x, [0.0]),
        (lambda x: 1000 + 1 / x, [0.0]),
        (lambda x: x / (x * x - 2), [np.sqrt(2), -np.sqrt(2)]),
        (lambda x: x * np.exp(x * x / 2), []),
        (lambda x: np.exp(37 * x), []),  # it has a mean, half of which lies beyond the grid
    ],
    ids=["tan", "tan with kinks", "raised tan", "1/x", "raised 1/x", "two poles", "growth", "beyond the grid"],
)
def test_what_only_symmetry_or_the_grid_makes_finite_is_refused(function, kinks):
    with pytest.raises(ValueError, match="mean"), np.errstate(all="ignore"):
        expect(function, kinks=kinks)


def test_integrable_poles_and_fast_growth_stay():
    assert expect(lambda x: np.abs(x) ** -0.5, kinks=[0.0]) == pytest.approx(
        special.gamma(0.25) / (2**0.25 * np.sqrt(np.pi)), rel=1e-12
    )
    assert expect(lambda x: np.exp(15 * x)) == pytest.approx(np.exp(112.5), rel=1e-12)
    with pytest.raises(ValueError, match="pole at 1 "):
        expect_pair(lambda x: 1 / (x - 1), np.cos, [[1.0, 0.5], [0.5, 1.0]], [1.0])
    with pytest.raises(ValueError, match="pole at 0 "):
        expect_pair(np.cos, lambda x: 1 / x, [[1.0, 0.5], [0.5, 1.0]], [], [0.0])


@pytest.mark.parametrize("power", [0.1, 0.5, 1])
def test_poles_that_cancel_between_kinks_at_equal_distances_are_refused(monkeypatch, power):
    # 1/(x |log|^p) with p ≤ 1 has no mean, and 0 stood for it where the kinks lay as far on either side
    slowly = lambda x: 1 / (x * np.abs(np.log(np.abs(x) / 100)) ** power)  # noqa: E731
    with pytest.raises(ValueError, match="did not settle"):
        expect(slowly, kinks=[-0.5, 0.0, 0.5])
    assert abs(expect(lambda x: np.sign(x) / np.sqrt(np.abs(x)), kinks=[-0.5, 0.0, 0.5])) < 1e-13
    monkeypatch.setattr(quadrature, "_UNEVEN", 0.0)
    assert abs(expect(slowly, kinks=[-0.5, 0.0, 0.5])) < 1e-13
