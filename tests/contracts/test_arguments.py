"""What is no fitting argument of a public function: one line, cause first, of the project's own family of errors."""

from __future__ import annotations

import inspect
import re
from fractions import Fraction
from functools import cache

import numpy as np
import pytest
import sympy as sp

import derivations
import numerics
from derivations import (
    MLP,
    Activation,
    Diffusion,
    Flow,
    ResNet,
    ShapedMLP,
    Weights,
    derive,
    epsilon,
    relu,
    symbols,
    tanh,
    width_limit,
)
from derivations.calculus.moments import moment_equations
from tests.helpers import Made

x = symbols.state
W = Weights("W")
WIDE, NARROW = ResNet(relu, width=sp.oo), ResNet(relu, width=3)
#: Derived when a test first asks: collecting the tests derives nothing.
ONE, TWO = (cache(lambda width=width: derive(ResNet(relu, width=width))) for width in (1, 2))
FLOW = cache(lambda: width_limit(WIDE))
SHAPED = ShapedMLP(relu, width=10, inputs=2, c_plus=1, c_minus=0)


class Odd:
    """Of no kind that anything takes."""


#: One of each kind: no number, no expression, no network, no text that names anything, not finite, not one.
HOSTILE = {
    "nothing": None,
    "an object": Odd(),
    "text": "no such thing",
    "an empty text": "",
    "nan": float("nan"),
    "zoo": sp.zoo,
    "a complex number": 1j,
    "true": True,
    "a broken array": np.array([[1.0, np.nan]]),
    "texts": ["a", "b"],
    "a mapping": {"a": 1},
    "a class": int,
    "a relation": sp.Eq(sp.Symbol("q"), 1),
    "a huge number": 10**30,
}

