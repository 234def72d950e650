"""Kernels of layers whose flows divide by a variance that drops out: an input of norm 0 has kernels, too."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp
from scipy.integrate import solve_ivp

from derivations import Network, parse_layer
from numerics.kernels import kernel_matrix

INPUTS = np.array([[0.0, 0.0], [1.0, 0.3], [-0.2, 0.8]])
START = INPUTS @ INPUTS.T / 2
NODES = np.arange(-9, 9.1, 1 / 8)
WEIGHTS = np.exp(-(NODES**2) / 2) / 8 / np.sqrt(2 * np.pi)


def of_tanh(kernel, f=np.tanh):
    """E f(u) f(v) of each pair, by the trapezoidal rule."""
    found = np.empty_like(kernel)
    for i in range(len(kernel)):
        for j in range(len(kernel)):
            a, b, c = kernel[i, i], kernel[j, j], kernel[i, j]
            slope = c / a if a > 0 else 0.0
            u = np.sqrt(a) * NODES[:, None]
            v = slope * u + np.sqrt(max(b - slope * c, 0.0)) * NODES
            found[i, j] = WEIGHTS @ (f(u) * f(v)) @ WEIGHTS
    return found


def of_largest(kernel):
    """E max(u, a) max(v, b) with a, b of tanh's kernel: a + relu(u - a), and E a relu(v - b) is minus half of E ab by Stein's lemma."""
    both = kernel + of_tanh(kernel)
    size = np.sqrt(np.outer(both.diagonal(), both.diagonal()))
    rho = np.clip(np.divide(both, size, out=np.zeros_like(both), where=size > 0), -1, 1)
    return size * (np.sqrt(1 - rho**2) + rho * (np.pi - np.arccos(rho))) / (2 * np.pi)


def test_an_input_of_norm_0_beside_others():
    """It was refused: the mean square of max(x, b) was -2 e1 e2/(e1 + K) + e1 + K with means e2 = (e1 + K)/2 that kept their names."""
    found = kernel_matrix(Network(parse_layer("x + eps*A(max(x, B(tanh(x))))"), width=sp.oo), INPUTS, t=0.5)

    def rates(_, k):
        return of_largest(k.reshape(3, 3)).ravel()

    wanted = solve_ivp(rates, (0, 0.5), START.ravel(), rtol=1e-11, atol=1e-13, method="DOP853").y[:, -1].reshape(3, 3)
    assert np.abs(found - wanted).max() < 1e-8
    assert np.abs(START + 0.5 * of_largest(START) - found).max() > 1e-2  # the control: one Euler step


def test_the_mean_of_the_larger_by_draws():
    rng = np.random.default_rng(3)
    kernel = START[1:, 1:]
    state, branch = (rng.multivariate_normal(np.zeros(2), k, size=400_000) for k in (kernel, of_tanh(kernel)))
    products = np.maximum(state, branch).prod(axis=1)
    error = products.std() / np.sqrt(len(products))
    assert abs(products.mean() - of_largest(kernel)[0, 1]) < 4 * error
    assert abs(products.mean() - 1.2 * of_largest(kernel)[0, 1]) > 4 * error


@pytest.mark.parametrize(
    "text", ["x + eps*A(max(B(x), C(tanh(x))))", "x + eps*A(min(x, B(sin(x))))", "x + eps*A(abs(x - B(x)))"]
)
@pytest.mark.parametrize("kind", ["nngp", "ntk"])
def test_an_input_of_norm_0_is_the_limit_of_small_ones(text, kind):
    net = Network(parse_layer(text), width=sp.oo)
    at_zero, near = (kernel_matrix(net, INPUTS + shift, t=0.5, kind=kind) for shift in (0, [[1e-9, 0], [0, 0], [0, 0]]))
    assert np.abs(at_zero - near).max() < 1e-6
    assert at_zero[1, 1] > 0.1
