"""Existence, uniqueness and explosion of a limit, and whether networks do what is said."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
import sympy as sp

from derivations import Diffusion, Network, Weights, average, derive, epsilon, rms_norm, symbols
from derivations.activations import elu, erf, gelu, identity, relu, silu, tanh
from derivations.architectures import ConvResNet, GatedBlock, MLPBlock, ResNet, ShrinkingResNet
from derivations.calculus.boundaries import classify
from derivations.calculus.far_out import far_out
from derivations.calculus.growth import degree
from derivations.errors import DerivationError
from derivations.existence import existence
from derivations.existence.depth import _leading_at_zero
from derivations.existence.growth import is_lipschitz_drift
from derivations.limits import depth_limit
from derivations.symbols import state, width
from numerics.networks import simulate_network
from numerics.outcomes import ExplosionWarning

x = sp.Symbol("x", real=True)
ramp = sp.Max(x, 0)


def ramp_of(v):
    return sp.Max(v, 0)


A, B = Weights("A"), Weights("B")
CASES = {
    "a cosine, of whose zeros some are listed": (ResNet("cos(x)", width=1), "yes", "cannot"),
    "a wave with no zeros": (ResNet("sqrt(2+cos(x))", width=3), "yes", "cannot"),
    "poles, of which some are listed": (ResNet("tan(x)", width=1), "not known", "not known"),
    "decay": (Network(lambda v: v - 2 * epsilon**2 * v + epsilon * A(sp.tanh(v)), width=2), "yes", "cannot"),
    "a sum with a sine": (
        Network(lambda v: v + epsilon * (A(ramp_of(v)) + 2 * B(v * sp.sin(v))), width=3),
        "yes",
        "cannot",
    ),
    "logarithm": (Network(lambda v: v - epsilon**2 * v + epsilon * A(sp.log(1 + v**2)), width=2), "yes", "cannot"),
    "a drift beyond": (Network(lambda v: v + epsilon**2 * v**2 + epsilon * A(sp.tanh(v)), width=2), "yes", "not known"),
    "a sum beyond": (Network(lambda v: v + epsilon * (A(sp.tanh(v)) + B(v**2)), width=3), "yes", "not known"),
    "relu": (ResNet(relu, width=3), "yes", "cannot"),
    "square, one": (ResNet(x**2, width=1), "yes", "cannot"),
    "square, two": (ResNet(x**2, width=2), "yes", "cannot"),
    "square, three": (ResNet(x**2, width=3), "yes", "can"),
    "square, any": (ResNet(x**2, width=width), "yes", "not known"),
    "cube, two inputs": (ResNet(x**3, width=4, inputs=2), "yes", "can"),
    "one-sided": (ResNet(ramp**2, width=5), "yes", "cannot"),
    "one-sided and linear": (ResNet(ramp**2 + x, width=5), "yes", "cannot"),
    "exponential": (ResNet(sp.exp(x), width=5), "yes", "cannot"),
    "hyperbolic": (ResNet(sp.cosh(x), width=3), "yes", "can"),
    "logarithm between": (ResNet(x * sp.log(1 + x**2), width=3), "yes", "not known"),
    "crossing": (ResNet(sp.Abs(x) ** sp.Rational(1, 4), width=1), "no", "cannot"),
    "root": (ResNet(sp.sqrt(sp.Abs(x)), width=1), "yes", "cannot"),
    "one-sided root": (
        ResNet(ramp ** sp.Rational(1, 4), width=1),
        "yes",
        "cannot",
    ),  # stays at 0, for 1/φ² is infinite beyond
    "an exit beyond": (
        ResNet(ramp ** sp.Rational(1, 4) + sp.Max(-x, 0) ** sp.Rational(3, 4), width=1),
        "yes",
        "cannot",
    ),
    "sign": (ResNet(sp.sign(x), width=1), "no", "cannot"),  # 0 at 0, where a solution may stay
    "step that is 0 at 0": (ResNet(sp.Heaviside(x, 0), width=1), "yes", "cannot"),
    "jump between positive numbers": (ResNet(1 + sp.Heaviside(x), width=1), "yes", "cannot"),
    "jump to a root": (
        ResNet(sp.Piecewise((1, x > 0), (sp.Abs(x) ** sp.Rational(1, 4), True)), width=1),
        "no",
        "cannot",
    ),
    "root, two": (ResNet(sp.sqrt(sp.Abs(x)), width=2), "not known", "cannot"),
    "root at a level": (ResNet(1 + sp.sqrt(sp.Abs(x)), width=2), "not known", "cannot"),
    "pole": (ResNet(1 / (x - 1), width=1), "not known", "not known"),
    "silu, one": (ShrinkingResNet(silu, identity, width=1), "yes", "can"),
    "silu, three": (ShrinkingResNet(silu, identity, width=3), "yes", "can"),
    "silu around tanh": (ShrinkingResNet(silu, tanh, width=3), "yes", "cannot"),
    "silu around a root": (ShrinkingResNet(silu, sp.sqrt(1 + sp.Abs(x)), width=3), "yes", "cannot"),
    "means": (ShrinkingResNet(tanh, identity, width=3, weight_mean=1, bias_mean=1), "yes", "cannot"),
    "means and curvature": (ShrinkingResNet(silu, identity, width=3, weight_mean=1), "yes", "not known"),
    "convolution": (ConvResNet(tanh, relu, width=2, positions=(3,), filter=(3,)), "yes", "cannot"),
    "convolution, square": (ConvResNet(tanh, x**2, width=2, positions=(3,), filter=(3,)), "yes", "not known"),
}


@pytest.mark.parametrize("name", CASES)
def test_existence_uniqueness_and_explosion(name):
    network, unique, explodes = CASES[name]
    found = existence(depth_limit(network), network)
    assert (found.unique, found.explodes) == (unique, explodes)
    assert all(found.reasons)


def test_no_solution_where_the_noise_jumps_to_0_and_is_not_0_there():
    # at 0, where it is 1/2, the noise neither lets a solution stay nor takes it to where there is none
    found = derive(ResNet(sp.Heaviside(x), width=1)).existence
    assert (found.exists, found.unique) == ("no", "not known")
    assert "no solution beyond some time" in found.statement
    assert "networks stop there" in found.reasons[0]


def test_a_derivation_says_it_in_every_format():
    d = derive(ResNet(x**2, width=3))
    assert d.existence.explodes == "can"
    step = d.steps[-1]
    assert step.name == "Existence"
    for text in (str(d), d.latex(), json.dumps(json.loads(d.to_json()), ensure_ascii=False)):
        assert "it can explode" in " ".join(text.split())
        assert "does not return" in " ".join(text.split())
    with pytest.raises(DerivationError, match="existence is asked of a limit, got a network, whose limit is derive"):
        existence(ResNet(relu, width=sp.oo), ResNet(relu, width=sp.oo))


def beyond(network, depth: int, samples: int = 4000, seed: int = 0) -> float:
    """The share of networks that are beyond 10⁶ at t = 1, from all neurons at 1."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExplosionWarning)
        ends = simulate_network(network, depth, samples, x0=1.0, seed=seed)
    return float(np.mean(np.abs(ends).max(axis=(1, 2)) > 1e6))


