"""One layer of random programs: derived moments against weights drawn by hand, and both ways of simulating."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp
from scipy.stats import ks_2samp

from derivations import Network, relu, tanh
from derivations.language import Weights, average, drop_branch, dropout, layer_norm, program, rms_norm
from derivations.symbols import state as x
from derivations.symbols import step as eps
from derivations.symbols import width as n
from numerics import simulate_network
from numerics.compile.jit_programs import program_kernel
from numerics.compile.programs import compiled_program
from numerics.networks import DRAWINGS
from tests.one_layer import derived_moments, worst_distance

HALF = sp.Rational(1, 2)
A, B, C = Weights("A"), Weights("B", out=3), Weights("C", out=3)
BIASED = Weights("A", variance=2, bias_variance=HALF, mean=HALF, bias_mean=-HALF)

# every statement and its combinations: name, layer, width
LAYERS = {
    "one matrix": (x + eps * A(relu(x)), 3),
    "two matrices": (x + eps * A(relu(B(x))), 2),
    "two matrices, one hidden neuron": (x + eps * A(relu(Weights("B", out=1)(x))), 2),
    "pre-norm": (x + eps * A(relu(B(rms_norm(x)))), 4),
    "layer norm": (x + eps * A(tanh(layer_norm(x))), 4),
    "post-norm": (rms_norm(x + eps * A(relu(B(x)))), 3),
    "gate": (x + eps * A(relu(B(x)) * C(x)), 2),
    "dropout": (x + eps * A(dropout(relu(B(x)), HALF)), 2),
    "shared dropout": (x + eps * A(dropout(relu(B(x)), HALF, shared=True)), 2),
    "dropped branch": (x + eps * drop_branch(A(relu(B(x))), HALF), 2),
    "bias and means": (x + eps**2 * x + sp.tanh(eps * Weights("D", bias_variance=1)(x)) + eps**2 * BIASED(relu(x)), 2),
    "shared matrix": (x + eps * A(x) + eps**2 * Weights("D")(tanh(x)) * Weights("D")(x), 2),
    "mean subtracted": (x + eps * A(relu(x)) - eps * average(A(relu(x))), 3),
    "linear attention without heads": (x + eps * average(Weights("Q")(x) * Weights("K")(x)) * Weights("V")(x), 2),
}
STARTS = np.array([[0.7, -0.4], [-1.2, 0.9], [0.3, 1.1], [1.6, 0.2]])


def _by_hand(name: str, start: np.ndarray, size: float, samples: int, rng: np.random.Generator) -> np.ndarray:
    """The layer written out with NumPy: no compiled expression, no program."""
    k, m = start.shape

    def draw(rows: int, columns: int, variance: float = 1.0) -> np.ndarray:
        return rng.standard_normal((samples, rows, columns)) * np.sqrt(variance / columns)

    pos = lambda v: np.maximum(v, 0.0)  # noqa: E731
    rms = lambda v: v / np.sqrt((v**2).mean(axis=-2, keepdims=True))  # noqa: E731
    keep = lambda rows, columns: 2.0 * (rng.random((samples, rows, columns)) < 0.5)  # noqa: E731
    match name:
        case "one matrix":
            return start + size * draw(k, k) @ pos(start)
        case "two matrices":
            return start + size * draw(k, 3) @ pos(draw(3, k) @ start)
        case "two matrices, one hidden neuron":
            return start + size * draw(k, 1) @ pos(draw(1, k) @ start)
        case "pre-norm":
            return start + size * draw(k, 3) @ pos(draw(3, k) @ rms(start))
        case "layer norm":
            return start + size * draw(k, k) @ np.tanh(rms(start - start.mean(axis=0)))
        case "post-norm":
            return rms(start + size * draw(k, 3) @ pos(draw(3, k) @ start))
        case "gate":
            return start + size * draw(k, 3) @ (pos(draw(3, k) @ start) * (draw(3, k) @ start))
        case "dropout":
            return start + size * draw(k, 3) @ (pos(draw(3, k) @ start) * keep(3, m))
        case "shared dropout":
            return start + size * draw(k, 3) @ (pos(draw(3, k) @ start) * keep(3, 1))
        case "dropped branch":
            return start + size * (draw(k, 3) @ pos(draw(3, k) @ start)) * keep(1, m)
        case "bias and means":
            inner = draw(k, k) @ start + rng.standard_normal((samples, k, 1))
            bias = np.sqrt(0.5) * rng.standard_normal((samples, k, 1)) - 0.5
            shifted = draw(k, k, 2.0) @ pos(start) + 0.5 * pos(start).mean(axis=0) + bias
            return start + size**2 * start + np.tanh(size * inner) + size**2 * shifted
        case "shared matrix":
            w = draw(k, k)
            return start + size * draw(k, k) @ start + size**2 * (w @ np.tanh(start)) * (w @ start)
        case "mean subtracted":
            u = draw(k, k) @ pos(start)
            return start + size * (u - u.mean(axis=1, keepdims=True))
        case "linear attention without heads":
            score = ((draw(k, k) @ start) * (draw(k, k) @ start)).mean(axis=1, keepdims=True)
            return start + size * score * (draw(k, k) @ start)
    raise AssertionError(name)


def _start(name: str) -> np.ndarray:
    start = STARTS[: LAYERS[name][1]]
    return start / np.sqrt((start**2).mean(axis=0)) if name == "post-norm" else start


# ε so small that terms of relative order ε stay below a standard error of the drift, which is 1/(ε √samples)
SIZE, SAMPLES = 0.02, 40_000


@pytest.mark.parametrize(
    "name", [pytest.param(k, marks=[pytest.mark.slow] if k == "post-norm" else []) for k in LAYERS]
)
def test_moments_are_those_of_weights_drawn_by_hand(name):
    drift, covariance = derived_moments(LAYERS[name][0], _start(name))
    sample = _by_hand(name, _start(name), SIZE, SAMPLES, np.random.default_rng(5))
    assert worst_distance(sample, _start(name), SIZE, drift, covariance) < 4.8
    assert worst_distance(sample, _start(name), SIZE, drift, 1.1 * covariance) > 4.8  # a wrong coefficient is seen


@pytest.mark.parametrize("method", ["weights", "conditional", "numba"])
@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.slow
def test_simulated_layers_have_these_moments(name, method):
    layer, width = LAYERS[name]
    drift, covariance = derived_moments(layer, _start(name))
    compiled = compiled_program(program(layer, sp.Integer(width)))
    sample, rng = np.array(np.broadcast_to(_start(name), (SAMPLES, width, 2))), np.random.default_rng(6)
    if method == "numba":
        pytest.importorskip("numba", reason="machine-code kernels need the extra fast")
        program_kernel(compiled.program, 2)(sample, [compiled], SIZE, rng)
    else:
        sample, _ = compiled.advance(sample, SIZE, next(d for d in DRAWINGS if d.name == method), rng)
    assert worst_distance(sample, _start(name), SIZE, drift, covariance) < 4.8


def test_a_symbol_without_a_number_is_refused():
    with pytest.raises(ValueError, match="expected a number for out of B"):
        compiled_program(program(x + eps * A(relu(Weights("B", out=4 * n)(x)))))


def _log_growth(layer, width, depth, samples=4000):
    """Mean and variance of the logarithm of the growth of ‖x‖² in deep networks, with their standard errors."""
    start = np.array([1.0, -0.5, 0.7, 0.3])[:width]
    x = simulate_network(Network(layer, width=width), depth, samples, x0=start, seed=3, method="weights")
    log = np.log((x**2).sum(axis=(1, 2)) / (start**2).sum())
    spread = (log - log.mean()) ** 2
    return (log.mean(), log.std() / np.sqrt(samples)), (spread.mean(), spread.std() / np.sqrt(samples))


def test_norm_of_deep_two_matrix_networks_is_log_normal():
    # one layer's bias is of relative order 1/L: at L = 200 below the standard error
    k = Weights("B", out=3)
    (mean, error), (variance, spread) = _log_growth(lambda x: x + eps * A(relu(k(x))), 4, 200)
    assert abs(mean - 0.25) < 4 * error  # (1/2 - 1/n) σ² t
    assert abs(variance - 0.5) < 4 * spread + 0.01  # 2σ² t/n
    assert abs(mean - 0.5) > 4 * error  # the flow of infinite width is seen to be another


def test_networks_in_law_and_with_weights_drawn_agree_in_depth():
    layer = lambda x: x + eps * A(relu(B(rms_norm(x))) * C(rms_norm(x)))  # noqa: E731
    norms = [
        (simulate_network(Network(layer, width=4), 50, 3000, x0=1.0, seed=k, method=method) ** 2).sum(axis=(1, 2))
        for k, method in enumerate(("weights", "conditional"))
    ]
    assert ks_2samp(*norms).pvalue > 1e-3
    assert ks_2samp(norms[0], 1.15 * norms[1]).pvalue < 1e-3


def test_several_inputs_share_weights_and_undefined_states_are_named():
    net = Network(lambda x: x + eps * A(sp.log(x)), width=2, inputs=2)
    with pytest.raises(ValueError, match=r"log\(x\) has no value at x = -1: layer 1 of 3, sample 1, neuron 2, input 1"):
        simulate_network(net, 3, 2, x0=[[1.0, 2.0], [-1.0, 1.0]])
