"""Statistics: exact small cases, and error rates of the tests as claimed."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from numerics import statistics
from numerics.statistics import (
    Estimate,
    convergence_order,
    holm,
    ks_samples,
    ks_test,
    ks_two_sample,
    richardson,
    wasserstein,
    z_error,
)

RNG = np.random.default_rng(1)


def test_estimates_propagate_their_errors():
    a, b = Estimate(1.0, 0.3), Estimate(2.0, 0.4)
    assert a + b == Estimate(3.0, 0.5)
    assert a - b == Estimate(-1.0, 0.5)
    assert -2.0 * a == Estimate(-2.0, 0.6)


def test_z_test_is_two_sided_and_exact_at_zero_error():
    assert Estimate(1.96, 1.0).test(0.0).p_value == pytest.approx(0.05, rel=1e-3)
    assert Estimate(2.0, 0.0).test(2.0).p_value == 1.0
    assert Estimate(2.0, 0.0).test(3.0).p_value == 0.0
    assert Estimate(1e3, 1.0).test(0.0).p_value == 0.0  # underflows, without a warning


def test_standard_error_of_the_mean_and_of_the_variance_cover_as_claimed():
    sample = RNG.exponential(size=(2000, 400))
    for estimate, truth in ((Estimate.of, 1.0), (Estimate.variance_of, 1.0)):
        z = np.array([estimate(row).test(truth).statistic for row in sample])
        inside = int(np.count_nonzero(np.abs(z) < 1.0))
        # skewness of order N^(-1/2) shifts the coverage of a skewed statistic by a few per cent
        assert abs(inside / len(z) - 0.683) < (0.05 if estimate is Estimate.of else 0.1)


@pytest.mark.slow
@pytest.mark.parametrize("sides", [1, 2])
def test_kolmogorov_smirnov_has_the_power_that_its_sample_size_was_computed_for(sides):
    x = np.linspace(-5, 5, 2001)
    distance = float(np.max(np.abs(stats.norm.cdf(x) - stats.norm(scale=1.2).cdf(x))))
    assert distance == pytest.approx(0.0441, abs=2e-4)
    samples = ks_samples(distance, level=1e-2, sides=sides)
    rejected = accepted = 0
    for _ in range(40):
        sample, other = RNG.normal(size=(2, samples))
        if sides == 1:
            accepted += ks_test(sample, stats.norm.cdf).p_value > 1e-2
            rejected += ks_test(sample, stats.norm(scale=1.2).cdf).p_value < 1e-2
        else:
            accepted += ks_two_sample(sample, other).p_value > 1e-2
            rejected += ks_two_sample(sample, 1.2 * other).p_value < 1e-2
    # miss rates 0.023 and 0.01: five misses of 40 have probability below 0.002
    assert rejected >= 36
    assert accepted >= 36


def test_z_error_gives_the_power_it_promises():
    error = z_error(0.1, level=1e-3)
    assert stats.norm.sf((0.1 - stats.norm.isf(5e-4) * error) / error) == pytest.approx(stats.norm.sf(3.0))


def test_difference_of_means():
    a, b = RNG.normal(size=4000), RNG.normal(size=4000)
    assert (Estimate.of(a) - Estimate.of(b)).test(0.0).p_value > 1e-3
    assert (Estimate.of(a) - Estimate.of(b + 0.2)).test(0.0).p_value < 1e-6


def test_wasserstein():
    assert wasserstein([0.0, 0.0, 3.0], [0.0, 0.0, 0.0]) == pytest.approx(1.0)


def test_holm_is_monotone_and_never_below_the_p_value():
    p = RNG.uniform(size=20) ** 3
    adjusted = holm(p)
    assert np.all(adjusted >= p)
    assert np.all(np.diff(adjusted[np.argsort(p)]) >= 0)
    assert adjusted[np.argmin(p)] == pytest.approx(min(1.0, 20 * p.min()))
    assert holm([]).size == 0


@pytest.mark.parametrize("order", [1, 2])
def test_richardson_removes_the_leading_bias(order):
    runs = [Estimate(5.0 + 3.0 * size**-order, 0.0) for size in (10.0, 20.0)]
    assert richardson(*runs, order=order).value == pytest.approx(5.0, abs=1e-12)


def test_order_is_found_within_its_error_and_the_error_is_right():
    depths, z = (4, 8, 16, 32), []
    for _ in range(400):
        errors = [3.0 / (50 * L) for L in depths]
        biases = [Estimate(-3.0 / L * (1 + 0.5 / L) + e * RNG.normal(), e) for L, e in zip(depths, errors, strict=True)]
        z.append(convergence_order(depths, biases).order.test(1.0).statistic)
    # without the column for the next order the slope would be off by several of its errors; logarithms skew a little
    assert abs(np.mean(z)) < 0.3
    assert 0.85 < np.std(z) < 1.15


def test_order_distinguishes_neighbours():
    depths = (8, 16, 32)
    for order in (0.5, 1.0, 2.0):
        slope = convergence_order(depths, [Estimate(L**-order, 1e-4 * L**-order) for L in depths], corrected=False)
        assert slope.order.value == pytest.approx(order)
        assert slope.order.test(order + 0.05).p_value < 1e-6


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: Estimate.of([1.0]), "at least two values"),
        (lambda: Estimate.of([1.0, np.nan]), "finite"),
        (lambda: ks_test(np.zeros((2, 2)), stats.norm.cdf), "one-dimensional"),
        (lambda: convergence_order([4, 8], [Estimate(1, 1)] * 2), "at least 3"),
        (lambda: convergence_order([4, 8, 16], [Estimate(0, 1)] * 3), "differ from 0"),
    ],
)
def test_bad_requests_are_named(call, says):
    with pytest.raises(ValueError, match=says):
        call()


def test_names_are_documented():
    public = [
        v
        for k, v in vars(statistics).items()
        if not k.startswith("_") and getattr(v, "__module__", "") == statistics.__name__
    ]
    assert public
    assert all(v.__doc__ for v in public)
