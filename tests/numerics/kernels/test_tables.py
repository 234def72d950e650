"""Means of neurons from tables in their deviations, and pairs through what they share, against integrals of each neuron and pair."""

from __future__ import annotations

import mpmath as mp
import numpy as np
import pytest

from derivations import parse_activation
from derivations.kernels import slope_of
from numerics.kernels.conditioning import Pair, pair_means
from numerics.kernels.hermite import coefficients
from numerics.kernels.means import compile_means
from numerics.kernels.series import Side, listed_means
from numerics.kernels.shared import One, shared_means
from numerics.kernels.tables import _table, interpolated

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


def test_pairs_that_would_take_hours_are_refused_beforehand(monkeypatch):
    panels = compile_means(parse_activation("silu")).panels
    side = Side.of(panels, np.zeros(2), np.array([100.0, 101.0]))
    every = np.repeat([0, 1], 600)
    monkeypatch.setattr("numerics.kernels.series.shared_means", lambda left, right, rho, by_tables: rho)
    monkeypatch.setattr("numerics.kernels.series.process_time", iter([0.0, 7.0, 17.0]).__next__)
    with pytest.raises(ValueError, match=r"1200 pairs of inputs, of deviations up to 101 .* would take about 3 hours"):
        listed_means(side, side, every, every[::-1], np.full(1200, 1 - 1e-6))


NEAR = np.array([0.97, 1 - 1e-4, -1 + 1e-7, 1 - 3e-15])


@pytest.mark.parametrize(
    ("formula", "mean", "deviation"),
    [
        pytest.param("silu", 0.0, 40.0, marks=pytest.mark.slow),
        pytest.param("tanh", 0.0, 40.0, marks=pytest.mark.slow),
        pytest.param("selu", 0.0, 0.3, marks=pytest.mark.slow),
        pytest.param("hardtanh", 0.0, 0.3, marks=pytest.mark.slow),
        pytest.param("sqrt(Abs(x))**3 + sin(x)", 0.0, 3.0, marks=pytest.mark.slow),
        pytest.param("softplus", -0.7, 0.3, marks=pytest.mark.slow),
    ],
)
def test_means_over_what_pairs_share_are_those_of_integrals_of_each(formula, mean, deviation):
    function = parse_activation(formula)
    for panels in (compile_means(function).panels, compile_means(slope_of(function)).panels):
        first, second = np.full(len(NEAR), deviation), deviation * np.linspace(0.9, 1.2, len(NEAR))
        means = np.full(len(NEAR), mean)
        found = shared_means(One(panels, means, first), One(panels, means, second), NEAR)
        size = np.sqrt(np.prod([coefficients(panels, means, d).scale for d in (first, second)], axis=0))
        exact = pair_means(panels, panels, Pair(means, first, means, second, NEAR))
        known = np.isfinite(found)
        assert known.all() or (
            formula == "hardtanh" and known.sum() >= 2
        )  # corners far from 0 against what is not shared
        assert np.abs(found - exact)[known].max() < 3e-12 * size.max()
        assert np.abs(found + 1e-9 * size - exact)[known].min() > 3e-12 * size.max()  # the control


def test_pairs_of_neurons_with_means_of_their_own_and_of_two_functions():
    first, second = (compile_means(parse_activation(f)).panels for f in ("silu", "tanh"))
    mean, other, wide = np.array([0.3, -1.0]), np.array([0.4, 2.0]), np.array([5.0, 6.0])
    rho = np.array([0.999, -0.9999])
    found = shared_means(One(first, mean, wide), One(second, other, 1.1 * wide), rho)
    exact = pair_means(first, second, Pair(mean, wide, other, 1.1 * wide, rho))
    assert np.abs(found - exact).max() < 1e-11
    assert np.isnan(shared_means(One(first, mean, wide), One(second, other, wide), np.array([0.1, 1.0]))).all()


@pytest.mark.parametrize("sign", [1, -1])
def test_a_function_that_is_nearly_linear_at_one_neuron_and_nearly_a_step_at_the_other(sign):
    variance = np.array(
        [2.1e7, 4.1e-9]
    )  # what 200 coefficients leave out at the second one is below the rounding of its mean square
    means = compile_means(parse_activation("softsign"))

    def doubled(integrand):
        return 2 * mp.quad(
            lambda z: mp.npdf(z) * integrand(z), [0, *(mp.mpf(10) ** k for k in range(-12, 1)), 2, 4, 8, 14]
        )

    with mp.workdps(25):
        wide = [mp.sqrt(v) for v in variance]
        exact = sign * doubled(lambda z: mp.fprod(d * z / (1 + d * z) for d in wide))
        squares = [doubled(lambda z, d=d: (d * z / (1 + d * z)) ** 2) for d in wide]
        size = float(mp.sqrt(mp.fprod(squares)))
    covariance = np.array([[sign * np.sqrt(variance.prod())]])
    found = means.pairs(np.zeros(2), variance)(slice(0, 1), slice(1, 2), covariance)[0, 0]
    assert abs(found - float(exact)) < 1e-12 * size
    assert abs(found + 1e-9 * size - float(exact)) > 1e-12 * size


@pytest.mark.parametrize(
    ("function", "found", "most"),
    [
        (
            lambda p: 1 / (1 + (4 * p) ** 2),
            128,
            16 + 32 + 64 + 128 + 129,
        ),  # poles at ±i/4: last terms 5e-4, 2e-7, 2e-14
        (lambda p: np.sign(p - 0.3), None, 16 + 32),  # last terms fall as 1/count
        (lambda p: abs(p - 0.3), None, 16 + 32 + 64),  # as its square
        (lambda p: np.cos(p) + 3e-13 * np.cos(1e9 * p), None, 16 + 17),  # rounding
    ],
    ids=["poles", "a jump", "a kink", "rounding"],
)
def test_a_series_that_will_not_end_is_given_up_early(function, found, most):
    asked = []

    def made(mean, deviation):
        asked.append(len(mean))
        return function(2 * np.log2(deviation))[:, None], np.ones(len(mean))

    table = _table(0.0, 0.0, made)
    assert (table and len(table.size)) == found
    assert sum(asked) == most
