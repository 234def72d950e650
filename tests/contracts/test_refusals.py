"""Refusals of public functions that no test of their own asks for: the cause, in one line."""

from __future__ import annotations

import numpy as np
import sympy as sp

from derivations import (
    MLP,
    Diffusion,
    Flow,
    Jacobian,
    Network,
    NeuronDiffusion,
    ResNet,
    Weights,
    as_activation,
    celu,
    depth_limit,
    derive,
    dropout,
    gram_limit,
    jacobian,
    parse_layer,
    position_matrix,
    recognise,
    relu,
    scalings,
    self_attention,
    shaped_smooth,
    symbols,
    tanh,
    width_limit,
)
from derivations.calculus.girsanov import time_change
from derivations.gaussian import expect
from numerics import (
    NNGPRegressor,
    compare,
    compile_expression,
    compile_law,
    distribution,
    expect_sde,
    kernel_matrix,
    simulate_collapse,
    simulate_network,
    simulate_sde,
    solve_flow,
    solve_fokker_planck,
    validate,
)
from numerics.backends import find_backend
from numerics.ensembles import Moments
from numerics.validation import find_claims
from tests.refused import assert_refused, refusals

x = symbols.state
A = Weights("A")
positive = sp.Symbol("p", positive=True)
brownian = Diffusion((x,), [0], [[1]])
one = ResNet(relu, width=1)
wide = ResNet(relu, width=sp.oo)
pair = MLP(relu, width=10, inputs=2)


def normal():
    return compile_law(recognise(brownian), x0=0.0, t=1.0)


