"""Positions: one layer's derived moments against weights drawn by hand, the interpreter, and means over scores."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp

from derivations import Network, NoLimit, NotClosed, derive
from derivations.gaussian import GaussianJointExpectation, joint_mean
from derivations.language import (
    Weights,
    attention,
    average,
    causal,
    drop_branch,
    mixed,
    other,
    over_positions,
    program,
    self_attention,
)
from derivations.symbols import state as x
from derivations.symbols import step as eps
from numerics import simulate_network
from numerics.compile import compile_expression
from numerics.compile.joint_means import joint_gaussian_mean
from numerics.compile.programs import compiled_program
from numerics.networks import DRAWINGS
from tests.one_layer import derived_moments, worst_distance

HALF = sp.Rational(1, 2)
Q, K, V, A = (Weights(name, out=out) for name, out in (("Q", 3), ("K", 3), ("V", 2), ("A", 2)))
SHIFT = [[0, 1], [HALF, -1]]
LAYERS = {
    "linear attention": x + eps * attention(Q(x), K(x), V(x), "linear"),
    "causal": x + eps * attention(Q(x), K(x), V(x), "linear", mask=causal),
    "two heads": x + eps * self_attention(x, heads=2, size=2, kind="linear", scale="linear"),
    "mixed by numbers": x + eps * A(mixed(SHIFT, sp.tanh(x))),
    "mixed by averages": x
    + eps * over_positions(average(x * other(x)) * other(A(x)))
    + eps**2 * over_positions(other(x)),
    "one head, one drawn branch": x + eps * drop_branch(attention(Q(x), K(x), V(x), "linear"), HALF),
}
START = np.array([[0.7, -0.4], [-1.2, 0.9]])  # two neurons, two positions
SIZE, SAMPLES = 0.02, 30_000


def _attended(rng, start, keys: int, scale: float, mask: np.ndarray, kind: str, samples: int = SAMPLES):
    n = len(start)
    draw = lambda rows: rng.standard_normal((samples, rows, n)) / np.sqrt(n)  # noqa: E731
    scores = np.einsum("ska,skb->sab", draw(keys) @ start, draw(keys) @ start) / keys**scale
    if kind == "softmax":
        scores = np.exp(scores) * mask
        shares = scores / scores.sum(axis=2, keepdims=True)
    else:
        shares = scores * mask
    return np.einsum("sab,skb->ska", shares, draw(n) @ start)


def _by_hand(name: str, rng: np.random.Generator) -> np.ndarray:
    every, lower = np.ones((2, 2)), np.tril(np.ones((2, 2)))
    draw = lambda rows, columns: rng.standard_normal((SAMPLES, rows, columns)) / np.sqrt(columns)  # noqa: E731
    match name:
        case "linear attention":
            step = _attended(rng, START, 3, 0.5, every, "linear")
        case "causal":
            step = _attended(rng, START, 3, 0.5, lower, "linear")
        case "two heads":
            step = sum(draw(2, 2) @ _attended(rng, START, 2, 1.0, every, "linear") for _ in range(2)) / np.sqrt(2)
        case "mixed by numbers":
            step = draw(2, 2) @ (np.tanh(START) @ np.array([[0, 1], [0.5, -1]]).T)
        case "mixed by averages":
            step = (draw(2, 2) @ START) @ (START.T @ START / 2) + SIZE * START.sum(axis=1, keepdims=True)
        case "one head, one drawn branch":  # both positions are dropped together
            kept = 2.0 * (rng.random((SAMPLES, 1, 1)) < 0.5)
            step = kept * _attended(rng, START, 3, 0.5, every, "linear")
    return START + SIZE * step


def _moments(name: str) -> tuple[np.ndarray, np.ndarray]:
    return derived_moments(LAYERS[name], START, positions=2)


@pytest.mark.parametrize("name", LAYERS)
def test_moments_are_those_of_weights_drawn_by_hand(name):
    drift, covariance = _moments(name)
    sample = _by_hand(name, np.random.default_rng(21))
    assert worst_distance(sample, START, SIZE, drift, covariance) < 4.8
    assert worst_distance(sample, START, SIZE, drift, 1.15 * covariance) > 4.8


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.slow
def test_the_interpreter_draws_these_layers(name):
    compiled = compiled_program(program(LAYERS[name], sp.Integer(2), positions=(2,)))
    start = np.broadcast_to(START, (SAMPLES, 2, 2))
    for drawing in DRAWINGS:
        sample, _ = compiled.advance(start, SIZE, drawing, np.random.default_rng(22))
        assert worst_distance(sample, START, SIZE, *_moments(name)) < 4.8


def _rates(kernel, **options):
    """The flow of attention over two positions at infinite width, at numbers for the kernel."""
    layer = x + eps * attention(*(Weights(name)(x) for name in "QKV"), **options)
    flow = derive(Network(layer, width=sp.oo, positions=2)).limit
    return sp.lambdify(flow.states, list(flow.drift))(*kernel)


@pytest.mark.slow
@pytest.mark.parametrize("mask", [sp.S.One, causal], ids=["all", "causal"])
def test_softmax_attention_moves_the_kernel_as_wide_networks_do(mask):
    gram = START.T @ START / 2
    rates = _rates((gram[0, 0], gram[0, 1], gram[1, 1]), mask=mask)
    # scores are Gaussian up to 1/keys, which is below the standard error of 1/√samples
    shown = np.ones((2, 2)) if mask == 1 else np.tril(np.ones((2, 2)))
    samples = 12_000
    step = _attended(np.random.default_rng(23), START, 200, 0.5, shown, "softmax", samples)
    products = np.einsum("sia,sib->sab", step, step) / 2
    error = products.std(axis=0) / np.sqrt(samples)
    for rate, (a, b) in zip(rates, ((0, 0), (0, 1), (1, 1)), strict=True):
        assert abs(products[:, a, b].mean() - rate) < 4.5 * error[a, b]
    assert abs(products[:, 1, 1].mean() - gram.mean()) > 4.5 * error[1, 1]  # uniform attention, of scores that vanish


def test_softmax_networks_are_simulated_by_hand_and_by_the_interpreter_alike():
    net = Network(x + eps * attention(Q(x), K(x), V(x), mask=causal), width=2, positions=2)
    after = simulate_network(net, 1, SAMPLES, x0=START, seed=5, t=1.0)
    step = _attended(np.random.default_rng(24), START, 3, 0.5, np.tril(np.ones((2, 2))), "softmax")
    for a, b in ((0, 0), (0, 1), (1, 1)):
        one, two = ((s[:, :, a] * s[:, :, b]).mean(axis=1) for s in (after - START, step))
        error = np.sqrt((one.var() + two.var()) / SAMPLES)
        assert abs(one.mean() - two.mean()) < 4.5 * error
        assert abs(one.mean() - 1.2 * two.mean()) > 4.5 * error
    far = simulate_network(net, 3, 20, x0=1e5, seed=1)
    assert np.isfinite(far).all()  # exponentials of scores that leave the range of numbers


@pytest.mark.slow
def test_equal_positions_attend_to_themselves():
    # shares sum to one, so that equal positions have F = K whatever the scores
    assert np.allclose(_rates((0.7, 0.7, 0.7)), 0.7, atol=1e-9)


def test_scores_over_the_number_of_keys_vanish_at_infinite_width():
    assert np.allclose(_rates((1.0, 0.2, 2.0), scale="linear"), (1 + 0.4 + 2) / 4)  # uniform attention: rank collapse
    assert np.allclose(_rates((1.0, 0.2, 2.0), kind="linear", scale="linear"), 0)
    k11, k12, k22 = 1.0, 0.2, 2.0
    assert np.allclose(
        _rates((k11, k12, k22), kind="linear"), (k11**2 + 2 * k12**2 + k22**2) * np.array([k11, k12, k22])
    )


def test_what_has_no_rule_at_a_finite_number_of_keys_and_scores_that_are_not_centred():
    # the values are the keys: given the shares, what comes out is not Gaussian
    with pytest.raises(NotClosed, match="queries, keys and values are what Gaussian matrices of their own put out"):
        derive(Network(x + eps * attention(Q(x), K(x), K(x)), width=3, positions=2))
    shared = Weights("Q")
    with pytest.raises(NoLimit, match="grows with k: use average, or centre"):
        derive(Network(x + eps * attention(shared(x), shared(x), Weights("V")(x)), width=sp.oo, positions=2))


z = sp.symbols("z1:6", real=True)


@pytest.mark.parametrize("size", [2, 4, pytest.param(5, marks=pytest.mark.slow)])
def test_joint_means_have_errors_that_hold(size):
    rng = np.random.default_rng(size)
    root = rng.standard_normal((size, size)) / np.sqrt(size)
    body = (1 + sp.Add(*(sp.exp(a - z[0]) for a in z[1:size]))) ** -2
    node = joint_mean(body, z[:size], sp.Matrix(root @ root.T))
    assert isinstance(node, GaussianJointExpectation)
    value, error = joint_gaussian_mean(node)
    draws = rng.standard_normal((200_000, size)) @ root.T
    sample = (1 + sum(np.exp(draws[:, a] - draws[:, 0]) for a in range(1, size))) ** -2.0
    assert abs(sample.mean() - value) < 4.5 * sample.std() / np.sqrt(len(sample))
    assert error < 3e-4
    other_value, _ = joint_gaussian_mean(joint_mean(body, z[:size], 2 * sp.Matrix(root @ root.T)))
    assert abs(sample.mean() - other_value) > 4.5 * sample.std() / np.sqrt(len(sample))


def test_a_mean_with_parameters_asks_for_numbers():
    s = sp.Symbol("s", positive=True)
    with pytest.raises(ValueError, match="substitute values"):
        joint_gaussian_mean(joint_mean(1 / (1 + sp.exp(z[0] - z[1])), z[:2], [[s, 0], [0, s]]))


def test_values_of_joint_means_move_continuously_where_variances_meet():
    node = joint_mean(sp.tanh(z[0] * z[2]) * sp.tanh(z[1] * z[3]), z[:4], sp.Matrix(4, 4, sp.symbols("c:16")))
    values = compile_expression(sp.symbols("c:16"), node)
    block = lambda k: np.kron(np.eye(2), [[1 + k, 0.5], [0.5, 1]]).ravel()  # noqa: E731
    middle, *beside = (float(values(*block(k))) for k in (0.0, -1e-7, 1e-7))
    assert np.allclose(beside, middle, atol=1e-8, rtol=0)  # eigenvectors, which turn here, move it by 1e-4
    assert abs(float(values(*block(0.1))) - middle) > 1e-4  # the control


def test_many_values_of_one_parameter_are_those_of_each():
    s = sp.Symbol("s", positive=True)
    node = joint_mean(sp.tanh(z[0] * z[1]) ** 2, z[:2], [[s, 0], [0, 1 + s]])
    values, at = compile_expression((s,), node), np.geomspace(0.013, 4, 200)
    many, each = values(at), np.array([float(values(v)) for v in at[::20]])
    assert np.allclose(many[::20], each, rtol=1e-9, atol=0)
    assert not np.allclose(many[1::20], each, rtol=1e-3)  # the control
    assert np.isclose(float(values(np.zeros(100))[0]), 0, atol=1e-15)
