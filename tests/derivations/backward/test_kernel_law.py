"""The law of the tangent kernel of one output: its equations by a derivation of their own, its moments, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest
import sympy as sp

from derivations import (
    MLP,
    DerivationError,
    Network,
    NotClosed,
    Regime,
    ResNet,
    ShapedMLP,
    Weights,
    average,
    epsilon,
    gelu,
    identity,
    layer_norm,
    relu,
    rms_norm,
    symbols,
    tanh,
)
from derivations.backward import jacobian
from derivations.backward.kernel_law import ACROSS as P
from derivations.backward.kernel_law import ALONG as c
from derivations.backward.kernel_law import SQUARE as V
from derivations.backward.kernel_law import KernelLaw
from derivations.backward.kernel_moments import START
from numerics.statistics import Estimate, richardson
from numerics.tangent_kernels import sample_tangent_kernel
from tests.helpers import equal_symbolically

n, t = symbols.width, symbols.time
A, B = Weights("A"), Weights("B", out=5)
RELU = jacobian(MLP(relu))
LINEAR = Network(lambda x: x + epsilon * A(x), width=n)


@pytest.mark.slow
def test_the_output_of_a_homogeneous_network_is_the_same_from_every_layer():
    law = jacobian(LINEAR).kernel_law  # f = G·x by Euler's identity, so c does not move on the way back
    assert (law.backward_drift[0], law.backward_covariance[0, 0], law.shared[0]) == (0, 0, 0)
    assert equal_symbolically(law.rate, V * (P + c**2 / (n * V)))


@pytest.mark.slow
def test_perceptrons():
    law = RELU.kernel_law
    assert equal_symbolically(law.backward_drift[1], 2 * c**2 / V - 2 * P)
    assert (law.backward_covariance[1, 1], law.shared[1], law.covariance) == (5 * P**2, P * V, 5 * V**2)
    shaped = jacobian(ShapedMLP(tanh, a=1)).kernel_law  # the slope moves c: it is no homogeneous function
    assert equal_symbolically(shaped.backward_drift[0], -2 * V * c)
    flow = jacobian(
        Network(lambda x: x + epsilon * A(relu(B(rms_norm(x)))), width=n, regime=Regime(depth=1))
    ).kernel_law
    assert flow.covariance == 0 == flow.backward_covariance[1, 1]


@pytest.mark.slow
def test_roots_and_arcsines_are_compared_as_rational_functions_are():
    gram = jacobian(Network(lambda x: x + epsilon * A(gelu(B(x))), width=n)).gram
    law = KernelLaw(gram)
    s = sp.sqrt(2 * V + 1)
    moved = V * c * (5 * V + 3) * (1 - 2 / n) / (2 * sp.pi * (V + 1) ** 2 * s**3)  # c moves: GELU is not homogeneous
    assert equal_symbolically(law.backward_drift[0], moved)
    # A layer moves c by G·A(u φ'(u) - φ(u)), and for GELU E(u² e^{-u²/2})²/(2π) = 3V²/(2π s⁵)
    assert equal_symbolically(law.backward_covariance[0, 0], 3 * V * (P * V + c**2 / n) / (2 * sp.pi * s**5))

    def other(p, q):  # the control: noise that no gradient has
        return gram.noise_of(p, q) * (sp.Rational(21, 20) if (p, q) == ((0, 1), (0, 1)) else 1)

    with pytest.raises(NotClosed, match="no process by themselves"):
        _ = KernelLaw(replace(gram, noise_of=other)).backward_drift


FEW = ("ReLU perceptron", "two matrices")
MEMBERS = {
    "ReLU perceptron": RELU.network,
    "shaped ReLU": ShapedMLP(relu, c_plus=0, c_minus=-1),
    "skip": Network(lambda x: 3 * x / 5 + 4 * A(x) / 5, width=n, regime=Regime(depth=1)),
    "linear residual": Network(lambda x: x + epsilon * A(identity(x)), width=6),
    "two matrices": Network(lambda x: x + epsilon * A(relu(B(x))), width=3),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", [k if k in FEW else pytest.param(k, marks=pytest.mark.slow) for k in MEMBERS])
def test_moments_of_samples_are_those_that_close(name):
    j = RELU if MEMBERS[name] is RELU.network else jacobian(MEMBERS[name])
    runs = [sample_tangent_kernel(j.kernel_law, 40_000, 0.1, 1.5, steps, seed=steps) for steps in (8, 16)]
    at = {START: sp.Rational(3, 2), t: sp.Rational(1, 10)}
    for power, derived in ((1, j.kernel.mean), (2, j.kernel.second_of_one)):
        found, value = richardson(*(Estimate.of(run**power) for run in runs)), float(derived.subs(at))
        assert found.test(value).p_value > 1e-3
        assert found.test(1.15 * value).p_value < 1e-3  # the control


def test_weights_that_grow_with_the_depth_are_another_clock():
    """A linear network whose variance is 1 + t has at t = 1 the kernel that variance 1 has at t = 3/2: of mean t exp(t)."""
    law = jacobian(Network("x + eps*A(x, variance=1 + t)", width=64)).kernel_law
    runs = [sample_tangent_kernel(law, 4000, 1.0, 1.0, steps, seed=steps) for steps in (16, 32)]
    found, value = richardson(*map(Estimate.of, runs)), 1.5 * np.exp(1.5)
    assert found.test(value).p_value > 1e-3
    assert found.test(np.e).p_value < 1e-3  # the control: the variance at the start


@pytest.mark.slow
def test_gradients_of_scale_invariant_blocks_are_log_normal():
    j = jacobian(MEMBERS["two matrices"])
    runs = [np.log(sample_tangent_kernel(j.kernel_law, 40_000, 1.0, 1.0, s, of="gradient", seed=s)) for s in (16, 32)]
    start = np.log(np.random.default_rng(0).chisquare(3, 400_000) / 3)  # of the readout
    mean = richardson(*map(Estimate.of, runs)) - Estimate.of(start)
    spread = richardson(*map(Estimate.variance_of, runs)) - Estimate.variance_of(start)
    for found, derived in ((mean, 2 * j.volumes.drift(1)), (spread, 4 * j.volumes.rate(1))):
        assert found.test(float(derived)).p_value > 1e-3
        assert found.test(1.25 * float(derived)).p_value < 1e-3


def test_refusals():
    with pytest.raises(NotClosed, match="neuron by neuron"):
        _ = jacobian(ResNet(tanh, width=n)).kernel_law
    with pytest.raises(NotClosed, match="one neuron"):
        _ = jacobian(Network(lambda x: x + epsilon * A(x), width=1)).kernel_law.backward_drift
    law = jacobian(LINEAR).kernel_law
    with pytest.raises(ValueError, match="width is the symbol"):
        sample_tangent_kernel(law, 10)
    law = RELU.kernel_law
    with pytest.raises(ValueError, match="of must be"):
        sample_tangent_kernel(law, 10, of="state")
    with pytest.raises(ValueError, match="positive"):
        sample_tangent_kernel(law, 10, t=-1)
    with pytest.raises(ValueError, match="at least 1"):
        sample_tangent_kernel(law, 10, steps=0)
    with pytest.raises(ValueError, match="what activations do moves with the depth"):
        sample_tangent_kernel(jacobian(Network("x + eps*A(tanh(B(x, variance=1 + t)))", width=3)).kernel_law, 10)
    with pytest.raises(DerivationError, match="infinite width"):
        _ = jacobian(ResNet(relu, width=sp.oo)).kernel_law


@pytest.mark.slow
@pytest.mark.parametrize("read", [layer_norm, lambda x: x - average(x)], ids=["norm", "average"])
def test_layers_that_take_off_the_average_have_no_kernel_law(read):  # it is a direction of its own
    j = jacobian(Network(lambda x: x + epsilon * A(relu(B(read(x)))), width=n))
    for found in (lambda: j.kernel_law.backward_drift, lambda: j.kernel.mean):
        with pytest.raises(NotClosed, match=r"take off the average of the neurons.*no process by themselves"):
            found()
    assert "With the centred state as input 1 and a centred tangent" in str(j)


@pytest.mark.slow
def test_small_results_are_shown_in_the_notation_of_the_derivation():
    j = jacobian(LINEAR)
    for found in (j.log_det, j.sde, j.volumes, j.gram, j.kernel, j.kernel_law):
        assert "0x" not in repr(found)
        assert "LayerDifferential" not in repr(found)
        assert found._repr_latex_().startswith("$")
    assert str(j.log_det) == "dΛ_t = -1/2 dt + dB_t\nΛ_t ~ N(-t/2, t)"
    open_moments = jacobian(Network(lambda x: x + epsilon * A(relu(B(rms_norm(x)))), width=n)).kernel
    assert "do not close" in repr(open_moments)
    assert open_moments._repr_latex_() is None
