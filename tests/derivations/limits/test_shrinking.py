"""Every formula of the theory of shrinking residual networks, against what the engine derives."""

import pytest
import sympy as sp

from derivations import (
    ConvResNet,
    DerivationError,
    NoLimit,
    ShrinkingResNet,
    depth_limit,
    derive,
    erf,
    gelu,
    identity,
    relu,
    silu,
    softplus,
    tanh,
    width_limit,
)
from derivations.activations import cosine, exponential, polynomial
from derivations.architectures.shrinking import checked_outer
from derivations.limits import mean_field_limit
from derivations.piecewise import Piece, join
from derivations.sums import coordinate_sum
from derivations.symbols import state as x
from derivations.symbols import width as n
from tests.helpers import equal_by_sampling, equal_symbolically

mu_w, mu_b = sp.symbols("mu_w mu_b", real=True)
sw, sb = sp.symbols("sigma_w sigma_b", positive=True)
SHARED = {"weight_variance": sw**2, "bias_variance": sb**2, "weight_mean": mu_w, "bias_mean": mu_b}
CUBIC = polynomial(0, sp.Rational(2, 3), sp.Rational(-5, 7), 1)
DERIVATIVES = [(tanh, 1, 0), (silu, sp.S.Half, sp.S.Half), (gelu, sp.S.Half, sp.sqrt(2 / sp.pi)), (identity, 1, 0)]
DERIVATIVES += [(CUBIC, sp.Rational(2, 3), sp.Rational(-10, 7)), (erf, 2 / sp.sqrt(sp.pi), 0)]


@pytest.mark.parametrize(("outer", "first", "second"), DERIVATIVES, ids=lambda v: str(v))
@pytest.mark.parametrize("inner", [relu, tanh, identity], ids=str)
def test_limit_is_that_of_the_theory(outer, first, second, inner):
    limit = depth_limit(ShrinkingResNet(outer, inner, width=n, **SHARED))
    S = sb**2 + sw**2 * coordinate_sum(inner(x) ** 2, (x,), n) / n
    m = mu_b + mu_w * coordinate_sum(inner(x), (x,), n) / n
    assert equal_symbolically(limit.neuron_drift[0], first * m + second * S / 2)
    assert equal_symbolically(limit.neuron_covariance[0, 0], first**2 * S)
    with pytest.raises(AssertionError):  # the control: half the Itô correction, and half the shift where there is none
        assert equal_symbolically(limit.neuron_drift[0], first * m + second * S / 4 if second else first * m / 2)
    with pytest.raises(AssertionError):  # and a noise without the bias's share
        assert equal_symbolically(limit.neuron_covariance[0, 0], first**2 * (S - sb**2))


def test_two_inputs_share_weights_and_biases():
    limit = depth_limit(ShrinkingResNet(tanh, tanh, width=n, inputs=2, **SHARED))
    a, b = limit.neuron
    assert equal_symbolically(limit.neuron_covariance[0, 1], sb**2 + sw**2 * limit.sum(sp.tanh(a) * sp.tanh(b)) / n)


@pytest.mark.slow
@pytest.mark.parametrize("circular", [True, False])
def test_convolution_on_a_line(circular):
    P, F = 4, 3
    limit = depth_limit(ConvResNet(silu, tanh, width=n, positions=(P,), filter=(F,), circular=circular, **SHARED))
    xs = limit.neuron

    def psi(p):
        return sp.tanh(xs[p % P]) if circular or 0 <= p < P else sp.S.Zero

    for p in range(P):
        for q in range(P):
            patch = sum(psi(p + d) * psi(q + d) for d in (-1, 0, 1))
            G = sb**2 + sw**2 / (n * F) * limit.sum(patch)
            assert equal_symbolically(limit.neuron_covariance[p, q], G / 4)
        mean = mu_b + mu_w / (n * F) * limit.sum(sum(psi(p + d) for d in (-1, 0, 1)))
        S = sb**2 + sw**2 / (n * F) * limit.sum(sum(psi(p + d) ** 2 for d in (-1, 0, 1)))
        assert equal_symbolically(limit.neuron_drift[p], mean / 2 + S / 4)


def test_convolution_on_a_plane_reads_both_directions():
    taps = ConvResNet(tanh, relu, width=1, positions=(3, 4), filter=(3, 1)).program().statements[0].weights.taps
    assert taps[0] == (8, 9, 10, 11, 0, 1, 2, 3, 4, 5, 6, 7)
    assert taps[1] == tuple(range(12))


def test_one_position_is_the_dense_network():
    conv = depth_limit(ConvResNet(silu, relu, width=n, positions=(1,), filter=(1,), inputs=2, **SHARED))
    dense = depth_limit(ShrinkingResNet(silu, relu, width=n, inputs=2, **SHARED))
    assert conv == dense


@pytest.mark.parametrize("outer", [cosine, exponential, softplus], ids=str)
def test_an_outer_activation_that_does_not_vanish_is_refused(outer):
    with pytest.raises(NoLimit, match="at 0, not 0"):
        ShrinkingResNet(outer, relu, width=3)


KINKED = [relu, sp.Abs(x), sp.sqrt(sp.Abs(x)), sp.sign(x), x * sp.Abs(x), sp.Max(x, 0) ** 2, sp.cbrt(x)]


@pytest.mark.parametrize("outer", KINKED, ids=str)
def test_an_outer_activation_with_a_kink_at_0_is_refused(outer):
    with pytest.raises(NoLimit, match=r"twice differentiable|at 0, not 0"):
        ShrinkingResNet(outer, relu, width=3)


