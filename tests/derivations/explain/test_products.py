"""Averages of products are said as entries of the Gram matrix: what is said is the equation of the neurons, at states that are drawn."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp

from derivations import ConvBlock, GatedBlock, MLPBlock, derive, relu
from derivations.limits.gram import gram_matrix
from derivations.sums import CoordinateSum

NEURONS = 3
BLOCKS = {
    "two inputs": MLPBlock(relu, width=NEURONS, inputs=2),
    "root mean square": MLPBlock(relu, width=NEURONS, inputs=2, norm="rms", bias_variance=1),
    "layer norm": MLPBlock(relu, width=NEURONS, inputs=2, norm="layer"),
    "gates": GatedBlock(relu, width=NEURONS, inputs=2, norm="layer"),
    "filters": ConvBlock(relu, width=NEURONS, positions=(3,), filter=(3,)),
    "filters behind layer norm": ConvBlock(relu, width=NEURONS, positions=(3,), filter=(3,), norm="layer"),
}


def _moments(x: np.ndarray, centred: bool) -> dict[sp.Basic, sp.Float]:
    """The Gram matrix of drawn states, by its symbols."""
    x = x - x.mean(axis=1, keepdims=True) if centred else x
    letters = gram_matrix(len(x))
    return {letters[a, b]: sp.Float((x[a] * x[b]).mean(), 17) for a in range(len(x)) for b in range(len(x))}


def _entry(limit, x: np.ndarray, a: int, b: int) -> float:
    """The covariance of two coordinates of the first neuron, from the limit itself."""
    rule = dict(zip(limit.neuron, x[:, 0], strict=True))
    entry = limit.neuron_entry(a, b)
    sums = {node: sp.Float(node.explicit(list(map(tuple, x.T)))) for node in entry.atoms(CoordinateSum)}
    return float(entry.xreplace(sums).xreplace(rule))


@pytest.mark.parametrize("name", BLOCKS)
def test_noise_in_the_entries_of_the_gram_matrix_is_that_of_the_neurons(name):
    d = derive(BLOCKS[name])
    x = np.random.default_rng(5).normal(size=(BLOCKS[name].coordinates, NEURONS))
    centred = d.closure.centred
    increment, limit = (next(s for s in d.steps if s.name.startswith(w)) for w in ("Increment", "Limit"))
    for (a, b), wanted in {(0, 0): _entry(d.limit, x, 0, 0), (0, 1): _entry(d.limit, x, 0, 1)}.items():
        (said,) = (line.terms[0].coefficient for line in limit.lines if str(line.left) == f"F_{a + 1}{b + 1}")
        covariances = [line.terms[0].coefficient for line in increment.lines if str(line.left).startswith("Covariance")]
        for formula in (said, covariances[b]):
            assert float(formula.xreplace(_moments(x, centred))) == pytest.approx(wanted, rel=1e-12)
        if said.free_symbols:  # the control
            assert float(said.xreplace(_moments(x, not centred))) != pytest.approx(wanted, rel=1e-3)
