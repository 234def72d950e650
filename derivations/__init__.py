"""The symbolic world: from a random network's recursion to its limit, its law and the proof."""

from __future__ import annotations

from derivations import symbols
from derivations.activations import (
    ACTIVATIONS,
    Activation,
    absolute,
    as_activation,
    cosine,
    erf,
    exponential,
    gelu,
    identity,
    leaky_relu,
    ornstein_uhlenbeck,
    parse_activation,
    polynomial,
    relu,
    silu,
    sine,
    softplus,
    tanh,
    two_slope,
    unstable_ornstein_uhlenbeck,
)
from derivations.architectures import ARCHITECTURES, Architecture, Layer, Preactivation, ResNet
from derivations.derive import Derivation, derive
from derivations.diffusion import Diffusion, Flow, NeuronDiffusion
from derivations.errors import DerivationError, NoClosedForm, NoLimit, NotClosed, UnsafeExpression
from derivations.laws import LAWS, Law, Normal, recognise
from derivations.limits import depth_limit, width_limit

__all__ = [
    "ACTIVATIONS",
    "ARCHITECTURES",
    "LAWS",
    "Activation",
    "Architecture",
    "Derivation",
    "DerivationError",
    "Diffusion",
    "Flow",
    "Law",
    "Layer",
    "NeuronDiffusion",
    "NoClosedForm",
    "NoLimit",
    "Normal",
    "NotClosed",
    "Preactivation",
    "ResNet",
    "UnsafeExpression",
    "absolute",
    "as_activation",
    "cosine",
    "depth_limit",
    "derive",
    "erf",
    "exponential",
    "gelu",
    "identity",
    "leaky_relu",
    "ornstein_uhlenbeck",
    "parse_activation",
    "polynomial",
    "recognise",
    "relu",
    "silu",
    "sine",
    "softplus",
    "symbols",
    "tanh",
    "two_slope",
    "unstable_ornstein_uhlenbeck",
    "width_limit",
]
