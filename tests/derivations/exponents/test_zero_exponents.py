r"""Exponents at which a regime ends: 0 of a branch, of a mean that only spreads, and of the width; and what is said of widths.

Shaped attention against networks drawn here, which share nothing with the engine: a layer :math:`\sqrt{1-\varepsilon^2}\,X + \varepsilon\,W m` with m
close to X multiplies the mean square by :math:`1 + 2\varepsilon\sqrt{1-\varepsilon^2}\,g + \varepsilon^2 g'`, g of variance 1/n and g' of 2/n. So the
variance of its logarithm is :math:`(4\varepsilon^2(1-\varepsilon^2) + 2\varepsilon^4)/n`: to first order
:math:`4\varepsilon^2/n` where the branch is small, and 2/n where it is all.
"""

import numpy as np
import pytest
import sympy as sp

from derivations import (
    MLP,
    DerivationError,
    GatedBlock,
    MLPBlock,
    PreNormResNet,
    ResNet,
    ShapedAttention,
    relu,
    scalings,
    silu,
    symbols,
    tanh,
)

n = symbols.width
p, q, mean = (sp.Symbol(name, real=True) for name in ("p", "q", "p_mu_A"))
HALF, QUARTER = sp.Rational(1, 2), sp.Rational(1, 4)
SIGMAS = 4.0


def said(made):
    return " ".join(str(made).split())


def above(x, value):
    return sp.StrictGreaterThan(x, value, evaluate=False)


def test_a_branch_of_order_one_is_not_in_the_regime_of_small_ones():
    made = scalings(ShapedAttention(width=8))
    (regime,) = made.regimes
    assert set(regime.conditions) == {
        sp.Eq(p, HALF - q / 2),
        sp.StrictLessThan(q, 1, evaluate=False),
        above(q, 0),
    }
    assert regime.example[p] > 0
    assert made.at(regime.example).regime == regime
    assert made.at().kind == "limit"
    assert made.at().regime is None
    assert made.at({p: 0}).kind == "not continuous"  # at other exponents than its own nothing was derived
    assert "depth and width together have a limit, which derive(net) gives" in said(made)
    assert "replaces its state" not in said(made)


@pytest.mark.parametrize("skip", [0, HALF])
def test_shaped_attention_does_not_settle_in_finitely_many_layers(skip):
    assert "finitely many layers" not in said(scalings(ShapedAttention(width=n, skip=skip)))


@pytest.mark.parametrize("net", [MLP(relu), PreNormResNet(relu)], ids=lambda net: type(net).__name__)
def test_a_width_that_grows_has_an_exponent_above_0(net):
    made = scalings(net)
    (regime,) = made.regimes
    assert set(regime.conditions) == {sp.Eq(p, HALF), above(q, 0)}  # at q = 0 the noise of order ε²/n is as large
    assert "In the covariance: none but smaller ones, with a factor 1/n." in said(made)
    with pytest.raises(DerivationError, match="its exponent q is above 0, got 0; ask scalings with order='depth'"):
        made.at({p: HALF, q: 0})


def test_a_mean_that_only_spreads_has_an_exponent_above_0():
    (regime,) = scalings(GatedBlock(silu, width=2)).regimes
    assert set(regime.conditions) == {sp.Eq(p, HALF), above(mean, 0)}
    assert regime.example[mean] > 0
    last = scalings(MLPBlock(relu, width=4)).regimes[-1]
    assert last.kind == "drift only"
    assert last.example == {p: 1, mean: 0}


def test_a_width_that_is_not_used_is_said():
    joint = scalings(MLP(relu, width=8))
    assert joint.title == "Scalings of MLP, a width that grows with the depth"
    assert "the network's own, 8, is not used. For a width that stays, ask with order='depth'" in said(joint)
    fixed = scalings(MLP(relu, width=8), order="depth")
    assert fixed.title == "Scalings of MLP, width 8"
    assert "is not used" not in said(fixed)
    assert "is not used" not in said(scalings(MLP(relu)))
    wide = scalings(ResNet(relu, width=3), order="width")
    assert wide.title == "Scalings of ResNet, infinite width"
    assert "The width is infinite here, and the network's own, 3, is not used." in said(wide)


