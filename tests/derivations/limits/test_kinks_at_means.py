"""Kinks of a function whose argument has a mean that is itself the mean of a function with kinks, at infinite width."""

import numpy as np
import pytest
import sympy as sp
from scipy.integrate import quad
from scipy.stats import norm

from derivations import Network, derive
from numerics.compile import compile_expression

OUTER = {"relu": (lambda x: max(x, 0.0), [0.0]), "leaky_relu": (lambda x: x if x > 0 else 0.01 * x, [0.0])}
INNER = {"relu": lambda x: max(x, 0.0), "hardswish": lambda x: x * min(6.0, max(0.0, x + 3)) / 6}


def _mean(function, kinks):
    inside = [k for k in kinks if abs(k) < 12]
    return quad(lambda z: function(z) * norm.pdf(z), -12, 12, points=inside, limit=400)[0]


def _rate(outer, inner, K, moved=1.0):
    """The mean square of f(U), U normal, whose mean and mean square are those of g(X), X normal of variance K."""
    (f, kinks), g = OUTER[outer], INNER[inner]
    places = [k / np.sqrt(K) for k in (-3, 0, 3)]
    mean = moved * _mean(lambda z: g(np.sqrt(K) * z), places)
    size = np.sqrt(_mean(lambda z: g(np.sqrt(K) * z) ** 2, places))
    return _mean(lambda z: f(mean + size * z) ** 2, [(k - mean) / size for k in kinks])


@pytest.mark.parametrize("inner", INNER)
@pytest.mark.parametrize("outer", OUTER)
def test_a_mean_that_moves_a_kink_is_a_number_there(outer, inner):
    limit = derive(Network(f"x + eps*A({outer}(B({inner}(x), mean=1)))", width=sp.oo)).limit
    rate = compile_expression(limit.states, limit.drift[0])
    for K in (0.7, 2.0):
        assert rate(K) == pytest.approx(_rate(outer, inner, K), rel=1e-9)
        assert rate(K) != pytest.approx(_rate(outer, inner, K, moved=1.02), rel=1e-3)
