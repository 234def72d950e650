"""Diffusions at one value of a parameter as those at another in other units; parameters chosen where the law is solved on a grid."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp
from scipy.special import ndtr

from derivations import Diffusion, GatedBlock, MLPBlock, Network, Weights, derive, epsilon, gelu, relu
from numerics import choose, solve_fokker_planck
from numerics.compile.parameters import with_number
from numerics.units import Family

g = sp.Symbol("g", positive=True)
A, B = Weights("A"), Weights("B", out=12)


@pytest.mark.slow
def test_the_variance_of_all_weights_is_a_unit_of_the_norm():
    limit = derive(MLPBlock(gelu, width=4, weight_variance=g)).gram
    family = Family(limit, g, sp.Rational(1, 2))
    units = family.units(1.5)
    assert units == pytest.approx((3, 9))
    direct = solve_fokker_planck(with_number(limit, g, sp.Rational(3, 2)), 1.2, t=0.3, tol=1e-4)
    other = solve_fokker_planck(family.base, 1.2 * units.state, t=0.3 * units.time, tol=1e-4)
    assert other.ppf(0.9) / units.state == pytest.approx(direct.ppf(0.9), rel=1e-3)
    assert other.ppf(0.9) != pytest.approx(direct.ppf(0.9), rel=1e-1)


@pytest.mark.parametrize(
    ("net", "units"),
    [
        (GatedBlock(relu, width=4, weight_variance=g), (1, 27)),  # three matrices: only the time
        (Network(lambda x: x + epsilon * g * A(gelu(B(x))), width=3, parameters=(g,)), (1, 9)),
        (Network(lambda x: x - epsilon**2 * g * x + epsilon * A(gelu(B(x))), width=3, parameters=(g,)), None),
    ],
)
def test_which_parameters_are_units(net, units):
    found = Family(derive(net).gram, g, sp.S.One).units(3.0)
    assert found is None if units is None else found == pytest.approx(units)


def test_bounded_states_have_no_other_units():
    x = sp.Symbol("x", real=True)
    process = Diffusion((x,), [g * x], [[g * (1 - x**2)]], sp.Interval.open(-1, 1))
    assert Family(process, g, sp.S.One).units(2.0) == pytest.approx((1, 2))
    assert Family(process.xreplace({process.drift[0]: g**2 * x}), g, sp.S.One).units(2.0) is None


@pytest.mark.slow
def test_states_beyond_the_range_of_doubles_are_refused():
    """log V ~ N(t/4, t/2): at t = 2500 it is near 625, and squares of V leave the range of doubles at 354."""
    limit = derive(MLPBlock(gelu, width=4)).gram
    with pytest.raises(ValueError, match="leave the range of doubles towards oo within the time 2500; take a smaller"):
        solve_fokker_planck(limit, 1.0, t=2500, tol=1e-4)


def _norms(variance, layers, count, rng):
    """Mean squares of four neurons: given the state, hidden numbers and what the second matrix makes of them are Gaussian."""
    x = np.ones((count, 4))
    for _ in range(layers):
        u = np.sqrt(variance * (x**2).mean(axis=1, keepdims=True)) * rng.standard_normal((count, 16))
        v = variance * ((u * ndtr(u)) ** 2).mean(axis=1, keepdims=True)
        x = x + np.sqrt(v / layers) * rng.standard_normal((count, 4))
    return (x**2).mean(axis=1)


@pytest.mark.slow
def test_a_quantile_at_finite_width_by_networks():
    """Depths L and 2L take the share a/L of what layers are too long by off."""
    found = choose(MLPBlock(gelu, width=4, weight_variance=g), g, norm=4, quantile=0.9, bounds=(0.3, 2))
    rng, count, q = np.random.default_rng(5), 6000, 0.9

    def apart(factor):
        few, many = (_norms(factor * found.value, layers, count, rng) for layers in (25, 50))
        beside = [
            np.diff(np.quantile(v, q + np.array([-1, 1]) * np.sqrt(q * (1 - q) / count)))[0] / 2 for v in (few, many)
        ]
        return (2 * np.quantile(many, q) - np.quantile(few, q) - 4) / np.hypot(beside[0], 2 * beside[1])

    assert abs(apart(1)) < 4
    assert abs(apart(1.5)) > 6
