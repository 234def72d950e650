r"""Far out and close to 0, the expansion of a formula stands in for it where its parts overflow, underflow or cancel.

:math:`x/\sqrt{1+x^2}` is 1 at :math:`10^{200}`, but :math:`x^2` is no double there. Each part of one variable is tried at points up to
the ends of the double range on all four sides, towards :math:`\pm\infty` and towards 0 from both. The truth is the expansion
:math:`c_0 t^{p_0} + c_1 t^{p_1} + \dots` of ``derivations.piecewise``, from where it meets the formula, computed with many digits, to
double precision; an exponential that grows or decays is infinite or 0 from some point on. Where the written formula
fails, this takes its place. A side that has no expansion is tried against many digits, and becomes nan from the first
point on at which the formula fails.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

import mpmath
import numpy as np
import sympy as sp
from mpmath import mp
from sympy.printing.codeprinter import PrintMethodNotImplementedError

from derivations.calculus.size import written_size
from derivations.errors import DerivationError
from derivations.evaluation import TooLarge
from derivations.gaussian.node import GaussianMean
from derivations.piecewise.expansion import expansion_at
from derivations.piecewise.near import smooth_beside
from derivations.piecewise.terms import LOG, Expansion, Unknown, is_flat
from numerics.backends.base import real_numbers, strict_settings
from numerics.backends.bridges import FIRST, LAST, bridges
from numerics.backends.cancelling import ErrorTail, cancelling_sums, joined_terms
from numerics.backends.kinks import Where, guarded_branches
from numerics.backends.mpmath import EXACT_NAMES, MPMATH, MpmathWriter
from numerics.backends.removable import grouped, removable_points
from numerics.backends.rewrites import stable_logarithms
from numerics.backends.sizes import may_fail
from numerics.backends.variables import variables

Function = Callable[[Any], Any]
Truth = Callable[[mpmath.mpf], tuple[mpmath.mpf, Callable[[], mpmath.mpf]]]

X = sp.Symbol("x", real=True)
_MOST_OPERATIONS = 250  # of a formula that is looked at
_SPANS = (8, 16)  # powers of t that an expansion holds, the more if these have few terms
_FEW = 4
DIGITS = 150
_PRECISE = mpmath.mpf(2) ** -53  # the relative error of an expansion from where it is used on
_SHARE = 1e-11  # of a value, that a formula in doubles may lose
_LARGEST, _LEAST = mpmath.mpf(2) ** 1024, mpmath.mpf(2) ** -1021
_GONE = 1100  # a decaying exponential below 2 to the minus this is 0
_STARTS = (*range(2, 16), *range(16, 60, 4), *range(60, 600, 20))  # t = 2^-k from which an expansion is tried
_FURTHER = (0, 1, 3, 10, 20)  # and these powers of two further on
# powers of ten; the first where exponentials of x² and of x are no doubles
_PROBES = (1.52, 2.87, 3, 4, 8, 15, 22, 30, 38, 45, 60, 75, 90, 110, 140, 153, 157, 170, 200, 240, 290, 307)
_FAR = 60  # 2 to this power is far enough out for the sign of an argument that grows
_FEW_PROBES = (8, 30, 60, 110, 153, 200, 300)  # those of sides without an expansion, on which the truth takes longer
_MANY = (60, 500)  # digits of the truth there
_ORDERS = (2, 4, 8)  # of cancellation close to 0 that digits make up for, as many as agree with those before
_GONE_DIGITS = 700
_CUT = 10**9
_LONGEST = 10_000  # binary digits of an angle before its point
UNKNOWN = (DerivationError, ValueError, TypeError, ArithmeticError, NotImplementedError, RecursionError)
_OSCILLATING = (sp.sin, sp.cos, sp.tan)
_FAST = (sp.exp, sp.sinh, sp.cosh)


class Naive(Protocol):
    """A target without a look at the ends of the double range."""

    def __hash__(self) -> int: ...

    def written(self, expr: sp.Expr) -> sp.Expr:
        """The formula in the form that is printed."""

    def __call__(self, expr: sp.Expr) -> Function:
        """The function in doubles of a formula in x."""


class Side(NamedTuple):
    """One of the four ends: x is ``towards``/t at infinity and ``towards``·t at 0, with t from 0 up."""

    towards: int
    infinite: bool

    @property
    def point(self) -> sp.Expr:
        """The end itself."""
        return self.towards * sp.oo if self.infinite else sp.S.Zero

    def at(self, t: Any) -> Any:
        """The point with coordinate t."""
        return self.towards / t if self.infinite else self.towards * t

    def beyond(self, t: sp.Rational) -> sp.Basic:
        """The condition that a point lies nearer to the end than t."""
        size = self.towards * X
        return size > 1 / t if self.infinite else sp.And(size > 0, size < t)


SIDES = tuple(Side(towards, infinite) for infinite in (True, False) for towards in (1, -1))


class Tail(NamedTuple):
    """What stands in for a formula nearer to an end than t."""

    side: Side
    t: sp.Rational
    formula: sp.Expr


def safe_ends(expr: sp.Expr, naive: Naive) -> sp.Expr:
    """The formula with its limits at removable points, and with its expansions at the ends of the double range if it fails there.

    Parameters
    ----------
    expr : Expr
    naive : Naive
        The target whose functions in doubles are tried.
    """
    if isinstance(expr, GaussianMean):
        return expr  # whose value is computed in many digits, or by panels of its own
    if len(found := variables(expr)) == 1 and isinstance(expr, sp.Expr) and not expr.has(Where, GaussianMean):
        (variable,) = found
        if variable.is_extended_real and written_size(expr) <= _MOST_OPERATIONS:
            return _mended(expr.xreplace({variable: X}), naive).xreplace({X: variable})
    return _by_parts(expr, naive)


def _by_parts(expr: sp.Expr, naive: Naive) -> sp.Expr:
    """Each part on its own, but terms that cancel; in a sum or product of one variable those that do not oscillate together."""
    if expr.is_Add:
        expr = joined_terms(expr)
    parts = list(grouped(expr))
    steady = [part for part in parts if not part.has(*_OSCILLATING)]
    if (expr.is_Add or expr.is_Mul) and 1 < len(steady) < len(parts):
        parts = [*(part for part in parts if part not in steady), expr.func(*steady)]
    mended = [safe_ends(part, naive) for part in parts]
    return expr if mended == parts else expr.func(*mended)  # what is made anew SymPy may compare and factor again


@lru_cache(maxsize=1024)
def _mended(expr: sp.Expr, naive: Naive) -> sp.Expr:
    inner = removable_points(expr)
    if not may_fail(naive.written(inner), X):
        return inner
    try:
        truth, written = many_digits(expr), naive(inner)
    except (PrintMethodNotImplementedError, KeyError):
        return inner  # a function that is not known in many digits, or not in doubles either
    tails, beyond, unknown = [], [], []
    known: dict[tuple[sp.Expr, bool], list[Tail]] = {}
    for side, part in _sides(expr):
        if not side.infinite and _holds(written, truth, side):
            continue
        try:
            found = _mirrored(known.get((part, side.infinite), []), side, truth) or _tails_or_joined(part, side, truth)
            known[part, side.infinite] = found
        except UNKNOWN:
            unknown.append(side)
            continue
        if _failure(written, _exact(many_digits(found[0].formula)), side, found[0].t) is not None:
            tails.append(found[0])
            beyond += found[1:]
    doubts = _doubts(written, expr, truth, unknown)
    if doubts and inner == expr:
        by_parts = _by_parts(expr, naive)
        other = naive(by_parts)
        if by_parts != expr and _same(written, other, [side for side in SIDES if side not in {d.side for d in doubts}]):
            left = _doubts(other, expr, truth, [d.side for d in doubts])
            if sum(d.t for d in left) <= sum(d.t for d in doubts):  # holds as far out
                inner, written, doubts = by_parts, other, left
    mended = [*tails, *doubts]
    between = [piece for towards in (1, -1) for piece in bridges(written, truth, X, towards, _middle(mended, towards))]
    if not mended and not between:
        return inner
    branches = [*between, *_united(mended), *_united(beyond)]  # what is further out takes over from what is nearer
    return _joined(guarded_branches(inner), mended[0].side.at(mended[0].t) if mended else between[0][2], branches)


def _middle(mended: list[Tail], towards: int) -> tuple[int, int]:
    """Binary logarithms of the sizes between which no tail stands in."""
    here = [tail for tail in mended if tail.side.towards == towards]
    return (
        max((int(mp.ceil(mp.log(mp.mpf(t.t.p) / t.t.q, 2))) for t in here if not t.side.infinite), default=FIRST),
        min((int(mp.ceil(-mp.log(mp.mpf(t.t.p) / t.t.q, 2))) for t in here if t.side.infinite), default=LAST),
    )


def _tails_or_joined(part: sp.Expr, side: Side, truth: Function) -> list[Tail]:
    """Of the formula as it stands, or, where its leading terms cancel, with those joined that do: e^u - e^u erf v is e^u erfc v."""
    try:
        return _tails(part, side, truth)
    except UNKNOWN:
        joined = cancelling_sums(part).replace(ErrorTail, lambda u: _error_tail(u, side))
        if joined == part:
            raise
        return _tails(joined, side, truth, _SPANS[1:])  # longer: its exponentials leave the range of doubles early


def _error_tail(u: sp.Expr, side: Side) -> sp.Expr:
    """Erfc u; where SymPy would write 2 - erfc(-u), which cancels again, that of the root of u² if u is positive there."""
    if u.could_extract_minus_sign() and side.infinite and many_digits(u)(side.at(mp.mpf(2) ** -_FAR)) > 0:
        return sp.erfc(sp.sqrt(sp.expand(u**2)))
    return sp.erfc(u)


def many_digits(expr: sp.Expr) -> Function:
    """The function to mpmath's digits; what is smaller than all digits beside 1 is kept by functions of its own."""
    printer = MpmathWriter(strict_settings(EXACT_NAMES))
    names = {**MPMATH.modules(), "exp": _exponential, "logaddexp": _logaddexp, **_WAVES}
    return sp.lambdify(X, stable_logarithms(cancelling_sums(expr)), modules=[names], printer=printer, docstring_limit=0)


