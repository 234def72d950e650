"""Kernel matrices of any recipe: against flows written out by hand over Gauss–Hermite nodes, and against wide networks drawn in NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp
from scipy import special

from derivations import (
    Network,
    ResNet,
    Weights,
    average,
    drop_branch,
    dropout,
    epsilon,
    gelu,
    layer_norm,
    relu,
    rms_norm,
    silu,
    softplus,
    symbols,
    tanh,
)
from numerics.compile import compile_expression
from numerics.kernels import kernel_matrices, kernel_matrix
from numerics.statistics import Estimate

X = np.array([[0.6, 0.2, -0.3], [-0.1, 0.5, 0.7], [0.3, -0.7, 0.1]])
n, t = symbols.width, symbols.time
Z, W = np.polynomial.hermite_e.hermegauss(120)
W = W / W.sum()


def mean(f, g, a, c, b):
    """E f(U) g(V) of a centred pair by nodes in both directions."""
    u = np.sqrt(a) * Z[:, None]
    v = c / np.sqrt(a) * Z[:, None] + np.sqrt(max(b - c * c / a, 0.0)) * Z[None]
    return float(W @ (f(u) * g(v)) @ W)


def solved(velocity, depth=0.7, steps=60):
    """K and Θ of all pairs by Runge–Kutta; ``velocity(s, K, Θ, a, b)`` gives both rates of an entry."""
    h = depth / steps
    y = np.array([X[:2] @ X[:2].T / X.shape[1]] * 2)

    def rates(s, y):
        found = np.empty_like(y)
        for a, b in ((0, 0), (0, 1), (1, 1)):
            found[:, a, b] = found[:, b, a] = velocity(s, y[0], y[1], a, b)
        return found

    for k in range(steps):
        s = k * h
        one = rates(s, y)
        two = rates(s + h / 2, y + h / 2 * one)
        three = rates(s + h / 2, y + h / 2 * two)
        four = rates(s + h, y + h * three)
        y = y + h / 6 * (one + 2 * two + 2 * three + four)
    return y


def logistic(x):
    return 1 / (1 + np.exp(-x))


def tanh_slope(x):
    return 1 - np.tanh(x) ** 2


def swish(x):
    return x * logistic(x)


def swish_slope(x):
    return logistic(x) * (1 + x * (1 - logistic(x)))


def soft(x):
    return np.log1p(np.exp(x))


def block(K, a, b):
    return K[a, a], K[a, b], K[b, b]


def two_matrices(_, K, T, a, b):
    s = K / 2 + 0.2
    slopes = 3 * mean(tanh_slope, tanh_slope, *block(s, a, b))
    force = 3 * mean(np.tanh, np.tanh, *block(s, a, b))
    return force, force + slopes * (s[a, b] + T[a, b] / 2)


def normed(_, K, T, a, b):
    size = np.sqrt(K[a, a] * K[b, b])
    rho = K[a, b] / size
    force, slopes = mean(soft, soft, 1, rho, 1), mean(logistic, logistic, 1, rho, 1)
    return force, force + slopes * (rho + T[a, b] / size)


def gate(_, K, T, a, b):
    value, slopes = mean(swish, swish, *block(K, a, b)), mean(swish_slope, swish_slope, *block(K, a, b))
    force = value * K[a, b]
    return force, force + slopes * (K[a, b] + T[a, b]) * K[a, b] + value * (K[a, b] + T[a, b])


def dropped(shared):
    def velocity(_, K, T, a, b):
        gain = 2.0 if shared or a == b else 1.0
        force = gain * mean(np.tanh, np.tanh, *block(K, a, b))
        return force, force + gain * mean(tanh_slope, tanh_slope, *block(K, a, b)) * (K[a, b] + T[a, b])

    return velocity


def deeper(s, K, T, a, b):
    force, slopes = (mean(f, f, *block(K, a, b)) for f in (np.tanh, tanh_slope))
    return (1 + s) * force, (1 + s) * (force + slopes * (K[a, b] + T[a, b]))


def three_matrices(_, K, T, a, b):
    inner = np.array([[mean(np.tanh, np.tanh, *block(K, i, j)) for j in (a, b)] for i in (a, b)])
    first, second = mean(tanh_slope, tanh_slope, *block(K, a, b)), mean(swish_slope, swish_slope, *block(inner, 0, 1))
    force = mean(swish, swish, *block(inner, 0, 1))
    return force, force + second * (inner[0, 1] + first * (K[a, b] + T[a, b]))


A, B, C = Weights("A"), Weights("B", out=4 * n), Weights("C", out=4 * n)
RECIPES = {
    "two matrices and biases": (
        lambda x: (
            x
            + epsilon
            * Weights("A", variance=3)(tanh(Weights("B", variance=sp.S.Half, bias_variance=sp.Rational(1, 5))(x)))
        ),
        two_matrices,
    ),
    "RMS norm": (lambda x: x + epsilon * A(softplus(B(rms_norm(x)))), normed),
    "layer norm": (lambda x: x + epsilon * A(softplus(B(layer_norm(x)))), normed),
    "norm without a matrix": (
        lambda x: x + epsilon * A(tanh(rms_norm(x))),
        lambda _, *given: _of_direction(*given, (np.tanh, tanh_slope)),
    ),
    "gate": (lambda x: x + epsilon * A(silu(B(x)) * C(x)), gate),
    "dropout": (lambda x: x + epsilon * A(dropout(tanh(B(x)), sp.S.Half)), dropped(False)),
    "shared dropout": (lambda x: x + epsilon * A(dropout(tanh(B(x)), sp.S.Half, shared=True)), dropped(True)),
    "dropped branch": (lambda x: x + epsilon * drop_branch(A(tanh(B(x))), sp.S.Half), dropped(False)),
    "shared dropped branch": (
        lambda x: x + epsilon * drop_branch(A(tanh(B(x))), sp.S.Half, shared=True),
        dropped(True),
    ),
    "variance that depends on depth": (lambda x: x + epsilon * Weights("A", variance=1 + t)(tanh(B(x))), deeper),
    "two sublayers in sequence": (
        lambda x: sublayer(sublayer(x, "A", "B"), "C", "D"),
        normed,
    ),
    "norm before GELU": (lambda x: x + epsilon * A(gelu(rms_norm(x))), lambda _, *given: _of_direction(*given, GELU)),
    "three matrices": (lambda x: x + epsilon * A(silu(B(tanh(C(x))))), three_matrices),
}


def _of_direction(K, T, a, b, function):
    size = np.sqrt(K[a, a] * K[b, b])
    rho, (f, slope) = K[a, b] / size, function
    force = mean(f, f, 1, rho, 1)
    return force, force + mean(slope, slope, 1, rho, 1) * T[a, b] / size


def sublayer(x, outer, inner):
    return x + epsilon * Weights(outer, variance=sp.S.Half)(softplus(Weights(inner, out=4 * n)(rms_norm(x))))


GELU = (
    lambda x: x * special.ndtr(x),
    lambda x: special.ndtr(x) + x * np.exp(-x * x / 2) / np.sqrt(2 * np.pi),
)


SLOW = {
    "two sublayers in sequence",
    "norm before GELU",
    "RMS norm",
    "three matrices",
    "gate",
    "layer norm",
    "shared dropped branch",
    "dropped branch",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", [pytest.param(k, marks=[pytest.mark.slow] if k in SLOW else []) for k in RECIPES])
def test_kernels_follow_the_flow_written_out(name):
    layer, velocity = RECIPES[name]
    found = kernel_matrices(Network(layer, width=sp.oo), X[:2], t=0.7)
    exact = solved(velocity)
    assert np.allclose(found.nngp, exact[0], rtol=0, atol=1e-8)
    assert np.allclose(found.ntk, exact[1], rtol=0, atol=1e-8)
    assert not np.allclose(found.nngp * 1.000001, exact[0], rtol=0, atol=1e-8)  # the control


def test_an_input_given_twice_is_one_input_unless_masks_are_its_own():
    inputs = np.concatenate([X, X[:1]])
    wet = kernel_matrix(Network(lambda x: x + epsilon * A(dropout(relu(B(x)), sp.S.Half)), width=sp.oo), inputs, 0.5)
    dry = kernel_matrix(Network(lambda x: x + epsilon * A(relu(B(x))), width=sp.oo), inputs, 0.5)
    assert abs(dry[0, 3] - dry[0, 0]) < 1e-12
    # masks of its own double the noise of the diagonal: K(t) = K_0 e^t instead of K_0 e^{t/2}
    assert np.allclose(np.diag(wet), np.mean(inputs**2, axis=1) * np.exp(0.5))
    assert wet[0, 3] < wet[0, 0] - 0.01


@pytest.mark.slow
def test_a_network_with_one_matrix_is_the_residual_network():
    network = Network(lambda x: x + epsilon * A(tanh(x)), width=sp.oo)
    for kind in ("nngp", "ntk"):
        found, named = (kernel_matrix(r, X, 0.5, kind) for r in (network, ResNet(tanh, width=sp.oo)))
        assert np.allclose(found, named, rtol=0, atol=1e-9)
    whole, part = kernel_matrix(network, X, 0.5, "ntk"), kernel_matrix(network, X[:2], 0.5, "ntk", other=X[2:])
    assert np.allclose(whole[:2, 2:], part, rtol=0, atol=1e-9)


def test_a_norm_at_the_end_forgets_the_sizes_of_the_inputs():
    network = Network(lambda x: rms_norm(x + epsilon * A(relu(B(x)))), width=sp.oo)
    found, scaled = (kernel_matrix(network, inputs, 0.5) for inputs in (X, X * [[2.0], [0.3], [1.0]]))
    assert np.allclose(np.diag(found), 1.0, rtol=0, atol=0)
    assert np.allclose(found, scaled, rtol=0, atol=1e-8)
    # ρ' = κ(ρ) - ρ/2 with the arc-cosine kernel κ
    cosines = X @ X.T / np.sqrt(np.outer(np.sum(X**2, axis=1), np.sum(X**2, axis=1)))
    rho = cosines[0, 1]
    for _ in range(4000):
        rho += 0.5 / 4000 * ((np.sqrt(1 - rho**2) + rho * (np.pi / 2 + np.arcsin(rho))) / (2 * np.pi) - rho / 2)
    assert abs(found[0, 1] - rho) < 1e-4
    assert abs(found[0, 1] - cosines[0, 1]) > 0.01  # the control: it moves


@pytest.mark.slow
def test_wide_networks_with_dropout_and_norm_have_the_kernel_as_gram_matrix():
    layer = lambda x: x + epsilon * A(dropout(relu(B(rms_norm(x))), sp.S.Half))  # noqa: E731
    derived = kernel_matrix(Network(layer, width=sp.oo), X[:2], 1.0)
    dry = kernel_matrix(Network(lambda x: x + epsilon * A(relu(B(rms_norm(x)))), width=sp.oo), X[:2], 1.0)
    rng, width, depth, found = np.random.default_rng(0), 96, 96, []
    for _ in range(60):
        x = rng.standard_normal((width, 3)) @ X[:2].T / np.sqrt(3)
        for _ in range(depth):
            hidden = rng.standard_normal((width, width)) / np.sqrt(width) @ (x / np.sqrt(np.mean(x**2, axis=0)))
            kept = np.maximum(hidden, 0) * (rng.random((width, 2)) < 0.5) * 2
            x = x + rng.standard_normal((width, width)) / np.sqrt(width) @ kept / np.sqrt(depth)
        found.append(x.T @ x / width)
    for a, b in ((0, 0), (0, 1)):
        measured = Estimate.of(np.array(found)[:, a, b])
        assert abs(measured.value - derived[a, b]) < 4 * measured.error + 0.01  # the bias is of order 1/n + 1/L
        assert a != b or abs(measured.value - dry[a, b]) > 8 * measured.error + 0.01  # the control: masks without noise


@pytest.mark.parametrize(
    ("layer", "kind", "says"),
    [
        (lambda x: x + epsilon * A(tanh(x**2 + average(x**2))), "nngp", "enters in another way"),
        (lambda x: x + epsilon * A(sp.sign(B(x))), "ntk", "it jumps at"),
        (lambda x: x + epsilon * Weights("A", variance=sp.Symbol("c", positive=True))(x), "nngp", "substitute values"),
        (lambda x: x + epsilon * x * A(x), "nngp", "stay Gaussian"),
        (lambda x: x + A(x), "nngp", "scale the branch"),
        (lambda x: x + epsilon * Weights("A", taps=((1,), (None,)))(x), "nngp", "reads other positions"),
    ],
)
def test_what_has_no_kernel_is_refused_with_its_reason(layer, kind, says):
    with pytest.raises(ValueError, match=says):
        kernel_matrix(Network(layer, width=sp.oo, parameters=(sp.Symbol("c", positive=True),)), X, 0.5, kind)


def test_variances_that_depend_on_depth_are_a_change_of_clock():
    # 1 + s over [0, 0.5] is constant variance over a time of 0.625
    found = kernel_matrix(ResNet(tanh, width=sp.oo, weight_variance=1 + t), X, 0.5)
    assert np.allclose(found, kernel_matrix(ResNet(tanh, width=sp.oo), X, 0.625), rtol=0, atol=1e-9)
    assert not np.allclose(found, kernel_matrix(ResNet(tanh, width=sp.oo), X, 0.5), rtol=0, atol=1e-3)


def test_regressors_take_any_network():
    pytest.importorskip("sklearn")
    from numerics.regression import NNGPRegressor, NTKRegressor

    labels = np.array([1.0, -1.0, 0.5])
    for kind in (NNGPRegressor, NTKRegressor):
        model = kind(Network(lambda x: x + epsilon * A(relu(B(x))), width=sp.oo), noise=0.0).fit(X, labels)
        assert np.allclose(model.predict(X), labels, atol=1e-6)


@pytest.mark.slow
def test_means_without_a_closed_form_run_in_array_code():
    from derivations import derive
    from numerics import simulate_sde

    limit = derive(ResNet(silu, width=sp.oo)).limit
    end = simulate_sde(limit, x0=1.0, t=0.5, steps=100, samples=1, seed=0)[0, 0]
    exact = kernel_matrix(ResNet(silu, width=sp.oo), [[1.0]], 0.5)[0, 0]
    assert abs(end - exact) < 1e-6
    assert abs(end * 1.0001 - exact) > 1e-6  # the control
    pair = derive(ResNet(silu, width=sp.oo, inputs=2)).limit
    k = np.array([0.7, 0.2, 1.1])
    rate = compile_expression(pair.states, list(pair.drift))(*k)[1]
    assert abs(rate - mean(swish, swish, *k)) < 1e-10


@pytest.mark.slow
def test_a_transpose_beside_its_matrix():
    """A tied block: given A x the transpose puts out (E z f(z) / K) x, so that the kernel shrinks; drawn at width 1500."""
    A = Weights("A")
    net = Network(lambda x: x - epsilon**2 * A.T(tanh(A(x))), width=sp.oo)
    kernel = kernel_matrix(net, X[:2], t=0.5)

    def velocity(s, K, T, a, b):
        pull = [float(W @ (np.sqrt(k) * Z * np.tanh(np.sqrt(k) * Z))) / k for k in np.diag(K)]
        rate = -(pull[a] + pull[b]) * K[a, b]
        return rate, rate

    assert np.allclose(kernel, solved(velocity, 0.5)[0], rtol=1e-7)
    rng, width, depth = np.random.default_rng(5), 600, 40
    state = rng.standard_normal((width, 3)) @ X[:2].T / np.sqrt(3)
    start = state.T @ state / width
    for _ in range(depth):
        drawn = rng.standard_normal((width, width)) / np.sqrt(width)
        state = state - 0.5 / depth * drawn.T @ np.tanh(drawn @ state)
    assert np.allclose(state.T @ state / width / start, kernel / (X[:2] @ X[:2].T / 3), rtol=0.03)
    dark = kernel_matrix(net, [[1.0, 0.0], [0.0, 0.0]])  # E f' is known at a variance of 0, where nothing moves
    assert np.array_equal(dark[1], [0.0, 0.0])
    assert np.isclose(dark[0, 0], kernel_matrix(net, [[1.0, 0.0]])[0, 0], rtol=1e-8)
    tied = Network(lambda x: x - epsilon**2 * A.T(relu(A(x))), width=sp.oo)  # E relu' is 1/2 at every variance
    halved = kernel_matrix(tied, [[1.0, 0.0], [0.0, 0.0]], t=0.5)
    assert np.allclose(halved, [[np.exp(-0.5) / 2, 0.0], [0.0, 0.0]], rtol=1e-8, atol=0)
    with pytest.raises(ValueError, match="input 0 has norm 0"):
        kernel_matrix(Network(lambda x: x + epsilon * A(relu(rms_norm(x))), width=sp.oo), [[0.0], [1.0]], kind="ntk")
    with pytest.raises(ValueError, match="derived without transposes"):
        kernel_matrix(net, X, kind="ntk")
