"""Every kind of block with every option: one layer of weights drawn by hand has the derived drift and covariance, or it is refused with its reason."""

from __future__ import annotations

import numpy as np
import pytest

from derivations import (
    RECIPES,
    AttentionBlock,
    ConvBlock,
    DerivationError,
    GatedBlock,
    MLPBlock,
    TransformerBlock,
    identity,
)
from derivations.architectures.branch import Block
from tests.drawn_blocks import DrawnBlock, distances
from tests.numerics.networks.test_block_options import HALF, PAIR, SIZE, _derived, _start

LINEAR = {"size": 2, "kind": "linear"}
BLOCKS = {
    "mlp": lambda wide=2, **o: MLPBlock(identity, width=2, hidden=wide, **o),
    "gate": lambda wide=2, **o: GatedBlock(identity, width=2, hidden=wide, **o),
    "filters": lambda wide=2, **o: ConvBlock(identity, width=2, positions=(2,), filter=(1,), hidden=wide, **o),
    "linear attention": lambda wide=2, **o: AttentionBlock(width=2, value_size=wide, **LINEAR, **o),
    "softmax": lambda wide=2, **o: AttentionBlock(width=2, size=wide, value_size=2, **o),
    "transformer": lambda wide=2, norm="none", **o: TransformerBlock(
        width=2, activation=identity, value_size=2, hidden=wide, norm=norm, **LINEAR, **o
    ),
}
OPTIONS = {
    "biases": {"bias_variance": HALF},
    "means": {"weight_mean": HALF, "output_mean": 1},
    "means of biases": {"bias_mean": -HALF, "output_bias_mean": HALF},
    "unequal widths": {"wide": 3},
    "orthogonal": {"law": "orthogonal"},
    "signs": {"law": "rademacher"},
    "covariances": {"row_covariance": PAIR, "column_covariance": PAIR},
    "dropout": {"keep": HALF},
    "dropped branch": {"keep_branch": HALF},
    "rms norm": {"norm": "rms"},
    "layer norm": {"norm": "layer"},
    "norm behind": {"norm": "rms", "place": "post"},
}

#: Not derived at a fixed number of keys.
REFUSED = {("softmax", law) for law in ("orthogonal", "signs")}
#: Takes minutes.
LONG = {(kind, "covariances") for kind in ("linear attention", "softmax", "transformer")}
#: Takes long, and is among the blocks of `test_block_options` with other options.
LONG |= {("softmax", option) for option in ("means", "means of biases", "layer norm", "norm behind")}
LONG |= {("transformer", option) for option in OPTIONS if option not in ("biases", "unequal widths", "dropped branch")}
CELLS = [(kind, option) for kind in BLOCKS for option in OPTIONS if (kind, option) not in LONG]


def test_the_table_has_all_blocks():
    kinds = {type(make()) for make in BLOCKS.values()}
    assert kinds == {recipe for recipe in RECIPES if issubclass(recipe, Block)}
    named = {name for option in OPTIONS.values() for name in option} - {"wide"}
    assert named | {"inputs", "weight_variance"} == set(Block.__dataclass_fields__)


@pytest.mark.slow
@pytest.mark.parametrize("kind", BLOCKS)
def test_one_layer_with_every_option(kind):
    samples = 40_000
    for option in (option for own, option in CELLS if own == kind):
        block = BLOCKS[kind](**OPTIONS[option])
        start = _start(block)
        if (kind, option) in REFUSED:
            with pytest.raises(DerivationError, match="Gaussian matrices of their own"):
                _derived(block, start)
            continue
        drift, covariance = _derived(block, start)
        net = DrawnBlock(block, start, samples, np.random.default_rng(8))

        def at(size, net=net):
            plus, minus = (net.step(size, sign).reshape(samples, -1) for sign in (1.0, -1.0))
            odd = (plus - minus) / (2 * size)
            return (plus + minus) / (2 * size**2), np.einsum("si,sj->sij", odd, odd)

        moved, products = ((4 * near - far) / 3 for near, far in zip(at(SIZE), at(2 * SIZE), strict=True))
        assert distances(moved, drift[:, 0], drift[:, 1]).max() < 4.8, option
        assert distances(products, covariance[..., 0], covariance[..., 1]).max() < 4.8, option
        assert distances(products, 1.3 * covariance[..., 0], covariance[..., 1]).max() > 4.8, option