REFUSED = {
    "an infinite activation": (lambda: as_activation(sp.oo), "a finite real-valued expression"),
    "a celu of 0": (lambda: celu(0), "must not be 0"),
    "a negative zoom": (lambda: shaped_smooth(tanh, -1), "of a smooth shaping needs a > 0"),
    "a regime in words": (lambda: Network(lambda z: z + A(z), width=2, regime="joint"), "regime must be a Regime"),
    "a Jacobian of two inputs": (lambda: jacobian(ResNet(relu, width=3, inputs=2)), "derived for one input"),
    "a Jacobian in an unknown order": (lambda: jacobian(one, order="deep"), "unknown order 'deep'"),
    "an unknown order": (lambda: derive(one, order="dept"), "unknown order 'dept'; close names: depth"),
    "a clock that runs back": (lambda: time_change(brownian, -1), "a clock must run forward"),
    "a law without noise": (lambda: solve_fokker_planck(Diffusion((x,), [1], [[0]]), 0.0), "its noise vanishes identically"),
    "no covariance": (lambda: Diffusion((x,), [0]), "a diffusion needs its covariance"),
    "training by a number": (lambda: scalings(one, training=3), "training is True, False or names of matrices"),
    "training of nothing": (lambda: scalings(one, training=()), "training names no matrix"),
    "training of an unknown matrix": (lambda: scalings(one, training=("Z",)), "unknown matrix 'Z'"),
    "a mean over half a line": (lambda: expect(positive**2, positive), "a Gaussian variable takes both signs"),
    "an unknown padding": (lambda: Weights("W", filter=3, padding="mirror"), "unknown padding 'mirror'"),
    "a factor without a name": (lambda: dropout(x, sp.S.Half, name=""), "must be a text that is not empty"),
    "sharing in words": (lambda: dropout(x, sp.S.Half, shared="yes"), "shared says whether all inputs"),
    "a kept share that is no number": (lambda: dropout(x, sp.I), "above 0 and at most 1"),
    "an unknown option of a matrix": (lambda: parse_layer("x + eps*A(x, wide=3)"), "unknown option of the matrix A 'wide'"),
    "a matrix with two sizes": (lambda: parse_layer("x + eps*A(B(x, out=8)) + eps*A(B(x, out=9))"), "two sets of options"),
    "a depth limit of infinite width": (lambda: depth_limit(wide), "needs a finite or symbolic width"),
    "a matrix of a class": (lambda: position_matrix(int), "a function of two places, which are symbols, and it failed"),
    "a Gram matrix of a number": (lambda: gram_limit(3), "the program must be"),
    "too many heads": (lambda: self_attention(x, heads=10**6), "heads, at most 1000"),
    "the Jacobian of a number": (lambda: Jacobian(3), "the network must be a recipe"),
    "means that are no answer": (lambda: scalings(one, means=3), "means is True, False or None, got 3"),
    "a width of a half": (lambda: NeuronDiffusion((x,), [0], [[x**2]], width=sp.S.Half), "a positive whole number, a symbol or oo, got 1/2"),
    "a width that is a float": (lambda: NeuronDiffusion((x,), [0], [[x**2]], width=2.0), "a whole number, a symbol such as symbols.width, or oo, got 2.0"),
    "a mean that takes 1e60 samples": (lambda: expect_sde(derive(one).limit, lambda v: v[:, 0], x0=10**30, tol=0.1), "takes about .*e.6. samples"),
    "a thousand inputs and one": (lambda: derive(ResNet(relu, width=3, inputs=1001)), "at most 1000 inputs are followed jointly"),
    "a kernel beyond doubles": (lambda: kernel_matrix(ResNet(relu, width=sp.oo), np.eye(2), t=1500.0), "larger than a double can be"),
    "more layers than end": (lambda: simulate_network(ResNet(relu, width=3), 10**11, 10**9, x0=1.0, reduce=Moments()), "years on one processor"),
    "a start as text": (lambda: simulate_network(one, 2, 2, x0="3"), "x0 must be an array of numbers, got '3'"),
    "a start of 401 digits": (lambda: simulate_network(one, 2, 2, x0=10**400), "x0 must be an array of numbers"),
    "inputs as text": (lambda: kernel_matrix(wide, [["3"]]), "X must be an array of numbers"),
    "a start of 309 digits": (lambda: solve_fokker_planck(derive(one).limit, x0=1e308), "0 or of a size from 1e-75 to 1e75"),
    "a network as text": (lambda: depth_limit("resnet"), "must be a network"),
    "states in words": (lambda: Flow("x", [1]), "a sequence of symbols"),
    "a coefficient as text": (lambda: Diffusion((x,), ["x"], [[1]]), "a matrix of numbers and expressions"),
    "an infinite coefficient": (lambda: Diffusion((x,), [sp.oo], [[1]]), "must have finite entries"),
    "an unknown target": (lambda: find_backend("fortran"), "unknown backend 'fortran'"),
    "one argument twice": (lambda: compile_expression((x, x), x), "expected different symbols"),
    "arguments that are none": (lambda: compile_expression(3, x), "arguments must be symbols"),
    "a formula as text": (lambda: compile_expression(x, "x"), "an expression or a matrix of them"),
    "the distribution of a number": (lambda: distribution(3), "expected a Derivation, a Diffusion or a Law"),
    "an unknown kernel": (lambda: kernel_matrix(wide, np.eye(2), kind="nngpp"), "unknown kind"),
    "a gap beyond 2": (lambda: simulate_collapse(pair, 2, 2, gap=3.0), "gap must be 1 - ρ"),
    "a gap of one input": (lambda: simulate_collapse(MLP(relu, width=10), 2, 2, gap=0.1), "two inputs"),
    "an unknown record": (lambda: simulate_network(one, 2, 2, x0=1.0, record="stat"), "unknown record 'stat'"),
    "an unknown method": (lambda: simulate_network(one, 2, 2, x0=1.0, method="lawful"), "unknown method 'lawful'"),
    "two starts": (lambda: simulate_network(one, 2, 2, x0=1.0, inputs=np.eye(2)), "either x0"),
    "a mean of what is certain": (lambda: expect_sde(width_limit(wide), lambda v: v, 1.0), "has no randomness"),
    "a flow that is none": (lambda: solve_flow(3, [1.0]), "expected a limit without noise"),
    "a regressor of a number": (lambda: NNGPRegressor(3).fit(np.eye(2), [0.0, 1.0]), "must be a recipe"),
    "an unknown scheme": (lambda: simulate_sde(brownian, 0.0, scheme="euler"), "unknown scheme 'euler'"),
    "a mean between words": (lambda: normal().expect(lambda v: v, lb="a"), "must be numbers"),
    "a condition of probability 0": (lambda: normal().expect(lambda v: v, lb=90.0, ub=91.0, conditional=True), "probability 0"),
    "an unknown claim": (lambda: find_claims(name="no such claim"), "unknown claim"),
    "samples that are no numbers": (lambda: compare(derive(one), np.full((50, 1, 1), np.nan)), "are nan"),
    "a start that does not move": (lambda: validate(derive(one), x0=0.0), "nothing moves from x0"),
}  # fmt: skip


@refusals(REFUSED)
def test_what_cannot_be_done_is_refused_with_its_cause(call, message):
    assert_refused(call, message)
