r"""Arithmetic of intervals, and of Taylor coefficients that are intervals.

Ends are rounded outward by mpmath's interval arithmetic; a monotone function is taken at the two ends.
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
ZERO = (libmp.fzero, libmp.fzero)
ONE = (libmp.fone, libmp.fone)

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

#: Bounds of the values, which rounding outward would leave.
_RANGE = {sp.tanh: (-1, 1), sp.erf: (-1, 1), sp.erfc: (0, 2)}


class Unsupported(ValueError):
    """A formula holds something that intervals are not known for."""


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


def constant_value(expr: sp.Expr) -> Raw:
    """An interval around a number, given as a formula."""
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
        sine, cosine = sine_cosine([over])
        return times(sine[0], inverted(cosine[0]))
    if function is sp.cosh:
        e = exponential([over])[0]
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
    found = _wider(_at(table[function], low, function), _at(table[function], high, function))
    return _within(found, *_RANGE[function]) if function in _RANGE else found


def _within(values: Raw, least: int, most: int) -> Raw:
    low, high = values
    return _larger(low, libmp.from_int(least)), _smaller(high, libmp.from_int(most))


def _larger(p: Any, q: Any) -> Any:
    return q if libmp.mpf_lt(p, q) else p


def _smaller(p: Any, q: Any) -> Any:
    return q if libmp.mpf_gt(p, q) else p


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
    inverse = inverted(e)
    value = scaled(plus(e, inverse), 1, 2)
    if contains_zero(over):
        at = [scaled(plus(p, inverted(p)), 1, 2)[1] for p in ((e[0], e[0]), (e[1], e[1]))]
        return libmp.fone, at[0] if libmp.mpf_gt(at[0], at[1]) else at[1]
    ends = [scaled(plus(p, inverted(p)), 1, 2) for p in ((e[0], e[0]), (e[1], e[1]))]
    if libmp.mpf_gt(over[0], libmp.fzero):
        return ends[0][0], ends[1][1]
    return (ends[1][0], ends[0][1]) if libmp.mpf_lt(over[1], libmp.fzero) else value


def plus(p: Raw, q: Raw) -> Raw:
    """All values of p + q."""
    total: Raw = libmp.mpi_add(p, q, PRECISION)
    return total


def times(p: Raw, q: Raw) -> Raw:
    """All values of p q, 0 where one of them is 0."""
    if p == ZERO or q == ZERO:
        return ZERO
    value: Raw = libmp.mpi_mul(p, q, PRECISION)
    return value


def inverted(p: Raw) -> Raw:
    """All values of 1/p."""
    if contains_zero(p):
        # one-sided where 0 is an end: 1/[0, b] = [1/b, ∞]
        if p[0] == libmp.fzero and p[1] != libmp.fzero:
            return libmp.mpf_div(libmp.fone, p[1], PRECISION, "f"), libmp.finf
        if p[1] == libmp.fzero and p[0] != libmp.fzero:
            return libmp.fninf, libmp.mpf_div(libmp.fone, p[0], PRECISION, "c")
        return _WHOLE
    value: Raw = libmp.mpi_div((libmp.fone, libmp.fone), p, PRECISION)
    return value


def scaled(p: Raw, numerator: int, denominator: int) -> Raw:
    """All values of p times a rational number."""
    if numerator == denominator:
        return p
    value = times(p, (libmp.from_int(numerator),) * 2)
    if denominator != 1:
        value = libmp.mpi_div(value, (libmp.from_int(denominator),) * 2, PRECISION)
    return value


def product(p: Jet, q: Jet) -> Jet:
    """Coefficients of a product."""
    found = []
    for k in range(len(p)):
        total = times(p[0], q[k])
        for j in range(1, k + 1):
            total = plus(total, times(p[j], q[k - j]))
        found.append(total)
    return found


def exponential(u: Jet) -> Jet:
    """Coefficients of e^u."""
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
    below, above = (not libmp.mpf_gt(u[0][1], libmp.fzero)), (not libmp.mpf_lt(u[0][0], libmp.fzero))
    low, high = _wider(*ends)
    found: Jet = [(_larger(low, libmp.fone) if above else low, _smaller(high, libmp.fone) if below else high)]
    for k in range(1, len(u)):
        total = ZERO
        for j in range(1, k + 1):
            total = plus(total, scaled(times(u[j], found[k - j]), j, k))
        found.append(total)
    return found


def log1p(u: Raw) -> Raw | None:
    """The values of log(1 + u), where that is defined throughout."""
    if not libmp.mpf_gt(u[0], libmp.fnone):
        return None
    return _wider(_at(mp.log1p, u[0], sp.log), _at(mp.log1p, u[1], sp.log))


def logarithm(u: Jet, value: Raw | None = None) -> Jet:
    """Coefficients of log u; its value too where that is known better."""
    low, high = u[0]
    if not libmp.mpf_gt(high, libmp.fzero):
        return [_WHOLE] * len(u)
    bottom = libmp.fninf if not libmp.mpf_gt(low, libmp.fzero) else libmp.mpf_log(low, PRECISION, "f")
    found: Jet = [value or _wider(bottom, libmp.mpf_log(high, PRECISION, "c"))]
    inverse = inverted(u[0])
    for k in range(1, len(u)):
        total = u[k]
        for j in range(1, k):
            total = libmp.mpi_sub(total, scaled(times(found[j], u[k - j]), j, k), PRECISION)
        found.append(times(total, inverse))
    return found


def power(u: Jet, exponent: sp.Expr) -> Jet:
    """Coefficients of a constant power."""
    if exponent.is_Integer and exponent >= 0:
        return _whole_power(u, int(exponent))
    if exponent.is_Integer:
        return _reciprocal(_whole_power(u, -int(exponent)))
    r = constant_value(exponent)
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
    inverse = inverted(u[0]) if libmp.mpf_gt(low, libmp.fzero) else _WHOLE
    for k in range(1, len(u)):
        total = ZERO
        for j in range(1, k + 1):  # k u₀ p_k = Σ ((r + 1) j − k) u_j p_{k−j}
            factor = plus(scaled(plus(r, (libmp.fone,) * 2), j, 1), (libmp.from_int(-k),) * 2)
            total = plus(total, times(factor, times(u[j], found[k - j])))
        found.append(times(scaled(total, 1, k), inverse))
    return found


def _real_power(end: Any, r: Raw) -> Raw:
    if end == libmp.finf:
        return (libmp.finf, libmp.finf) if libmp.mpf_gt(r[0], libmp.fzero) else ZERO
    ends = (libmp.mpf_log(end, PRECISION, "f"), libmp.mpf_log(end, PRECISION, "c"))
    return exponential([times(_wider(*ends), r)])[0]


def _whole_power(u: Jet, n: int) -> Jet:
    if n == 0:
        return [(libmp.fone, libmp.fone)] + [ZERO] * (len(u) - 1)
    found, square, left = None, u, n
    while left:
        if left & 1:
            found = square if found is None else product(found, square)
        left >>= 1
        square = product(square, square) if left else square
    assert found is not None
    return [libmp.mpi_pow_int(u[0], n, PRECISION), *found[1:]]


def _reciprocal(u: Jet) -> Jet:
    inverse = inverted(u[0])
    found: Jet = [inverse]
    for k in range(1, len(u)):
        total = ZERO
        for j in range(1, k + 1):
            total = libmp.mpi_sub(total, times(u[j], found[k - j]), PRECISION)
        found.append(times(total, inverse))
    return found


def sine_cosine(u: Jet) -> tuple[Jet, Jet]:
    """Coefficients of sin u and of cos u."""
    if max(map(_magnitude, u[0])) > 60:
        unit = (libmp.fnone, libmp.fone)
        cosine, sine = [unit], [unit]
    else:
        c, s = libmp.mpi_cos_sin(u[0], PRECISION)
        cosine, sine = [c], [s]
    for k in range(1, len(u)):
        s_total, c_total = ZERO, ZERO
        for j in range(1, k + 1):
            s_total = plus(s_total, scaled(times(u[j], cosine[k - j]), j, k))
            c_total = libmp.mpi_sub(c_total, scaled(times(u[j], sine[k - j]), j, k), PRECISION)
        sine.append(s_total)
        cosine.append(c_total)
    return sine, cosine


def absolute(u: Jet) -> Jet:
    """Coefficients of |u|."""
    side = sign(u[0])
    if side:
        return u if side > 0 else [libmp.mpi_neg(p, PRECISION) for p in u]
    top = max(mp.make_mpf(libmp.mpf_abs(end)) for end in u[0])._mpf_
    if len(u) == 1:
        return [(libmp.fzero, top)]
    return [(libmp.fzero, top), *([_WHOLE] * (len(u) - 1))]


def integrated(slope: Jet, u: Jet) -> Jet:
    """Coefficients 1, … of the function whose derivative is slope · u′."""
    found = []
    for k in range(1, len(u)):
        total = ZERO
        for j in range(1, k + 1):
            total = plus(total, scaled(times(u[j], slope[k - j]), j, k))
        found.append(total)
    return found
