"""Refusals that the tables beside this one do not reach, each by something that a user can type."""

from __future__ import annotations

import re

import pytest
import sympy as sp

from derivations import (
    Diffusion,
    Network,
    ResNet,
    Weights,
    average,
    derive,
    epsilon,
    normalised_sum,
    over_positions,
    scalings,
    softmax,
    symbols,
    tanh,
    width_limit,
)
from derivations.calculus.exits import stationary
from derivations.language import other
from numerics import expect_sde
from numerics.expectations import levels
from tests.refused import assert_refused, refusals

x, n = symbols.state, symbols.width
A, K, Q, R, V = (Weights(name) for name in "AKQRV")
a = sp.Symbol("a", positive=True)


def _attention(of_scores):
    """A head whose softmax reads a function of its scores."""
    return Network(
        lambda x: x + epsilon * R(over_positions(softmax(of_scores(normalised_sum(Q(x) * other(K(x))))) * other(V(x)))),
        width=sp.oo,
        positions=2,
    )


def _moved(layer):
    return lambda: scalings(Network(layer, width=n), training=True).at()


REFUSED = {
    "the exponent of scores inside a function": (
        lambda: scalings(_attention(sp.tanh)).scores,
        r"scores enter the softmax in another way than by a factor, as tanh\(s\)",
    ),
    "weights whose mean grows with the width": (
        _moved(lambda x: Weights("A", mean=n)(x**2)),
        "a layer makes a state of order n of one of order 1; scale its weights",
    ),
    "biases whose variance grows with the width": (
        _moved(lambda x: Weights("A", bias_variance=n)(tanh(x))),
        r"a layer makes a state of order n\^\(1/2\) of one of order 1",
    ),
    "an average that large states do not have": (
        lambda: width_limit(
            Network(
                lambda x: x + epsilon * A(x) * average(sp.exp(x * over_positions(other(x)))),
                width=sp.oo,
                positions=3,
            )
        ),
        "no rule is known for the Gaussian mean of .*: no rule for the joint Gaussian expectation",
    ),
    "a power of a logarithm": (
        lambda: stationary(
            Diffusion((x,), [0], [[x * sp.log(1 / x) ** a]], domain=sp.Interval.open(0, sp.Rational(1, 2)))
        ),
        "cannot decide whether the integral .* give the powers of logarithms as numbers",
    ),
}


@refusals(REFUSED)
def test_what_cannot_be_done_is_refused_with_its_cause(call, message):
    assert_refused(call, message)


def test_a_tolerance_below_the_finest_step_is_refused(monkeypatch):
    def ask(tol):
        limit = derive(ResNet(tanh, width=1)).limit
        return expect_sde(limit, lambda v: v[:, 0] ** 2, 1.0, tol=tol, scheme="euler_maruyama")

    monkeypatch.setattr(levels, "_FINEST", 2)
    assert_refused(lambda: ask(0.004), "the step's error is still .* give a larger tol, or another scheme")
    assert float(ask(0.1).value) > 0  # the control: a tolerance that the steps reach


@pytest.mark.slow
def test_exponents_are_shown_where_those_of_scores_are_not_known():
    assert "keys do is not derived: scores enter the softmax" in re.sub(r"\s+", " ", str(scalings(_attention(sp.tanh))))
    assert "keys do is not derived" not in str(scalings(_attention(lambda score: score)))  # the control
