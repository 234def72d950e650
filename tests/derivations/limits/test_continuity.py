"""What averages tend to stands in functions that are continuous there; elsewhere a wide network is not what its limit says."""

import numpy as np
import pytest
import sympy as sp

from derivations import Network, Regime, derive, symbols
from tests.refused import assert_refused

K = sp.Symbol("K", positive=True)
AT_RANDOM = "which is what it tends to as the width grows"


def infinite(text, inputs=1):
    return derive(Network(text, width=sp.oo, inputs=inputs)).limit


def test_an_average_with_mean_0_has_a_sign_in_every_network():
    """Second moments of what the matrix reads, over drawn neurons of variance 1: 1 and 5/2, where the functions at 0 have 0 and 4."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((4000, 500))
    mean = x.mean(axis=1, keepdims=True)
    signed, chosen = (np.mean((x * f) ** 2) for f in (np.sign(mean), np.where(mean > 0, 1, 2)))
    assert signed == pytest.approx(1, abs=0.01)
    assert chosen == pytest.approx(5 / 2, abs=0.1)
    for wrong, right in ((0, signed), (4, chosen)):
        assert abs(wrong - right) > 0.9


@pytest.mark.parametrize(
    "text",
    [
        "x + eps*A(x*sign(average(x)))",
        "x + eps*A(x)*where(average(x) > 0, 1, 2)",
        "x + eps*A(where(x*average(x) > 0, x, 0))",
        "x + eps*A(B(x)*sign(average(B(x))))",
        "x + eps*A(sign(B(x*average(x))))",
        "x + eps*A(where(B(x*average(x)) > 0, x, x/2))",
        "x + eps*A(x)*sign(average(relu(x)) - average(relu(-x)))",
        "x + eps*A(x)/average(x)",
    ],
)
def test_jumps_at_a_limit_are_refused_at_infinite_width(text):
    assert_refused(lambda: infinite(text), AT_RANDOM)


def test_the_direction_of_a_norm_of_what_vanishes_is_random():
    """Alone its second moment is 1; that of two inputs has a random sign."""
    assert infinite("x + eps*A(rms_norm(x*average(x)))").drift[0] == 1
    assert_refused(lambda: infinite("x + eps*A(rms_norm(x*average(x)))", inputs=2), AT_RANDOM)


@pytest.mark.parametrize("text", ["A(x*sign(average(x)))", "x/2 + sqrt(3)/2*A(x*where(average(x) > 0, 1, 2))"])
def test_jumps_at_a_limit_are_refused_where_depth_and_width_grow_together(text):
    assert_refused(lambda: derive(Network(text, width=symbols.width, regime=Regime(depth=1))), AT_RANDOM)


@pytest.mark.parametrize(
    ("text", "drift"),
    [
        ("x + eps*A(x*sign(1 + average(x)))", K),
        ("x + eps*A(x)*abs(average(x))", 0),
        ("x + eps*A(x)*(1 + where(average(x) > 0, average(x), 0))", K),
        ("x + eps*A(x)*where(average(x**2) > average(x), 1, 2)", K),
        ("x + eps*A(sign(B(x))*sign(average(relu(x))))", 1),
    ],
)
def test_functions_that_are_continuous_there_stay(text, drift):
    assert infinite(text).drift[0] == drift
