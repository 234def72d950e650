"""Functions of numbers that scale with them: c > 0 times the numbers gives c^d times the function."""

from __future__ import annotations

from collections.abc import Sequence

import sympy as sp

from derivations.limits.elimination.held import released
from derivations.piecewise import pieces


class NotHomogeneous(ValueError):
    """A factor of a function that does not scale."""

    def __init__(self, factor: sp.Expr) -> None:
        super().__init__(f"{factor} does not scale with its argument")
        self.factor = factor


def homogeneous_parts(body: sp.Expr, variables: Sequence[sp.Symbol]) -> list[tuple[int, sp.Expr]]:
    """Parts that add up to a function, with their degrees.

    Raises
    ------
    NotHomogeneous
        Where a factor is neither a polynomial nor a homogeneous function of one variable, such as relu.

    Examples
    --------
    >>> x = sp.Symbol("x", real=True)
    >>> homogeneous_parts(x**2 + 3 * x, [x])
    [(2, x**2), (1, 3*x)]
    >>> homogeneous_parts(x**2 * sp.Abs(x), [x])[0][0]
    3
    """
    degree, rest, polynomial = 0, sp.S.One, sp.S.One
    used = [v for v in variables if body.has(v)]
    for factor in sp.Mul.make_args(released(body)):
        if factor.is_polynomial(*used):
            polynomial *= factor
        else:
            degree, rest = degree + _degree(factor, used), rest * factor
    terms = sp.Poly(polynomial, *used).terms() if used else [((), polynomial)]
    return [
        (degree + sum(powers), coefficient * rest * sp.Mul(*(v**p for v, p in zip(used, powers, strict=True))))
        for powers, coefficient in terms
    ]


def _degree(factor: sp.Expr, variables: list[sp.Symbol]) -> int:
    own = [v for v in variables if factor.has(v)]
    if len(own) == 1:
        parts = pieces(factor, own[0])
        degrees = {sp.cancel(own[0] * sp.diff(p.expr, own[0]) / p.expr) for p in parts if p.expr != 0}
        kinks = {end for p in parts for end in (p.left, p.right)} <= {sp.S.Zero, sp.oo, -sp.oo}
        if kinks and len(degrees) == 1 and (degree := degrees.pop()).is_Integer and degree >= 0:
            return int(degree)
    raise NotHomogeneous(factor)
