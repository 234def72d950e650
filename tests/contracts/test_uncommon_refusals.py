"""Refusals of public functions that no other table reached, by what a user can type."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import sympy as sp

from derivations import (
    MLP,
    Diffusion,
    Flow,
    Normal,
    ResNet,
    ShapedMLP,
    Weights,
    derive,
    jacobian,
    joint_limit,
    relu,
    symbols,
    tanh,
)
from derivations.gaussian.pair import expect_pair
from numerics import (
    compare,
    compile_expression,
    compile_law,
    expect_sde,
    simulate_jacobian,
    simulate_network,
    simulate_sde,
)
from numerics.exponential_functional import CollapseLaw
from numerics.schemes import find_scheme
from numerics.statistics import ks_two_sample
from tests.refused import assert_refused, refusals

x, t, n = symbols.state, symbols.time, symbols.width
a = sp.Symbol("a", positive=True)
one, few, wide = ResNet(relu, width=1), ResNet(relu, width=3), ResNet(relu, width=sp.oo)
square = Diffusion((x,), [0], [[1 + x**2 + sp.cos(x) ** 2]])
collapse = cache(lambda: joint_limit(MLP(relu, inputs=2)))
shaped = ShapedMLP(tanh, a=a)

REFUSED = {
    "neurons of a symbolic width": (
        lambda: derive(ResNet(relu, width=n)).limit.explicit,
        "can only be written out for an integer width, got width n",
    ),
    "a function of one neuron": (
        lambda: derive(few).limit.bracket(derive(few).limit.neuron[0], sp.S.One),
        "got one of the single coordinates",
    ),
    "another value of the state": (lambda: square.subs(x, 3), "only parameters can be replaced, got a value for x"),
    "another value of the time": (
        lambda: square.xreplace({t: a}),
        "only parameters can be replaced, got a value for t",
    ),
    "sums without their compiler": (
        lambda: compile_expression((x,), derive(few).limit.sum(derive(few).limit.neuron[0] ** 2)),
        "holds sums over the neurons of a layer; compile it with compile_sums",
    ),
    "a moment of no order": (
        lambda: compile_law(derive(one).law, x0=1.0, t=1.0).moment(-1),
        "the order of a moment must be a whole number from 0 to 10.12, got -1",
    ),
    "an exact mean without a law": (
        lambda: expect_sde(square, lambda v: v[:, 0], 1.0, tol=0.1, scheme="exact"),
        "the law of this limit is not known; leave the scheme out",
    ),
    "another limit than that which collapses": (
        lambda: CollapseLaw(square, t=1.0),
        "expected the limit of an unshaped perceptron without parameters",
    ),
    "a collapse at no time": (lambda: CollapseLaw(collapse(), t=0.0), "t must be positive and finite, got 0"),
    "levels from a random start": (
        lambda: expect_sde(square, lambda v: v[:, 0], Normal(0, 1), tol=0.1),
        "expected a fixed start",
    ),
    "a start that is nan": (
        lambda: simulate_sde(square, x0=np.nan, steps=2, samples=2),
        "x0 must be finite, got infinite or nan entries",
    ),
    "the gap of one input": (
        lambda: simulate_network(few, depth=2, samples=2, x0=1.0, record="gap"),
        "a gap is between inputs, got inputs=1",
    ),
    "derivatives by the conditional law": (
        lambda: simulate_network(few, depth=2, samples=2, x0=1.0, record="jacobian", method="conditional"),
        "derivatives are products of matrices that are drawn",
    ),
    "Jacobians of two inputs": (
        lambda: simulate_jacobian(ResNet(tanh, width=3, inputs=2), 2, 2, 1.0),
        "expected one input, got 2",
    ),
    "a sample of one": (lambda: ks_two_sample([1.0], [1.0, 2.0]), "one-dimensional with at least two values"),
    "samples of what collapses": (
        lambda: compare(derive(MLP(relu, width=n, inputs=2), order="joint"), np.ones((4, 3, 2)), x0=1.0),
        "samples of two inputs that collapse are not compared",
    ),
    "samples of a Jacobian alone": (
        lambda: compare(jacobian(few), np.ones((4, 3, 3)), x0=1.0),
        "for a Jacobian samples must be the pair of states",
    ),
    "samples of another width": (
        lambda: compare(derive(few), np.ones((40, 4)), x0=1.0),
        "samples must have shape .* the last layer's states",
    ),
    "the exact law of several neurons": (
        lambda: find_scheme("exact").prepare(derive(few).limit),
        "exact laws are known for scalar diffusions",
    ),
    "Gram matrices of one state": (
        lambda: find_scheme("gram_euler").prepare(square),
        "the scheme steps Gram matrices of a finite number of neurons",
    ),
    "a sum by the number of its terms": (
        lambda: derive(ResNet(relu, width=n)).limit.sum(derive(ResNet(relu, width=n)).limit.neuron[0] ** 2).diff(n),
        "the number of its terms; differentiate in a parameter of the summand",
    ),
    "a covariance of three rows": (
        lambda: expect_pair(x, x, x, sp.eye(3)),
        r"a covariance must be \[\[k11, k12\], \[k12, k22\]\]",
    ),
    "a second moment among those of weights": (
        lambda: Weights("A", law={2: 1, 4: 3}),
        "moments of weights are given from order 3 on",
    ),
    "a variance below 0": (
        lambda: Diffusion((x,), [0], [[-1 - x**2]]),
        "expected a covariance, whose diagonal is ≥ 0",
    ),
    "a law of a flow": (lambda: compare(Flow((x,), [x]), np.ones(4), x0=1.0), "expected|must"),
    "a formula without a rule for its name": (
        lambda: type(derive(one).limit).from_json(
            derive(one).limit.to_json().replace("Integer(", "Sneaky(").replace("Rational(", "Sneaky(")
        ),
        "is no part of a formula that can be read",
    ),
}


@refusals(REFUSED)
def test_what_cannot_be_done_is_refused_with_its_cause(call, message):
    assert_refused(call, message)


def test_too_many_values_are_refused_as_python_does():
    with pytest.raises(TypeError, match="expected 1 arguments"):
        compile_expression((x,), x)(1.0, 2.0)
