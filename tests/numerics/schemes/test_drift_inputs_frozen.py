"""Every scheme with a drift, with several inputs and with a frozen part: values with a control each, or the words of its refusal."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp

from derivations import MLP, ResNet, ShapedMLP, derive, identity, joint_limit, relu, tanh
from derivations.calculus.exponential import collapse_linear
from derivations.diffusion import Diffusion
from derivations.limits import depth_limit
from numerics.fokker_planck import solve_fokker_planck
from numerics.paths import simulate_sde
from numerics.schemes import SCHEMES
from numerics.statistics import Estimate

z, y = sp.symbols("z y", real=True)
DRIFT, INPUTS, FROZEN = "drift", "inputs", "frozen"
BY_HAND = {"euler_maruyama", "milstein", "derivative_free", "two_point", "weak_second"}
TIME, START = 0.2, [1.0, 0.3, -0.5, 1.0, 0.2, 1.0]


def agrees(sample, value, wrong):
    mean = Estimate.of(sample)
    return abs(mean.test(value).statistic) < 4 < abs(mean.test(wrong).statistic)


def ends(limit, x0, scheme, samples=8000, steps=8, t=TIME):
    return simulate_sde(limit, x0, t=t, steps=steps, samples=samples, seed=5, scheme=scheme)


def drift_of_states(scheme):
    # two Ornstein-Uhlenbeck states with other levels: Euler's chain has (1 - h)^N, the second order (1 - h + h²/2)^N
    x = ends(Diffusion((z, y), [-z, 1 - y], sp.diag(1, sp.Rational(1, 4))), [1.0, 3.0], scheme, 40_000)
    h = TIME / 8
    chain = (1 - h + (h * h / 2 if scheme == "weak_second" else 0)) ** 8
    assert agrees(x[:, 0], chain, 1.0)
    assert agrees(x[:, 1], 1 + 2 * chain, 3.0)


def drift_of_one(scheme):
    x = ends(Diffusion((z,), [1 - z], [[sp.Rational(1, 4)]]), 3.0, scheme, 40_000, steps=64)[:, 0]
    assert agrees(x, 1 + 2 * np.exp(-TIME), 3.0)


def line_of_inputs(scheme):
    # a linear layer of one neuron: three inputs of a line share geometric Brownian motion
    x = ends(depth_limit(ResNet(identity, width=1, inputs=3)), [1.0, 0.5, -2.0], scheme, 40_000, 4, 0.04)
    np.testing.assert_allclose(x[:, 1:], x[:, :1] * np.array([[0.5, -2.0]]), rtol=1e-6)
    assert agrees((x[:, 2] + 2) ** 2, 4 * np.expm1(0.04), 5 * np.expm1(0.04))


def frozen_input(scheme):
    # ReLU of one neuron and three inputs: the one below 0 stays, two on a line keep their ratio
    x = ends(depth_limit(ResNet(relu, width=1, inputs=3)), [1.0, 0.5, -2.0], scheme, 40_000, 4, 0.04)
    assert np.all(x[:, 2] == -2)
    np.testing.assert_allclose(x[:, 1], x[:, 0] / 2, rtol=1e-6)
    assert agrees((x[:, 0] - 1) ** 2, np.expm1(0.04), 1.25 * np.expm1(0.04))


def frozen_starts(scheme):
    start = np.where(np.arange(40_000) % 2, 1.0, -1.0)[:, None]
    x = ends(depth_limit(ResNet(relu, width=1)), start, scheme, 40_000, 16)[:, 0]
    assert np.all(x[start[:, 0] < 0] == -1)
    assert agrees((x[start[:, 0] > 0] - 1) ** 2, np.expm1(TIME), 1.25 * np.expm1(TIME))


def drift_of_gram(scheme):
    # X' = WX over the neurons: V has the drift V, E V = e^t V, entry by entry, also with three inputs
    x = ends(derive(ResNet(identity, width=4, inputs=3)).gram, START, scheme, 20_000, 64)
    for column, start in enumerate(START):
        assert agrees(x[:, column], start * np.exp(TIME), start * np.exp(TIME) + 0.05)


def gram_of_inputs(scheme):
    # a perceptron's linear layers: E V_ab² = p, E V_aa V_bb = q with p' = p + q, q' = 2p, each of three pairs
    x = ends(joint_limit(MLP(identity, inputs=3)), START, scheme, 40_000, 64)
    for column, (a, b) in zip((1, 2, 4), ((0, 3), (0, 5), (3, 5)), strict=True):
        up = (2 * START[column] ** 2 + 1) / 3
        value = up * np.exp(2 * TIME) + (START[column] ** 2 - up) * np.exp(-TIME)
        assert agrees(x[:, column] ** 2, value, 1.2 * value)
        product = up * np.exp(2 * TIME) - 2 * (START[column] ** 2 - up) * np.exp(-TIME)
        assert agrees(x[:, a] * x[:, b], product, 1.0)


def line_of_gram(limit):
    # what stays in a Gram matrix: inputs on a line keep their ratio
    def of(scheme):
        x = ends(limit(), [1.0, -0.5, 0.25], scheme, 2000, 16)
        np.testing.assert_allclose(x[:, 1:], x[:, :1] * np.array([[-0.5, 0.25]]), rtol=1e-6)
        assert np.std(x[:, 0]) > 0.1

    return of


def drift_on_cone(scheme):
    # a shaped tanh loses norm; the forward equation of one input has the same mean
    limit = joint_limit(ShapedMLP(tanh, inputs=1, a=1))
    x = ends(limit, 1.0, scheme, 40_000, 64)[:, 0]
    (v,) = limit.states
    alone = Diffusion((v,), [limit.drift[0]], [[limit.covariance[0, 0]]], sp.Interval.open(0, sp.oo))
    assert agrees(x, solve_fokker_planck(alone, 1.0, t=TIME).expectation(lambda s: s), 1.0)


def collapse_drift(scheme):
    # E w of the linear form w = t/√q grows with its source and its rate, by the means of dw = (κ + μw)dt - σw dB
    limit = joint_limit(MLP(relu, inputs=2))
    form = collapse_linear(limit)
    kappa, mu = float(form.source), float(form.growth)
    x = ends(limit, float(limit.start), scheme, 40_000, 64)
    assert agrees(TIME / np.sqrt(x[:, 0]), kappa * np.expm1(mu * TIME) / mu, kappa * TIME)


VALUES = (
    {(DRIFT, s): drift_of_states for s in BY_HAND}
    | {(INPUTS, s): line_of_inputs for s in BY_HAND}
    | {(FROZEN, s): frozen_input for s in BY_HAND}
    | {(DRIFT, s): drift_of_one for s in ("lamperti", "exact")}
    | {(FROZEN, s): frozen_starts for s in ("lamperti", "exact")}
    | {
        (DRIFT, "gram_euler"): drift_of_gram,
        (INPUTS, "gram_euler"): drift_of_gram,
        (DRIFT, "congruence"): drift_on_cone,
        (INPUTS, "congruence"): gram_of_inputs,
        (FROZEN, "congruence"): line_of_gram(lambda: joint_limit(MLP(identity, inputs=2))),
        (FROZEN, "gram_euler"): line_of_gram(lambda: derive(ResNet(identity, width=4, inputs=2)).gram),
        (DRIFT, "linear_form"): collapse_drift,
    }
)

REFUSED = {
    (INPUTS, "lamperti"): "the Lamperti form needs a scalar diffusion, got 3 states",
    (INPUTS, "exact"): "exact laws are known for scalar diffusions",
    (INPUTS, "linear_form"): "the scheme steps the limit of an unshaped perceptron",
    (FROZEN, "linear_form"): "the scheme steps the limit of an unshaped perceptron",
}


@pytest.mark.parametrize("scheme", [s.name for s in SCHEMES])
@pytest.mark.parametrize("kind", [DRIFT, INPUTS, FROZEN])
def test_every_scheme(kind, scheme):
    if (kind, scheme) in VALUES:
        VALUES[kind, scheme](scheme)
        return
    limit = depth_limit(ResNet(relu if kind == FROZEN else identity, width=1, inputs=3))
    with pytest.raises(ValueError, match=REFUSED[kind, scheme]):
        simulate_sde(limit, [1.0, 0.5, -2.0], t=0.04, steps=4, samples=4, scheme=scheme)
