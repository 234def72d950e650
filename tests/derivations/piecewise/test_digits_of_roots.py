"""How many digits roots have that are known by a bracket, and how many are needed to see what vanishes there."""

import mpmath
import pytest
import sympy as sp

from derivations.piecewise import expansion, root
from derivations.piecewise.expansion import expansion_at
from derivations.piecewise.root import IsolatedRoot

x = sp.Symbol("x", real=True)
R = sp.Rational
FLAT = IsolatedRoot(
    (x - sp.sqrt(2)) ** 3 * sp.exp(x), x, sp.S(1), sp.S(2)
)  # a bracket shrinks slowly around a triple zero
FALLING = [
    sp.cos(x) - x,
    R(3, 4) - x - sp.sin(x) / 7 - 6 * sp.erf(x) / 7,
    sp.exp(-(x**2)) - R(1, 3) - sp.tanh(x) / 5,
    1 - sp.log(1 + sp.exp(x)) - sp.atan(x) / 2 + R(1, 9),
]


def off(precision):
    """The relative error of the root √2 in units of the last bit."""
    root._narrowed.cache_clear()
    found = root._narrowed(FLAT, precision)
    with mpmath.workprec(2 * precision):
        return abs(found / mpmath.sqrt(2) - 1) * mpmath.mpf(2) ** precision


@pytest.mark.parametrize("precision", [140, 280, 560])
def test_a_root_has_ten_bits_more_than_are_asked_for(monkeypatch, precision):
    assert off(precision) < 2.0**-10
    monkeypatch.setattr(root, "_GUARD", 0)
    assert off(precision) > 2.0**-3
    root._narrowed.cache_clear()


def orders(digits, monkeypatch):
    """The leading powers of functions that vanish in the first, second and third order."""
    monkeypatch.setattr(expansion, "_DIGITS", digits)
    found = []
    for f in FALLING:
        at = IsolatedRoot(f, x, sp.S(0), sp.S(2))
        found.append([expansion_at(g, x, at, 1).leading[0] for g in (f, sp.exp(f) - 1 - f, sp.sin(f) - f)])
    return found


def test_sixty_digits_of_a_root_show_what_vanishes_there(monkeypatch):
    # zeros are told from other numbers at 1e-40
    assert orders(expansion._DIGITS, monkeypatch) == [[1, 2, 3]] * len(FALLING)
    assert all(row != [1, 2, 3] for row in orders(40, monkeypatch))
