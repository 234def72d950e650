"""Layers by slopes, matrices by their law, and training against networks whose weights are drawn and trained by hand."""

import numpy as np
import pytest
import sympy as sp

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

n = symbols.width
A, B, C = Weights("A"), Weights("B", out=2 * n, variance=2), Weights("C", out=2 * n)
INPUTS = np.random.default_rng(1).standard_normal((3, 4))
TARGETS = np.array([1.0, -1.0, 0.5])


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
    """Every matrix is a drawn one here: its vectors are met once, and then it is known."""
    limit = training_limit(Network(layer, width=sp.oo))
    rng, width, m = np.random.default_rng(0), 4, 2
    said = {s.target for s in limit.adjoint.matrices} | {limit.adjoint.program.neurons}
    sizes = {k: width * int(k.said.subs(n, 1)) for k in said}
    made = Layer(limit, {k: Samples(size, rng) for k, size in sizes.items()}, 0.7)
    for s, matrix in made.matrices.items():
        for basis, act in ((sizes[s.source], matrix.apply), (sizes[s.target], matrix.transposed)):
            act(np.eye(basis))
    x, weight = rng.standard_normal((m, width)), rng.standard_normal((m, width))
    made.forward(x)
    gradient = made.backward(weight)
    for _ in range(4):
        v = rng.standard_normal((m, width))
        up, down = (made.forward(x + h * v) for h in (1e-5, -1e-5))
        assert ((up - down) / 2e-5 * weight).sum(axis=1) == pytest.approx((gradient * v).sum(axis=1), abs=1e-7)
    made.forward(x)
    made.backward(weight)
    for s, change in list(made.gradients()):
        direction = rng.standard_normal(change.shape[1:])
        matrix, values = made.matrices[s], []
        for h in (1e-5, -2e-5):
            matrix.learn(h * direction)
            values.append((made.forward(x) * weight).sum(axis=1))
        matrix.learn(1e-5 * direction)
        share = float(s.weights.variance) * sizes[s.target]
        assert (values[0] - values[1]) / 2e-5 == pytest.approx(share * (change * direction).sum(axis=(1, 2)), abs=1e-6)


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


def trained_by_hand(
    width, depth, steps, rate, richness, body, slope, keep, seed, inputs=INPUTS, targets=TARGETS, wrong=1.0
):
    """A network x' = keep x + L^{-1/2} W body(x) with weights drawn, f = v x / (richness n), gradient descent: outputs before each step."""
    rng = np.random.default_rng(seed)
    m, dimension = inputs.shape
    first, readout = rng.standard_normal((width, dimension)), rng.standard_normal(width)
    weights = rng.standard_normal((depth, width, width))
    size = (1 / depth) ** 0.5 / width**0.5
    outputs = []
    for _ in range(steps):
        states = [first @ inputs.T / dimension**0.5]
        for w in weights:
            states.append(keep * states[-1] + size * w @ body(states[-1]))
        outputs.append(readout @ states[-1] / (richness * width))
        errors = (outputs[-1] - targets) / m / (richness * width)
        gradient, back = np.outer(readout, errors), []
        for w, x in zip(weights[::-1], states[-2::-1], strict=True):
            back.append(size * gradient @ body(x).T)
            gradient = keep * gradient + size * slope(x) * (w.T @ gradient)
        pace = rate * richness**2 * width
        readout = readout - pace * states[-1] @ errors
        first = first - pace * gradient @ inputs / dimension**0.5
        weights = weights - wrong * pace * np.array(back[::-1])
    return np.array(outputs)


CASES = {
    "linear": (lambda x: x + epsilon * A(x), lambda x: x, np.ones_like, 1.0),
    "half": (lambda x: x / 2 + epsilon * A(x), lambda x: x, np.ones_like, 0.5),
    "tanh": (lambda x: x + epsilon * A(tanh(x)), np.tanh, lambda x: 1 / np.cosh(x) ** 2, 1.0),
    "relu": (lambda x: x + epsilon * A(relu(x)), lambda x: np.maximum(x, 0), lambda x: (x > 0) * 1.0, 1.0),
}
WIDTHS, STEPS, RATE, RICHNESS = (24, 48), 10, 0.4, 1.5


@pytest.mark.slow
@pytest.mark.parametrize("depth", [2, 4])
@pytest.mark.parametrize("name", CASES)
def test_trained_networks_tend_to_the_solution(name, depth):
    """Outputs at two widths, what is of order 1/n removed; features that do not learn as much are rejected."""
    layer, body, slope, keep = CASES[name]
    net = Network(layer, width=sp.oo)
    means, variances = [], []
    for width, count in zip(WIDTHS, (500, 250), strict=True):
        runs = [trained_by_hand(width, depth, STEPS, RATE, RICHNESS, body, slope, keep, seed) for seed in range(count)]
        means.append(np.mean(runs, axis=0))
        variances.append(np.var(runs, axis=0) / count)
    expected, variance = 2 * means[1] - means[0], 4 * variances[1] + variances[0]
    solved, lazy = (
        solve_training(net, INPUTS, TARGETS, depth, RATE, STEPS - 1, richness, neurons=600, repeats=6)
        for richness in (RICHNESS, 0)
    )
    error = np.sqrt(variance + solved.error**2)
    assert (abs(solved.outputs - expected) / error).max() < 4  # 30 outputs, of eight tests
    assert (abs(lazy.outputs - expected) / error).max() > 8
