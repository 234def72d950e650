"""Whether a function is affine, decided by its form: behind a kink or a jump all second derivatives vanish."""

from __future__ import annotations

from collections.abc import Iterable

import sympy as sp


def is_affine(expr: sp.Expr, symbols: Iterable[sp.Symbol]) -> bool:
    r"""Whether a function is a constant plus multiples of symbols, with coefficients free of these.

    Second derivatives do not decide it: those of :math:`\max(x, 0)` and of a step are 0 wherever they exist.

    Parameters
    ----------
    expr : Expr
    symbols : iterable of Symbol
        All together: :math:`xy` is not affine in x and y.

    Examples
    --------
    >>> x, y, c = sp.symbols("x y c", real=True)
    >>> is_affine(x * (1 + c**2) - (y + 1) * c, (x, y)), is_affine(x * y, (x, y)), is_affine(sp.Max(x, 0), (x,))
    (True, False, False)
    """
    own = set(symbols)

    def degree(part: sp.Expr) -> int:
        if not part.free_symbols & own:
            return 0
        if part.is_Add:
            return max(map(degree, part.args))
        if part.is_Mul:
            return sum(map(degree, part.args))
        return 1 if part in own else 2

    return degree(sp.expand(expr)) <= 1