def test_a_kink_elsewhere_or_of_third_order_is_welcome():
    assert checked_outer(sp.Max(x, -1)).kinks == (-1,)
    cubic = join((Piece(-sp.oo, sp.S.Zero, x - x**3), Piece(sp.S.Zero, sp.oo, x + x**3)), x)
    limit = depth_limit(ShrinkingResNet(cubic, identity, width=1))
    assert equal_symbolically(limit.covariance[0], x**2)
    assert limit.drift[0] == 0


@pytest.mark.parametrize(
    "bad",
    [
        {"positions": (0,), "filter": (1,)},
        {"positions": (4,), "filter": (2,)},
        {"positions": (4,), "filter": (5,)},
        {"positions": (4, 4), "filter": (3,)},
        {"positions": (2, 2, 2), "filter": (1, 1, 1)},
        {"positions": (4.0,), "filter": (3,)},
    ],
)
def test_bad_grids_are_refused(bad):
    with pytest.raises(DerivationError, match=r"positions|filter"):
        ConvResNet(tanh, relu, width=2, **bad)


@pytest.mark.parametrize("bad", [sp.oo, sp.nan, sp.I, "1"])
@pytest.mark.parametrize("name", ["weight_mean", "bias_mean"])
def test_a_bad_mean_is_refused(bad, name):
    with pytest.raises(DerivationError, match=name):
        ShrinkingResNet(tanh, relu, width=3, **{name: bad})


# --- infinite width, before and after infinite depth ---


@pytest.mark.parametrize(("outer", "first", "second"), DERIVATIVES[:2], ids=lambda v: str(v))
def test_identity_inside_gives_the_flow_of_the_theory(outer, first, second):
    flow = width_limit(ShrinkingResNet(outer, identity, width=sp.oo, weight_variance=sw**2, bias_variance=sb**2))
    velocity = dict(zip((str(s) for s in flow.states), flow.drift, strict=True))
    K = next(s for s in flow.states if str(s) == "K")
    M = next((s for s in flow.states if str(s) == "M"), sp.S.Zero)
    S = sb**2 + sw**2 * K
    assert equal_symbolically(velocity.get("M", 0), second * S / 2)
    assert equal_symbolically(velocity["K"], 2 * M * second * S / 2 + first**2 * S)


@pytest.mark.parametrize("inner", [relu, identity, tanh, erf], ids=str)
@pytest.mark.parametrize("outer", [tanh, silu], ids=str)
@pytest.mark.parametrize("inputs", [1, 2])
@pytest.mark.slow
def test_depth_then_width_is_width_then_depth(outer, inner, inputs):
    parameters = SHARED if inputs == 1 or inner == identity else {"bias_variance": sb**2}
    first = mean_field_limit(depth_limit(ShrinkingResNet(outer, inner, width=n, inputs=inputs, **parameters)))
    second = width_limit(ShrinkingResNet(outer, inner, width=sp.oo, inputs=inputs, **parameters))
    assert first.states == second.states
    assert all(sp.expand(a - b) == 0 for a, b in zip(first.drift, second.drift, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("circular", [True, False])
def test_convolutional_orders_of_limits(circular):
    def net(channels):
        return ConvResNet(
            tanh,
            relu,
            width=channels,
            positions=(3,),
            filter=(3,),
            circular=circular,
            weight_variance=sw**2,
            bias_variance=sb**2,
        )

    first, second = mean_field_limit(depth_limit(net(n))), width_limit(net(sp.oo))
    assert first.states == second.states
    assert all(sp.expand(a - b) == 0 for a, b in zip(first.drift, second.drift, strict=True))
    by_name = dict(zip(map(str, second.states), second.drift, strict=True))
    K = {str(s): s for s in second.states}
    corner = [K["K_11"], K["K_22"]] if not circular else [K["K_11"], K["K_22"], K["K_33"]]
    assert equal_symbolically(by_name["K_11"], sb**2 + sw**2 * sum(corner) / 6)


def test_relu_inside_gives_the_correlation_flow_of_the_residual_network():
    flow = width_limit(ShrinkingResNet(tanh, relu, width=sp.oo, inputs=2))
    k11, k12, k22 = flow.states
    rho = k12 / sp.sqrt(k11 * k22)
    expected = sp.sqrt(k11 * k22) / (2 * sp.pi) * (sp.sqrt(1 - rho**2) + rho * (sp.pi - sp.acos(rho)))
    points = {k11: ["1", "2", "3"], k12: ["1/2", "-1/3", "0"], k22: ["1/2", "1", "2"]}
    assert equal_by_sampling(flow.drift[1], expected, symbols=points)


# --- the derivation as printed ---


@pytest.mark.slow
def test_derivation_names_both_activations_and_the_means():
    text = " ".join(str(derive(ShrinkingResNet(silu, relu, width=n, **SHARED))).split())
    for part in ("ψ(x) = ", "φ''(0) = 1/2", "m = Sum_j μ_w*ψ(X_l^j)/n + μ_b", "φ'(0)**2*(σ_b**2 + σ_w**2*Sum_j"):
        assert part in text
    assert r"\varphi''(0)" in derive(ShrinkingResNet(silu, relu, width=n, **SHARED)).latex()


def test_convolution_and_infinite_width_are_explained():
    assert "X_l^{j,α+r}" in str(derive(ConvResNet(tanh, relu, width=n, positions=(4,), filter=(3,))))
    text = " ".join(str(derive(ShrinkingResNet(silu, identity, width=sp.oo))).split())
    assert "with means M and second moments K" in text
