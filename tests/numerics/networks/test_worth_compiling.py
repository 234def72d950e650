"""Which networks are compiled: filters from as many numbers as dense layers, pairs of positions from more."""

from __future__ import annotations

import numpy as np
import pytest

from derivations import AttentionBlock, ConvResNet, relu, tanh
from numerics.compile.programs import compiled_program
from numerics.networks import simulate_network


@pytest.mark.parametrize(
    ("network", "share"),
    [(ConvResNet(tanh, relu, width=2, positions=(4,)), 1), (AttentionBlock(width=2, positions=3), 9)],
    ids=["filters", "pairs"],
)
def test_only_pairs_of_positions_are_written_out(network, share, monkeypatch):
    asked = []
    monkeypatch.setattr("numerics.networks.simulate.uses_jit", lambda backend, work, fuse: asked.append(work) or False)
    positions = 4 if share == 1 else 3
    simulate_network(network, 3, 5, x0=np.ones((2, positions)))
    rows = sum(m.rows for m in compiled_program(network.program()).matrices)
    assert asked == [5 * 3 * positions * rows // share]
