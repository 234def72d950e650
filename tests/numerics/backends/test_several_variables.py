"""Formulas of two variables at the ends of the range of doubles, against many digits; a plain NumPy function must fail there."""

from __future__ import annotations

from itertools import product

import mpmath
import numpy as np
import pytest
import sympy as sp
from sympy import Abs, acosh, asinh, atan, atan2, cosh, erf, erfc, exp, log, sinh, sqrt, tanh

from numerics import compile_expression
from numerics.backends.extended import Extended

x, y = sp.symbols("x y", real=True)
ORDINARY = (0.0, 1.3, -0.7)
POWERS = (*ORDINARY, 1e-160, 5e-310, 1e160, -1e200)
EXPONENTS = (*ORDINARY, 40.0, 750.0, -750.0, 1e-200)
FORMULAS = {
    sqrt(x**2 + y**2): POWERS,
    x / sqrt(x**2 + y**2): POWERS,
    x * y / sqrt(x**2 + y**2): POWERS,
    (x**2 - y**2) / (x**2 + y**2): POWERS,
    (x * y) ** 2 / (x**4 + y**4): POWERS,
    (x**4 + y**4) ** sp.Rational(1, 3): POWERS,
    log(x**2 + y**2): POWERS,
    log(1 + x**2 * y**2): POWERS,
    sqrt(x**2 + y**2) - Abs(x): POWERS,
    sqrt(x**2 + y**2) - x: POWERS,
    x * tanh(x * y): POWERS,
    asinh(x * y): POWERS,
    atan2(x * y, x**2): POWERS,
    sp.Piecewise((x**2 / y, x > y), (x * Abs(y) * x, True)): POWERS,
    sp.Max(x * y, x**3) / (1 + x**2): POWERS,
    exp(y - x) * log(1 + exp(x - y)): EXPONENTS,
    exp(y**2 - x**2): EXPONENTS,
    exp(-(x**2)) * exp(y**2): EXPONENTS,
    cosh(x) / cosh(y): EXPONENTS,
    sinh(x) * exp(-y): EXPONENTS,
    (exp(x) - exp(y)) / (exp(x) + exp(y)): EXPONENTS,
    x * exp(x - y) / 2 - x * exp(-x - y) / 2: EXPONENTS,
    exp(-(x**2) / 2) * exp(-(y**2) / 2) * exp(x * y) - exp(-(x**2) / 2) * exp(-(y**2) / 2) * exp(-x * y): EXPONENTS,
    x**2 + y**2 - (x**2 + y**2) * exp(-(x**4) - y**4): EXPONENTS,
    log(cosh(x / (1 + x**2 * y**2))): EXPONENTS,
    erfc(x) * exp(y**2): EXPONENTS,
    sp.erfi(x) * exp(-(y**2)): EXPONENTS,
    x * exp(-x * y) / (1 + exp(-x * y)): EXPONENTS,
    atan(x * y) + erf(x * y): EXPONENTS,
}


def missed(formula, function, points):
    """How many values are neither near the truth, nor near what a rounding of the arguments makes of it."""
    true = sp.lambdify((x, y), formula, "mpmath")
    a, b = np.array(list(product(points, points))).T
    with np.errstate(all="ignore"):
        values, count = np.broadcast_to(function(a, b), a.shape), 0
    digits = 60 if formula.has(erf, erfc, sp.erfi) else 700  # error functions do not cancel, and their digits are dear
    with mpmath.workdps(digits):
        for p, q, value in zip(map(mpmath.mpf, a), map(mpmath.mpf, b), values, strict=True):
            try:
                here, *moved = _near(true, p, q)
            except ZeroDivisionError:
                continue
            allowed = mpmath.mpf(10) ** -12 * abs(here) + mpmath.mpf(2) ** -1021 + max(abs(m - here) for m in moved)
            if abs(here) >= mpmath.mpf(2) ** 1024:
                count += not (np.isinf(value) and value * mpmath.sign(here) > 0)
            elif not mpmath.isnan(here):
                count += not (np.isfinite(value) and abs(mpmath.mpf(float(value)) - here) <= allowed)
    return count


