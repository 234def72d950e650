"""The limit of a function of one variable towards a point: by its expansion, which takes milliseconds, else by SymPy's search."""

from __future__ import annotations

import sympy as sp

from derivations.piecewise.cuts import side


def limit_towards(expr: sp.Expr, x: sp.Symbol, point: sp.Expr, direction: str) -> sp.Expr:
    """The limit as x tends to a point from above, ``"+"``, or below, ``"-"``; at an infinite point the direction is not looked at.

    Examples
    --------
    >>> x = sp.Symbol("x", real=True)
    >>> limit_towards(sp.log(x / (sp.sin(2) - x)), x, sp.sin(2), "-"), limit_towards(sp.atan(x), x, sp.oo, "-")
    (oo, pi/2)
    """
    if expr.free_symbols == {x} and sp.sympify(point).is_number:
        found = side(expr, x, point, 1 if direction == "+" else -1).limit
        if found is not None and found.is_number and not found.has(sp.Float, sp.nan):
            return found
    return sp.limit(expr, x, point, direction)
