"""Means of neurons from tables in their deviations, and long series in correlations, against integrals of each neuron and pair."""

from __future__ import annotations

import numpy as np
import pytest

from derivations import parse_activation
from numerics.kernels.conditioning import Pair, pair_means
from numerics.kernels.hermite import coefficients
from numerics.kernels.means import compile_means
from numerics.kernels.series import Side, listed_means
from numerics.kernels.tables import interpolated

DEVIATIONS = np.array([1e-60, 3e-3, 0.2, 0.70710678, 0.71, 1.0, 1.4, 1.4142136, 2.5, 7.0, 33.0])


@pytest.mark.parametrize("formula", ["tanh", "hardtanh", "Max(x - 3, 0)**2 + x", "sqrt(Abs(x))", "expm1(x)", "silu"])
@pytest.mark.parametrize("shift", [0.0, -0.7])
def test_a_table_has_the_means_and_coefficients_of_each_neuron(formula, shift):
    means = compile_means(parse_activation(formula)).bare
    some = DEVIATIONS[DEVIATIONS < 10] if formula == "expm1(x)" else DEVIATIONS
    mean = np.full(len(some), shift)
    found = coefficients(means.panels, mean, some)
    first, square = means.first(mean, some**2), means.square(mean, some**2)
    assert means.panels.tables  # neurons of one mean share them
    assert any(table is not None for table in means.panels.tables.values())
    for k, deviation in enumerate(some):
        alone = coefficients(means.panels, mean[:1], np.array([deviation]))
        size = np.sqrt(alone.scale[0])
        off = np.abs(found.terms[k] - alone.terms[0]).max() / size
        assert off < 1e-12
        assert np.abs(found.terms[k] * (1 + 1e-8) - alone.terms[0]).max() / size > 1e-12  # the control
        assert abs(found.scale[k] / alone.scale[0] - 1) < 1e-12
        if deviation > 1e-20:
            one = (
                means.first(mean[:1], np.array([deviation**2]))[0],
                means.square(mean[:1], np.array([deviation**2]))[0],
            )
            assert abs(first[k] - one[0]) < 1e-12 * size
            assert abs(square[k] - one[1]) < 1e-12 * size**2


def test_no_table_where_neurons_have_means_of_their_own_or_a_series_does_not_meet_the_values():
    panels = compile_means(parse_activation("tanh")).panels

    def rough(mean, deviation):
        return np.sin(1e5 * deviation)[:, None], np.ones(len(deviation))

    def smooth(mean, deviation):
        return np.sin(deviation)[:, None], np.ones(len(deviation))

    two = np.array([1.0, 1.1])
    assert interpolated(panels, "smooth", two, two, smooth) is None
    values, size = interpolated(panels, "rough", np.zeros(2), two, rough)
    assert np.array_equal(values[0] * size, np.sin(1e5 * two))
    values, size = interpolated(panels, "smooth", np.zeros(2), two, smooth)
    assert np.allclose(values[0] * size, np.sin(two), rtol=0, atol=1e-13)
    assert panels.tables["rough", 0.0, 0.0] is None
    assert panels.tables["smooth", 0.0, 0.0] is not None


@pytest.mark.slow
def test_pairs_that_would_take_hours_are_refused_beforehand(monkeypatch):
    panels = compile_means(parse_activation("silu")).panels
    side = Side.of(panels, np.zeros(2), np.array([100.0, 101.0]))
    every = np.repeat([0, 1], 600)
    monkeypatch.setattr("numerics.kernels.series.conditioned", lambda *_: np.zeros(3))
    monkeypatch.setattr("numerics.kernels.series.process_time", iter([0.0, 0.6]).__next__)
    with pytest.raises(ValueError, match=r"1200 pairs of inputs, of deviations up to 101 .* would take about 3 hours"):
        listed_means(side, side, every, every[::-1], np.full(1200, 1 - 1e-6))


@pytest.mark.slow
@pytest.mark.parametrize(("formula", "deviation", "distance"), [("silu", 14.0, 2.5e-5), ("tanh", 6.0, 1e-7)])
def test_long_series_have_the_values_of_integrals(formula, deviation, distance):
    panels = compile_means(parse_activation(formula)).panels
    deviations, rho = np.array([deviation, 1.02 * deviation]), np.array([1.0 - distance])
    side = Side.of(panels, np.zeros(2), deviations)
    assert side.found.tails.min() > 1e-9 * side.found.scale.max()  # 200 terms are not enough
    one, other = np.array([0]), np.array([1])
    found = listed_means(side, side, one, other, rho)[0]
    pair = Pair(np.zeros(1), deviations[:1], np.zeros(1), deviations[1:], rho)
    exact, size = pair_means(panels, panels, pair)[0], np.sqrt(np.prod(side.found.scale))
    assert abs(found - exact) < 3e-12 * size
    assert abs(found + 1e-9 * size - exact) > 3e-12 * size
