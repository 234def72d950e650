"""Derivations stay within the seconds that the benchmark names, in CPU seconds of a yardstick beside each."""

import pytest
import sympy as sp

from derivations import (
    AttentionBlock,
    ConvBlock,
    GatedBlock,
    MLPBlock,
    Network,
    ShapedAttention,
    TransformerBlock,
    derive,
    gelu,
    relu,
    silu,
    symbols,
)
from derivations.kernels import ntk
from derivations.language import parse_layer
from tests.benchmarks.bench_derivations import MEANS, seconds, with_gram

n = symbols.width


def printed(recipe):
    """A derivation with its text and its LaTeX."""
    d = derive(recipe)
    assert min(len(str(d)), len(d.latex())) > 1000


#: What took from 3 s to minutes; twice the limit, since a machine's CPU seconds differ by as much from minute to minute.
SLOWEST = {
    "layer norm over 16 inputs": (2, lambda: with_gram(MLPBlock(relu, width=n, inputs=16, norm="layer"), "depth")),
    "last layer norm": (2, lambda: with_gram(GatedBlock(relu, width=3, inputs=2, norm="layer", place="post"), "depth")),
    "all neurons of 16 inputs": (
        2,
        lambda: with_gram(MLPBlock(relu, width=3, inputs=16, norm="rms", place="post"), "depth"),
    ),
    "filters over 16 positions": (2, lambda: with_gram(ConvBlock(relu, width=sp.oo, positions=16, filter=3), "width")),
    "filters with borders": (2, lambda: with_gram(ConvBlock(gelu, width=sp.oo, positions=8, circular=False), "width")),
    "GPT-2's block": (
        2,
        lambda: with_gram(
            TransformerBlock(width=sp.oo, activation=gelu, positions=4, norm="layer", masked=True, heads=2), "width"
        ),
    ),
    "16 inputs of gelu, printed": (4, lambda: printed(MLPBlock(gelu, width=n, inputs=16))),
    "linear attention, two texts": (
        2,
        lambda: with_gram(AttentionBlock(width=2, inputs=2, kind="linear", norm="rms"), "depth"),
    ),
    "shaped attention, two texts": (2, lambda: with_gram(ShapedAttention(width=n, positions=2, inputs=2), "joint")),
    "transformer over 16 tokens": (
        10,
        lambda: with_gram(TransformerBlock(width=sp.oo, activation=relu, positions=16), "width"),
    ),
    "linear attention over 16 tokens, printed": (
        4,
        lambda: printed(AttentionBlock(width=sp.oo, positions=16, kind="linear")),
    ),
    # its covariance is looked at in points, of which those where the mean is over a wide law would take 12 s
    "means over wide laws": (
        1,
        lambda: derive(Network(parse_layer("x + eps*A(tanh(B(x**8)))"), width=1, inputs=2)).limit.covariance,
    ),
    "gate with means": (1, lambda: with_gram(GatedBlock(silu, width=sp.oo, inputs=2, **MEANS), "width")),
    "post-norm transformer of 3 tokens": (
        1.5,
        lambda: with_gram(TransformerBlock(width=n, activation=relu, positions=3, place="post"), "depth"),
    ),
    "tangent kernel of a gate": (1, lambda: ntk(GatedBlock(silu, width=sp.oo, inputs=2))),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOWEST)
def test_derivations_stay_within_their_seconds(name):
    limit, work = SLOWEST[name]
    assert seconds(work) <= 2 * limit
