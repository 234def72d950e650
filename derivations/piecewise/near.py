r"""Which branches of a function with kinks hold beside a point or towards an end, decided there alone.

The kinks of :math:`\max(f, g)` are zeros of :math:`f - g`, which may be hard to find; beside a point only the sign of the leading term
of :math:`f - g` matters.
"""

from __future__ import annotations

import sympy as sp
from sympy.core.relational import Relational

from derivations.piecewise.choices import cases, innermost
from derivations.piecewise.expansion import expansion_at
from derivations.piecewise.terms import LOG, Unknown


def smooth_beside(expr: sp.Expr, variable: sp.Symbol, point: sp.Expr, side: int) -> sp.Expr:
    """The formula without kinks that holds beside a point, or towards an infinite end.

    Parameters
    ----------
    expr : Expr
    variable : Symbol
    point : Expr
        A number, ``oo`` or ``-oo``.
    side : int
        1 from above, −1 from below; at infinity it is not looked at.

    Raises
    ------
    Unknown
        If a difference that decides has no expansion there.

    Examples
    --------
    >>> x = sp.Symbol("x", real=True)
    >>> smooth_beside(sp.Max(sp.log(1 + 4 * x**2), 0), x, sp.S.Zero, 1)
    log(4*x**2 + 1)
    >>> smooth_beside(sp.Heaviside(x - sp.tanh(x)), x, sp.S.Zero, -1)
    0
    """
    while (node := innermost(expr, variable)) is not None:
        expr = expr.xreplace({node: _branch(cases(node), variable, point, side)})
    return expr


def _branch(node: sp.Expr, variable: sp.Symbol, point: sp.Expr, side: int) -> sp.Expr:
    if not isinstance(node, sp.Piecewise):
        return node
    for value, condition in node.args:
        held = {r: _holds(r, variable, point, side) for r in condition.atoms(Relational) if r.has(variable)}
        here = condition.xreplace(held)
        if here == sp.true:
            return value
        if here != sp.false:
            raise Unknown(f"whether {condition} holds beside {point}")
    return sp.nan


def _holds(relation: Relational, variable: sp.Symbol, point: sp.Expr, side: int) -> sp.Basic:
    difference = sp.sympify(relation.lhs - relation.rhs)
    sign = _sign(difference, variable, point, side)
    return sp.sympify(relation.func(sp.Integer(sign), 0))


def _sign(difference: sp.Expr, variable: sp.Symbol, point: sp.Expr, side: int) -> int:
    """The sign of a smooth function beside a point."""
    if difference == 0:
        return 0
    coefficient = expansion_at(difference, variable, point, side).leading[1]
    if coefficient.has(LOG):
        power = sp.Poly(coefficient, LOG)
        coefficient = power.LC() * (-1) ** power.degree()  # log t tends to −∞
    if coefficient.is_positive or coefficient.is_negative:
        return 1 if coefficient.is_positive else -1
    value = coefficient.evalf(30)
    if not value.is_Float or value == 0:
        raise Unknown(f"the sign of {coefficient}")
    return 1 if value > 0 else -1
