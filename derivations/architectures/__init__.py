"""Network recipes: each states the recursion of one layer, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from derivations.loading import on_demand

if TYPE_CHECKING:
    from derivations.architectures.attention import AttentionBlock, ConvBlock, TransformerBlock
    from derivations.architectures.base import Recipe
    from derivations.architectures.blocks import GatedBlock, MLPBlock
    from derivations.architectures.convolutional import ConvResNet
    from derivations.architectures.network import Network
    from derivations.architectures.perceptron import MLP, ShapedMLP
    from derivations.architectures.prenorm import PreNormResNet
    from derivations.architectures.regime import Regime
    from derivations.architectures.registry import RECIPES
    from derivations.architectures.residual import ResNet
    from derivations.architectures.shaped_attention import ShapedAttention
    from derivations.architectures.shrinking import ShrinkingResNet

__all__ = [
    "AttentionBlock",
    "ConvBlock",
    "ConvResNet",
    "GatedBlock",
    "MLP",
    "MLPBlock",
    "Network",
    "PreNormResNet",
    "RECIPES",
    "Recipe",
    "Regime",
    "ResNet",
    "ShapedAttention",
    "ShapedMLP",
    "ShrinkingResNet",
    "TransformerBlock",
]

__getattr__, __dir__ = on_demand(
    __name__,
    {
        "derivations.architectures.attention": "AttentionBlock ConvBlock TransformerBlock",
        "derivations.architectures.base": "Recipe",
        "derivations.architectures.blocks": "GatedBlock MLPBlock",
        "derivations.architectures.convolutional": "ConvResNet",
        "derivations.architectures.network": "Network",
        "derivations.architectures.perceptron": "MLP ShapedMLP",
        "derivations.architectures.prenorm": "PreNormResNet",
        "derivations.architectures.regime": "Regime",
        "derivations.architectures.registry": "RECIPES",
        "derivations.architectures.residual": "ResNet",
        "derivations.architectures.shaped_attention": "ShapedAttention",
        "derivations.architectures.shrinking": "ShrinkingResNet",
    },
)
