"""Network recipes: each states the recursion of one layer, and nothing else."""

from __future__ import annotations

from derivations.architectures.base import Architecture, Layer, Preactivation
from derivations.architectures.residual import ResNet

ARCHITECTURES: tuple[type[Architecture], ...] = (ResNet,)

__all__ = ["ARCHITECTURES", "Architecture", "Layer", "Preactivation", "ResNet"]
