"""What cancels while a formula is built, and had no value on an interval: 0*log(x) is no function on x < 0, though it is built as 0.

A part that SymPy has dropped, a root, a quotient or a logarithm, has values between the same two zeros and kinks of what is inside of it or has
none, so that one point of each such interval decides; there the text is read again. At single points a function has its limit, as x**2/x at 0.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from itertools import pairwise

import sympy as sp
from sympy.core.relational import Relational

from derivations.activations.syntax import refuse, shorten
from derivations.activations.terms import POINTS, UNKNOWN, Term, is_partial, value_of
from derivations.errors import DerivationError, UnsafeExpression
from derivations.piecewise import analyse
from derivations.piecewise.solving import rational_between
from derivations.symbols import state

_Read = Callable[[ast.expr, tuple[sp.Expr, ...]], Term]


def refuse_what_cancels(body: ast.expr, made: Term, name: str, read: _Read) -> None:
    """Refuse a formula that has values on an interval only because a part without values there cancels.

    Parameters
    ----------
    body, made : expr, Term
        The tree of the text, and what is made of it.
    name : str
        The variable, as it stands in the text.
    read : callable
        What is made of a part of the tree, with its values at given points.
    """
    expr = _without_constant_comparisons(made.expr)
    kept = {_key(part) for part in sp.preorder_traversal(expr) if is_partial(part)}
    lost = {key[0] for part in made.asked if (key := _key(part)) not in kept}
    if not lost:
        return
    points = tuple(dict.fromkeys(point for inside in lost for point in _between_changes(inside)))
    values = read(body, (*POINTS, *points)).values
    for point, value in zip(points, values[len(POINTS) :], strict=True):
        left = value_of(lambda at: expr.xreplace({state: at}), (sp.Float(point, 30),))
        if value is sp.nan and left not in (sp.nan, UNKNOWN):
            part = _without_value(body, point, read)
            refuse(
                f"{shorten(part)} is no real number at {name} = {point} and around it, and would cancel from the formula",
                "write its cases with where",
            )


def _without_constant_comparisons(expr: sp.Expr) -> sp.Expr:
    """The formula with comparisons decided whose two sides differ by a constant: algebra will not ask whether they have values."""
    apart = {relation: relation.lhs - relation.rhs for relation in expr.atoms(Relational) if relation.has(state)}
    decided = {
        relation: relation.func(difference, 0) for relation, difference in apart.items() if not difference.has(state)
    }
    return expr.xreplace(decided)


def _key(part: sp.Expr) -> tuple[sp.Expr, ...]:
    """What decides where a part has values, and which kind of part it is."""
    if part.is_Pow:
        return part.base, sp.sympify(part.exp.is_nonnegative), sp.sympify(part.exp.is_Integer)
    (inside,) = part.args
    return {sp.log: inside, sp.acosh: inside - 1}.get(part.func, inside**2 - 1), sp.Symbol(part.func.__name__)


def _between_changes(inside: sp.Expr) -> list[sp.Rational]:
    """A point of each interval on which a function has one formula and one sign, or no value."""
    try:
        known = analyse(inside, state)
    except DerivationError:
        return []
    changes = {p.value for p in (*known.zeros, *known.singular, *known.removable)}
    changes |= {end for piece in known.pieces for end in (piece.left, piece.right)} - {sp.oo, -sp.oo}
    ordered = sorted(changes, key=lambda at: at.evalf(30))
    return [rational_between(a, b) for a, b in pairwise((-sp.oo, *ordered, sp.oo)) if a != b]


def _without_value(body: ast.expr, point: sp.Expr, read: _Read) -> str:
    """The smallest part of a text that has no value at a point."""
    for node in reversed(list(ast.walk(body))):
        if isinstance(node, ast.expr):
            try:
                values = read(node, (*POINTS, point)).values
            except UnsafeExpression:  # a function's name
                continue
            if values[-1] is sp.nan:
                return ast.unparse(node)
    return ast.unparse(body)
