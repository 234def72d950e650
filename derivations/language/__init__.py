r"""How a network is said: a layer as a short program of random matrices, averages, i.i.d. factors and functions.

``weights`` has the random matrices, ``nodes`` what a body is made of, ``vocabulary`` the usual words made of these
(norms, dropout), ``statements`` the program that a layer's expression stands for, ``reader`` its way there.
"""

from typing import TYPE_CHECKING

from derivations.language.nodes import average, normalised_sum
from derivations.language.positions import (
    attention,
    causal,
    mixed,
    other,
    over_positions,
    position_matrix,
    rotary,
    rotary_frequencies,
    self_attention,
    softmax,
)
from derivations.language.reader import program
from derivations.language.statements import Program
from derivations.language.vocabulary import drop_branch, dropout, layer_norm, rms_norm
from derivations.language.weights import Weights
from derivations.loading import on_demand
from derivations.symbols import step as epsilon

if TYPE_CHECKING:
    from derivations.language.text import parse_layer

__all__ = [
    "parse_layer",
    "epsilon",
    "Weights",
    "average",
    "normalised_sum",
    "other",
    "over_positions",
    "position_matrix",
    "rotary",
    "rotary_frequencies",
    "causal",
    "mixed",
    "softmax",
    "attention",
    "self_attention",
    "rms_norm",
    "layer_norm",
    "dropout",
    "drop_branch",
    "Program",
    "program",
]

# a text may name any activation, all of whose formulas it loads
__getattr__, __dir__ = on_demand(__name__, {"derivations.language.text": "parse_layer"})
