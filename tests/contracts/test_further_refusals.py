"""Refusals of which no test held a phrase, found by listing the words of every `raise`: the cause, in one line."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import sympy as sp

from derivations import (
    MLP,
    Diffusion,
    Flow,
    Network,
    ResNet,
    ShapedMLP,
    Weights,
    as_activation,
    dropout,
    epsilon,
    gelu,
    identity,
    normalised_sum,
    other,
    over_positions,
    parse_layer,
    relu,
    rotary,
    rotary_frequencies,
    softmax,
    symbols,
    tanh,
    training_limit,
    width_limit,
)
from derivations.calculus.closure import close
from derivations.calculus.gram import norm_and_correlation
from derivations.calculus.linear import ItoIntegral
from derivations.calculus.moment_closures import ZeroCumulant
from derivations.calculus.moments import moment_equations
from derivations.derivation import derive
from derivations.kernels.correlation import solve_variance
from derivations.kernels.riccati import mean_riccati
from derivations.limits import joint_limit
from derivations.limits.elimination.series import taylor
from numerics import compare, compile_expression, distribution, simulate_collapse, simulate_network, simulate_sde
from numerics.cli.files import read_inputs
from numerics.compile.constants import exact_number
from numerics.compile.jax_paths import _sharing as sharing
from numerics.ensembles.checkpoint import Checkpoint
from numerics.kernels import kernel_matrices
from numerics.regression.factors import factor
from numerics.report import Start
from numerics.validation.base import negative_control
from tests.command_line import complaint
from tests.refused import assert_refused, refusals

x, y = symbols.state, sp.Symbol("y", real=True)
A, B, K, Q, R, V = (Weights(name) for name in "ABKQRV")
wide, deep = ResNet(tanh, width=sp.oo), ResNet(tanh, width=3)
size = sp.Symbol("K", positive=True)
angle = sp.Symbol("a", real=True)


@cache
def geometric():
    return distribution(derive(ResNet(identity, width=1)), x0=1.0, t=1.0)


@cache
def sums():
    return derive(ResNet(tanh, width=symbols.width)).limit


@cache
def gram():
    return joint_limit(ShapedMLP(gelu, inputs=2, a=1))


def length():
    return sums().sum(sums().neuron[0] ** 2)


def head(score, value):
    return lambda z: z + epsilon * R(over_positions(softmax(score(z)) * other(value(z))))


def turned(z):
    return normalised_sum(rotary(Q(z), [angle]) * other(rotary(K(z), [angle])))


REFUSED = {
    "a function without a formula": (lambda: as_activation(sp.Function("f")(x)), r"f\(x\) has no formula, and a limit"),
    "a slope along paths": (lambda: sp.diff(ItoIntegral(sp.S.One, y, symbols.time), symbols.time), "not differentiable in t, its time"),
    "moments that are not linear": (
        lambda: moment_equations(Diffusion((x,), [-(x**3)], [[1]]), 2, closure=ZeroCumulant(3)).solve({x: 1}),
        "the moment equations are not linear",
    ),
    "a function that does not close": (lambda: close(sums(), {y: length()}).diffusion(), r"also depend on Sum_j\(tanh\(x_j\)\*\*2\)"),
    "a norm and a correlation that need more": (
        lambda: norm_and_correlation(gram(), gram().states),
        "also depend on V_11, V_22; follow the whole Gram matrix",
    ),
    "a sum without neurons": (lambda: sp.lambdify((), length(), "numpy")(), "holds no neurons to compute with"),
    "growth that is not known": (
        lambda: training_limit(Network(lambda z: z + epsilon * A(z * sp.loggamma(z**2 + 1)), width=sp.oo)),
        "how fast .* grows is not known, and fields",
    ),
    "a layer without a matrix": (
        lambda: training_limit(Network(lambda z: z + epsilon**2 * tanh(z), width=sp.oo)),
        "the layer has no matrix to train",
    ),
    "a variance by a mean without a formula": (lambda: solve_variance(width_limit(wide)), r"has no elementary solution"),
    "a variance by an equation that algebra leaves": (
        lambda: solve_variance(Flow((size,), [size + sp.sin(size)])),
        "has no elementary solution; integrate it",
    ),
    "no Riccati equation": (lambda: mean_riccati(y, x, y * x, x**2), "do not reduce to a Riccati equation"),
    "a head larger than any": (lambda: rotary_frequencies(2**20), "a head of 1048576 neurons is larger than any is"),
    "one name for two factors": (
        lambda: derive(
            Network(
                lambda z: epsilon * (dropout(A(z), sp.S.Half, name="d") + dropout(B(z), sp.Rational(1, 3), name="d")) + z,
                width=3,
            )
        ),
        "the factors called d are drawn together, and differ in keep",
    ),
    "scores of single neurons": (
        lambda: derive(Network(head(lambda z: Q(z) * other(K(z)), V), width=sp.oo, positions=2)),
        "reads single neurons; scores are averages over neurons",
    ),
    "a series without a term": (lambda: taylor(1 / (sp.cos(epsilon) ** 2 + sp.sin(epsilon) ** 2 - 1), 2), r"vanishes faster than ε\^12"),
    "angles without values": (
        lambda: simulate_network(
            Network(head(turned, V), width=4, positions=2, parameters=(angle,)), x0=np.ones((4, 2)), t=1, depth=2, samples=2
        ),
        "the angles of rotary positions hold a; give them values",
    ),
    "ends that are no numbers": (lambda: geometric().expect(lambda v: v, lb="a"), "the ends lb and ub must be numbers"),
    "what is known given nothing": (
        lambda: geometric().expect(lambda v: v, lb=-3, ub=-2, conditional=True),
        "the interval from -3.0 to -2.0 has probability 0",
    ),
    "no network": (lambda: derive("relu"), "derive expects an architecture such as"),
    "a layer alone": (
        lambda: derive(parse_layer("x + eps*A(relu(x))")),
        r"a layer becomes a network with a width: Network\(layer, width=4\)",
    ),
    "no number": (lambda: exact_number([], "x0"), r"x0 must be a real number, got \[\]"),
    "paths of a text": (lambda: simulate_sde("x", 1.0, t=1.0, samples=3), "expected a limit, as .* gives it, got 'x'"),
    "inputs of two shapes": (lambda: kernel_matrices(wide, np.eye(2), t=1.0, other=np.eye(3)), "must be inputs of one shape"),
    "networks from nowhere": (lambda: simulate_network(deep, t=1, depth=2, samples=2), "expected either x0, a fixed start, or inputs, .* got neither"),
    "a collapse of one input": (
        lambda: simulate_collapse(MLP(relu, width=4, inputs=1), depth=3, samples=2, gap=0.1),
        "expected an architecture with two inputs",
    ),
    "a kernel that is none": (lambda: factor(-np.eye(3), "K"), "K is not positive semi-definite: Cholesky fails"),
    "a control of a number": (lambda: negative_control(3), "expected a limit, as .* is, got 3"),
    "a report from infinity": (lambda: Start(x0=np.inf, t=1.0), "x0 must be 0 or of a size from 1e-75"),
    "samples that are nan": (lambda: compare(derive(deep), np.full((300, 3), np.nan), x0=np.ones(3), t=1.0), "300 samples are nan; leave them out"),
    "samples that are few": (lambda: compare(derive(deep), np.ones((3, 3)), x0=np.ones(3), t=1.0), "3 samples are too few"),
}  # fmt: skip


@refusals(REFUSED)
def test_what_cannot_be_done_is_refused_with_its_cause(call, message):
    assert_refused(call, message)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"hello", "is no .npy file; write one with numpy.save"),
        (b"\x93NUMPY\x01", "cannot be read as an array of numbers: .*; write it with numpy.save"),
    ],
)
def test_files_that_are_no_arrays(content, message, tmp_path):
    (tmp_path / "a.npy").write_bytes(content)
    assert_refused(lambda: read_inputs(str(tmp_path / "a.npy")), message)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff\xfe\x00\x81", "is no text; expected CSV"),
        (b"", "has 0 bytes; a file of network inputs"),
        (b"a,b\n\n", "holds no numbers; expected a row of them a line"),
        (b"1e200,1\n", "holds numbers beyond 1e100, whose squares overflow"),
    ],
)
def test_files_that_are_no_tables(content, message, tmp_path):
    (tmp_path / "a.csv").write_bytes(content)
    assert_refused(lambda: read_inputs(str(tmp_path / "a.csv")), message)


def test_a_folder_of_something_else_takes_no_ensemble(tmp_path):
    (tmp_path / "mine").write_text("kept")
    assert_refused(lambda: Checkpoint(tmp_path, {"a": "b"}), "expected an empty directory or one of an ensemble")
    assert (tmp_path / "mine").read_text() == "kept"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["report", "--out", "a.foo"], "unknown suffix '.foo'; --out must end in .html"),
        (["report", "--out", "a"], "--out must end in .html, got a"),
        (["dynamics", "--steps", "3"], "--steps is of a training, which needs --data"),
        (["simulate", "--width", "3", "--inputs", "a.csv", "--x0", "1"], "--inputs and --x0 are given both"),
    ],
    ids=lambda v: " ".join(v) if isinstance(v, list) else "",
)
def test_the_command_refuses_too(arguments, says, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert says in complaint(capsys, arguments[0], "resnet", "--activation", "tanh", *arguments[1:])


def test_a_compiled_function_is_called_with_all_its_arguments():
    with pytest.raises(TypeError, match=r"expected 2 arguments \(x, y\), got 1"):
        compile_expression((x, y), x + y)(1.0)


def test_devices_are_jax_s_own():
    pytest.importorskip("jax")
    assert_refused(lambda: sharing([3]), r"devices must be some of jax.devices\(\), got \[3\]")
