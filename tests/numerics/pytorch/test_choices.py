"""Comparisons, choices, masks a head, linear attention and shifts by zeros, with a block's own weights: what is read is what PyTorch computes."""

from __future__ import annotations

import math

import pytest
import sympy as sp

torch = pytest.importorskip("torch", reason="reading PyTorch modules needs the extra torch")
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from derivations import derive  # noqa: E402
from derivations.gaussian import GaussianExpectation  # noqa: E402
from derivations.language.nodes import Applied  # noqa: E402
from numerics.pytorch import from_torch  # noqa: E402
from tests.numerics.pytorch.test_blocks import Calls  # noqa: E402
from tests.numerics.pytorch.test_todays_blocks import (  # noqa: E402
    HEADS,
    TOKENS,
    Decoder,
    N,
    assert_read_as_pytorch_computes,
    pointwise,
)

SIZE = N // HEADS


@pytest.fixture(autouse=True)
def seeded():
    torch.set_num_threads(1)
    torch.manual_seed(0)


def scores(q, k):
    return q @ k.transpose(-1, -2) / math.sqrt(SIZE)


def positive(q, k):
    return F.elu(q) + 1, F.elu(k) + 1


def lower():
    return torch.tril(torch.ones(TOKENS, TOKENS, dtype=torch.bool))


def hidden(fill):
    def attend(b, q, k, v):
        s = scores(q, k)
        return torch.where(lower(), s, fill(s)).softmax(-1) @ v

    return attend


def softmax_by_hand(b, q, k, v):
    e = scores(q, k).exp()
    return (e / e.sum(-1, keepdim=True)) @ v


def with_a_sink(b, q, k, v):
    e = scores(q, k).exp()
    return (e / (1 + e.sum(-1, keepdim=True))) @ v


def linear_attention(b, q, k, v):
    q, k = positive(q, k)
    return (q @ (k.transpose(-1, -2) @ v)) / (q @ k.sum(-2)[..., None])


def linear_by_einsum(b, q, k, v):
    q, k = positive(q, k)
    return torch.einsum("bhnd,bhde->bhne", q, torch.einsum("bhnd,bhne->bhde", k, v))


def slopes(b, q, k, v):  # as in ALiBi
    own = torch.tensor([2.0 ** -(i + 1) for i in range(HEADS)], dtype=torch.float64)
    places = torch.arange(TOKENS)
    return (scores(q, k) + own[:, None, None] * (places[None] - places[:, None])).softmax(-1) @ v


def masks_of_heads(b, q, k, v):
    masks = torch.stack([lower()] * (HEADS - 1) + [torch.eye(TOKENS, dtype=torch.bool)])
    return F.scaled_dot_product_attention(q, k, v, attn_mask=masks)


def decays(b, q, k, v):  # as in RetNet
    later = (torch.arange(TOKENS)[:, None] - torch.arange(TOKENS)).double()
    own = 1 - 2.0 ** -(1 + torch.arange(HEADS).double())
    decay = torch.where(later >= 0, own[:, None, None] ** later.clamp(min=0), torch.zeros((), dtype=torch.float64))
    return (q @ k.transpose(-1, -2) * decay) @ v


