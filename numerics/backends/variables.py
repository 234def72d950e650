"""The free symbols of formulas whose parts are all asked for them."""

from __future__ import annotations

from functools import lru_cache

import sympy as sp


@lru_cache(maxsize=8192)
def variables(expr: sp.Basic) -> frozenset[sp.Basic]:
    """What SymPy's ``free_symbols`` are, remembered of each part: SymPy looks through all of a formula again, part for part.

    Examples
    --------
    >>> x, y = sp.symbols("x y")
    >>> variables(sp.exp(x) + 2 * y) == {x, y}, variables(sp.Lambda(x, x * y)) == {y}
    (True, True)
    """
    if not expr.args or type(expr).free_symbols is not sp.Basic.free_symbols:
        return frozenset(expr.free_symbols)
    return frozenset().union(*map(variables, expr.args))