def _near(true, p, q):
    step = 1 + mpmath.mpf(2) ** -50
    return true(p, q), true(p * step, q), true(p, q * step)


@pytest.mark.parametrize("formula", FORMULAS, ids=str)
def test_two_variables_keep_their_values_where_parts_leave_the_doubles(formula):
    assert missed(formula, compile_expression((x, y), formula), FORMULAS[formula]) == 0


def test_plain_functions_lose_them():
    assert all(missed(f, sp.lambdify((x, y), f, "scipy"), POWERS) > 0 for f in list(FORMULAS)[:7])


def test_tiny_correlations_keep_their_digits():
    """E sin U sin V = e^{−(a+b)/2} sinh c, which expectation writes as a difference of exponentials in three variables."""
    a, b = sp.symbols("a b", positive=True)
    formula = exp(-a / 2 - b / 2 + x) / 2 - exp(-a / 2 - b / 2 - x) / 2
    c = np.array([1e-3, 1e-9, -1e-14, 1e-200])
    true = np.exp(-0.85) * np.sinh(c)
    np.testing.assert_allclose(compile_expression((a, b, x), formula)(1.0, 0.7, c), true, rtol=1e-15)
    assert abs(sp.lambdify((a, b, x), formula)(1.0, 0.7, c)[1] / true[1] - 1) > 1e-9  # the control


def test_only_what_left_the_doubles_changes():
    function = compile_expression((x, y), x * y / sqrt(x**2 + y**2))
    a, b = np.random.default_rng(0).normal(size=(2, 10_000))
    before = function(a, b)
    a[17], b[17] = 1e200, 1.0
    after = function(a, b)
    assert after[17] == pytest.approx(1.0, rel=1e-15)
    np.testing.assert_allclose(np.delete(after, 17), np.delete(before, 17), rtol=1e-15)


def test_what_is_undefined_still_warns():
    function = compile_expression((x, y), sqrt(x + y) + x**2 * y)
    with pytest.warns(RuntimeWarning, match="invalid value"):
        assert np.isnan(function(-1.0, 0.5))
    assert np.isnan(function(np.nan, 1.0))


def test_a_function_that_is_not_known_far_out_keeps_what_doubles_give():
    function = compile_expression((x, y), acosh(x * y) + sp.gamma(x / y))
    with np.errstate(all="ignore"):
        assert function(1e200, 1e200) == np.inf


def test_numbers_with_exponents_of_their_own():
    large = Extended([1e300, -1e300]) ** 3 * 2.0
    assert (large > 1e308).tolist() == [True, False]
    assert (large / 1e300 / 1e300).double() == pytest.approx([2e300, -2e300], rel=1e-15)
    assert (0.5 - Extended([0.5])).double() == [0.0]
    assert (2.0 ** Extended([0.5])).double() == pytest.approx([np.sqrt(2)], rel=1e-15)


def test_each_pair_of_exponentials_is_joined():
    pairs = exp(x) - exp(y) + 3 * exp(2 * x) - 3 * exp(2 * y)
    near, far = 1.0, 1.0 + 2.0**-40
    true = float((sp.E + 6 * sp.E**2) * sp.Rational(near - far))
    share = [float(f(near, far)) / true - 1 for f in (compile_expression((x, y), pairs), sp.lambdify((x, y), pairs))]
    assert abs(share[0]) < 1e-11  # the distance itself is 1e-12
    assert abs(share[1]) > 1e-7  # the control


def test_a_square_over_a_small_sum_that_was_multiplied_out():
    """Three exponentials of 1e12 each, which are 1 together: nan, as the noise of heaviside(B(x) - 1/2)*B(x + 1) was for close inputs."""
    s = x - 1
    formula = exp(-((1 + y) ** 2) / s).expand(power_exp=True) * exp(2 * (1 + y) / s) * exp(-1 / s)
    value = compile_expression((x, y), formula)
    plain = sp.lambdify((x, y), formula, "numpy")
    for small in (1e-6, 1e-12):
        with np.errstate(all="ignore"):
            assert np.isnan(plain(1 + small, 1e-7))
        exact = np.exp(-1e-14 / ((1 + small) - 1))
        assert abs(value(1 + small, 1e-7) - exact) < 1e-15 / small + 1e-12
