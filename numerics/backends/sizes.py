r"""Whether a written formula keeps its size in doubles towards the ends of their range, by the orders of magnitude of its parts.

A cheap test before any proof: at :math:`x = \pm 2^{\pm k}` for some k up to 1020 each part has a sign, the binary logarithm of its
true size, and that of its double, which is infinite or 0 outside the range. Where a double is infinite or 0 and the number is not,
where infinity meets 0 or infinity, or where equal sizes of different signs are added, the formula may fail. Formulas with special
functions are not judged.
"""

from __future__ import annotations

from math import inf, log2
from typing import NamedTuple

import sympy as sp
from sympy.codegen.cfunctions import expm1, log1p
from sympy.codegen.numpy_nodes import logaddexp

from numerics.backends.cancelling import ErrorTail, ExponentialTail
from numerics.backends.exponentials import LogCosh
from numerics.backends.kinks import Where
from numerics.backends.variables import variables

_POWERS = (1020, 820, 600, 450, 340, 250, 180, 130, 90, 65, 45)
_MIDDLE = (
    4.7,
    5.2,
    9.7,
    10.2,
    10.7,
)  # where exponentials of x² and of x leave the range of doubles, and their roots do not
_TOP, _BOTTOM = 1024, -1022
_DIGITS = 60  # binary, beyond which a term of a sum does not count
_LN2 = 0.693
_GROWS = 11  # an exponential of what is beyond 2^11 is no double


class Fails(Exception):
    """The formula may fail."""


class Lost(Fails):
    """A double is infinite or 0 and the number is not."""


class NotJudged(Exception):
    """A function is not known here."""


class Size(NamedTuple):
    """Sign (0 if not known), binary logarithm of the size, and that of the double."""

    sign: int
    true: float
    double: float


def may_fail(expr: sp.Expr, variable: sp.Symbol) -> bool:
    """Whether a formula of one variable, as it would be printed, may go wrong far out or close to 0.

    Examples
    --------
    >>> x = sp.Symbol("x", real=True)
    >>> [may_fail(f, x) for f in (x / sp.sqrt(1 + x**2), sp.tanh(x) ** 2 * x, sp.sqrt(1 + x**2) - x)]
    [True, False, True]
    """
    try:
        for power in (p * towards for p in _POWERS for towards in (1, -1)):
            for sign in (1, -1):
                _Sizes(variable, Size(sign, power, power)).of(expr)
    except (Fails, TypeError):  # SymPy compares no formula of which it does not know that it is real
        return True
    except NotJudged:
        return False
    return any(_loses(expr, variable, Size(sign, power, power)) for power in _MIDDLE for sign in (1, -1))


def _loses(expr: sp.Expr, variable: sp.Symbol, at: Size) -> bool:
    try:
        _Sizes(variable, at).of(expr)
    except Lost:
        return True
    except (Fails, NotJudged):
        return False
    return False


class _Sizes:
    def __init__(self, variable: sp.Symbol, at: Size) -> None:
        self.variable, self.at = variable, at
        self.known: dict[sp.Expr, Size] = {}

    def of(self, expr: sp.Expr) -> Size:
        if expr not in self.known:
            self.known[expr] = _seen(self._work(expr))
        return self.known[expr]

    def _work(self, expr: sp.Expr) -> Size:
        if expr == self.variable:
            return self.at
        if not variables(expr):
            return _number(expr)
        if isinstance(expr, Where):
            if any(power.exp.has(self.variable) for power in expr.args[0].atoms(sp.Pow)):
                raise Fails  # exact numbers of as many digits as the state is large
            point = self.at.sign * sp.Integer(2) ** sp.Rational(str(self.at.true))
            try:
                holds = expr.args[0].subs(self.variable, point)
            except OverflowError as error:  # exponentials of exponentials are compared
                raise Fails from error
            if holds not in (sp.true, sp.false):
                raise Fails
            return self.of(expr.args[1] if holds == sp.true else expr.args[2])
        parts = [self.of(a) for a in expr.args]
        if expr.is_Add:
            return _sum(parts)
        if expr.is_Mul:
            return _product(parts)
        if isinstance(expr, sp.exp):
            return _exponential(parts[0])
        if expr.is_Pow:
            return _power(parts[0], expr.exp)
        if isinstance(expr, sp.Max | sp.Min | logaddexp):
            ordered = sorted(parts, key=_place)
            return _logaddexp(ordered[-1]) if isinstance(expr, logaddexp) else ordered[-isinstance(expr, sp.Max)]
        if isinstance(expr, ExponentialTail):
            return _exponential_tail(*parts)
        if type(expr) not in _FUNCTIONS:
            raise NotJudged
        return _FUNCTIONS[type(expr)](parts[0])


def _number(number: sp.Expr) -> Size:
    value = float(number)
    return Size(1 if value >= 0 else -1, *[log2(abs(value)) if value else -inf] * 2)


