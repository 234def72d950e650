"""Gaussian means of paths from tables against quadrature of their own, and paths that take them against those that take the means."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp

from derivations import MLPBlock, derive
from derivations.activations import parse_activation
from derivations.gaussian import GaussianPairExpectation, expect, expect_pair
from numerics import simulate_sde
from numerics.compile import compile_expression, pair_tables
from numerics.compile.pair_tables import MeanTable, with_pair_tables
from numerics.schemes import gram_euler

U = sp.Symbol("u", real=True)
V, W, C = sp.symbols("V W C", real=True)
FUNCTIONS = {"tanh": np.tanh, "relu6": lambda x: np.clip(x, 0, 6)}


def over_the_plane(f, v: float, w: float, rho: float) -> float:
    """By the trapezoidal rule in both, kinks or not: cells of 1/50 leave less than 1e-4."""
    z = np.arange(-7, 7, 0.02)
    bell = np.exp(-(z**2) / 2) * 0.02 / np.sqrt(2 * np.pi)
    second = f(np.sqrt(w) * (rho * z[:, None] + np.sqrt(1 - rho**2) * z))
    return float(bell * f(np.sqrt(v) * z) @ second @ bell)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_tables_meet_quadrature(name: str) -> None:
    f = parse_activation(name)(U)
    table = with_pair_tables((V, W, C), (expect_pair(f, f, U, [[V, C], [C, W]]) * C,))
    places = [(0.3, 1.7, 0.95), (0.3, 1.1, -0.4)]
    v, w, rho = np.array(places).T
    (found,) = table(v, w, rho * np.sqrt(v * w))
    wanted = np.array([over_the_plane(FUNCTIONS[name], *place) for place in places]) * rho * np.sqrt(v * w)
    assert np.abs(found - wanted).max() < 1e-4
    assert np.abs(found * 1.01 - wanted).max() > 1e-4


@pytest.mark.parametrize("text", ["tanh(x)", "silu(x)"])
def test_tables_meet_the_means_where_paths_go(text: str) -> None:
    f = parse_activation(text)(U)
    formulas = (expect_pair(f, f, U, [[V, C], [C, W]]), expect(f**2, U, V))
    rng = np.random.default_rng(0)
    v, w = 2.0 ** rng.uniform(0, 1, (2, 50))
    c = np.sqrt(v * w) * np.cos(rng.uniform(0, np.pi, 50))
    found, wanted = (np.array(make((V, W, C), formulas)(v, w, c)) for make in (with_pair_tables, compile_expression))
    assert np.abs(found - wanted).max() < 1e-6 * np.abs(wanted).max()


def test_what_is_no_number_and_what_no_table_meets_is_taken_from_the_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    squared = sp.Lambda(U, sp.tanh(U) ** 2)
    places = np.array([0.0, 1.0, np.inf])
    found = MeanTable((squared,))(places)
    assert found[0] == 0
    assert abs(found[1] - 0.394294490398) < 1e-7
    assert not 0 < found[2] < 1
    exact = MeanTable((squared,)).exact(places)[1]
    assert abs(found[1] - exact) > 1e-13
    monkeypatch.setattr(pair_tables, "TOLERANCE", -1.0)
    assert abs(MeanTable((squared,))(places)[1] - exact) < 1e-14


def test_paths_from_tables_are_those_of_the_means(monkeypatch: pytest.MonkeyPatch) -> None:
    gram = derive(MLPBlock("tanh", width=4, inputs=2)).gram
    draw = lambda: simulate_sde(gram, [1.4, 0.3, 1.5], 0.02, steps=5, samples=50)  # noqa: E731
    exact = draw()
    monkeypatch.setattr(gram_euler, "MANY", 0)
    assert 0 < np.abs(draw() - exact).max() < 1e-5


@pytest.mark.parametrize("sign", [1, -1])
def test_nearly_parallel_inputs_part_by_the_means_themselves(sign: int) -> None:
    """Of silu at 1 - ρ = 1e-9 tables gave a distance that grew by 1.54 on paths for 1.39: their errors, and not the inputs."""
    f = parse_activation("silu(x)" if sign == 1 else "tanh(x)")(U)
    own, other, pair = expect(f**2, U, V), expect(f**2, U, W), expect_pair(f, f, U, [[V, C], [C, W]])
    apart = (own, other, pair)
    v, gaps = np.full(5, 1.3), 10.0 ** -np.arange(3, 12, 2)
    places = v, v, sign * v * (1 - gaps)
    from_tables, exact = (np.array(make((V, W, C), apart)(*places)) for make in (with_pair_tables, compile_expression))
    distance, wanted = (m[0] + m[1] - 2 * sign * m[2] for m in (from_tables, exact))
    assert np.abs(distance / wanted - 1).max() < 1e-3
    alone = MeanTable(next(iter(pair.atoms(GaussianPairExpectation))).functions)(*places)
    assert np.abs((exact[0] + exact[1] - 2 * sign * alone) / wanted - 1).max() > 1e-2
