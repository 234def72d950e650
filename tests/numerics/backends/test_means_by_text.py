"""Gaussian means with kinks inside, which compiled code calls by their text."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp

from derivations import MLPBlock, derive, relu
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