def _seen(size: Size) -> Size:
    """The size with its double cut to the range, refused where that is another number."""
    sign, true, double = size
    double = inf if double > _TOP else -inf if double < _BOTTOM else double
    if (double == inf and true <= _TOP) or (double == -inf and true >= _BOTTOM):
        raise Lost
    if true != true or double != double:
        raise Fails
    return Size(sign, true, double)


def _place(size: Size) -> tuple[int, float]:
    if not size.sign:
        raise Fails
    return size.sign, size.sign * size.true


def _sum(parts: list[Size]) -> Size:
    first, *others = sorted(parts, key=lambda p: -p.true)
    for other in others:
        near = first.true - other.true <= _DIGITS or first.double == other.double == inf
        if near and other.true > -inf and not first.sign * other.sign > 0:
            raise Fails
    return first


def _product(parts: list[Size]) -> Size:
    up = sum(p.double for p in parts if p.double > 0)
    down = sum(p.double for p in parts if p.double < 0)
    if up > _TOP and down < 0 and (up + down != up or down == -inf):
        if any(p.double == -inf and p.true == -inf for p in parts) and up == inf:
            raise Fails
        if up + down <= _TOP:
            raise Fails
    sign = 1
    for p in parts:
        sign *= p.sign
    return Size(sign, sum(p.true for p in parts), up + down)


def _power(base: Size, exponent: sp.Expr) -> Size:
    if not exponent.is_Rational:
        raise Fails
    e = float(exponent)
    return Size(base.sign if exponent.is_Integer and exponent % 2 else 1, base.true * e, base.double * e)


def _exponential(u: Size) -> Size:
    if u.true < -_GROWS:
        return Size(1, 0.0, 0.0)
    if not u.sign:
        raise Fails
    size = u.sign * (inf if u.true > _GROWS else 2**u.true / _LN2)
    return Size(1, size, size)


def _logarithm(u: Size) -> Size:
    if abs(u.true) < 1:
        raise Fails
    size = log2(abs(u.true) * _LN2) if abs(u.true) < inf else inf
    if u.true != u.double and abs(u.double) == inf:
        raise Lost
    return Size(1 if u.true > 0 else -1, size, size)


def _logaddexp(largest: Size) -> Size:
    if largest.sign > 0 and largest.true > 0:
        return largest
    return _exponential(largest)


def _bounded(u: Size) -> Size:
    return u if u.true < 0 else Size(u.sign, 0.0, 0.0)


def _wave(u: Size) -> Size:
    if u.double == inf:
        raise Fails
    return u if u.true < 0 else Size(0, 0.0, 0.0)


def _even_wave(u: Size) -> Size:
    if u.double == inf:
        raise Fails
    return Size(1 if u.true < -1 else 0, 0.0, 0.0)


def _slow(u: Size) -> Size:
    return u if u.true < 1 else _logarithm(u)._replace(sign=u.sign)


def _slow_and_positive(u: Size) -> Size:
    if u.true > 1 and u.sign <= 0:
        raise Fails
    return _slow(u)


def _hyperbolic(u: Size) -> Size:
    return u if u.true < 0 else _exponential(u._replace(sign=1))._replace(sign=u.sign)


def _less_one(u: Size) -> Size:
    if u.true < 0:
        return u
    return _exponential(u) if u.sign > 0 else Size(-1, 0.0, 0.0)


def _tail(u: Size) -> Size:
    if u.true < 0 or u.sign < 0:
        return Size(1, 0.0, 0.0)
    return _exponential(u._replace(sign=-1))


def _exponential_tail(exponent: Size, u: Size, rest: Size) -> Size:
    """Two exponentials to the left of 0; one of them over the place to the right."""
    if u.true > 0 and u.sign < 0:
        return _exponential(exponent)
    return _product([_exponential(rest), _power(u, sp.S.NegativeOne)]) if u.true > 0 else _exponential(rest)


_FUNCTIONS = {
    sp.tanh: _bounded,
    sp.erf: _bounded,
    sp.atan: _bounded,
    sp.sin: _wave,
    sp.cos: _even_wave,
    sp.asinh: _slow,
    sp.log: _logarithm,
    log1p: _slow_and_positive,
    sp.sinh: _hyperbolic,
    sp.erfi: _hyperbolic,
    sp.cosh: lambda u: _exponential(u._replace(sign=1)),
    expm1: _less_one,
    sp.erfc: _tail,
    ErrorTail: _tail,
    LogCosh: lambda u: Size(1, u.true, u.double) if u.true > 0 else Size(1, 2 * u.true - 1, 2 * u.true - 1),
    sp.Abs: lambda u: u._replace(sign=1),
    sp.sign: lambda u: Size(u.sign, 0.0, 0.0),
}
