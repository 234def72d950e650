"""Every kind of block with every option: one layer of weights drawn by hand has the derived drift and covariance, or it is refused with its reason."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp

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
    "mlp": lambda wide=2, **o: MLPBlock(identity, 2, hidden=wide, **o),
    "gate": lambda wide=2, **o: GatedBlock(identity, 2, hidden=wide, **o),
    "filters": lambda wide=2, **o: ConvBlock(identity, 2, positions=(2,), filter=(1,), hidden=wide, **o),
    "linear attention": lambda wide=2, **o: AttentionBlock(2, value_size=wide, **LINEAR, **o),
    "softmax": lambda wide=2, **o: AttentionBlock(2, size=wide, value_size=2, **o),
    "transformer": lambda wide=2, norm="none", **o: TransformerBlock(
        2, activation=identity, value_size=2, hidden=wide, norm=norm, **LINEAR, **o
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
