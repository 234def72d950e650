"""Activation functions: the registered ones, families of them, and a safe parser for formulas."""

from __future__ import annotations

from typing import TYPE_CHECKING

from derivations.loading import on_demand

if TYPE_CHECKING:
    from derivations.activations.base import Activation
    from derivations.activations.given import as_activation
    from derivations.activations.piecewise_linear import (
        absolute,
        hardshrink,
        hardsigmoid,
        hardtanh,
        identity,
        leaky_relu,
        prelu,
        relu,
        relu6,
        softshrink,
        sparse_sigmoid,
        threshold,
        two_slope,
    )
    from derivations.activations.piecewise_smooth import celu, elu, hardswish, relu_squared, selu, softsign, sparse_plus
    from derivations.activations.registry import ACTIVATIONS
    from derivations.activations.smooth import (
        cosine,
        erf,
        exponential,
        gelu,
        gelu_tanh,
        logsigmoid,
        mish,
        polynomial,
        quick_gelu,
        sigmoid,
        silu,
        sine,
        softplus,
        squareplus,
        swish,
        tanh,
        tanhshrink,
    )
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
    "celu",
    "cosine",
    "elu",
    "erf",
    "exponential",
    "from_inverse",
    "gelu",
    "gelu_tanh",
    "hardshrink",
    "hardsigmoid",
    "hardswish",
    "hardtanh",
    "identity",
    "leaky_relu",
    "logsigmoid",
    "mish",
    "ornstein_uhlenbeck",
    "parse_activation",
    "polynomial",
    "prelu",
    "quick_gelu",
    "relu",
    "relu6",
    "relu_squared",
    "selu",
    "sigmoid",
    "silu",
    "sine",
    "softplus",
    "softshrink",
    "softsign",
    "sparse_plus",
    "sparse_sigmoid",
    "squareplus",
    "swish",
    "tanh",
    "tanhshrink",
    "threshold",
    "two_slope",
    "unstable_ornstein_uhlenbeck",
]

__getattr__, __dir__ = on_demand(
    __name__,
    {
        "derivations.activations.base": "Activation",
        "derivations.activations.given": "as_activation",
        "derivations.activations.piecewise_linear": (
            "absolute hardshrink hardsigmoid hardtanh identity leaky_relu "
            "prelu relu relu6 softshrink sparse_sigmoid threshold two_slope"
        ),
        "derivations.activations.piecewise_smooth": "celu elu hardswish relu_squared selu softsign sparse_plus",
        "derivations.activations.registry": "ACTIVATIONS",
        "derivations.activations.smooth": (
            "cosine erf exponential gelu gelu_tanh logsigmoid mish polynomial "
            "quick_gelu sigmoid silu sine softplus squareplus swish tanh tanhshrink"
        ),
        "derivations.activations.solvable": "activation_from_potential from_inverse ornstein_uhlenbeck unstable_ornstein_uhlenbeck",
        "derivations.activations.text": "parse_activation",
    },
)
