"""Blocks that have no rule are refused, each with its reason."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="reading PyTorch modules needs the extra torch")
from torch import nn  # noqa: E402

from numerics.pytorch import from_torch  # noqa: E402
from tests.numerics.pytorch.modules import Calls, encoder  # noqa: E402


@pytest.fixture(autouse=True)
def seeded():
    torch.set_num_threads(1)
    torch.manual_seed(0)


def transposed_weights():
    block = Calls(
        lambda b, x: x + b.down(torch.tanh(b.up(x))),
        up=nn.Linear(4, 8, bias=False),
        down=nn.Linear(8, 4, bias=False),
    )
    block.down.weight.data = block.up.weight.data.t()
    return block


def shared_weights():
    block = Calls(lambda b, x: x + torch.tanh(b.first(x)) * b.second(x), first=nn.Linear(4, 4), second=nn.Linear(4, 4))
    block.second.weight = block.first.weight
    return block


def zeroed():
    layer = nn.Linear(4, 4)
    nn.init.zeros_(layer.bias)
    return layer


def trained_attention():
    attention = nn.MultiheadAttention(4, 2)
    nn.init.normal_(attention.in_proj_weight)
    return attention


def twice(block):
    return nn.Sequential(block, block)


LINEAR = {"layer": nn.Linear(4, 4)}


ATTENTION = {"attn": nn.MultiheadAttention(4, 2, batch_first=True)}


@pytest.mark.parametrize(
    ("block", "options", "said"),
    [
        (nn.Conv2d(3, 3, 3, stride=2, padding=1), {"positions": (4, 4)}, "Conv2d has stride .* makes the grid smaller"),
        (nn.Conv1d(4, 4, 3, groups=2, padding=1), {"positions": 4}, "Conv1d has 2 groups"),
        (nn.Conv2d(3, 3, 3), {"positions": (4, 4)}, "makes 2 positions out of 4"),
        (nn.Conv2d(3, 3, 3, padding=1), {"positions": 4}, r"a grid of 2 dimensions, got \(4,\)"),
        (nn.Sequential(nn.Conv1d(3, 3, 3, padding=1), nn.MaxPool1d(2)), {"positions": 4}, r"1 \(MaxPool1d\) changes"),
        (
            nn.Sequential(nn.Conv1d(3, 3, 3, padding=1), nn.BatchNorm1d(3)),
            {"positions": 4},
            r"1 \(BatchNorm1d\) divides .* in training mode",
        ),
        (nn.MultiheadAttention(4, 2), {}, "mixes positions, so give their number, positions="),
        (nn.MultiheadAttention(4, 2, add_zero_attn=True), {"positions": 2}, "adds a position of its own"),
        (twice(encoder(True, True)), {"positions": 2}, r"0.self_attn.in_proj .* tied over depth"),
        (
            nn.Sequential(encoder(False, True), encoder(False, True)),
            {"positions": 2},
            "too long; give one layer that is repeated",
        ),
        (transposed_weights(), {}, r"down \(Linear\) shares its weights with up in another shape"),
        (shared_weights(), {}, r"second \(Linear\) shares its weights with first but not its biases"),
        (zeroed(), {}, "its biases have variance 0/k"),
        (trained_attention(), {"positions": 2}, "in_proj .* its weights have variance"),
        (Calls(lambda b, x: x + b.layer(x) * x.shape[0], **LINEAR), {"positions": 2}, "the size of the batch"),
        (
            Calls(lambda b, x: x + b.layer(x[:, 1:]), **LINEAR),
            {"positions": 3},
            "a slice keeps 2 of 3 positions; .* write shifts with",
        ),
        (
            Calls(lambda b, x: x + b.layer(x.mT).mT, **LINEAR),
            {"positions": 4},
            r"layer \(Linear\) works along the last axis",
        ),
        (Calls(lambda b, x: b.layer(x).mT, **LINEAR), {"positions": 4}, "puts out one of .batch, features, positions"),
        (
            Calls(lambda b, x: x + b.layer(x).reshape(x.shape[0], -1).reshape(x.shape), **LINEAR),
            {"positions": 4},
            "neurons stay apart from others",
        ),
        (Calls(lambda b, x: x + b.layer(x) if x.shape[1] > 2 else x, **LINEAR), {}, "positions="),
        (Calls(lambda b, x: x + b.layer(x).softmax(-1), **LINEAR), {}, "softmax goes over .features"),
        (
            Calls(lambda b, x: x + b.layer(x).chunk(2, -1)[0].repeat(1, 2), **LINEAR),
            {"initialiser": "orthogonal"},
            "parts of what it puts out are not independent",
        ),
        (
            Calls(lambda b, x: x + b.attn(x, x, x, attn_mask=b.mask)[0], mask=torch.ones(2, 3, 3), **ATTENTION),
            {"positions": 3},
            "give one for all heads and inputs",
        ),
        (
            Calls(lambda b, x: x + b.attn(x, x, x, key_padding_mask=b.mask)[0], mask=torch.ones(2, 3), **ATTENTION),
            {"positions": 3},
            r"attn \(MultiheadAttention\) gets a mask for the padding",
        ),
        (Calls(lambda b, x: x + x @ b.matrix, matrix=torch.randn(4, 4)), {}, "matrix is a tensor that the block draws"),
        (Calls(lambda b, x: x + b.layer(x) * b.gain.mul_(2), gain=torch.ones(4), **LINEAR), {}, "in place"),
    ],
)
def test_what_has_no_rule_is_refused_with_its_reason(block, options, said):
    with pytest.raises(ValueError, match=said):
        from_torch(block, **options)
