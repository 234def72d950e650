r"""Smooth pieces of a function of one real variable, from left to right."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import sympy as sp

from derivations.errors import DerivationError
from derivations.piecewise.root import IsolatedRoot
from derivations.piecewise.solving import rational_between


@dataclass(frozen=True)
class Piece:
    """The restriction of a function to the open interval ``(left, right)``."""

    left: sp.Expr
    right: sp.Expr
    expr: sp.Expr

    def interior(self) -> sp.Expr:
        """A point strictly inside the interval, a rational one where the ends are rational or known by brackets."""
        if any(end.has(IsolatedRoot) for end in (self.left, self.right)):
            return rational_between(self.left, self.right)
        if self.left == -sp.oo and self.right == sp.oo:
            return sp.S.Zero
        if self.left == -sp.oo:
            return self.right - 1
        if self.right == sp.oo:
            return self.left + 1
        return (self.left + self.right) / 2


def merged(parts: Iterable[Piece]) -> tuple[Piece, ...]:
    """Neighbours with the same expression as one piece.

    Examples
    --------
    >>> merged([Piece(-sp.oo, 0, sp.S(1)), Piece(0, 1, sp.S(1)), Piece(1, sp.oo, sp.S(2))])
    (Piece(left=-oo, right=1, expr=1), Piece(left=1, right=oo, expr=2))
    """
    found: list[Piece] = []
    for part in parts:
        if found and found[-1].expr == part.expr:
            found[-1] = Piece(found[-1].left, part.right, part.expr)
        else:
            found.append(part)
    return tuple(found)


def join(parts: tuple[Piece, ...], variable: sp.Symbol) -> sp.Expr:
    """The ``Piecewise`` that stands for a list of pieces; a single piece is returned bare.

    Examples
    --------
    >>> x = sp.Symbol("x", real=True)
    >>> join((Piece(-sp.oo, sp.S.Zero, -x), Piece(sp.S.Zero, sp.oo, x)), x)
    Piecewise((-x, x <= 0), (x, True))
    """
    if len(parts) == 1:
        return parts[0].expr
    head = [(p.expr, variable <= p.right) for p in parts[:-1]]
    return sp.Piecewise(*head, (parts[-1].expr, True))


def with_values(parts: Sequence[Piece]) -> Sequence[Piece]:
    """Refuse a function that has no value on a whole interval."""
    for part in parts:
        if part.expr.has(sp.nan, sp.zoo):
            what = "divides by 0" if part.expr.has(sp.zoo) else "compares numbers that are not real"
            raise DerivationError(
                f"the function is no real number on ({part.left}, {part.right}): it {what} there; change the formula there, or give the "
                "interval in which it is used"
            )
    return parts
