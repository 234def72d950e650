"""Options of blocks at infinite width: the second moments' velocity by one layer of networks of two widths, drawn by hand, or refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import sympy as sp

from derivations import (
    AttentionBlock,
    ConvBlock,
    DerivationError,
    GatedBlock,
    MLPBlock,
    TransformerBlock,
    derive,
    relu,
    symbols,
)
from numerics.compile import compile_expression
from tests.drawn_blocks import DrawnBlock

HALF, n = sp.Rational(1, 2), symbols.width
MEANS = {"weight_mean": HALF, "output_mean": 1, "bias_mean": -HALF, "output_bias_mean": HALF}
OF_BIASES = {"bias_mean": -HALF, "output_bias_mean": HALF}
PAIR = [[2, HALF], [HALF, 1]]


def _mlp(**options):
    return MLPBlock(relu, width=sp.oo, inputs=2, hidden=2 * n, **options)


def _gate(**options):
    return GatedBlock(relu, width=sp.oo, inputs=2, hidden=n, **options)


def _filters(**options):
    return ConvBlock(relu, width=sp.oo, positions=(3,), filter=(3,), circular=False, hidden=n, **options)


def _heads(**options):
    return AttentionBlock(width=sp.oo, size=n, value_size=n, **options)


def _transformer(norm="none", **options):
    return TransformerBlock(width=sp.oo, activation=relu, size=n, value_size=n, hidden=2 * n, norm=norm, **options)


CELLS = {
    "mlp, all means": _mlp(**MEANS),
    "mlp, layer norm behind": _mlp(norm="layer", place="post"),
    "gate, all means": _gate(**MEANS),
    "gate, layer norm": _gate(norm="layer"),
    "gate, norm behind": _gate(norm="rms", place="post"),
    "gate, dropout": _gate(keep=HALF),
    "filters, all means": _filters(**MEANS),
    "filters, layer norm": _filters(norm="layer"),
    "filters, norm behind": _filters(norm="rms", place="post"),
    "filters, dropped branch": _filters(keep_branch=HALF),
    "linear, over k, means of biases": _heads(kind="linear", scale="linear", bias_mean=HALF),
    "linear, orthogonal": _heads(kind="linear", law="orthogonal"),
    "linear, masked heads, norm, dropout": _heads(kind="linear", masked=True, norm="rms", heads=2, keep=HALF),
    "softmax, means": _heads(weight_mean=HALF, output_mean=1),
    "softmax, means of biases": _heads(**OF_BIASES),
    "softmax, over k": _heads(scale="linear"),
    "softmax, masked heads, norm, dropout": _heads(masked=True, norm="rms", heads=2, keep=HALF),
    "softmax, norm behind": _heads(norm="rms", place="post"),
    "softmax, signs": _heads(law="rademacher", bias_variance=HALF),
    "transformer, means of biases": _transformer(**OF_BIASES),
    "transformer, parallel, dropped, layer norm": _transformer("layer", parallel=True, keep_branch=HALF),
    "transformer, parallel, norm behind": _transformer("rms", parallel=True, place="post"),
}
SIZE, WIDTHS = 0.02, (24, 48)
#: More where the samples spread most.
SAMPLES = {"gate, norm behind": 6000}


def _places(limit):
    """Means by one coordinate, second moments by two."""
    return [tuple(int(c) - 1 for c in str(state).split("_")[1]) for state in limit.states]


def _start(block, neurons, moves, rng):
    """Neurons with exact second moments, and means where these move."""
    m = block.coordinates
    x = rng.standard_normal((neurons, m))
    x -= x.mean(axis=0)
    x = x @ np.linalg.inv(np.linalg.cholesky(x.T @ x / neurons)).T
    size = np.ones(m) if block.place == "post" else np.linspace(0.8, 1.2, m)
    means = np.linspace(-0.2, 0.3, m) * moves
    kernel = (0.6 * np.eye(m) + 0.4 * np.cos(np.subtract.outer(range(m), range(m)))) * np.outer(size, size)
    return x @ np.linalg.cholesky(kernel - np.outer(means, means)).T + means


def _drawn(block, limit, neurons, samples):
    places, rng = _places(limit), np.random.default_rng(neurons)
    block = replace(block, width=neurons)
    x = _start(block, neurons, any(len(place) == 1 for place in places), rng)
    net = DrawnBlock(block, x, samples, rng)

    def moments(y):
        return np.stack([np.prod([y[..., c] for c in place], axis=0).mean(axis=-1) for place in places], axis=-1)

    def velocity(size):
        plus, minus = (moments(x + net.step(size, sign)) for sign in (1.0, -1.0))
        return ((plus + minus) / 2 - moments(x)) / size**2

    return moments(x), (4 * velocity(SIZE) - velocity(2 * SIZE)) / 3


@pytest.mark.slow
@pytest.mark.parametrize("name", CELLS)
def test_the_velocity_is_that_of_networks(name):
    block = CELLS[name]
    limit = derive(block).limit
    (_, first), (at, second) = (_drawn(block, limit, neurons, SAMPLES.get(name, 1500)) for neurons in WIDTHS)
    derived = np.array([float(compile_expression(limit.states, entry)(*at)) for entry in limit.drift])
    # the next term in the width falls away between two widths
    found = 2 * second.mean(axis=0) - first.mean(axis=0)
    error = np.hypot(2 * second.std(axis=0), first.std(axis=0)) / np.sqrt(len(first)) + 1e-9
    assert (np.abs(found - derived) < 4.5 * error + 1.5 * np.abs(derived) / WIDTHS[0] ** 1.5).all()
    assert (np.abs(found - 2 * derived) > 4.5 * error).any()  # the control


def test_covariances_of_infinitely_many_neurons_are_refused():
    with pytest.raises(DerivationError, match="give the width as a number, and matrices of its size"):
        derive(_transformer(row_covariance=PAIR))
