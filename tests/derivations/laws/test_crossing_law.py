"""Processes that cross a zero of their noise: how excursions are shared out, what is proved, and what is refused."""

from dataclasses import replace

import mpmath
import pytest
import sympy as sp

from derivations import Diffusion, recognise
from derivations.errors import DerivationError, NoClosedForm
from derivations.laws.crossing import CrossingLaw
from derivations.laws.frozen import FrozenLaw
from derivations.laws.radial import RadialLaw
from derivations.symbols import time

x = sp.Symbol("x", real=True)
A, R = sp.Abs, sp.Rational


def law_of(variance, drift=0, assuming=()):
    return recognise(Diffusion((x,), [drift], [[variance]]), assuming)


def test_both_sides_are_one_law_and_the_zero_stays():
    law = law_of(sp.sqrt(A(x)))
    crossing, point = law.parts
    assert isinstance(crossing, CrossingLaw)
    assert isinstance(point, FrozenLaw)  # as networks do, whose increments are 0 there
    assert law.part(sp.S.Zero) is point
    assert crossing.shares == (R(1, 2), R(1, 2))
    assert crossing.left.index == -R(2, 3)
    assert crossing.atoms == ()
    assert "does not decide" in "".join(map(str, law.description))


def test_a_side_with_more_noise_is_taken_more_seldom():
    # x = C y^{4/3} with C ∝ c^{4/3} for the noise c|x|^{1/4}: the martingale goes to a side with probability ∝ 1/C
    a, c = R(1), R(2)
    crossing = law_of(sp.Piecewise((c**2 * sp.sqrt(A(x)), x > 0), (a**2 * sp.sqrt(A(x)), True))).parts[0]
    left, right = crossing.shares
    assert sp.cancel(left + right - 1) == 0
    assert abs((left / right).evalf(30) - ((c / a) ** R(4, 3)).evalf(30)) < R(1, 10**25)
    assert crossing.moment(1, x0=R(-3, 7)) == -R(3, 7)


@pytest.mark.slow
def test_parameters_do_not_glue_absorbed_pieces():
    c, k = sp.symbols("c k", positive=True)
    for law in (law_of(c**2 * sp.sqrt(A(x))), law_of(sp.sqrt(A(x - 1)), -k * (x - 1))):
        assert isinstance(law.parts[0], CrossingLaw)
        assert not law.parts[0].atoms
    # 1/φ² is not integrable: absorbed, whatever the constant
    assert all(isinstance(p, RadialLaw | FrozenLaw) for p in law_of(c**2 * A(x)).parts)


def test_a_pull_settles_on_both_sides():
    crossing = law_of(sp.Piecewise((4 * sp.sqrt(A(x)), x > 0), (sp.sqrt(A(x)), True)), -x).parts[0]
    density = sp.lambdify(x, crossing.stationary, "mpmath")
    halves = [mpmath.quad(lambda r, s=s: density(s * r**4) * 4 * r**3, [0, 1, 3]) for s in (-1, 1)]
    assert abs(sum(halves) - 1) < 1e-12
    assert abs(halves[1] - float(crossing.shares[1])) < 1e-12
    assert crossing.moment(1, time, R(1, 2)).equals(sp.exp(-time) / 2)


@pytest.mark.slow
def test_the_law_is_proved_and_wrong_shares_are_not():
    crossing = law_of(sp.Piecewise((4 * sp.sqrt(A(x)), x > 0), (sp.sqrt(A(x)), True))).parts[0]
    assert crossing.prove()
    wrong = replace(crossing)
    object.__setattr__(wrong, "__dict__", {**wrong.__dict__, "shares": (R(1, 2), R(1, 2))})
    failed = [check.statement for check in wrong.prove().checks if not check.holds]
    assert failed == ["mean from the right over that of the linear drift, minus 1"]


def test_what_is_refused():
    with pytest.raises(NoClosedForm, match="no powers of the same radius"):
        law_of(sp.Piecewise((sp.sqrt(A(x)), x > 0), (A(x) ** R(1, 4), True)))
    # a drift at the zero takes the process on: an absorbed piece beside it would be wrong
    for drift in (3, -1):
        with pytest.raises(NoClosedForm, match="takes it on to the other side"):
            law_of(4 * A(x), drift)
    outward = law_of(4 * A(x), x / A(x))
    with pytest.raises(DerivationError, match="the law from there is not known"):
        outward.part(sp.S.Zero)
    with pytest.raises(NoClosedForm, match="alone is no side"):
        type(law_of(sp.sqrt(A(x))).parts[0].from_side(True)[0]).recognise(outward.parts[0].form)