@pytest.mark.slow
def test_networks_explode_where_the_limit_does():
    shares = [beyond(ResNet(x**2, width=3), depth) for depth in (100, 400, 1600)]
    error = np.sqrt(0.17 * 0.83 / 4000)
    assert all(abs(share - 0.17) < 4 * error + 0.02 for share in shares)  # whatever the depth
    for control in (ResNet(x**2, width=1), ResNet(ramp**2, width=3)):  # vanishes with depth where it cannot
        early, late = beyond(control, 100), beyond(control, 1600)
        assert late < 0.5 * early + 0.002


A, B = Weights("A"), Weights("B", out=3)
PROGRAMS = {
    "two matrices": (Network(lambda x: x + epsilon * A(relu(B(x))), width=4), "yes", "cannot"),
    "two, any width, two inputs": (
        Network(lambda x: x + epsilon * A(relu(B(x))), width=width, inputs=2),
        "yes",
        "cannot",
    ),
    "two, with jumps": (Network(lambda x: x + epsilon * A(sp.Heaviside(B(x), 0)), width=4), "yes", "cannot"),
    "two, with jumps, two inputs": (
        Network(lambda x: x + epsilon * A(sp.Heaviside(B(x), 0)), width=4, inputs=2),
        "not known",
        "cannot",
    ),
    "two, squared": (Network(lambda x: x + epsilon * A(relu(B(x)) ** 2), width=4), "yes", "can"),
    "two, squared and pulled back": (
        Network(lambda x: x + epsilon * A(relu(B(x)) ** 2) - 9 * epsilon**2 * x, width=4),
        "yes",
        "can",
    ),
    "two, smooth": (Network(lambda x: x + epsilon * A(tanh(B(x))), width=4), "yes", "cannot"),
    "pre-norm": (Network(lambda x: x + epsilon * A(relu(B(rms_norm(x)))), width=4), "yes", "cannot"),
    "one, smooth, any width": (Network(lambda x: x + epsilon * A(tanh(x)), width=width), "yes", "cannot"),
    "one, squared": (Network(lambda x: x + epsilon * A(x**2), width=4), "yes", "can"),
    "one, squared, two neurons": (Network(lambda x: x + epsilon * A(x**2), width=2), "yes", "cannot"),
    "one, squared, any width": (Network(lambda x: x + epsilon * A(x**2), width=width), "yes", "not known"),
    "one, root": (Network(lambda x: x + epsilon * A(sp.sqrt(sp.Abs(x))), width=4), "not known", "cannot"),
}


