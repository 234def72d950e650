"""State and tangents by their Gram matrix, gradients of weights, and the tangent kernel at finite width, against networks drawn by hand."""

from dataclasses import replace

import numpy as np
import pytest
import sympy as sp

from derivations import (
    MLP,
    ConvResNet,
    DerivationError,
    GatedBlock,
    MLPBlock,
    Network,
    NotClosed,
    PreNormResNet,
    Regime,
    ResNet,
    ShapedMLP,
    ShrinkingResNet,
    Weights,
    average,
    dropout,
    epsilon,
    identity,
    relu,
    rms_norm,
    silu,
    symbols,
    tanh,
)
from derivations.backward import gradient_flow, jacobian, tangent_gram, tangent_kernel
from derivations.backward.kernel_moments import START
from derivations.limits.elimination.averages import layer_average
from derivations.sums import coordinate_sum
from numerics import simulate_network, solve_flow
from numerics.statistics import Estimate, richardson
from tests.helpers import equal_symbolically

n, t = symbols.width, symbols.time
A, B = Weights("A"), Weights("B", out=4)
TWO = Network(lambda x: x + epsilon * A(relu(B(x))), width=n)
TOGETHER = Regime(depth=1)
LINEAR = Network(lambda x: Weights("W")(x), width=n, regime=TOGETHER)
k = sp.Symbol("k", integer=True, positive=True)


def test_two_matrices_close_at_every_width():
    gram = tangent_gram(TWO)
    process = gram.process
    v, c, u = process.states
    assert [sp.expand(b - s / 2) for b, s in zip(process.drift, process.states, strict=True)] == [0, 0, 0]
    assert equal_symbolically(process.covariance[0, 2], 2 * c**2 / n)
    assert equal_symbolically(process.covariance[1, 1], (v * u + c**2) / n)
    assert gram.law.name == "geometric Brownian motion"
    assert gram.rates == (sp.S.Half, 1 / n, 0)
    assert sp.expand(gram.exponent(k) - jacobian(TWO).lyapunov(k)) == 0  # two derivations


def test_mixed_terms_are_those_of_stein():
    # E tanh(h) ... with h = Bx, ḣ = Bv: E φ(h)φ'(h)ḣ = (V12/V11) E h φ φ', by a rule of its own here
    process = tangent_gram(Network(lambda x: x + epsilon * A(tanh(B(x))), width=n)).process
    values = {process.states[0]: sp.Rational(9, 10), process.states[1]: sp.Rational(3, 10), process.states[2]: sp.S.One}
    z, w = np.polynomial.hermite_e.hermegauss(60)
    h = np.sqrt(0.9) * z[:, None]
    dot = 0.3 / 0.9 * h + np.sqrt(1 - 0.09 / 0.9) * z[None, :]
    weight = w[:, None] * w[None, :] / w.sum() ** 2
    slope = 1 - np.tanh(h) ** 2
    for entry, function in zip(
        process.drift, (np.tanh(h) ** 2, np.tanh(h) * slope * dot, slope**2 * dot**2), strict=True
    ):
        assert np.isclose(float(entry.xreplace(values).evalf(15)), np.sum(weight * function), atol=1e-8)


@pytest.mark.slow
def test_depth_and_width_together():
    assert jacobian(LINEAR).lyapunov(k) == -k / 2
    relu_net = jacobian(MLP(relu, width=n))
    assert equal_symbolically(relu_net.lyapunov(), -k - sp.Rational(1, 4))
    process = relu_net.process
    v, c, u = process.states
    assert equal_symbolically(process.covariance[0, 2], v * u + 4 * c**2)
    assert equal_symbolically(process.covariance[2, 2], 5 * u**2)
    shaped = jacobian(ShapedMLP(relu, c_plus=0, c_minus=-1))
    assert shaped.lyapunov(k) == -k / 2  # the drift of tangents through slopes near 1 is compensated by the gain
    moving = jacobian(ShapedMLP(tanh, a=1)).process
    v, c, u = moving.states
    assert equal_symbolically(moving.drift[2], 2 * u - 2 * v * u - 4 * c**2)
    with pytest.raises(NotClosed, match="constant rates"):
        jacobian(ShapedMLP(tanh, a=1)).lyapunov()


