"""What one input gives does not depend on the inputs beside it."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp
from scipy.integrate import DOP853

from derivations import GatedBlock, ShrinkingResNet, gelu, relu, tanh
from numerics.kernels import integration, kernel_matrices
from numerics.regression import NNGPRegressor, NTKRegressor
from numerics.regression.base import KernelRegressor

pytest.importorskip("sklearn")

GATED = GatedBlock(relu, width=sp.oo)
X = 3 * np.random.RandomState(0).uniform(size=(20, 3))  # those of scikit-learn's check
Y = X[:, 0].astype(int)


def off_beside_others():
    """By how much a pair near its explosion changes beside 1500 small inputs, relative to itself with five more digits."""
    small = 0.3 * np.random.default_rng(0).normal(size=(1500, 3))
    one, other = np.array([[2.6, 2.6, 2.7]]), np.array([[2.6, 2.4, 2.5]])
    alone = kernel_matrices(GATED, one, 0.27, other=other, tolerance=1e-11).ntk[0, 0]
    beside = kernel_matrices(GATED, np.concatenate([small, one]), 0.27, other=other, tolerance=1e-9).ntk[-1, 0]
    return abs(beside / alone - 1)


@pytest.mark.slow
def test_a_pair_near_an_explosion_keeps_the_tolerance_beside_many_others(monkeypatch):
    # a relative error at depth 0 grows as the relative rate does, here K(t)/K(0) = 15 times, and in a tangent kernel twice that
    assert off_beside_others() < 30e-9
    monkeypatch.setattr(integration, "_EachToTolerance", DOP853)  # the control: a mean square over all pairs
    assert off_beside_others() > 30e-9


def by_row(model):
    """By how much predictions of single rows differ from those of all at once."""
    return np.abs(model.predict(X) - np.concatenate([model.predict(row[None]) for row in X])).max()


@pytest.mark.parametrize(
    ("model", "network"),
    [
        (NNGPRegressor, GATED),
        (NTKRegressor, GATED),
        (NNGPRegressor, GatedBlock(gelu, width=sp.oo)),
        pytest.param(NTKRegressor, GatedBlock(gelu, width=sp.oo), marks=pytest.mark.slow),
    ],
)
def test_a_prediction_does_not_depend_on_the_rows_beside_it(model, network):
    assert by_row(model(network, t=0.1).fit(X, Y)) < 1e-7  # scikit-learn's bound


def test_the_share_of_the_tolerance_is_what_holds_it(monkeypatch):
    model = NNGPRegressor(GatedBlock(gelu, width=sp.oo), t=0.1, tolerance=1e-8).fit(X, Y)
    assert by_row(model) < 1e-7
    monkeypatch.setattr(KernelRegressor, "_share", lambda self: self.tolerance)
    assert by_row(model) > 1e-7


def test_the_share_does_not_change_with_the_unit_of_the_labels_and_asks_nothing_where_steps_do_not_meet():
    model = NNGPRegressor(GATED, t=0.1, tolerance=1e-6)
    shares = [model.fit(X, scale * Y)._share() for scale in (1.0, 1e6)]
    assert shares[0] == pytest.approx(shares[1])
    assert 1e-11 < shares[0] < 1e-8
    shared = NNGPRegressor(ShrinkingResNet(tanh, relu, width=sp.oo), tolerance=1e-6).fit(X, Y)
    assert shared._share() == 1e-6