BODY = {"body": x}
#: Each public function that takes arguments, with arguments that it takes.
VALID = Made(
    {
        "Activation": lambda: {"name": "f", "expr": x**2},
        "AttentionBlock": lambda: {"width": 2},
        "ConvBlock": lambda: {"activation": relu, "width": 2},
        "ConvResNet": lambda: {"outer": tanh, "inner": relu, "width": 2, "positions": (2,)},
        "Diffusion": lambda: {"states": (x,), "drift": [0], "covariance": [[1]]},
        "Flow": lambda: {"states": (x,), "drift": [x]},
        "GatedBlock": lambda: {"activation": relu, "width": 2},
        "MLP": lambda: {"activation": relu},
        "MLPBlock": lambda: {"activation": relu, "width": 2},
        "Network": lambda: {"layer": x + epsilon * W(tanh(x)), "width": 2},
        "NeuronDiffusion": lambda: {
            "neuron": (x,),
            "neuron_drift": [0],
            "neuron_covariance": [[x**2]],
            "width": symbols.width,
        },
        "Normal": lambda: {"mean": 0, "variance": 1},
        "PreNormResNet": lambda: {"activation": relu},
        "Regime": lambda: {"rates": {epsilon: 1}, "depth": 1},
        "ResNet": lambda: {"activation": relu, "width": 2},
        "ShapedAttention": lambda: {"width": 4},
        "ShapedMLP": lambda: {"activation": relu, "c_plus": 1, "c_minus": 0},
        "ShrinkingResNet": lambda: {"outer": tanh, "inner": relu, "width": 2},
        "TransformerBlock": lambda: {"width": 2},
        "Weights": lambda: {"name": "W"},
        "activation_from_potential": lambda: {"potential": sp.Integer(-1)},
        "as_activation": lambda: {"given": relu},
        "attention": lambda: {"queries": W(x), "keys": W(x), "values": W(x)},
        "average": lambda: BODY,
        "celu": lambda: {},
        "depth_limit": lambda: {"architecture": NARROW},
        "derive": lambda: {"architecture": NARROW},
        "drop_branch": lambda: {**BODY, "keep": sp.S.Half},
        "dropout": lambda: {**BODY, "keep": sp.S.Half},
        "elu": lambda: {},
        "equivalence": lambda: {"first": FLOW(), "second": FLOW(), "unknown": sp.Symbol("c")},
        "first_passage": lambda: {"process": Diffusion((x,), [0], [[1]]), "level": 1},
        "gram_limit": lambda: {"program": NARROW.program()},
        "hardshrink": lambda: {},
        "hardtanh": lambda: {},
        "jacobian": lambda: {"network": NARROW},
        "joint_limit": lambda: {"recipe": MLP(relu)},
        "layer_norm": lambda: BODY,
        "leaky_relu": lambda: {},
        "mixed": lambda: {"entries": [[1, 0], [1, 1]], **BODY},
        "normalised_sum": lambda: BODY,
        "other": lambda: BODY,
        "over_positions": lambda: BODY,
        "parse_activation": lambda: {"text": "tanh"},
        "parse_layer": lambda: {"text": "x + epsilon*W(tanh(x))"},
        "position_matrix": lambda: {"entries": [[1, 0], [1, 1]]},
        "rotary": lambda: {**BODY, "frequencies": [1]},
        "mixture_of_experts": lambda: {"experts": [x, x], "scores": [x, x**2]},
        "rotary_frequencies": lambda: {"size": 4, "base": 10000},
        "prelu": lambda: {},
        "recognise": lambda: {"process": Diffusion((x,), [0], [[1]])},
        "rms_norm": lambda: BODY,
        "scalings": lambda: {"net": NARROW},
        "self_attention": lambda: BODY,
        "shaped": lambda: {"activation": relu, "c_plus": 1, "c_minus": 0},
        "shaped_slopes": lambda: {"c_plus": 1, "c_minus": 0},
        "shaped_smooth": lambda: {"activation": tanh, "a": 1},
        "softmax": lambda: {"scores": W(x)},
        "softshrink": lambda: {},
        "squareplus": lambda: {},
        "swish": lambda: {},
        "threshold": lambda: {"level": 0, "value": 0},
        "training_limit": lambda: {"net": ResNet(tanh, width=sp.oo)},
        "two_slope": lambda: {"positive": 1, "negative": 0},
        "width_limit": lambda: {"architecture": WIDE},
        "choose": lambda: {
            "net": ShapedMLP(tanh, a=sp.Symbol("a", positive=True)),
            "parameter": sp.Symbol("a", positive=True),
            "norm": 0.5,
        },
        "compare": lambda: {"d": ONE(), "samples": np.ones((20, 1, 1))},
        "compile_expression": lambda: {"arguments": x, "expression": x**2},
        "compile_law": lambda: {"law": ONE().law},
        "count_outcomes": lambda: {"limit": ONE().limit, "states": np.zeros((3, 1))},
        "distribution": lambda: {"of": ONE()},
        "expect_network": lambda: {
            "architecture": NARROW,
            "function": lambda v: v,
            "depth": 4,
            "samples": 8,
            "x0": 1.0,
        },
        "expect_sde": lambda: {
            "limit": ONE().limit,
            "function": lambda v: v[..., 0],
            "x0": 1.0,
            "tol": 0.1,
        },
        "joint_output_law": lambda: {"d": TWO(), "samples": 10, "steps": 4},
        "kernel_matrix": lambda: {"architecture": WIDE, "X": np.eye(2)},
        "output_law": lambda: {"d": TWO(), "samples": 10, "steps": 4},
        "sample_law": lambda: {"law": ONE().law, "x0": 1.0, "samples": 4},
        "simulate_collapse": lambda: {"architecture": SHAPED, "depth": 2, "samples": 2, "gap": 0.1},
        "simulate_gram": lambda: {
            "architecture": ResNet(relu, width=3, inputs=2),
            "depth": 2,
            "samples": 2,
            "start": np.eye(2),
        },
        "simulate_jacobian": lambda: {"architecture": NARROW, "depth": 2, "samples": 2, "x0": 1.0},
        "simulate_network": lambda: {"architecture": NARROW, "depth": 2, "samples": 2, "x0": 1.0},
        "simulate_sde": lambda: {"limit": ONE().limit, "x0": 1.0, "steps": 2, "samples": 2},
        "simulate_tangent_kernel": lambda: {"architecture": NARROW, "depth": 2, "samples": 2, "inputs": np.eye(2)},
        "solve_flow": lambda: {"flow": FLOW(), "x0": [1.0]},
        "solve_fokker_planck": lambda: {"process": ONE().limit, "x0": 1.0},
        "solve_moments": lambda: {"equations": moment_equations(Diffusion((x,), [-x], [[1]]), 2), "start": {x: 1}},
        "solve_training": lambda: {
            "net": ResNet(tanh, width=sp.oo),
            "inputs": np.eye(2),
            "targets": [1.0, 0.0],
            "depth": 2,
            "steps": 2,
        },
        "to_diffrax": lambda: {"limit": ONE().limit},
        "to_sympy_lambda": lambda: {"limit": ONE().limit},
        "to_torchsde": lambda: {"limit": ONE().limit},
        "validate": lambda: {"d": ONE(), "samples": 10, "depth": 2},
    }
)
#: What is made by the project and not by users, checks when it is fitted as scikit-learn asks, or needs an extra.
ELSEWHERE = {
    "Derivation", "DerivationError", "ExplosionWarning", "Jacobian", "LAWS", "Law", "NNGPRegressor", "NTKRegressor", "NoClosedForm", "NoLimit",
    "NotClosed", "NystroemRegressor", "RECIPES", "Recipe", "Scalings", "TrainingLimit", "TrainingScalings", "UndefinedState",
    "UnsafeExpression", "ACTIVATIONS", "causal", "epsilon",
    "from_torch", "polynomial", "sample_tangent_kernel", "symbols",
}  # fmt: skip
HERE = {name: package for package in (derivations, numerics) for name in package.__all__}
#: A function's first arguments decide what it works on; the table goes through these with everything hostile.
FIRST = [(name, next(iter(inspect.signature(getattr(HERE[name], name)).parameters))) for name in VALID]


