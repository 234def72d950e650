"""Rotary positions as blocks write them, read and evaluated with the block's own weights."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import sympy as sp

torch = pytest.importorskip("torch", reason="reading PyTorch modules needs the extra torch")
import torch.nn.functional as F  # noqa: E402
from torch import nn  # noqa: E402

from derivations import AttentionBlock, derive  # noqa: E402
from derivations.language.nodes import Rotary  # noqa: E402
from numerics.pytorch import from_torch  # noqa: E402
from tests.numerics.pytorch.evaluation import evaluated, read_with_copies  # noqa: E402

TOKENS, N, HEADS = 3, 16, 2
D = N // HEADS
FREQUENCIES = 10.0 ** (-torch.arange(0, D, 2, dtype=torch.float64) / D)


def half(u):
    first, second = u.chunk(2, -1)
    return torch.cat((-second, first), -1)


def turned(b, u):
    return u * b.cosine + half(u) * b.sine


class Rotating(nn.Module):
    """Attention with two heads; ``turn`` is what is done to queries and keys, (batch, heads, positions, features) or positions before heads."""

    def __init__(self, turn=turned, heads_first=True):
        super().__init__()
        self.turn, self.heads_first = turn, heads_first
        self.q, self.k, self.v, self.o = (nn.Linear(N, N, bias=False) for _ in range(4))
        angles = torch.outer(torch.arange(TOKENS).double(), FREQUENCIES).repeat(1, 2)
        self.register_buffer("cosine", angles.cos())
        self.register_buffer("sine", angles.sin())
        self.register_buffer("frequencies", FREQUENCIES)

    def forward(self, x):
        batch, places, _ = x.shape
        q, k, v = (m(x).view(batch, places, HEADS, D) for m in (self.q, self.k, self.v))
        if self.heads_first:
            q, k, v = (u.transpose(1, 2) for u in (q, k, v))
        q, k = self.turn(self, q), self.turn(self, k)
        if not self.heads_first:
            q, k, v = (u.transpose(1, 2) for u in (q, k, v))
        seen = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return x + self.o(seen.transpose(1, 2).reshape(batch, places, N))


def made_on_the_way(b, u):
    angles = torch.outer(torch.arange(u.shape[-2]).double(), b.frequencies)
    angles = torch.cat((angles, angles), -1)
    return u * angles.cos() + half(u) * angles.sin()


def sliced(b, u):
    cosine, sine = (table[: u.shape[-2]][None, None] for table in (b.cosine, b.sine))
    return u * cosine + half(u) * sine


def in_halves(b, u):
    cosine, sine = (table[None, :, None, : D // 2] for table in (b.cosine, b.sine))
    first, second = u.chunk(2, -1)
    return torch.cat((first * cosine + second * sine, second * cosine - first * sine), -1)


def by_one_factor(b, u):
    return 1.25 * (u * b.cosine) + half(u) * (b.sine * 1.25)


def in_turn(b, u):
    """Pairs of neighbours."""
    cosine, sine = b.cosine[:, : D // 2], b.sine[:, : D // 2]
    even, odd = u[..., ::2], u[..., 1::2]
    return torch.stack((even * cosine - odd * sine, even * sine + odd * cosine), -1).flatten(-2)


def in_turn_by_tables(b, u):
    cosine, sine = (table[:, : D // 2].repeat_interleave(2, -1) for table in (b.cosine, b.sine))
    return u * cosine + torch.stack((-u[..., 1::2], u[..., ::2]), -1).reshape(u.shape) * sine


def complex_numbers(b, u):
    turns = torch.polar(
        torch.ones(TOKENS, D // 2, dtype=u.dtype), torch.outer(torch.arange(TOKENS).double(), FREQUENCIES)
    )
    pairs = torch.view_as_complex(u.reshape(*u.shape[:-1], -1, 2))
    return torch.view_as_real(pairs * turns[None, None]).flatten(3).type_as(u)


def pairs_in_an_axis(b, u):
    pairs = u.reshape(*u.shape[:-1], -1, 2)
    cosine, sine = b.cosine[:, : D // 2], b.sine[:, : D // 2]
    first, second = pairs[..., 0], pairs[..., 1]
    return torch.stack([first * cosine - second * sine, second * cosine + first * sine], -1).flatten(3)


NEIGHBOURS = {
    "complex numbers": lambda: Rotating(complex_numbers),
    "pairs in an axis": lambda: Rotating(pairs_in_an_axis),
    "neighbours": lambda: Rotating(in_turn),
    "neighbours, tables": lambda: Rotating(in_turn_by_tables),
}
WAYS = NEIGHBOURS | {
    "tables": lambda: Rotating(),
    "slices of tables": lambda: Rotating(sliced),
    "angles made on the way": lambda: Rotating(made_on_the_way),
    "halves, positions before heads": lambda: Rotating(in_halves, heads_first=False),
    "a factor of all": lambda: Rotating(by_one_factor),
}


@pytest.mark.parametrize("way", WAYS)
def test_what_is_read_is_what_pytorch_computes(way):
    block = WAYS[way]().double()
    net, copies = read_with_copies(block, positions=TOKENS, scale=1)
    x = torch.randn(TOKENS, N, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        theirs = block(x[None])[0].numpy()
    tensors = {name: (getattr(block, name).weight.detach().numpy(), None) for name in "qkvo"}
    if way in NEIGHBOURS:  # the network that is read has partners half of a head apart
        order = np.concatenate([np.r_[h : h + D : 2, h + 1 : h + D : 2] for h in range(0, N, D)])
        tensors |= {name: (tensors[name][0][order], None) for name in "qk"}
    assert np.abs(evaluated(net, x.numpy(), tensors, copies) - theirs).max() < 1e-6  # angles have seven digits
    still = net.layer.replace(Rotary, lambda body, _: body)
    wrong = evaluated(replace(net, layer=still), x.numpy(), tensors, copies)
    assert np.abs(wrong - theirs).max() > 1e-3  # the control: positions that are not turned


def some_turned(b, u):
    first, rest = u[..., : D // 2], u[..., D // 2 :]
    return torch.cat((first * b.cosine[:, ::2] + half(first) * b.sine[:, ::2], rest), -1)


def test_a_part_of_each_head_is_turned():
    limit = derive(from_torch(lambda: Rotating(some_turned), width=sp.oo, positions=TOKENS)).limit
    (table,) = {node.args[1] for node in from_torch(Rotating(some_turned), positions=TOKENS).layer.atoms(Rotary)}
    assert [round(float(w), 6) for w in table] == [1, 0.316228, 0, 0]
    third = sp.Rational(1, 3)  # of nn.Linear's weights
    block = AttentionBlock(
        width=sp.oo, heads=HEADS, size=AttentionBlock(width=sp.oo).size / 2, value_size=AttentionBlock(width=sp.oo).size / 2,
        positions=TOKENS, masked=True, frequencies=table, weight_variance=third,
    )  # fmt: skip
    assert limit.drift == derive(block).limit.drift


def xpos(b, u):
    return turned(b, u) * torch.linspace(1, 2, TOKENS)[:, None].double()


@pytest.mark.parametrize(
    ("turn", "said"),
    [
        (xpos, "differ between positions and do not turn pairs of neurons, all by one factor"),
        (lambda b, u: u * b.cosine, "differ between positions and do not turn pairs of neurons"),
        (lambda b, u: u * b.cosine + half(u) * b.sine * 1.1, "do not turn pairs of neurons, all by one factor"),
        (lambda b, u: torch.stack((u[..., ::2], u[..., 1::2]), -1).flatten(-2), "put in turn, by stack and flatten"),
        (lambda b, u: half(in_turn(b, u)), "that two tensors give in turn are cut into parts"),
        (lambda b, u: torch.view_as_complex(u.reshape(*u.shape[:-1], -1, 2)).abs(), "complex numbers made of pairs"),
        (lambda b, u: torch.view_as_complex(u.reshape(*u.shape[:-1], -1, 2)) * 2, "complex numbers made of pairs"),
        (lambda b, u: torch.view_as_real(u), "view_as_real is known of complex numbers"),
        (lambda b, u: u * b.cosine - u * b.sine, "do not turn pairs of neurons"),
        (lambda b, u: (u * b.cosine + half(u) * b.sine).tanh(), "do not turn pairs of neurons"),
    ],
)
def test_tables_that_turn_nothing_are_refused(turn, said):
    with pytest.raises(ValueError, match=said):
        from_torch(Rotating(turn), positions=TOKENS)


def test_tables_elsewhere_than_in_scores_are_refused():
    class Weighed(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(N, N), nn.Linear(N, N)

        def forward(self, x):
            return x + self.b(self.a(x) * torch.arange(1.0, TOKENS + 1)[:, None])

    with pytest.raises(
        ValueError, match="multiplied by numbers that differ between positions; known are those that turn"
    ):
        from_torch(Weighed(), positions=TOKENS)
