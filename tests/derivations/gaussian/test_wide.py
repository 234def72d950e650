"""Means over Gaussians that are wide beside the function: against expansions in the inverse variance, and periodic functions."""

from __future__ import annotations

import mpmath as mp
import pytest
import sympy as sp

from derivations import DerivationError
from derivations.gaussian import integrate
from derivations.gaussian.single import numeric_mean

x = sp.Symbol("x", real=True)
DIGITS = 30


def mean(f, variance, digits=DIGITS):
    return numeric_mean(f, x, sp.S.Zero, sp.Integer(variance), mp.libmp.dps_to_prec(digits))


def density_at_zero(variance):
    return 1 / mp.sqrt(2 * mp.pi * variance)


@pytest.mark.parametrize("variance", [10**4, 10**8, pytest.param(10**12, marks=pytest.mark.slow)])
def test_what_a_step_lacks(variance):
    """∫ sech² = 2, ∫ x² sech² = π²/6, ∫ x⁴ sech² = 7π⁴/120; a bound on the next term is ∫ x⁶ sech² < 200."""
    with mp.workdps(DIGITS):
        v = mp.mpf(variance)
        lacks = density_at_zero(v) * (2 - mp.pi**2 / 12 / v + 7 * mp.pi**4 / 960 / v**2)
        off = abs(1 - mean(sp.tanh(x) ** 2, variance) - lacks)
        assert off < 5 / v**3 + mp.mpf(10) ** -28
        assert off < lacks / v * mp.pi**2 / 24 / 100  # the control: without its second term it would not be met


@pytest.mark.parametrize("place", [0, 30])
def test_the_place_of_a_step(place):
    with mp.workdps(DIGITS):
        v = mp.mpf(10) ** 8
        gauss = density_at_zero(v) * mp.exp(-(mp.mpf(place) ** 2) / (2 * v))
        found = 1 - mean(sp.tanh(x - place) ** 2, 10**8)
        assert abs(found - gauss * (2 - mp.pi**2 / 12 / v * (1 - place**2 / v))) < 1 / v**2 / 1000


def test_a_kink_beside_a_smooth_step():
    """By quadrature with cuts at the kink and far from it."""
    f = sp.Abs(x - 1) * sp.tanh(x)
    with mp.workdps(DIGITS):
        ends = [-(10**6), -1000, -30, 0, 1, 30, 1000, 10**6]
        theirs = mp.quad(lambda y: abs(y - 1) * mp.tanh(y) * mp.npdf(y, 0, 10**4), ends)
        assert abs(mean(f, 10**8) - theirs) < mp.mpf(10) ** -12


@pytest.mark.slow
def test_a_periodic_function_is_not_met_at_one_phase():
    """The mean over a period is 2 - √3; steps of 12.5 lengths are nearly two periods."""
    f = sp.sin(x) ** 2 / (2 + sp.cos(x))
    with mp.workdps(DIGITS):
        assert abs(mean(f, 10**4, 12) - (2 - mp.sqrt(3))) < mp.mpf(10) ** -12
        function = sp.lambdify(x, f, "mpmath")
        coarse = integrate._trapezoid(lambda z: function(100 * z), 21)
        assert abs(coarse - (2 - mp.sqrt(3))) > mp.mpf("0.005")
    with pytest.raises(DerivationError, match="moves over lengths that are short beside it; give a smaller variance"):
        mean(f, 10**12, 12)