@pytest.mark.parametrize("case", PROGRAMS.values(), ids=PROGRAMS)
def test_programs(case):
    network, unique, explodes = case
    found = derive(network).existence
    assert (found.unique, found.explodes) == (unique, explodes), found


@pytest.mark.slow
def test_networks_of_two_matrices_explode_as_fellers_test_says():
    # V = |X|²/4 moves with dV = (3/2) V² dt + √(3/2) V^{3/2} dB: log V has the drift (3/4) V
    shares = []
    for name in ("two, squared", "two, smooth"):
        for depth in (100, 800):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ExplosionWarning)
                ends = simulate_network(PROGRAMS[name][0], depth, 500, x0=1.5, seed=7)
            shares.append(np.mean(~(np.abs(ends).max((1, 2)) < 1e6)))
    assert min(shares[:2]) > 0.3  # and does not vanish with the depth
    assert max(shares[2:]) == 0  # the control


def test_parameters_of_an_activation_leave_existence_open():
    x, c = sp.symbols("x c", real=True)
    d = derive(ResNet(sp.tanh(c * x), width=1))
    assert d.existence.exists == d.existence.explodes == "not known"
    assert "the numbers that c stand for" in d.existence.reasons[0]
    assert "tanh" in str(d)  # the whole derivation is written
    assert derive(ResNet(sp.tanh(2 * x), width=1)).existence.exists == "yes"


@pytest.mark.parametrize(
    "layer",
    [
        lambda x: x + epsilon * A(sp.Abs(Weights("B")(x)) ** sp.Rational(3, 2)),
        lambda x: x + epsilon * A(silu(Weights("B")(x)) * Weights("C")(x)),
        lambda x: x + epsilon * A(x) * average(x**2),
        lambda x: x + epsilon * Weights("A", bias_variance=1)(Weights("B")(x) ** 2) - epsilon**2 * x,
    ],
    ids=["power", "gate", "average", "bias and decay"],
)
def test_superlinear_noise_explodes_from_three_neurons_on_wherever_the_norm_closes(layer):
    # V = |x|²/n has the drift E f² and the variance 4 V E f²/n: 2Vμ/a = n/2, and ∫ dV/E f² is finite
    assert [derive(Network(layer, width=k)).existence.explodes for k in (2, 3, 5)] == ["cannot", "can", "can"]
    any_width = derive(Network(layer, width=width)).existence
    assert any_width.explodes == "not known"
    assert any_width.reasons[1].endswith("explodes if n > 2")


@pytest.mark.slow
def test_a_gate_without_closed_form_is_decided_by_powers():
    """The squared norm moves with the mean of a gate under N(0, V), which grows like V²; its scale has the density V^(-3/2)."""
    a, b, c = Weights("A"), Weights("B", out=2), Weights("C", out=2)
    found = derive(Network(lambda x: x + epsilon * a(silu(b(x)) * c(x)), width=3)).existence
    assert (found.unique, found.explodes) == ("yes", "can")
    slow = derive(Network(lambda x: x + epsilon * a(silu(b(x)) * sp.sin(c(x))), width=3)).existence
    assert (slow.unique, slow.explodes) == ("yes", "cannot")


def test_growth_of_a_norm_with_an_angle_is_seen():
    """E gelu(u)² has arcsin(V/(1+V)) and (1+V) √(1+2V) below: linear, and Feller's integrals over it are not waited for."""
    found = derive(MLPBlock(gelu, width=3)).existence
    assert found.explodes == "cannot"
    assert "linearly" in " ".join(found.reasons)


@pytest.mark.slow
def test_flows_of_neurons_are_read_as_such():
    """Without noise the neurons of a fixed width follow an equation of their own; it was read as one of variances."""
    x, half = state, sp.Rational(1, 2)
    for body, size, unique, explodes in (
        (x**2, 1, "yes", "can"),
        (-(x**2), 1, "yes", "can"),
        (-(x**3), 1, "yes", "cannot"),
        (sp.tanh(x), 2, "yes", "cannot"),
        (sp.Abs(x) ** half, 1, "not known", "cannot"),
        (sp.sign(x), 1, "not known", "cannot"),
        (sp.tan(x * average(x)), 2, "not known", "not known"),
    ):
        found = derive(Network(x + epsilon**2 * body, width=size)).existence
        assert (found.unique, found.explodes) == (unique, explodes), (body, found)
    a = Weights("A", out=8)
    tied = derive(Network(lambda x: x - epsilon**2 * a.T(sp.tanh(a(x))), width=3))
    assert tied.existence.unique == "not known"  # not differentiable at 0
    assert "E[z*tanh(z)" in str(tied)


