r"""Intervals that hold the values of a formula, and of its Taylor coefficients, over an interval of arguments.

Ends are rounded outward by mpmath's interval arithmetic; a monotone function is taken at the two ends. So
:math:`0 \notin F([a, b])` proves that f has no zero in [a, b], and :math:`0 \notin F'([a, b])` that it has at most one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import sympy as sp
from mpmath import libmp, mp

from derivations.errors import brief

PRECISION = 60  # bits
_HUGE = 400  # a binary exponent beyond which exp is not worked out: e^(2^400) counts as infinite
_WHOLE = (libmp.fninf, libmp.finf)
_ZERO = (libmp.fzero, libmp.fzero)
_ONE = (libmp.fone, libmp.fone)

#: A pair of mpmath's raw numbers.
Raw: TypeAlias = tuple[Any, Any]
#: Intervals of the Taylor coefficients f, f′, f″/2, …
Jet: TypeAlias = list[Raw]

_INCREASING: dict[Any, Callable[[Any], Any]] = {
    sp.tanh: mp.tanh,
    sp.sinh: mp.sinh,
    sp.asinh: mp.asinh,
    sp.atan: mp.atan,
    sp.erf: mp.erf,
    sp.erfi: mp.erfi,
    sp.asin: mp.asin,
    sp.atanh: mp.atanh,
    sp.acosh: mp.acosh,
}
_DECREASING: dict[Any, Callable[[Any], Any]] = {sp.erfc: mp.erfc, sp.acos: mp.acos}
#: Where a function of the tables above is a real number, if not everywhere.
_DEFINED = {sp.asin: (-1, 1), sp.acos: (-1, 1), sp.atanh: (-1, 1), sp.acosh: (1, None)}


class Unsupported(ValueError):
    """A formula holds something that intervals are not known for."""


class Spent(ValueError):
    """The budget of operations is used up."""


class Budget:
    """How many interval operations a search may still make; the same formula always spends the same."""

    def __init__(self, operations: int) -> None:
        self.left = operations

    def spend(self, operations: int) -> None:
        """Count operations down.

        Raises
        ------
        Spent
            If there are no more.
        """
        self.left -= operations
        if self.left < 0:
            raise Spent("the budget of interval operations is used up")


class IntervalFunction:
    """Taylor coefficients of a formula over intervals, node by node, each node once.

    Examples
    --------
    >>> x = sp.Symbol("x", real=True)
    >>> f = IntervalFunction(x**2 + 1, x)
    >>> contains_zero(f.jet(raw(-1, 2), 0)[0])
    False
    """

    def __init__(self, expr: sp.Expr, variable: sp.Symbol, budget: Budget | None = None) -> None:
        self.variable, self.expr = variable, expr
        self.budget = budget or Budget(10**9)
        self._rules: dict[tuple[Any, int], sp.Expr] = {}
        self._constants: dict[sp.Expr, Raw] = {}
        self._memo: dict[sp.Expr, Jet] = {}

    def jet(self, over: Raw, order: int) -> Jet:
        """Intervals of the coefficients 0, …, order over an interval of arguments."""
        self._memo = {}
        argument = [over, (libmp.fone, libmp.fone)] + [_ZERO] * order
        self._argument = argument
        return self._series(self.expr, order)

    def _series(self, expr: sp.Expr, n: int) -> Jet:
        known = self._memo.get(expr)
        if known is not None and len(known) > n:
            return known[: n + 1]
        found = self._work(expr, n)
        self._memo[expr] = found
        return found

    def _work(self, expr: sp.Expr, n: int) -> Jet:
        if expr == self.variable:
            return self._argument[: n + 1]
        if not expr.has(self.variable):
            if expr not in self._constants:
                self._constants[expr] = _constant(expr)
            return [self._constants[expr]] + [_ZERO] * n
        self.budget.spend((n + 1) ** 2)
        if expr.is_Add:
            parts = [self._series(a, n) for a in expr.args]
            total = parts[0]
            for part in parts[1:]:
                total = [libmp.mpi_add(p, q, PRECISION) for p, q in zip(total, part, strict=True)]
            tail = self._tail(expr)
            return total if tail is None else [tail, *total[1:]]
        if expr.is_Mul:
            value = self._series(expr.args[0], n)
            for a in expr.args[1:]:
                value = product(value, self._series(a, n))
            return value
        if isinstance(expr, sp.exp):
            return _exponential(self._series(expr.args[0], n))
        if expr.is_Pow:
            base, exponent = expr.args
            if exponent.has(self.variable):
                return self._series(sp.exp(exponent * sp.log(base), evaluate=False), n)
            return _power(self._series(base, n), exponent)
        if isinstance(expr, sp.log):
            constant, rest = expr.args[0].as_coeff_Add()
            if constant == 1:  # what is smaller than the rounding of 1 + u is kept
                inner = self._series(rest, n)
                return _logarithm([_plus(_ONE, inner[0]), *inner[1:]], _log1p(inner[0]))
            return _logarithm(self._series(expr.args[0], n))
        if isinstance(expr, sp.sin | sp.cos):
            sine, cosine = _sine_cosine(self._series(expr.args[0], n))
            return sine if isinstance(expr, sp.sin) else cosine
        if isinstance(expr, sp.Abs):
            return _absolute(self._series(expr.args[0], n))
        if isinstance(expr, sp.Function) and len(expr.args) == 1:
            return self._function(expr, n)
        raise Unsupported(f"intervals are not known for {expr.func.__name__}")

    def _tail(self, expr: sp.Add) -> Raw | None:
        """The values of c (1 ± erf u) and c (1 ± tanh u), without the rounding of the sum."""
        constant, term = expr.as_coeff_Add()
        coefficient, function = term.as_coeff_Mul()
        if not isinstance(function, sp.erf | sp.tanh) or constant == 0 or abs(coefficient) != abs(constant):
            return None
        (u,) = self._series(function.args[0], 0)
        against = u if coefficient != constant else libmp.mpi_neg(u, PRECISION)
        if isinstance(function, sp.erf):
            value = function_value(sp.erfc, against)
        else:  # 1 + tanh u = 2/(1 + e^{−2u})
            value = _scale(_inverse(_plus(_ONE, _exponential([_scale(against, 2, 1)])[0])), 2, 1)
        return _times(value, _constant(constant))

    def _function(self, expr: sp.Expr, n: int) -> Jet:
        """f(u) with the coefficients from f(u)′ = f′(u) u′, f′ as SymPy writes it."""
        (inner,) = expr.args
        u = self._series(inner, n)
        found = [function_value(expr.func, u[0])]
        if n == 0:
            return found
        slope = self._series(expr.fdiff(), n - 1)
        return found + _integrated(slope, u)


def _integrated(slope: Jet, u: Jet) -> Jet:
    """Coefficients 1, … of the function whose derivative is slope · u′."""
    found = []
    for k in range(1, len(u)):
        total = _ZERO
        for j in range(1, k + 1):
            total = _plus(total, _scale(_times(u[j], slope[k - j]), j, k))
        found.append(total)
    return found


def raw(low: Any, high: Any) -> Raw:
    """An interval around two numbers, rational or infinite."""
    return _end(low, "f"), _end(high, "c")


def _end(number: Any, rounding: str) -> Any:
    number = sp.sympify(number)
    if number in (sp.oo, -sp.oo):
        return libmp.finf if number == sp.oo else libmp.fninf
    return libmp.from_rational(int(number.p), int(number.q), PRECISION, rounding)


def contains_zero(interval: Raw) -> bool:
    """Whether 0 may be among the values."""
    low, high = interval
    return not (libmp.mpf_gt(low, libmp.fzero) or libmp.mpf_lt(high, libmp.fzero))


def sign(interval: Raw) -> int:
    """1 or −1 where all values have that sign, else 0."""
    return 0 if contains_zero(interval) else 1 if libmp.mpf_gt(interval[0], libmp.fzero) else -1


def _wider(low: Any, high: Any) -> Raw:
    """Ends moved outward by more than the rounding error of mpmath's functions."""
    return _nudged(low, -1), _nudged(high, 1)


