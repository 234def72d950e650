"""Neurons that are not alike, behind a norm: paths stay where each layer puts the state."""

import numpy as np
import pytest
import sympy as sp

from derivations import Network, derive
from numerics import simulate_sde

ROWS = "row_covariance=[[2, 1/2], [1/2, 1]]"
COLUMNS = "column_covariance=[[2, 1/2], [1/2, 1]]"


def limit(text):
    return derive(Network(text, width=2)).limit


@pytest.mark.parametrize(
    "text",
    [
        f"rms_norm(x + eps*A(relu(B(x)), {ROWS}))",
        f"rms_norm(x + eps*A(tanh(x), {COLUMNS}))",
        "rms_norm(x + eps*A(tanh(x), row_covariance=[[2, 0], [0, 1]]))",
    ],
)
def test_the_domain_is_the_sphere_and_paths_stay_on_it(text):
    found = limit(text)
    x_1, x_2 = found.states
    assert found.domain == sp.ConditionSet(sp.Tuple(x_1, x_2), sp.Eq(x_1**2 / 2 + x_2**2 / 2, 1), sp.Reals**2)
    ends = simulate_sde(found, [1.2, np.sqrt(2 - 1.44)], 0.6, steps=50, samples=500)
    assert np.abs((ends**2).mean(axis=1) - 1).max() < 1e-12
    with pytest.raises(ValueError, match="x0 must lie where"):
        simulate_sde(found, [1.2, 0.8], 0.6, steps=50, samples=500)


def drawn(depth, time, spread, samples=20_000):
    """Networks of two neurons, weights drawn by hand."""
    rng, root = np.random.default_rng(depth), np.linalg.cholesky(np.array(spread))
    x = np.tile([1.2, np.sqrt(2 - 1.44)], (samples, 1))
    for _ in range(depth):
        a, b = rng.standard_normal((2, samples, 2, 2)) / np.sqrt(2)
        read = np.maximum(np.einsum("sij,sj->si", b, x), 0)
        x = x + np.sqrt(time / depth) * np.einsum("ij,sjk,sk->si", root, a, read)
        x /= np.sqrt((x**2).mean(axis=1, keepdims=True))
    return x


@pytest.mark.slow
def test_paths_are_those_of_drawn_networks():
    time, looked = 0.6, lambda x: np.stack([x[:, 0], x[:, 1], x[:, 0] ** 2], axis=1)
    paths = looked(
        simulate_sde(
            limit(f"rms_norm(x + eps*A(relu(B(x)), {ROWS}))"), [1.2, np.sqrt(2 - 1.44)], time, steps=400, samples=20_000
        )
    )
    for spread, agrees in (([[2, 0.5], [0.5, 1]], True), ([[1, 0.5], [0.5, 2]], False)):
        networks = looked(drawn(200, time, spread))
        error = np.sqrt((paths.var(axis=0) + networks.var(axis=0)) / len(paths))
        away = np.abs(paths.mean(axis=0) - networks.mean(axis=0)) / error
        assert bool((away < 5).all()) is agrees, away