BLOCKS = {
    "where": pointwise(lambda b, x: torch.where(b.c(x) > 0, b.c(x), 0.1 * b.c(x))),
    "where as a method": pointwise(lambda b, x: x.where(b.c(x) > 0, 2 * x)),
    "where of constants": pointwise(lambda b, x: torch.where(x > 0, 1, 0) * x + torch.where(x <= 0, x, torch.zeros_like(x))),
    "a comparison as a factor": pointwise(lambda b, x: b.c(x) * (b.c(x) > 0.1) + x * torch.gt(x, b.c(x)).to(x.dtype)),
    "active units": pointwise(lambda b, x: (b.c(x).relu() > 0) * x),
    "dead units": pointwise(lambda b, x: (b.c(x).relu() == 0) * x + x * torch.ne(b.c(x).relu(), 0)),
    "finite numbers": pointwise(lambda b, x: torch.nan_to_num(b.c(x), nan=0.5)),
    "one position": pointwise(lambda b, x: x[:, :1] + b.c(x[:, 1]).unsqueeze(1) + 2 * x.select(1, -1)[:, None] + x.narrow(1, 2, 1)),
    "a logarithm of exponentials": pointwise(lambda b, x: b.c(x) * x.logsumexp(-1, keepdim=True)),
    "triangles of scores": lambda: Decoder(lambda b, q, k, v: (q @ k.mT).tril() @ v + 2 * torch.triu(q @ k.mT, 1) @ v),
    "all positions": pointwise(lambda b, x: b.c(x[:, 0:TOKENS])),
    "no active units": pointwise(lambda b, x: (b.c(x).relu() >= 0) * x),
    "and, or, not": pointwise(lambda b, x: x * ((x > 0) & (b.c(x) < 1) | ~(x >= -0.2))),
    "numbers of comparisons": pointwise(lambda b, x: ((x > 0).float() + (b.c(x) > 0).double()) * x),
    "the average of a comparison": pointwise(lambda b, x: x * (x > x.mean(-1, keepdim=True)).float().mean(-1, keepdim=True)),
    "heaviside": pointwise(lambda b, x: torch.heaviside(b.c(x).relu(), torch.tensor(0.25).double())),
    "masked_fill by a comparison": pointwise(lambda b, x: b.c(x).masked_fill(b.c(x) < 0, 0.5)),
    "threshold": pointwise(lambda b, x: F.threshold(b.c(x), 0.1, 0.3)),
    "kinks of kinks": pointwise(lambda b, x: F.hardtanh(F.relu(b.c(x)))),
    "scores that are hidden": lambda: Decoder(hidden(lambda s: torch.tensor(-math.inf, dtype=s.dtype))),
    "scores hidden by the least number": lambda: Decoder(hidden(lambda s: torch.finfo(s.dtype).min)),
    "softmax by hand": lambda: Decoder(softmax_by_hand),
    "a softmax with a sink": lambda: Decoder(with_a_sink),
    "linear attention": lambda: Decoder(linear_attention),
    "linear attention by einsum": lambda: Decoder(linear_by_einsum),
    "slopes of heads": lambda: Decoder(slopes),
    "masks of heads": lambda: Decoder(masks_of_heads),
    "decays of heads": lambda: Decoder(decays),
    "the token before": pointwise(lambda b, x: b.c(0.5 * x + 0.5 * F.pad(x, (0, 0, 1, -1))).relu()),
    "two tokens ahead": pointwise(lambda b, x: F.pad(x, (0, 0, -2, 2), value=0.0)),
    "the precision asked for": pointwise(lambda b, x: b.c(x) if x.dtype == torch.float64 else x),
}  # fmt: skip


@pytest.mark.parametrize("name", BLOCKS)
def test_what_is_read_is_what_pytorch_computes(name):
    assert_read_as_pytorch_computes(BLOCKS[name]())


def product(function):
    return lambda: Decoder(lambda b, q, k, v: q @ function(k.transpose(-1, -2) @ v))


def pairs():
    return Calls(lambda b, x: x + b.m(x, x, x)[1] @ x, m=nn.MultiheadAttention(N, 2, batch_first=True))


def adapter():
    return Calls(
        lambda b, x: x + b.a(x) + x @ b.A.T @ b.B.T,
        a=nn.Linear(N, N),
        A=nn.Parameter(torch.randn(4, N)),
        B=nn.Parameter(torch.randn(N, 4)),
    )


