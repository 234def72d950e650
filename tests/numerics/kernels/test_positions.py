"""Kernels over positions: against flows written out by hand, the derived flow of all coordinates at once, and networks drawn in NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp
from scipy.integrate import solve_ivp

from derivations import (
    MLPBlock,
    Network,
    PreNormResNet,
    Weights,
    attention,
    causal,
    drop_branch,
    dropout,
    epsilon,
    mixed,
    relu,
    rms_norm,
    symbols,
    tanh,
)
from derivations.kernels import ntk
from numerics.compile import compile_expression
from numerics.kernels import kernel_matrices, kernel_matrix
from numerics.statistics import Estimate

n = symbols.width
Q, K, V = Weights("Q"), Weights("K"), Weights("V")
TOKENS = 0.7 * np.random.default_rng(0).normal(size=(3, 4, 2))


def shares(scores, masked):
    weights = np.exp(scores - scores.max(axis=1, keepdims=True)) * (np.tril(np.ones_like(scores)) if masked else 1.0)
    return weights / weights.sum(axis=1, keepdims=True)


def by_shares(masked):
    """K and Θ of two inputs from K of each: shares A and B of positions, and A K B'."""

    def speed(own, other, k, theta):
        first, second = shares(own, masked), shares(other, masked)
        return first @ k @ second.T, first @ (k + theta) @ second.T

    return speed


def scores_read(own, other, k, theta):
    return own @ k @ other, own @ (k + theta) @ other


def linear_attention(own, other, k, theta):
    square = np.sum(k * k)
    return square * k, 3 * square * k + square * theta + 2 * np.sum(k * theta) * k


LAYERS = {
    "linear": (lambda x: x + epsilon * attention(Q(x), K(x), V(x), kind="linear"), linear_attention),
    "linear in averages": (lambda x: x + epsilon * V(attention(x, x, x, "linear", "linear")), scores_read),
    "softmax of averages": (lambda x: x + epsilon * V(attention(x, x, x, scale="linear")), by_shares(False)),
    "causal": (lambda x: x + epsilon * V(attention(x, x, x, scale="linear", mask=causal)), by_shares(True)),
}


def written_out(speed, X, t):
    """K and Θ of all positions, by an integrator of its own."""
    m, p = len(X), X.shape[2]
    start = np.einsum("idp,jdq->ijpq", X, X) / X.shape[1]

    def velocity(_, y):
        k, theta = y.reshape(2, m, m, p, p)
        return (
            np.array([[speed(k[i, i], k[j, j], k[i, j], theta[i, j]) for j in range(m)] for i in range(m)])
            .transpose(2, 0, 1, 3, 4)
            .ravel()
        )

    end = solve_ivp(velocity, (0, t), np.array([start, start]).ravel(), rtol=1e-10, atol=1e-12, method="DOP853").y[
        :, -1
    ]
    return end.reshape(2, m, m, p, p)


@pytest.mark.parametrize(
    "name", [pytest.param(k, marks=[pytest.mark.slow] if k != "linear in averages" else []) for k in LAYERS]
)
def test_attention_follows_the_flow_written_out(name):
    layer, speed = LAYERS[name]
    network = Network(layer, width=sp.oo, positions=2)
    exact = written_out(speed, TOKENS, 0.3)
    for pool in (False, True):
        found = kernel_matrices(network, TOKENS, t=0.3, pool=pool)
        for matrix, values in zip((found.nngp, found.ntk), exact, strict=True):
            read = values.mean(axis=(2, 3)) if pool else np.einsum("ijpp->ij", values) / 2
            assert np.allclose(matrix, read, rtol=0, atol=1e-8)
            assert not np.allclose(matrix * 1.000001, read, rtol=0, atol=1e-8)  # the control
    crossed = kernel_matrix(network, TOKENS[:1], 0.3, "ntk", other=TOKENS[1:])
    assert np.allclose(crossed, kernel_matrix(network, TOKENS, 0.3, "ntk")[:1, 1:], rtol=0, atol=1e-8)


def filtered(layer, positions=3):
    return Network(layer, width=sp.oo, positions=positions)


