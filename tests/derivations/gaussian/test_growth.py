"""Functions that have a mean under every Gaussian law, and others."""

from __future__ import annotations

import pytest
import sympy as sp

from derivations.gaussian.growth import grows_moderately

a, b, c = sp.symbols("a b c", real=True)
u = sp.exp(-a * b)


@pytest.mark.parametrize(
    "function",
    [
        a**3 * sp.tanh(a * b) * sp.erf(c**2),
        a * b / (1 + u),
        a * b * u / (1 + u) ** 2,
        u * sp.exp(-c * b) / ((1 + u) ** 2 * (1 + sp.exp(-c * b)) ** 2),
        sp.exp(3 * a - 2 * b),
        sp.exp(-((a - b) ** 2)) * sp.exp(c),
        sp.log(1 + sp.exp(a * b * c)),
        sp.sqrt(1 + a**2 * b**2),
        1 / sp.cosh(a * b),
        sp.sin(a * b) + sp.atan(a) * sp.asinh(b),
        sp.Abs(a) * sp.tanh(b),
        sp.Max(a, b * c),
        sp.tanh(sp.Abs(a * b)),
        sp.Piecewise((a**2, a * b < c), (sp.exp(a - b), True)),
    ],
)
def test_at_most_exponential(function):
    assert grows_moderately(function, (a, b, c))


@pytest.mark.parametrize(
    "function",
    [
        u,
        u / (1 + sp.exp(-b * c)),
        u * sp.exp(-b * c) / (1 + u + sp.exp(-b * c)),  # one denominator cannot outgrow both
        u**2 / (1 + u),
        sp.exp(a**2 - b**2),
        sp.exp(a**2) / (1 + a**2),
        sp.cosh(a * b),
        1 / sp.Abs(a),
        sp.Max(a, sp.exp(b * c)),
        sp.Piecewise((sp.exp(a**2), a < b), (0, True)),
        sp.Piecewise((1, 1 / a < b), (0, True)),
        1 / a,
        sp.log(a**2),
        sp.tanh(1 / sp.Abs(a)),
    ],
)
def test_what_is_not_seen_to_be(function):
    assert not grows_moderately(function, (a, b, c))
