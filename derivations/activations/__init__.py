"""Activation functions: the registered ones, families of them, and a safe parser for formulas."""

from derivations.activations.base import Activation, as_activation
from derivations.activations.piecewise_linear import absolute, identity, leaky_relu, relu, two_slope
from derivations.activations.registry import ACTIVATIONS
from derivations.activations.smooth import cosine, erf, exponential, gelu, polynomial, silu, sine, softplus, tanh
from derivations.activations.solvable import (
    activation_from_potential,
    from_inverse,
    ornstein_uhlenbeck,
    unstable_ornstein_uhlenbeck,
)
from derivations.activations.text import parse_activation

__all__ = [
    "ACTIVATIONS",
    "Activation",
    "absolute",
    "activation_from_potential",
    "as_activation",
    "cosine",
    "erf",
    "exponential",
    "from_inverse",
    "gelu",
    "identity",
    "leaky_relu",
    "ornstein_uhlenbeck",
    "parse_activation",
    "polynomial",
    "relu",
    "silu",
    "sine",
    "softplus",
    "tanh",
    "two_slope",
    "unstable_ornstein_uhlenbeck",
]
