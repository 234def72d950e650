"""The readout's law of every recipe in every regime: that of readouts of networks written out in NumPy, or refused with a reason."""

from __future__ import annotations

import math

import numpy as np
import pytest
import sympy as sp
from scipy import stats
from scipy.special import expit, ndtr

from derivations import (
    MLP,
    RECIPES,
    AttentionBlock,
    ConvBlock,
    ConvResNet,
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
    relu,
    silu,
    symbols,
    tanh,
)
from numerics import output_law

n, oo = symbols.width, sp.oo
#: From the name to the order of the limit and the width.
REGIMES = {
    "width 3": ("depth", 3),
    "width n": ("depth", n),
    "infinite width": ("width", oo),
    "depth and width": ("joint", n),
}
RECIPE = {
    "ResNet": lambda **k: ResNet(tanh, **k),
    "ShrinkingResNet": lambda **k: ShrinkingResNet(tanh, tanh, **k),
    "ConvResNet": lambda **k: ConvResNet(tanh, identity, positions=(3,), filter=(3,), **k),
    "MLP": lambda **k: MLP(relu, **k),
    "ShapedMLP": lambda **k: ShapedMLP(relu, c_plus=0, c_minus=-1, **k),
    "PreNormResNet": lambda **k: PreNormResNet(tanh, **k),
    "MLPBlock": lambda **k: MLPBlock(relu, **k),
    "post-norm": lambda **k: MLPBlock(gelu, norm="rms", place="post", **k),
    "GatedBlock": lambda **k: GatedBlock(silu, norm="rms", **k),
    "ConvBlock": lambda **k: ConvBlock(gelu, positions=(3,), filter=(3,), **k),
    "AttentionBlock": lambda **k: AttentionBlock(kind="linear", norm="rms", **k),
    "TransformerBlock": lambda **k: TransformerBlock(kind="linear", **k),
    "ShapedAttention": lambda **k: ShapedAttention(temperature=3, **k),
    "Network": lambda **k: Network(lambda x: x + epsilon * Weights("A")(sp.Abs(Weights("B")(x))), **k),
}
CONTINUOUS = "does not become continuous in depth"
NUMBER = "derive the network at a width that is a number|derive it with numbers in their place"
AVERAGES = "derived for averages, got a normalised sum"
#: The reasons of the cells that have no law.
REASONS = {
    ("MLP", "width 3"): CONTINUOUS,
    ("MLP", "width n"): CONTINUOUS,
    ("MLP", "infinite width"): CONTINUOUS,
    ("ShapedMLP", "width 3"): CONTINUOUS,
    ("ShapedMLP", "width n"): CONTINUOUS,
    ("ShapedMLP", "infinite width"): CONTINUOUS,
    ("ShapedAttention", "width 3"): CONTINUOUS,
    ("ShapedAttention", "width n"): CONTINUOUS,
    ("ShapedAttention", "infinite width"): CONTINUOUS,
    ("AttentionBlock", "depth and width"): AVERAGES,
    ("TransformerBlock", "depth and width"): AVERAGES,
    ("post-norm", "width n"): "the Gram matrix of one input is fixed by every layer",
    ("post-norm", "infinite width"): "nothing moves: every layer fixes the norm",
    ("post-norm", "depth and width"): "keep it there, so nothing of one input moves with depth",
    **{
        (name, "width n"): NUMBER for name in RECIPE if name not in ("MLP", "ShapedMLP", "ShapedAttention", "post-norm")
    },
}


def through(rng, body, out):
    """A random matrix on neurons (samples, neurons, positions): given these its rows are Gaussian with their second moments."""
    second = np.einsum("ska,skb->sab", body, body) / body.shape[1]
    root = np.linalg.cholesky(second + 1e-12 * np.eye(second.shape[1]))
    return np.einsum("sab,sib->sia", root, rng.standard_normal((len(body), out, second.shape[1])))


def filtered(rng, body, out):
    """A filter of three places on a ring."""
    return through(rng, np.concatenate([np.roll(body, s, axis=2) for s in (-1, 0, 1)], axis=1), out)


def normed(x):
    return x / np.sqrt((x**2).mean(axis=1, keepdims=True))


def gelu_of(u):
    return u * ndtr(u)


def attended(rng, x):
    """Linear attention: scores QᵀK over the root of the width."""
    width = x.shape[1]
    queries, keys, values = (through(rng, x, width) for _ in range(3))
    scores = np.einsum("ska,skb->sab", queries, keys) / math.sqrt(width)
    return through(rng, np.einsum("sab,skb->ska", scores, values), width)


def mlp(rng, x, phi, hidden=4):
    return through(rng, phi(through(rng, x, hidden * x.shape[1])), x.shape[1])


def shaped_attended(rng, x):
    """Attention that is the identity but for the softmax of scores over three roots of the width, less its mean."""
    queries, keys = (through(rng, x, x.shape[1]) for _ in range(2))
    scores = np.exp(np.einsum("ska,skb->sab", queries, keys) / (3 * x.shape[1]))
    mixing = np.eye(x.shape[2]) + scores / scores.sum(axis=2, keepdims=True) - 1 / x.shape[2]
    return through(rng, np.einsum("sab,skb->ska", mixing, x), x.shape[1])


