"""Gaussian means with kinks inside, which compiled code calls by their text."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp

from derivations import MLPBlock, Network, derive, relu
from numerics.compile import compile_expression


def test_a_mean_of_two_moved_kinks_is_that_of_gaussian_numbers():
    limit = derive(MLPBlock(relu, width=sp.oo, inputs=2, bias_mean=sp.Rational(1, 2))).limit
    value = compile_expression(limit.states, limit.drift[1])
    u, v = np.random.default_rng(0).standard_normal((2, 400_000))
    for k11, k12, k22 in ((1.0, 0.2, 1.0), (0.5, -0.6, 2.0)):
        one, rest = np.sqrt(k11) * u, np.sqrt(k22 - k12**2 / k11) * v
        product = np.maximum(one + 0.5, 0) * np.maximum(k12 / np.sqrt(k11) * u + rest + 0.5, 0)
        error = product.std() / np.sqrt(len(u))
        assert abs(product.mean() - value(k11, k12, k22)) < 4 * error
        assert abs(product.mean() - value(k11, k12 + 0.05, k22)) > 4 * error
    where = sp.Symbol("K", positive=True)
    kinked = compile_expression(
        (where,),
        sp.Piecewise((where, where < 1), (0, True))
        * limit.drift[1].xreplace({limit.states[0]: where, limit.states[1]: sp.S.Zero, limit.states[2]: sp.S.One}),
    )
    assert kinked(2.0) == 0
    assert kinked(0.5) == pytest.approx(0.5 * value(0.5, 0.0, 1.0), rel=1e-9)


@pytest.mark.slow
def test_means_inside_a_formula_that_is_continued_travel_as_text():
    limit = derive(Network("x + eps*A(where(B(x) > 1/2, tanh(B(x)), 0)*B(x + 1))", width=sp.oo, inputs=2)).limit
    value = compile_expression(limit.states, limit.drift[1])
    assert "Continued" in sp.srepr(limit.drift[1])
    gram = np.array([[1.0, 0.5], [0.5, 1.5]])
    rng, zero = np.random.default_rng(1), np.zeros(2)
    first, rest = (rng.multivariate_normal(zero, g, size=400_000) for g in (gram, np.ones((2, 2))))
    # what reads x + 1 is B(x) and a number that both inputs share, since neurons are centred
    product = np.prod(np.where(first > 0.5, np.tanh(first), 0) * (first + rest), axis=1)
    error = product.std() / np.sqrt(len(product))
    assert abs(product.mean() - value(1.0, 0.5, 1.5)) < 4.5 * error
    assert abs(product.mean() - 1.1 * value(1.0, 0.5, 1.5)) > 4.5 * error
