"""Modules that several tests read."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="reading PyTorch modules needs the extra torch")
from torch import nn  # noqa: E402

E, H = 6, 2  # features, heads


def encoder(norm_first, batch_first, **options):
    return nn.TransformerEncoderLayer(E, H, 10, dropout=0.0, norm_first=norm_first, batch_first=batch_first, **options)


class Calls(nn.Module):
    """Any function of the block's modules and the state."""

    def __init__(self, function, **modules):
        super().__init__()
        self.function = function
        for name, module in modules.items():
            (self.register_buffer if isinstance(module, torch.Tensor) else self.__setattr__)(name, module)

    def forward(self, x):
        return self.function(self, x)
