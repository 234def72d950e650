"""Answers that people from outside asked for, with values found without the project's code."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp
from scipy.stats import norm

from derivations import (
    Diffusion,
    Network,
    ResNet,
    ShrinkingResNet,
    Weights,
    derive,
    epsilon,
    identity,
    parse_activation,
    recognise,
    silu,
    symbols,
    tanh,
)
from derivations.gaussian import expect
from numerics import compile_law, kernel_matrix

x = symbols.state


@pytest.mark.parametrize(
    ("formula", "entry"),
    [("log(1+abs(x))", 0.10387739), ("tanh(abs(x))", 0.120876320973), ("tanh(max(x,0))", 0.04618167)],
)
def test_kernels_over_kinks_keep_their_digits(formula, entry):
    found = kernel_matrix(ResNet(parse_activation(formula), sp.oo), [[1, 0.3], [-0.2, 0.8]], t=0.5)[0, 1]
    assert found == pytest.approx(entry, abs=6e-9)
    assert found != pytest.approx(entry + 2e-3, abs=1e-3)  # what smooth quadrature gave


@pytest.mark.slow
@pytest.mark.parametrize(
    ("drift", "noise", "interval", "coordinate"),
    [
        (-sp.sin(x) * sp.cos(x) ** 3, sp.cos(x) ** 2, (-sp.pi / 2, sp.pi / 2), np.tan),
        (sp.sin(x) ** 3 * sp.cos(x), sp.sin(x) ** 2, (0, sp.pi), lambda q: -1 / np.tan(q)),
    ],
    ids=["arctan", "arccot"],
)
def test_angles_of_brownian_motion(drift, noise, interval, coordinate):
    """X = arctan(W + tan x₀), and its mirror image."""
    law = recognise(Diffusion((x,), [drift], [[noise**2]], domain=sp.Interval.open(*interval)))
    start, points = 0.3, np.array([-1.0, 0.2, 1.2]) if interval[0] else np.array([0.2, 0.4, 2.0])
    wanted = norm.cdf((coordinate(points) - coordinate(start)) / np.sqrt(0.7))
    assert compile_law(law, x0=start, t=0.7).cdf(points) == pytest.approx(wanted, abs=1e-13)
    assert np.max(np.abs(compile_law(law, x0=start, t=0.5).cdf(points) - wanted)) > 1e-3


def test_odd_means_vanish_and_the_covariance_is_a_mean_of_squares():
    W, z = Weights("W"), sp.Dummy(real=True)
    limit = derive(Network(x + epsilon * tanh(W(x)), width=1)).limit
    assert limit.drift == sp.zeros(1, 1)
    assert sp.N(limit.covariance[0, 0].subs(x, 1)) == pytest.approx(0.394294, abs=1e-6)  # ∫ tanh² φ
    assert expect(sp.atan(z), z) == 0


def test_superlinear_drift_is_said_to_explode():
    assert "it can explode" in str(derive(ShrinkingResNet(silu, identity, 3)).existence)
