"""Residual blocks of timm and torchvision, where these are installed."""

from __future__ import annotations

import sys

import pytest
import sympy as sp

torch = pytest.importorskip("torch", reason="reading PyTorch modules needs the extra torch")

from derivations import NoLimit, derive  # noqa: E402
from numerics.pytorch import from_torch  # noqa: E402


@pytest.fixture
def vision():
    """Torchvision; its operators that are compiled for GPUs' builds are named beside the build without GPUs."""
    try:
        import torchvision
    except ImportError:
        pytest.skip("torchvision is not installed")
    except RuntimeError:
        for name in [m for m in sys.modules if m.startswith("torchvision")]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        import torchvision
    return torchvision


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_vision_transformers_block_of_timm(vision):
    transformer = pytest.importorskip("timm.models.vision_transformer", reason="timm is not installed")
    net = from_torch(transformer.Block(32, 4, init_values=0.1), positions=4, width=sp.oo)
    assert [name for name, _ in net.modules] == ["attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2"]
    alone = from_torch(transformer.Block(32, 1, init_values=0.1), positions=1, width=sp.oo)
    values = derive(alone).limit.drift[0]
    # 0.1² (1/9 from attention's two matrices; 1/3·E GELU(N(0, 1/3))² from the other branch)
    gelu = sp.asin(sp.Rational(1, 4)) / (18 * sp.pi) + sp.sqrt(15) / (180 * sp.pi) + sp.Rational(1, 36)
    assert abs(sp.N(values - (sp.Rational(1, 9) + gelu) / 100)) < 1e-12
    assert abs(sp.N(values - (sp.Rational(1, 9) + gelu) / 90)) > 1e-4


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_residual_block_of_torchvision(vision):
    block = vision.models.resnet.BasicBlock(4, 4)
    with pytest.raises(ValueError, match=r"bn1 \(BatchNorm2d\) .* in training mode"):
        from_torch(block, positions=(3, 3), initialiser="kaiming_normal")
    net = from_torch(block.eval(), positions=(3, 3), initialiser="kaiming_normal")
    assert [name for name, _ in net.modules] == ["conv1", "conv2"]
    with pytest.raises(NoLimit, match="does not become continuous in depth"):
        derive(net)
