"""Where, on the way to an end of the double range, a formula in doubles is wrong."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import mpmath
import numpy as np
import sympy as sp
from mpmath import mp

from derivations.evaluation import TooLarge
from numerics.backends.base import real_numbers
from numerics.backends.many_digits import DIGITS, Function
from numerics.backends.sides import Side, Tail

Truth = Callable[[mpmath.mpf], tuple[mpmath.mpf, Callable[[], mpmath.mpf]]]

_SHARE = 1e-11  # of a value, that a formula in doubles may lose
_LARGEST, _LEAST = mpmath.mpf(2) ** 1024, mpmath.mpf(2) ** -1021
# powers of ten; the first where exponentials of x² and of x are no doubles
_PROBES = (1.52, 2.87, 3, 4, 8, 15, 22, 30, 38, 45, 60, 75, 90, 110, 140, 153, 157, 170, 200, 240, 290, 307)
_FEW_PROBES = (8, 30, 60, 110, 153, 200, 300)  # those of sides without an expansion, on which the truth takes longer
_MANY = (60, 500)  # digits of the truth there
_ORDERS = (2, 4, 8)  # of cancellation close to 0 that digits make up for, as many as agree with those before
_FAST = (sp.exp, sp.sinh, sp.cosh)


def exact(formula: Function) -> Truth:
    """A formula in many digits as a truth that allows no error."""
    return lambda point: (formula(point), lambda: mp.zero)


def same(one: Function, other: Function, sides: list[Side]) -> bool:
    """Whether two formulas give the same doubles on these sides, or both none."""
    points = np.array([float(side.at(mp.mpf(10) ** -k)) for side in sides for k in _PROBES])
    with np.errstate(all="ignore"):
        return np.allclose(one(points), other(points), rtol=_SHARE, atol=0, equal_nan=True)


def failure(
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


def holds(written: Function, truth: Function, side: Side) -> bool:
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
        return failure(written, certain, side, sp.Rational(1, 2)) is None
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


def doubts_on(written: Function, expr: sp.Expr, truth: Function, sides: list[Side]) -> list[Tail]:
    """Nan from where on a formula fails by more than rounding its argument does, on sides without an expansion."""
    if any(node.has(*_FAST) for fast in expr.atoms(*_FAST) for node in fast.args):
        return []  # too large a number for any digits; a double is infinite or nan there
    middle = (_stable(truth, mp.mpf(c), mp.zero)[0] for c in (-2.3, -0.6, 0.6, 2.3))
    scale = max((abs(value) for value in middle if mp.isfinite(value)), default=mp.zero)
    found = []
    for side in sides:
        at = failure(written, lambda point: _stable(truth, point, scale), side, sp.Rational(1, 2), _FEW_PROBES)
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