def test_every_public_function_takes_part():
    named = {name for name in HERE if isinstance(getattr(HERE[name], name), Activation)}
    assert {*VALID} | ELSEWHERE | named == {*HERE}
    assert not {*VALID} & ELSEWHERE


@pytest.mark.parametrize(("name", "argument"), FIRST, ids=[name for name, _ in FIRST])
def test_what_a_function_cannot_take_is_refused_in_one_line(name, argument):
    function, found = getattr(HERE[name], name), {}
    for value in HOSTILE.values():
        try:
            function(**{**VALID[name], argument: value})
        except ValueError as error:
            found[str(error)] = inspect.trace()[-1].filename
    assert len(found) >= 4  # some take a symbol, a text or a huge number
    for message, where in found.items():
        assert message.strip()
        assert "\n" not in message
        assert not re.search(r" at 0x[0-9a-f]{6}|object is not|has no attribute|unsupported operand", message)
        assert "/derivations/" in where or "/numerics/" in where


@pytest.mark.parametrize("name", [n for n in VALID if HERE[n] is numerics])
def test_numbers_of_the_numeric_side_are_numbers(name):
    """Numbers of samples, layers and steps, times and tolerances: text, nan and huge counts are refused before any work."""
    function = getattr(numerics, name)
    for argument in {"t", "depth", "samples", "tol", "tolerance", "rtol", "steps"} & {
        *inspect.signature(function).parameters
    }:
        for value in ("3", float("nan"), 1j, {}, Odd()):
            with pytest.raises(ValueError, match=r"^[^\n]+$"):
                function(**{**VALID[name], argument: value})


@pytest.mark.parametrize("name", [n for n in VALID if HERE[n] is numerics])
def test_numbers_beyond_doubles_and_empty_lists_are_refused(name):
    """Each number of a function; as a time 10^400 was an OverflowError or a TypeError, and an empty list of NumPy's own words."""
    function = getattr(numerics, name)
    for argument, parameter in inspect.signature(function).parameters.items():
        if re.fullmatch(r"(int|float)( \| None)?", str(parameter.annotation)):
            # seeds, points and numbers of workers may be as large as one likes
            huge = [] if argument in {"seed", "points", "workers"} else [10**400]
            for value in (*huge, [], np.zeros(0), np.array(np.nan)):
                with pytest.raises(ValueError, match=r"^[^\n]+$") as refusal:
                    function(**{**VALID[name], argument: value})
                assert "truth value" not in str(refusal.value)


def test_exact_numbers_are_the_floats_that_they_are():
    t, law = sp.Rational(1, 4), numerics.compile_law(ONE().law)
    for given in (t, Fraction(1, 4)):
        assert (
            numerics.simulate_network(NARROW, 2, 2, x0=1.0, t=given)
            == numerics.simulate_network(NARROW, 2, 2, x0=1.0, t=0.25)
        ).all()
        assert (
            numerics.kernel_matrix(WIDE, np.eye(2), t=given) == numerics.kernel_matrix(WIDE, np.eye(2), t=0.25)
        ).all()
        assert law.pdf(given) == law.pdf(0.25) != law.pdf(0.26)
    output = numerics.output_law(TWO(), samples=10, steps=4)
    assert output.cdf(sp.oo) == 1


