r"""Drifts through a transpose, :math:`-C^\top\varphi(C x)`, where inputs or tangents are parallel: each depends on its own column alone."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from derivations import Network, derive
from derivations.backward import jacobian
from derivations.limits.depth import as_sums
from derivations.limits.elimination.moments import LayerMoments
from derivations.sums import written_out
from numerics import compile_expression

ROWS = 3
LAYER = f"x + eps*A(x) - eps**2*C.T(tanh(C(x, out={ROWS})))"


def by_hand(x):
    """By Stein's identity C's rows c have E c tanh(c·x) = x E tanh'(c·x) / n, and c·x has the variance |x|²/n."""
    size = np.sqrt(np.mean(np.square(x)))
    slope, _ = quad(lambda z: norm.pdf(z) / np.cosh(size * z) ** 2, -9, 9, epsabs=1e-13)
    return -ROWS / len(x) * np.asarray(x) * slope


def drift(limit):
    limit = getattr(limit, "explicit", limit)
    return compile_expression(list(limit.states), tuple(limit.drift))


PAIRS = {
    "generic": ((1, 0.3), (0.5, 2)),
    "equal": ((1, 0.3), (1, 0.3)),
    "nearly equal": ((1, 0.3), (1, 0.3 + 1e-9)),  # two columns together gave -1.0 for -1.07
    "opposite": ((1, 0.3), (-1, -0.3)),
}


@pytest.mark.parametrize("name", PAIRS)
def test_states_of_two_inputs(name):
    found = drift(derive(Network(LAYER, width=2, inputs=2)).limit)
    first, second = PAIRS[name]
    numbers = np.array(found(first[0], second[0], first[1], second[1]), dtype=float).reshape(2, 2).T
    assert np.allclose(numbers, [by_hand(first), by_hand(second)], rtol=1e-9, atol=0)
    assert not np.allclose(numbers, [by_hand(second), 1.01 * by_hand(first)], rtol=1e-9, atol=0)  # the control


@pytest.mark.parametrize("v", [(0.5, 2), (1, 0.3), (1, 0.3 + 1e-7)], ids=["generic", "along the state", "nearly"])
def test_a_tangent_along_the_state(v):
    x, v = np.array([1, 0.3]), np.asarray(v)
    found = drift(jacobian(Network(LAYER, width=2)).limit(1))
    numbers = np.array(found(x[0], v[0], x[1], v[1]), dtype=float).reshape(2, 2).T
    h = 1e-4
    slope = (8 * (by_hand(x + h * v) - by_hand(x - h * v)) - by_hand(x + 2 * h * v) + by_hand(x - 2 * h * v)) / (12 * h)
    assert np.allclose(numbers, [by_hand(x), slope], rtol=1e-8, atol=0)
    assert not np.allclose(
        numbers[1], by_hand(x) * (v / x).mean(), rtol=1e-3
    )  # the control: as if the slope were constant


def test_the_equation_holds_no_other_tangent():
    j = jacobian(Network("x + eps*A(x) - eps**2*C.T(sin(C(x, out=2)))", width=3))
    assert str(j.sde.drift[0]) == "-2*J_k*exp(-<x**2>/2)/3 + 2*x*exp(-<x**2>/2)*<J_k*x>/3"


@pytest.mark.parametrize(
    "layer",
    [
        "x + eps*A(x) - eps**2*C.T(relu(C(tanh(x), out=2))) - eps**2*x*average(x**2)",
        "x + eps*A(tanh(x)) + eps**2*tanh(x*average(abs(x))) - eps**2*C.T(sin(C(rms_norm(x), out=2)))",
        "rms_norm(x + eps*A(x) - eps**2*C.T(sin(C(x, out=2))))",
    ],
)
def test_beside_what_all_columns_together_give(layer):
    """The elimination of one state and a tangent together divides by their Gram determinant, and is right where it is not small."""
    moments = LayerMoments(Network(layer, width=3).program(), 1, directions=1)
    x = np.array([1, -0.7, 0.2])
    x, v = x / np.sqrt(np.mean(x**2)), np.array([0.5, 0.4, 2])
    v = v - x * (x @ v) / 3  # on the range of a norm
    for a in range(2):
        together = moments._required(moments.moved(a))
        at = [written(expr, moments, x, v) for expr in (moments.drift(a), together)]
        assert np.allclose(*at, rtol=1e-10)
    assert not np.allclose(at[1], written(moments.drift(1), moments, x, 1.01 * v), rtol=1e-4)  # the control


def written(expr, moments, x, v):
    rows = [[float(p), float(q)] for p, q in zip(x, v, strict=True)]
    opened = written_out(as_sums(expr, moments.states, len(x)), rows)
    return [float(opened.subs(dict(zip(moments.states, row, strict=True))).evalf()) for row in rows]
