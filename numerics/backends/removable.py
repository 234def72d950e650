r"""Removable points: near each, Taylor's polynomial stands in for a formula that has no value there and cancels beside it.

Only rational points matter, since floating-point numbers reach no others. Candidates are the rational zeros of denominators. Around
one, the Laurent coefficients of the formula are contour integrals over a circle, sums over its points that converge
geometrically; the point is removable where those of negative powers vanish. The polynomial is used where its last coefficients
no longer count, and only after it has met the formula, in many digits, at both ends of that interval.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import groupby
from typing import NamedTuple

import mpmath
import sympy as sp
from mpmath import mp

from derivations.evaluation import in_mpmath
from numerics.backends.kinks import Where
from numerics.backends.limits import as_quotients, may_be_singular, removable
from numerics.backends.variables import variables

_TERMS, _POINTS = 16, 64  # of the polynomial; on the circle
_DIGITS, _MANY_DIGITS = 60, 200
_FEW = 3  # points at which a formula of which all terms cancel is asked again
_RADII = tuple(mpmath.mpf(2) ** -k for k in (1, 2, 4, 6, 9))
_LARGEST = mpmath.mpf(10) ** 30  # value on a circle, for one at its centre
_BITS = 58  # of the last two coefficients, which are left out of the estimate, relative to the first
_NOT_ANALYTIC = (sp.Abs, sp.sign, sp.Max, sp.Min, sp.Heaviside, sp.Piecewise, sp.re, sp.im, sp.arg, sp.conjugate, Where)
_NO_SERIES = (sp.log, sp.exp, *_NOT_ANALYTIC[:6])
_VANISHING = (
    sp.sin,
    sp.sinh,
    sp.tan,
    sp.tanh,
    sp.asin,
    sp.asinh,
    sp.atan,
    sp.atanh,
    sp.erf,
    sp.erfi,
    sp.exp,
    sp.log,
    sp.cosh,
)


class Local(NamedTuple):
    """A formula near a removable point: Taylor's coefficients, and how far they do."""

    point: sp.Rational
    coefficients: tuple[sp.Float, ...]
    reach: sp.Float


def removable_points(expr: sp.Expr) -> sp.Expr:
    """Put Taylor's polynomial in the place of each part of one variable near the points at which that part has a limit only.

    Examples
    --------
    >>> x, y = sp.symbols("x y", real=True)
    >>> removable_points(y * sp.sin(x) / x).args[1].func, removable_points(y * sp.sin(x) / x).has(y)
    (<class 'numerics.backends.kinks.Where'>, True)
    >>> removable_points(sp.cos(x) / x) == sp.cos(x) / x
    True
    """
    expr = as_quotients(expr)
    if not may_be_singular(expr):
        return expr
    if len(variables(expr)) == 1:
        found = tuple(local for at in _candidates(expr) if (local := _local(expr, at)))
        if found:
            return _joined(expr, found)
        if isinstance(expr, sp.Expr) and expr.has(*_NO_SERIES) and not expr.has(Where):
            expr = _with_limits(expr)
    if not expr.args:
        return expr
    return expr.func(*map(removable_points, grouped(expr)))


def _with_limits(expr: sp.Expr) -> sp.Expr:
    """Limits where there is no series: at the point alone."""
    (variable,) = expr.free_symbols
    for point, value in tuple(removable(expr, variable)):
        at = sp.Eq(variable, point)
        expr = Where(at, value, expr.xreplace({variable: Where(at, point + 1, variable)}))
    return expr


def grouped(expr: sp.Expr) -> Iterator[sp.Expr]:
    """The arguments, of a sum or a product those of one variable together, if there is more than one group."""
    if not (expr.is_Add or expr.is_Mul):
        yield from expr.args
        return
    key: Callable[[sp.Expr], str] = lambda a: str(next(iter(variables(a)))) if len(variables(a)) == 1 else ""  # noqa: E731
    groups = [(name, tuple(members)) for name, members in groupby(sorted(expr.args, key=key), key)]
    for name, members in groups:
        if name and 1 < len(members) < len(expr.args):
            yield expr.func(*members)
        else:
            yield from members


def _denominators(expr: sp.Expr) -> list[sp.Expr]:
    """What is divided by and may be 0."""
    powers = expr.atoms(sp.Pow)
    bases = [p.base for p in powers if p.exp.is_negative and p.free_symbols and not p.base.is_nonzero]
    return sorted(bases, key=sp.default_sort_key)


def _candidates(expr: sp.Expr) -> tuple[sp.Rational, ...]:
    (variable,) = expr.free_symbols
    found: set[sp.Rational] = set()
    for base in _denominators(expr):
        inside = {node.args[0] for node in base.atoms(*_VANISHING)}
        for part in (*sp.Mul.make_args(sp.factor_terms(base)), *inside):
            if part.is_polynomial(variable) and all(c.is_Rational for c in sp.Poly(part, variable).coeffs()):
                if sp.degree(part, variable) <= 6:
                    found |= set(sp.Poly(part, variable).ground_roots())
            elif _vanishes(part, variable):
                found.add(sp.S.Zero)
    return tuple(sorted(found))


def _vanishes(part: sp.Expr, variable: sp.Symbol) -> bool:
    try:
        return bool(part.subs(variable, 0).is_zero)
    except (TypeError, ValueError):
        return False  # a maximum of what is no number there


