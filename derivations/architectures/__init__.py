"""Network recipes: each states the recursion of one layer, and nothing else."""

from __future__ import annotations

from derivations.architectures.base import Architecture, Layer, Preactivation, Recipe
from derivations.architectures.blocks import GatedBlock, MLPBlock
from derivations.architectures.convolutional import ConvResNet
from derivations.architectures.network import Network
from derivations.architectures.perceptron import MLP, ShapedMLP
from derivations.architectures.prenorm import PreNormResNet
from derivations.architectures.regime import Regime
from derivations.architectures.residual import ResNet
from derivations.architectures.shrinking import ShrinkingResNet

ARCHITECTURES: tuple[type[Architecture], ...] = (ResNet, ShrinkingResNet, ConvResNet, MLP, ShapedMLP)
RECIPES: tuple[type[Recipe], ...] = (*ARCHITECTURES, MLPBlock, GatedBlock, Network)

__all__ = [
    "ARCHITECTURES",
    "Architecture",
    "ConvResNet",
    "GatedBlock",
    "Layer",
    "MLP",
    "MLPBlock",
    "Network",
    "PreNormResNet",
    "Preactivation",
    "RECIPES",
    "Recipe",
    "Regime",
    "ResNet",
    "ShapedMLP",
    "ShrinkingResNet",
]
