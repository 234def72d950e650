"""Shaping as a value of the activation: the same limits as the recipe's own arguments, in every recipe that can use it."""

import pytest
import sympy as sp

from derivations import (
    MLP,
    ConvResNet,
    DerivationError,
    GatedBlock,
    MLPBlock,
    Network,
    NoLimit,
    PreNormResNet,
    Regime,
    ResNet,
    ShapedMLP,
    ShrinkingResNet,
    Weights,
    identity,
    joint_limit,
    relu,
    shaped,
    shaped_slopes,
    shaped_smooth,
    silu,
    tanh,
)

HALF = sp.Rational(1, 2)


@pytest.mark.parametrize(
    ("activation", "arguments"),
    [
        (relu, {"c_plus": 0, "c_minus": -1}),
        (relu, {"c_plus": 1, "c_minus": -HALF, "rate": (HALF, 1)}),
        (silu, {"a": 2}),
    ],
    ids=["slopes", "two rates", "zoom"],
)
def test_a_shaped_activation_is_the_arguments_of_the_recipe(activation, arguments):
    said = ShapedMLP(activation, **arguments)
    value = shaped(activation, **arguments)
    assert joint_limit(MLP(value)) == joint_limit(said) == joint_limit(ShapedMLP(value))
    assert MLP(value, width=100).regime.values == said.regime.at(100).values


def test_a_network_takes_a_shaped_activation_with_its_rates():
    value = shaped_slopes(0, -1)
    # E φ² = (1 + (1 - ε)²)/2, so the critical variance is its inverse
    small = value.rates[0][0]
    W = Weights("W", variance=2 / (1 + (1 - small) ** 2))
    said = Network(
        lambda x: W(value(x)),
        width=sp.Symbol("n", integer=True, positive=True),
        inputs=2,
        regime=Regime(value.rates, 1),
    )
    assert joint_limit(said).drift == joint_limit(ShapedMLP(relu, c_plus=0, c_minus=-1, inputs=2)).drift
    slow = shaped_slopes(1, 1, rate=(HALF, 1))
    with pytest.raises(
        DerivationError, match=r"symbol varepsilon_- is neither the state x, .* nor a declared parameter"
    ):
        Network(lambda x: W(slow(x)), width=3, regime=Regime(depth=1))


@pytest.mark.parametrize("rate", [HALF, sp.Rational(1, 4)])
def test_before_a_small_branch_a_shaped_activation_is_its_slope(rate):
    """The branch is of the size of the noise, so that only φ'(0) = 1 is seen, at any rate of the shaping."""
    plain = joint_limit(PreNormResNet(identity, inputs=2))
    found = joint_limit(PreNormResNet(shaped_smooth(tanh, 1, rate=rate), inputs=2))
    assert (found.drift, found.covariance) == (plain.drift, plain.covariance)


@pytest.mark.parametrize(
    "make",
    [
        lambda a: ResNet(a, width=3),
        lambda a: ShrinkingResNet(tanh, a, width=3),
        lambda a: ShrinkingResNet(a, tanh, width=3),
        lambda a: ConvResNet(tanh, a, width=3, positions=(3,), filter=(3,)),
        lambda a: MLPBlock(a, width=3),
        lambda a: GatedBlock(a, width=3),
    ],
    ids=["resnet", "shrinking", "outer", "conv", "mlp-block", "gated-block"],
)
def test_recipes_whose_depth_grows_alone_refuse_it(make):
    for value in (shaped_slopes(0, -1), shaped_smooth(tanh, 1)):
        with pytest.raises(DerivationError, match="tends to a linear function as the width grows, and here the depth"):
            make(value)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: shaped(relu), "needs either c_plus and c_minus"),
        (lambda: shaped(relu, c_plus=1), "needs either c_plus and c_minus"),
        (lambda: shaped(tanh, c_plus=1, c_minus=0, a=1), "needs either c_plus and c_minus"),
        (lambda: shaped(tanh, c_plus=1, c_minus=0), "two slopes and its kink at 0"),
        (lambda: shaped(shaped_slopes(0, 1), a=1), "needs either"),
        (lambda: shaped(relu, a=1), "has a kink at 0"),
        (lambda: shaped(tanh, a=-1), "needs a > 0"),
        (lambda: shaped(tanh, a=1, rate=0), "rates must be positive, one for a zoom"),
        (lambda: shaped(tanh, a=1, rate=(1, 1)), "rates must be positive, one for a zoom"),
        (lambda: shaped(relu, c_plus=0, c_minus=1, rate=(1, -1)), "one for both slopes or a pair for two"),
    ],
)
def test_what_is_no_shaping_is_refused(make, says):
    with pytest.raises(DerivationError, match=says):
        make()


def test_a_zoom_into_a_slope_of_0_has_no_limit():
    with pytest.raises(NoLimit, match="slope 0 at 0"):
        shaped_smooth(MLP(sp.cos(sp.Symbol("x", real=True)) - 1).activation, 1)