def _nudged(end: Any, towards: int) -> Any:
    if end in (libmp.finf, libmp.fninf, libmp.fzero):
        return end
    size = libmp.mpf_shift(libmp.mpf_abs(end), 4 - PRECISION)
    return libmp.mpf_add(end, size if towards > 0 else libmp.mpf_neg(size), PRECISION, "c" if towards > 0 else "f")


def _constant(expr: sp.Expr) -> Raw:
    if expr.is_Rational:
        return raw(expr, expr)
    if expr in (sp.oo, -sp.oo):
        return raw(expr, expr)
    try:
        value = expr.evalf(25)._to_mpmath(PRECISION + 20)
    except (AttributeError, ValueError, TypeError) as error:
        raise Unsupported(f"{brief(expr)} is no real number") from error
    if not isinstance(value, mp.mpf):
        raise Unsupported(f"{brief(expr)} is no real number")
    return _wider(value._mpf_, value._mpf_)


def function_value(function: Any, over: Raw) -> Raw:
    """The values of an elementary function over an interval."""
    low, high = over
    if function is sp.tan:
        sine, cosine = _sine_cosine([over])
        return _times(sine[0], _inverse(cosine[0]))
    if function is sp.cosh:
        e = _exponential([over])[0]
        return _cosh(over, e)
    table, falls = (_INCREASING, False) if function in _INCREASING else (_DECREASING, True)
    if function not in table:
        raise Unsupported(f"intervals are not known for {function.__name__}")
    if function in _DEFINED:
        least, most = _DEFINED[function]
        if libmp.mpf_lt(low, libmp.from_int(least)) or (most is not None and libmp.mpf_gt(high, libmp.from_int(most))):
            return _WHOLE
    if falls:
        low, high = high, low
    return _wider(_at(table[function], low, function), _at(table[function], high, function))


