r"""Inverting a monotone expression on an interval by undoing its operations one by one."""

from __future__ import annotations

import sympy as sp

from derivations.errors import NoClosedForm, brief


def invert(expr: sp.Expr, variable: sp.Symbol, value: sp.Expr, inside: sp.Expr) -> sp.Expr:
    r"""Solve ``expr(variable) = value`` for the variable, on the branch through a given point.

    Sums, products, powers and functions with a known inverse around a single occurrence of the
    variable are undone from the outside in; otherwise ``solve`` is asked and the branch that
    returns ``inside`` at ``expr(inside)`` is taken.

    Parameters
    ----------
    expr : Expr
        Strictly monotone in the variable on the interval of interest.
    variable : Symbol
    value : Expr
        The right-hand side, usually a real symbol.
    inside : Expr
        A point of the interval, which selects the branch.

    Raises
    ------
    NoClosedForm
        If no branch is found.

    Examples
    --------
    >>> x, z = sp.symbols("x z", real=True)
    >>> invert(2 * sp.log(-x) + 1, x, z, sp.Integer(-1))
    -exp(z/2 - 1/2)
    """
    expr = expr.replace(lambda e: e.is_Mul, _with_tangents)
    level = expr.subs(variable, inside)
    peeled = _peel(expr, variable, value, inside)
    if peeled is not None and _returns(peeled, value, level, inside):
        return peeled
    for candidate in _solved(expr, variable, value):
        if _returns(candidate, value, level, inside):
            return candidate
    raise NoClosedForm(f"the map {variable} ↦ {brief(expr)} has no inverse in closed form here")


def _with_tangents(product: sp.Expr) -> sp.Expr:
    """A sine over the cosine of the same angle, or the reverse, as one function, which has one inverse."""
    powers = product.as_powers_dict()
    for angle in (e.args[0] for e in powers if isinstance(e, sp.sin)):
        up, down = powers[sp.sin(angle)], powers.get(sp.cos(angle), 0)
        if up == -down and abs(up) == 1:
            rest = product * (sp.cos(angle) / sp.sin(angle)) ** up
            return rest * (sp.tan if up == 1 else sp.cot)(angle)
    return product


def _returns(candidate: sp.Expr, value: sp.Expr, level: sp.Expr, inside: sp.Expr) -> bool:
    difference = sp.expand(candidate.subs(value, level) - inside)
    if difference == 0:
        return True
    numbers = {s: sp.Rational(3 + 2 * k, 4) for k, s in enumerate(sorted(difference.free_symbols, key=str))}
    gap = abs(sp.N(difference.subs(numbers), 30))
    return bool(gap.is_Number and gap.is_finite and gap < sp.Rational(1, 10**20))  # a pole of it is no return


def _peel(expr: sp.Expr, variable: sp.Symbol, value: sp.Expr, inside: sp.Expr) -> sp.Expr | None:
    while expr != variable:
        holders = [arg for arg in expr.args if arg.has(variable)]
        if len(holders) != 1:
            return None
        (inner,) = holders
        if isinstance(expr, sp.Add):
            value = value - (expr - inner)
        elif isinstance(expr, sp.Mul):
            value = value / (expr / inner)
        elif isinstance(expr, sp.Pow) and inner == expr.base:
            value = value ** (1 / expr.exp)
        elif isinstance(expr, sp.Pow):
            value = sp.log(value) / sp.log(expr.base)
        elif isinstance(expr, sp.exp):
            value = sp.log(value)
        elif isinstance(expr, sp.sin | sp.cos | sp.tan | sp.cot):
            value = _angle(type(expr), value, inner.subs(variable, inside))
        elif isinstance(expr, sp.Function) and hasattr(type(expr), "inverse"):
            value = expr.inverse()(value)
        else:
            return None
        expr = inner
    return sp.powsimp(sp.expand(value, deep=False)) if value.is_Add else value


def _angle(kind: type[sp.Function], value: sp.Expr, at: sp.Expr) -> sp.Expr:
    """The angle with a given sine, cosine, tangent or cotangent, on the monotone branch that holds a point."""
    turns = at / sp.pi + (sp.S.Half if kind in (sp.sin, sp.tan) else 0)
    k = sp.floor(turns) if turns.is_number else sp.S.Zero
    first = {
        sp.sin: sp.asin(value),
        sp.cos: sp.acos(value),
        sp.tan: sp.atan(value),
        sp.cot: sp.pi / 2 - sp.atan(value),
    }[kind]
    if k.is_odd and kind in (sp.sin, sp.cos):
        first = -first if kind is sp.sin else sp.pi - first
    return first + k * sp.pi


def _solved(expr: sp.Expr, variable: sp.Symbol, value: sp.Expr) -> list[sp.Expr]:
    try:
        return list(sp.solve(expr - value, variable))
    except NotImplementedError:
        return []
