"""Means of a limit over levels of networks with shared weights."""

from __future__ import annotations

import numpy as np
import pytest

from derivations import ConvResNet, MLPBlock, Network, ResNet, Weights, epsilon, identity, relu, tanh
from numerics import depth_levels, expect_network
from numerics.depth_levels import NetworkLevels, coupled
from numerics.networks.initial import checked_start
from numerics.networks.simulate import ensemble
from numerics.statistics import Estimate

A, B = Weights("A", bias_variance=1), Weights("B", law="rademacher")


def networks(recipe, x0=1.0, t=1.0):
    return ensemble(recipe, 2, lambda width: checked_start(x0, None, 1.0, 10, width, recipe), "state", t)


def of_tanh(states):
    return np.tanh(states[:, 0, 0])


@pytest.mark.parametrize(
    "recipe",
    [
        ResNet(tanh, width=3, inputs=2),
        MLPBlock(relu, width=2, keep=0.5),
        ConvResNet(tanh, relu, width=2, positions=(3,), filter=(3,)),
        Network(lambda x: x + epsilon * A(tanh(x)), width=2),
    ],
    ids=["two inputs", "two matrices, dropped", "filters", "biases"],
)
def test_shallow_networks_beside_deep_ones_have_the_law_of_their_own(recipe):
    task = networks(recipe)
    _, shallow = coupled(task, 8, 0, 20_000, np.random.default_rng(1))
    alone, _ = coupled(task, 4, 0, 20_000, np.random.default_rng(2), alone=True)
    # the control: other networks, of twice the time
    wrong, _ = coupled(networks(recipe, t=2.0), 4, 0, 20_000, np.random.default_rng(3), alone=True)
    functions = (of_tanh, lambda x: np.tanh(x[:, -1, -1]) ** 2, lambda x: np.tanh(x[:, 0, 0] * x[:, -1, -1]))
    right, control = (
        [(Estimate.of(f(shallow)) - Estimate.of(f(other))).test(0.0).p_value for f in functions]
        for other in (alone, wrong)
    )
    assert min(right) > 1e-4
    assert min(control) < 1e-6


def test_levels_of_networks_cost_the_inverse_square_of_the_error(monkeypatch):
    levels = NetworkLevels(networks(ResNet(tanh, width=2)), of_tanh, 0, 1)
    for _ in range(6):
        levels.extend()
    assert 0.8 < levels.rate < 1.4
    costs = [levels.predicted_cost(tol) for tol in (1e-2, 1e-3)]
    assert 1.8 < np.log10(costs[1] / costs[0]) < 2.3
    # the control: shallow networks with weights of their own
    rng = np.random.default_rng(5)
    monkeypatch.setattr(depth_levels._Shared, "standard_normal", lambda self, size=None, out=None: _own(rng, size, out))
    apart = NetworkLevels(networks(ResNet(tanh, width=2)), of_tanh, 0, 1)
    for _ in range(6):
        apart.extend()
    assert apart.rate < 0.2
    costs = [apart.predicted_cost(tol) for tol in (1e-2, 1e-4)]
    assert np.log10(costs[1] / costs[0]) / 2 > 2.5


def _own(rng, size, out):
    return rng.standard_normal(size) if out is None else rng.standard_normal(out=out)


def test_the_mean_is_that_of_the_limit():
    # a linear network of width 1: log X has the mean -t/2
    log = lambda x: np.log(np.abs(x[:, 0, 0]))  # noqa: E731
    found = expect_network(ResNet(identity, width=1), log, x0=1.0, t=0.5, tol=1e-2, seed=1)
    assert abs(found.value + 0.25) < 3 * found.error
    assert found.error < 1.1e-2
    assert found == expect_network(ResNet(identity, width=1), log, x0=1.0, t=0.5, tol=1e-2, seed=1, workers=2)
    shallow = expect_network(ResNet(identity, width=1), log, 2, 20_000, x0=1.0, t=0.5, extrapolate=False)
    assert abs(shallow.value + 0.25) > 6 * shallow.statistical  # the control: networks of four layers miss it


def test_levels_that_do_not_end_or_fit_are_refused():
    with pytest.raises(ValueError, match=r"would take about .* hours here"):
        expect_network(ResNet(tanh, width=1), of_tanh, x0=1.0, tol=1e-9)
    with pytest.raises(ValueError, match="only if they are Gaussian"):
        expect_network(Network(lambda x: x + epsilon * B(tanh(x)), width=2), of_tanh, x0=1.0, tol=0.1)
    with pytest.raises(ValueError, match="tol must be"):
        expect_network(ResNet(tanh, width=1), of_tanh, x0=1.0, tol=0.0)
    with pytest.raises(ValueError, match="x0 must be"):
        expect_network(ResNet(tanh, width=1), of_tanh, x0=np.ones((5, 1, 1)), tol=0.1)