def _at(call: Callable[[Any], Any], end: Any, function: Any) -> Any:
    if _magnitude(end) > _HUGE and function in (sp.sinh, sp.erfi, sp.erfc):
        positive = libmp.mpf_gt(end, libmp.fzero)
        if function is sp.erfc:
            return libmp.fzero if positive else libmp.from_int(2)
        return libmp.finf if positive else libmp.fninf
    if _magnitude(end) > _HUGE and function in (sp.tanh, sp.erf):
        return libmp.fone if libmp.mpf_gt(end, libmp.fzero) else libmp.fnone
    with mp.workprec(PRECISION + 10):
        value = call(mp.make_mpf(end))
    return value._mpf_ if isinstance(value, mp.mpf) else libmp.fnan


def _magnitude(end: Any) -> int:
    if end in (libmp.finf, libmp.fninf):
        return _HUGE + 1
    return int(end[2] + end[3]) if end != libmp.fzero else 0


def _cosh(over: Raw, e: Raw) -> Raw:
    inverse = _inverse(e)
    value = _scale(_plus(e, inverse), 1, 2)
    if contains_zero(over):
        at = [_scale(_plus(p, _inverse(p)), 1, 2)[1] for p in ((e[0], e[0]), (e[1], e[1]))]
        return libmp.fone, at[0] if libmp.mpf_gt(at[0], at[1]) else at[1]
    ends = [_scale(_plus(p, _inverse(p)), 1, 2) for p in ((e[0], e[0]), (e[1], e[1]))]
    if libmp.mpf_gt(over[0], libmp.fzero):
        return ends[0][0], ends[1][1]
    return (ends[1][0], ends[0][1]) if libmp.mpf_lt(over[1], libmp.fzero) else value


def _plus(p: Raw, q: Raw) -> Raw:
    total: Raw = libmp.mpi_add(p, q, PRECISION)
    return total


def _times(p: Raw, q: Raw) -> Raw:
    if p == _ZERO or q == _ZERO:
        return _ZERO
    value: Raw = libmp.mpi_mul(p, q, PRECISION)
    return value


def _inverse(p: Raw) -> Raw:
    if contains_zero(p):
        # one-sided where 0 is an end: 1/[0, b] = [1/b, ∞]
        if p[0] == libmp.fzero and p[1] != libmp.fzero:
            return libmp.mpf_div(libmp.fone, p[1], PRECISION, "f"), libmp.finf
        if p[1] == libmp.fzero and p[0] != libmp.fzero:
            return libmp.fninf, libmp.mpf_div(libmp.fone, p[0], PRECISION, "c")
        return _WHOLE
    value: Raw = libmp.mpi_div((libmp.fone, libmp.fone), p, PRECISION)
    return value


def _scale(p: Raw, numerator: int, denominator: int) -> Raw:
    if numerator == denominator:
        return p
    value = _times(p, (libmp.from_int(numerator),) * 2)
    if denominator != 1:
        value = libmp.mpi_div(value, (libmp.from_int(denominator),) * 2, PRECISION)
    return value


def product(p: Jet, q: Jet) -> Jet:
    """Coefficients of a product."""
    found = []
    for k in range(len(p)):
        total = _times(p[0], q[k])
        for j in range(1, k + 1):
            total = _plus(total, _times(p[j], q[k - j]))
        found.append(total)
    return found


def _exponential(u: Jet) -> Jet:
    ends = []
    for end, rounding in ((u[0][0], "f"), (u[0][1], "c")):
        if _magnitude(end) > _HUGE:
            positive = libmp.mpf_gt(end, libmp.fzero)
            # beyond e^(±2^400) only one side is known
            large, small = libmp.mpf_shift(libmp.fone, 10**6), libmp.mpf_shift(libmp.fone, -(10**6))
            if rounding == "f":
                ends.append(large if positive else libmp.fzero)
            else:
                ends.append(libmp.finf if positive else small)
        else:
            ends.append(libmp.mpf_exp(end, PRECISION, rounding))
    found: Jet = [_wider(*ends)]
    for k in range(1, len(u)):
        total = _ZERO
        for j in range(1, k + 1):
            total = _plus(total, _scale(_times(u[j], found[k - j]), j, k))
        found.append(total)
    return found


def _log1p(u: Raw) -> Raw | None:
    """The values of log(1 + u), where that is defined throughout."""
    if not libmp.mpf_gt(u[0], libmp.fnone):
        return None
    return _wider(_at(mp.log1p, u[0], sp.log), _at(mp.log1p, u[1], sp.log))