def _wave(function: Function) -> Function:
    def of(u: Any) -> Any:
        if mp.mag(u) > _LONGEST:
            raise TooLarge("the angle has too many digits")
        return function(u)

    return of


_WAVES = {name: _wave(getattr(mp, name)) for name in ("sin", "cos", "tan")}


def _logaddexp(u: Any, v: Any) -> Any:
    return max(u, v) + mp.log1p(_exponential(-abs(u - v)))


def _exponential(u: Any) -> Any:
    """The exponential, cut off where it decays far beyond the range of doubles; where it grows so, its logarithm may still matter."""
    if u >= _CUT:
        raise TooLarge(f"exp({u})")
    return mp.exp(u) if u > -_CUT else mp.ldexp(1, -_CUT)


def _sides(expr: sp.Expr) -> Iterator[tuple[Side, sp.Expr]]:
    """Each end with the smooth formula that holds towards it, not a number where that is not known."""
    for side in SIDES:
        try:
            yield side, smooth_beside(expr, X, side.point, side.towards)
        except UNKNOWN:
            yield side, sp.nan


def _tails(part: sp.Expr, side: Side, truth: Function, spans: tuple[int, ...] = _SPANS[:1]) -> list[Tail]:
    """The expansion towards an end, and from where it holds; a constant is its own. An exponential is 0 or infinite further out."""
    if part.is_number and part is not sp.nan:
        return [meets(part, side, truth)]
    found = expansion_at(part, X, side.point, side.towards, spans)
    if len(found.terms) < _FEW and not is_flat(found.error) and not found.growth:
        found = expansion_at(part, X, side.point, side.towards, _SPANS[1:])
    if found.terms and not found.growth:
        return [meets(written_expansion(found, side), side, truth)]
    last = _beyond_doubles(found, side, truth)
    if found.terms:
        with suppress(Unknown):
            first = meets(
                written_expansion(found, side) * sp.exp(written_expansion(Expansion(found.growth), side)), side, truth
            )
            return [first, last] if first.t > last.t else [last]
    return [last]


