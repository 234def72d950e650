"""A formula as a function in as many digits as mpmath is set to: the truth beside which doubles are held."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sympy as sp
from mpmath import mp

from derivations.evaluation import TooLarge
from numerics.backends.base import strict_settings
from numerics.backends.cancelling import cancelling_sums
from numerics.backends.mpmath import EXACT_NAMES, MPMATH, MpmathWriter
from numerics.backends.rewrites import stable_logarithms
from numerics.backends.sides import X

Function = Callable[[Any], Any]

DIGITS = 150
_CUT = 10**9
_LONGEST = 10_000  # binary digits of an angle before its point


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