FILTERS = {
    "two filters": lambda x: (
        x
        + epsilon
        * Weights("A", filter=3, padding="zeros")(
            tanh(Weights("B", filter=3, padding="reflect", bias_variance=sp.S.Half)(x))
        )
    ),
    "a norm of each position": lambda x: x + epsilon * Weights("A", filter=3, padding="zeros")(relu(rms_norm(x))),
    "masks": lambda x: x + epsilon * Weights("A", filter=3)(dropout(tanh(x), sp.S.Half)),
    "means": lambda x: (
        x
        + epsilon * Weights("A", filter=3, padding="zeros")(tanh(x))
        + epsilon**2 * Weights("M", filter=3, variance=0, mean=1)(x**2 + 1)
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FILTERS)
def test_filters_follow_the_derived_flow_of_all_coordinates(name):
    # one generic position with filters as averages, against the flow of three positions derived as a whole
    network = filtered(FILTERS[name])
    image = np.random.default_rng(1).normal(size=(1, 2, 3))
    flow = ntk(network)
    velocity = compile_expression(flow.states, list(flow.drift))
    start = image[0].T @ image[0] / 2
    upper = start[np.triu_indices(3)]
    begin = np.concatenate([np.zeros(len(flow.states) - 12), upper, upper])
    end = solve_ivp(lambda _, y: np.array(velocity(*y)), (0, 0.4), begin, rtol=1e-9, atol=1e-11).y[:, -1]
    found = kernel_matrices(network, image, t=0.4)
    for matrix, values in ((found.nngp, end[-12:-6]), (found.ntk, end[-6:])):
        exact = values[[0, 3, 5]].mean()
        assert abs(matrix[0, 0] - exact) < 2e-8
        assert abs(matrix[0, 0] * 1.000001 - exact) > 2e-8  # the control


@pytest.mark.slow
def test_an_image_of_one_colour_is_as_one_position():
    colours = np.random.default_rng(3).normal(size=(3, 2))
    images = colours[:, :, None] * np.ones(3)

    def dense(x):
        return x + epsilon * Weights("A")(tanh(rms_norm(x)))

    exact = kernel_matrices(Network(dense, width=sp.oo), colours, t=0.4)
    for padding, same in (("circular", True), ("replicate", True), ("zeros", False)):
        layer = lambda x, p=padding: x + epsilon * Weights("A", filter=3, padding=p)(tanh(rms_norm(x)))  # noqa: E731
        found = kernel_matrices(filtered(layer), images, t=0.4, pool=True)
        assert np.allclose(found.nngp, exact.nngp, rtol=0, atol=1e-7) == same
        assert np.allclose(found.ntk, exact.ntk, rtol=0, atol=1e-7) == same


@pytest.mark.slow
def test_wide_networks_with_two_filters_have_the_kernel_as_gram_matrix():
    images = 0.3 * np.random.default_rng(2).normal(size=(2, 2, 4))
    layer = lambda x: x + epsilon * Weights("A", filter=3)(relu(Weights("B", filter=3, padding="zeros")(rms_norm(x))))  # noqa: E731
    derived = kernel_matrix(filtered(layer, 4), images, 1.0)
    # the control: no zeros are read inside, and the outer matrix is 6/5 as large
    outer = Weights("A", filter=3, variance=sp.Rational(6, 5))
    wrong = kernel_matrix(
        filtered(lambda x: x + epsilon * outer(relu(Weights("B", filter=3)(rms_norm(x)))), 4), images, 1.0
    )
    rng, width, depth, found = np.random.default_rng(0), 48, 48, []
    for _ in range(240):
        x = np.einsum("nd,mdp->nmp", rng.standard_normal((width, 2)) / np.sqrt(2), images)
        for _ in range(depth):
            unit = np.pad(x / np.sqrt(np.mean(x**2, axis=0)), ((0, 0), (0, 0), (1, 1)))
            weights = rng.standard_normal((2, 3, width, width)) / np.sqrt(3 * width)
            hidden = np.maximum(
                sum(np.einsum("nk,kmp->nmp", weights[0, s], unit[:, :, s : s + 4]) for s in range(3)), 0
            )
            around = sum(np.einsum("nk,kmp->nmp", weights[1, s], np.roll(hidden, 1 - s, axis=2)) for s in range(3))
            x = x + around * np.sqrt(1 / depth)
        found.append(np.einsum("nap,nbp->ab", x, x) / (4 * width))
    for a, b in ((0, 0), (0, 1)):
        measured = Estimate.of(np.array(found)[:, a, b])
        assert abs(measured.value - derived[a, b]) < 4 * measured.error + 0.02  # the bias is of order 1/n + 1/L
        assert a != b or abs(measured.value - wrong[a, b]) > 4 * measured.error + 0.02


@pytest.mark.parametrize(
    ("layer", "positions", "says"),
    [
        (lambda x: x + epsilon * attention(Q(x), Q(x), V(x)), 3, "three matrices that are read nowhere else"),
        (
            lambda x: x + epsilon * attention(Weights("Q", out=8)(x), Weights("K", out=8)(x), V(x)),
            2,
            "a rule for infinitely many keys only",
        ),
        (lambda x: rms_norm(x + epsilon * V(attention(x, x, x, scale="linear"))), 2, "centred neurons without a norm"),
        (lambda x: x + epsilon * V(mixed([[1, 1], [1, 1]], sp.sign(x))), 2, "it jumps at"),
        (
            lambda x: x + epsilon * drop_branch(Weights("A", filter=3)(tanh(x)), sp.S.Half),
            3,
            "dropped for all of its positions together",
        ),
    ],
    ids=["scores", "keys", "norm", "jump", "branch"],
)
def test_what_has_no_kernel_over_positions_is_refused_with_its_reason(layer, positions, says):
    inputs = np.ones((2, 2, positions))
    with pytest.raises(ValueError, match=says):
        kernel_matrix(Network(layer, width=sp.oo, positions=positions), inputs, 0.5, "ntk")


@pytest.mark.slow
def test_a_softmax_of_many_positions_asks_for_its_tolerance():
    tokens = np.random.default_rng(3).standard_normal((1, 2, 3))
    net = Network(lambda x: x + epsilon * attention(Q(x), K(x), V(x), mask=causal), width=sp.oo, positions=3)
    with pytest.raises(ValueError, match="softmax of 3 positions are known to about"):
        kernel_matrix(net, tokens, 0.1, tolerance=1e-6)
    with pytest.raises(ValueError, match="place of the channels"):
        kernel_matrix(net, tokens, 0.5, channels="middle")


@pytest.mark.slow
def test_linear_attention_over_six_tokens_moves_by_the_squared_norm():
    """K and the kernel of two inputs by their flow written out: the covariance of what a head puts out is K ΣK² in each block."""
    tokens = np.random.default_rng(4).standard_normal((2, 4, 6)) / 2
    found = kernel_matrix(
        Network(lambda x: x + epsilon * attention(Q(x), K(x), V(x), kind="linear"), width=sp.oo, positions=6),
        tokens,
        0.02,
    )
    for a, b in ((0, 0), (0, 1), (1, 1)):
        start = tokens[a].T @ tokens[b] / 4
        size = np.sum(start**2)  # the block keeps its direction, and its squared norm s moves by s' = 2 s²
        assert np.isclose(found[a, b], np.trace(start) / 6 / np.sqrt(1 - 2 * size * 0.02), rtol=1e-7)


@pytest.mark.slow
def test_causal_softmax_over_five_tokens_by_networks():
    tokens = np.random.default_rng(0).standard_normal((2, 3, 5))
    derived, blind = (
        kernel_matrix(
            Network(lambda x, o=options: x + epsilon * attention(Q(x), K(x), V(x), **o), width=sp.oo, positions=5),
            tokens,
            0.7,
            tolerance=5e-3,
        )
        for options in ({"mask": causal}, {})
    )
    rng, n, depth, found = np.random.default_rng(1), 96, 30, []
    for _ in range(100):
        x = np.einsum("nd,mdp->mpn", rng.standard_normal((n, 3)) / np.sqrt(3), tokens)
        for _ in range(depth):
            q, k, v = (x @ (rng.standard_normal((n, n)) / np.sqrt(n)) for _ in range(3))
            scores = q @ np.swapaxes(k, 1, 2) / np.sqrt(n)
            shares = np.tril(np.exp(scores - scores.max(-1, keepdims=True)))
            x = x + shares / shares.sum(-1, keepdims=True) @ v * np.sqrt(0.7 / depth)
        found.append(np.einsum("apn,bpn->ab", x, x) / (n * 5))
    rejected = []
    for a, b in ((0, 0), (0, 1), (1, 1)):
        measured = Estimate.of(np.array(found)[:, a, b])
        assert abs(measured.value - derived[a, b]) < 4 * measured.error + 0.02  # of order 1/n + 1/L
        rejected.append(abs(measured.value - blind[a, b]) > 4 * measured.error + 0.02)
    assert any(rejected)


@pytest.mark.slow
def test_regressors_take_sequences():
    pytest.importorskip("sklearn")
    from numerics.regression import NNGPRegressor, NTKRegressor

    labels = np.array([1.0, -1.0, 0.5])
    for kind in (NNGPRegressor, NTKRegressor):
        model = kind(Network(LAYERS["softmax of averages"][0], width=sp.oo, positions=2), noise=0.0).fit(TOKENS, labels)
        assert np.allclose(model.predict(TOKENS), labels, atol=1e-5)
        last = kind(Network(LAYERS["softmax of averages"][0], width=sp.oo, positions=2), noise=0.0, channels="last")
        moved = np.swapaxes(TOKENS, 1, 2)
        assert np.allclose(last.fit(moved, labels).predict(moved[:1] / 2), model.predict(TOKENS[:1] / 2))
        rows = moved.reshape(3, -1)
        assert np.allclose(last.fit(rows, labels).predict(rows[:1] / 2), model.predict(TOKENS[:1] / 2))
        with pytest.raises(ValueError, match=r"X must have shape \(m, 2, channels\)"):
            last.fit(np.ones((3, 3, 2)), labels)
    early = NTKRegressor(
        Network(LAYERS["softmax of averages"][0], width=sp.oo, positions=2), noise=0.0, training_time=1e-3
    )
    started = early.fit(TOKENS, labels).predict(TOKENS)
    assert np.all(np.abs(started) < np.abs(labels))


@pytest.mark.slow
def test_a_tangent_kernel_of_a_norm_without_a_matrix_and_of_1000_inputs():
    from time import process_time

    X = np.random.default_rng(0).normal(size=(1000, 20))
    start = process_time()
    kernel_matrix(MLPBlock(relu, width=sp.oo, norm="rms"), X, kind="ntk")
    assert process_time() - start < 10  # alone about 3
    found = kernel_matrix(PreNormResNet(relu, width=sp.oo), X[:3], kind="ntk")
    block = kernel_matrix(
        Network(lambda x: x + epsilon * Weights("A")(relu(rms_norm(x))), width=sp.oo), X[:3], kind="ntk"
    )
    assert np.allclose(found, block, rtol=1e-9)
