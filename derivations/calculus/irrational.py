r"""Polynomials with irrational coefficients as products: over the field of their roots of numbers, or as a square.

SymPy's ``factor`` takes :math:`\sqrt2` for a symbol: once :math:`\sqrt2^2 = 2` is written, the square of :math:`x - \sqrt2` is a polynomial
that it does not take apart, and its double zero is not seen.
"""

from __future__ import annotations

from functools import lru_cache
from math import prod

import sympy as sp

from derivations.piecewise.terms import is_zero

_MOST_FIELD = 8  # the degree of a field over which is factored
_MOST_DEGREE = 16  # of a polynomial


@lru_cache(maxsize=256)
def split_over_roots(expr: sp.Expr) -> sp.Expr:
    """A polynomial in one symbol as a product, where its coefficients are irrational and this is known; else as it is.

    Examples
    --------
    >>> x = sp.Symbol("x", real=True)
    >>> split_over_roots(sp.expand((x - sp.sqrt(2)) ** 2 * (x + 1)))
    (x + 1)*(x - sqrt(2))**2
    >>> split_over_roots(sp.expand((x - sp.pi) ** 2)), split_over_roots(x**2 - sp.pi)
    ((x - pi)**2, x**2 - pi)
    """
    if len(expr.free_symbols) != 1 or not expr.is_Add:
        return expr
    (x,) = expr.free_symbols
    if not expr.is_polynomial(x) or not 2 <= sp.degree(expr, x) <= _MOST_DEGREE:
        return expr
    coefficients = sp.Poly(expr, x).all_coeffs()
    if all(c.is_Rational for c in coefficients) or expr.has(sp.Float):
        return expr
    if all(c.is_algebraic and c.is_real for c in coefficients) and _field(coefficients) <= _MOST_FIELD:
        return sp.factor(expr, x, extension=True)
    root = _square_root(coefficients)
    return expr if root is None else split_over_roots(sp.Poly(root, x).as_expr()) ** 2


def _field(coefficients: list[sp.Expr]) -> int:
    """A bound on the degree of the field that these numbers lie in."""
    roots = {(p.base, p.exp.q) for c in coefficients for p in c.atoms(sp.Pow) if p.exp.is_Rational and p.exp.q > 1}
    return prod(q for _, q in roots)


def _square_root(coefficients: list[sp.Expr]) -> list[sp.Expr] | None:
    r"""The polynomial whose square has these coefficients, from the highest on.

    *Derivation.* :math:`a_j = \sum_{i \le j} c_i c_{j-i}` gives :math:`c_0 = \sqrt{a_0}` and each :math:`c_j`, :math:`j \le m`, from those before
    it; the other coefficients must then be right.
    """
    if len(coefficients) % 2 == 0 or not coefficients[0].is_positive:
        return None
    half = len(coefficients) // 2 + 1
    c = [sp.sqrt(coefficients[0])]
    for a in coefficients[1:half]:
        known = sp.Add(*(c[i] * c[len(c) - i] for i in range(1, len(c))))
        c.append(sp.expand(sp.radsimp(sp.expand(a - known) / (2 * c[0]))))
    for j in range(half, len(coefficients)):
        if not is_zero(coefficients[j] - sp.Add(*(c[i] * c[j - i] for i in range(j - half + 1, half)))):
            return None
    return c