@pytest.mark.parametrize("width", [8, 32])
def test_exponents_of_linear_perceptrons_are_differences_of_digamma(width):
    # a Gaussian n × n matrix with variance 1/n: E log of the k-th pivot is ½ (ψ((n − k + 1)/2) + log(2/n)), per layer
    from scipy.special import digamma

    for index in (1, 2):
        exact = width * (digamma((width - index + 1) / 2) + np.log(2 / width)) / 2
        derived = float(jacobian(LINEAR).lyapunov(index))
        # the next order of ψ(z) = log z − 1/(2z) − 1/(12z²): k²/(4n) + 1/(6n) at most, here with the last term's sum
        assert abs(exact - derived) < (index**2 / 4 + 1 / 3) / width


@pytest.mark.slow
def test_infinite_width_is_the_flow_of_gradients():
    assert jacobian(ResNet(relu, width=sp.oo)).process == gradient_flow(ResNet(relu, width=sp.oo))
    assert "hypothesis" in str(jacobian(ResNet(relu, width=sp.oo)))
    with pytest.raises(DerivationError, match="independent"):
        _ = jacobian(ResNet(relu, width=sp.oo)).gram
    joint = jacobian(PreNormResNet(relu, width=n))
    assert joint.order == "joint"
    assert jacobian(PreNormResNet(relu, width=n), "depth").log_det.is_gaussian is False


def test_what_does_not_close_says_why():
    for norm in ("rms", "layer"):  # behind a layer norm an average of the tangent was named, which every layer makes 0
        with pytest.raises(NotClosed, match="ends with a norm keeps tangents beside its state"):
            tangent_gram(MLPBlock(relu, width=3, norm=norm, place="post"))
    with pytest.raises(NotClosed, match="neuron by neuron"):
        tangent_gram(ResNet(tanh, width=n))
    with pytest.raises(NotClosed, match="as depth over width"):
        tangent_gram(Network(lambda x: 3 * x / 5 + 4 * A(rms_norm(x)) / 5, width=n, regime=TOGETHER), "joint")
    with pytest.raises(NotClosed, match="moments of the tangent kernel do not close"):
        _ = tangent_kernel(ShapedMLP(tanh, a=1), "joint").mean
    with pytest.raises(NotClosed, match="do not close"):
        _ = tangent_kernel(Network(lambda x: x + epsilon * A(relu(B(rms_norm(x)))), width=n)).mean
    with pytest.raises(NotClosed, match="dense"):
        tangent_gram(Network(lambda x: x + epsilon * A(x), width=3, positions=2))
    assert "over positions" in str(jacobian(Network(lambda x: x + epsilon * A(x), width=3, positions=2)))
    with pytest.raises(DerivationError, match="unknown order"):
        jacobian(TWO, "deep")
    with pytest.raises(DerivationError, match="one input"):
        jacobian(ResNet(relu, width=3, inputs=2))
    with pytest.raises(DerivationError, match="jumps"):
        jacobian(MLP(sp.Heaviside(sp.Symbol("x", real=True)), width=n))


@pytest.mark.slow
def test_transposes():
    # −3 E Σ_k (a_k·x)² |a_k|² over rows a_k of variance 1/n
    x = sp.Symbol("x", real=True)
    found = jacobian(Network(lambda x: x - epsilon**2 * A.T(A(x) ** 3), width=n)).log_det
    assert equal_symbolically(found.drift, -3 * (n + 2) * coordinate_sum(x**2, (x,), n) / n)
    assert found.rate == 0
    # E Aᵀsin(A x) = x e^{-K/2} with K = ⟨x²⟩: the trace of its slope is (n - K) e^{-K/2}
    found = jacobian(Network(lambda x: x - epsilon**2 * A.T(sp.sin(A(x))), width=n)).log_det
    square = coordinate_sum(x**2, (x,), n) / n
    assert equal_symbolically(found.drift, -(n - square) * sp.exp(-square / 2))
    assert sp.expand(found.drift + n * sp.exp(-square / 2)) != 0  # the control: as if the slope were constant


