"""Refusals that no other test reaches, as a second run that marked every `raise` showed."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import sympy as sp
from sympy.core.function import ArgumentIndexError, PoleError

from derivations import (
    MLP,
    Activation,
    AttentionBlock,
    Diffusion,
    MLPBlock,
    Network,
    NeuronDiffusion,
    Normal,
    ResNet,
    Weights,
    average,
    derive,
    epsilon,
    identity,
    jacobian,
    joint_limit,
    parse_activation,
    recognise,
    relu,
    scalings,
    symbols,
    tanh,
    width_limit,
)
from derivations.binding import leading_term, taylor
from derivations.calculus.clock import own_clock
from derivations.calculus.exits import stationary
from derivations.calculus.lamperti import _refuse_unreal
from derivations.calculus.reduction import reduce_to_linear
from derivations.gaussian.share import SoftmaxShare
from derivations.interchange import read_limit, read_source
from derivations.kernels.coupled import coupled_flow
from derivations.kernels.generic_pair import pair_flow
from derivations.kernels.solve import _integral
from derivations.limits.elimination.matrix_laws import law_of
from derivations.limits.width import mean_field_limit
from derivations.special import ErfiInv, IntervalKernel, LogNormalCdf, ScaledBesselI, Weber, WeberCoordinate
from derivations.steps.base import written_out
from numerics import (
    NystroemRegressor,
    compile_law,
    distribution,
    expect_network,
    expect_sde,
    simulate_sde,
    solve_fokker_planck,
)
from numerics.cli.readout import _states_of
from numerics.compile import kernels, laws
from numerics.compile.constants import constant
from numerics.densities.integrals import by_panels
from numerics.expectations.choice import choose_scheme
from numerics.fokker_planck.semigroup import stepped
from numerics.kernels.matrix import _finite
from numerics.kernels.panels import _meets
from numerics.plots import phase_figure
from numerics.regression.factors import factor
from numerics.schemes import find_scheme
from numerics.validation.peluchetti import second_moments
from tests.refused import assert_refused, refusals

x, n, t = symbols.state, symbols.width, symbols.time
A, B, H = Weights("A"), Weights("B"), Weights("H", law="orthogonal")
a, b, c = sp.symbols("a b c", positive=True)
one, wide, any_width = ResNet(relu, width=1), ResNet(relu, width=sp.oo), ResNet(relu, width=n)
uneven = NeuronDiffusion(neuron=(x,), neuron_drift=[0], neuron_covariance=[[x**2]], width=3)
collapse = cache(lambda: joint_limit(MLP(relu, inputs=2)))
after_norm = MLPBlock(relu, width=3, norm="rms", place="post")
eye, ones = np.eye(3), np.ones(3)
found = cache(lambda: scalings(any_width))
ONE = '{"sympy": "Integer(1)"}'

REFUSED = {
    "a relation for an activation": (lambda: Activation("f", sp.Gt(x, 0)), "must be a SymPy expression, got x > 0"),
    "columns of a symbol": (lambda: jacobian(any_width).limit(), "has no number of columns; say columns="),
    "the inverse on a sphere": (lambda: jacobian(after_norm).inverse, "keeps the state on a sphere"),
    "tangents of a sphere": (
        lambda: jacobian(MLPBlock(relu, width=n, norm="rms", place="post")).gram,
        "keeps tangents beside its state",
    ),
    "two kinks of one orthogonal matrix": (
        lambda: derive(Network(lambda x: x + epsilon * A(relu(H(x))) * average(relu(H(x))), width=n)),
        "two rows of an orthogonal matrix",
    ),
    "a matrix with rows of two lengths": (
        lambda: read_limit(f'{{"kind": "k", "a": [[{ONE}], [{ONE}, {ONE}]]}}', {"k": ("a",)}),
        "rows of one length",
    ),
    "a source that is a number": (lambda: read_source(3), "expected the source of an expression, got 3"),
    "a size that the layer lacks": (lambda: scalings(any_width, small=[a]), "which the layer does not have"),
    "no size": (lambda: scalings(any_width, small=[]), "small names no parameter"),
    "an exponent that there is not": (lambda: found().at({"q": 1}), "unknown exponent 'q'"),
    "an exponent that is no fraction": (
        lambda: found().at(dict.fromkeys(found().exponents.symbols, sp.sqrt(2))),
        "must be a rational number",
    ),
    "no layers": (lambda: found().times(0, {}), "depth must be a positive whole number"),
    "a size that there is not": (lambda: found().times(3, {a: 1}), "unknown size 'a'"),
    "an order that there is not": (lambda: scalings(any_width, order="deep"), "unknown order 'deep'"),
    "depth at infinite width": (lambda: scalings(wide, order="depth"), "is at a fixed width"),
    "neurons that are no power": (
        lambda: str(
            scalings(Network(x + epsilon * A(relu(Weights("B", out=sp.ceiling(sp.log(n)))(x))), width=n), training=True)
        ),
        "which is no power of the width",
    ),
    "a step of a flow": (
        lambda: written_out(width_limit(wide)),
        "a step is written for the equation of one state or a few, got a limit without noise",
    ),
    "noise that starts late": (
        lambda: own_clock(Diffusion((x,), [0], [[sp.Max(0, t - 10**9) * x**2]], time=t)),
        "where the noise does not vanish is not found",
    ),
    "a wave at infinity": (
        lambda: stationary(Diffusion((x,), [-x - sp.sin(x) / 10], [[1]])),
        "is not known; what the process does at that end is not decided by it",
    ),
    "noise that vanishes on the domain": (
        lambda: reduce_to_linear(Diffusion((x,), [x], [[sp.Max(-x, 0) ** 2]], domain=sp.Interval.open(0, sp.oo))),
        "degenerate on its domain",
    ),
    "positions of one input": (
        lambda: pair_flow(AttentionBlock(width=sp.oo, positions=2), False),
        "couples all positions",
    ),
    "a symbol in attention": (
        lambda: coupled_flow(AttentionBlock(width=sp.oo, positions=2, weight_variance=a), False),
        "got the symbols a",
    ),
    "a draw of no kind": (lambda: law_of(3), "no law is known of 3"),
    "an unknown kind of kernel": (lambda: NystroemRegressor(wide, kind="nngb").fit(eye, ones), "unknown kind 'nngb'"),
    "no components": (
        lambda: NystroemRegressor(wide, components=0).fit(eye, ones),
        "components must be a whole number",
    ),
    "no noise": (lambda: NystroemRegressor(wide, noise=0).fit(eye, ones), "noise must be above 0"),
    "levels of a law": (lambda: find_scheme("exact").couple(derive(one).limit), "does not couple two step sizes"),
    "a formula of twenty neurons": (
        lambda: find_scheme("derivative_free").prepare(derive(ResNet(relu, width=20)).limit),
        "up to 8 of them",
    ),
    "a start where coefficients are singular": (
        lambda: find_scheme("euler_maruyama").prepare(collapse()),
        "singular at t = 0",
    ),
    "the same in machine code": (
        lambda: simulate_sde(collapse(), x0=1.0, steps=2, samples=2, backend="numba", scheme="euler_maruyama"),
        "singular at t = 0",
    ),
    "neurons with noises of their own": (
        lambda: simulate_sde(uneven, x0=1.0, steps=2, samples=2, backend="numpy"),
        "must be the same for all neurons",
    ),
    "the same neurons in machine code": (
        lambda: simulate_sde(uneven, x0=1.0, steps=2, samples=2, backend="numba"),
        "must be the same for all neurons",
    ),
    "a scheme without a value": (
        lambda: simulate_sde(Diffusion((x,), [0], [[sp.Abs(x)]]), x0=0.0, steps=2, samples=2, scheme="weak_second"),
        "the scheme weak_second has no value at x = 0",
    ),
    "noise that is no square": (lambda: _refuse_unreal(-(x**2), x, sp.S.One, sp.oo), "expected a number ≥ 0"),
    "a pole beside the domain": (
        lambda: distribution(derive(ResNet(parse_activation("1/(x-3)"), width=1)), x0=1.0),
        "pole at x = 3 at which its square is not integrable",
    ),
    "a matrix that is no covariance": (
        lambda: factor(np.array([[1.0, 2.0], [2.0, 1.0]]), "the matrix"),
        "not positive semi-definite",
    ),
    "two steep zeros": (
        lambda: solve_fokker_planck(
            Diffusion((x,), [0], [[sp.Abs(x) ** sp.Rational(9, 10) * sp.Abs(x - 1) ** sp.Rational(9, 10)]]), x0=0.5
        ),
        "at most one may have q >",
    ),
    "a drift without a limit": (
        lambda: stationary(Diffusion((x,), [-sp.gamma(x)], [[1]], domain=sp.Interval.open(0, sp.oo))),
        "is not known; what the process does at that end is not decided by it",
    ),
    "a reflecting end with a pull": (
        lambda: recognise(Diffusion((x,), [1 + 2 * sp.sqrt(x)], [[4 * x]], domain=sp.Interval(0, sp.oo))),
        "no closed form known",
    ),
    "levels where coefficients are singular": (
        lambda: expect_sde(collapse(), lambda v: v[:, 0], 1.0, tol=0.1),
        "no scheme steps this limit on two grids: .* singular at t = 0",
    ),
    "levels of a state": (
        lambda: expect_network(ResNet(relu, width=3), lambda v: v, depth=4, samples=8, x0=1.0, tol=0.1),
        "must give one number for each sample",
    ),
    "a kernel beyond doubles": (
        lambda: _finite([np.array([[np.inf]])], False, 1.0),
        "larger than a double can be",
    ),
    "panels of what is infinite": (
        lambda: _meets(np.array([np.nan]), np.ones(1), np.ones(1), 1e-9, np.ones(1)),
        "not finite where its Gaussian mean is asked for",
    ),
    "noise of a neuron's own state": (lambda: mean_field_limit(uneven), "needs neurons that stay Gaussian"),
    "an integral over time": (lambda: _integral(sp.exp(t**2)), "has no closed form known"),
    "a start that a double holds as a point": (
        lambda: compile_law(derive(one).law, x0=Normal(1, sp.Rational(1, 10**800)), t=1.0),
        "needs a positive variance, got 1",
    ),
    "machine code of zeta": (
        lambda: simulate_sde(Diffusion((x,), [sp.zeta(x)], [[1]]), x0=2.0, steps=2, samples=2, backend="numba"),
        "no machine code for",
    ),
    "a phase of nothing": (lambda: phase_figure(found(), x=a), "unknown exponent a"),
    "a first step of nothing": (lambda: phase_figure(scalings(any_width, training=True), x=a), "unknown exponent a"),
    "moments of one neuron": (
        lambda: second_moments(ResNet(identity, width=1), 1),
        "expected a network of several neurons",
    ),
    "a law of no kind": (lambda: laws.measures(3, sp.S.One, sp.S.One), "cannot be compiled; register"),
    "a spread of no kind": (lambda: laws.spread(3, None, sp.S.One), "cannot be averaged over a Gaussian start"),
    "a density of no kind": (lambda: kernels.density(3, sp.S.One, sp.S.One), "is not compiled; register"),
    "a constant that is complex": (
        lambda: constant(sp.log(symbols.initial - 2), sp.S.One, sp.S.One),
        "is not a real number at x0 = 1",
    ),
    "more inputs than neurons": (
        lambda: _states_of(np.ones((3, 2)), derive(ResNet(relu, width=2))),
        "3 inputs need as many neurons",
    ),
    "a tolerance below 0": (
        lambda: choose_scheme(derive(ResNet(tanh, width=2)).limit, 1.0, 1.0, tol=-1),
        "tol must be a positive number",
    ),
    "an integrand that does not settle": (
        lambda: by_panels(lambda z: np.sign(np.sin(1e9 * z)), np.array([0.0, 1.0]), (False, False)),
        "does not settle",
    ),
    "an integrand that does not fade": (
        lambda: by_panels(np.exp, np.array([0.0, 30.0]), (False, True)),
        "outgrows the law's tail",
    ),
    "rates without end": (
        lambda: stepped(np.array([np.inf, 1.0]), np.ones(2), np.array([1.0, 0.0]), 1.0, 1e-6, 0.1),
        "too steep for this grid",
    ),
}


@refusals(REFUSED)
def test_what_cannot_be_done_is_refused_with_its_cause(call, message):
    assert_refused(call, message)


def test_nodes_answer_as_sympy_asks():
    for node, argument in (
        (ErfiInv(x), 2),
        (LogNormalCdf(x), 2),
        (SoftmaxShare(0, a, b, c, a), 1),
        (ScaledBesselI(a, x), 1),
        (IntervalKernel(0, a, b, c), 1),
        (Weber(0, a, b, c, x), 1),
        (WeberCoordinate(a, b, x), 1),
    ):
        with pytest.raises(ArgumentIndexError):
            node.fdiff(argument)
    with pytest.raises(PoleError, match="no expansion in powers"):
        taylor(1 / x, x, 2)
    with pytest.raises(PoleError, match="no leading power"):
        leading_term(sp.exp(-1 / x**2), x)
