"""The terms of an expansion, and when it is not known: what :mod:`derivations.piecewise.expansion` computes with."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import TypeAlias

import sympy as sp

LOG = sp.Symbol("L", negative=True)  # log t
Powers: TypeAlias = dict[sp.Rational, sp.Expr]
_NOTHING = sp.Rational(1, 10**45)
FLAT = sp.Integer(10**6)  # the power of what is smaller than every power


def is_flat(error: sp.Expr) -> bool:
    """Whether an error is smaller than every power; products with powers move it a little."""
    return bool(2 * error >= FLAT)


class Unknown(ValueError):
    """No expansion of this kind exists, or none is known."""


@dataclass
class Expansion:
    """Terms by their powers of t, up to an error of a power of t, times the exponential of negative powers."""

    terms: Powers
    error: sp.Expr = sp.oo
    growth: Powers = field(default_factory=dict)

    @property
    def leading(self) -> tuple[sp.Rational, sp.Expr]:
        """The least power and its coefficient."""
        if not self.terms:
            raise Unknown("all terms cancel")
        power = min(self.terms)
        return power, self.terms[power]


class Cancelled(ValueError):
    """More terms are needed."""


@lru_cache(maxsize=4096)
def is_zero(number: sp.Expr) -> bool:
    """Whether a constant is 0: exactly where SymPy knows, else to 50 digits."""
    if number.is_Rational:
        return bool(number == 0)
    if number.has(LOG):
        return bool(sp.expand(number) == 0)
    if number.is_Float:
        return bool(abs(number) < _NOTHING)
    seen = number.evalf(20, maxn=50)
    if seen.is_Float and abs(seen) > sp.Rational(1, 10**12):
        return False  # seen not to be, which is quicker than to ask what is known of it
    with_digits = number.evalf(50, maxn=200)
    if with_digits.is_zero or (with_digits.is_Float and with_digits._prec == 1 and abs(with_digits) < _NOTHING):
        return True  # 200 digits cancel
    if with_digits.is_Float and abs(with_digits) >= _NOTHING:
        return False
    try:
        known = None if number.has(sp.Float) else number.is_zero  # of digits nothing else is known
    except TypeError:  # SymPy compares a logarithm close to 0 that it does not see to be real
        return bool(with_digits.is_Float and with_digits._prec == 1)
    return bool(known) if known is not None else bool(with_digits.is_Float)