def test_gradients_of_weights():
    # one matrix: φ'(0)²(σ_w²⟨ψ²⟩ + σ_b²); two: both ½⟨x²⟩ for ReLU; after dropout twice that of A and B
    x = sp.Symbol("x", real=True)
    plain = jacobian(ShrinkingResNet(silu, tanh, width=n, weight_variance=2, bias_variance=3)).weight_gradients
    assert str(plain["W"]) == "<tanh(x)**2>/2 + 3/4"
    two = jacobian(TWO).weight_gradients
    assert str(two["A"]) == str(two["B"]) == "<x**2>/2"
    wet = jacobian(Network(lambda x: x + epsilon * A(dropout(relu(B(x)), sp.Rational(1, 2))), width=n)).weight_gradients
    assert str(wet["A"]) == str(wet["B"]) == "<x**2>"
    own = jacobian(Network(lambda y: y + epsilon * y * A(y), width=n)).weight_gradients
    assert x in own["A"].free_symbols
    with pytest.raises(NotClosed, match="meet"):
        _ = jacobian(Network(lambda y: y + epsilon * y * average(A(y)), width=n)).weight_gradients


@pytest.mark.slow
def test_gradients_of_weights_over_positions():
    # a filter of 3 on a circle of 4 positions: Σ_ω ∂_ωΔ_a ∂_ωΔ_b = ⅓ Σ_f <ψ(x_{a+f}) ψ(x_{b+f})>, by hand
    j = jacobian(ConvResNet(tanh, tanh, width=n, positions=(4,), filter=(3,)))
    found, x = j.weight_gradients["W"], sp.symbols("x^1:5", real=True)
    for a in range(4):
        for b in range(4):
            met = [sp.tanh(x[(a + f) % 4]) * sp.tanh(x[(b + f) % 4]) for f in (-1, 0, 1)]
            mine = sp.Add(*(layer_average(m, x, 0) for m in met)) / 3
            assert sp.expand(found[a, b] - mine) == 0
    assert "G_i^1*G_i^2" in str(j)


@pytest.mark.slow
def test_gradients_over_positions_against_networks():
    # a filter of 3 on 4 positions of different sizes, zeros beyond: the outer ones pass on less
    recipe = ConvResNet(tanh, relu, width=sp.oo, positions=(4,), filter=(3,), circular=False)
    flow = gradient_flow(recipe)
    start = [float(s.name in {"K_11", "K_22", "K_33", "K_44", "Q_11", "Q_22", "Q_33", "Q_44"}) for s in flow.states]
    end = dict(zip((s.name for s in flow.states), solve_flow(flow, start, 1.0)(1.0), strict=True))
    derived = sum(end[f"Q_{a}{a}"] for a in range(1, 5)) / 4

    def found(size, samples):
        at = {"inputs": 2 * np.eye(4)[None], "t": 1.0, "seed": size, "record": "jacobian"}  # Gaussian states, K_0 = I
        j = simulate_network(replace(recipe, width=size), size, samples, **at)
        return Estimate.of(np.sum(j**2, axis=(1, 2, 3)) / (4 * size))

    estimate = richardson(found(6, 3000), found(12, 1500))
    assert estimate.test(derived).p_value > 1e-3
    assert estimate.test(np.exp(0.5)).p_value < 1e-3  # the control: all positions as the inner ones


def hidden(rng, samples, size, count):
    return rng.standard_normal((samples, size, count)) / np.sqrt(count), rng.standard_normal(
        (samples, count, size)
    ) / np.sqrt(size)


def by_layers(depth, samples, seed):
    """Two-matrix ReLU networks with 3 neurons and 4 hidden ones to t = 1: Jacobian and tangent kernel, layer by layer."""
    rng, size, e = np.random.default_rng(seed), 3, 1 / np.sqrt(depth)
    x = np.tile([1.0, -0.5, 0.3], (samples, 1))
    j = theta = np.zeros((samples, size, size))
    j = j + np.eye(size)
    for _ in range(depth):
        a, b = hidden(rng, samples, size, 4)
        h = np.einsum("skj,sj->sk", b, x)
        on = (h > 0).astype(float)
        d = np.eye(size) + e * (a * on[:, None, :]) @ b
        own = np.sum((h * on) ** 2, axis=1)[:, None, None] / 4 * np.eye(size)
        own = own + (a * on[:, None, :]) @ np.swapaxes(a, 1, 2) * np.mean(x**2, axis=1)[:, None, None]
        theta = d @ theta @ np.swapaxes(d, 1, 2) + e**2 * own
        x, j = x + e * np.einsum("sik,sk->si", a, h * on), d @ j
    return j, theta


