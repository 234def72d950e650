"""Functions of a neuron and of what a matrix puts out for it: their means are functions of the neuron, which averages over the neurons must see."""

import numpy as np
import pytest
import sympy as sp

from derivations import Network, Weights, epsilon, relu, sigmoid
from tests.backward_moments import assert_met, moments

A, B = Weights("A"), Weights("B")
START = np.array([[0.8], [-1.1], [0.4]])
SAMPLES = 40_000

#: The function of x and h = Bx, as an expression and as numbers with both slopes.
LAYERS = {
    "maximum": (lambda x, h: sp.Max(x, h), lambda x, h: (np.maximum(x, h), x > h, h > x)),
    "sum inside": (lambda x, h: relu(x + h), lambda x, h: (np.maximum(x + h, 0), x + h > 0, x + h > 0)),
    "sine": (lambda x, h: sp.sin(x + h), lambda x, h: (np.sin(x + h), np.cos(x + h), np.cos(x + h))),
    "gate": (lambda x, h: sigmoid(x) * relu(h), lambda x, h: gated(1 / (1 + np.exp(-x)), h)),
}


def gated(share, h):
    return share * np.maximum(h, 0), share * (1 - share) * np.maximum(h, 0), share * (h > 0)


@pytest.mark.parametrize("name", LAYERS)
def test_derivatives_have_the_moments_of_layers_that_are_drawn(name):
    said, numbers = LAYERS[name]
    rng, n = np.random.default_rng(5), len(START)
    a, b = rng.standard_normal((2, SAMPLES, n, n)) / np.sqrt(n)
    value, own, through = numbers(START[:, 0], b @ START[:, 0])
    first = a @ (own[..., None] * np.eye(n) + through[..., None] * b)
    samples = np.einsum("sij,sj->si", a, value), first, np.zeros_like(first)
    network = Network(lambda x: x + epsilon * A(said(x, B(x))), width=n)
    assert_met(moments(network, START, samples), wrong=1.1)
