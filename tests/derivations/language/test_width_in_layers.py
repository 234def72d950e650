"""Layers that say the width themselves, in factors and variances: what they are where depth and width grow together, and at a width."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp

from derivations import MLP, Network, Regime, Weights, derive, epsilon, relu, scalings, shaped, symbols, tanh
from derivations.errors import DerivationError, NoLimit
from numerics import simulate_network

n = symbols.width
A = Weights("A")
TOGETHER = Regime(depth=1)


def together(layer, depth=1):
    return derive(Network(layer, width=n, inputs=2, regime=Regime(depth=depth))).limit


@pytest.mark.parametrize(
    ("said", "small", "depth"),
    [
        (lambda x: x + A(relu(x)) / sp.sqrt(n), lambda x: x + epsilon * A(relu(x)), 1),
        (lambda x: x + Weights("A", variance=1 / n)(relu(x)), lambda x: x + epsilon * A(relu(x)), 1),
        (lambda x: x + A(relu(x)) / n, lambda x: x + epsilon * A(relu(x)), 2),
        (lambda x: Weights("A", variance=1 + 1 / n)(x), lambda x: Weights("A", variance=1 + epsilon**2)(x), 1),
        (lambda x: sp.exp(1 / n) * A(x), lambda x: sp.exp(epsilon**2) * A(x), 1),
        (lambda x: A(sp.sqrt(n) * sp.tanh(x / sp.sqrt(n))), lambda x: A(sp.tanh(epsilon * x) / epsilon), 1),
    ],
)
def test_the_width_is_a_power_of_the_small_parameter(said, small, depth):
    assert together(said, depth) == together(small, depth)


def test_a_perceptron_a_little_above_critical_drifts():
    """Variance (2 + 1/n)/n: a layer multiplies the squared norm by 1 + 1/(2n) in the mean."""
    (V,), critical = derive(MLP(relu, width=n)).limit.states, derive(MLP(relu, width=n)).limit
    above = derive(Network("A(relu(x), variance=2 + 1/n)", width=n, regime=TOGETHER)).limit
    assert above.covariance == critical.covariance
    assert above.drift[0] == V / 2 != critical.drift[0]


def test_a_zoom_in_the_width_is_the_shaped_activation():
    zoom = derive(Network(lambda x: A(sp.sqrt(n) * sp.tanh(x / sp.sqrt(n))), width=n, regime=TOGETHER)).limit
    recipe = derive(
        Network(lambda x: A(shaped(tanh, a=1)(x)), width=n, regime=Regime(depth=1, rates=dict(shaped(tanh, a=1).rates)))
    ).limit
    assert zoom == recipe


def test_at_a_width_it_is_the_number_and_sizes_stay_sizes():
    said, meant = "x + eps*A(relu(B(x, out=2*n)))/sqrt(n)", "x + eps*A(relu(B(x, out=18)))/3"
    assert derive(Network(said, width=9)).limit == derive(Network(meant, width=9)).limit
    x = simulate_network(Network("A(relu(x), variance=2 + 1/n)", width=9, regime=TOGETHER), 3, 20_000, 1.0, seed=1)
    squares = (x[:, :, 0] ** 2).mean(axis=1)  # the first layer reads ones, all on; then each keeps half
    wanted, error = (2 + 1 / 9) * (1 + 1 / 18) ** 2, squares.std() / np.sqrt(20_000)
    assert abs(squares.mean() - wanted) < 4 * error < abs(2 - wanted)


def test_without_a_regime_a_unit_of_time_is_n_layers():
    said = derive(Network("x + A(relu(x))/sqrt(n)", width=n), order="joint").limit
    assert said == derive(Network("x + eps*A(relu(x))", width=n, regime=TOGETHER)).limit


def test_a_branch_too_large_for_the_regime_is_refused():
    with pytest.raises(NoLimit, match="a time that vanishes"):
        together(lambda x: x + A(relu(x)) / n ** sp.Rational(1, 4))


@pytest.mark.parametrize(
    ("variance", "late"),
    [("1 - 2*t", "t = 3/2"), ("t**2 - t + 1/5", "t = 1/2"), ("sin(t)", "3\\*pi/2"), ("t - 2000", "t = 0")],
)
def test_a_variance_that_becomes_negative_is_refused(variance, late):
    with pytest.raises(DerivationError, match=f"negative at .*{late}; write Max"):
        Network(f"x + eps*A(x, variance={variance})", width=1)


@pytest.mark.parametrize("variance", ["max(1 - 2*t, 0)", "(t - 1)**2", "1 + sin(t)", "1/(1 + t)", "1/(1 - t)"])
def test_a_variance_that_does_not_is_taken(variance):
    (x,) = (limit := derive(Network(f"x + eps*A(x, variance={variance})", width=1)).limit).states
    assert limit.covariance[0].subs(symbols.time, 0) == x**2


def test_at_infinite_width_it_has_no_value():
    with pytest.raises(DerivationError, match="the width n stands in the matrix A, and it is oo here"):
        Network("x + eps*A(x, variance=1 + 1/n)", width=sp.oo)
    tied, free = (
        str(scalings(Network("x + A(relu(x))/sqrt(n)", width=n, **regime))) for regime in ({"regime": TOGETHER}, {})
    )
    assert "As it stands the network is in a regime with a limit" in tied
    assert "As it stands the branch does not shrink with the depth" in free
    said, plain = (scalings(Network(f"x + A(relu(B(x))){by}", width=n)) for by in ("/sqrt(n)", ""))
    assert said.maps is None
    assert "the width n" in said.why_no_maps
    assert plain.maps.factor == sp.Rational(3, 2)


def test_a_branch_in_powers_of_the_width_alone_is_told_of_both_together():
    with pytest.raises(NoLimit, match="let depth and width grow together, order='joint'"):
        derive(Network("x + A(relu(x))/sqrt(n)", width=n))