@pytest.mark.slow
def test_determinants_norms_and_kernels_of_drawn_networks():
    net = Network(lambda x: x + epsilon * A(relu(B(x))), width=3)
    j, moments = jacobian(net), tangent_kernel(net)
    start = {START: sp.Rational(134, 300), t: 1}
    runs = [by_layers(depth, samples, depth) for depth, samples in ((16, 40_000), (32, 40_000))]

    def found(statistic):
        return richardson(*(Estimate.of(statistic(*run)) for run in runs))

    def spread(statistic):
        return richardson(*(Estimate.variance_of(statistic(*run)) for run in runs))

    def log_det(jac, _):
        return np.linalg.slogdet(jac).logabsdet

    def log_gradient(jac, _):  # backwards, along one readout
        return np.log(np.sum(jac[:, 0, :] ** 2, axis=1)) / 2

    def theta(_, kernel):
        return np.trace(kernel, axis1=1, axis2=2) / 3

    checks = [
        (found(log_det), float(j.log_det.drift), 1.3),
        (spread(log_det), float(j.log_det.rate), 1.1),
        (found(log_gradient), float(j.volumes.drift(1)), 1.3),
        (spread(log_gradient), float(j.volumes.rate(1)), 1.1),
        (found(theta), float(moments.mean.subs(start)), 1.1),
        (found(lambda a, b: theta(a, b) ** 2), float(moments.second.subs(start)), 1.3),
        (
            found(lambda _, b: theta(_, b) ** 2 + 2 * np.sum(b**2, axis=(1, 2)) / 9),
            float(moments.second_of_one.subs(start)),
            1.3,
        ),
    ]
    for estimate, derived, wrong in checks:
        assert estimate.test(derived).p_value > 1e-3
        assert estimate.test(derived * wrong).p_value < 1e-3  # the control


