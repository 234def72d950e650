"""The four ends of the double range, and what stands in for a formula there."""

from __future__ import annotations

from typing import Any, NamedTuple

import sympy as sp

from derivations.errors import DerivationError

#: The variable of every formula here.
X = sp.Symbol("x", real=True)
#: What says that no expansion, or no value in many digits, is known.
UNKNOWN = (DerivationError, ValueError, TypeError, ArithmeticError, NotImplementedError, RecursionError)


class Side(NamedTuple):
    """One of the four ends: x is ``towards``/t at infinity and ``towards``·t at 0, with t from 0 up."""

    towards: int
    infinite: bool

    @property
    def point(self) -> sp.Expr:
        """The end itself."""
        return self.towards * sp.oo if self.infinite else sp.S.Zero

    def at(self, t: Any) -> Any:
        """The point with coordinate t."""
        return self.towards / t if self.infinite else self.towards * t

    def beyond(self, t: sp.Rational) -> sp.Basic:
        """The condition that a point lies nearer to the end than t."""
        size = self.towards * X
        return size > 1 / t if self.infinite else sp.And(size > 0, size < t)


SIDES = tuple(Side(towards, infinite) for infinite in (True, False) for towards in (1, -1))


class Tail(NamedTuple):
    """What stands in for a formula nearer to an end than t."""

    side: Side
    t: sp.Rational
    formula: sp.Expr
