"""Means that kernels are made of, of sixty activations or so, against 30-digit integrals by mpmath that share no code with the packages.

``tests/data/make_gaussian_means.py`` made the numbers; the slow lane makes some of them again.
"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import mpmath as mp
import numpy as np
import pytest

from derivations import parse_activation
from derivations.kernels import slope_of
from numerics.kernels.means import compile_means

DATA = Path(__file__).parents[2] / "data"
MEANS = json.loads((DATA / "gaussian_means.json").read_text())
#: Of the roots of both mean squares: what `kernel_matrix` needs of a mean, with room for its other errors.
TOLERANCE = 1e-11
FAST = ("tanh", "hardtanh", "power 3/5", "logarithm", "root elsewhere")


def off(means, law, exact):
    """The distance from the exact mean, relative to the roots of the mean squares; and that of a value 1e-9 off."""
    v1, v2, rho = law
    with mp.workdps(30):
        covariance = float(mp.mpf(rho) * mp.sqrt(mp.mpf(v1) * mp.mpf(v2)))
    variance = np.array([float(v1), float(v2)])
    means = means.trusted(variance)  # as kernels do
    found = means.pairs(np.zeros(2), variance)(slice(0, 1), slice(1, 2), np.array([[covariance]]))[0, 0]
    size = np.sqrt(np.prod(means.square(np.zeros(2), variance))) or 1.0  # 0: fifty deviations of a dead zone
    return abs(found - float(exact)) / size, abs(found + 1e-9 * size - float(exact)) / size


def check(name, closed):
    for row in MEANS[name]:
        activation = parse_activation(row["formula"])
        for which in ("nngp", "slope"):
            if row[which] == "infinite":
                with pytest.raises(ValueError, match="no tangent kernel"):
                    slope_of(activation)
                continue
            means = compile_means(activation if which == "nngp" else slope_of(activation))
            error, control = off(means if closed else means.bare, row["law"], row[which])
            assert error < TOLERANCE, (name, which, row["law"], error)
            assert control > TOLERANCE


@pytest.mark.parametrize("name", [n if n in FAST else pytest.param(n, marks=pytest.mark.slow) for n in MEANS])
@pytest.mark.slow
def test_means_agree_with_thirty_digits(name):
    check(name, closed=True)
    check(name, closed=False)


ALIKE = {name: row for name, rows in MEANS.items() for row in rows if row["law"][0] == row["law"][1]}
#: Three by three pairs of neurons of one law: these have a series in the angle, not an integral each.
ROWS, COLUMNS, NEURONS = slice(0, 3), slice(3, 6), 6


@pytest.mark.parametrize("name", [n if n == "sign" else pytest.param(n, marks=pytest.mark.slow) for n in ALIKE])
def test_the_series_in_the_angle_agrees_with_thirty_digits(name):
    row, seen, activation = ALIKE[name], [], parse_activation(ALIKE[name]["formula"])
    variance, _, rho = map(float, row["law"])
    # what takes long here are powers beside places that the slopes have too
    once = row["slope"] == "infinite" or name in ("gap", "power 2/3 elsewhere")
    for which in ("nngp",) if once else ("nngp", "slope"):
        means = compile_means(activation if which == "nngp" else slope_of(activation)).bare
        none, neurons = np.zeros(NEURONS), np.full(NEURONS, variance)
        found = means.pairs(none, neurons)(ROWS, COLUMNS, np.full((3, 3), rho * variance))
        size = means.square(none, neurons)[0]
        assert np.all(np.abs(found - float(row[which])) < TOLERANCE * size), which
        assert np.all(np.abs(found + 1e-9 * size - float(row[which])) > TOLERANCE * size)
        seen += [key for key in means.panels.kept if str(key).startswith("b'angles")]
    assert seen or not means.panels.corners


def test_none_was_lost():
    assert len(MEANS) >= 62


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tanh", "erf"])
def test_the_numbers_are_made_again(name):
    spec = importlib.util.spec_from_file_location("make_gaussian_means", DATA / "make_gaussian_means.py")
    maker = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(maker)
    for made, kept in zip(maker.means(name), MEANS[name], strict=True):
        for which in ("nngp", "slope"):
            with mp.workdps(32):
                assert abs(mp.mpf(made[which]) - mp.mpf(kept[which])) < mp.mpf(10) ** -27 * abs(mp.mpf(kept[which]))
