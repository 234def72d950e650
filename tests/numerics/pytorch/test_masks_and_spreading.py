"""Masks that a forward makes itself, tensors that are spread, and products number by number are read as PyTorch computes them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import sympy as sp

torch = pytest.importorskip("torch", reason="reading PyTorch modules needs the extra torch")
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from numerics.pytorch import from_torch  # noqa: E402
from tests.numerics.pytorch.modules import Calls  # noqa: E402
from tests.numerics.pytorch.test_todays_blocks import (  # noqa: E402
    HEADS,
    TOKENS,
    Decoder,
    N,
    assert_read_as_pytorch_computes,
)

GIVEN = torch.tensor(np.random.default_rng(0).normal(size=(TOKENS, TOKENS)))


@pytest.fixture(autouse=True)
def seeded():
    torch.set_num_threads(1)
    torch.manual_seed(0)


def attends(change):
    """Attention whose scores are changed before their softmax."""

    def attend(b, q, k, v):
        scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
        return change(scores, q.shape[2]).softmax(-1) @ v

    return lambda: Decoder(attend)


def linear(function, **modules):
    return lambda: Calls(function, a=nn.Linear(N, N), c=nn.Linear(N, N), **modules)


def slopes(scores, s):
    places = torch.arange(s)
    ramps = (places[None, :] - places[:, None]).clamp(max=0).to(scores)
    return scores + torch.linspace(0.25, 1, HEADS).to(scores)[:, None, None] * ramps


class Padded(nn.Module):
    """Attention of PyTorch with positions that are hidden from all."""

    def __init__(self, padding, mask=None):
        super().__init__()
        self.attend, self.padding, self.mask = nn.MultiheadAttention(N, 2, batch_first=True), padding, mask

    def forward(self, x):
        return x + self.attend(x, x, x, key_padding_mask=self.padding, attn_mask=self.mask)[0]


BLOCKS = {
    "ones by sizes": attends(lambda a, s: a.masked_fill(torch.ones(s, s).triu(1).bool(), -math.inf)),
    "ones for the batch": attends(
        lambda a, s: a.masked_fill(~torch.tril(torch.ones(s, s)).bool()[None, None].expand(a.size(0), 1, s, s), -math.inf)
    ),
    "a view of sizes": attends(lambda a, s: a.masked_fill(torch.tril(torch.ones(s, s)).view(1, 1, s, s) == 0, -math.inf)),
    "new ones": attends(lambda a, s: a.masked_fill(~a.new_ones(s, s).tril().bool(), -math.inf)),
    "new numbers": attends(lambda a, s: a + a.new_full((s, s), -math.inf).triu(1)),
    "a mask by loops": attends(
        lambda a, s: a - sum(abs(i - j) * torch.eye(s)[i][:, None] * torch.eye(s)[j] for i in range(s) for j in range(s))
    ),
    "slopes of heads": attends(slopes),
    "less a mask": attends(lambda a, s: a - GIVEN),
    "a mask less the scores": attends(lambda a, s: GIVEN - a),
    "a share of a mask": attends(lambda a, s: torch.add(a, GIVEN, alpha=0.5)),
    "a share of the scores": attends(lambda a, s: torch.add(GIVEN, a, alpha=0.5)),
    "new zeros": linear(lambda b, x: x + (x.new_zeros(x.shape) + b.a(x)).tanh()),
    "averages spread by sizes": linear(lambda b, x: x + b.a(x.mean(1, keepdim=True).expand(-1, x.shape[1], -1)).tanh()),
    "averages spread as the state": linear(lambda b, x: x + b.a(x.mean(1, keepdim=True).expand_as(x)).tanh()),
    "averages repeated": linear(lambda b, x: x + b.a(x.mean(1, keepdim=True).repeat(1, x.shape[1], 1)).tanh()),
    "averages of heads": lambda: Decoder(lambda b, q, k, v: v.mean(2, keepdim=True).expand(-1, -1, q.shape[2], -1) * q),
    "a gate for all": linear(
        lambda b, x: x + b.a(x) * b.gate(x).sigmoid().expand_as(x), gate=nn.Linear(N, 1)
    ),
    "neurons twice": linear(lambda b, x: x + b.down(b.a(x).tanh().repeat(1, 1, 2)), down=nn.Linear(2 * N, N)),
    "heads in tiles": lambda: Decoder(
        lambda b, q, k, v: F.scaled_dot_product_attention(q, k[:, :2].repeat(1, 2, 1, 1), v[:, :2].tile((1, 2, 1, 1)))
    ),
    "an inner product": linear(lambda b, x: x + b.a(x) * torch.einsum("bpd,bpd->bp", x, b.c(x)).unsqueeze(-1) / N),
    "products by einsum": linear(lambda b, x: x + torch.einsum("bpd,bpd->bpd", b.a(x), b.c(x).tanh())),
    "numbers of positions": linear(
        lambda b, x: x + torch.einsum("bpd,bp->bpd", b.a(x), b.c(x).mean(-1, keepdim=True).squeeze(-1))
    ),
    "a gain by einsum": linear(
        lambda b, x: x + torch.einsum("bpd,d->bpd", b.a(x).tanh(), b.gain), gain=torch.full((N,), 0.5)
    ),
    "no padding": lambda: Padded(torch.zeros(1, TOKENS, dtype=torch.bool)),
    "padding": lambda: Padded(torch.arange(TOKENS)[None] == TOKENS - 1),
    "padding and a mask": lambda: Padded(torch.arange(TOKENS)[None] == 0, torch.eye(TOKENS, dtype=torch.bool).roll(1, 1)),
    "padding as numbers": lambda: Padded(GIVEN[:1]),
}  # fmt: skip


@pytest.mark.parametrize("name", BLOCKS)
def test_what_is_read_is_what_pytorch_computes(name):
    assert_read_as_pytorch_computes(BLOCKS[name]())


@pytest.mark.parametrize(
    ("block", "said"),
    [
        (linear(lambda b, x: x + b.a(x.repeat(1, 2, 1))), r"repeat puts 2 times as many along \(positions\)"),
        (linear(lambda b, x: x + b.a(x + x.new_ones(x.shape[0], 1, N))), "is made for each input"),
        (lambda: Padded(torch.zeros(2, TOKENS, dtype=torch.bool)), "gets a mask for the padding of each input"),
        (attends(lambda a, s: a + torch.zeros(a.shape[0], 1, s, s)), "nor make tensors whose size is the batch's"),
    ],
)
def test_what_differs_between_inputs_or_makes_other_positions_is_refused(block, said):
    with pytest.raises(ValueError, match=said):
        from_torch(block(), positions=TOKENS)


def test_pytorch_is_left_as_it_was():
    kept = torch.ones, torch.Tensor.expand, torch.autograd.Function.apply
    from_torch(BLOCKS["ones for the batch"](), positions=TOKENS)
    with pytest.raises(ValueError, match=r"along \(positions\)"):
        from_torch(linear(lambda b, x: x + b.a(x.repeat(1, 2, 1)))(), positions=TOKENS)
    assert kept == (torch.ones, torch.Tensor.expand, torch.autograd.Function.apply)
    assert "expand" not in vars(torch.Tensor)


class Sign(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.sign()

    @staticmethod
    def backward(ctx, gradient):
        return gradient


def without_gradients(b, x):
    with torch.no_grad():
        h = b.a(x)
    return x + b.c(h)


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (without_gradients, "stops gradients by detach or no_grad"),
        (lambda b, x: x + b.c(Sign.apply(b.a(x))), "has gradients of its own .torch.autograd.Function."),
    ],
)
def test_gradients_that_are_not_those_of_what_is_computed(function, said):
    net = from_torch(linear(function)(), width=sp.oo)
    assert net.scalings().regimes
    with pytest.raises(ValueError, match=said):
        net.scalings(training=True)


def test_frozen_weights_do_not_train():
    block = linear(lambda b, x: x + b.c(b.a(x).relu()))()
    assert set(from_torch(block, width=sp.oo).scalings(training=True).trained) == {"a", "c"}
    block.a.requires_grad_(False)
    net = from_torch(block, width=sp.oo)
    assert net.frozen == ("a",)
    assert net.scalings(training=True).trained == ("c",)
    assert net.scalings(training="a").trained == ("a",)
    block.c.requires_grad_(False)
    with pytest.raises(ValueError, match="all weights of the module have requires_grad=False"):
        from_torch(block, width=sp.oo).scalings(training=True)