#: One layer: from (random numbers, state, ε) to the new state.
LAYER = {
    "ResNet": lambda r, x, e: x + e * through(r, np.tanh(x), x.shape[1]),
    "ShrinkingResNet": lambda r, x, e: x + np.tanh(e * through(r, np.tanh(x), x.shape[1])),
    "ConvResNet": lambda r, x, e: x + np.tanh(e * filtered(r, x, x.shape[1])),
    "PreNormResNet": lambda r, x, e: x + e * through(r, np.tanh(normed(x)), x.shape[1]),
    "MLPBlock": lambda r, x, e: x + e * mlp(r, x, lambda u: np.maximum(u, 0)),
    "post-norm": lambda r, x, e: normed(x + e * mlp(r, x, gelu_of)),
    "GatedBlock": lambda r, x, e: x + e * gated(r, normed(x)),
    "ConvBlock": lambda r, x, e: x + e * filtered(r, gelu_of(filtered(r, x, 4 * x.shape[1])), x.shape[1]),
    "AttentionBlock": lambda r, x, e: x + e * attended(r, normed(x)),
    "TransformerBlock": lambda r, x, e: halves(r, x, e),
    "Network": lambda r, x, e: x + e * mlp(r, x, np.abs, 1),
    "ShapedAttention": lambda r, x, e: shaped_attended(r, x),
    "MLP": lambda r, x, e: through(r, math.sqrt(2) * np.maximum(x, 0), x.shape[1]),
    "ShapedMLP": lambda r, x, e: shaped(r, x),
}


def gated(rng, x):
    gate, value = (through(rng, x, 4 * x.shape[1]) for _ in range(2))
    return through(rng, gate * expit(gate) * value, x.shape[1])


def halves(rng, x, e):
    y = x + e * attended(rng, normed(x))
    return y + e * mlp(rng, normed(y), gelu_of)


def shaped(rng, x):
    """Slopes 1 and 1 − n^(−1/2), and the gain that keeps the mean square."""
    slope = 1 - 1 / math.sqrt(x.shape[1])
    return through(rng, math.sqrt(2 / (1 + slope**2)) * np.where(x > 0, x, slope * x), x.shape[1])


WIDE, SAMPLES = 50, 2000
CELLS = [(name, regime) for name in RECIPE for regime in REGIMES]


def test_every_recipe_is_in_the_table():
    assert {type(make(width=3)).__name__ for make in RECIPE.values()} == {recipe.__name__ for recipe in RECIPES}


def time_of(name):
    """Norms of shaped attention explode with a probability that grows with the time."""
    return 0.3 if name == "ShapedAttention" else 0.6


def law(name, regime):
    order, width = REGIMES[regime]
    d = derive(RECIPE[name](width=width), order=order)
    return output_law(d, x0=start(name, width), t=time_of(name), samples=SAMPLES, steps=60, seed=1)


def start(name, width):
    """Neurons that look Gaussian, of mean square 1, and positions that are not alike."""
    count = 3 if width == 3 else WIDE
    places = {"ConvResNet": 3, "ConvBlock": 3, "AttentionBlock": 2, "TransformerBlock": 2, "ShapedAttention": 2}.get(
        name, 1
    )
    x = (
        np.random.default_rng(3).standard_normal((count, places))
        if count > 3
        else np.array([[1.0, 0.4, 0.9], [-0.7, 0.9, -0.3], [0.8, -1.0, 0.2]])[:, :places]
    )
    return x / np.sqrt((x**2).mean(axis=0))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "regime"), CELLS)
def test_the_law_is_that_of_readouts_of_networks_or_refused(name, regime):
    if (name, regime) in REASONS:
        with pytest.raises(ValueError, match=REASONS[name, regime]):
            law(name, regime)
        return
    f = law(name, regime)
    probabilities = np.array([0.1, 0.5, 0.9])
    assert f.cdf(f.ppf(probabilities)) == pytest.approx(probabilities, abs=1e-6)
    assert f.pdf(0.3) == pytest.approx((f.cdf(0.3005) - f.cdf(0.2995)) / 1e-3, rel=1e-4)
    assert f.sf(1.0) + f.cdf(1.0) == pytest.approx(1)
    assert f.moment(2) == pytest.approx(f.var())
    assert f.moment(4) >= 3 * f.moment(2) ** 2 * (1 - 1e-9)  # a Gaussian mixture
    x = start(name, REGIMES[regime][1])
    layers = round(time_of(name) * WIDE) if regime == "depth and width" else 20 if REGIMES[regime][1] == oo else 40
    ended = network(name, x, layers)
    w = np.random.default_rng(5).standard_normal((SAMPLES, len(x)))
    readouts = (ended[:, :, 0] * w).sum(axis=1) / math.sqrt(len(x))
    # Kolmogorov's distance: sampling, the law's own error, the depth where it is not tied to the width, and the width where that grows
    size = (0.0 if len(x) == 3 else 1 / WIDE) + (0.0 if regime == "depth and width" else 0.4 / layers)
    bound = 1.63 / math.sqrt(SAMPLES) + 2 * f.error + size
    assert stats.kstest(readouts, f.cdf).statistic < bound
    assert stats.kstest(1.5 * readouts, f.cdf).statistic > bound


def network(name, x, layers):
    rng, state = np.random.default_rng(4), np.repeat(x[None], SAMPLES, axis=0)
    for _ in range(layers):
        state = LAYER[name](rng, state, math.sqrt(time_of(name) / layers))
    return state
