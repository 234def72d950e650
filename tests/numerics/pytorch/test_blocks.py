"""Attention, encoder layers and convolutions: the formula that is read, with a block's own weights put in, is what PyTorch computes."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import sympy as sp

torch = pytest.importorskip("torch", reason="reading PyTorch modules needs the extra torch")
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from derivations.language.nodes import Applied, Factor  # noqa: E402
from numerics.pytorch import from_torch  # noqa: E402
from tests.numerics.pytorch.evaluation import evaluated  # noqa: E402
from tests.numerics.pytorch.modules import Calls, E, H, encoder  # noqa: E402

P = 4  # positions


@pytest.fixture(autouse=True)
def seeded():
    torch.set_num_threads(1)
    torch.manual_seed(0)


class SelfAttention(nn.Module):
    """Pre-norm self-attention as users write it, by ``attend``."""

    def __init__(self, attend, heads=H, biases=True):
        super().__init__()
        self.norm = nn.LayerNorm(E)
        self.qkv, self.proj = nn.Linear(E, 3 * E, bias=biases), nn.Linear(E, E, bias=biases)
        self.attend, self.heads = attend, heads
        self.register_buffer("mask", torch.tril(torch.ones(1, 1, 9, 9)))
        self.register_buffer("slopes", -0.3 * (torch.arange(P)[:, None] - torch.arange(P)).abs().float())

    def forward(self, x):
        B, T, C = x.shape
        assert self.heads * (C // self.heads) == C
        y = self.attend(self, self.norm(x), B, T, C)
        return x + self.proj(y)


def by_function(block, x, B, T, C):
    q, k, v = block.qkv(x).split(C, dim=2)
    q, k, v = (u.view(B, T, block.heads, C // block.heads).transpose(1, 2) for u in (q, k, v))
    y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    return y.transpose(1, 2).contiguous().view(B, T, C)


def by_hand(block, x, B, T, C):
    qkv = block.qkv(x).reshape(B, T, 3, block.heads, C // block.heads).permute(2, 0, 3, 1, 4)
    q, k, v = qkv.unbind(0)
    scores = (q @ k.transpose(-2, -1)) * (1.0 / math.sqrt(k.size(-1)))
    scores = scores.masked_fill(block.mask[:, :, :T, :T] == 0, float("-inf"))
    return (F.softmax(scores, dim=-1) @ v).transpose(1, 2).reshape(B, T, C)


def scaled_before(block, x, B, T, C):
    qkv = block.qkv(x).unflatten(-1, (3, block.heads, -1)).permute(2, 0, 3, 1, 4)
    q = qkv[0] * (C // block.heads) ** -0.5
    return ((q @ qkv[1].mT + block.slopes).softmax(-1) @ qkv[2]).transpose(1, 2).flatten(2)


def linear_in_scores(block, x, B, T, C):
    q, k, v = block.qkv(x).chunk(3, dim=-1)
    return torch.matmul(q, k.transpose(1, 2)) / C @ v


def rows(base, *sizes):
    """A matrix whose outputs are cut."""
    ends = np.cumsum([0, *sizes])
    return {f"{base}_{i}": (base, slice(a, b), slice(None)) for i, (a, b) in enumerate(itertools.pairwise(ends), 1)}


def columns(base, *sizes):
    """A matrix that reads several parts."""
    return {name: (base, slice(None), cut) for name, (_, cut, _) in rows(base, *sizes).items()}


HEADS = {**rows("qkv", *[E // H] * (3 * H)), **columns("proj", *[E // H] * H)}


SPLIT = {
    **rows("qkv", E, E, E),
    **{k: v for i in (1, 2, 3) for k, v in rows(f"qkv_{i}", *[E // H] * H).items()},
    **columns("proj", *[E // H] * H),
}


def packed(name, heads, size=E):
    per = size // heads
    made = {
        **rows(f"{name}in_proj", size, size, size),
        **columns(f"{name}out_proj", *[per] * heads),
    }
    return made | {k: v for i in (1, 2, 3) for k, v in rows(f"{name}in_proj_{i}", *[per] * heads).items()}


class Heads(nn.Module):
    """Separate modules for every head, put side by side."""

    def __init__(self):
        super().__init__()
        self.heads = nn.ModuleList(nn.ModuleList(nn.Linear(E, 3, bias=False) for _ in range(3)) for _ in range(H))
        self.out, self.drop = nn.Linear(3 * H, E), nn.Dropout(0.0)

    def forward(self, x):
        outs = []
        for q, k, v in self.heads:
            scores = torch.bmm(q(x), k(x).transpose(1, 2)) / 3**0.5
            outs.append(torch.softmax(scores, -1) @ v(x))
        return x + self.drop(self.out(torch.cat(outs, dim=-1)))


class Cross(nn.Module):
    """Keys and values of other sizes than the queries, and a mask of truth values."""

    def __init__(self):
        super().__init__()
        self.attn = nn.MultiheadAttention(E, H, kdim=8, vdim=4)
        self.keys, self.values = nn.Linear(E, 8), nn.Linear(E, 4)
        self.register_buffer("hidden", torch.triu(torch.ones(P, P), 1).bool())

    def forward(self, x):
        y, _ = self.attn(x, self.keys(x), torch.tanh(self.values(x)), attn_mask=self.hidden)
        return x + 0.5 * y


class PreActivation(nn.Module):
    """Two convolutions behind batch norms, as after training has ended."""

    def __init__(self, **options):
        super().__init__()
        self.bn1, self.bn2 = nn.BatchNorm2d(3), nn.BatchNorm2d(5)
        self.conv1, self.conv2 = nn.Conv2d(3, 5, 3, **options), nn.Conv2d(5, 3, 1, bias=False)

    def forward(self, x):
        return x + self.conv2(F.relu(self.bn2(self.conv1(F.relu(self.bn1(x))))))


CASES = {
    "function": (lambda: SelfAttention(by_function), P, SPLIT),
    "hand": (lambda: SelfAttention(by_hand), P, HEADS),
    "scaled before": (lambda: SelfAttention(scaled_before), P, HEADS),
    "linear": (lambda: SelfAttention(linear_in_scores), P, rows("qkv", E, E, E)),
    "one head": (lambda: SelfAttention(by_function, heads=1, biases=False), P, rows("qkv", E, E, E)),
    "heads apart": (Heads, P, columns("out", 3, 3)),
    "multihead": (lambda: nn.MultiheadAttention(E, H, batch_first=True), P, packed("", H)),
    "cross": (
        Cross,
        P,
        {
            **{k: v for w in "qkv" for k, v in rows(f"attn_{w}_proj", 3, 3).items()},
            **columns("attn_out_proj", 3, 3),
        },
    ),
    "post-norm": (lambda: encoder(False, True, activation=nn.Tanh()), P, packed("self_attn_", H)),
    "pre-norm": (lambda: encoder(True, False, activation="gelu", bias=False), P, packed("self_attn_", H)),
    "encoder in a sequence": (
        lambda: nn.Sequential(encoder(True, True), nn.Identity()),
        P,
        packed("W_0_self_attn_", H),
    ),
    **{
        f"line, {mode}": (
            lambda mode=mode: nn.Sequential(
                nn.Conv1d(3, 4, 4, padding="same", padding_mode=mode),
                nn.SiLU(),
                nn.Conv1d(4, 3, 3, padding=2, dilation=2, padding_mode=mode),
            ),
            5,
            {},
        )
        for mode in ("zeros", "circular", "reflect", "replicate")
    },
    "grid": (lambda: PreActivation(padding=1).eval(), (3, 4), {}),
    "uneven filter": (lambda: nn.Conv2d(3, 3, (3, 1), padding=(1, 0), padding_mode="circular"), (3, 2), {}),
}


def tensors_by_name(block):
    found = {}
    for name, module in block.named_modules():
        stem = name.replace(".", "_")
        for what, weight, bias in (
            ("", getattr(module, "weight", None), getattr(module, "bias", None)),
            ("in_proj", getattr(module, "in_proj_weight", None), getattr(module, "in_proj_bias", None)),
            *(
                (f"{w}_proj", getattr(module, f"{w}_proj_weight", None), b)
                for w, b in zip("qkv", _chunks(getattr(module, "in_proj_bias", None)), strict=True)
            ),
        ):
            if isinstance(weight, torch.Tensor):
                key = "_".join(part for part in (stem, what) if part) or "W"
                found[key if key.isidentifier() else f"W_{key}"] = (
                    weight.detach().numpy(),
                    None if bias is None else bias.detach().numpy(),
                )
    return found


def _chunks(bias):
    return (None,) * 3 if bias is None else bias.chunk(3)


def called(block, x, layout):
    """What PyTorch computes of states (positions, neurons)."""
    if layout == "channels":
        grid = (1, x.shape[1], *block.grid)
        return block(x.T.reshape(grid)).reshape(x.shape[1], -1).T
    batch = (slice(None), None) if layout == "positions" else (None,)
    arguments = (x[batch],) * (3 if isinstance(block, nn.MultiheadAttention) else 1)
    out = block(*arguments)
    return (out[0] if isinstance(out, tuple) else out).reshape(x.shape)


@pytest.mark.filterwarnings("ignore:Using padding='same'")  # of an even filter, which PyTorch pads by a copy
@pytest.mark.parametrize("name", CASES)
def test_the_formula_is_what_pytorch_computes(name):
    make, positions, copies = CASES[name]
    block = make().double()
    with torch.no_grad():
        for parameter in block.parameters():
            if parameter.ndim > 1 or "bias" in name:
                parameter.copy_(torch.randn_like(parameter))
    for module in block.modules():  # biases that matter
        for bias in ("bias", "in_proj_bias"):
            if getattr(module, bias, None) is not None and not isinstance(module, nn.LayerNorm | nn.BatchNorm2d):
                nn.init.normal_(getattr(module, bias))
    net = from_torch(block, positions=positions, scale=1, initialiser="measured")
    first = next(m for m in block.modules() if hasattr(m, "in_channels") or hasattr(m, "in_features"))
    layout = "channels" if hasattr(first, "in_channels") else "batch"
    if any(getattr(m, "batch_first", True) is False for m in block.modules()):
        layout = "positions"
    block.grid = positions if isinstance(positions, tuple) else (positions,)
    size = 3 if layout == "channels" else E
    x = torch.randn(math.prod(block.grid), size, dtype=torch.float64)
    found = evaluated(net, x.numpy(), tensors_by_name(block), copies)
    theirs = called(block, x, layout).detach().numpy()
    np.testing.assert_allclose(found, theirs, rtol=2e-4, atol=2e-4)  # norms add 1e-5 under their root
    wrong = evaluated(net, np.roll(x.numpy(), 1, axis=0), tensors_by_name(block), copies)
    assert np.abs(wrong - theirs).max() > 1e-2


def test_scores_are_said_with_the_root_of_the_number_of_keys():
    net = from_torch(lambda: SelfAttention(by_hand, biases=False), positions=2, width=sp.oo)
    assert "normalised_sum(qkv_1" in str(net.layer)
    assert str(net).count("(Sum_γ exp(") == 2  # two heads, each statement once, however often it is read
    assert "~" not in str(net)
    assert "causal" not in str(net.remarks)
    assert "average(qkv_1" in str(from_torch(lambda: SelfAttention(linear_in_scores, 1), positions=2).layer)


LINEAR = {"layer": nn.Linear(4, 4)}


def test_conditions_on_sizes_are_decided():
    block = Calls(lambda b, x: x + b.layer(x) if x.shape[1] > 2 else x, **LINEAR)
    assert str(from_torch(block, positions=3).layer) == "varepsilon*layer(x) + x"


def test_dropout_called_twice_is_drawn_twice():
    block = Calls(lambda b, x: x + b.drop(b.layer(b.drop(x))), drop=nn.Dropout(0.5), **LINEAR)
    factors = {str(f.args[0]) for f in from_torch(block).layer.atoms(Factor)}
    assert factors == {"drop", "drop_2"}


def test_modules_whose_names_read_alike_are_different_matrices():
    block = Calls(
        lambda b, x: x + b.a_b(torch.tanh(b.a.b(x))), a=nn.ModuleDict({"b": nn.Linear(4, 4)}), a_b=nn.Linear(4, 4)
    )
    assert len({a.weights for a in from_torch(block).layer.atoms(Applied)}) == 2
