"""The numeric twins against mpmath at 40 digits."""

import warnings

import mpmath
import numpy as np
import pytest
from mpmath import mp

from derivations import special as exact
from numerics.special import erfi_inv, log_normal_cdf, scaled_bessel_i
from numerics.special.functions import CELLS

EPS = np.finfo(float).eps


def relative_errors(values, reference):
    with mp.workdps(40):
        truth = list(reference())
        return np.array([float(abs(mpmath.mpf(float(v)) / t - 1)) for v, t in zip(values, truth, strict=True)])


@pytest.fixture(autouse=True)
def no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def sizes():
    rng = np.random.default_rng(0)
    edges = [2.3e-308, 1e-300, 1e300, np.finfo(float).max]
    return np.concatenate([10 ** rng.uniform(-307, 308, 600), 10 ** rng.uniform(-3, 3, 600), edges])


@pytest.mark.slow
def test_erfi_inv_over_the_double_range():
    x = sizes()
    errors = relative_errors(erfi_inv(x), lambda: (exact.erfi_inverse(mpmath.mpf(float(v))) for v in x))
    assert errors.max() < 5 * EPS
    np.testing.assert_array_equal(erfi_inv(-x), -erfi_inv(x))


def test_erfi_inv_reference_solves_its_equation():
    with mp.workdps(40):
        for v in sizes()[::20]:
            assert abs(mp.erfi(exact.erfi_inverse(mpmath.mpf(float(v)))) / mpmath.mpf(float(v)) - 1) < mp.mpf(10) ** -35


def test_erfi_inv_increases_across_the_seams():
    u = np.arange(1, int(0.9 * CELLS)) / CELLS
    borders = 2 * np.sqrt(np.expm1(2 * (2 * u / (1 - u)) ** 2))
    assert np.all(np.diff(erfi_inv(np.geomspace(1e-9, 1e9, 5000))) >= -1 * EPS)
    y = erfi_inv(np.append(borders, 1e-8)[:, None] * (1 + EPS * np.arange(-20, 20) * 8))
    assert np.all(np.diff(y) >= -4 * EPS * y[:, 1:])  # two errors of rounding


def test_erfi_inv_at_the_ends_and_in_any_shape():
    values = erfi_inv([np.inf, -np.inf, np.nan, 0.0, -0.0])
    np.testing.assert_array_equal(values, [np.inf, -np.inf, np.nan, 0.0, -0.0])
    assert np.signbit(values[-1])
    assert np.shape(erfi_inv(2.0)) == ()
    assert erfi_inv(np.ones((2, 0, 3))).shape == (2, 0, 3)
    many = np.random.default_rng(1).normal(size=(3, 40_000)) * 100  # several blocks
    np.testing.assert_array_equal(erfi_inv(many)[1, ::97], [erfi_inv(v) for v in many[1, ::97]])
    assert 0 < erfi_inv(5e-324) <= 5e-324


@pytest.mark.parametrize("order", [0, 1 / 3, 0.5, 1, 7, 100, 1000])
def test_scaled_bessel_i_far_out(order):
    z = np.array([0.9e8, 1.1e8, 1e9, 3e9, 1e12, 1e100, 1e300])
    errors = relative_errors(
        scaled_bessel_i(order, z), lambda: (exact.scaled_bessel_i(mpmath.mpf(order), mpmath.mpf(float(v))) for v in z)
    )
    assert errors.max() < 5 * EPS


@pytest.mark.parametrize("order", [0, 1 / 3, 1, 7])
def test_scaled_bessel_i_near(order):
    z = np.array([1e-10, 0.5, 3.0, 99.0, 1e5])
    errors = relative_errors(
        scaled_bessel_i(order, z), lambda: (exact.scaled_bessel_i(mpmath.mpf(order), mpmath.mpf(float(v))) for v in z)
    )
    # the power (z/2)^ν is an exponential of ν log(z/2), whose rounding is relative to its size
    assert np.all(errors < EPS * (25 + order * np.abs(np.log(z / 2))))


def test_scaled_bessel_i_broadcasts_and_keeps_nan():
    assert scaled_bessel_i([[0], [1]], [1.0, 1e10, 1e20]).shape == (2, 3)
    assert np.shape(scaled_bessel_i(0, 1e12)) == ()
    assert np.isnan(scaled_bessel_i(0, np.nan))
    assert scaled_bessel_i(0, np.inf) == 0


def test_log_normal_cdf_in_both_tails():
    x = np.array([-1e100, -1e10, -300.0, -38.0, -5.0, -1.0, -0.1, 0.0, 0.1, 1.0, 5.0, 20.0, 37.0])
    errors = relative_errors(log_normal_cdf(x), lambda: (exact.log_normal_cdf(mpmath.mpf(float(v))) for v in x))
    # in the right tail the rounding of x²/2 in the exponent is inherent: x² half-units
    assert np.all(errors < EPS * (4 + np.maximum(x, 0) ** 2))