def test_what_a_law_is_asked_for_is_of_its_kind():
    law = numerics.compile_law(ONE().law)
    for ask, words in (
        (lambda: law.stats(1.0), "expected letters of 'mvsk'"),
        (lambda: law.moment(10**400), "the order of a moment must be a whole number from 0 to 10\\^12, got 1000"),
        (lambda: law.expect(lb=10**400), "the ends lb and ub must be numbers"),
        (lambda: law.expect(ub=np.zeros(0)), "the ends lb and ub must be numbers"),
        (lambda: law.expect(points=1.0), "points must be a list of numbers, got 1.0"),
        (lambda: numerics.compile_law(ONE().law, t=10**400), "the time t must be a number that a double holds"),
    ):
        with pytest.raises(ValueError, match=words):
            ask()
    assert law.expect(lb=-np.inf, ub=np.inf, points=[1.0]) == pytest.approx(1.0)


def test_a_time_near_the_largest_double_has_its_steps():
    """The number of steps overflowed, none were taken, and paths were told to be where they started."""
    noise = Diffusion((x,), [0], [[1]])
    paths = numerics.simulate_sde(noise, x0=1.0, t=1e308, steps=4, samples=50)
    assert np.std(paths / 1e154) == pytest.approx(1, rel=0.5)


def wrong(annotation):
    """Values that an option annotated so cannot be; none where it may be anything of its kind."""
    if annotation == "bool":
        return "yes", 2
    if re.fullmatch(r"(int|float)( \| None)?", annotation):
        return "three", float("nan"), 1j
    return (3, Odd()) if re.fullmatch(r"str( \| None)?|Literal.*", annotation) else ()


@pytest.mark.parametrize("name", VALID)
def test_options_are_of_their_kind(name):
    """Every option that is annotated as a flag, a number or a word, of both packages."""
    function = getattr(HERE[name], name)
    for argument, parameter in list(inspect.signature(function).parameters.items())[1:]:
        for value in wrong(str(parameter.annotation)):
            with pytest.raises(ValueError, match=r"^[^\n]+$"):
                function(**{**VALID[name], argument: value})


def test_laws_are_asked_at_numbers():
    law = numerics.compile_law(ONE().law)
    for ask in (law.pdf, law.logpdf, law.cdf, law.sf, law.logcdf, law.logsf, law.ppf, law.isf, law.interval):
        for value in ("a", None, 1j, [[1], [1, 2]]):
            with pytest.raises(ValueError, match="must be a number or an array of numbers"):
                ask(value)


@pytest.mark.parametrize("name", [a for a in HERE if isinstance(getattr(derivations, a, None), Activation)])
def test_an_activation_takes_numbers_and_expressions(name):
    for value in ("x", "3", None, [1], True):
        with pytest.raises(ValueError, match=r"^expected a number or a SymPy expression, got [^\n]+$"):
            getattr(derivations, name)(value)


def test_a_flow_checks_its_states():
    with pytest.raises(ValueError, match="the drift of 1 states must have as many entries, got 2"):
        Flow((x,), [x, x])


@pytest.mark.parametrize(
    "matrix", [sp.Matrix, sp.ImmutableMatrix, sp.SparseMatrix, list, lambda rows: sp.Matrix(rows).T]
)
def test_coefficients_are_the_same_whatever_matrix_they_come_in(matrix):
    x, y = sp.symbols("x y", real=True)
    flow, exact = Flow((x, y), matrix([0.1 * x, y])), Flow((x, y), [x / 10, y])
    assert flow == exact
    assert hash(flow) == hash(exact)
    assert flow != Flow((x, y), [x / 5, y])  # the control
    rows = [0.1 * x]
    neuron = derivations.NeuronDiffusion((x,), matrix(rows), [[1]], width=3)
    assert hash(neuron) == hash(derivations.NeuronDiffusion((x,), [x / 10], [[1]], width=3))
    assert numerics.simulate_sde(Flow((x,), matrix([-x])), x0=1.0, steps=4, samples=2).ravel().size
    with pytest.raises(ValueError, match="the drift must have finite entries"):
        Flow((x,), matrix([sp.nan]))
