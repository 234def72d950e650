"""Choices whose conditions hold absolute values inside other functions, compiled and solved."""

import math

import numpy as np
import pytest
import sympy as sp

from derivations import ResNet, derive, parse_activation
from numerics import distribution
from numerics.compile import compile_expression

X = sp.Symbol("x", real=True)


def _threshold(f, level, below):
    return lambda x: f(x) if f(x) > level else below


def _xlog(x):
    return x * math.log(abs(x)) if x else 0.0


#: Formula, and the same by Python's own functions.
FORMULAS = {
    "exp(threshold(x*log(abs(x)), 0.5, -0.2))": lambda x: math.exp(_threshold(_xlog, 0.5, -0.2)(x)),
    "log(2 + threshold(x*atan(1/abs(x)), 0.5, -0.2))": lambda x: math.log(
        2 + _threshold(lambda y: y * math.atan(1 / abs(y)), 0.5, -0.2)(x)
    ),
    "exp(-where(x*log(1 + 1/abs(x)) < 0.5, x**2, 2))": lambda x: math.exp(
        -(x**2 if x * math.log(1 + 1 / abs(x)) < 0.5 else 2)
    ),
    "sigmoid(where(abs(x)**x < 2, x, 2))": lambda x: 1 / (1 + math.exp(-(x if abs(x) ** x < 2 else 2))),
}
STATES = (-40.0, -2.5, -1.0, -0.3, -1e-8, 1e-8, 0.4, 0.9, 1.3, 1.5, 1.7, 40.0)


@pytest.mark.parametrize("text", FORMULAS)
def test_a_choice_by_what_has_kinks_is_compiled(text):
    f = compile_expression((X,), parse_activation(text)(X))
    own = np.array([FORMULAS[text](x) for x in STATES])
    assert f(np.array(STATES)) == pytest.approx(own, rel=1e-13)
    assert np.any(np.abs(f(-np.array(STATES)) - own) > 0.1)  # the control: the sides differ


def test_the_law_behind_such_a_choice_is_that_of_its_chain():
    r"""By networks of the theory: dX = φ(X) dB in 800 steps of a chain that is drawn by hand."""
    text = "gelu(threshold(x*log(abs(x)), 0.5, -0.2), approximate='tanh')"
    law = distribution(derive(ResNet(parse_activation(text), width=1)), x0=1.4, t=0.5)
    rng, steps, paths = np.random.default_rng(3), 800, 20_000

    def phi(x):
        u = x * np.log(np.abs(x))
        u = np.where(u > 0.5, u, -0.2)
        return 0.5 * u * (1 + np.tanh(math.sqrt(2 / math.pi) * (u + 0.044715 * u**3)))

    x = np.full(paths, 1.4)
    for _ in range(steps):
        x = x + phi(x) * rng.standard_normal(paths) * math.sqrt(0.5 / steps)
    for state in (1.3, 1.42, 1.5):
        share, error = float(np.mean(x <= state)), 0.5 / math.sqrt(paths)
        assert abs(law.cdf(state) - share) < 4 * error, state
    wrong = distribution(derive(ResNet(parse_activation(text.replace("-0.2", "-0.4")), width=1)), x0=1.4, t=0.5)
    assert abs(wrong.cdf(1.3) - float(np.mean(x <= 1.3))) > 8 * 0.5 / math.sqrt(paths)


def test_what_is_infinite_in_a_comparison_is_not_known_there():
    d = derive(ResNet(parse_activation("tanh(where(max(log(abs(x)), -1)*x < 2, 1/x, 2))"), width=1))
    assert d.existence.unique == "not known"
    assert "how the activation behaves at 0 is not known" in str(d)