def test_a_perceptron_of_relu_has_a_limit_of_depth_and_width_and_one_of_tanh_has_none():
    assert "no limit in depth alone. Depth and width together have one: derive(net) gives it" in said(
        scalings(MLP(relu))
    )
    assert "Depth and width together" not in said(scalings(MLP(tanh)))


def test_what_is_said_of_mean_squares_says_of_which_widths():
    said_of = {
        "joint": "the mean squares of neurons stay, and the correlations of inputs are after a vanishing share of the layers what they become in a "
        "long time. This is said of widths that grow faster than that time.",
        "depth": "This is said of infinite width; at a fixed one noise moves the mean square of each network too.",
    }
    for order, words in said_of.items():
        assert words in said(scalings(MLP(relu, width=8), order=order))
    wide = said(scalings(MLP(relu, width=8), order="width"))
    assert "the mean squares of neurons stay" in wide
    assert "This is said of" not in wide
    kept = said(scalings(MLPBlock(relu, width=4, norm="rms", place="post")))
    assert "the mean squares of neurons stay" in kept
    assert "This is said of" not in kept


@pytest.mark.parametrize("width", [1, 3])
def test_means_through_an_odd_function_move_neurons_that_are_not_centred(width):
    made = scalings(ResNet(tanh, width=width))
    kinds = {r.kind: made.long_run((*r.drift, *r.noise)) for r in made.regimes}
    assert kinds["drift only"] is None
    assert kinds["drift and noise"] is None
    assert kinds["noise only"].power == 0
    x = 1.0
    for _ in range(20_000):
        x += 1e-3 * np.tanh(x)
    assert x > 15


def logs(epsilon, width, depth, samples, rng):
    """The logarithm of the mean square behind shaped attention between two positions, temperature 4√n, by weights drawn here."""

    def applied(x):
        return np.einsum("sij,saj->sai", rng.standard_normal((samples, width, width)) / np.sqrt(width), x)

    x = rng.standard_normal((samples, 2, width))
    x *= 1 / np.sqrt((x**2).mean(axis=-1, keepdims=True))
    for _ in range(depth):
        scores = np.einsum("sai,sbi->sab", applied(x), applied(x)) / (4 * width)
        share = np.exp(scores)
        share /= share.sum(axis=-1, keepdims=True)
        x = np.sqrt(1 - epsilon**2) * x + epsilon * applied(np.einsum("sab,sbi->sai", np.eye(2) + share - 0.5, x))
    return np.log((x[:, 0] ** 2).mean(axis=-1))


@pytest.mark.slow
@pytest.mark.parametrize("depth", [16, 32, 64])
def test_the_noise_of_shaped_attention_by_networks(depth):
    made, samples = scalings(ShapedAttention(width=n, temperature=4)), 1000
    derived = {entry.subs({s: 1 for s in entry.free_symbols}) for entry in (made.terms.noise[2, 1][0],)}
    assert derived == {4}
    rng, width = np.random.default_rng(depth), int(4 * depth**0.5)
    for epsilon, wide, one, wrong in ((0.9 * depth**-0.25, width, 4, 2), (1.0, 32, 2, 4)):
        time = depth * epsilon**2 / wide
        seen = logs(epsilon, wide, depth, samples, rng).var()
        error = SIGMAS * np.sqrt(2 / samples) + 2 / wide  # that of a variance, and of a logarithm at the next order
        exact = (4 * (1 - epsilon**2) + 2 * epsilon**2) * time
        assert abs(seen / exact - 1) < error, (epsilon, seen, exact)
        assert abs(seen / (wrong * time) - 1) > error, (epsilon, seen, one)
