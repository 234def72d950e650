"""Depth and width together where a layer takes its own average from the state: layer normalisation at the end, or at the end of a branch."""

from __future__ import annotations

import numpy as np
import pytest

from derivations import Network, NotClosed, Regime, derive
from derivations.symbols import width
from numerics.compile import compile_expression

TOGETHER = Regime(depth=1)


def _limit(text: str, inputs: int = 2):
    return derive(Network(text, width=width, inputs=inputs, regime=TOGETHER)).limit


def _layer_norm(x: np.ndarray) -> np.ndarray:
    x = x - x.mean(axis=-1, keepdims=True)
    return x / np.sqrt((x**2).mean(axis=-1, keepdims=True))


def _start(rng: np.random.Generator, samples: int, n: int, rho: float) -> np.ndarray:
    """Two inputs of mean 0, mean square 1 and a given product."""
    a, b = _layer_norm(rng.standard_normal((2, samples, n)))
    b = _layer_norm(b - (a * b).mean(axis=-1, keepdims=True) * a)
    return np.stack([a, rho * a + np.sqrt(1 - rho**2) * b], axis=1)


def _put_out(rng: np.random.Generator, body: np.ndarray) -> np.ndarray:
    """What a Gaussian matrix puts out, in law."""
    root = np.linalg.cholesky(np.einsum("sin,sjn->sij", body, body) / body.shape[-1])
    return np.einsum("sij,sjn->sin", root, rng.standard_normal(body.shape))


def _relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0)


POST = {
    "layer_norm(x + eps*C(relu(B(x))))": lambda rng, x: _put_out(rng, _relu(_put_out(rng, x))),
    "layer_norm(x + eps*A(relu(x)))": lambda rng, x: _put_out(rng, _relu(x)),
    "layer_norm(x + eps*layer_norm(C(relu(B(x)))))": lambda rng, x: _layer_norm(_put_out(rng, _relu(_put_out(rng, x)))),
}


@pytest.mark.parametrize("text", POST)
def test_a_layer_normalised_after_its_branch_moves_as_drawn_ones(text):
    rng, n, eps, rho = np.random.default_rng(3), 100, 0.05, 0.4
    x = _start(rng, 1500, n, rho)
    branch = POST[text](rng, x)
    after = [_layer_norm(x + sign * eps * branch) for sign in (1, -1)]  # the first order cancels
    moved = (sum((y[:, 0] * y[:, 1]).mean(axis=-1) for y in after) / 2 - rho) / eps**2
    limit = _limit(text)
    value = float(limit.drift[0].subs(limit.states[0], rho))
    error = 4.5 * moved.std() / np.sqrt(len(moved)) + 3 * abs(value) / n + 3 * eps**2
    assert abs(moved.mean() - value) < error
    assert abs(moved.mean() - 1.4 * value) > error  # the control


@pytest.mark.slow
def test_the_noise_of_a_linear_layer_that_is_normalised_is_that_of_deep_networks():
    rng, n, layers, rho = np.random.default_rng(5), 40, 4, 0.5
    x = _start(rng, 6000, n, rho)
    for _ in range(layers):
        x = _layer_norm(0.6 * x + 0.8 * _put_out(rng, x))
    spread = (x[:, 0] * x[:, 1]).mean(axis=-1).var() * n / layers
    limit = _limit("layer_norm(3*x/5 + 4*A(x)/5)")
    (value,) = compile_expression(limit.states, [limit.covariance[0]])(rho)
    error = 4.5 * np.sqrt(2 / 6000) * value + 4 * value / n  # of a variance, and of the width
    assert abs(spread - value) < error
    assert abs(spread - 1.3 * value) > error


def test_a_branch_less_its_average_has_the_limit_of_the_branch():
    centred, plain = _limit("x + eps*(A(relu(x)) - average(A(relu(x))))"), _limit("x + eps*A(relu(x))")
    assert centred.drift == plain.drift
    assert _limit("x + eps*layer_norm(C(relu(B(x))))").drift[0] == 1


@pytest.mark.parametrize(
    "text",
    [
        "3*x/5 + 4*layer_norm(A(x))/5",  # fluctuations are kept from layer to layer
        "layer_norm(3*x/5 + 4*A(tanh(x))/5)",
        "x + eps*average(A(relu(x)))",
    ],
)
def test_other_averages_that_move_all_neurons_are_refused(text):
    with pytest.raises(
        NotClosed,
        match=r"outputs to a multiple of the state; the new state has the part|a layer adds <A.1> to each neuron",
    ):
        _limit(text)


def test_advice_to_fix_the_width_is_given_where_that_helps():
    with pytest.raises(NotClosed) as inside:
        derive(Network("x + eps*A(gelu(B(layer_norm(D(x)))))", width=width, inputs=2))
    assert "give the width as a number" not in str(inside.value)
    with pytest.raises(NotClosed, match="give the width as a number to see all neurons, or follow inputs=2"):
        derive(Network("layer_norm(x + eps*C(relu(B(x))))", width=width))
