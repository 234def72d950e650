"""Transposes: one layer's derived moments against weights drawn by hand, the interpreter, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp

from derivations import (
    DerivationError,
    Network,
    NoLimit,
    NotClosed,
    Weights,
    derive,
    epsilon,
    gram_limit,
    relu,
    tanh,
    width_limit,
)
from derivations.language import normalised_sum, program
from derivations.symbols import state as x
from derivations.symbols import step as eps
from derivations.symbols import width as n
from numerics import simulate_network
from numerics.compile.programs import compiled_program
from numerics.networks import DRAWINGS
from tests.helpers import equal_symbolically
from tests.one_layer import derived_moments, worst_distance

k = sp.Symbol("k", integer=True, positive=True)
A, W = Weights("A", out=2), Weights("W")
BIASED = Weights("A", out=2, variance=2, mean=1, bias_variance=1, bias_mean=-1)
LAYERS = {
    "even": x + eps * A.T(A(x) ** 2),
    "gradient": x - eps**2 * A.T(relu(A(x))) + eps * W(x),
    "without its matrix": x + eps * A.T(Weights("B", out=2)(x)),
    "bias and mean": x + eps**2 * BIASED.T(BIASED(x)) + eps * W(x),
    "two bodies": x + eps * A.T(A(x) * A(x**2) + A(x) ** 2),
}
START = np.array([[0.7, -0.4], [-1.2, 0.9], [0.3, 1.1]])
SIZE, SAMPLES = 0.02, 30_000
FAST = ("bias and mean", "without its matrix")
CASES = [pytest.param(name, marks=[] if name in FAST else [pytest.mark.slow]) for name in LAYERS]


def _start(name: str) -> np.ndarray:
    """Two inputs; one where the matrix reads two bodies of each, whose Gram matrix is to be inverted."""
    return START[:, :1] if name == "two bodies" else START


def _by_hand(name: str, rng: np.random.Generator) -> np.ndarray:
    start = _start(name)
    draw = lambda rows, columns: rng.standard_normal((SAMPLES, rows, columns)) / np.sqrt(columns)  # noqa: E731
    a, w = draw(2, 3), draw(3, 3)
    back = a.swapaxes(1, 2)
    match name:
        case "even":
            step = back @ (a @ start) ** 2
        case "gradient":
            step = -SIZE * (back @ np.maximum(a @ start, 0)) + w @ start
        case "without its matrix":
            step = back @ (draw(2, 3) @ start)
        case "bias and mean":
            full = np.sqrt(2) * a + 1 / 3
            put_out = full @ start + rng.standard_normal((SAMPLES, 2, 1)) - 1
            step = SIZE * (full.swapaxes(1, 2) @ put_out) + w @ start
        case "two bodies":
            u = a @ start
            step = back @ (u * (a @ start**2) + u**2)
    return start + SIZE * step


@pytest.mark.parametrize("name", CASES)
def test_moments_are_those_of_weights_drawn_by_hand(name):
    drift, covariance = derived_moments(LAYERS[name], _start(name))
    sample = _by_hand(name, np.random.default_rng(31))
    assert worst_distance(sample, _start(name), SIZE, drift, covariance) < 4.8
    assert worst_distance(sample, _start(name), SIZE, drift, 1.25 * covariance) > 4.8
    if name in ("gradient", "bias and mean"):
        assert worst_distance(sample, _start(name), SIZE, 2 * drift + 1, covariance) > 4.8


@pytest.mark.slow
@pytest.mark.parametrize("name", LAYERS)
def test_the_interpreter_draws_these_layers(name):
    compiled = compiled_program(program(LAYERS[name], sp.Integer(3)))
    moments = derived_moments(LAYERS[name], _start(name))
    for drawing in DRAWINGS:
        start = np.broadcast_to(_start(name), (SAMPLES, *_start(name).shape))
        sample, _ = compiled.advance(start, SIZE, drawing, np.random.default_rng(32))
        assert worst_distance(sample, _start(name), SIZE, *moments) < 4.8


def test_a_gradient_step_is_a_flow():
    # A^T φ(A x) has the mean (k/n) E φ'(u) x, by Stein's identity
    flow = Network(
        lambda x: x - epsilon**2 * Weights("A", out=k).T(relu(Weights("A", out=k)(x))), width=n, parameters=(k,)
    )
    limit = derive(flow).limit
    assert equal_symbolically(limit.drift[0], -k * sp.Symbol("x", real=True) / (2 * n))
    wide = Network(lambda x: x - epsilon**2 * Weights("A").T(relu(Weights("A")(x))), width=sp.oo)
    K = sp.Symbol("K", positive=True)
    assert equal_symbolically(width_limit(wide).drift[0], -K)
    double = Weights("A", out=2 * n)
    assert equal_symbolically(
        width_limit(Network(lambda x: x - epsilon**2 * double.T(relu(double(x))), width=sp.oo)).drift[0], -2 * K
    )


def test_at_infinite_width_the_ratio_of_neurons_must_be_known():
    layer = lambda x: x - epsilon**2 * Weights("A", out=k).T(relu(Weights("A", out=k)(x)))  # noqa: E731
    with pytest.raises(NotClosed, match="number of neurons for each one"):
        width_limit(Network(layer, width=sp.oo, parameters=(k,)))


def test_an_even_body_is_noise_that_depends_on_the_state():
    V = sp.Symbol("V", positive=True)
    net = Network(lambda x: x + epsilon * A.T(A(x) ** 2), width=n)
    # along x the sum of cubes of u, beside it a fresh Gaussian: E|Δ|²/n of the second is 3 (n - 1)/n (k/n) V², of the first 15 k V²/n²
    gram = gram_limit(net.program())
    assert equal_symbolically(gram.process.drift[0], 2 * V**2 * (15 + 3 * (n - 1)) / n**2)


@pytest.mark.parametrize(
    ("layer", "error", "says"),
    [
        (lambda x: x + epsilon * A.T(relu(A(x))), NoLimit, "must vanish at order 1"),
        (lambda x: x + epsilon * A.T(A(A.T(A(x)))), DerivationError, "reads what its transpose put out"),
        (
            lambda x: x + epsilon * Weights("O", law="haar").T(Weights("O", law="haar")(x)),
            NotClosed,
            "independent Gaussian entries only",
        ),
        (lambda x: x + epsilon * A.T(A(x) ** 2 + A(2 * x) ** 2), NotClosed, "depend on each other"),
        (lambda x: x + epsilon * A.T(x), DerivationError, "shapes do not fit"),
        (lambda x: x + epsilon * Weights("F", taps=((0,),)).T(x), DerivationError, "transpose of a filter"),
    ],
)
def test_what_has_no_rule_is_refused(layer, error, says):
    with pytest.raises(error, match=says):
        derive(Network(layer, width=3))


def test_tangent_kernels_are_refused_and_jacobians_go_through_the_transpose():
    net = Network(lambda x: x + eps * A.T(tanh(A(x))), width=3)
    with pytest.raises(ValueError, match="tangent kernels are simulated without transposes"):
        simulate_network(net, 2, 2, inputs=np.ones((1, 2)), record="tangent kernel")
    # a derivative, by the difference of two networks with the same weights
    start, h = np.array([0.5, -0.2, 0.1]), 1e-6
    for layer in (x + eps * A.T(tanh(A(x))), x + eps * normalised_sum(W(x) * tanh(x)) * A.T(A(x))):
        net = Network(layer, width=3)
        ends = [start + s * np.array([h, 0, 0]) for s in (1, -1)]
        moved = [simulate_network(net, 2, 3, x0=end, seed=4, method="weights")[..., 0] for end in ends]
        slope = simulate_network(net, 2, 3, x0=start, seed=4, method="weights", record="jacobian").reshape(3, 3, 3)
        assert np.allclose(slope[:, :, 0], (moved[0] - moved[1]) / (2 * h), atol=1e-6)


def test_networks_use_the_same_matrix_backwards():
    net = Network(lambda x: tanh(x) * 0 + A.T(A(x)), width=3)
    after = simulate_network(net, 1, 2000, x0=[1.0, 0.0, 0.0], seed=0)[..., 0]
    assert (after[:, 0] > 0).all()  # x'AᵀAx ≥ 0
    assert abs(after[:, 0].mean() - 2 / 3) < 4 * after[:, 0].std() / np.sqrt(2000)
