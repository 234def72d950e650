"""Numbers that no memory holds are not asked for: with gmpy2 installed they would end the process."""

import mpmath
import pytest
import sympy as sp
from mpmath.libmp import libhyper

from derivations.evaluation import _REDUCING, BOUNDED, MOST_BITS, TooLarge, in_mpmath
from derivations.laws.numbers import compiled
from derivations.laws.radial import BesselLaw
from numerics.compile import compile_expression
from numerics.compile.moments import closed_moment, number_of

x = sp.Symbol("x", real=True)
ASTRONOMICAL = mpmath.ldexp(1, 10**12)


class Unprinted(sp.Function):
    """A number that must not be evaluated to be printed."""

    def _eval_evalf(self, prec):
        raise AssertionError("evaluated")


@pytest.mark.parametrize("name", _REDUCING)
def test_no_function_is_asked_at_more_digits_than_it_can_hold(name):
    if name in ("tanh", "erf"):
        assert [BOUNDED[name](sign * ASTRONOMICAL) for sign in (1, -1)] == [1, -1]
    else:
        for number in (ASTRONOMICAL, -ASTRONOMICAL, mpmath.mpc(1, ASTRONOMICAL)):
            with pytest.raises(TooLarge, match=f"^{name} is asked at a number with 1000000000001 binary digits"):
                BOUNDED[name](number)


def test_what_can_be_held_is_computed_as_mpmath_does():
    for u in (mpmath.mpf(-3), mpmath.mpc(1, 2), mpmath.inf, -mpmath.inf, 2, mpmath.ldexp(3, 999)):
        assert BOUNDED["exp"](u) == mpmath.exp(u)
    assert BOUNDED["erfc"](mpmath.ldexp(1, -(10**12))) == 1  # digits after the point are none before it
    largest = mpmath.ldexp(1, MOST_BITS - 1)
    assert BOUNDED["erfc"](-largest) == 2
    with pytest.raises(TooLarge):
        BOUNDED["erfc"](-2 * largest)


@pytest.mark.parametrize(
    "make", [in_mpmath, lambda v, f: compiled((v,), f), lambda v, f: compile_expression(v, f, "mpmath")]
)
@pytest.mark.parametrize(
    "formula", [sp.exp(sp.exp(x)), sp.cos(sp.exp(x)), 2 ** sp.exp(x), x + sp.gamma(sp.exp(x))], ids=str
)
def test_exponentials_of_exponentials_are_refused_in_every_way_to_a_number(make, formula):
    function = make(x, formula)
    with mpmath.workdps(15):
        # the reference: at 1 nothing is large
        assert function(1) == pytest.approx(float(formula.subs(x, 1)), rel=1e-14)
        with pytest.raises(TooLarge):
            function(mpmath.mpf(10) ** 12)


def test_the_terms_of_a_sum_are_not_evaluated_to_be_written():
    seen = in_mpmath(x, x + Unprinted(2) + 1, {"Unprinted": lambda u: 10 * u})
    assert seen(mpmath.mpf(3)) == 24
    with pytest.raises(AssertionError, match="evaluated"):
        str(x + Unprinted(2) + 1)  # as SymPy writes it


def test_the_moments_of_a_law_ask_nothing_astronomical(monkeypatch):
    asked = []

    def noted(u, *rest):
        asked.append(u[2] + u[3] if u[1] else 0)
        if asked[-1] > MOST_BITS:
            raise MemoryError
        return exponential(u, *rest)

    exponential = libhyper.mpf_exp
    monkeypatch.setattr(libhyper, "mpf_exp", noted)
    law, (near, far) = BesselLaw.example(), map(sp.Integer, (3, 10**12))
    assert number_of(closed_moment(law, 1), far, 1 / far, 50) is None
    assert max(asked, default=0) <= MOST_BITS
    assert number_of(closed_moment(law, 1), near, 1 / near, 50) > 0
    with pytest.raises(MemoryError):  # what mpmath's own integral asks for
        mpmath.e1(ASTRONOMICAL)


def test_what_cancels_in_fifty_digits_is_joined():
    slope = sp.diff(x * (1 + sp.erf(x / sp.sqrt(2))) / 2, x)
    with mpmath.workdps(500):
        exact = mpmath.ncdf(-30) - 30 * mpmath.npdf(30)
        assert abs(compile_expression(x, slope, "mpmath")(-30) / exact - 1) < mpmath.mpf(10) ** -45
        assert abs(-30 * mpmath.npdf(30) / exact - 1) > mpmath.mpf(10) ** -3  # without the lost half
        softplus = compile_expression(x, sp.log(1 + sp.exp(x)), "mpmath")
        assert abs(softplus(-300) / mpmath.log1p(mpmath.exp(-300)) - 1) < mpmath.mpf(10) ** -45


def test_a_symbol_that_cancels_stays_a_symbol():
    k = sp.Symbol("k", real=True)
    with mpmath.workdps(15):
        value = in_mpmath(k, x ** (1 - k) * x ** (k - 1) + x ** (1 + k))(mpmath.mpf(2))
        assert abs(value.subs(x, 4) - 65) < 1e-9  # 1 + 4³