ORDERS = "it looks for the largest, the smallest or the order of entries"
AFTER = "keys times values are known where queries are multiplied with them next"
REFUSED = {
    "some positions": (pointwise(lambda b, x: torch.cat([x[:, 1:], x[:, :1]], 1)), "a slice keeps 2 of 3 positions; a layer keeps its positions"),
    "random numbers": (pointwise(lambda b, x: F.gumbel_softmax(x)), "it draws random numbers by itself"),
    "distances": (pointwise(lambda b, x: torch.cdist(x, x) @ x), "distances of positions have no rule"),
    "a triangle of features": (pointwise(lambda b, x: x.tril()), "triangles are known of scores"),
    "no such position": (pointwise(lambda b, x: x[:, 7:8]), "a slice keeps 0 of 3 positions"),
    "two of them": (pointwise(lambda b, x: x.narrow(1, 0, 2)), "narrow keeps 2 of the entries"),
    "not a row of the grid": (pointwise(lambda b, x: x.select(-1, 0)), "select takes one entry along .features"),
    "weights of pairs": (pairs, "its weights have no rule alone"),
    "an adapter's parameters": (adapter, "A is a tensor that the block draws itself"),
    "or by a sum": (pointwise(lambda b, x: ((x > 0) + (b.c(x) > 0)) * x), "two comparisons are added, which PyTorch takes as or"),
    "whole numbers": (pointwise(lambda b, x: x.to(torch.long) * x), "converted to torch.int64, which rounds them"),
    "whole numbers by a word": (pointwise(lambda b, x: x.to(dtype=torch.int32) * x), "converted to torch.int32"),
    "a condition that is no comparison": (pointwise(lambda b, x: torch.where(x, x, b.c(x))), "where is known for comparisons"),
    "a condition that is given": (
        pointwise(lambda b, x: torch.where(torch.ones(N, dtype=torch.bool), x, 0.0)),
        "and for masks of scores with -inf elsewhere",
    ),
    "scores hidden by themselves": (
        lambda: Decoder(lambda b, q, k, v: scores(q, k).masked_fill(scores(q, k) < 0, -math.inf).softmax(-1) @ v),
        "a mask that follows from the state",
    ),
    "the largest score": (lambda: Decoder(lambda b, q, k, v: (scores(q, k) - scores(q, k).amax(-1, True)).exp() @ v), ORDERS),
    "the largest neurons": (pointwise(lambda b, x: b.c(x) * b.c(x).argmax(-1, keepdim=True)), ORDERS),
    "floor": (pointwise(lambda b, x: x.floor()), "it jumps at infinitely many places"),
    "Fourier": (pointwise(lambda b, x: torch.fft.fft(x, dim=1).real), "by complex numbers"),
    "a mask a text": (
        lambda: Decoder(lambda b, q, k, v: F.scaled_dot_product_attention(q, k, v, attn_mask=torch.ones(2, 1, 3, 3))),
        "give one for all heads and inputs",
    ),
    "a token more": (pointwise(lambda b, x: F.pad(x, (0, 0, 1, 0))[:, :-1]), "pad adds 1 and 0 along .positions."),
    "features more": (pointwise(lambda b, x: F.pad(x, (1, -1))), "pad adds 1 and -1 along .features."),
    "a pad of ones": (pointwise(lambda b, x: F.pad(x, (0, 0, 1, -1), value=1.0)), "pad fills with 1.0"),
    "a pad around": (pointwise(lambda b, x: F.pad(x, (0, 0, 1, -1), mode="circular")), "pad fills with circular"),
    "a function of keys times values": (product(torch.tanh), AFTER),
    "a sum of keys times values": (product(lambda m: m + m), AFTER),
    "keys times values turned": (product(lambda m: m.transpose(-1, -2)), AFTER),
    "keys times values": (lambda: Decoder(lambda b, q, k, v: k.transpose(-1, -2) @ v), AFTER),
    "a size of the batch": (
        pointwise(lambda b, x: x + torch.zeros(x.shape[0], TOKENS, N)),
        "nor make tensors whose size is the batch's",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_rule_is_refused_by_its_reason(name):
    block, said = REFUSED[name]
    with pytest.raises(ValueError, match=said):
        from_torch(block(), positions=TOKENS)


class Mixer(nn.Module):
    def __init__(self):
        super().__init__()
        self.tokens, self.channels = nn.Linear(TOKENS, TOKENS), nn.Linear(N, N)

    def forward(self, x):
        return x + self.channels(self.tokens(x.transpose(1, 2)).transpose(1, 2))


class Gated(nn.Module):
    """One gate for all neurons."""

    def __init__(self):
        super().__init__()
        self.a, self.gate = nn.Linear(N, N), nn.Linear(N, 2)

    def forward(self, x):
        return x + self.a(x) * torch.sigmoid(self.gate(x))[..., :1]


class Experts(nn.Module):
    """A mixture of all experts by the shares of a router."""

    def __init__(self):
        super().__init__()
        self.router = nn.Linear(N, 3, bias=False)
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(N, 2 * N), nn.ReLU(), nn.Linear(2 * N, N)) for _ in range(3)
        )

    def forward(self, x):
        shares = torch.softmax(self.router(x), dim=-1)
        return x + sum(shares[..., k : k + 1] * expert(x) for k, expert in enumerate(self.experts))


