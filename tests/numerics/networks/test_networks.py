"""Finite networks: both ways of drawing them agree, reproducibly, and with exact moments of the recursion."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import pytest
import sympy as sp

from derivations import MLP, ConvResNet, ResNet, ShrinkingResNet, Weights, identity, relu, symbols, tanh
from derivations.architectures import Recipe
from numerics.ensembles import Moments
from numerics.networks import DRAWINGS, simulate_network
from numerics.statistics import Estimate, ks_two_sample

GRIDDED = [ShrinkingResNet, ConvResNet]  # means, and a filter
METHODS = [drawing.name for drawing in DRAWINGS]
CONTROL = sp.Rational(3, 2)  # of the weights' variance, which is only a part of the noise where there are biases


@dataclass(frozen=True)
class Biased(Recipe):
    """A user's own recursion: a bias in the branch, and a term of order ε²."""

    width: sp.Expr
    inputs: int = 1
    weight_variance: sp.Expr = sp.S.One

    def expression(self) -> sp.Expr:
        x, eps, A = symbols.state, symbols.step, Weights("A", variance=self.weight_variance, bias_variance=0.25)
        return x * (1 - eps**2 / 2) + eps * A(tanh(x))

    @classmethod
    def example(cls) -> Biased:
        return cls(sp.Integer(3))


def starts(width: int, inputs: int) -> np.ndarray:
    return np.random.default_rng(5).normal(size=(width, inputs))


@pytest.mark.parametrize("method", METHODS)
def test_depth_zero_returns_the_start(method):
    network = ResNet(relu, width=3, inputs=2)
    x0 = starts(3, 2)
    assert np.array_equal(simulate_network(network, 0, 5, x0=x0, method=method), np.broadcast_to(x0, (5, 3, 2)))
    assert np.array_equal(simulate_network(network, 0, 5, x0=2.0, method=method), np.full((5, 3, 2), 2.0))
    column = simulate_network(network, 0, 5, x0=[1.0, 2.0, 3.0], method=method)
    assert np.array_equal(column[0], [[1, 1], [2, 2], [3, 3]])
    own = np.random.default_rng(0).normal(size=(5, 3, 2))
    assert np.array_equal(simulate_network(network, 0, 5, x0=own, method=method), own)


@pytest.mark.parametrize("method", METHODS)
def test_first_layer_has_the_covariance_of_the_inputs(method):
    a = np.array([[1.0, 2.0, 0.0], [1.0, -1.0, 1.0]])
    x = simulate_network(ResNet(relu, width=4, inputs=2), 0, 20_000, inputs=a, method=method, input_weight_variance=3.0)
    for k, j in ((0, 0), (0, 1), (1, 1)):
        product = Estimate.of((x[:, :, k] * x[:, :, j]).ravel())
        expected = 3.0 * float(a[k] @ a[j]) / 3
        assert product.test(expected).p_value > 1e-3
        assert product.test(expected * 1.1025).p_value < 1e-3 or expected == 0
    assert Estimate.of(x[:, 0, 0] * x[:, 1, 0]).test(0.0).p_value > 1e-3


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("inputs", [1, 2])
def test_result_does_not_depend_on_workers(method, inputs):
    network = ResNet(relu, width=60, inputs=inputs)
    x0 = starts(60, inputs)

    def run(workers, seed=7):
        return simulate_network(
            network, 5, 1500 if method == "conditional" else 100, x0=x0, seed=seed, workers=workers, method=method
        )

    alone = run(1)
    assert np.array_equal(alone, run(2))
    assert np.array_equal(alone, run(3))
    with ThreadPoolExecutor(2) as pool:
        assert np.array_equal(alone, run(pool))
    assert not np.array_equal(alone, run(1, seed=8))


