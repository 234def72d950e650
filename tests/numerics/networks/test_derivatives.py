"""Explicitly differentiated networks: against differences, the derived equations, and the kernel at infinite width."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import sympy as sp
from scipy.integrate import solve_ivp
from scipy.special import erf as numeric_erf

from derivations import ResNet, ShrinkingResNet, erf, gelu, identity, relu, silu, symbols, tanh
from derivations.backward import GRADIENT, gradient_flow, jacobian
from derivations.limits import mean_field_limit
from numerics.compile import compile_expression
from numerics.ensembles import blocks
from numerics.kernels import kernel_matrices
from numerics.networks import BLOCK, simulate_jacobian, simulate_network, simulate_tangent_kernel
from numerics.statistics import Estimate, ks_two_sample, richardson
from tests.helpers import equal_by_sampling, equal_symbolically

HALF = sp.Rational(1, 2)
X0 = np.array([1.0, -0.5, 0.3])
FULL = ShrinkingResNet(silu, tanh, width=3, weight_variance=2, bias_variance=HALF, weight_mean=1, bias_mean=HALF)
WRONG = sp.Rational(441, 400)  # 5 % in the noise's scale


@pytest.mark.parametrize(
    "network", [FULL, ResNet(gelu, width=3), ShrinkingResNet(identity, relu, width=3)], ids=["full", "gelu", "relu"]
)
def test_the_jacobian_is_the_limit_of_differences(network):
    h = 1e-6
    _, j = simulate_jacobian(network, 20, 4, X0, seed=1)
    for k in range(3):
        ends = [simulate_jacobian(network, 20, 4, X0 + sign * h * np.eye(3)[k], seed=1)[0] for sign in (1, -1)]
        assert np.allclose((ends[0] - ends[1]) / (2 * h), j[:, :, k], atol=1e-8)


def test_states_have_the_law_of_simulated_networks():
    x, _ = simulate_jacobian(FULL, 10, 20_000, X0, seed=2)
    others = (
        simulate_network(replace(FULL, weight_variance=FULL.weight_variance * f), 10, 20_000, x0=X0, seed=3)
        for f in (1, WRONG)
    )
    same, control = (
        ks_two_sample(np.sum((y[:, :, 0] - X0) ** 2, axis=1), np.sum((x - X0) ** 2, axis=1)) for y in others
    )
    assert same.p_value > 1e-3 > control.p_value


def test_the_tangent_kernel_is_a_sum_over_all_parameters():
    # one input, one layer, one neuron: x1 = x0 + φ(√h(σ ω ψ(x0) + τ β)), x0 = v a; derivatives by hand
    network = ShrinkingResNet(tanh, erf, width=1, weight_variance=2, bias_variance=HALF)
    theta = simulate_tangent_kernel(network, 1, 3, [[1.5]], seed=4)[:, 0, 0]
    (block,) = blocks(3, BLOCK, 4)  # the same numbers once more
    rng = block.generator()
    v = rng.standard_normal((3, 1, 1))[:, 0, 0]
    w, b = rng.standard_normal((3, 1, 1))[:, 0, 0], rng.standard_normal((3, 1, 1))[:, 0, 0]

    def end(v, w, b):
        return 1.5 * v + np.tanh(np.sqrt(2) * w * numeric_erf(1.5 * v) + np.sqrt(0.5) * b)

    h = 1e-6
    slopes = [
        (end(v + h, w, b) - end(v - h, w, b)) / (2 * h),
        (end(v, w + h, b) - end(v, w - h, b)) / (2 * h),
        (end(v, w, b + h) - end(v, w, b - h)) / (2 * h),
    ]
    assert np.allclose(theta, sum(s**2 for s in slopes), rtol=1e-7)


def extrapolated(coarse, middle, fine):
    """From sizes L, 2L and 4L: what is left of m + c/L + d/L² + … without the terms c and d."""
    return coarse * (1 / 3) - middle * 2.0 + fine * (8 / 3)


# --- gradients ---


@pytest.mark.parametrize("inner", [identity, relu, erf], ids=str)
@pytest.mark.parametrize("outer", [tanh, identity], ids=str)
def test_gradient_flow_is_the_width_limit_of_the_tangents(outer, inner):
    n = symbols.width
    finite = mean_field_limit(jacobian(ShrinkingResNet(outer, inner, width=n, bias_variance=HALF)).limit(1))
    names = {str(s): s for s in finite.states}
    assert finite.drift[1].subs(names["K_12"], 0) == 0  # independent stays independent
    flow = gradient_flow(ShrinkingResNet(outer, inner, width=sp.oo, bias_variance=HALF))
    k = flow.states[0]
    tangent = finite.drift[2].subs({names["K_12"]: 0}).subs({names["K_11"]: k, names["K_22"]: GRADIENT})
    assert equal_by_sampling(flow.drift[1], tangent, symbols={k: ["1/2", 1, 2], GRADIENT: [1, 2, 3]})


def test_gradient_growth_of_a_linear_branch_is_that_of_the_theory():
    s = sp.Symbol("sigma_w", positive=True)
    net = ShrinkingResNet(erf, identity, width=symbols.width, weight_variance=s**2)
    assert equal_symbolically(jacobian(net).growth, 4 * s**2 / sp.pi)


@pytest.mark.slow
def test_mean_square_of_a_backward_gradient():
    # ‖Jᵀg‖² for g of unit mean square, tanh outside so that layers are not linear: e^{σ²t} in the limit L → ∞
    net = ShrinkingResNet(tanh, identity, width=3)
    derived, wrong = (float(sp.exp(jacobian(replace(net, weight_variance=f)).growth)) for f in (sp.S.One, WRONG))
    assert derived == pytest.approx(np.e)

    def measured(depth, seed):
        _, j = simulate_jacobian(net, depth, 100_000, X0, seed=seed)
        g = np.random.default_rng(seed).standard_normal((len(j), 3)) / np.sqrt(3)
        return Estimate.of(np.sum(np.einsum("sik,si->sk", j, g) ** 2, axis=1))

    # the next order in 1/L, which stays, is -0.09 from L = 8 (0.9 million networks) and an eighth of that from 16
    found = extrapolated(measured(16, 1), measured(32, 2), measured(64, 3))
    assert found.test(derived).p_value > 1e-3
    assert found.test(wrong).p_value < 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("inner", [erf, tanh], ids=str)
def test_gradient_norms_of_wide_networks_follow_the_flow(inner):
    net = ShrinkingResNet(tanh, inner, width=sp.oo, weight_variance=2)

    def derived(factor):
        flow = gradient_flow(replace(net, weight_variance=net.weight_variance * factor))
        if inner == tanh:  # no closed forms: E f(Z)² by a Gauss–Hermite rule
            z, w = np.polynomial.hermite_e.hermegauss(80)
            w, v = w / w.sum(), float(2 * factor)

            def speed(_, y):
                tangent = np.tanh(np.sqrt(y[0]) * z)
                return [v * w @ tangent**2, v * (w @ (1 - tangent**2) ** 2) * y[1]]
        else:
            velocity = compile_expression(flow.states, list(flow.drift))

            def speed(_, y):
                return np.array(velocity(*y))

        return solve_ivp(speed, (0, 1), [1.0, 1.0], rtol=1e-10, atol=1e-12).y[1, -1]

    def measured(size, samples, seed):
        kept = []
        for s, start in enumerate(np.random.default_rng(seed).standard_normal((samples // 10, size))):
            _, j = simulate_jacobian(replace(net, width=size), size, 10, start, seed=1000 * seed + s)
            kept.append(np.mean(np.sum(j**2, axis=(1, 2)) / size))
        return Estimate.of(kept)

    found = richardson(measured(16, 3000, 1), measured(32, 1500, 2))
    assert found.test(derived(1)).p_value > 1e-3
    assert found.test(derived(WRONG)).p_value < 1e-3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("inner", "networks"), [(relu, 2500), (erf, 600)], ids=str
)  # controls six and eight errors away
def test_empirical_tangent_kernels_have_the_derived_limit(inner, networks):
    inputs = np.array([[1.0, 0.5], [-0.3, 1.0]])
    net = ShrinkingResNet(tanh, inner, width=sp.oo, inputs=2, bias_variance=HALF)
    derived, wrong = (kernel_matrices(replace(net, weight_variance=f), inputs).ntk for f in (sp.S.One, WRONG))

    def measured(size, samples, seed):
        return simulate_tangent_kernel(replace(net, width=size), size, samples, inputs, seed=seed)

    # from 6, 12 and 24 the term of third order leaves −0.02 for ReLU, more than the error; from 8, 16 and 32 half of that
    runs = [measured(size, samples, size) for size, samples in ((8, networks), (16, networks), (32, networks * 4 // 5))]
    for a, b in ((0, 0), (0, 1)):
        found = extrapolated(*(Estimate.of(run[:, a, b]) for run in runs))
        assert found.test(derived[a, b]).p_value > 1e-3
        if a == b:
            assert found.test(wrong[a, b]).p_value < 1e-3


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"x0": [1.0]}, "x0 must be a number or have shape"),
        ({"depth": -1}, "depth"),
        ({"t": 0.0}, "t must be"),
        ({"architecture": ResNet(relu, width=sp.oo)}, "width"),
        ({"architecture": ResNet(relu, width=3, inputs=2)}, "one input"),
    ],
    ids=lambda v: str(v) if isinstance(v, str) else "",
)
def test_what_makes_no_sense_is_refused(change, says):
    with pytest.raises(ValueError, match=says):
        simulate_jacobian(**{"architecture": FULL, "depth": 2, "samples": 2, "x0": X0, **change})


def test_derivatives_that_do_not_fit_in_memory_are_refused_with_their_size():
    with pytest.raises(
        MemoryError, match=r"derivatives of 1000 networks of 20000 neurons .* take about \d+.* GiB, and there are"
    ):
        simulate_jacobian(ResNet(relu, width=20_000), 10, 1000, 1.0)
    assert simulate_jacobian(ResNet(relu, width=2), 2, 3, 1.0)[1].shape == (3, 2, 2)
