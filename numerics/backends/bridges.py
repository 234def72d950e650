r"""Between the ends, where the terms of a formula cancel, polynomials stand in for it.

:math:`\mathbb{E}\,x^6 e^{-2|x|} = p(V)\,e^{2V}\operatorname{erfc}\sqrt{2V} - q(V)\sqrt V` falls like :math:`V^{-1/2}` while its two terms grow
like :math:`V^{6}`: at :math:`V = 10` eight digits of a double are gone, at 500 all of them, and the expansion at infinity is good only further
out. A formula is tried at two points an octave against many digits. Where it is off by more than rounding its argument explains, a polynomial
through values of many digits takes its place, an octave at a time, if it meets them at further points.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import mpmath
import numpy as np
import sympy as sp
from mpmath import mp
from numpy.polynomial import chebyshev

from derivations.evaluation import TooLarge
from numerics.backends.base import real_numbers

Function = Callable[[Any], Any]
Branch = tuple[sp.Basic, sp.Expr, sp.Rational]

FIRST, LAST = -12, 40  # binary logarithms of the sizes that are tried
_ASIDE = 1.03125  # probes lie beside whole numbers, at which a formula may have a removable point
_DIGITS = (50, 120)  # of the truth, which must agree on it
_SHARE = 1e-12  # of a value, that a formula in doubles may lose
_MET = 4e-15  # of a value, to which a polynomial meets it
_ROUNDED = mpmath.mpf(2) ** -52  # the share of its argument that a double is off
_DEGREES = (12, 18, 26)
_CONTROLS = (-0.97, -0.6, -0.21, 0.13, 0.52, 0.88, 0.99)  # where it must, with the octave as [-1, 1]
_FAILS = (ArithmeticError, ValueError, TypeError, TooLarge)


def bridges(
    written: Function, truth: Function, variable: sp.Symbol, towards: int, between: tuple[int, int]
) -> list[Branch]:
    """Conditions, formulas and points at which they hold, for the octaves of one sign in which a formula loses digits.

    Parameters
    ----------
    written, truth : callable
        The function in doubles, and to mpmath's digits.
    variable : Symbol
    towards : int
        The sign of the variable.
    between : tuple of int
        Binary logarithms of the sizes beside which other formulas hold.
    """
    low, high = max(between[0], FIRST), min(between[1], LAST)
    sizes = np.array([_ASIDE * 2.0 ** (k / 2) for k in range(2 * low, 2 * high)])
    with np.errstate(all="ignore"):
        values = np.broadcast_to(real_numbers(written(towards * sizes)), sizes.shape)
    lost = [
        int(np.floor(np.log2(s))) for s, v in zip(sizes, values, strict=True) if _lost(float(v), truth, towards * s)
    ]
    if not lost:
        return []
    return list(_pieces(truth, variable, towards, range(max(min(lost) - 1, low), min(max(lost) + 2, high))))


def _lost(value: float, truth: Function, at: float) -> bool:
    """Whether a double is off by more than rounding its argument is, by digits that agree."""
    point = mpmath.mpf(float(at))
    with suppress(*_FAILS):
        with mp.workdps(_DIGITS[0]):
            first = truth(point)
            if mp.im(first) or not mp.isfinite(first) or not np.isfinite(value):
                return False
            if abs(value - first) <= _SHARE * abs(first):
                return False
        with mp.workdps(_DIGITS[1]):
            true = truth(point)
            beside = max(abs(truth(point * (1 + sign * _ROUNDED)) - true) for sign in (1, -1))
            known = abs(true - first) <= _SHARE * abs(true)
            return bool(known and abs(value - true) > max(_SHARE * abs(true), 10 * beside, 1e-300))
    return False


def _pieces(truth: Function, variable: sp.Symbol, towards: int, octaves: range) -> Iterator[Branch]:
    size = towards * variable
    for k in octaves:
        start = sp.Rational(2) ** k
        polynomial = _through(truth, float(towards * start))
        if polynomial is not None:
            formula: sp.Expr = sp.S.Zero
            for coefficient in reversed(polynomial):
                formula = sp.Float(float(coefficient), 17) + (size * 2 / start - 3) * formula
            yield sp.And(size >= start, size < 2 * start), formula, towards * start * sp.Rational(3, 2)


def _through(truth: Function, start: float) -> np.ndarray | None:
    """A polynomial on the octave from a point, as it lies on [-1, 1], in powers; None if none of these meets the truth."""

    def exactly(u: np.ndarray) -> np.ndarray:
        with mp.workdps(_DIGITS[1]):
            return np.array([float(truth(mpmath.mpf(start) * (mpmath.mpf(float(each)) + 3) / 2)) for each in u])

    with suppress(*_FAILS):
        wanted = exactly(np.array(_CONTROLS))
        for degree in _DEGREES:
            nodes = chebyshev.chebpts1(degree + 1)
            powers: np.ndarray = chebyshev.cheb2poly(chebyshev.chebfit(nodes, exactly(nodes), degree))
            found = np.polynomial.polynomial.polyval(np.array(_CONTROLS), powers)
            if np.all(np.abs(found - wanted) <= _MET * np.abs(wanted)):
                return powers
    return None
