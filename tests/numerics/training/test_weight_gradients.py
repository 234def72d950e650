"""Gradients in the weights of each layer: by explicit products, and their means on networks beside what is derived."""

import numpy as np
import pytest
import sympy as sp

jax = pytest.importorskip("jax")

from derivations import (  # noqa: E402
    MLP,
    ConvResNet,
    DerivationError,
    MLPBlock,
    Network,
    NotClosed,
    Regime,
    ResNet,
    ShapedMLP,
    Weights,
    epsilon,
    gelu,
    identity,
    relu,
    symbols,
    tanh,
)
from derivations.backward import weight_gradient_flow  # noqa: E402
from numerics.statistics import Estimate, richardson  # noqa: E402
from numerics.training import TrainableNetwork  # noqa: E402
from numerics.training.weights import derived_weight_gradients, measured_weight_gradients  # noqa: E402

A, B = Weights("A"), Weights("B", out=2 * symbols.width)


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


def some_inputs(m, *shape):
    return np.random.default_rng(3).normal(size=(m, *shape))


def test_rates_of_each_matrix():
    block = Network(lambda x: x + epsilon * A(relu(B(x))), width=5)
    K = sp.Symbol("K", positive=True)
    # relu(B x)² has the mean K/2 in a row of A; in a row of B x² is multiplied by relu'² A², 1/2 in the mean
    assert weight_gradient_flow(block) == {"A": (K / 2,), "B": (K / 2,)}
    assert weight_gradient_flow(ResNet(identity, width=5)) == {"W": (K,)}
    normed = weight_gradient_flow(MLPBlock(gelu, width=5, norm="rms"))
    assert normed["A"] != normed["B"]  # E φ(Z)² and E φ'(Z)²: a control for K/2 in both
    assert all(not rate.free_symbols for rates in normed.values() for rate in rates)


@pytest.mark.slow
def test_one_network_by_explicit_products():
    network, a = TrainableNetwork(ResNet(identity, width=4), 5, features=3), some_inputs(1, 3)
    own = network.initial(np.random.SeedSequence(7).spawn(1)[0])
    layers = [np.eye(4) + w / np.sqrt(4 * 5) for w in own["W"]]
    states = [own["input"] @ a[0] / np.sqrt(3)]
    for layer in layers:
        states.append(layer @ states[-1])
    gradient, products = own["output"][0] / 2.0, []
    for layer, state in zip(layers[::-1], states[-2::-1], strict=True):
        products.append((gradient @ gradient) * (state @ state) / (4 * 5))
        gradient = layer.T @ gradient
    found = measured_weight_gradients(network, a, networks=1, seed=7)["W"][0]
    assert np.allclose(found, products[::-1])
    assert not np.allclose(found, products)  # the control: the layers the other way round


MEMBERS = {
    "two matrices": (Network(lambda x: x + epsilon * A(relu(B(x))), width=64), ()),
    "behind a norm": (MLPBlock(gelu, width=64, norm="rms"), ()),
    "filter": (ConvResNet(tanh, relu, width=64, positions=(3,), filter=(3,)), (3,)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", MEMBERS)
def test_means_of_networks(name):
    recipe, grid = MEMBERS[name]
    a, found, derived = some_inputs(1, 3, *grid), [], {}
    for depth in (8, 16):
        network = TrainableNetwork(recipe, depth, features=3)
        derived = derived_weight_gradients(network, a)
        measured = measured_weight_gradients(network, a, networks=150, seed=depth)  # the control is six errors away
        halves = {
            k: v.reshape(150, 2, -1).sum(axis=2) for k, v in measured.items()
        }  # layers before the middle, and after
        found.append({(k, half): Estimate.of(v[:, half]) for k, v in halves.items() for half in (0, 1)})
    for (k, half), fine in found[1].items():
        value = derived[k].reshape(2, -1).sum(axis=1)[half]
        estimate = richardson(found[0][k, half], fine)  # to infinite depth
        assert estimate.test(value).p_value > 1e-3
        assert estimate.test(1.4 * value).p_value < 1e-3


@pytest.mark.slow
@pytest.mark.parametrize(
    "recipe",
    [MLP(relu, width=48), Network(lambda x: A(x), width=48, regime=Regime(depth=1))],
    ids=["ReLU", "linear"],
)
def test_where_depth_and_width_grow_together(recipe):
    network, a = TrainableNetwork(recipe, 6, features=3), some_inputs(1, 3)
    ((name, derived),) = derived_weight_gradients(network, a).items()
    assert np.allclose(derived, np.mean(a**2))  # the mean square, which each layer keeps
    found = measured_weight_gradients(network, a, networks=2000, seed=2)[name]
    for k in (0, 5):
        assert Estimate.of(found[:, k]).test(derived[k]).p_value > 1e-3
        assert Estimate.of(found[:, k]).test(1.25 * derived[k]).p_value < 1e-3


def test_several_inputs_are_averaged_over():
    network, a = TrainableNetwork(ResNet(relu, width=8), 4, features=3), some_inputs(5, 3)
    each = [derived_weight_gradients(network, row[None])["W"] for row in a]
    assert np.allclose(derived_weight_gradients(network, a)["W"], np.mean(each, axis=0))


def test_refusals():
    a = some_inputs(2, 3)
    with pytest.raises(DerivationError, match="does not become continuous"):
        derived_weight_gradients(TrainableNetwork(Network(lambda x: x + A(relu(x)), width=8), 4, features=3), a)
    with pytest.raises(NotClosed, match="moves with the state"):
        derived_weight_gradients(TrainableNetwork(ShapedMLP(tanh, a=1, width=8), 4, features=3), a)
    with pytest.raises(DerivationError, match='give parametrization="ntk"'):
        derived_weight_gradients(TrainableNetwork(ResNet(relu, width=8), 4, features=3, parametrization="standard"), a)
    both = Network(lambda x: A(B(x)), width=8, regime=Regime(depth=1))
    with pytest.raises(DerivationError, match="for all matrices of a layer together, and here are 2"):
        derived_weight_gradients(TrainableNetwork(both, 4, features=3), a)
