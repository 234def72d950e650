"""Signs that follow from assumptions, and those that do not."""

import pytest
import sympy as sp

from derivations.calculus.assumptions import is_nonnegative, sign_of
from derivations.calculus.inequalities import Inequality, contradictory, follows
from derivations.diffusion import Diffusion
from derivations.errors import DerivationError
from derivations.laws import recognise

a, b, c, mu = sp.symbols("a b c mu", real=True)
p, q = sp.symbols("p q", positive=True)


@pytest.mark.parametrize(
    ("expr", "assuming", "sign"),
    [
        (a - 1, [a > 2], 1),
        (1 - a, [a > 2], -1),
        ((a - 1) / (a + 3), [a > 2], 1),
        (a**2 - 2, [a >= 2], 1),
        (a**3 - 8, [a > 3], 1),
        (a * b - 6, [a > 2, b > 3], 1),
        (a - c, [a > b, b >= c], 1),
        (a - b - c, [a > 2 * b, b > c], 1),
        (a**2 - b**2, [a > b, b > 0], 1),
        (p - q, [p > 2 * q], 1),
        (a - sp.pi, [a > 4], 1),
        (1 / a - 1, [a > 0, a < 1], 1),
        (2 * mu / p**2 - 1, [mu > p**2], 1),
        (4 * c - b**2 + 1, [b**2 < 4 * c], 1),
        (c * mu**2, [c > 0, sp.Ne(mu, 0)], 1),
        (a - b, [sp.Eq(a, b)], 0),
        (a - b, [a <= b, b <= a], 0),
        (a - 1, [sp.And(a > 2, b > 3)], 1),
        (a - 2, [sp.Abs(a) < 1], -1),
        (a, [p > 0, a > 1], 1),
    ],
    ids=str,
)
def test_what_follows(expr, assuming, sign):
    assert sign_of(expr, assuming) == sign


@pytest.mark.parametrize(
    ("expr", "assuming"),
    [
        (a - 2, [a > 1]),
        (a - 2, [a >= 2]),  # may be 0
        (a**2 - 4, [a >= 2]),
        (a - c, [a >= b, b >= c]),
        (a * b - 6, [a > 2, b > 2]),
        (a**2 - 5, [a > 2]),
        (a - b, [a > 0, b > 0]),
        (p - q, []),
    ],
    ids=str,
)
def test_what_does_not_follow_is_not_claimed(expr, assuming):
    with pytest.raises(DerivationError, match="depends on the sign of"):
        sign_of(expr, assuming)


def test_a_square_may_be_zero():
    with pytest.raises(DerivationError, match=r"whether mu is 0.*Ne\(mu, 0\)"):
        sign_of(c * mu**2, [c > 0])
    assert is_nonnegative(mu**2 / p)
    assert is_nonnegative(a - 2, [a >= 2])
    assert not is_nonnegative(1 - a, [a >= 2])
    with pytest.raises(DerivationError, match="sign of a"):
        is_nonnegative(a)


def test_assumptions_that_say_nothing_sensible_are_refused():
    with pytest.raises(DerivationError, match="contradict each other: a > 2, a < 1"):
        sign_of(b, [a > 2, a < 1])
    with pytest.raises(DerivationError, match="false for all values"):
        sign_of(b, [p < 0])
    with pytest.raises(DerivationError, match="must be a relation"):
        sign_of(b, [a])
    assert contradictory([Inequality(a - b, True), Inequality(b - a, False)])
    assert not contradictory([Inequality(a - b, False), Inequality(b - a, False)])
    assert not follows(Inequality(a, True), [])


@pytest.mark.slow
def test_recognition_uses_what_follows():
    # a Bessel process of dimension 2a − 1 never reaches 0 for a > 3/2, so that nothing is absorbed there
    bessel = Diffusion((p,), [(a - 1) / p], [[1]], sp.Interval.open(0, sp.oo))
    (part,) = recognise(bessel, assuming=[a > 2]).parts
    assert part.atoms == ()
    with pytest.raises(DerivationError, match="depends on the sign"):
        recognise(bessel, assuming=[a > 0])