class Masked(nn.Module):
    """Shares of all channels."""

    def __init__(self):
        super().__init__()
        self.a, self.mask = nn.Linear(N, N), nn.Linear(N, N)

    def forward(self, x):
        return x + self.a(x) * torch.softmax(self.mask(x), dim=-1)


def shared(function):
    """A block with a gate of one feature, a router of three, and matrices beside."""
    return lambda: Calls(
        function,
        a=nn.Linear(N, N),
        c=nn.Linear(N, N),
        g=nn.Linear(N, 1),
        r=nn.Linear(N, 3),
        d=nn.Linear(1, N),
        e=nn.Linear(3, N),
    )


SHARED = {
    "a gate by an index": Gated,
    "a router": Experts,
    "squeezed": shared(lambda b, x: x + b.g(x).squeeze(-1).sigmoid().unsqueeze(-1) * b.a(x)),
    "one index": shared(lambda b, x: x + b.g(x)[..., 0].sigmoid()[..., None] * b.a(x)),
    "expanded": shared(lambda b, x: x + b.g(x).sigmoid().expand(-1, -1, N) * b.a(x)),
    "of the state": shared(lambda b, x: x * b.g(x).tanh() + b.a(x)),
    "two gates": shared(lambda b, x: x + (b.g(x) + b.r(x)[..., :1]).tanh() * b.a(x)),
    "read again": shared(lambda b, x: x + b.d(b.g(x).relu()) + b.e(b.r(x).softmax(-1))),
    "one by one": shared(
        lambda b, x: (
            x
            + sum(w.unsqueeze(-1) * h for w, h in zip(b.r(x).softmax(-1).unbind(-1), (b.a(x), b.c(x), x), strict=True))
        )
    ),
    "in chunks": shared(lambda b, x: x + b.r(x).softmax(-1).chunk(3, -1)[2] * b.a(x)),
    "a choice": shared(lambda b, x: x + torch.where(b.g(x) > 0, b.a(x), b.c(x))),
    "an average over positions": shared(lambda b, x: x + b.g(x).squeeze(-1).mean(-1)[:, None, None] * b.a(x)),
}


@pytest.mark.parametrize("name", SHARED)
def test_numbers_that_all_neurons_share_are_read_as_pytorch_computes(name):
    assert_read_as_pytorch_computes(SHARED[name]())


def test_one_feature_is_one_number_at_every_width():
    """Over infinitely many neurons a gate would be its mean, and its square the square of that."""
    net = from_torch(Gated, width=sp.oo)
    (gate,) = (node.weights for node in net.expression().atoms(Applied) if node.weights.name.startswith("gate"))
    assert gate.out == 1
    limit = derive(net).limit
    (mean,) = limit.drift.atoms(GaussianExpectation)
    z = sp.Symbol("z", real=True)
    assert sp.expand(mean.args[0](z) - (1 + sp.exp(-z)) ** -2).equals(0)


def test_random_numbers_over_positions_or_channels_are_refused_by_that_reason():
    for block, said in (
        (Mixer, r"tokens \(Linear\) works along .* as of MLP-Mixer and gMLP, .* is shared by all neurons"),
        (Masked, r"softmax goes over \(features\), as that of a mask of channels"),
        (
            shared(lambda b, x: x + b.g(x).squeeze(-1).softmax(-1).unsqueeze(-1) * b.a(x)),
            r"softmax goes over \(positions\), as that of a mask of channels or of a pooling",
        ),
    ):
        with pytest.raises(ValueError, match=said):
            from_torch(block(), positions=TOKENS)