def _mirrored(found: list[Tail], side: Side, truth: Function) -> list[Tail]:
    """The expansion of the same formula from the other side, if it holds on this one as far, as one in whole powers does.

    Of x² + 1/(1 + e^{-x}) both sides have terms of their own: far enough out the first alone counts, and it is the same.
    """
    if len(found) != 1 or not found[0].formula.is_rational_function(X):
        return []
    try:
        here = meets(found[0].formula, side, truth)
    except UNKNOWN:
        return []
    return [here] if here.t >= found[0].t else []


def meets(formula: sp.Expr, side: Side, truth: Function) -> Tail:
    """A formula from where it meets the truth on."""
    value = many_digits(formula)
    with mp.workdps(DIGITS):
        for start in _STARTS:
            t = mp.mpf(2) ** -start
            met = False
            with suppress(TooLarge):  # what cannot be computed further out is no double there
                for k in _FURTHER:
                    met = _close(value, truth, side.at(t / 2**k))
                    if not met:
                        break
            if met:
                return Tail(side, sp.Rational(1, 2**start), formula)
    raise Unknown("the expansion is not met")


def _close(value: Function, truth: Function, at: mpmath.mpf) -> bool:
    true, here = truth(at), value(at)
    if true != 0 and abs(mp.mag(true)) > _GONE:  # no double, of which the sign and the size matter
        return bool(here * true > 0 and (mp.mag(here) > _GONE) == (mp.mag(true) > _GONE) and abs(mp.mag(here)) > _GONE)
    return bool(abs(here - true) <= _PRECISE * abs(true))


