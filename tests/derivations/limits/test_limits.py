"""The limit algorithm: moments of the increment, matched per unit of time."""

import pytest
import sympy as sp

from derivations import (
    Network,
    NoLimit,
    ResNet,
    Weights,
    depth_limit,
    identity,
    relu,
    tanh,
    width_limit,
)
from derivations.diffusion import Diffusion, Flow, NeuronDiffusion
from derivations.errors import DerivationError
from derivations.limits import gaussian_mean, mean_field_limit
from derivations.symbols import state, step, width

x = state
sigma2 = sp.Symbol("s", positive=True)
W = Weights("W")
u = W(relu(x))


def test_one_neuron_is_a_zero_drift_diffusion_with_noise_phi_squared():
    limit = depth_limit(ResNet(tanh, width=1, weight_variance=sigma2))
    assert isinstance(limit, Diffusion)
    assert limit.drift == sp.zeros(1, 1)
    assert limit.covariance[0] == sigma2 * sp.tanh(x) ** 2


def test_explicit_width_is_scalar_noise_of_the_layer_norm():
    limit = depth_limit(ResNet(relu, width=3, weight_variance=sigma2))
    norm = sum(relu(s) ** 2 for s in limit.states)
    assert sp.simplify(limit.covariance - sigma2 / 3 * norm * sp.eye(3)) == sp.zeros(3, 3)
    assert limit.drift == sp.zeros(3, 1)


def test_symbolic_width_keeps_the_sum():
    limit = depth_limit(ResNet(relu, width=width))
    assert isinstance(limit, NeuronDiffusion)
    assert limit.covariance[0] == limit.sum(relu(x) ** 2) / width


def test_two_inputs_share_the_weights():
    limit = depth_limit(ResNet(relu, width=2, inputs=2))
    (a1, a2, b1, b2) = limit.states  # neuron by neuron
    cross = (relu(a1) * relu(a2) + relu(b1) * relu(b2)) / 2
    assert sp.simplify(limit.covariance[0, 1] - cross) == 0
    assert limit.covariance[0, 2] == 0  # different neurons are driven independently


def test_bias_in_the_branch_adds_its_variance():
    bias = sp.Symbol("v", positive=True)
    limit = depth_limit(Network(x + step * Weights("W", bias_variance=bias)(relu(x)), width=1, parameters=(bias,)))
    assert sp.simplify(limit.covariance[0] - bias - relu(x) ** 2) == 0


def test_second_order_of_the_update_becomes_drift():
    limit = depth_limit(Network(x + sp.sin(step * u) + (step * u) ** 2, width=1))
    assert sp.simplify(limit.drift[0] - relu(x) ** 2) == 0
    assert sp.simplify(limit.covariance[0] - relu(x) ** 2) == 0


def test_without_noise_at_first_order_the_limit_is_a_flow():
    limit = depth_limit(Network(x + step**2 * (u**2 - x), width=1))
    assert isinstance(limit, Flow)
    assert sp.simplify(limit.drift[0] - (relu(x) ** 2 - x)) == 0


@pytest.mark.parametrize(
    ("update", "says"),
    [
        (x + u, "scale the branch"),
        (x + step * (u + 1), "must vanish at order 1"),
        (x + step * u**2, "must vanish at order 1"),
        (x + sp.sqrt(step) * u, "covariance of one layer.s step .* must vanish at order 1"),
    ],
)
def test_a_wrong_scaling_is_refused_with_the_reason(update, says):
    with pytest.raises(NoLimit, match=says):
        depth_limit(Network(update, width=1))


def test_an_infinite_width_has_no_depth_limit():
    with pytest.raises(DerivationError, match="width_limit"):
        depth_limit(ResNet(relu, width=sp.oo))


def test_wick():
    u, v = sp.symbols("u v", real=True)
    a, b, c = sp.symbols("a b c", positive=True)
    table = {(u, u): a, (u, v): b, (v, u): b, (v, v): c}
    assert gaussian_mean(u**4, table) == 3 * a**2
    assert sp.expand(gaussian_mean(u**2 * v**2, table) - (a * c + 2 * b**2)) == 0
    assert gaussian_mean(u**3 * v**2, table) == 0


@pytest.mark.parametrize("activation", [relu, identity, tanh])
def test_depth_then_width_is_width_then_depth(activation):
    first = mean_field_limit(depth_limit(ResNet(activation, width=width, inputs=2, weight_variance=sigma2)))
    second = width_limit(ResNet(activation, width=sp.oo, inputs=2, weight_variance=sigma2))
    assert first.states == second.states
    assert all(sp.expand(a - b) == 0 for a, b in zip(first.drift, second.drift, strict=True))


@pytest.mark.parametrize("bad", [0, -1, 2.5, "4", sp.Symbol("n"), -sp.oo, None])
def test_a_bad_width_is_refused(bad):
    with pytest.raises(DerivationError, match="width"):
        ResNet(relu, width=bad)


@pytest.mark.parametrize("bad", [-1, sp.oo, sp.nan, float("nan"), sp.I])
def test_a_bad_weight_variance_is_refused(bad):
    with pytest.raises(DerivationError, match="weight_variance"):
        ResNet(relu, width=2, weight_variance=bad)


@pytest.mark.parametrize("bad", [0, -1, 1.5, True])
def test_a_bad_number_of_inputs_is_refused(bad):
    with pytest.raises(DerivationError, match="inputs"):
        ResNet(relu, width=2, inputs=bad)
