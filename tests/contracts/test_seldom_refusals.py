"""Refusals that a third run, which marked every `raise`, found to be reached by no test: of the symbolic and the numeric side."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from fractions import Fraction
from functools import cache

import numpy as np
import pytest
import sympy as sp

from derivations import (
    Diffusion,
    Flow,
    MLPBlock,
    Network,
    ResNet,
    ShapedMLP,
    Weights,
    derive,
    epsilon,
    identity,
    jacobian,
    parse_activation,
    recognise,
    relu,
    scalings,
    symbols,
    tanh,
    training_limit,
    width_limit,
)
from derivations.calculus.equivalence import equivalence
from derivations.calculus.gram import norm_and_correlation
from derivations.calculus.moments import moment_equations
from derivations.exponents.backward import LayerOrders
from derivations.exponents.orders import ONE, WIDTH, Order
from derivations.exponents.several import balanced
from derivations.limits.elimination.matrix_laws import law_of
from derivations.piecewise import analyse
from numerics import choose, compile_law, kernel_matrix, simulate_sde, solve_fokker_planck
from numerics.cli.files import read_inputs
from numerics.densities.panels import settled_panels
from numerics.dynamics import solve_training
from numerics.plots import plot_course
from numerics.report import Start
from numerics.validation import find_claims
from tests.refused import assert_refused, refusals

x, y = sp.symbols("x y", real=True)
gram = sp.symbols("V_11 V_12 V_22", positive=True)
A, B = Weights("A"), Weights("B")
size = sp.Symbol("a", positive=True)
one, wide = ResNet(relu, width=1), ResNet(relu, width=sp.oo)
line = Diffusion((x,), [0], [[1]])


@cache
def exponents():
    return scalings(ResNet(tanh, width=4))


@cache
def trained():
    """Two steps of two layers."""
    net = Network(lambda z: z + epsilon * A(tanh(z)), width=sp.oo)
    return solve_training(net, np.eye(2), [1.0, 0.0], depth=2, learning_rate=0.1, steps=1, neurons=64)


def settled(log_density):
    """Panels over the line."""
    return settled_panels(log_density, -np.inf, np.inf, 0.0, 1.0, (None, None), np.array([]))


def between_walls():
    """The measure of a law whose kernel is a theta series."""
    return compile_law(recognise(Diffusion((x,), [0], [[(1 + x**2) ** 2]])), x0=0.4, t=0.5).parts[0]


def opened():
    """A layer whose size is a parameter."""
    return Network(lambda z: z + size * A(tanh(z)), width=symbols.width, parameters=(size,))


def plane(first):
    return solve_fokker_planck(Diffusion((x, y), [0, 0], sp.diag(first, 1)), x0=(1.0, 1.0), t=0.5)


REFUSED = {
    # --- derivations ---
    "an order of limits": (lambda: derive(one, order="sideways"), "unknown order 'sideways'; known: depth, width, joint"),
    "an order of a Jacobian": (lambda: jacobian(ResNet(relu, width=3), order="sideways"), "unknown order 'sideways'"),
    "an order of scalings": (lambda: scalings(one, order="sideways"), "unknown order 'sideways'"),
    "a theorem as text": (lambda: derive(one).write("a.txt", style="theorem"), "written as LaTeX, got a.txt"),
    "a style of documents": (lambda: derive(one).write("a.tex", style="poem"), "unknown style 'poem'"),
    "a shaping of what is flat": (lambda: ShapedMLP(parse_activation("x**2"), a=1), "has slope 0 at 0"),
    "a covariance of entries that have a law": (
        lambda: MLPBlock(relu, width=4, law="uniform", row_covariance=sp.eye(4)),
        "row_covariance is of Gaussian matrices, got law=uniform",
    ),
    "growth where nothing is": (lambda: analyse(sp.log(x), x).growth(-sp.oo), "not defined towards -oo"),
    "a norm without noise": (
        lambda: norm_and_correlation(Diffusion(gram, [0] * 3, sp.zeros(3, 3)), gram),
        "one of the two has no noise",
    ),
    "half of a start": (
        lambda: moment_equations(Diffusion((x, y), [0, 0], sp.eye(2)), 2).at_start({x: 1}),
        "a value for each state, missing y",
    ),
    "another kind of limit": (
        lambda: Flow.from_json(line.to_json()),
        "holds a Diffusion, not a Flow; read it with Diffusion.from_json",
    ),
    "a limit without its drift": (
        lambda: Diffusion.from_json(json.dumps({k: v for k, v in json.loads(line.to_json()).items() if k != "drift"})),
        "holds no whole Diffusion: .*'drift'",
    ),
    "a sampler of two parts": (lambda: recognise(derive(one).limit).sampler(), "depends on where the start is"),
    "zeros that accumulate": (
        lambda: recognise(Diffusion((x,), [0], [[sp.sin(1 / x) ** 2]], sp.Interval.open(0, 1))),
        "zeros of the noise on .* are not all known",
    ),
    "a pole of the noise": (lambda: recognise(Diffusion((x,), [0], [[(x - 1) ** -2]])), "crosses a pole of its noise at x = 1"),
    "reflection with a drift": (
        lambda: recognise(Diffusion((x,), [sp.Rational(1, 4) + sp.sqrt(x)], [[x]], sp.Interval(0, sp.oo))),
        "U = 1, for which reflection with a slope of u at the end has no kernel",
    ),
    "flows of other shapes": (
        lambda: equivalence(*(width_limit(ResNet(f, width=sp.oo, inputs=2)) for f in (relu, identity)), size),
        "no value of a makes",
    ),
    "training with heavy tails": (
        lambda: training_limit(Network(lambda z: z + epsilon * A(z**2), width=sp.oo)),
        "grows faster than linearly: fields then have heavy tails",
    ),
    "two matrices of one name": (
        lambda: derive(Network(lambda z: z + epsilon * A(relu(Weights("A", variance=2)(z))), width=3)),
        "two different matrices are called A",
    ),
    "a variance below 0": (lambda: Weights("A", bias_variance=-1), "bias_variance of A must be at least 0, got -1"),
    "a state of another kind": (
        lambda: derive(Network(sp.Symbol("x") + epsilon * A(sp.Symbol("x")), width=3, parameters=())),
        "not declared as x is; write the layer as a function",
    ),
    "an exponent of nothing": (lambda: exponents().at({size: 1}), "unknown exponent 'a'; known: p"),
    "an exponent that is a root": (lambda: exponents().at({epsilon: sp.sqrt(2)}), "exponent p must be a rational number"),
    "a size of nothing": (lambda: exponents().times(10, {size: 1}), "unknown size 'a'"),
    "no size": (lambda: exponents().times(10, {}), "a value of epsilon is needed"),
    "the exponent that a layer leaves open": (
        lambda: scalings(opened(), small=(size,)).at({}),
        "the network does not say the exponent p_a; give it",
    ),
    "the time of what has no limit": (
        lambda: scalings(Network(lambda z: 2 * z + epsilon * A(tanh(z)), width=4)).times(10, {epsilon: 0.1}),
        "not 0: the network does not become continuous in depth",
    ),
    "a learning rate that moves nothing": (lambda: balanced(lambda rate: WIDTH, ONE), "they do not depend on it"),
    "a learning rate that never suffices": (
        lambda: balanced(lambda rate: Order(1 / (1 - rate.width), Fraction(0)), ONE),
        "no learning rate was found",
    ),
    "orders of what is no statement": (
        lambda: LayerOrders(ResNet(tanh, width=4).program(), {}, ONE)._value("A", {}),
        "no rule for the orders of A",
    ),
    "a law of what is not random": (lambda: law_of("A"), "no law is known of 'A'"),
    "half a layer": (lambda: exponents().times(1.5, {}), "depth must be a positive whole number, got 1.5"),
    # --- numerics ---
    "a quantile of 2": (
        lambda: choose(ShapedMLP(tanh, a=size, width=10), size, depth=5, norm=1.0, quantile=2),
        "quantile must be between 0 and 1, got 2",
    ),
    "the time of a network whose depth says it": (
        lambda: choose(ShapedMLP(tanh, a=1, width=10), symbols.time, norm=1.0),
        "tied to the width here; ask for symbols.depth",
    ),
    "the depth of a network that has none": (
        lambda: choose(ResNet(tanh, width=10), symbols.depth, norm=1.0),
        "free here; ask for symbols.time",
    ),
    "a course of strangers": (lambda: plot_course(width_limit(wide), [1.0], 1.0, states=[x]), "x is no state of this flow"),
    "a plane that ends at the start": (lambda: plane((x - 1) ** 2), "has no noise at the start x = 1"),
    "a plane with a zero that is crossed": (lambda: plane(sp.sqrt(abs(x))), "vanishes or jumps at x = 0"),
    "a plane with a jump": (lambda: plane(2 + sp.sign(x)), "vanishes or jumps at x = 0"),
    "a start beyond doubles": (lambda: solve_fokker_planck(line, x0=1e90), "start x0 must be 0 or of a size from 1e-75"),
    "limits of trained networks": (
        lambda: solve_training(ResNet(tanh, width=sp.oo), [[1.0]], [1.0], depth=1, learning_rate=1.0, steps=1, limits="far"),
        "unknown limit 'far'; known: depth, flow",
    ),
    "a learning rate below 0": (
        lambda: solve_training(ResNet(tanh, width=sp.oo), [[1.0]], [1.0], depth=1, learning_rate=-1.0, steps=1),
        "learning_rate must be a positive number, got -1",
    ),
    "a side of kernels": (lambda: trained().kernel("A", layer=1, side="left"), "unknown side 'left'"),
    "a kernel of no matrix": (lambda: trained().kernel("Q", layer=1), "unknown matrix 'Q'; known: A"),
    "a kernel of no layer": (lambda: trained().kernel("A", layer=7), "whole number from 1 to 2, got 7"),
    "a report from far out": (lambda: Start(x0=1e300), "x0 must be 0 or of a size from 1e-75"),
    "a kernel that overflows at once": (
        lambda: kernel_matrix(ResNet(parse_activation("exp(x)"), width=sp.oo), [[40.0, 0.0], [0.0, 30.0]]),
        "no finite velocity at depth 0",
    ),
    "a density with tails like a power near 0": (
        lambda: settled(lambda v: -1e-3 * np.log1p(np.abs(v))),
        "does not fade within the range of doubles",
    ),
    "a density that is 0 everywhere": (lambda: settled(lambda v: np.full(v.shape, -np.inf)), "is 0 or infinite everywhere"),
    "a density that sums to less": (lambda: replace(between_walls(), known_mass=0.5).mass, "sums to 1 instead of 0.5"),
    "claims of a blank": (lambda: find_claims(source=" "), "unknown source ' '; known: Hayou"),
    "Milstein's scheme for any noise": (
        lambda: simulate_sde(
            Diffusion((x, y), [0, 0], [[1 + y**2, x * y], [x * y, 1 + x**2]]), x0=[1.0, 1.0], scheme="milstein"
        ),
        "the scheme milstein does not apply: .* needs commutative noise",
    ),
    "a derivative-free step of a wide layer": (
        lambda: simulate_sde(derive(ResNet(relu, width=9)).limit, x0=1.0, scheme="derivative_free"),
        "the scheme derivative_free does not apply: .* up to 8",
    ),
}  # fmt: skip


@refusals(REFUSED)
def test_what_cannot_be_done_is_refused_with_its_cause(call, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert_refused(call, message)


def test_a_state_of_a_plane_is_one_of_two():
    solved = solve_fokker_planck(Diffusion((x, y), [0, 0], sp.eye(2)), x0=(0.0, 0.0), t=0.5, tol=1e-2)
    with pytest.raises(ValueError, match="the state must be 0 or 1, got 2"):
        solved.marginal(2, [0.0])
    assert solved.marginal(1, [0.0])[0] > 0


def test_a_file_of_pytorch_without_pytorch(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    (tmp_path / "inputs.pt").write_bytes(b"12345678")
    with pytest.raises(ValueError, match="is a file of PyTorch, which is not installed; save an array"):
        read_inputs(str(tmp_path / "inputs.pt"))


def test_a_trained_network_with_dropout_needs_a_key():
    pytest.importorskip("jax", reason="training needs the extra jax")
    from numerics.training import TrainableNetwork

    network = TrainableNetwork(MLPBlock(relu, width=4, keep=sp.S.Half), 2, features=3)
    with pytest.raises(ValueError, match=r"draws random factors \(dropout\); give key=jax.random.key"):
        network.run(network.initial(seed=0), np.ones((2, 3)))