def _beyond_doubles(found: Expansion, side: Side, truth: Function) -> Tail:
    """0 or infinity from where an exponential leaves the range of doubles; without terms the formula falls faster than any power."""
    grows = bool(found.growth) and sp.sympify(found.growth[min(found.growth)]).is_positive
    with mp.workdps(_GONE_DIGITS):
        for start in range(2, 1000):
            size = truth(side.at(mp.mpf(2) ** -start))
            if size == 0 or (mp.mag(size) > _GONE if grows else mp.mag(size) < -_GONE):
                return Tail(side, sp.Rational(1, 2**start), sp.oo * int(mp.sign(size)) if grows else sp.S.Zero)
    raise Unknown("an exponential that does not leave the range of doubles")


def written_expansion(found: Expansion, side: Side) -> sp.Expr:
    """The expansion as a formula in x: a power times a polynomial in another, by Horner's rule."""
    powers = sorted(found.terms)
    whole = all(p.is_Integer for p in powers)
    size = X if whole else side.towards * X  # whole powers keep the sign, so that both sides may be one formula
    power = (lambda p: size**-p) if side.infinite else (lambda p: size**p)
    log = {LOG: (-1 if side.infinite else 1) * sp.log(side.towards * X)}
    total: sp.Expr = sp.S.Zero
    for p, following in reversed(list(zip(powers, [*powers[1:], None], strict=True))):
        coefficient = sp.sympify(found.terms[p]) * (sp.Integer(side.towards) ** p if whole else 1)
        coefficient = coefficient if coefficient.is_Rational else coefficient.evalf(40).xreplace(log)
        total = coefficient + (power(following - p) * total if following is not None else 0)
    return power(powers[0]) * total


def _exact(formula: Function) -> Truth:
    return lambda point: (formula(point), lambda: mp.zero)


def _same(one: Function, other: Function, sides: list[Side]) -> bool:
    """Whether two formulas give the same doubles on these sides, or both none."""
    points = np.array([float(side.at(mp.mpf(10) ** -k)) for side in sides for k in _PROBES])
    with np.errstate(all="ignore"):
        return np.allclose(one(points), other(points), rtol=_SHARE, atol=0, equal_nan=True)


def _failure(
    written: Function, truth: Truth, side: Side, t: sp.Rational, probes: tuple[float, ...] = _PROBES
) -> mpmath.mpf | None:
    """The coordinate of the last point, on the way from t to an end, before a formula in doubles is wrong; None if it never is."""
    edge = mp.mpf(t.p) / t.q
    coordinates = [edge * mp.mpf(0.75), *(mp.mpf(10) ** -k for k in probes if mp.mpf(10) ** -k < edge)]
    points = np.array([float(side.at(c)) for c in coordinates])
    with np.errstate(all="ignore"):
        values = np.broadcast_to(real_numbers(written(points)), points.shape)
    with mp.workdps(DIGITS):
        for before, here, point, value in zip([edge, *coordinates], coordinates, points, values, strict=False):
            try:
                agrees = _agrees(float(value), *truth(mp.mpf(float(point))))
            except TooLarge:
                break
            if not agrees:
                return _last_good(written, truth, side, before, here)
    return None


def _holds(written: Function, truth: Function, side: Side) -> bool:
    """Whether a formula in doubles is right all the way to 0, by many digits alone: an expansion takes longer."""

    def certain(point: mpmath.mpf) -> tuple[mpmath.mpf, Callable[[], mpmath.mpf]]:
        before = mp.zero
        for orders in _ORDERS:
            value = mp.zero  # where an exponential is too large
            with mp.workdps(_MANY[0] - orders * int(mp.log10(abs(point)))), suppress(TooLarge):
                value = truth(point)
            if mp.im(value):
                break
            value = mp.re(value)  # roots make complex numbers of real ones
            # what cancels to an order beyond these digits leaves 0, or noise
            if before and value and abs(before - value) <= _SHARE * abs(value):
                return value, lambda: mp.zero
            before = value
        raise ArithmeticError  # not known by these digits

    try:
        return _failure(written, certain, side, sp.Rational(1, 2)) is None
    except (ArithmeticError, ValueError, TypeError):
        return False


