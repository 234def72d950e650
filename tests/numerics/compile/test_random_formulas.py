"""Random accepted formulas, compiled, against their text evaluated with hundreds of digits by other arithmetic."""

from __future__ import annotations

import random
import re
from functools import cache

import mpmath
import numpy as np
import pytest
from mpmath import mp, mpf

from derivations import parse_activation
from derivations.errors import UnsafeExpression
from derivations.symbols import state
from numerics.compile import compile_expression
from tests.derivations.activations.test_formulas import random_formula

SIZES = (1e-300, 1e-100, 1e-20, 1e-3, 0.31, 1.1, 2.7, 8.1, 20.3, 100.0, 1e4, 1e20, 1e200)
POINTS = np.array([sign * size for size in SIZES for sign in (1, -1)])
TOO_LARGE = 10**6  # of what is exponentiated: the number is no double, and mpmath would take long


def real(function):
    """A function where it is real and no number that is too long."""

    def of(u):
        if abs(u) > TOO_LARGE:
            raise ValueError
        return function(u)

    return of


def sigmoid(u):
    return 1 / (1 + real(mp.exp)(-u))


MEANING = {
    "tanh": lambda u: mp.tanh(u) if abs(u) < TOO_LARGE else mp.sign(u),
    "relu": lambda u: max(u, mpf(0)),
    "abs": abs,
    "exp": real(mp.exp),
    "sin": real(mp.sin),
    "cos": real(mp.cos),
    "atan": mp.atan,
    "sigmoid": sigmoid,
    "gelu": lambda u: u * mp.erfc(-u / mp.sqrt(2)) / 2 if abs(u) < TOO_LARGE else max(u, mpf(0)),
    "silu": lambda u: u * sigmoid(u),
    "softplus": lambda u: mp.log1p(real(mp.exp)(u)),
    "sqrt": lambda u: mp.sqrt(u) if u >= 0 else mp.nan,
    "log": lambda u: mp.log(u) if u > 0 else mp.nan,
    "erf": lambda u: mp.erf(u) if abs(u) < TOO_LARGE else mp.sign(u),
    "max": max,
    "min": min,
}


@cache  # the control asks the same
def meant(text, point):
    """The value of a text, nan where it is not real, is no double, or changes with the digits."""
    code = re.sub(r"(?<![\w.])\d+(\.\d+)?", lambda number: f"mpf('{number[0]}')", text)
    found = []
    for digits in (350, 700):
        with mp.workdps(digits):
            try:
                value = eval(code, {**MEANING, "mpf": mpf, "x": mpf(float(point))})
            except (ArithmeticError, ValueError, TypeError):
                return mp.nan
            if isinstance(value, mpmath.mpc) or not mp.isfinite(value):
                return mp.nan
            found.append(value)
    return found[1] if abs(found[0] - found[1]) <= mpf(10) ** -20 * abs(found[1]) else mp.nan


def wrong(text, values, shift=0.0):
    """Points at which a double is not the value, up to 1e-9 and what rounding the point does to it."""
    bad = []
    for point, value in zip(POINTS, values, strict=True):
        true = meant(text, point)
        if mp.isnan(true) or not mpf(10) ** -300 < abs(true) < mpf(10) ** 300:
            continue
        moved = meant(text, point * (1 + 2.0**-50))
        allowed = abs(true) / 10**9 + 10 * abs(moved - true)
        if not mp.isnan(moved) and not abs(mpf(float(value)) * (1 + shift) - true) <= allowed:
            bad.append(float(point))
    return bad


@pytest.mark.slow
def test_random_formulas_have_their_values():
    draw, seen, missed, controls = random.Random(12), 0, {}, 0
    while seen < 60:
        text = random_formula(draw)
        if not re.search(r"\bx\b", text):
            continue  # a number, or a word with a parameter
        try:
            formula = parse_activation(text).expr
        except UnsafeExpression:
            continue
        if not formula.free_symbols:
            continue
        seen += 1
        with np.errstate(all="ignore"):
            values = np.broadcast_to(compile_expression(state, formula)(POINTS), POINTS.shape)
        if bad := wrong(text, values):
            missed[text] = bad
        controls += bool(wrong(text, values, shift=1e-6))
    assert not missed
    assert controls > 50  # a millionth more is seen
