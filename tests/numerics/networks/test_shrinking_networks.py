"""Finite networks with shrinking weights, dense and convolutional, against the derived limits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import sympy as sp

from derivations import ConvResNet, ShrinkingResNet, depth_limit, identity, relu, silu, tanh
from numerics.compile import compile_sums
from numerics.networks import simulate_network
from numerics.statistics import Estimate, ks_two_sample, richardson

HALF = sp.Rational(1, 2)
DENSE = ShrinkingResNet(
    silu, tanh, width=4, inputs=2, weight_variance=2, bias_variance=HALF, weight_mean=3, bias_mean=sp.Rational(-1, 4)
)
LINE = ConvResNet(
    silu,
    relu,
    width=3,
    positions=(4,),
    filter=(3,),
    inputs=2,
    circular=False,
    weight_variance=2,
    bias_variance=HALF,
    weight_mean=1,
    bias_mean=HALF,
)
PLANE = ConvResNet(silu, tanh, width=2, positions=(2, 3), filter=(1, 3), weight_variance=2, bias_variance=HALF)
NETWORKS = [DENSE, LINE, PLANE]
CONTROL = sp.Rational(441, 400)  # 5 % in the noise's scale


def start(network, seed=3):
    return np.random.default_rng(seed).normal(size=(int(network.width), network.coordinates))


@pytest.mark.parametrize("network", NETWORKS, ids=["dense", "line", "plane"])
@pytest.mark.slow
def test_one_layer_has_the_derived_drift_and_covariance(network):
    # per unit of time one layer of size h has the mean b + ch + O(h²), and likewise the product; from h and h/2 without c
    x0, samples, h = start(network), 150_000, 0.02
    limit = depth_limit(network)
    drift, covariance = (
        compile_sums(limit.neuron, entry)(x0[None])[0] for entry in (limit.neuron_drift, limit.neuron_covariance)
    )
    steps = [(simulate_network(network, 1, samples, x0=x0, t=size, seed=k) - x0) for k, size in enumerate((h, h / 2))]

    def measured(function):
        return richardson(*(Estimate.of(function(s).mean(axis=1) / t) for s, t in zip(steps, (h, h / 2), strict=True)))

    m = network.coordinates
    for a, b in ((0, 0), (0, m - 1)):
        product = measured(lambda s, a=a, b=b: s[:, :, a] * s[:, :, b])
        assert product.test(covariance[a, b]).p_value > 1e-3
        assert a != b or product.test(covariance[a, b] * 1.1025).p_value < 1e-3  # the control
    mean = measured(lambda s: s[:, :, 0])
    assert mean.test(drift[0, 0]).p_value > 1e-3
    ito = covariance[0, 0]  # of SiLU, ½φ''(0) S with φ''(0) = ½ is φ'(0)² S
    assert mean.test(drift[0, 0] - ito).p_value < 1e-3  # the control: without it


@pytest.mark.parametrize("network", NETWORKS, ids=["dense", "line", "plane"])
@pytest.mark.slow
def test_drift_of_the_mean_is_derived(network):
    # with all variances 0 a layer is deterministic: x' = x + φ(h m), so (x' - x)/h is the drift to O(h)
    quiet = replace(network, weight_variance=sp.S.Zero, bias_variance=sp.S.Zero, weight_mean=sp.Integer(3))
    x0, h = start(quiet), 1e-6
    limit = depth_limit(quiet)
    step = simulate_network(quiet, 1, 1, x0=x0, t=h)[0] - x0
    explicit = limit.drift.subs(dict(zip(limit.states, x0.ravel().tolist(), strict=True)))
    assert np.allclose(step.ravel() / h, np.array(explicit, dtype=float).ravel(), atol=1e-5)
    assert limit.is_flow if hasattr(limit, "is_flow") else all(entry == 0 for entry in limit.covariance)


@pytest.mark.slow
@pytest.mark.parametrize("network", NETWORKS, ids=["dense", "line", "plane"])
def test_both_ways_to_draw_have_the_same_law(network):
    x0 = start(network)

    def seen(network, method, seed):
        x = simulate_network(network, 5, 20_000, x0=x0, method=method, seed=seed)
        return np.sum((x - x0) ** 2, axis=(1, 2)), (x - x0)[:, 0, 0] * (x - x0)[:, 1, -1]

    wrong = replace(network, weight_variance=network.weight_variance * CONTROL)
    fast, slow, control = (
        seen(n, m, s) for n, m, s in ((network, "conditional", 1), (network, "weights", 2), (wrong, "conditional", 3))
    )
    assert all(ks_two_sample(f, s).p_value > 1e-3 for f, s in zip(fast, slow, strict=True))
    assert ks_two_sample(control[0], slow[0]).p_value < 1e-3


def test_weights_of_a_filter_are_the_convolution_of_the_image():
    # one channel, no noise but the weights: reads must be those of an ordinary correlation with zero padding
    from numerics.compile.programs import filtered

    network = ConvResNet(tanh, identity, width=1, positions=(4, 5), filter=(3, 3), circular=False)
    image = np.arange(20.0).reshape(4, 5)
    features = filtered(network.program().statements[0].weights, image.reshape(1, 1, 20))[0]
    kernel = np.random.default_rng(0).normal(size=(3, 3))
    padded = np.pad(image, 1)
    expected = [[np.sum(kernel * padded[p : p + 3, q : q + 3]) for q in range(5)] for p in range(4)]
    assert np.allclose(kernel.ravel() @ features, np.ravel(expected))


def test_images_go_through_the_first_layer_position_by_position():
    images = np.random.default_rng(1).normal(size=(2, 3, 4))  # two images, three channels, four positions
    x = simulate_network(LINE, 0, 40_000, inputs=images)
    for (a, p), (b, q) in (((0, 0), (0, 0)), ((0, 1), (1, 3))):
        product = Estimate.of((x[:, :, 4 * a + p] * x[:, :, 4 * b + q]).ravel())
        expected = images[a, :, p] @ images[b, :, q] / 3
        assert product.test(expected).p_value > 1e-3
        assert product.test(expected * 1.1025).p_value < 1e-3


@pytest.mark.parametrize("shape", [(2, 4), (2, 3, 5), (1, 3, 4), (2, 3, 4, 1)])
def test_images_of_the_wrong_shape_are_refused(shape):
    with pytest.raises(ValueError, match=r"shape|follows"):
        simulate_network(LINE, 0, 1, inputs=np.zeros(shape))
