"""The symbolic world: from a random network's recursion to its limit, its law and the proof.

Names load when they are first used: ``import derivations`` costs nothing, and one activation does not load the laws.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from derivations import symbols
    from derivations.activations import (
        ACTIVATIONS,
        Activation,
        absolute,
        activation_from_potential,
        as_activation,
        celu,
        cosine,
        elu,
        erf,
        exponential,
        gelu,
        gelu_tanh,
        hardshrink,
        hardsigmoid,
        hardswish,
        hardtanh,
        identity,
        leaky_relu,
        logsigmoid,
        mish,
        ornstein_uhlenbeck,
        parse_activation,
        polynomial,
        prelu,
        quick_gelu,
        relu,
        relu6,
        relu_squared,
        selu,
        sigmoid,
        silu,
        sine,
        softplus,
        softshrink,
        softsign,
        sparse_plus,
        sparse_sigmoid,
        squareplus,
        swish,
        tanh,
        tanhshrink,
        threshold,
        two_slope,
        unstable_ornstein_uhlenbeck,
    )
    from derivations.activations.shaped import shaped, shaped_slopes, shaped_smooth
    from derivations.architectures import (
        MLP,
        RECIPES,
        AttentionBlock,
        ConvBlock,
        ConvResNet,
        GatedBlock,
        MLPBlock,
        Network,
        PreNormResNet,
        Recipe,
        Regime,
        ResNet,
        ShapedAttention,
        ShapedMLP,
        ShrinkingResNet,
        TransformerBlock,
    )
    from derivations.backward import Jacobian, jacobian
    from derivations.calculus.equivalence import equivalence
    from derivations.derivation import Derivation, derive
    from derivations.diffusion import Diffusion, Flow, NeuronDiffusion
    from derivations.dynamics import TrainingLimit, training_limit
    from derivations.errors import DerivationError, NoClosedForm, NoLimit, NotClosed, UnsafeExpression
    from derivations.exponents import Scalings, TrainingScalings, scalings
    from derivations.language import (
        Weights,
        attention,
        average,
        causal,
        drop_branch,
        dropout,
        epsilon,
        layer_norm,
        mixed,
        normalised_sum,
        other,
        over_positions,
        parse_layer,
        position_matrix,
        rms_norm,
        self_attention,
        softmax,
    )
    from derivations.laws import LAWS, Law, Normal, first_passage, recognise
    from derivations.limits import depth_limit, gram_limit, joint_limit, width_limit

__all__ = [
    "ACTIVATIONS",
    "LAWS",
    "AttentionBlock",
    "ConvBlock",
    "GatedBlock",
    "MLP",
    "MLPBlock",
    "Activation",
    "ConvResNet",
    "Derivation",
    "DerivationError",
    "Diffusion",
    "Flow",
    "Jacobian",
    "Law",
    "Network",
    "NeuronDiffusion",
    "NoClosedForm",
    "NoLimit",
    "Normal",
    "NotClosed",
    "PreNormResNet",
    "RECIPES",
    "Recipe",
    "Regime",
    "ResNet",
    "Scalings",
    "TrainingLimit",
    "TrainingScalings",
    "ShapedAttention",
    "ShapedMLP",
    "ShrinkingResNet",
    "TransformerBlock",
    "UnsafeExpression",
    "Weights",
    "absolute",
    "activation_from_potential",
    "as_activation",
    "attention",
    "average",
    "causal",
    "celu",
    "cosine",
    "depth_limit",
    "derive",
    "drop_branch",
    "dropout",
    "elu",
    "epsilon",
    "equivalence",
    "erf",
    "exponential",
    "first_passage",
    "gelu",
    "gelu_tanh",
    "gram_limit",
    "hardshrink",
    "hardsigmoid",
    "hardswish",
    "hardtanh",
    "identity",
    "jacobian",
    "joint_limit",
    "layer_norm",
    "leaky_relu",
    "logsigmoid",
    "mish",
    "mixed",
    "normalised_sum",
    "ornstein_uhlenbeck",
    "other",
    "over_positions",
    "parse_activation",
    "parse_layer",
    "polynomial",
    "position_matrix",
    "prelu",
    "quick_gelu",
    "recognise",
    "relu",
    "relu6",
    "relu_squared",
    "rms_norm",
    "scalings",
    "self_attention",
    "selu",
    "shaped",
    "shaped_slopes",
    "shaped_smooth",
    "sigmoid",
    "silu",
    "sine",
    "softmax",
    "softplus",
    "softshrink",
    "softsign",
    "sparse_plus",
    "sparse_sigmoid",
    "squareplus",
    "swish",
    "symbols",
    "tanh",
    "tanhshrink",
    "threshold",
    "training_limit",
    "two_slope",
    "unstable_ornstein_uhlenbeck",
    "width_limit",
]

_NAMES = {
    "derivations.activations": (
        "ACTIVATIONS Activation absolute activation_from_potential as_activation celu cosine elu erf "
        "exponential gelu gelu_tanh hardshrink hardsigmoid hardswish hardtanh identity "
        "leaky_relu logsigmoid mish ornstein_uhlenbeck parse_activation polynomial prelu quick_gelu relu "
        "relu6 relu_squared selu sigmoid silu sine softplus softshrink softsign sparse_plus sparse_sigmoid "
        "squareplus swish tanh tanhshrink threshold two_slope unstable_ornstein_uhlenbeck"
    ),
    "derivations.activations.shaped": "shaped shaped_slopes shaped_smooth",
    "derivations.architectures": (
        "AttentionBlock ConvBlock ConvResNet GatedBlock MLP MLPBlock Network PreNormResNet RECIPES Recipe Regime ResNet ShapedAttention ShapedMLP "
        "ShrinkingResNet TransformerBlock"
    ),
    "derivations.backward": "Jacobian jacobian",
    "derivations.calculus.equivalence": "equivalence",
    "derivations.derivation": "Derivation derive",
    "derivations.diffusion": "Diffusion Flow NeuronDiffusion",
    "derivations.dynamics": "TrainingLimit training_limit",
    "derivations.errors": "DerivationError NoClosedForm NoLimit NotClosed UnsafeExpression",
    "derivations.language": (
        "Weights attention average causal drop_branch dropout epsilon layer_norm mixed normalised_sum other over_positions parse_layer "
        "position_matrix rms_norm self_attention softmax"
    ),
    "derivations.laws": "LAWS Law Normal first_passage recognise",
    "derivations.limits": "depth_limit gram_limit joint_limit width_limit",
    "derivations.exponents": "Scalings TrainingScalings scalings",
}
_HOMES = {name: home for home, names in _NAMES.items() for name in names.split()}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'derivations' has no attribute {name!r}")
    value: object = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