def _last_good(written: Function, truth: Truth, side: Side, good: mpmath.mpf, bad: mpmath.mpf) -> mpmath.mpf:
    """By bisection on a logarithmic scale: probes lie many powers of ten apart, and a formula fails somewhere between two."""
    while bad < good / 2:
        middle = mp.sqrt(bad * good)
        point = float(side.at(middle))
        with np.errstate(all="ignore"):
            value = float(np.asarray(written(np.array([point]))).ravel()[0])
        good, bad = (middle, bad) if _agrees(value, *truth(mp.mpf(point))) else (good, middle)
    return good


def _agrees(value: float, true: mpmath.mpf, allowed: Callable[[], mpmath.mpf]) -> bool:
    """Whether a double is a number up to its rounding, and infinite or 0 where that is beyond the range of doubles."""
    if not mp.isfinite(true):
        return bool(mp.isnan(true)) or value == float(true)
    if abs(true) * (1 + _SHARE) >= _LARGEST:
        return bool(value * mp.sign(true) >= float(_LARGEST / 2 * (1 - mp.mpf(2) ** -50)))
    missed = abs(value - true) if np.isfinite(value) else mp.inf
    return bool(missed <= max(_SHARE * abs(true), _LEAST) or missed <= allowed())


def _doubts(written: Function, expr: sp.Expr, truth: Function, sides: list[Side]) -> list[Tail]:
    """Nan from where on a formula fails by more than rounding its argument does, on sides without an expansion."""
    if any(node.has(*_FAST) for fast in expr.atoms(*_FAST) for node in fast.args):
        return []  # too large a number for any digits; a double is infinite or nan there
    middle = (_stable(truth, mp.mpf(c), mp.zero)[0] for c in (-2.3, -0.6, 0.6, 2.3))
    scale = max((abs(value) for value in middle if mp.isfinite(value)), default=mp.zero)
    found = []
    for side in sides:
        at = _failure(written, lambda point: _stable(truth, point, scale), side, sp.Rational(1, 2), _FEW_PROBES)
        if at is not None:
            found.append(Tail(side, sp.Rational(float(at)), sp.nan))
    return found


def _stable(truth: Function, point: mpmath.mpf, scale: mpmath.mpf) -> tuple[mpmath.mpf, Callable[[], mpmath.mpf]]:
    """A value on which two numbers of digits agree, and how far it may be missed: what rounding does to the point and to sums."""
    before = mp.nan
    for digits in _MANY:
        with mp.workdps(digits):
            try:
                value = truth(point)
            except (ArithmeticError, ValueError, TypeError):
                break
            if mp.im(value) != 0:  # outside the domain, where a double is nan without help
                break
            value = mp.re(value)
            if not mp.isfinite(value) or abs(value - before) <= _SHARE * abs(value):
                return value, lambda true=value: 10 * abs(truth(point * (1 + mp.mpf(2) ** -50)) - true) + _SHARE * scale
            before = value
    return mp.nan, lambda: mp.zero


def _united(tails: list[Tail]) -> list[tuple[sp.Basic, sp.Expr, sp.Rational]]:
    """Conditions, formulas, and points at which they hold; one formula on both sides from the same distance, up to its sign, is one branch."""
    left, found = list(tails), []
    while left:
        tail = left.pop(0)
        condition, formula, t = tail.side.beyond(tail.t), tail.formula, tail.t
        for other in left:
            same = other.formula == formula
            alike = other.side.infinite == tail.side.infinite and other.t == t
            if alike and (same or sp.expand(other.formula + formula) == 0):
                left.remove(other)
                size = sp.Abs(X)
                condition = size > 1 / t if tail.side.infinite else sp.And(size > 0, size < t)
                formula = formula if same else tail.side.towards * sp.sign(X) * formula
                break
        found.append((condition, formula, tail.side.at(t / 2)))
    return found


def _joined(inner: sp.Expr, edge: sp.Rational, branches: list[tuple[sp.Basic, sp.Expr, sp.Rational]]) -> sp.Expr:
    """Each branch computed at its own points only, and the formula at an edge where it is not used."""
    anywhere = sp.Or(*(condition for condition, _, _ in branches))
    inner = inner.xreplace({X: Where(anywhere, edge, X)})
    for condition, formula, inside in branches:
        inner = Where(condition, formula.xreplace({X: Where(condition, X, inside)}), inner)
    return inner
