"""Every recipe in every regime says whether its limit exists, is unique and explodes; flows explode when it says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import sympy as sp

from derivations import (
    MLP,
    RECIPES,
    AttentionBlock,
    ConvBlock,
    ConvResNet,
    DerivationError,
    GatedBlock,
    MLPBlock,
    Network,
    PreNormResNet,
    ResNet,
    ShapedAttention,
    ShapedMLP,
    ShrinkingResNet,
    TransformerBlock,
    Weights,
    derive,
    epsilon,
    gelu,
    identity,
    mixed,
    relu,
    sigmoid,
    silu,
    symbols,
    tanh,
)
from derivations.existence.layers import added_degree
from derivations.symbols import state
from derivations.symbols import width as n
from numerics import count_outcomes, simulate_sde, solve_flow

x = symbols.state
HALF = sp.Rational(1, 2)
YES = ("yes", "cannot")

#: Of each recipe's example, in each regime that it has a limit in: whether it is unique, and whether it explodes.
SAID = {
    ResNet: {"depth": YES, "width": YES, "joint": YES},
    ShrinkingResNet: {"depth": YES, "width": YES, "joint": YES},
    ConvResNet: {"depth": YES, "width": YES, "joint": YES},
    MLP: {"joint": YES},
    ShapedMLP: {"joint": YES},
    PreNormResNet: {"depth": YES, "width": YES, "joint": YES},
    MLPBlock: {"depth": YES, "width": YES, "joint": YES},
    GatedBlock: {"depth": YES, "width": ("yes", "can"), "joint": ("yes", "can")},
    ConvBlock: {"depth": YES, "width": YES, "joint": YES},
    AttentionBlock: {"depth": YES, "width": YES},
    TransformerBlock: {"depth": YES, "width": YES},
    ShapedAttention: {"joint": YES},
    Network: {"depth": YES, "width": YES, "joint": YES},
}


def _at(recipe, order):
    return replace(recipe, width={"depth": recipe.width, "width": sp.oo, "joint": n}[order])


#: Which take longer than the others.
LONG = (AttentionBlock, ConvBlock, ConvResNet, GatedBlock, MLP, ShapedAttention, ShrinkingResNet, TransformerBlock)


@pytest.mark.slow
@pytest.mark.parametrize(
    "recipe",
    [pytest.param(r, marks=[pytest.mark.slow] if r in LONG else []) for r in RECIPES],
    ids=lambda recipe: recipe.__name__,
)
def test_every_recipe_in_every_regime(recipe):
    for order in ("depth", "width", "joint"):
        net = _at(recipe.example(), order)
        if order not in SAID[recipe]:
            with pytest.raises(DerivationError):
                derive(net, order=order)
            continue
        found = derive(net, order=order).existence
        assert (found.unique, found.explodes) == SAID[recipe][order]
        assert all(found.reasons)


FLOWS = {
    "ReGLU": (GatedBlock(relu, width=sp.oo), "can"),
    "SwiGLU of two inputs": (GatedBlock(silu, width=sp.oo, inputs=2), "can"),
    "GEGLU": (GatedBlock(gelu, width=sp.oo), "can"),
    "GLU": (GatedBlock(sigmoid, width=sp.oo), "cannot"),
    "SwiGLU after a norm": (GatedBlock(silu, width=sp.oo, inputs=2, norm="rms"), "cannot"),
    "before a norm": (GatedBlock(relu, width=sp.oo, norm="rms", place="post"), "cannot"),
    "square": (ResNet(x**2, width=sp.oo), "can"),
    "exponential": (ResNet(sp.exp(x), width=sp.oo), "can"),
    "root of a square": (ResNet(sp.sqrt(1 + x**2), width=sp.oo), "cannot"),
    "linear attention": (AttentionBlock(width=sp.oo, kind="linear"), "can"),
    "linear, masked": (AttentionBlock(width=sp.oo, kind="linear", masked=True), "can"),
    "linear, dropout": (AttentionBlock(width=sp.oo, kind="linear", keep=HALF), "can"),
    "linear after a norm": (AttentionBlock(width=sp.oo, kind="linear", norm="rms"), "cannot"),
    "softmax": (AttentionBlock(width=sp.oo), "cannot"),
    # M' = K/4 and K' = K M/2 + K/4, so that K = M² + M + c and M obeys a Riccati equation
    "means that grow together": (ShrinkingResNet(silu, identity, width=sp.oo), "can"),
    "curved around a bounded one": (ShrinkingResNet(silu, tanh, width=sp.oo, weight_mean=1), "cannot"),
}


A = Weights("A", variance=1 + symbols.time)
FLOWS |= {
    "variance of depth": (Network(lambda x: x + epsilon * A(relu(x)), width=sp.oo), "cannot"),
    "variance with a pole": (
        Network(lambda x: x + epsilon * Weights("A", variance=1 / (2 - symbols.time) ** 2)(relu(x)), width=sp.oo),
        "not known",
    ),
    "tied": (Network(lambda x: x - epsilon**2 * Weights("B").T(tanh(Weights("B")(x))), width=sp.oo), "cannot"),
    "three factors": (
        Network(lambda x: x + epsilon * Weights("B")(Weights("C")(x) * Weights("D")(x) * Weights("E")(x)), width=sp.oo),
        "can",
    ),
    "a factor of another position": (
        Network(lambda x: x + epsilon * Weights("B")(mixed([[0, 1], [1, 0]], x) * x), width=sp.oo, positions=2),
        "can",
    ),
    "a logarithm between": (ResNet(x * sp.log(1 + x**2), width=sp.oo), "not known"),
    "cubic": (ResNet(x**3 + x + 1, width=sp.oo), "can"),
}


@pytest.mark.parametrize("name", FLOWS)
def test_flows(name):
    recipe, explodes = FLOWS[name]
    assert derive(recipe).existence.explodes == explodes


@pytest.mark.parametrize(
    ("recipe", "start", "time"),
    [
        (GatedBlock(relu, width=sp.oo), 3, sp.Rational(2, 3)),
        (GatedBlock(relu, width=sp.oo, bias_variance=1), 1, sp.sqrt(2) * (sp.pi / 2 - sp.atan(sp.sqrt(2)))),
        (ResNet(x**2, width=sp.oo), 2, sp.Rational(1, 6)),
        (ResNet(x**3, width=sp.oo), 1, sp.Rational(1, 30)),
        (ResNet(x**2 + x, width=sp.oo), 1, sp.log(sp.Rational(4, 3))),
    ],
    ids=["gate", "gate with biases", "square", "cube", "square and linear"],
)
def test_a_flow_explodes_at_the_time_that_is_said(recipe, start, time):
    d = derive(recipe)
    said = d.existence.explosion_time.subs(sp.Symbol("K_0", positive=True), start)
    assert abs(float(said - time)) < 1e-12
    # f ~ c K^p leaves K^(1-p)/((p-1)c) before the end, whatever the way there
    left = [
        solve_flow(d.limit, start, t=share * float(said), rtol=1e-9)(share * float(said))[0] for share in (0.9, 0.99)
    ]
    (s,) = d.limit.states
    p = sp.degree(d.limit.drift[0], s)
    assert left[1] / left[0] == pytest.approx(10 ** (1 / (int(p) - 1)), rel=0.2)
    assert np.all(np.isfinite(left))


@pytest.mark.slow
def test_a_finite_gate_explodes_from_three_neurons_on():
    # the squared norm's scale has the density V^(-n/2)
    assert [derive(GatedBlock(silu, width=k)).existence.explodes for k in (1, 2, 3, 4)] == [
        "cannot",
        "cannot",
        "can",
        "can",
    ]
    assert "explodes if" in derive(GatedBlock(silu, width=n)).existence.reasons[1]
    assert derive(GatedBlock(silu, width=4, norm="rms")).existence.explodes == "cannot"


@pytest.mark.slow
def test_the_norm_of_a_shaped_network_decides():
    said = {a: derive(ShapedMLP(a, a=1, inputs=2)).existence.explodes for a in (silu, tanh)}
    assert said == {silu: "can", tanh: "cannot"}


@pytest.mark.slow
def test_more_positions_than_are_looked_at_are_said():
    found = derive(AttentionBlock(width=2, positions=9, size=2, kind="linear")).existence
    assert "more than 8 positions" in found.reasons[1]
    assert found.explodes == "not known"


@pytest.mark.slow
@pytest.mark.parametrize(("width", "inputs"), [(2, 1), (n, 2)], ids=["2", "n"])
def test_what_grows_at_most_linearly_does_not_explode_at_a_fixed_width(width, inputs):
    from derivations import layer_norm, rms_norm

    A, B = Weights("A"), Weights("B")
    for body in (relu(rms_norm(state)), tanh(layer_norm(state)), relu(layer_norm(state)) * tanh(B(state))):
        found = derive(Network(state + epsilon * A(body), width=width, inputs=inputs)).existence
        assert (found.exists, found.unique, found.explodes) == ("yes", "yes", "cannot")
        assert "until a norm is 0" in found.reasons[0]
    coupled = derive(MLPBlock(relu, width=width, weight_mean=1, output_mean=1)).existence
    assert (coupled.unique, coupled.explodes) == ("yes", "cannot")
    # a norm that does not divide by what it is taken of bounds nothing, and a root at 0 is not Lipschitz
    quadratic = derive(Network(state + epsilon * A(state * rms_norm(state)), width=3)).existence
    assert quadratic.explodes == "not known"
    rough = derive(Network(state + epsilon * A(sp.sqrt(sp.Abs(rms_norm(state)))), width=width, inputs=inputs)).existence
    assert rough.unique == "not known"


#: What is said of an explosion, and whether of 100 paths some explode, and some are absorbed, by a time. Where the noise grows faster than
#: linearly and the process cannot explode, it comes back from beyond the doubles, and paths say nothing.
PATHS = {
    "tanh": (ResNet(tanh, width=1), "cannot", False, False),
    "a root": (ResNet(sp.sqrt(sp.Abs(x)), width=1), "cannot", False, False),
    "a cube root on one side": (ResNet(sp.Max(x, 0) ** sp.Rational(1, 3), width=1), "cannot", False, True),
    "SiLU, 3 neurons": (ResNet(silu, width=3), "cannot", False, False),
    "a square, 3 neurons": (ResNet(x**2, width=3), "can", True, False),
    "a cube, 3 neurons": (ResNet(x**3, width=3), "can", True, False),
    "ReGLU, 4 neurons": (GatedBlock(relu, width=4), "can", True, False),
    "GLU, 4 neurons": (GatedBlock(sigmoid, width=4), "cannot", False, False),
    "a norm before it": (GatedBlock(silu, width=4, norm="rms"), "cannot", False, False),
    "two squares": (MLPBlock(x**2, width=3), "can", True, False),
    "means": (MLPBlock(relu, width=2, weight_mean=1, output_mean=1), "cannot", False, False),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", PATHS)
@pytest.mark.filterwarnings("ignore::numerics.ExplosionWarning")
def test_paths_explode_where_that_is_said(name):
    recipe, says, explode, rest = PATHS[name]
    d = derive(recipe)
    assert d.existence.explodes == says
    states = simulate_sde(d.limit, 1.5, t=4.0, steps=300, samples=100, seed=1)
    seen = count_outcomes(d, states)
    assert not np.isnan(states).any()
    assert (seen.exploded > 10, seen.exploded == 0) == (explode, not explode)
    assert seen.failed == 0
    assert (seen.absorbed > 0) == rest


def test_matrices_that_read_the_same_do_not_cancel():
    A, B = Weights("A"), Weights("B")
    apart = Network(lambda x: x + epsilon * (A(x**3) - B(x**3)), width=3)
    assert derive(apart).existence.explodes == "can"  # like one matrix of twice the variance
    assert derive(apart).existence.explodes == derive(ResNet(x**3, width=3)).existence.explodes
    assert derive(Network(lambda x: x + epsilon * (A(x) - B(x)), width=3)).existence.explodes == "cannot"


def test_what_a_softmax_mixes_grows_like_what_it_reads():
    softmax, linear = (AttentionBlock(width=3, positions=3, kind=kind).program() for kind in ("softmax", "linear"))
    assert added_degree(softmax) == 1
    assert added_degree(linear) == 3
