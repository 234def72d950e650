"""Gaussian means of functions with kinks at roots of nonlinear functions, against quadrature cut at the kinks."""

import mpmath
import pytest
import sympy as sp
from mpmath import mp

from derivations.errors import DerivationError
from derivations.gaussian import GaussianExpectation, expect
from derivations.piecewise import breakpoints, pieces

x = sp.Symbol("x", real=True)
strike, rate = sp.symbols("K b", positive=True)
shift, centre = sp.symbols("c m", real=True)
spread = sp.Symbol("s", positive=True)
AT = {strike: 2, rate: 3, shift: sp.Rational(1, 3), centre: sp.Rational(1, 10), spread: sp.S.Half}


def by_quadrature(function, variance, mean, cuts):
    m, s = (mpmath.mpf(str(sp.N(v, 30))) for v in (mean, sp.sqrt(variance)))
    f = sp.lambdify(x, function, "mpmath")
    points = sorted({m + k * s for k in (-12, -5, -2, 0, 2, 5, 12)} | {mpmath.mpf(str(sp.N(c, 30))) for c in cuts})
    with mp.workdps(25):
        return mp.quad(lambda z: f(z) * mp.npdf(z, m, s), points)


def test_black_and_scholes():
    # x ~ N(r − σ²/2, σ²) with r = 0, σ = 1/5: the call at 100 with strike 110
    value = expect(sp.Max(100 * sp.exp(x) - 110, 0), x, sp.Rational(1, 25), -sp.Rational(1, 50))
    assert not value.has(GaussianExpectation)
    assert abs(float(value.n()) - 4.29201094) < 5e-9
    put = expect(sp.Max(110 - 100 * sp.exp(x), 0), x, sp.Rational(1, 25), -sp.Rational(1, 50))
    assert sp.expand(value - put + 10) == 0  # the parity: E 100 eˣ = 100
    assert breakpoints(sp.Max(100 * sp.exp(x) - 110, 0), x)[0].evalf() == sp.log(sp.Rational(11, 10)).evalf()


@pytest.mark.parametrize(
    ("function", "cuts"),
    [
        (sp.Max(sp.exp(x) - 1, x**2), (0,)),
        (sp.Abs(sp.exp(x) - 1), (0,)),
        (sp.Heaviside(sp.exp(x) - 2), (sp.log(2),)),
        (sp.Max(x**3 - 1, 0), (1,)),
        (sp.Max(x**2 - 1, 0), (-1, 1)),
    ],
    ids=str,
)
def test_numbers(function, cuts):
    mean, variance = sp.Rational(1, 5), sp.Rational(3, 4)
    value = expect(function, x, variance, mean)
    assert not value.has(GaussianExpectation)
    assert abs(mpmath.mpf(str(value.n(20))) - by_quadrature(function, variance, mean, cuts)) < 1e-12
    assert tuple(breakpoints(function, x)) == tuple(map(sp.sympify, cuts))


@pytest.mark.parametrize(
    ("function", "cuts"),
    [
        (sp.Max(sp.exp(x) - strike, 0), (sp.log(strike),)),
        (sp.Heaviside(sp.exp(x) - strike), (sp.log(strike),)),
        (sp.Abs(sp.exp(x) - strike), (sp.log(strike),)),
        (sp.Max(sp.exp(-rate * x + shift) - strike, 0), ((shift - sp.log(strike)) / rate,)),
        (sp.Max(sp.sinh(x) - strike, 0), (sp.asinh(strike),)),
        (sp.Max(strike - x**3, 0), (strike ** sp.Rational(1, 3),)),
        (sp.Max(x**2 - strike, 0), (-sp.sqrt(strike), sp.sqrt(strike))),
        (sp.Max(sp.exp(x) - strike, 0) - sp.Max(sp.exp(x) - 2 * strike, 0), (sp.log(strike), sp.log(2 * strike))),
        (sp.Max((x - shift) ** 3 + strike, 0), (shift - strike ** sp.Rational(1, 3),)),
    ],
    ids=str,
)
def test_symbols(function, cuts):
    value = expect(function, x, spread, centre)
    assert not value.has(GaussianExpectation)
    expected = by_quadrature(function.subs(AT), AT[spread], AT[centre], [sp.sympify(c).subs(AT) for c in cuts])
    assert abs(mpmath.mpf(str(value.subs(AT).n(20))) - expected) < 1e-12
    assert len(pieces(function, x)) == len(cuts) + 1


@pytest.mark.parametrize(
    "function",
    [
        sp.Max(sp.exp(x) - shift, 0),  # the sign of c is not known
        sp.Max(shift * sp.exp(x) - strike, 0),
        sp.Max(x**3 - shift, 0),
        sp.Max(shift * sp.sinh(x) - strike, 0),
        sp.Max(sp.exp(x) - strike, x),
        sp.Max(sp.exp(shift * x) - strike, 0),
    ],
    ids=str,
)
def test_what_depends_on_an_unknown_sign_is_refused(function):
    with pytest.raises(DerivationError, match="numbers or signs"):
        expect(function, x, spread, centre)


def test_a_mean_is_real():
    with pytest.raises(DerivationError, match="a mean must be real"):
        expect(x, x, 1, sp.I)


def test_breakpoints_whose_order_is_not_known_are_refused():
    with pytest.raises(DerivationError, match="cannot order"):
        pieces(sp.Max(sp.exp(x) - strike, 0) + sp.Max(sp.exp(x) - rate, 0), x)