@lru_cache(maxsize=512)
def _local(expr: sp.Expr, point: sp.Rational) -> Local | None:
    """Taylor's polynomial at a removable point, or None where the formula is something else there."""
    (variable,) = expr.free_symbols
    if expr.has(*_NOT_ANALYTIC) or not _has_no_value(expr, variable, point):
        return None
    try:
        function = in_mpmath(variable, expr)
        with mp.workdps(_MANY_DIGITS):  # a derivative divides by powers
            near, nearer = (function(mp.mpf(point.p) / point.q + mp.mpf(10) ** -k) for k in (18, 21))
        with mp.workdps(_DIGITS):
            at = mp.mpf(point.p) / point.q
            if abs(near - nearer) > mp.mpf(10) ** -6 * (1 + abs(nearer)):
                return None  # a pole: nothing to integrate for
            if not _is_real_beside(function, at, abs(near)):
                return None
            for radius in _RADII:
                values = _on_circle(function, at, radius, _LARGEST * (1 + abs(near)))
                if values is None:
                    return None
                if found := _taylor(function, at, radius, values):
                    return Local(point, *found)
    except (ValueError, TypeError, ZeroDivisionError, NameError, NotImplementedError, OverflowError, KeyError):
        return None  # a function that mpmath does not have, or not for complex numbers
    return None


def _is_real_beside(function: Callable[[mpmath.mpf], mpmath.mpf], at: mpmath.mpf, size: mpmath.mpf) -> bool:
    """Whether a formula is real on both sides of a point, as one with a real series is: a root of the variable has a cut there.

    A hair above the real axis, where zeros and poles on it are not met.
    """
    least = _RADII[-1]
    beside = [function(at + side * least + mp.mpc(0, 1) * least * mp.mpf(10) ** -30) for side in (-1, 1)]
    return bool(max(abs(mp.im(v)) for v in beside) <= mp.mpf(10) ** -15 * max(size, *map(abs, beside)))


def _has_no_value(expr: sp.Expr, variable: sp.Symbol, point: sp.Rational) -> bool:
    try:
        return not expr.xreplace({variable: point}).is_finite
    except (TypeError, ValueError):
        return False  # a condition, or a maximum, that compares no numbers there


def _circle() -> list[mpmath.mpc]:
    return [mp.expjpi(mp.mpf(2 * k + 1) / _POINTS) for k in range(_POINTS)]


def _on_circle(
    function: Callable[[mpmath.mpf], mpmath.mpf], at: mpmath.mpf, radius: mpmath.mpf, largest: mpmath.mpf
) -> list[mpmath.mpc] | None:
    """Values around a point; None where they grow as at an essential singularity, more the smaller the circle."""
    values = []
    for z in _circle():
        values.append(function(at + radius * z))
        if abs(values[-1]) > largest:
            return None
    return values


def _taylor(
    function: Callable[[mpmath.mpf], mpmath.mpf], at: mpmath.mpf, radius: mpmath.mpf, values: list[mpmath.mpc]
) -> tuple[tuple[sp.Float, ...], sp.Float] | None:
    circle = _circle()

    def coefficient(n: int) -> mpmath.mpf:
        return mp.fsum(value * z**-n for value, z in zip(values, circle, strict=True)) / _POINTS

    size = max(abs(v) for v in values)
    with mp.workdps(2 * _DIGITS):
        left = mp.mpf(10) ** (-_DIGITS // 2)
        if all(abs(function(at + radius * z)) <= left * abs(v) for z, v in zip(circle[:_FEW], values, strict=False)):
            return (sp.S.Zero,), sp.Float(radius, 20)  # all terms cancel, and what was left was rounding
    rounding = size * mp.mpf(10) ** -15
    negative = [abs(coefficient(-n)) for n in range(1, _TERMS)]
    scaled = [coefficient(n) for n in range(_TERMS)]
    if max(negative) > rounding or max(abs(mp.im(c)) for c in scaled) > rounding:
        return None
    real = [mp.re(c) if abs(c) > size * mp.mpf(10) ** -25 else mp.zero for c in scaled]
    first = next((k for k, c in enumerate(real) if c), None)
    if first is None:
        return None
    reach = mp.mpf(1) / 2  # of the radius
    for k, c in list(enumerate(real))[-3:]:
        if c and k > first:
            reach = min(reach, (abs(real[first] / c) * mp.mpf(2) ** -_BITS) ** (mp.one / (k - first)))
    for side in (-reach * radius, reach * radius):
        total = mp.polyval([c / radius**k for k, c in enumerate(real)][::-1], side)
        if abs(total - function(at + side)) > mp.mpf(2) ** -52 * abs(total):
            return None
    coefficients = tuple(sp.Float(c / radius**k, 20) if c else sp.S.Zero for k, c in enumerate(real))
    return coefficients, sp.Float(reach * radius, 20)


def _joined(expr: sp.Expr, found: tuple[Local, ...]) -> sp.Expr:
    (variable,) = expr.free_symbols
    for local in found:
        shifted = variable - local.point
        inside = sp.Abs(shifted) < local.reach
        polynomial = sp.S.Zero
        for coefficient in reversed(local.coefficients):
            polynomial = polynomial * shifted + coefficient
        expr = Where(inside, polynomial, expr.xreplace({variable: Where(inside, local.point + local.reach, variable)}))
    return expr
