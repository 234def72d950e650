r"""A function of one real variable as smooth pieces between sorted breakpoints.

Everything with kinks (activations, their derivatives, densities with atoms, Gaussian
integrals over half-lines) passes through this one form, so that a ``Piecewise`` never has
to be compared, multiplied or integrated as such. Values at the breakpoints themselves, a
set of measure zero, are not kept.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

import sympy as sp
from sympy.core.relational import Relational

from derivations.errors import DerivationError


@dataclass(frozen=True)
class Piece:
    """The restriction of a function to the open interval ``(left, right)``."""

    left: sp.Expr
    right: sp.Expr
    expr: sp.Expr

    def interior(self) -> sp.Expr:
        """A point strictly inside the interval, a rational one where the ends are rational."""
        if self.left == -sp.oo and self.right == sp.oo:
            return sp.S.Zero
        if self.left == -sp.oo:
            return self.right - 1
        if self.right == sp.oo:
            return self.left + 1
        return (self.left + self.right) / 2


_KINKED = (sp.Abs, sp.Max, sp.Min, sp.sign, sp.Heaviside)


def _as_piecewise(expr: sp.Expr, variable: sp.Symbol) -> sp.Expr:
    kinked = [node for node in expr.atoms(*_KINKED) if node.has(variable)]
    return expr.xreplace({node: node.rewrite(sp.Piecewise) for node in kinked}) if kinked else expr


def _threshold(condition: Relational, variable: sp.Symbol) -> sp.Expr:
    """The single point at which a relation linear in the variable changes its truth value."""
    difference = sp.expand(condition.lhs - condition.rhs)
    slope = difference.coeff(variable, 1)
    point = sp.cancel(-difference.coeff(variable, 0) / slope) if slope != 0 else sp.nan
    if slope == 0 or sp.expand(difference - slope * (variable - point)) != 0:
        raise DerivationError(
            f"a condition of a piecewise function must be linear in {variable}, got {condition}; "
            f"write it as {variable} < c or {variable} > c"
        )
    return point


def breakpoints(expr: sp.Expr, variable: sp.Symbol) -> tuple[sp.Expr, ...]:
    """Points, in increasing order, at which a different formula takes over.

    Examples
    --------
    >>> x = sp.Symbol("x", real=True)
    >>> breakpoints(sp.Max(x, -x - 2), x)
    (-1,)
    """
    conditions: set[Relational] = set()
    for node in _as_piecewise(expr, variable).atoms(sp.Piecewise):
        for _, condition in node.args:
            conditions |= {c for c in condition.atoms(Relational) if c.has(variable)}
    points = {_threshold(c, variable) for c in conditions}
    return in_order(points)


def in_order(points: Iterable[sp.Expr]) -> tuple[sp.Expr, ...]:
    """Sort points of the line exactly.

    Raises
    ------
    DerivationError
        If the order of two points depends on a parameter.
    """
    return tuple(sorted(points, key=_Ordered))


class _Ordered:
    """Sort key by a provable ``<``; refuses breakpoints whose order depends on a parameter."""

    def __init__(self, value: sp.Expr) -> None:
        self.value = value

    def __lt__(self, other: _Ordered) -> bool:
        less = sp.sympify(self.value - other.value).is_negative
        if less is None:
            raise DerivationError(
                f"cannot order the breakpoints {self.value} and {other.value}; "
                "give the parameters a sign, e.g. Symbol('c', positive=True)"
            )
        return bool(less)


def pieces(expr: sp.Expr, variable: sp.Symbol) -> tuple[Piece, ...]:
    """Split a function of one real variable into its smooth pieces, from left to right.

    Parameters
    ----------
    expr : Expr
        May hold ``Piecewise``, ``Abs``, ``Max``, ``Min``, ``sign`` and ``Heaviside``.
    variable : Symbol
        The variable; conditions must be linear in it.

    Examples
    --------
    >>> x = sp.Symbol("x", real=True)
    >>> [(p.left, p.right, p.expr) for p in pieces(abs(x), x)]
    [(-oo, 0, -x), (0, oo, x)]
    """
    expr = _as_piecewise(sp.sympify(expr), variable)
    cuts = (-sp.oo, *breakpoints(expr, variable), sp.oo)
    found: list[Piece] = []
    for left, right in pairwise(cuts):
        inside = Piece(left, right, expr).interior()
        chosen = expr.replace(
            lambda node: isinstance(node, sp.Piecewise),
            lambda node, point=inside: _branch(node, variable, point),
        )
        if found and found[-1].expr == chosen:
            found[-1] = Piece(found[-1].left, right, chosen)
        else:
            found.append(Piece(left, right, chosen))
    return tuple(found)


def _branch(node: sp.Piecewise, variable: sp.Symbol, inside: sp.Expr) -> sp.Expr:
    """The branch of a Piecewise that holds at ``inside``; other symbols in a condition keep the Piecewise."""
    kept: list[tuple[sp.Expr, sp.Basic]] = []
    for expr, condition in node.args:
        here = condition.subs(variable, inside) if condition.has(variable) else condition
        if here == sp.true and not kept:
            return expr
        if here != sp.false:
            kept.append((expr, here))
    return sp.Piecewise(*kept)


def join(parts: tuple[Piece, ...], variable: sp.Symbol) -> sp.Expr:
    """The ``Piecewise`` that stands for a list of pieces; a single piece is returned bare.

    Examples
    --------
    >>> x = sp.Symbol("x", real=True)
    >>> join(pieces(abs(x), x), x)
    Piecewise((-x, x <= 0), (x, True))
    """
    if len(parts) == 1:
        return parts[0].expr
    head = [(p.expr, variable <= p.right) for p in parts[:-1]]
    return sp.Piecewise(*head, (parts[-1].expr, True))


def canonical(expr: sp.Expr, variable: sp.Symbol) -> sp.Expr:
    """The same function with one ``Piecewise`` at the top at most and each piece expanded.

    Examples
    --------
    >>> x = sp.Symbol("x", real=True)
    >>> canonical(sp.Max(x, 0) ** 2 * sp.Heaviside(x), x)
    Piecewise((0, x <= 0), (x**2, True))
    """
    return join(merged(Piece(p.left, p.right, sp.expand(p.expr)) for p in pieces(expr, variable)), variable)


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
