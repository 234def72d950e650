r"""Which branch of a ``Piecewise`` holds between two of its breakpoints."""

from __future__ import annotations

import sympy as sp
from sympy.core.relational import Relational

_PARTIAL = (sp.log, sp.asin, sp.acos, sp.acosh, sp.atanh)


def branch(node: sp.Piecewise, variable: sp.Symbol, inside: sp.Expr) -> sp.Expr:
    """The branch of a Piecewise that holds at ``inside``; other symbols in a condition keep the Piecewise."""
    kept: list[tuple[sp.Expr, sp.Basic]] = []
    for expr, condition in node.args:
        here = _at(condition, variable, inside) if condition.has(variable) else condition
        if here == sp.true and not kept:
            return expr
        if here != sp.false:
            kept.append((expr, here))
    return sp.Piecewise(*kept)


def _at(condition: sp.Basic, variable: sp.Symbol, inside: sp.Expr) -> sp.Basic:
    """A condition at a point between breakpoints.

    Where it is not linear in the variable, its zeros were found for all parameters: between them its sign is the same for all, and
    is seen at some.
    """
    for relation in condition.atoms(Relational):
        # what is not real may cancel from the difference, or have a real square
        partial = [part for part in sp.preorder_traversal(relation) if _is_partial(part) and part.has(variable)]
        for part in (relation.lhs - relation.rhs, *partial):
            value = part.xreplace({variable: inside})
            if value.is_number and not value.is_real and value.evalf(15).is_extended_real is False:
                raise TypeError(f"{relation} compares numbers that are not real at {variable} = {inside}")
    here = condition.subs(variable, inside)
    for relation in condition.atoms(Relational):
        difference = relation.lhs - relation.rhs
        linear = difference.is_polynomial(variable) and sp.degree(difference, variable) <= 1
        if linear or not relation.has(variable) or not difference.free_symbols - {variable}:
            continue
        value = difference.subs(variable, inside)
        names = sorted(value.free_symbols, key=str)
        numbers = {s: sp.Rational(7 + 2 * k, 5 + k) * (-1 if s.is_negative else 1) for k, s in enumerate(names)}
        sign = sp.sign(value.subs(numbers).evalf(30))
        if sign in (1, -1):
            condition = condition.xreplace({relation: relation.func(sign, 0)})
            here = condition.subs(variable, inside)
    return here


def _is_partial(part: sp.Basic) -> bool:
    """Whether a node, without what is inside of it, may have no real value on an interval."""
    return isinstance(part, _PARTIAL) or (part.is_Pow and not part.exp.is_integer)
