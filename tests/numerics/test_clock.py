"""Weights whose variance depends on depth: the law in its own clock, and networks that follow it."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp
from scipy import stats

from derivations import derive
from derivations.activations import relu, tanh
from derivations.architectures import MLP, ResNet, ShrinkingResNet
from derivations.calculus.clock import own_clock
from derivations.diffusion import Diffusion
from derivations.errors import DerivationError, NoClosedForm
from derivations.limits import depth_limit
from derivations.symbols import time
from numerics.limit_distribution import distribution, has_distribution
from numerics.networks import simulate_network
from numerics.paths import simulate_sde
from numerics.statistics import Estimate

x = sp.Symbol("x", real=True)
SPEEDS = {
    "linear": (1 + time, 1.5),
    "exponential": (sp.exp(-time), 1 - np.exp(-1)),
    "root": (1 / sp.sqrt(time), 2.0),
    "jump": (sp.Piecewise((1, time < sp.Rational(1, 2)), (3, True)), 2.0),
    "from zero": (time, 0.5),
}


@pytest.mark.parametrize("name", SPEEDS)
@pytest.mark.slow
def test_a_depth_dependent_variance_changes_the_clock(name):
    speed, reading = SPEEDS[name]
    network = ResNet(relu, width=1, weight_variance=speed)
    d = derive(network)
    assert has_distribution(d.limit)
    law = distribution(d, x0=1.0, t=1.0)
    # geometric Brownian motion: log X ~ N(-C/2, C)
    exact = stats.lognorm(np.sqrt(reading), scale=np.exp(-reading / 2))
    at = np.array([0.2, 0.7, 1.5])
    np.testing.assert_allclose(law.cdf(at), exact.cdf(at), rtol=1e-10)
    if name == "root":  # singular at the start, where steps and layers see a share of order √h less
        return
    for samples in (
        simulate_network(network, 400, 20_000, x0=1.0, seed=1)[:, 0, 0],
        simulate_sde(d.limit, 1.0, t0=1e-6, steps=400, samples=20_000, seed=2)[:, 0],
    ):
        logs = np.log(samples)
        assert abs(Estimate.of(logs).test(-reading / 2).statistic) < 4.5
        spread = Estimate.of((logs + reading / 2) ** 2)
        assert abs(spread.test(reading).statistic) < 4.5
        assert abs(spread.test(1.05**2 * reading).statistic) > 4.5  # the control


def test_the_clock_of_other_limits():
    c = sp.Symbol("c", positive=True)
    clock = own_clock(depth_limit(ResNet(tanh, width=1, weight_variance=1 + c * time)))
    assert sp.expand(clock.reading - time - c * time**2 / 2) == 0
    assert clock.base.covariance == sp.Matrix([[sp.tanh(x) ** 2]]).subs(x, clock.base.states[0])
    assert own_clock(Diffusion((x,), [0], [[x**2]])).speed == 1
    text = str(derive(ResNet(relu, width=1, weight_variance=1 + time)))
    text = " ".join(text.split())
    assert "geometric Brownian motion" in text
    assert "C = t**2/2 + t" in text
    mixed = ShrinkingResNet(tanh, tanh, width=1, weight_variance=1 + time, bias_variance=1)
    with pytest.raises(NoClosedForm, match="no change of clock"):
        own_clock(depth_limit(mixed))
    assert not has_distribution(depth_limit(mixed))
    derive(mixed)


@pytest.mark.parametrize(
    ("speed", "message"),
    [(1 / time, "not integrable"), (sp.Rational(1, 2) - time, "expected a finite number"), (time - 1, "covariance")],
    ids=["pole", "turns negative", "negative"],
)
def test_variances_that_are_none_are_refused(speed, message):
    with pytest.raises(DerivationError, match=message):
        distribution(Diffusion((x,), [0], [[x**2 * speed]], time=time), x0=1.0, t=1.0)


def test_networks_refuse_a_negative_variance():
    with pytest.raises(
        DerivationError, match=r"variance of W must be at least 0 at all times, and .* negative at t = "
    ):
        simulate_network(ResNet(relu, width=2, weight_variance=sp.Rational(1, 2) - time), 16, 3, x0=1.0)
    with pytest.raises(ValueError, match=r"variance .* at t = .*expected a finite number"):  # beyond a pole
        simulate_network(ResNet(relu, width=2, weight_variance=1 / (sp.Rational(1, 2) - time)), 16, 3, x0=1.0)


@pytest.mark.slow
def test_coefficients_that_are_singular_in_time_have_no_clock():
    with pytest.raises(NoClosedForm, match="no change of clock"):
        own_clock(derive(MLP(relu, inputs=2)).limit)
