"""Deep stacks of blocks over tokens against their flows, extrapolated in depth and width."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import sympy as sp

from derivations import TransformerBlock, relu, width_limit
from numerics import simulate_network, solve_flow


@pytest.mark.slow
def test_a_deep_transformer_of_a_few_keys_follows_its_flow():
    # the width goes to infinity and the number of keys does not: scores are not Gaussian
    block = TransformerBlock(width=48, positions=(2,), activation=relu, size=2)
    root = np.linalg.cholesky(np.array([[1.0, 0.3], [0.3, 1.0]]))
    path = solve_flow(width_limit(replace(block, width=sp.oo)), [1.0, 0.3, 1.0], t=1.8, rtol=1e-5)

    def gram(width, depth, seed):
        net = replace(block, width=width)
        return simulate_network(net, depth, 1500, inputs=np.sqrt(2) * root.T[None], t=1.5, seed=seed, record="gram")

    near, far = gram(48, 40, 33), gram(24, 20, 34)
    for k, (a, b) in ((0, (0, 0)), (1, (0, 1))):
        # depth and width leave terms of the order of their inverses, which fall away between two sizes
        found = 2 * near[:, a, b].mean() - far[:, a, b].mean()
        error = np.hypot(2 * near[:, a, b].std(), far[:, a, b].std()) / np.sqrt(1500)
        assert abs(found - path(1.5)[k]) < 4 * error
        assert abs(found - path(1.8)[k]) > 4 * error
