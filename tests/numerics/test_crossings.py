"""All places where a costly function takes a value, of which few points can be looked at."""

from __future__ import annotations

import numpy as np
import pytest

from numerics.crossings import COARSE, FINE, crossings, spaced, turns


def test_every_place_is_found_where_the_points_hold_the_turns():
    grid = spaced(0.1, 1.0, FINE)
    looked = np.unique([*spaced(0.1, 1.0, COARSE), *turns(np.sin(20 * grid)[None] ** 2, grid)])
    made = crossings(lambda x: np.sin(20 * x) ** 2, 0.3, looked)
    first = np.arcsin(np.sqrt(0.3))
    wanted = sorted((k * np.pi + s * first) / 20 for k in range(8) for s in (-1, 1))
    assert made.found == pytest.approx([x for x in wanted if 0.1 < x < 1], rel=1e-7)
    h = (grid[1:] - grid[:-1]).max()
    assert made.reach == (pytest.approx(0, abs=(10 * h) ** 2), pytest.approx(1, abs=(10 * h) ** 2))
    few = crossings(lambda x: np.sin(20 * x) ** 2, 0.3, spaced(0.1, 1.0, COARSE))
    assert len(few.found) < len(made.found)  # without the turns some are missed


def test_a_value_that_is_jumped_over_is_no_place():
    made = crossings(lambda x: float(x > 0.4), 0.5, np.linspace(0, 1, 9))
    assert made.found == ()
    assert made.jumps == pytest.approx([0.4], abs=1e-9)


def test_up_to_the_end_of_where_it_exists():
    """1/(1 − x) below 1 and nothing above: between the last of the points below, 7/8, and 1 it goes beyond 8."""
    points = np.linspace(0, 2, 17)[:-1] + 0.0001

    def function(x):
        return 1 / (1 - x) if x < 1 else np.nan

    assert crossings(function, 500.0, points).found == pytest.approx([1 - 1 / 500], rel=1e-9)
    assert crossings(function, 1e7, points).found == ()


def test_an_extreme_between_points_that_only_comes_near():
    made = crossings(lambda x: 1 - 40 * (x - 0.33) ** 2, 0.9999, np.linspace(0, 1, 9))
    assert made.found == pytest.approx([0.33 - np.sqrt(1e-4 / 40), 0.33 + np.sqrt(1e-4 / 40)], rel=1e-6)


def test_ends_of_a_plateau_are_turns():
    grid = np.linspace(-2, 2, 401)
    rows = np.clip(grid, -1, 1)[None] * np.where(grid > 0, -1, 1)
    assert turns(rows, grid) == pytest.approx([0], abs=0.011)
    assert len(turns(np.vstack([grid**3, np.full_like(grid, np.nan)]), grid)) == 0


def test_no_place_is_sought_nearer_than_is_enough():
    looked = []

    def cube(x):
        looked.append(x)
        return x**3

    rough, calls = crossings(cube, 0.3, np.linspace(0, 1, 9), near=1e-2, enough=1e-2), len(looked)
    assert abs(rough.found[0] ** 3 - 0.3) <= 1e-2
    exact = crossings(cube, 0.3, np.linspace(0, 1, 9))
    assert exact.found == pytest.approx([0.3 ** (1 / 3)], rel=1e-8)
    assert len(looked) - calls > calls
