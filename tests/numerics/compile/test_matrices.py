"""Matrices of every law: one layer's derived moments against matrices drawn by hand, and by the interpreter."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp
from scipy.stats import ortho_group

from derivations import Network, relu
from derivations.language import Weights, average, program
from derivations.symbols import state as x
from derivations.symbols import step as eps
from numerics import simulate_network
from numerics.compile.programs import compiled_program
from numerics.networks import DRAWINGS
from tests.one_layer import derived_moments, worst_distance

A = Weights("A")
SKEW = (1, 2)  # the law on (1 ± √5)/2 with the probabilities of a mean 0: E ξ³ = 1, E ξ⁴ = 2
# name: a layer made with one matrix of the law in question, and whether the law is seen in it
LAYERS = {
    "output": (lambda w: x + eps * w(relu(x)), {}, False),
    "inner relu": (lambda w: x + eps * A(relu(w(x))), {"out": 3}, False),
    "inner square": (lambda w: x + eps * A(w(x) ** 2 + w(x)), {"out": 3}, True),
    "more rows than columns": (lambda w: x + eps * A(w(x) ** 2), {"out": 5}, True),
    "bias": (lambda w: x + eps * A(w(x) ** 2), {"out": 3, "bias_variance": sp.Rational(1, 8)}, True),
    "two bodies": (lambda w: x + eps * A(w(x) * w(sp.tanh(x))), {"out": 4}, True),
    "two rows": (lambda w: x + eps * average(w(x) ** 2 - 1) * A(x), {"out": 2}, True),
    "with a mean": (lambda w: x + eps * A(w(x) ** 2), {"out": 3, "mean": 2}, True),
}
START = np.array([[0.7, -0.4], [-1.2, 0.9], [0.3, 1.1], [1.6, 0.2]])
SIZE, SAMPLES = 0.02, 30_000


def _matrices(law: str, rows: int, columns: int, rng: np.random.Generator) -> np.ndarray:
    """Drawn without the program: entries of variance 1 over the number of columns."""
    if law == "orthogonal":
        size = max(rows, columns)
        return ortho_group.rvs(size, SAMPLES, random_state=rng)[:, :rows, :columns] * np.sqrt(size / columns)
    shape = (SAMPLES, rows, columns)
    if law == "gaussian":
        drawn = rng.standard_normal(shape)
    elif law == "rademacher":
        drawn = np.sign(rng.random(shape) - 0.5)
    elif law == "uniform":
        drawn = (2 * rng.random(shape) - 1) * np.sqrt(3)
    else:
        points = np.array([1 + np.sqrt(5), 1 - np.sqrt(5)]) / 2
        drawn = np.where(rng.random(shape) < -points[1] / np.sqrt(5), *points)
    return drawn / np.sqrt(columns)


def _by_hand(name: str, law: str, rng: np.random.Generator) -> np.ndarray:
    rows = LAYERS[name][1].get("out", 4)
    w, a = _matrices(law, rows, 4, rng), rng.standard_normal((SAMPLES, 4, 4 if name == "two rows" else rows))
    a /= np.sqrt(a.shape[2])
    u = w @ START
    match name:
        case "output":
            step = w @ np.maximum(START, 0)
        case "inner relu":
            step = a @ np.maximum(u, 0)
        case "inner square":
            step = a @ (u**2 + u)
        case "more rows than columns":
            step = a @ u**2
        case "bias":
            step = a @ (u + np.sqrt(1 / 8) * rng.standard_normal((SAMPLES, rows, 1))) ** 2
        case "two bodies":
            step = a @ (u * (w @ np.tanh(START)))
        case "two rows":
            step = (u**2 - 1).mean(axis=1, keepdims=True) * (a @ START)
        case "with a mean":
            step = a @ (u + 2 * START.mean(axis=0)) ** 2
    return START + SIZE * step


LAWS = {"orthogonal": "orthogonal", "rademacher": "rademacher", "uniform": "uniform", "skew": SKEW}
CASES = [
    pytest.param(law, name, marks=[pytest.mark.slow] if law in ("rademacher", "uniform") else [])
    for law in LAWS
    for name in LAYERS
    if law == "orthogonal" or name != "inner relu"
]


@pytest.mark.parametrize(("law", "name"), CASES)
def test_moments_are_those_of_matrices_drawn_by_hand(law, name):
    layer, options, seen = LAYERS[name]
    drift, covariance = derived_moments(layer(Weights("W", law=LAWS[law], **options)), START)
    sample = _by_hand(name, law, np.random.default_rng(11))
    assert worst_distance(sample, START, SIZE, drift, covariance) < 4.8
    _, gaussian = derived_moments(layer(Weights("W", **options)), START)
    if seen:  # Gaussian entries are rejected
        assert worst_distance(sample, START, SIZE, drift, gaussian) > 4.8
    else:
        assert np.allclose(covariance, gaussian)
        assert worst_distance(sample, START, SIZE, drift, 1.1 * covariance) > 4.8


@pytest.mark.parametrize(("law", "name"), CASES)
@pytest.mark.slow
def test_the_interpreter_draws_these_laws(law, name):
    layer, options, _ = LAYERS[name]
    expr = layer(Weights("W", law=LAWS[law], **options))
    compiled = compiled_program(program(expr, sp.Integer(4)))
    sample, _ = compiled.advance(np.broadcast_to(START, (SAMPLES, 4, 2)), SIZE, DRAWINGS[0], np.random.default_rng(12))
    assert worst_distance(sample, START, SIZE, *derived_moments(expr, START)) < 4.8


def test_orthogonal_matrices_keep_norms():
    net = Network(lambda x: eps * 0 + Weights("O", law="orthogonal", variance=4)(x), width=3)
    after = simulate_network(net, 1, 5, x0=[1.0, -2.0, 2.0], seed=1)
    assert np.allclose((after**2).sum(axis=(1, 2)), 4 * 9)


def test_moments_without_numbers_cannot_be_drawn():
    k4 = sp.Symbol("kappa", positive=True)
    net = Network(lambda x: x + eps * Weights("W", law={4: k4})(x), width=2, parameters=(k4,))
    with pytest.raises(ValueError, match="expected numbers for the law of the entries"):
        simulate_network(net, 2, 2, x0=1.0)
