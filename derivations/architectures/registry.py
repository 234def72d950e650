"""All recipes."""

from __future__ import annotations

from derivations.architectures.attention import AttentionBlock, ConvBlock, TransformerBlock
from derivations.architectures.base import Recipe
from derivations.architectures.blocks import GatedBlock, MLPBlock
from derivations.architectures.convolutional import ConvResNet
from derivations.architectures.network import Network
from derivations.architectures.perceptron import MLP, ShapedMLP
from derivations.architectures.prenorm import PreNormResNet
from derivations.architectures.residual import ResNet
from derivations.architectures.shaped_attention import ShapedAttention
from derivations.architectures.shrinking import ShrinkingResNet

#: All recipes: what is asked of every one of them, and what the command line offers, follows from here.
RECIPES: tuple[type[Recipe], ...] = (
    ResNet,
    ShrinkingResNet,
    ConvResNet,
    MLP,
    ShapedMLP,
    PreNormResNet,
    MLPBlock,
    GatedBlock,
    ConvBlock,
    AttentionBlock,
    TransformerBlock,
    ShapedAttention,
    Network,
)
