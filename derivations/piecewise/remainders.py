r"""What a formula lacks of its expansion in powers, where that is smaller than every power.

:math:`\log(1 + e^{-1/t})` is 0 in powers of t, and :math:`e^{-1/t}` up to a factor that tends to 1: to first order in
what is small, :math:`f(c + s) - f(c) = f'(c)\,s`.
"""

from __future__ import annotations

from typing import Protocol

import sympy as sp

from derivations.piecewise.terms import FLAT, Expansion, Powers, Unknown, is_flat, is_zero

_MOST_DERIVATIVES = 4


class Expander(Protocol):
    """What expands parts of one formula."""

    variable: sp.Symbol

    def expand(self, expr: sp.Expr) -> Expansion:
        """The expansion of a part."""

    def sum(self, parts: list[Expansion]) -> Expansion:
        """Of a sum."""

    def times(self, a: Expansion, b: Expansion) -> Expansion:
        """Of a product."""

    def sign(self, u: Expansion) -> int:
        """The sign of an expansion close to the point."""

    def compare(self, p: Powers, q: Powers) -> int:
        """The sign of the difference of two growths."""


class Remainders:
    """What parts of one formula lack of the powers in their expansions."""

    def __init__(self, expander: Expander) -> None:
        self.expander, self.expand = expander, expander.expand

    def of(self, expr: sp.Expr) -> Expansion:
        """The leading terms of what a formula lacks of its powers.

        Raises
        ------
        Unknown
            If they are not smaller than every power, or cancel to first order.
        """
        found = self._work(expr)
        if found.terms or found.error == sp.oo:
            return Expansion(found.terms, sp.Min(found.error, FLAT) if found.terms else sp.oo, found.growth)
        raise Unknown("what falls faster than every power cancels")

    def _work(self, expr: sp.Expr) -> Expansion:
        if not expr.has(self.expander.variable) or expr == self.expander.variable:
            return Expansion({})
        if expr.is_Add:
            return self.expander.sum([self._small(a) for a in expr.args])
        if expr.is_Mul:
            first, others = expr.args[0], expr.func(*expr.args[1:])
            products = [
                self.expander.times(self._powers(a), self._small(b)) for a, b in ((first, others), (others, first))
            ]
            return self.expander.sum(products)
        if isinstance(expr, sp.log) and expr.args[0].is_Add and self.expand(expr.args[0]).growth:
            return self._logarithm(expr.args[0])
        if isinstance(expr, sp.tanh | sp.erf | sp.atan):
            return self._saturated(expr)
        if expr.is_Pow and expr.exp.has(self.expander.variable):
            raise Unknown("a power whose exponent moves")
        inner = expr.base if expr.is_Pow and not isinstance(expr, sp.exp) else expr.args[0]
        if len(expr.args) > 1 and not expr.is_Pow:
            raise Unknown("a function of several arguments")
        return self._analytic(expr, inner)

    def _analytic(self, expr: sp.Expr, inner: sp.Expr) -> Expansion:
        """Of a function that is analytic where its argument tends to, by the first derivative there that is not 0."""
        y, limit, small = sp.Dummy("y", real=True), self._limit(inner), self._small(inner)
        derivative, power = expr.xreplace({inner: y}), Expansion({sp.S.Zero: sp.S.One})
        for order in range(1, _MOST_DERIVATIVES + 1):
            derivative, power = sp.diff(derivative, y), self.expander.times(power, small)
            slope = derivative.subs(y, limit) / sp.factorial(order)
            if slope.has(sp.nan, sp.zoo, sp.oo, -sp.oo) or slope.is_extended_real is False:
                break
            if not is_zero(slope):
                return self.expander.times(Expansion({sp.S.Zero: slope}), power)
        raise Unknown("no slope there")

    def _small(self, expr: sp.Expr) -> Expansion:
        """What a part lacks of its powers; all of it, if it decays itself."""
        found = self.expand(expr)
        return found if self._decays(found) else self.of(expr)

    def _decays(self, found: Expansion) -> bool:
        return bool(found.growth) and self.expander.compare(found.growth, {}) < 0

    def _limit(self, expr: sp.Expr) -> sp.Expr:
        """The limit of a part that has no powers beside it."""
        found = self.expand(expr)
        if self._decays(found):
            return sp.S.Zero
        if found.growth:
            raise Unknown("it grows")
        if not is_flat(found.error) or set(found.terms) - {sp.S.Zero}:
            raise Unknown("powers beside the limit")
        return found.terms.get(sp.S.Zero, sp.S.Zero)

    def _powers(self, expr: sp.Expr) -> Expansion:
        """The powers of a part, which it has up to what is smaller than all of them."""
        found = self.expand(expr)
        if self._decays(found):
            return Expansion({})
        if not is_flat(found.error):
            raise Unknown("powers that are cut off")
        return Expansion(found.terms, sp.oo, found.growth)

    def _logarithm(self, total: sp.Add) -> Expansion:
        """Of log(D + s), where D outgrows s: s/D."""
        for large in total.args:
            found = self.expand(large)
            if found.error == sp.oo and len(found.terms) == 1:
                share = self.expand(sp.Add(*(a / large for a in total.args if a != large)))
                if self._decays(share):
                    return share
        raise Unknown("no term outgrows the others")

    def _saturated(self, expr: sp.Expr) -> Expansion:
        """Of tanh, erf and atan, whose argument tends to infinity or to a number."""
        (inner,) = expr.args
        found = self.expand(inner)
        if not found.terms or self._decays(found) or (not found.growth and min(found.terms) >= 0):
            return self._analytic(expr, inner)
        side = self.expander.sign(found)
        if isinstance(expr, sp.tanh):
            return self.expand(-side * 2 / (sp.exp(2 * side * inner) + 1))
        return self.expand(-sp.atan(1 / inner) if isinstance(expr, sp.atan) else -side * sp.erfc(side * inner))
