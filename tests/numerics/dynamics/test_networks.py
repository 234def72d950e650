"""Layers by slopes, matrices by their law, and training against networks whose weights are drawn and trained by hand."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
import sympy as sp
from scipy import stats

from derivations import (
    Network,
    Weights,
    average,
    epsilon,
    gelu,
    layer_norm,
    relu,
    rms_norm,
    symbols,
    tanh,
    training_limit,
)
from numerics import solve_training
from numerics.dynamics.layers import Layer
from numerics.dynamics.matrices import KnownMatrix
from numerics.dynamics.neurons import Samples
from numerics.dynamics.solve import FEW_INPUTS

n = symbols.width
A, B, C = Weights("A"), Weights("B", out=2 * n, variance=2), Weights("C", out=2 * n)
INPUTS = np.random.default_rng(1).standard_normal((3, 4))
TARGETS = np.array([1.0, -1.0, 0.5])


@pytest.mark.slow
@pytest.mark.parametrize(
    "layer",
    [
        lambda x: x + epsilon * A(tanh(x)),
        lambda x: x + epsilon * A(relu(B(rms_norm(x)))),
        lambda x: layer_norm(x + epsilon * A(gelu(B(x)) + C(x))),
        lambda x: (
            sp.sin(x) * average(x**2)
            + epsilon * A(average(B(x) ** 2) * tanh(B(x)) + average(x * A(x)) if False else tanh(x))
        ),
        lambda x: x + epsilon * A(tanh(C(x)) * average(sp.tanh(x) ** 2) + average(x)),
    ],
    ids=["one", "norm", "sum and norm behind", "average", "average inside"],
)
def test_gradients_of_a_layer_are_slopes(layer):
    limit = training_limit(Network(layer, width=sp.oo))
    rng, width, m = np.random.default_rng(0), 4, 2
    said = {s.target for s in limit.adjoint.matrices} | {limit.adjoint.program.neurons}
    sizes = {k: width * int(k.said.subs(n, 1)) for k in said}
    made = Layer(limit, {k: Samples(size, rng) for k, size in sizes.items()}, 0.7)
    x, weight = rng.standard_normal((m, width)), rng.standard_normal((m, width))
    made.forward(x)
    gradient = made.backward(weight)
    for _ in range(4):
        v = rng.standard_normal((m, width))
        up, down = (made.forward(x + h * v) for h in (1e-5, -1e-5))
        assert ((up - down) / 2e-5 * weight).sum(axis=1) == pytest.approx((gradient * v).sum(axis=1), abs=1e-7)
    made.forward(x)
    made.backward(weight)
    for s, gradient, read in list(made.gradients()):
        matrix, values = made.matrices[s], []
        left, right = (rng.standard_normal((2, k)) for k in matrix.shape)
        for h in (1e-5, -2e-5):
            matrix.learn(h * left, right)
            values.append((made.forward(x) * weight).sum(axis=1))
        matrix.learn(1e-5 * left, right)
        share = float(s.weights.variance) * sizes[s.target]
        moved = share * np.einsum("mi,ki,kj,mj->m", gradient, left, right, read)
        assert (values[0] - values[1]) / 2e-5 == pytest.approx(moved, abs=1e-6)


@pytest.mark.slow
def test_a_matrix_known_by_what_it_met_has_independent_entries():
    """Three by six, met by vectors that depend on what came out before: all entries are N(0, 1/6), and independent."""
    rng, found = np.random.default_rng(0), []
    for _ in range(1000):
        matrix = KnownMatrix(Samples(6, rng), Samples(3, rng), 1.0, 0.5)
        out, _ = matrix.apply(rng.standard_normal((1, 6)))
        back, _ = matrix.transposed(np.tanh(out))
        out, _ = matrix.apply(np.sin(3 * back))
        matrix.transposed(out**2)
        found.append(matrix.apply(np.eye(6))[0].T.ravel())
    entries = np.array(found) * 6**0.5
    error = 4.5 / 1000**0.5  # 171 covariances
    assert abs(entries.mean(axis=0)).max() < error
    covariance = entries.T @ entries / len(entries)
    assert abs(covariance - np.eye(18)).max() < error * 2**0.5
    assert abs((entries**2).T @ (entries**2) / len(entries) - 1 - 2 * np.eye(18)).max() < 8 * error


class ByHand(NamedTuple):
    """A branch in NumPy, on states of shape (networks, n, m): its value with what is kept, and the gradients from that in the value."""

    layer: Callable
    shapes: tuple
    branch: Callable
    back: Callable
    keep: float = 1.0
    rate: float = 0.4


def flipped(a):
    return a.transpose(0, 2, 1)


def one_matrix(layer, body, slope, keep=1.0):
    """W body(x)."""

    def branch(x, w):
        b = body(x)
        return w[0] @ b / np.sqrt(x.shape[1]), b

    def back(d, x, w, b):
        d = d / np.sqrt(x.shape[1])
        return slope(x) * (flipped(w[0]) @ d), [d @ flipped(b)]

    return ByHand(layer, ((1, 1),), branch, back, keep)


def normed(x):
    return x / np.sqrt((x**2).mean(axis=1, keepdims=True))


def through_norm(g, x):
    z = normed(x)
    return (g - z * (g * z).mean(axis=1, keepdims=True)) * (z / x)


def behind_a_norm():
    """W tanh(norm(x))."""
    inner = one_matrix(None, np.tanh, lambda z: 1 / np.cosh(z) ** 2)

    def back(d, x, w, b):
        g, changes = inner.back(d, normed(x), w, b)
        return through_norm(g, x), changes

    layer = lambda x: x + epsilon * A(tanh(rms_norm(x)))  # noqa: E731
    return ByHand(layer, ((1, 1),), lambda x, w: inner.branch(normed(x), w), back)


def two_matrices():
    """A tanh(B x) with twice as many neurons inside and Var B = 2/n."""

    def branch(x, w):
        b = np.tanh(w[1] @ x * np.sqrt(2 / x.shape[1]))
        return w[0] @ b / np.sqrt(b.shape[1]), b

    def back(d, x, w, b):
        d = d / np.sqrt(b.shape[1])
        h = np.sqrt(2 / x.shape[1]) * (1 - b**2) * (flipped(w[0]) @ d)
        return flipped(w[1]) @ h, [d @ flipped(b), h @ flipped(x)]

    return ByHand(lambda x: x + epsilon * A(tanh(B(x))), ((1, 2), (2, 1)), branch, back)


def with_biases():
    """A tanh(B x + c) + b with twice as many neurons inside, Var c = 1/2 and Var b = 1."""

    def branch(x, w):
        b = np.tanh(w[1] @ x * np.sqrt(2 / x.shape[1]) + w[3] * 0.5**0.5)
        return w[0] @ b / np.sqrt(b.shape[1]) + w[2], b

    def back(d, x, w, b):
        passed = d / np.sqrt(b.shape[1])
        h = (1 - b**2) * (flipped(w[0]) @ passed)
        inside = np.sqrt(2 / x.shape[1]) * h
        own = [passed @ flipped(b), inside @ flipped(x), d.sum(axis=2, keepdims=True)]
        return flipped(w[1]) @ inside, [*own, 0.5**0.5 * h.sum(axis=2, keepdims=True)]

    a, b = Weights("A", bias_variance=1), Weights("B", out=2 * n, variance=2, bias_variance=sp.Rational(1, 2))
    return ByHand(lambda x: x + epsilon * a(tanh(b(x))), ((1, 2), (2, 1), (1, 0), (2, 0)), branch, back)


def biased_linear():
    """W x + b with Var b = 1."""

    def branch(x, w):
        return w[0] @ x / np.sqrt(x.shape[1]) + w[1], x

    def back(d, x, w, b):
        passed = d / np.sqrt(x.shape[1])
        return flipped(w[0]) @ passed, [passed @ flipped(b), d.sum(axis=2, keepdims=True)]

    own = Weights("A", bias_variance=1)
    # at 0.4 the outputs swing more and more, and at these widths by other amounts than at infinite width
    return ByHand(lambda x: x + epsilon * own(x), ((1, 1), (1, 0)), branch, back, rate=0.2)


def trained_by_hand(case, width, count, depth, steps, rate, richness, seed, momentum=0.0):
    """Networks x' = keep x + L^{-1/2} branch(x), f = v x / (richness n): outputs, and kernels of what the last layer's A reads at both ends."""
    rng, (m, dimension) = np.random.default_rng(seed), INPUTS.shape
    first, readout = rng.standard_normal((count, width, dimension)), rng.standard_normal((count, width))
    layers = [
        [rng.standard_normal((count, r * width, c * width or 1)) for r, c in case.shapes] for _ in range(depth)
    ]  # biases read no neurons
    size, pace, outputs, read = depth**-0.5, rate * richness**2 * width, [], []
    trained = [first, readout, *(matrix for w in layers for matrix in w)]
    moving = [np.zeros_like(weights) for weights in trained]
    for _ in range(steps):
        states, kept = [first @ INPUTS.T / dimension**0.5], []
        for w in layers:
            value, b = case.branch(states[-1], w)
            kept.append(b)
            states.append(case.keep * states[-1] + size * value)
        read.append(kept[-1])
        outputs.append(np.einsum("ri,rim->rm", readout, states[-1]) / (richness * width))
        errors = (outputs[-1] - TARGETS) / (m * richness * width)
        gradient, changes = readout[:, :, None] * errors[:, None, :], []
        for w, x, b in zip(layers[::-1], states[-2::-1], kept[::-1], strict=True):
            passed, own = case.back(size * gradient, x, w, b)
            gradient, changes = case.keep * gradient + passed, [*own, *changes]
        changes = [gradient @ INPUTS / dimension**0.5, np.einsum("rim,rm->ri", states[-1], errors), *changes]
        for weights, last, change in zip(trained, moving, changes, strict=True):
            last *= momentum
            last -= pace * change
            weights += last
    kernels = [flipped(read[k]) @ read[k] / read[0].shape[1] for k in (0, -1)]
    return np.concatenate([np.stack(outputs, 1), *kernels], axis=1)


CASES = {
    "linear": one_matrix(lambda x: x + epsilon * A(x), lambda x: x, np.ones_like),
    "half": one_matrix(lambda x: x / 2 + epsilon * A(x), lambda x: x, np.ones_like, 0.5),
    "tanh": one_matrix(lambda x: x + epsilon * A(tanh(x)), np.tanh, lambda x: 1 / np.cosh(x) ** 2),
    "relu": one_matrix(lambda x: x + epsilon * A(relu(x)), lambda x: np.maximum(x, 0), lambda x: (x > 0) * 1.0),
    "two matrices": two_matrices(),
    "norm": behind_a_norm(),
    "biases": with_biases(),
    "linear with biases": biased_linear(),
}
WIDTHS, STEPS, RICHNESS = (24, 48), 10, 1.5


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "depth"), [(name, depth) for name in CASES for depth in (2, 4) if depth == 2 or name != "biases"]
)
def test_trained_networks_tend_to_the_solution(name, depth):
    """Outputs and kernels at two widths, what is of order 1/n removed; features that do not learn as much are rejected."""
    case, means, variances = CASES[name], [], []
    for width, count in zip(WIDTHS, (500, 250), strict=True):
        runs = trained_by_hand(case, width, count, depth, STEPS, case.rate, RICHNESS, seed=width)
        means.append(runs.mean(axis=0))
        variances.append(runs.var(axis=0) / count)
    expected, variance = 2 * means[1] - means[0], 4 * variances[1] + variances[0]
    net = Network(case.layer, width=sp.oo)

    def solved(richness, seeds=10):
        found = []
        for seed in range(seeds):
            run = solve_training(net, INPUTS, TARGETS, depth, case.rate, STEPS - 1, richness, repeats=2, seed=seed)
            kernel = run.kernel("A", depth) if richness else np.zeros((1, 3, 1, 3))
            found.append(np.concatenate([run.outputs, kernel[0][:, 0], kernel[-1][:, -1]]))
        return np.mean(found, axis=0), np.var(found, axis=0, ddof=1) / seeds

    (mean, own), (lazy, _) = solved(RICHNESS), solved(0, 2)
    off = abs(mean - expected) / np.sqrt(variance + own)
    bound = stats.norm.isf(0.5e-3 / off[1:].size)  # of so many numbers, none in a thousand tests
    assert off.max() < bound
    # the controls: outputs of the lazy network, and its kernel, which stands still
    still = np.concatenate([lazy[:STEPS], mean[STEPS:-3], mean[-6:-3]])
    wrong = abs(still - expected) / np.sqrt(variance + own)
    assert wrong[:STEPS].max() > 1.5 * bound
    assert wrong[-3:].max() > bound


@pytest.mark.slow
@pytest.mark.parametrize("name", ["linear with biases", "tanh", "two matrices"])
def test_networks_trained_with_momentum_tend_to_the_solution(name):
    case, momentum, rate, means, variances = CASES[name], 0.6, 0.2, [], []
    for width, count in zip(WIDTHS, (400, 200), strict=True):
        runs = trained_by_hand(case, width, count, 2, STEPS, rate, RICHNESS, width, momentum)
        means.append(runs.mean(axis=0))
        variances.append(runs.var(axis=0) / count)
    expected, variance = 2 * means[1] - means[0], 4 * variances[1] + variances[0]
    net = Network(case.layer, width=sp.oo)

    def solved(seeds, learning_rate, momentum):
        found = []
        for seed in range(seeds):
            run = solve_training(
                net, INPUTS, TARGETS, 2, learning_rate, STEPS - 1, RICHNESS, repeats=2, seed=seed, momentum=momentum
            )
            kernel = run.kernel("A", 2)
            found.append(np.concatenate([run.outputs, kernel[0][:, 0], kernel[-1][:, -1]]))
        return np.mean(found, axis=0), np.var(found, axis=0) / max(1, seeds - 1)

    (mean, own), (plain, _) = (
        solved(1 if "linear" in name else 10, rate, momentum),
        solved(1, rate / (1 - momentum), 0.0),
    )
    bound = stats.norm.isf(0.5e-3 / mean[1:].size)
    assert (abs(mean - expected) / np.sqrt(variance + own)).max() < bound
    # the control: what momentum is in the end, not from the start
    assert (abs(plain - expected) / np.sqrt(variance + own)).max() > 2 * bound


def test_momentum_of_the_lazy_network_is_that_of_its_kernel():
    net = Network(CASES["linear"].layer, width=sp.oo)
    plain, heavy = (solve_training(net, INPUTS, TARGETS, 2, 0.3, 3, 0, momentum=b) for b in (0, 0.5))
    assert heavy.outputs[1] == pytest.approx(plain.outputs[1])
    kernel = np.linalg.solve(
        np.column_stack([TARGETS - plain.outputs[k] for k in range(3)]).T, np.diff(plain.outputs, axis=0)
    ).T
    moved = kernel @ (TARGETS - heavy.outputs[1]) + heavy.outputs[1] / 2
    assert heavy.outputs[2] - heavy.outputs[1] == pytest.approx(moved)
    assert plain.outputs[2] - plain.outputs[1] != pytest.approx(moved)  # the control
    for wrong, why in ((1.0, "from 0 to below 1"), (-0.1, "from 0 to below 1"), (np.nan, "a finite number")):
        with pytest.raises(ValueError, match=f"momentum must be .*{why}"):
            solve_training(net, INPUTS, TARGETS, 2, momentum=wrong)
    with pytest.raises(ValueError, match=r"gradient flow forgets momentum.*at a learning rate of 0\.6"):
        solve_training(net, INPUTS, TARGETS, 2, 0.3, 3, 0, limits="flow", momentum=0.5)
    assert (
        solve_training(net, INPUTS, TARGETS, 2, 0.3, 3, 0, limits="depth", momentum=0.5).error.max() > 0
    )  # the control


def test_a_little_richness_is_the_tangent_kernel_with_biases():
    net = Network(biased_linear().layer, width=sp.oo)
    lazy, near = (solve_training(net, INPUTS, TARGETS, 2, 0.2, 4, richness).outputs for richness in (0, 1e-4))
    assert near == pytest.approx(lazy, abs=1e-6)
    without = solve_training(Network(CASES["linear"].layer, width=sp.oo), INPUTS, TARGETS, 2, 0.2, 4, 0).outputs
    assert abs(without - lazy).max() > 0.05  # the control


@pytest.mark.parametrize(("inputs", "threads"), [(3, {1}), (FEW_INPUTS + 1, {2})])
def test_few_inputs_are_pushed_through_drawn_matrices_in_one_thread(inputs, threads):
    threadpoolctl = pytest.importorskip("threadpoolctl", reason="threads are limited by the extra fast")
    seen = set()

    def look(done, count):
        seen.update(pool["num_threads"] for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas")

    net, points = Network(CASES["two matrices"].layer, width=sp.oo), np.eye(inputs)
    with threadpoolctl.threadpool_limits(2, user_api="blas"):
        solve_training(net, points, points[0], 1, steps=1, neurons=8, repeats=2, progress=look)
        left = {pool["num_threads"] for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"}
    assert (seen, left) == (threads, {2})