@pytest.mark.slow
@pytest.mark.parametrize(
    "network",
    [
        ResNet(relu, width=5),
        ResNet(tanh, width=4, inputs=3),
        Biased(sp.Integer(3), inputs=2),
        *(a.example() for a in GRIDDED),
    ],
    ids=["one input", "three inputs", "bias and drift", *(a.__name__ for a in GRIDDED)],
)
def test_both_ways_to_draw_have_the_same_law(network):
    n, m = int(network.width), network.coordinates
    x0 = starts(n, m)

    def seen(network, method, seed):
        x = simulate_network(network, 6, 40_000, x0=x0, method=method, seed=seed)
        return {
            "where neuron 1 went": x[:, 0, 0],
            "how far the layer moved": np.sum((x - x0) ** 2, axis=(1, 2)),
            "how neurons move together": (x[:, 0, 0] - x0[0, 0]) * (x[:, 1, m - 1] - x0[1, m - 1]),
            "how inputs move together": (x[:, 0, 0] - x0[0, 0]) * (x[:, 0, m - 1] - x0[0, m - 1]),
        }

    fast, slow = seen(network, "conditional", 1), seen(network, "weights", 2)
    wrong = seen(replace(network, weight_variance=network.weight_variance * CONTROL), "conditional", 3)
    for name in fast:
        assert ks_two_sample(fast[name], slow[name]).p_value > 1e-3, name
    first = "how far the layer moved"
    assert ks_two_sample(wrong[first], slow[first]).p_value < 1e-6  # the control


@pytest.mark.parametrize("method", METHODS)
def test_linear_networks_have_their_exact_moments(method):
    # width 1, x' = x (1 + ε g): E x_L² = (1 + ε²)^L and E x_L⁴ = (1 + 6ε² + 3ε⁴)^L at finite depth, no limit taken
    depth, t = 8, 0.2
    x = simulate_network(ResNet(identity, width=1), depth, 400_000, x0=1.0, t=t, method=method)[:, 0, 0]
    step = t / depth
    for power, exact in ((2, (1 + step) ** depth), (4, (1 + 6 * step + 3 * step**2) ** depth)):
        moment = Estimate.of(x**power)
        assert moment.test(exact).p_value > 1e-3
        wrong = 1.1025 * step
        control = (1 + wrong) ** depth if power == 2 else (1 + 6 * wrong + 3 * wrong**2) ** depth
        assert moment.test(control).p_value < 1e-6


@pytest.mark.parametrize("method", METHODS)
def test_equal_inputs_stay_equal(method):
    # the covariance of the pre-activations is singular
    x = simulate_network(
        ResNet(relu, width=6, inputs=3), 50, 20, inputs=[[1.0, 2.0], [1.0, 2.0], [2.0, 4.0]], method=method
    )
    assert np.allclose(x[..., 0], x[..., 1], rtol=1e-7)
    assert np.allclose(2 * x[..., 0], x[..., 2], rtol=1e-7)


@pytest.mark.parametrize("method", METHODS)
def test_dead_relu_stays_where_it_is(method):
    # warnings are errors here: the zero covariance must not divide
    x0 = np.array([[-1.0, 1.0], [-2.0, -1.0]])
    x = simulate_network(ResNet(relu, width=2, inputs=2), 30, 10, x0=x0, method=method)
    assert np.array_equal(x[:, :, 0], np.broadcast_to(x0[:, 0], (10, 2)))
    assert np.all(x[:, :, 1] != x0[:, 1])


def test_relu_networks_are_homogeneous():
    network = ResNet(relu, width=4)
    x0 = starts(4, 1)
    once, twice = (simulate_network(network, 30, 10, x0=scale * x0, seed=3) for scale in (1, 2))
    assert np.allclose(2 * once, twice, rtol=1e-12)


def test_time_scales_like_the_weights_variance():
    x0 = starts(3, 1)
    longer = simulate_network(ResNet(relu, width=3), 20, 10, x0=x0, t=4.0, seed=1)
    louder = simulate_network(ResNet(relu, width=3, weight_variance=4), 20, 10, x0=x0, t=1.0, seed=1)
    assert np.allclose(longer, louder, rtol=1e-12)


