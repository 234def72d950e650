r"""Taylor polynomials of formulas in many variables at a point, to order 2 at most, by their monomials.

A formula in averages is a sum of products of few of them, and of shares of a softmax. Its polynomial is put together from those of its parts, which for
many variables is shorter than to differentiate it by each pair of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from typing import TypeAlias

import sympy as sp

from derivations.gaussian import SoftmaxShare

#: Coefficients of monomials, of which each is the sorted tuple of the places of its factors.
Jet: TypeAlias = dict[tuple[int, ...], sp.Expr]


def jet(expr: sp.Expr, symbols: Sequence[sp.Symbol], point: Sequence[sp.Expr], order: int) -> Jet | None:
    """The polynomial in the distances of the symbols from a point; None for formulas other than polynomials and shares of a softmax in them.

    Examples
    --------
    >>> x, y = sp.symbols("x y")
    >>> jet(3 * x**2 * y + y, (x, y), (1, 0), 2) == {(0, 1): 6, (1,): 4}
    True
    """
    return _Point(symbols, point, order).jet(expr)


class _Point:
    def __init__(self, symbols: Sequence[sp.Symbol], point: Sequence[sp.Expr], order: int) -> None:
        self.place = {s: k for k, s in enumerate(symbols)}
        self.at = dict(zip(symbols, point, strict=True))
        self.order = order
        self.known: dict[sp.Expr, Jet | None] = {}

    def jet(self, expr: sp.Expr) -> Jet | None:
        if expr not in self.known:
            self.known[expr] = self._made(expr)
        return self.known[expr]

    def _made(self, expr: sp.Expr) -> Jet | None:
        if not expr.has(*self.place):
            return {(): expr} if expr != 0 else {}
        if expr in self.place:
            return _summed(
                [{(): self.at[expr]}, {(self.place[expr],): sp.S.One}] if self.order else [{(): self.at[expr]}]
            )
        if isinstance(expr, SoftmaxShare):
            return self._of_share(expr)
        if expr.is_Pow and expr.exp.is_Integer and expr.exp.is_positive:
            parts = [self.jet(expr.base)] * int(expr.exp)
        elif expr.is_Add or expr.is_Mul:
            parts = [self.jet(part) for part in expr.args]
        else:
            return None
        found = [part for part in parts if part is not None]
        if len(found) < len(parts):
            return None
        return _summed(found) if expr.is_Add else reduce(self._product, found)

    def _product(self, one: Jet, other: Jet) -> Jet:
        pairs = ((a, b) for a in one for b in other if len(a) + len(b) <= self.order)
        return _summed([{tuple(sorted(a + b)): one[a] * other[b]} for a, b in pairs])

    def _of_share(self, share: SoftmaxShare) -> Jet:
        r"""Shares :math:`\sigma` have :math:`\partial_j \sigma_k = \sigma_k(\delta_{jk} - \sigma_j)`; scores are functions of the symbols."""
        inside = sorted(share.free_symbols & self.place.keys(), key=self.place.__getitem__)
        found: Jet = {(): share.xreplace(self.at)}
        for i, s in enumerate(inside if self.order else ()):
            slope = sp.diff(share, s)
            found[self.place[s],] = slope.xreplace(self.at)
            for r in inside[i:] if self.order > 1 else ():
                found[self.place[s], self.place[r]] = sp.diff(slope, r).xreplace(self.at) / (2 if r == s else 1)
        return {monomial: c for monomial, c in found.items() if c != 0}


def _summed(parts: Sequence[Mapping[tuple[int, ...], sp.Expr]]) -> Jet:
    terms: dict[tuple[int, ...], list[sp.Expr]] = {}
    for part in parts:
        for monomial, c in part.items():
            terms.setdefault(monomial, []).append(c)
    total = {monomial: sp.Add(*some) for monomial, some in terms.items()}
    return {monomial: c for monomial, c in total.items() if c != 0}
