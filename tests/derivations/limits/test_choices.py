"""Layers that choose between formulas: a maximum of two pre-activations, one of two matrices by the sign of a third."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp

from derivations import Network
from derivations.gaussian import expect
from derivations.language import parse_layer
from tests.random_layers import limit_at

STATE = np.array([0.7, -1.1, 0.4])


def _noise(text: str, put_out, samples: int = 40_000) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The derived covariance of the noise at a state, that of drawn matrices without ε, and its standard errors."""
    _, derived = limit_at(Network(parse_layer(text), width=3), STATE[:, None])
    rng = np.random.default_rng(5)

    def drawn(body: np.ndarray) -> np.ndarray:
        matrix = rng.normal(size=(samples, 3, 3)) / np.sqrt(3)
        return np.einsum("soi,si->so", matrix, np.broadcast_to(body, (samples, 3)))

    moved = put_out(drawn)
    products = np.einsum("si,sj->sij", moved, moved)
    return derived, products.mean(axis=0), products.std(axis=0) / np.sqrt(samples)


LAYERS = {
    "x + eps*C(max(A(x), B(x)))": lambda drawn: drawn(np.maximum(drawn(STATE), drawn(STATE))),
    "x + eps*A(where(B(x) > 0, C(x), tanh(C(x))))": lambda drawn: drawn(
        (lambda b, c: np.where(b > 0, c, np.tanh(c)))(drawn(STATE), drawn(STATE))
    ),
    "where(x > average(x**2), x + eps*A(x), x + 2*eps*B(x))": lambda drawn: np.where(
        np.mean(STATE**2) < STATE, drawn(STATE), 2 * drawn(STATE)
    ),
    "x + eps*A((0 < B(x) < 1)*x)": lambda drawn: drawn((lambda b: ((b > 0) & (b < 1)) * STATE)(drawn(STATE))),
}


@pytest.mark.parametrize("text", LAYERS)
def test_the_noise_is_that_of_drawn_matrices(text):
    derived, met, error = _noise(text, LAYERS[text])
    assert (abs(met - derived) < 4.5 * error).all()
    assert (abs(met - 1.2 * derived) > 4.5 * error).any()


def test_two_inputs_choose_each_by_its_own_state():
    text, state = "where(x > average(x**2), x + eps*A(x), x + 2*eps*B(x))", np.array([[0.7, -0.5], [-1.1, 0.9]])
    _, derived = limit_at(Network(text, width=2, inputs=2), state)
    gram, first = state.T @ state / 2, state > np.mean(state**2, axis=0)
    for i, a in np.ndindex(2, 2):
        for k, b in np.ndindex(2, 2):
            same = first[i, a] == first[k, b] and i == k
            assert derived[2 * i + a, 2 * k + b] == pytest.approx(same * (1 if first[i, a] else 4) * gram[a, b])


def test_the_mean_of_a_choice_is_a_choice_of_means():
    x, z = sp.symbols("x z", real=True)
    choice = sp.Piecewise((z, x > 0), (sp.Max(z, 0) ** 2, True))
    assert expect(choice, z) == sp.Piecewise((0, x > 0), (sp.S.Half, True))
