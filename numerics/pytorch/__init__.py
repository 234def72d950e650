"""PyTorch modules as networks of this project: a block is traced into a layer's formula (extra ``torch``)."""

from numerics.pytorch.trace import TorchNetwork, from_torch

__all__ = ["TorchNetwork", "from_torch"]
