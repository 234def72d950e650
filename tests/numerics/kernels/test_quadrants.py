"""Means of products of piecewise polynomials by Owen's function, against integrals of each pair."""

from __future__ import annotations

import numpy as np
import pytest

from derivations import parse_activation
from derivations.kernels import slope_of
from numerics.kernels.conditioning import Pair, pair_means
from numerics.kernels.hermite import coefficients
from numerics.kernels.means import compile_means
from numerics.kernels.panels import Panels
from numerics.kernels.quadrants import Neurons, polynomials_of, quadrant_means
from numerics.kernels.series import Side, listed_means

RHO = np.array([0.3, -0.6, 0.97, 1 - 1e-4, -1 + 1e-7, 1 - 3e-12])
OF = 1e-12  #: what a mean may be off, by the roots of both mean squares, as everywhere in the kernels


def _neurons(function, mean, deviation):
    panels = compile_means(function).panels
    return Neurons(polynomials_of(function), mean, deviation), panels, coefficients(panels, mean, deviation).scale


@pytest.mark.parametrize("formula", ["relu6", "hardswish", "hardshrink", "Max(x - 3, 0)**2 + Max(-x, 0) + x**3/7"])
@pytest.mark.parametrize("shift", [0.0, 0.8])
@pytest.mark.parametrize("deviation", [0.2, 0.7, 40.0])
def test_piecewise_polynomials_have_closed_means_over_pairs(formula, shift, deviation):
    function = parse_activation(formula)
    first, second = np.full(len(RHO), deviation), deviation * np.linspace(0.8, 1.0, len(RHO))
    mean, other = np.full(len(RHO), shift * deviation), np.full(len(RHO), -shift)
    left, panels, one = _neurons(function, mean, first)
    right, _, its = _neurons(function if formula == "hardshrink" else slope_of(function), other, second)
    size = np.sqrt(one * its)
    found = quadrant_means(left, right, RHO, OF * size)
    exact = pair_means(
        panels,
        compile_means(function if formula == "hardshrink" else slope_of(function)).panels,
        Pair(mean, first, other, second, RHO),
    )
    known = np.isfinite(found)
    assert known.sum() >= 5
    assert np.abs(found - exact)[known].max() <= (2 * OF * size).max()
    assert np.abs(found + 1e-9 * size - exact)[known & (size > 0)].min() > (2 * OF * size).max()  # the control


def test_pairs_alike_at_the_corner_itself_have_the_mean_of_an_orthant():
    """P(X > 0, Y > 0) = 1/4 + asin(rho)/(2 pi), which Owen's function does not give at 0 over 0."""
    function = parse_activation("heaviside(x)")
    none, one = np.zeros(len(RHO)), np.ones(len(RHO))
    neurons = Neurons(polynomials_of(function), none, one)
    found = quadrant_means(neurons, neurons, RHO, 1e-12 * one)
    assert np.abs(found - 0.25 - np.arcsin(RHO) / (2 * np.pi)).max() < 1e-8  # asin takes half the digits near 1
    below = Neurons(polynomials_of(parse_activation("heaviside(x) - heaviside(x - 2)")), none - 1.0, one)
    half = quadrant_means(neurons, below, np.zeros(len(RHO)), 1e-12 * one)
    assert np.allclose(half, 0.5 * (0.15865525393145707 - 0.0013498980316300933), rtol=0, atol=1e-15)


@pytest.mark.slow
def test_what_rounding_takes_is_not_given():
    """At deviations of 1e5 the pieces of a saturating function cancel to five digits; the pair has an integral of its own."""
    function = parse_activation("hardtanh")
    some = np.full(2, 1e5)
    neurons, panels, scale = _neurons(function, np.zeros(2), some)
    rho = np.array([0.9, 0.999])
    assert np.isnan(quadrant_means(neurons, neurons, rho, OF * scale)).all()
    assert np.isfinite(quadrant_means(neurons, neurons, rho, 1e-3 * scale)).all()  # the control
    side = Side.of(panels, np.zeros(2), some)
    found = listed_means(side, side, np.array([0, 0]), np.array([1, 1]), rho)
    assert np.abs(found - 2 / np.pi * np.arcsin(rho)).max() < 2e-5  # nearly that of the sign


def test_only_polynomials_with_known_numbers_are_taken():
    assert polynomials_of(parse_activation("tanh")) is None
    assert polynomials_of(parse_activation("elu")) is None
    assert polynomials_of(parse_activation("x**9")) is None
    assert polynomials_of(parse_activation("relu6")).points == (0.0, 6.0)


def test_piecewise_polynomials_need_no_tables(monkeypatch):
    """Tables of corners away from 0 took minutes for the pairs of a hundred inputs."""
    asked = []
    monkeypatch.setattr("numerics.kernels.series.shared_means", lambda *some: asked.append(some) or some[2])
    draws = np.random.default_rng(5)
    i, j = draws.integers(0, 20, (2, 300))
    rho = 1 - 10.0 ** draws.uniform(-6, -2, 300)
    for formula in ("relu6", "hardswish", "hardsigmoid", "softshrink", "hardtanh", "tanh"):
        panels = compile_means(parse_activation(formula)).panels
        side = Side.of(panels, np.zeros(20), draws.uniform(3, 9, 20))
        listed_means(side, side, i, j, rho)
        assert bool(asked) == (formula == "tanh")  # the control has no pieces


@pytest.mark.parametrize(
    "formula", ["softshrink", "max(x**2 - 1, 0)", "max(tanh(x) - 1/2, 0)", "min(x + 1, 0) + max(x - 1, 0)"]
)
@pytest.mark.parametrize(("first", "second"), [(102.75074982341421, 102.94595266681661), (3.0, 3.0001)])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_proportional_inputs_of_nearly_one_size_have_means_of_functions_that_vanish_to_a_kink(
    formula, first, second, sign
):
    """Kinks of both functions lie so near to each other that rounding of places shows in what is small between them."""
    panels = compile_means(parse_activation(formula)).panels
    pair = Pair(*(np.array([value]) for value in (0.0, first, 0.0, second, sign)))
    found = pair_means(panels, panels, pair)[0]
    places = [corner.at / scale for corner in panels.corners for scale in (first, second)]
    edges = np.unique(np.concatenate([np.linspace(-12.0, 12.0, 97), places, np.negative(places)]))
    nodes, weights = np.polynomial.legendre.leggauss(48)
    half = np.diff(edges) / 2
    z = edges[:-1, None] + half[:, None] * (1 + nodes)
    density = half[:, None] * weights * np.exp(-z * z / 2) / np.sqrt(2 * np.pi)
    exact = np.sum(panels.function(first * z) * panels.function(sign * second * z) * density)
    size = np.sqrt(
        np.sum(panels.function(first * z) ** 2 * density) * np.sum(panels.function(second * z) ** 2 * density)
    )
    assert abs(found - exact) < OF * size
    assert abs(found + 1e-9 * size - exact) > OF * size


def test_a_jump_without_a_corner_is_still_refused():
    """Also where a place and the height of the jump are large: rounding of places moves no value that far."""
    for at, height in ((0.3, 1.0), (1000.3, 1e6)):
        jump = Panels(lambda x, at=at, height=height: np.where(x > at, height, 0.0))
        with pytest.raises(ValueError, match="a function cannot be followed near"):
            jump.nodes(np.array([at]), np.array([1.0]), 9.0)