def test_states_are_kept_at_chosen_layers():
    network, x0 = ResNet(relu, width=3, inputs=2), starts(3, 2)
    all_layers = simulate_network(network, 6, 7, x0=x0, at=range(7))
    assert all_layers.shape == (7, 7, 3, 2)
    assert np.array_equal(all_layers[0], np.broadcast_to(x0, (7, 3, 2)))
    assert np.array_equal(all_layers[6], simulate_network(network, 6, 7, x0=x0))
    assert np.array_equal(simulate_network(network, 6, 7, x0=x0, at=[2, 5]), all_layers[[2, 5]])
    gram = simulate_network(network, 6, 7, x0=x0, record=lambda x: np.einsum("bna,bnc->bac", x, x))
    assert np.allclose(gram, np.einsum("lbna,lbnc->lbac", all_layers, all_layers))


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"architecture": ResNet(relu, width=symbols.width)}, "width=n"),
        ({"architecture": ResNet(relu, width=sp.oo)}, "width=oo"),
        ({"architecture": ResNet(relu, width=3, weight_variance=sp.Symbol("v", positive=True))}, "variance of W"),
        ({"architecture": ResNet(sp.Symbol("k") * sp.Symbol("x"), width=3)}, "k"),
        ({"depth": -1}, "depth must be a whole number, at least 0, got -1"),
        ({"depth": 1.5}, "depth"),
        ({"samples": 0}, "samples"),
        ({"t": 0.0}, "t must be finite and positive"),
        ({"t": -1.0}, "t must be"),
        ({"t": np.inf}, "t must be"),
        ({"x0": np.nan}, "x0 must be finite"),
        ({"x0": [1.0, 2.0]}, r"\(3,\)"),
        ({"x0": np.zeros((4, 3, 1))}, "shape"),
        ({"x0": "one"}, "numbers"),
        ({"x0": None}, "neither"),
        ({"inputs": [[1.0]]}, "both"),
        ({"x0": None, "inputs": [1.0, 2.0]}, r"\(m, dim\)"),
        ({"x0": None, "inputs": [[1.0], [2.0]]}, "follows 1 inputs jointly, got 2 rows"),
        ({"x0": None, "inputs": [[np.inf]]}, "inputs must be finite"),
        ({"x0": None, "inputs": [[1.0], [2.0, 3.0]]}, "inputs must be an array of numbers"),
        ({"method": "dense"}, "^unknown method 'dense'; known: conditional, weights"),
        ({"at": [6]}, "from 0 to depth=5"),
        ({"at": []}, "at must list layers"),
        ({"workers": 0}, "workers"),
        ({"input_weight_variance": -1.0}, "input_weight_variance"),
    ],
)
def test_bad_requests_are_named(given, says):
    request = {"architecture": ResNet(relu, width=3), "depth": 5, "samples": 2, "x0": 1.0} | given
    with pytest.raises(ValueError, match=says):
        simulate_network(**request)


@pytest.mark.parametrize("scale", [1e-300, 1e-200, 1e200])
@pytest.mark.parametrize("inputs", [1, 2])
def test_states_keep_their_scale_where_squares_leave_the_range_of_numbers(scale, inputs):
    # a network without biases is homogeneous, and the same seed draws the same numbers
    network, rows = ResNet(relu, width=3, inputs=inputs), np.array([[1, 0.3], [-0.2, 0.8]])[:inputs]
    moderate, extreme = (simulate_network(network, 20, 50, inputs=s * rows, seed=1) for s in (1.0, scale))
    assert np.allclose(extreme / scale, moderate, rtol=1e-11, atol=1e-13)
    assert np.all(np.any(moderate != 0, axis=(1, 2)))


def test_a_start_of_tiny_numbers_moves():
    states = simulate_network(ResNet(relu, width=1), 20, 50, x0=1e-300, seed=1)
    assert len(np.unique(states)) == 50


def test_time_is_not_free_where_depth_and_width_grow_together():
    net = MLP(relu, width=50, inputs=1)
    assert net.time_of(500) == 10
    with pytest.raises(ValueError, match="t = 7 is not free: 500 layers of width 50 take the time 10"):
        simulate_network(net, 500, 2, x0=1.0, t=7)
    free, own = (simulate_network(net, 10, 2, x0=1.0, t=t, seed=1) for t in (None, 0.2))
    assert (free == own).all()
    assert ResNet(relu, width=3).time_of(500) is None


def test_networks_that_do_not_fit_in_memory_are_refused_with_their_size():
    wide = ResNet(relu, width=10**13)
    for more in ({}, {"record": "gram"}, {"reduce": Moments()}, {"method": "weights"}):
        with pytest.raises(MemoryError, match=r"2 networks of 10000000000000 neurons take about .* GiB, and there are"):
            simulate_network(wide, 2, 2, x0=1.0, **more)
