r"""How a formula behaves at a point or an end: :math:`f = e^{E(t)}\,(c_0 t^{p_0} + c_1 t^{p_1} + \dots)` as :math:`t \to 0^+`.

t is the distance to a finite point, or 1/|x| at infinity; the powers are rational numbers, the coefficients exact numbers or
polynomials in :math:`L = \log t`, and E holds negative powers. That covers powers and roots, exponentials of powers, logarithms,
and every function that is analytic where its argument tends to. The leading term gives zeros and poles with their order, the
limit at a removable point, and the growth at infinity.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from itertools import count
from typing import Any

import sympy as sp

from derivations.errors import brief
from derivations.piecewise.remainders import Remainders
from derivations.piecewise.root import IsolatedRoot
from derivations.piecewise.terms import FLAT, LOG, Cancelled, Expansion, Powers, Unknown, is_flat, is_zero

_T = sp.Symbol("t", positive=True)
_Y = sp.Dummy("y", real=True)
_SPANS = (2, 4, 9)  # how far beyond the leading power terms are kept, in turn, while terms cancel
_DIGITS = 60  # of a point that is known by a bracket, and of numbers that would be long formulas
_MOST_WRITTEN = 40  # parts of a number that is kept as a formula
_FIRST = 12  # the power up to which a first coefficient that is not 0 is looked for
_MOST = 120  # terms of one expansion
_MOST_MULTIPLIED = 20_000  # parts of coefficients, in one expansion
_QUOTIENTS = {
    sp.tan: (sp.sin, sp.cos),
    sp.cot: (sp.cos, sp.sin),
    sp.sec: (None, sp.cos),
    sp.csc: (None, sp.sin),
    sp.coth: (sp.cosh, sp.sinh),
    sp.sech: (None, sp.cosh),
    sp.csch: (None, sp.sinh),
}


@lru_cache(maxsize=1024)
def _derivative(function: Any, order: int) -> sp.Expr:
    """In expanded form, in which its terms stay few."""
    return sp.expand_mul(sp.diff(_derivative(function, order - 1), _Y)) if order else function(_Y)


def plain(expr: sp.Expr) -> sp.Expr:
    """The same formula without tan, cot, sec, csc, coth, sech and csch, which are quotients."""
    if not expr.has(*_QUOTIENTS):
        return expr

    def quotient(node: sp.Function) -> sp.Expr:
        over, under = _QUOTIENTS[type(node)]
        return (over(*node.args) if over else sp.S.One) / under(*node.args)

    return expr.replace(lambda node: type(node) in _QUOTIENTS, quotient)


def _nodes(number: sp.Expr) -> int:
    return 1 if not number.args else sum(1 for _ in sp.preorder_traversal(number))


def expansion_at(
    expr: sp.Expr, variable: sp.Symbol, point: sp.Expr, side: int, spans: tuple[int, ...] = _SPANS
) -> Expansion:
    """The expansion at a point from one side, or at infinity.

    Parameters
    ----------
    expr : Expr
        Smooth on that side of the point: without breakpoints.
    variable : Symbol
    point : Expr
        A number, ``oo`` or ``-oo``.
    side : int
        1 from above, −1 from below; at infinity it is not looked at.
    spans : tuple of int, optional
        How far beyond the leading power terms are kept; the next one is tried where all terms cancel.

    Raises
    ------
    Unknown
        If there is none: oscillation, or exponentials within exponentials.

    Examples
    --------
    >>> x = sp.Symbol("x", real=True)
    >>> expansion_at((1 - sp.cos(x)) / x**2, x, sp.S.Zero, 1).leading
    (0, 1/2)
    >>> expansion_at(sp.log(sp.cosh(x)), x, -sp.oo, 1).leading
    (-1, 1)
    """
    if point in (sp.oo, -sp.oo):
        argument = Expansion({-sp.S.One: sp.S.One if point == sp.oo else sp.S.NegativeOne})
    else:
        if point.has(IsolatedRoot, sp.CRootOf):
            point = point.evalf(_DIGITS)
        argument = Expansion({sp.S.One: sp.sympify(side)})
        if not is_zero(point):
            argument.terms[sp.S.Zero] = point
    simple = bool(
        point.is_infinite or point.is_Rational
    )  # remainders at other points, such as poles of 1/sin, take seconds
    for span in spans:
        try:
            found = Expander(variable, argument, sp.Integer(span), span == spans[-1], simple).expand(plain(expr))
            if found.terms or is_flat(found.error):
                return found
        except Cancelled:
            pass
    raise Unknown(f"the leading terms of {brief(expr)} cancel")


def _short(number: sp.Expr) -> sp.Expr:
    """A number as it is, or its digits where powers and products would make it longer and longer."""
    return number.evalf(_DIGITS) if number.is_number and _nodes(number) > _MOST_WRITTEN else number


class Expander:
    """Expansions of all parts of one formula, each once."""

    def __init__(
        self, variable: sp.Symbol, argument: Expansion, span: sp.Expr, last: bool = True, remainders: bool = True
    ) -> None:
        self.last, self.remainders = last, remainders  # whether no wider span is tried, and what is flat is expanded
        self.variable, self.argument, self.span = variable, argument, span
        self.known: dict[sp.Expr, Expansion] = {}
        self.multiplied = 0

    def expand(self, expr: sp.Expr) -> Expansion:
        """The expansion of a part, by first order in what falls faster than every power where the powers cancel."""
        if expr not in self.known:
            found = self.tidy(self._work(expr))
            if self.remainders and not found.terms and is_flat(found.error) and found.error < sp.oo:
                with suppress(Unknown, *([Cancelled] if self.last else [])):
                    found = self.tidy(Remainders(self).of(expr))
            self.known[expr] = found
        return self.known[expr]

    def tidy(self, e: Expansion) -> Expansion:
        """Terms from the first that is not 0 on; of those after it only what is seen to be 0 is left out."""
        terms = {p: c for p, c in e.terms.items() if p < e.error and c != 0}
        for power in sorted(terms):
            if not is_zero(terms[power]):
                break
            del terms[power]
        error = e.error
        if terms:
            limit = min(terms) + self.span
            kept = {p: c for p, c in terms.items() if p < limit}
            if len(kept) > _MOST:
                raise Unknown("too many terms")
            if len(kept) < len(terms):
                error = sp.Min(error, limit)
            terms = {p: _short(c) for p, c in kept.items()}
        return Expansion(terms, error, {p: c for p, c in e.growth.items() if not is_zero(c)})

    def _work(self, expr: sp.Expr) -> Expansion:
        if expr == self.variable:
            return self.argument
        if not expr.has(self.variable):
            if expr.has(sp.oo, -sp.oo, sp.nan, sp.zoo):
                raise Unknown(f"{brief(expr)} is no number")
            return Expansion({sp.S.Zero: expr})
        if expr.is_Add:
            return self.sum([self.expand(a) for a in expr.args])
        if expr.is_Mul:
            value = self.expand(expr.args[0])
            for a in expr.args[1:]:
                value = self.tidy(self.times(value, self.expand(a)))
            return value
        if isinstance(expr, sp.exp):
            return self._exponential(self.expand(expr.args[0]))
        if expr.is_Pow:
            base, exponent = expr.args
            if exponent.has(self.variable):
                return self._exponential(self.expand(exponent * sp.log(base)))
            return self._power(self.expand(base), exponent)
        if isinstance(expr, sp.log):
            return self._logarithm(self.expand(expr.args[0]))
        if isinstance(expr, sp.Abs):
            u = self.expand(expr.args[0])
            return Expansion({p: c * self.sign(u) for p, c in u.terms.items()}, u.error, u.growth)
        if isinstance(expr, sp.sinh | sp.cosh):
            return self.expand(expr.rewrite(sp.exp))
        if isinstance(expr, sp.atanh):
            return self.expand((sp.log(1 + expr.args[0]) - sp.log(1 - expr.args[0])) / 2)
        if isinstance(expr, sp.acosh):
            return self.expand(2 * sp.asinh(sp.sqrt((expr.args[0] - 1) / 2)))
        if isinstance(expr, sp.asin | sp.acos):
            return self._arc(expr, self.expand(expr.args[0]))
        if isinstance(expr, sp.Function) and len(expr.args) == 1:
            return self._function(expr, self.expand(expr.args[0]))
        raise Unknown(f"expansions of {expr.func.__name__} are not known")

    def sign(self, u: Expansion) -> int:
        """The sign of an expansion close to the point."""
        if not u.terms:
            raise Cancelled
        _, c = u.leading
        c = c if not c.has(LOG) else sp.limit(c, LOG, -sp.oo)
        if c.has(sp.AccumBounds):
            raise Unknown(f"the sign of {c} is not known")
        positive = sp.sympify(c).is_extended_positive
        if positive is None:
            raise Unknown(f"the sign of {c} is not known")
        return 1 if positive else -1

    def compare(self, p: Powers, q: Powers) -> int:
        """The sign of the difference of two growths as t → 0."""
        difference = Expansion({k: p.get(k, sp.S.Zero) - q.get(k, sp.S.Zero) for k in {*p, *q}})
        difference = self.tidy(difference)
        return self.sign(difference) if difference.terms else 0

    def sum(self, parts: list[Expansion]) -> Expansion:
        """Of a sum, up to what is smaller than every power of its largest part."""
        first, *others = [part for part in parts if part.terms or part.error < sp.oo] or [Expansion({})]
        total = first
        for part in others:
            order = self.compare(total.growth, part.growth)
            if order:
                large = total if order > 0 else part
                if not large.terms:
                    raise Cancelled
                total = Expansion(large.terms, sp.Min(large.error, FLAT), large.growth)
                continue
            terms = dict(total.terms)
            for p, c in part.terms.items():
                terms[p] = terms.get(p, sp.S.Zero) + c
            total = self.tidy(Expansion(terms, sp.Min(total.error, part.error), total.growth))
        return total

    def times(self, a: Expansion, b: Expansion) -> Expansion:
        """Of a product."""
        if not a.terms or not b.terms:
            if (a.error == sp.oo and not a.terms) or (b.error == sp.oo and not b.terms):
                return Expansion({})
            if all(e.terms or is_flat(e.error) for e in (a, b)) and not (a.growth or b.growth):
                return Expansion({}, FLAT)
            raise Cancelled
        error = sp.Min(a.error + min(b.terms), b.error + min(a.terms))
        limit = sp.Min(error, min(a.terms) + min(b.terms) + self.span)
        terms: Powers = {}
        if any(p + q >= limit for p in a.terms for q in b.terms):
            error = limit
        for p, c in a.terms.items():
            for q, d in b.terms.items():
                if p + q < limit:
                    self.multiplied += _nodes(c) + _nodes(d)
                    if self.multiplied > _MOST_MULTIPLIED:
                        raise Unknown("coefficients too large to be multiplied out")
                    terms[p + q] = terms.get(p + q, sp.S.Zero) + sp.expand(c * d)
        growth = {k: a.growth.get(k, sp.S.Zero) + b.growth.get(k, sp.S.Zero) for k in {*a.growth, *b.growth}}
        return Expansion(terms, error, growth)

    def _composed(self, small: Expansion, coefficients: object) -> Expansion:
        """Σ c_k wᵏ for w → 0, the c_k as an iterator, as far as they or the span go."""
        if not small.terms:
            first = next(coefficients)  # type: ignore[call-overload]
            return Expansion({sp.S.Zero: first}, small.error)
        v = min(small.terms)
        total, power = Expansion({}, sp.oo), Expansion({sp.S.Zero: sp.S.One})
        end = None  # the span is counted from the first coefficient that is not 0
        for k in count():
            if k * v >= (_FIRST if end is None else end):
                break
            c = next(coefficients, None)  # type: ignore[call-overload]
            if c is None:  # a power that is a natural number ends
                return total
            if end is None and not is_zero(c):
                end = k * v + self.span
            terms = dict(total.terms)
            for p, d in power.terms.items():
                terms[p] = terms.get(p, sp.S.Zero) + sp.expand(c * d)
            total = Expansion(terms, sp.Min(total.error, power.error))
            power = self.tidy(self.times(power, small))
            if not power.terms:
                return Expansion(total.terms, sp.Min(total.error, power.error, small.error))
        return Expansion(total.terms, sp.Min(total.error, k * v, small.error))

    def _power(self, u: Expansion, r: sp.Expr) -> Expansion:
        if not u.terms and is_flat(u.error) and r.is_positive:
            return Expansion({}, u.error)
        if not u.terms:
            raise Cancelled
        p, c = u.leading
        if not r.is_Rational:
            raise Unknown(f"the power {r} is not rational")
        if not r.is_Integer and self.sign(u) < 0:
            raise Unknown("a root of a negative number")
        front = Expansion({p * r: c**r}, sp.oo, {k: g * r for k, g in u.growth.items()})
        if len(u.terms) == 1 and u.error == sp.oo:
            return front
        rest = Expansion({q - p: d / c for q, d in u.terms.items() if q != p}, u.error - p)
        orders = range(int(r) + 1) if r.is_Integer and r > 0 else count()
        return self.times(front, self._composed(rest, (sp.binomial(r, k) for k in orders)))

    def _logarithm(self, u: Expansion) -> Expansion:
        if not u.terms:
            raise Cancelled
        p, c = u.leading
        if c.has(LOG):
            raise Unknown("a logarithm of a logarithm")
        if self.sign(u) < 0:
            raise Unknown("a logarithm of a negative number")
        rest = Expansion({q - p: d / c for q, d in u.terms.items() if q != p}, u.error - p)
        logs = (sp.S.Zero if k == 0 else sp.Rational((-1) ** (k + 1), k) for k in count())
        series = self._composed(rest, logs)
        terms = dict(series.terms)
        terms[sp.S.Zero] = terms.get(sp.S.Zero, sp.S.Zero) + sp.log(c) + p * LOG
        for k, g in u.growth.items():
            terms[k] = terms.get(k, sp.S.Zero) + g
        return Expansion(terms, series.error)

    def _exponential(self, u: Expansion) -> Expansion:
        if u.growth:
            if self.sign(u) > 0 and self.compare(u.growth, {}) > 0:
                raise Unknown("an exponential of an exponential")
            if self.compare(u.growth, {}) > 0:
                raise Unknown("an exponential of an exponential")
            return Expansion({sp.S.Zero: sp.S.One}, FLAT)
        if u.error <= 0:
            raise Cancelled
        growth = {p: c for p, c in u.terms.items() if p < 0}
        if any(c.has(LOG) for c in growth.values()):
            raise Unknown("an exponential of a logarithm times a power")
        middle = u.terms.get(sp.S.Zero, sp.S.Zero)
        power = sp.expand(middle).coeff(LOG, 1)
        constant = sp.expand(middle - power * LOG)
        if constant.has(LOG) or not power.is_Rational:
            raise Unknown("an exponential of a logarithm's power")
        rest = Expansion({p: c for p, c in u.terms.items() if p > 0}, u.error)
        series = self._composed(rest, (1 / sp.factorial(k) for k in count()))
        factor = sp.exp(constant)
        return Expansion(
            {p + power: sp.expand(c * factor) for p, c in series.terms.items()}, series.error + power, growth
        )

    def _function(self, expr: sp.Expr, u: Expansion) -> Expansion:
        if (u.growth and self.compare(u.growth, {}) > 0) or (u.terms and u.leading[0] < 0) or self._has_log(u):
            return self._at_infinity(expr, u)
        if u.growth:
            u = Expansion({}, FLAT)
        if u.error <= 0:
            raise Cancelled
        at = u.terms.get(sp.S.Zero, sp.S.Zero)
        rest = Expansion({p: c for p, c in u.terms.items() if p != 0}, u.error)
        return self._composed(rest, self._taylor(expr, at))

    def _arc(self, expr: sp.Expr, u: Expansion) -> Expansion:
        """Asin and acos, at ±1 by asin u = π/2 − 2 asin √((1 − u)/2)."""
        (inner,) = expr.args
        at = u.terms.get(sp.S.Zero, sp.S.Zero)
        if isinstance(expr, sp.acos):
            return self.expand(sp.pi / 2 - sp.asin(inner))
        if is_zero(at - 1):
            return self.expand(sp.pi / 2 - 2 * sp.asin(sp.sqrt((1 - inner) / 2)))
        if is_zero(at + 1):
            return self.expand(2 * sp.asin(sp.sqrt((1 + inner) / 2)) - sp.pi / 2)
        return self._function(expr, u)

    def _has_log(self, u: Expansion) -> bool:
        return bool(u.terms and u.leading[0] == 0 and u.leading[1].has(LOG))

    def _taylor(self, expr: sp.Expr, at: sp.Expr) -> Iterator[sp.Expr]:
        for k in count():
            value = _derivative(expr.func, k).subs(_Y, at)
            if value.has(sp.nan, sp.zoo, sp.oo, -sp.oo) or value.is_extended_real is False:
                raise Unknown(f"{expr.func.__name__} is singular at {at}")
            yield value / sp.factorial(k)

    def _at_infinity(self, expr: sp.Expr, u: Expansion) -> Expansion:
        """A function whose argument tends to ±∞: a limit that is approached faster than any power, or by the function of 1/u."""
        side = self.sign(u)
        if isinstance(expr, sp.tanh | sp.erf):
            return Expansion({sp.S.Zero: sp.Integer(side)}, self._flat(expr, u))
        if isinstance(expr, sp.erfc):
            if side < 0:
                return Expansion({sp.S.Zero: sp.Integer(2)}, FLAT)
            return self._error_tail(u)
        if isinstance(expr, sp.atan):  # ±π/2 − atan(1/u)
            if self._has_log(u):
                raise Unknown("one over a logarithm")
            inverse = self.tidy(self._power(u, sp.S.NegativeOne))
            small = sp.Dummy("w", real=True)
            arc = Expander(small, inverse, self.span).expand(sp.atan(small))
            terms = {} if arc.growth else {p: -c for p, c in arc.terms.items()}
            terms[sp.S.Zero] = terms.get(sp.S.Zero, sp.S.Zero) + side * sp.pi / 2
            return Expansion(terms, FLAT if arc.growth else arc.error)
        if isinstance(expr, sp.asinh):
            size = Expansion({p: side * c for p, c in u.terms.items()}, u.error, u.growth)
            w = sp.Dummy("w", positive=True)
            log = Expander(w, size, self.span).expand(sp.log(w + sp.sqrt(w**2 + 1)))
            return Expansion({p: side * c for p, c in log.terms.items()}, log.error, log.growth)
        if isinstance(expr, sp.erfi):  # erfi u ~ e^{u²}/(√π u) (1 + 1/(2u²) + …)
            return self._asymptotic(u, 1)
        raise Unknown(f"{expr.func.__name__} does not tend to a limit there")

    def _flat(self, expr: sp.Expr, u: Expansion) -> sp.Expr:
        """What tanh and erf lack of their limit: e^{−2u}, e^{−u²}, smaller than every power unless u grows like a logarithm."""
        if u.growth or u.leading[0] < 0:
            return FLAT
        c = u.leading[1].coeff(LOG, 1)
        return 2 * abs(c) if isinstance(expr, sp.tanh) else FLAT

    def _error_tail(self, u: Expansion) -> Expansion:
        return self._asymptotic(u, -1)

    def _asymptotic(self, u: Expansion, sign: int) -> Expansion:
        r"""Erfc (sign −1) or erfi (sign 1) of u → ∞: :math:`\pm e^{\pm u^2}/(\sqrt\pi u)\sum_k (2k-1)!!\,(\pm 2u^2)^{-k}`."""
        w = sp.Dummy("w", real=True)
        inner = Expander(w, u, self.span)
        total, steps = sp.S.Zero, int(self.span) + 1
        for k in range(steps):
            total += sp.factorial2(2 * k - 1) * (sign * 2 * w**2) ** (-k)
        series = inner.expand(total / (sp.sqrt(sp.pi) * w))
        front = self._exponential(
            self.tidy(Expansion({p: sign * c for p, c in self.times(u, u).terms.items()}, self.times(u, u).error))
        )
        return self.times(front, series)
