"""Kinks where an error function takes a value: SymPy does not know that numbers erfinv(c) are real, and they were left out."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
import sympy as sp

from derivations import ResNet, derive, parse_activation
from derivations.errors import DerivationError
from derivations.gaussian import expect
from derivations.kernels import slope_of
from derivations.piecewise import analyse, between, zeros
from numerics import compile_expression

x = sp.Symbol("x", real=True)
KINKED = {
    "min(erf(x), 0.7)": [mpmath.erfinv(0.7)],
    "max(erf(x) - 1/3, 0)": [mpmath.erfinv(mpmath.mpf(1) / 3)],
    "abs(erf(2*x - 1) + 1/2)": [(1 - mpmath.erfinv(0.5)) / 2],
    "max(erf(exp(x)), 1/2)": [mpmath.log(mpmath.erfinv(0.5))],
    "min(erf(x)**2, 1/2)": [-mpmath.erfinv(mpmath.sqrt(0.5)), mpmath.erfinv(mpmath.sqrt(0.5))],
}


@pytest.mark.parametrize("formula", KINKED)
def test_kinks_at_values_of_an_error_function(formula):
    function = parse_activation(formula)
    found = [float(p.value) for p in analyse(function.expr, function.variable).kinks]
    assert np.allclose(found, [float(z) for z in KINKED[formula]], rtol=1e-14, atol=0)


def test_a_value_that_is_never_taken_makes_no_kink():
    assert analyse(sp.Min(sp.erf(x), sp.Rational(3, 2)), x).kinks == ()
    assert zeros(sp.erfc(x) - 2, x).zeros == ()


def test_a_mean_over_such_a_kink():
    """It was that of erf² alone, .4646."""
    found = sp.N(expect(sp.Min(sp.erf(x), sp.Rational(7, 10)) ** 2, x, 1), 20)
    places = [-12, -3, 0, mpmath.erfinv(0.7), 3, 12]
    wanted = mpmath.quad(lambda z: min(mpmath.mpf(0.7), mpmath.erf(z)) ** 2 * mpmath.npdf(z), places)
    assert abs(found - wanted) < 1e-12
    assert abs(found - 2 * mpmath.asin(mpmath.mpf(2) / 3) / mpmath.pi) > 0.05  # the control


def test_a_limit_whose_noise_has_such_a_kink():
    limit = derive(ResNet(parse_activation("max(erf(x) - 1/3, 0)"), width=1)).limit
    points = np.array([-1.0, 0.2, 0.4, 2.0])
    found = compile_expression(limit.states, limit.covariance[0, 0])(points)
    wanted = [max(float(mpmath.erf(p)) - 1 / 3, 0.0) ** 2 for p in points]
    assert np.allclose(found, wanted, rtol=1e-12)
    assert found[-1] > 0.4  # the control: it was 0 everywhere


def test_numbers_that_are_not_known_to_be_real_are_compared_by_digits():
    inside = sp.erfinv(sp.Rational(1, 2))
    assert (sp.oo - inside).is_extended_positive is not True  # or this test is about nothing
    assert between(inside, sp.S.Zero, sp.oo)
    assert between(inside, -sp.oo, sp.S.One)
    assert not between(inside, inside, sp.oo)
    assert not between(inside, sp.S.One, sp.oo)
    assert not between(sp.asin(2), -sp.oo, sp.oo)
    assert not between(sp.asin(2) + inside, -sp.oo, sp.oo)


@pytest.mark.slow
def test_a_wave_on_pieces_that_end_where_it_turns_is_refused_by_name():
    """SymPy's floor of a number that is whole, but not seen to be, ended in PrecisionExhausted."""
    function = parse_activation("max(sin(x), sin(x/1.6))")
    with pytest.raises(DerivationError, match=r"beyond \[-32, 32\] are not looked for"):
        slope_of(function)


def test_a_zero_nearer_to_a_simple_number_than_thirty_digits_tell():
    """4 erf(x + 1/5) = 2x/5 short of 10 by 1e-45: the bracket that was named began at 10, and the zero was a bare ValueError."""
    found = zeros(4 * sp.erf(x + sp.Rational(1, 5)) - 2 * x / 5, x).zeros
    assert len(found) == 3
    assert abs(found[0] + 10) < 1e-12
    with mpmath.workdps(90):
        wanted = mpmath.findroot(
            lambda z: 4 * mpmath.erf(z + mpmath.mpf(1) / 5) - 2 * z / 5, (9.9, 10.1), solver="anderson", tol=1e-150
        )
        assert 0 < 10 - wanted < mpmath.mpf(10) ** -40
        assert abs(mpmath.mpf(str(found[-1].evalf(85))) - wanted) < mpmath.mpf(10) ** -80