@pytest.mark.parametrize(("width", "inner", "unique"), [(2, relu, "yes"), (3, relu, "yes"), (2, sp.sign, "not known")])
def test_sums_of_lipschitz_functions_of_several_neurons_are_lipschitz(width, inner, unique):
    layer = Weights("A", mean=1)
    limit = derive(Network(lambda x: x + layer(inner(x)) / symbols.depth, width=width))
    assert limit.existence.unique == unique


def test_a_root_at_the_end_of_its_domain_is_not_lipschitz_there():
    x, y = sp.symbols("x y", real=True)
    assert not is_lipschitz_drift(sp.sqrt(x) + 1, [x])  # "locally Lipschitz" was said
    assert not is_lipschitz_drift(sp.sqrt(abs(x)) + y, [x, y])
    assert not is_lipschitz_drift(x * sp.sign(y), [x, y])
    assert is_lipschitz_drift(sp.Max(x * abs(y), sp.tanh(x + y)), [x, y])
    assert is_lipschitz_drift(sp.sqrt(x**2 + 1), [x])


@pytest.mark.parametrize("inputs", [1, 2])
def test_flows_whose_mean_obeys_a_riccati_equation_explode(inputs):
    # "whether it can explode is not known" stood beside the depth at which it does
    net = ShrinkingResNet(silu, identity, width=sp.oo, inputs=inputs)
    said = derive(net).existence
    assert said.explodes == "can"
    assert "Riccati" in said.reasons[1]
    # Euler's steps of dM/dt = K/4, dK/dt = K M/2 + K/4 from K = 1 pass every bound near 8π/(3√3) = 4.84, which lies above them
    m, k, steps = 0.0, 1.0, 0
    while k < 1e9:
        m, k, steps = m + k / 4e4, k + k * (2 * m + 1) / 4e4, steps + 1
    assert abs(steps / 1e4 - 8 * np.pi / 27**0.5) < 5e-3
    assert (
        derive(ShrinkingResNet(tanh, identity, width=sp.oo, inputs=inputs)).existence.explodes == "cannot"
    )  # the control


@pytest.mark.parametrize("width", [1, 2, pytest.param(3, marks=pytest.mark.slow)])
def test_a_norm_that_starts_as_a_squared_bessel_process_reaches_0_as_that_does(width):
    bessel = derive(MLPBlock(relu, width=width, norm="rms")).gram  # by scale and speed
    assert _leading_at_zero(bessel) == bool(classify(bessel)[0].attainable == sp.false) == (width >= 2)
    biased = derive(MLPBlock(erf, width=width, bias_variance=1))  # the arcsine of a quotient: this took minutes
    assert _leading_at_zero(biased.gram) == (width >= 2)
    assert ("0, which is not reached" in biased.existence.reasons[0]) == (width >= 2)
    smooth_in_root = derive(MLPBlock(elu(), width=width)).gram  # erf(√V): what is of order V goes out
    assert _leading_at_zero(smooth_in_root)
    assert _leading_at_zero(
        derive(MLPBlock("hardshrink", width=width)).gram
    )  # e^{-1/V}, which vanishes with all derivatives
    assert _leading_at_zero(Diffusion(smooth_in_root.states, [0], [[sp.sqrt(*smooth_in_root.states)]])) is None


def test_bounded_functions_vanish_with_their_argument():
    v = sp.Symbol("V", positive=True)
    assert degree(v * sp.asin(2 * v / (2 * v + 1)), [v], far=False) == 2
    assert degree(v * sp.cos(v), [v], far=False) == 1
    assert degree(v * sp.asin(2 * v / (2 * v + 1)), [v]) == 1


def test_gated_blocks_explode_from_three_neurons_on_whatever_the_gate():
    # limits of an arcsine beside square roots took a minute, and powers say it at once
    assert [derive(GatedBlock(gelu, width=k)).existence.explodes for k in (2, 3)] == ["cannot", "can"]


def test_a_product_of_what_grows_and_what_vanishes_has_no_power_that_is_read_off():
    v = sp.Symbol("V", positive=True)
    assert far_out(v + sp.exp(2 * v) * sp.erfc(sp.sqrt(2 * v)), v) is None  # oo - oo was compared with powers
    assert far_out(v**2 * sp.exp(-v) + v, v) == (1, 1)