def _logarithm(u: Jet, value: Raw | None = None) -> Jet:
    low, high = u[0]
    if not libmp.mpf_gt(high, libmp.fzero):
        return [_WHOLE] * len(u)
    bottom = libmp.fninf if not libmp.mpf_gt(low, libmp.fzero) else libmp.mpf_log(low, PRECISION, "f")
    found: Jet = [value or _wider(bottom, libmp.mpf_log(high, PRECISION, "c"))]
    inverse = _inverse(u[0])
    for k in range(1, len(u)):
        total = u[k]
        for j in range(1, k):
            total = libmp.mpi_sub(total, _scale(_times(found[j], u[k - j]), j, k), PRECISION)
        found.append(_times(total, inverse))
    return found


def _power(u: Jet, exponent: sp.Expr) -> Jet:
    if exponent.is_Integer and exponent >= 0:
        return _whole_power(u, int(exponent))
    if exponent.is_Integer:
        return _reciprocal(_whole_power(u, -int(exponent)))
    r = _constant(exponent)
    low, high = u[0]
    if libmp.mpf_lt(high, libmp.fzero):
        return [_WHOLE] * len(u)
    at = [libmp.fzero if not libmp.mpf_gt(end, libmp.fzero) else _real_power(end, r) for end in (low, high)]
    found: Jet
    if exponent.is_positive:
        found = [(at[0] if at[0] == libmp.fzero else at[0][0], at[1] if at[1] == libmp.fzero else at[1][1])]
    else:
        top = libmp.finf if at[0] == libmp.fzero else at[0][1]
        found = [(libmp.fzero if at[1] == libmp.fzero else at[1][0], top)]
    inverse = _inverse(u[0]) if libmp.mpf_gt(low, libmp.fzero) else _WHOLE
    for k in range(1, len(u)):
        total = _ZERO
        for j in range(1, k + 1):  # k u₀ p_k = Σ ((r + 1) j − k) u_j p_{k−j}
            factor = _plus(_scale(_plus(r, (libmp.fone,) * 2), j, 1), (libmp.from_int(-k),) * 2)
            total = _plus(total, _times(factor, _times(u[j], found[k - j])))
        found.append(_times(_scale(total, 1, k), inverse))
    return found


def _real_power(end: Any, r: Raw) -> Raw:
    if end == libmp.finf:
        return (libmp.finf, libmp.finf) if libmp.mpf_gt(r[0], libmp.fzero) else _ZERO
    logarithm = (libmp.mpf_log(end, PRECISION, "f"), libmp.mpf_log(end, PRECISION, "c"))
    return _exponential([_times(_wider(*logarithm), r)])[0]


def _whole_power(u: Jet, n: int) -> Jet:
    if n == 0:
        return [(libmp.fone, libmp.fone)] + [_ZERO] * (len(u) - 1)
    found, square, left = None, u, n
    while left:
        if left & 1:
            found = square if found is None else product(found, square)
        left >>= 1
        square = product(square, square) if left else square
    assert found is not None
    return [libmp.mpi_pow_int(u[0], n, PRECISION), *found[1:]]


def _reciprocal(u: Jet) -> Jet:
    inverse = _inverse(u[0])
    found: Jet = [inverse]
    for k in range(1, len(u)):
        total = _ZERO
        for j in range(1, k + 1):
            total = libmp.mpi_sub(total, _times(u[j], found[k - j]), PRECISION)
        found.append(_times(total, inverse))
    return found


def _sine_cosine(u: Jet) -> tuple[Jet, Jet]:
    if max(map(_magnitude, u[0])) > 60:
        unit = (libmp.fnone, libmp.fone)
        cosine, sine = [unit], [unit]
    else:
        c, s = libmp.mpi_cos_sin(u[0], PRECISION)
        cosine, sine = [c], [s]
    for k in range(1, len(u)):
        s_total, c_total = _ZERO, _ZERO
        for j in range(1, k + 1):
            s_total = _plus(s_total, _scale(_times(u[j], cosine[k - j]), j, k))
            c_total = libmp.mpi_sub(c_total, _scale(_times(u[j], sine[k - j]), j, k), PRECISION)
        sine.append(s_total)
        cosine.append(c_total)
    return sine, cosine


def _absolute(u: Jet) -> Jet:
    side = sign(u[0])
    if side:
        return u if side > 0 else [libmp.mpi_neg(p, PRECISION) for p in u]
    top = max(mp.make_mpf(libmp.mpf_abs(end)) for end in u[0])._mpf_
    if len(u) == 1:
        return [(libmp.fzero, top)]
    return [(libmp.fzero, top), *([_WHOLE] * (len(u) - 1))]
