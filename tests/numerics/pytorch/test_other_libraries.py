"""Residual blocks of timm and torchvision, where these are installed."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import sympy as sp

torch = pytest.importorskip("torch", reason="reading PyTorch modules needs the extra torch")

from derivations import NoLimit, derive  # noqa: E402
from numerics.compile import compile_expression  # noqa: E402
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


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["gpt2", "qwen3"])
def test_decoder_blocks_of_transformers(vision, name):
    """What one layer adds to the Gram matrix of three positions, against blocks that the library draws."""
    library = pytest.importorskip("transformers", reason="transformers is not installed")
    features, heads, places = 256, 4, 3
    given = {}

    def config():
        sizes = {
            "hidden_size": features,
            "num_attention_heads": heads,
            "num_key_value_heads": 2,
            "num_hidden_layers": 1,
        }
        return library.Qwen3Config(vocab_size=10, head_dim=64, intermediate_size=512, initializer_range=0.1, **sizes)

    def make():
        if name == "gpt2":
            sizes = {"n_embd": features, "n_head": heads, "n_layer": 1, "n_positions": 8, "initializer_range": 0.1}
            return library.GPT2Model(library.GPT2Config(vocab_size=10, **sizes)).h[0].eval()
        return library.Qwen3Model(config()).layers[0].eval()

    torch.manual_seed(0)
    if name == "qwen3":
        turns = library.Qwen3Model(config()).rotary_emb(torch.zeros(1, places, features), torch.arange(places)[None])
        given = {"position_embeddings": turns}
    options = {"initialiser": "measured", "copies": 5, "positions": places, "arguments": given}
    limit = derive(from_torch(make, width=sp.oo, **options)).limit
    x = torch.randn(places, features)
    x[1] += x[0] / 2
    pairs = [(i, j) for i in range(places) for j in range(i, places)]
    gram = x @ x.T / features
    drift = compile_expression(limit.states, tuple(limit.drift))(*(np.float64(gram[pair]) for pair in pairs))
    added = []
    for _ in range(24):
        block = make()
        with torch.no_grad():
            if name == "gpt2":
                parts = block.attn(block.ln_1(x[None]))[0][0], block.mlp(block.ln_2(x[None]))[0]
            else:
                mask = torch.full((places, places), -1e9).triu(1)[None, None]
                seen = block.self_attn(block.input_layernorm(x[None]), attention_mask=mask, **given)[0][0]
                parts = seen, block.mlp(block.post_attention_layernorm(x[None]))[0]
        moved = sum(part @ part.T for part in parts) / features
        added.append([float(moved[pair]) for pair in pairs])
    mean, error = np.mean(added, axis=0), np.std(added, axis=0) / len(added) ** 0.5
    size = float(drift[0])  # finite heads and measured variances change a share of a few hundredths
    assert np.all(np.abs(mean - drift) < 4 * error + 0.04 * size)
    assert np.any(np.abs(mean - 1.3 * np.array(drift)) > 4 * error + 0.04 * size)
