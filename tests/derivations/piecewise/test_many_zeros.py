"""Zeros of waves by intervals: where values cancel far out, and what one zero costs."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
import sympy as sp

from derivations.piecewise import solving
from derivations.piecewise.interval import IntervalFunction
from derivations.piecewise.isolate import isolated_zeros
from derivations.piecewise.jets import contains_zero, raw
from derivations.piecewise.root import IsolatedRoot, _between
from derivations.piecewise.solving import WINDOW, zeros

X = sp.Symbol("x", real=True)
GELU = X * sp.erf(X / sp.sqrt(2)) / 2 + X / 2


def test_terms_that_cancel_beside_an_error_function_are_kept_apart():
    """x Φ(x) written out reached over 0 far on the left, on which a search spent all its operations."""
    over = raw(sp.Integer(-30), sp.Integer(-29))
    value = IntervalFunction(GELU, X).jet(over, 0)[0]
    exact = [mpmath.mpf(x) * mpmath.ncdf(x) for x in (-30, -29)]
    low, high = (mpmath.mpf(end) for end in map(mpmath.mp.make_mpf, value))
    assert not contains_zero(value)
    assert low <= min(exact)
    assert max(exact) <= high
    assert contains_zero(IntervalFunction(GELU + X / 1000 - X / 1001 - X, X).jet(raw(-1, 1), 0)[0])  # has a zero


@pytest.mark.parametrize(
    "function",
    [
        pytest.param(sp.exp(-X) * sp.sin(GELU) - sp.tanh(1), marks=pytest.mark.slow),
        X * sp.tanh(X) + X + sp.Rational(1, 5),
    ],
)
def test_zeros_left_of_0_are_all_found(function):
    """By signs at 100,000 points between −32 and 0."""
    found = zeros(function, X, -sp.oo, sp.S.Zero).zeros
    with mpmath.workdps(40):
        compiled = sp.lambdify(X, function, "mpmath")
        signs = np.array([float(mpmath.sign(compiled(mpmath.mpf(-k) / 500))) for k in range(1, 16_000)])
    changes = np.flatnonzero(signs[1:] != signs[:-1])
    assert len(found) == len(changes)
    for root, k in zip(found, sorted(-(changes + 1) / 500), strict=True):
        assert -0.002 <= float(root) - k <= 0


def test_a_window_with_many_zeros_is_searched_once(monkeypatch):
    """The whole line was searched first, twice, and given up each time."""
    searched = []

    def counted(function, x, left, right, *rest, **named):
        searched.append((left, right))
        return isolated_zeros(function, x, left, right, *rest, **named)

    monkeypatch.setattr(solving, "isolated_zeros", counted)
    found = zeros(sp.cos(X**2 + sp.Rational(1, 7)), X)
    assert searched == [(-WINDOW, WINDOW)]
    nearest = min(found.zeros, key=lambda z: abs(float(z)))
    assert abs(float(nearest) ** 2 - (float(sp.pi) / 2 - 1 / 7)) < 1e-14
    # a wave that has as many zeros as it likes beyond the window only if it goes on
    searched.clear()
    grid = np.linspace(-60, 60, 240_001) + 1e-6
    signs = np.sign(grid + 50 * np.sin(grid))
    assert len(zeros(X + 50 * sp.sin(X), X).zeros) == np.sum(signs[1:] != signs[:-1]) == 33
    assert len(searched) == 2


@pytest.mark.parametrize(
    ("function", "low", "high"),
    [
        (sp.cos(sp.Rational(11, 5) - sp.Rational(17, 5) / X), sp.Rational(6, 10), sp.Rational(5)),
        (X**3 * sp.exp(X) - 1, sp.S.Zero, sp.Integer(5)),
        (X**9 - sp.Rational(1, 10**6), sp.S.Zero, sp.Integer(40)),
        (sp.tanh(100 * (X - sp.Rational(1, 3))) + sp.Rational(1, 2), sp.S.Zero, sp.Integer(40)),
    ],
)
def test_a_bracket_is_narrowed_by_few_values(function, low, high):
    """Against mpmath's own root, to 140 bits; by halving alone each took over 140 values."""
    compiled, asked = sp.lambdify(X, function, "mpmath"), []

    def value(at):
        asked.append(at)
        return compiled(at)

    with mpmath.workprec(204):
        ends = [mpmath.mpf(end.p) / end.q for end in (low, high)]
        found = _between(value, *ends, 140)
        near = [found * (1 - mpmath.mpf(2) ** -138), found * (1 + mpmath.mpf(2) ** -138)]
        assert compiled(near[0]) * compiled(near[1]) < 0
    assert len(asked) < 50
    assert abs(IsolatedRoot(function, X, low, high).evalf(30) - sp.Float(found, 30)) < 1e-28
