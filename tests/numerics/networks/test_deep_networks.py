"""Networks of 40 layers at a large width, written out here, against the flows of infinite width; the flow that a trap would give must fail."""

import numpy as np
import pytest
import sympy as sp
from scipy.integrate import quad, solve_ivp
from scipy.stats import norm

from derivations import Network, ResNet, Weights, epsilon, relu, rms_norm
from numerics import kernel_matrix

pytestmark = pytest.mark.slow
SIZE, DEPTH, COUNT = 300, 40, 16
#: Of a flow over 40 layers by Euler's steps, and of a width of 300.
COARSE = 1 / DEPTH + 1 / SIZE


def matrix(rng):
    return rng.standard_normal((SIZE, SIZE)) / np.sqrt(SIZE)


def gram_after(layer, start, t=1.0):
    """Mean and standard error of the Gram matrix after all layers."""
    rng, found = np.random.default_rng(1), []
    for _ in range(COUNT):
        x = start(rng)
        for _ in range(DEPTH):
            x = x + np.sqrt(t / DEPTH) * layer(rng, x)
        found.append(x.T @ x / SIZE)
    return np.mean(found, axis=0), np.std(found, axis=0) / np.sqrt(COUNT)


def near(found, error, wanted):
    return np.all(np.abs(found - wanted) < 4 * error + COARSE * np.abs(wanted))


def rectified_from_one(t=1.0):
    """The mean square of neurons that all start at 1: they are N(1, K − 1) and stay so, with dK/dt = E relu(1 + √(K − 1) Z)²."""

    def rate(_, k):
        spread = np.sqrt(max(k[0] - 1, 0))
        return [quad(lambda z: max(1 + spread * z, 0) ** 2 * norm.pdf(z), -9, 9)[0]]

    return solve_ivp(rate, (0, t), [1.0], rtol=1e-8).y[0, -1]


def test_neurons_that_do_not_start_gaussian_stay_so():
    def layer(rng, x):
        return matrix(rng) @ np.maximum(x, 0)

    flow = kernel_matrix(ResNet(relu, width=sp.oo), np.array([[1.0]]), t=1.0)
    gaussian, error = gram_after(layer, lambda rng: rng.standard_normal((SIZE, 1)))
    assert near(gaussian, error, flow)
    fixed, error = gram_after(layer, lambda _: np.ones((SIZE, 1)))
    assert near(fixed, error, rectified_from_one())
    assert not near(fixed, error, flow)


def test_three_matrices_with_a_norm_among_their_neurons():
    """Their flow is closed though its rate is a mean of a mean: rotation invariance decides, not a closed form."""
    a, b, c = (Weights(name) for name in "ABC")

    def hidden(rng, x):
        inner = np.maximum(matrix(rng) @ x, 0)
        return matrix(rng) @ (inner / np.sqrt((inner**2).mean(0)))

    def layer(rng, x):
        return matrix(rng) @ np.maximum(hidden(rng, x), 0)

    def without_norm(x):
        return x + epsilon * a(relu(c(relu(b(x)))))

    net = Network(lambda x: x + epsilon * a(relu(c(rms_norm(relu(b(x)))))), width=sp.oo, inputs=2)
    rho = 0.3
    inputs = np.array([[1, 0], [rho, np.sqrt(1 - rho**2)]]) * np.sqrt(2)
    found, error = gram_after(layer, lambda rng: rng.standard_normal((SIZE, 2)) @ inputs.T / np.sqrt(2))
    assert near(found, error, kernel_matrix(net, inputs, t=1.0))
    assert not near(found, error, kernel_matrix(Network(without_norm, width=sp.oo, inputs=2), inputs, t=1.0))