def perceptrons(size, samples, seed, critical=2.0):
    """ReLU perceptrons of size/4 layers: squared norms of the state, of tangents on average, and their product."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((samples, size))
    x *= np.sqrt(size) / np.linalg.norm(x, axis=1, keepdims=True)
    j = np.broadcast_to(np.eye(size), (samples, size, size))
    for _ in range(size // 4):
        w = rng.standard_normal((samples, size, size)) * np.sqrt(critical / size)
        on = (x > 0).astype(float)
        x, j = np.einsum("sij,sj->si", w, x * on), (w * on[:, None, :]) @ j
    return np.mean(x**2, axis=1) * np.sum(j**2, axis=(1, 2)) / size


@pytest.mark.slow
def test_norms_of_states_and_gradients_are_not_independent():
    # E V11 V22 from orthogonal starts: (e^{5t} + 2e^{−t})/3; layers whose forward and backward factors share their mask only give e^t
    gram = tangent_gram(MLP(relu, width=n), "joint")
    m = gram.matrix
    both = gram.noise_of((0, 0), (1, 1)), gram.noise_of((0, 1), (0, 1))
    system = sp.Matrix(2, 2, lambda i, j: sp.expand(both[i]).coeff(m[0, 1] ** 2 if j else m[0, 0] * m[1, 1]))
    derived = float((system * sp.Rational(1, 4)).exp()[0, 0])
    assert np.isclose(derived, (np.exp(1.25) + 2 * np.exp(-0.25)) / 3)
    found = richardson(Estimate.of(perceptrons(12, 150_000, 1)), Estimate.of(perceptrons(24, 48_000, 2)))
    assert found.test(derived).p_value > 1e-3
    assert found.test(np.exp(0.25)).p_value < 1e-3


@pytest.mark.slow
def test_the_diagonal_of_a_relu_perceptron():
    kernel = tangent_kernel(MLP(relu, width=n), "joint")
    assert kernel.mean == START * t
    nodes, weights = np.polynomial.legendre.leggauss(40)  # the double integral over two layers at t = 1/2
    # over u < v, by symmetry twice: v = u + (1/2 − u) s
    s = (nodes + 1) / 2
    first, gaps = (nodes[:, None] + 1) / 4, (0.5 - (nodes[:, None] + 1) / 4) * s[None, :]
    inside = np.exp(5 * first) * (np.exp(5 * gaps) + 2 * np.exp(-gaps)) / 3 * np.exp(5 * (0.5 - first - gaps))
    integral = 2 * np.sum(weights[:, None] * weights[None, :] / 8 * (0.5 - first) * inside)
    assert np.isclose(float(kernel.relative().subs(t, sp.S.Half)), integral / 0.25, rtol=1e-10)
    flow = tangent_kernel(Network(lambda x: x + epsilon * A(relu(B(x))), width=n, regime=TOGETHER), "joint")
    assert flow.relative() == 1  # branches of size n^{-1/2}: no fluctuation is left
    residual = tangent_kernel(Network(lambda x: x + epsilon * A(identity(x)), width=n))
    assert residual.mean == START * t * sp.exp(t)


def backpropagated(size, samples, seed, copies=False, tied=False):
    """log-mean squares of gradients of two-matrix ReLU networks to t = 1, from a random readout or from one along the last state."""
    rng, depth = np.random.default_rng(seed), size
    e = 1 / np.sqrt(depth)
    x = rng.standard_normal((samples, size))
    layers = []
    for _ in range(depth):
        a, b = (rng.standard_normal((samples, size, size)) / np.sqrt(size) for _ in range(2))
        h = np.einsum("sij,sj->si", b, x)
        x = x + e * np.einsum("sij,sj->si", a, np.maximum(h, 0))
        layers.append((a, b, h > 0))
    g = x if tied else rng.standard_normal((samples, size))
    g = g / np.linalg.norm(g, axis=1, keepdims=True)
    for a, b, on in reversed(layers):
        if copies:  # weights of the backward pass that are not those of the forward pass
            a, b = (rng.standard_normal(a.shape) / np.sqrt(size) for _ in range(2))
        g = g + e * np.einsum("sji,sj->si", b, on * np.einsum("sji,sj->si", a, g))
    return np.sum(g**2, axis=1)


@pytest.mark.slow
def test_the_hypothesis_on_backward_weights():
    # the flow takes the weights of the backward pass as copies. That is right for a random readout, and not for one that knows the state
    flow = gradient_flow(Network(lambda x: x + epsilon * A(relu(B(x))), width=sp.oo))
    assert sp.expand(flow.drift[-1] - flow.states[-1] / 2) == 0
    sizes = ((8, 6000), (16, 3000))

    def found(**which):
        return richardson(*(Estimate.of(backpropagated(size, count, size, **which)) for size, count in sizes))

    assert found().test(np.exp(0.5)).p_value > 1e-3
    assert found(copies=True).test(np.exp(0.5)).p_value > 1e-3
    assert found(tied=True).test(np.exp(0.5)).p_value < 1e-3  # the control


def test_a_mean_that_centred_gates_do_not_see_adds_no_parameters():
    """A mean of the output matrix multiplies the mean of a gate, which is 0, and its slope along a tangent that starts at rest."""
    seen, without = (jacobian(GatedBlock(relu, width=2, hidden=2, output_mean=k)) for k in (1, 0))
    assert seen.kernel.source == without.kernel.source == 3 * seen.gram.matrix[0, 0] ** 2 / 2
    # the control: means that are seen, which the state's being read neuron by neuron was said for
    for name, mean in (("MA", "output_mean"), ("MA", "output_bias_mean"), ("B", "weight_mean")):
        with pytest.raises(
            NotClosed, match=f"means of the weights or biases of {name} tell the average of the neurons"
        ):
            _ = jacobian(MLPBlock(relu, width=2, hidden=2, **{mean: 1})).kernel


def test_sums_that_hold_tangents_are_refused():
    from derivations.backward.differential import LayerDifferential

    layer = LayerDifferential(TWO.program())
    (x,), (v,) = layer.state, layer.tangent(0)
    assert layer._free(x**2) == x**2
    with pytest.raises(NotClosed, match="fractions of tangents, as those of transposes do"):
        layer._free(x / (1 + v**2))
