"""Blocks as today's libraries write them, with their own weights put in: what is read is what PyTorch computes."""

from __future__ import annotations

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="reading PyTorch modules needs the extra torch")
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from derivations.language.nodes import Applied  # noqa: E402
from numerics.pytorch import from_torch  # noqa: E402
from numerics.pytorch.guards import unwrapped  # noqa: E402
from tests.numerics.pytorch.evaluation import evaluated, read_with_copies  # noqa: E402
from tests.numerics.pytorch.test_blocks import Calls, tensors_by_name  # noqa: E402

N, HEADS, TOKENS = 8, 4, 3


@pytest.fixture(autouse=True)
def seeded():
    torch.set_num_threads(1)
    torch.manual_seed(0)


class RMSNorm(nn.Module):
    """As Llama writes it."""

    def __init__(self, size, eps=1e-9):
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(size)), eps

    def forward(self, x):
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps)).to(x.dtype)


class LayerNorm(nn.Module):
    """As the annotated transformer writes it."""

    def forward(self, x):
        return (x - x.mean(-1, keepdim=True)) / (x.std(-1, keepdim=True) + 1e-9)


class Decoder(nn.Module):
    """Attention and a gate without biases; ``attend`` mixes the heads, ``keys`` heads share their keys and values, ``form`` orders the branches."""

    def __init__(self, attend, keys=HEADS, form="sequence", queries=nn.Identity):
        super().__init__()
        size = N // HEADS
        self.n1, self.n2, self.n3, self.n4 = (RMSNorm(N) for _ in range(4))
        self.q, self.k = nn.Linear(N, N, bias=False), nn.Linear(N, keys * size, bias=False)
        self.v, self.o = nn.Linear(N, keys * size, bias=False), nn.Linear(N, N, bias=False)
        self.gate, self.up, self.down = (nn.Linear(a, b, bias=False) for a, b in ((N, 12), (N, 12), (12, N)))
        self.qn, self.kn = queries(), queries()
        self.attend, self.form, self.shared = attend, form, HEADS // keys

    def attention(self, x):
        shape = (*x.shape[:-1], -1, N // HEADS)
        q, k, v = (m(x).view(shape).transpose(1, 2) for m in (self.q, self.k, self.v))
        return self.o(self.attend(self, self.qn(q), self.kn(k), v).transpose(1, 2).reshape(*x.shape[:-1], N))

    def mlp(self, x):
        return self.down(F.silu(self.gate(x)) * self.up(x))

    def forward(self, x):
        if self.form == "parallel":
            return x + self.attention(self.n1(x)) + self.mlp(self.n1(x))
        if self.form == "sandwich":
            x = x + self.n3(self.attention(self.n1(x)))
            return x + self.n4(self.mlp(self.n2(x)))
        x = x + self.attention(self.n1(x))
        return x + self.mlp(self.n2(x))


def causal(b, q, k, v):
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)


def interleaved(b, q, k, v):
    return causal(b, q, k.repeat_interleave(b.shared, dim=1), v.repeat_interleave(b.shared, dim=1))


def repeated(b, q, k, v):
    def each(x):
        batch, heads, tokens, size = x.shape
        x = x[:, :, None, :, :].expand(batch, heads, b.shared, tokens, size)
        return x.reshape(batch, heads * b.shared, tokens, size)

    return causal(b, q, each(k), each(v))


def grouped(b, q, k, v):
    return F.scaled_dot_product_attention(q, k, v, enable_gqa=True)


def by_einsum(b, q, k, v):
    scores = torch.einsum("bhid,bhjd->bhij", q, k) / math.sqrt(N // HEADS)
    return torch.einsum("bhij,bhjd->bhid", scores.softmax(-1), v)


def unscaled(b, q, k, v):  # as in T5
    return (q @ k.transpose(-1, -2)).softmax(-1) @ v


def capped(b, q, k, v):
    scores = torch.tanh(q @ k.transpose(-1, -2) / math.sqrt(N // HEADS) / 30.0) * 30.0
    return scores.softmax(-1) @ v


def retained(b, q, k, v):
    later = torch.arange(TOKENS)[:, None] - torch.arange(TOKENS)
    decay = torch.where(later >= 0, 0.75 ** later.double(), torch.zeros((), dtype=torch.float64))
    return (q @ k.transpose(-1, -2) * decay) @ v


def shared_by_einsum(b, q, k, v):
    shares = torch.einsum("bhid,bjd->bhij", q / math.sqrt(N // HEADS), k[:, 0]).softmax(-1)
    return torch.einsum("bhij,bjd->bhid", shares, v[:, 0])


def keys_before_queries(b, q, k, v):
    shares = torch.einsum("bjd,bhid->bhij", k[:, 0], q / math.sqrt(N // HEADS)).softmax(-1)
    return torch.einsum("bjd,bhij->bhid", v[:, 0], shares)


class LeavesOut(nn.Module):
    """Takes more than the state, as blocks of libraries do; a layer that is repeated leaves it out."""

    def __init__(self):
        super().__init__()
        self.a = nn.Linear(N, N)

    def forward(self, x, condition=None, size=0.5, other=False, *, mode="relu", **more):
        y = self.a(x)
        if condition is not None:
            y = y * condition
        if other:
            y = 7 * y
        return x + size * (y.relu() if mode == "relu" else y)


class Compiled(nn.Module):
    """As torch.compile wraps a module, without the seconds that it takes."""

    def __init__(self, module):
        super().__init__()
        self._orig_mod = module

    def __call__(self, x):
        return self._orig_mod(x)


class HalfSquare(nn.Module):
    """Reads more features than the state has."""

    def __init__(self):
        super().__init__()
        self.a = nn.Linear(2 * N, N)

    def forward(self, x):
        return x + self.a(torch.cat([x, x.relu() ** 2 / 2], -1))


def pointwise(function):
    return lambda: Calls(lambda b, x: x + b.a(function(b, x)), a=nn.Linear(N, N), c=nn.Linear(N, N))


class Fused(nn.Module):
    """Queries of all heads, and one key and value for them, put out by one matrix and taken apart by lists of places."""

    def __init__(self):
        super().__init__()
        self.qkv, self.o = nn.Linear(N, (HEADS + 2) * (N // HEADS), bias=False), nn.Linear(N, N, bias=False)

    def forward(self, x):
        parts = self.qkv(x).view(*x.shape[:-1], HEADS + 2, N // HEADS)
        q, k, v = (u.transpose(1, 2) for u in (parts[..., :-2, :], parts[..., [-2], :], parts[:, :, [HEADS + 1]]))
        seen = F.scaled_dot_product_attention(q, k, v)
        return x + self.o(seen.transpose(1, 2).reshape(x.shape))


class Sliced(nn.Module):
    """Queries, keys and values as three slices of what one matrix puts out; the second slice and the third were taken for one."""

    def __init__(self, keys=(N, 2 * N), cut=None):
        super().__init__()
        self.keys, self.cut = slice(*keys), cut
        self.qkv, self.o = nn.Linear(N, 3 * N, bias=False), nn.Linear(N, N, bias=False)

    def forward(self, x):
        put_out = self.qkv(x)
        parts = put_out[..., :N], put_out[..., self.keys], put_out[..., 2 * N :]
        parts = self.cut(put_out) if self.cut else parts
        q, k, v = (u.view(*x.shape[:-1], HEADS, N // HEADS).transpose(1, 2) for u in parts)
        return x + self.o(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(x.shape))


BLOCKS = {
    "llama": lambda: Decoder(causal),
    "heads that share keys, interleaved": lambda: Decoder(interleaved, keys=2),
    "heads that share keys, expanded": lambda: Decoder(repeated, keys=2),
    "heads that share keys, by an option": lambda: Decoder(grouped, keys=2),
    "one matrix, whose last two parts are key and value": lambda: Fused(),
    "one matrix, in three slices": Sliced,
    "one slice for queries and keys": lambda: Sliced((0, N)),
    "slices by narrow": lambda: Sliced(cut=lambda u: [u.narrow(-1, k * N, N) for k in (2, 0, 1)]),
    "slices by tensor_split": lambda: Sliced(cut=lambda u: u.tensor_split(3, dim=-1)),
    "slices at places": lambda: Sliced(cut=lambda u: u.tensor_split((N, 2 * N), dim=-1)),
    "slices of slices": lambda: Sliced(
        cut=lambda u: (u[..., : 2 * N][..., :N], u[..., : 2 * N][..., N:], u[..., 2 * N :])
    ),
    "every second neuron": lambda: Sliced(
        cut=lambda u: (
            u[..., ::2][..., :N],
            u[..., 1::2][..., :N],
            torch.cat([u[..., k::2][..., N:] for k in (0, 1)], -1),
        )
    ),
    "one key for all": lambda: Decoder(interleaved, keys=1),
    "norms of queries and keys": lambda: Decoder(causal, queries=lambda: RMSNorm(N // HEADS)),
    "parallel branches": lambda: Decoder(by_einsum, form="parallel"),
    "norms on both sides": lambda: Decoder(causal, form="sandwich"),
    "scores with a cap": lambda: Decoder(capped),
    "scores without a scale": lambda: Decoder(unscaled),
    "standard deviation": lambda: nn.Sequential(LayerNorm(), nn.Linear(N, N)),
    "a matrix of more than the state": HalfSquare,
    "several devices": lambda: nn.DataParallel(nn.Sequential(nn.Linear(N, N), nn.ReLU())),
    "compiled": lambda: Compiled(nn.Sequential(nn.Linear(N, N), nn.ReLU())),
    "clamp": pointwise(lambda b, x: x.clamp(-0.5, 1) + x.clamp(min=0.2)),
    "clamp between tensors that are given": pointwise(
        lambda b, x: torch.clamp(b.c(x), min=torch.tensor(-0.5), max=torch.tensor([1.0]))
    ),
    "xIELU": pointwise(lambda b, x: expanded_integral(b.c(x), torch.tensor([0.2]), torch.tensor([-0.3]))),
    "clamp between tensors": pointwise(lambda b, x: torch.clamp(b.c(x), min=x - 1, max=x + 1)),
    "functions of logarithms": pointwise(lambda b, x: F.logsigmoid(b.c(x)) + torch.logaddexp(b.c(x), x)),
    "slopes that were drawn": pointwise(lambda b, x: F.rrelu(b.c(x)) + F.prelu(x, torch.tensor([0.3]).double())),
    "maximum": pointwise(lambda b, x: torch.maximum(x, b.c(x)) - torch.minimum(b.c(x), 2 * x)),
    "unit length": pointwise(lambda b, x: F.normalize(x, dim=-1) + x / x.norm(dim=-1, keepdim=True)),
    "cosine of two tensors": pointwise(lambda b, x: F.cosine_similarity(b.c(x), x, dim=-1).unsqueeze(-1) * x),
    "variance and sum": pointwise(lambda b, x: x / x.var(-1, keepdim=True) + x.sum(dim=-1, keepdim=True)),
    "one key for all, by einsum": lambda: Decoder(shared_by_einsum, keys=1),
    "keys before queries": lambda: Decoder(keys_before_queries, keys=1),
    "arguments that are left out": LeavesOut,
    "tensors stacked and added": pointwise(lambda b, x: torch.stack([b.c(x), x.relu()]).sum(0)),
    "tensors stacked and averaged": pointwise(lambda b, x: torch.stack([b.c(x), x.relu(), x], 1).mean(1, True)[:, 0]),
    "a matrix by its name": pointwise(lambda b, x: F.linear(x, weight=b.c.weight, bias=b.c.bias)),
    "matrix by einsum": pointwise(lambda b, x: torch.einsum("bti,oi->bto", x, b.c.weight)),
    "maxout": pointwise(lambda b, x: torch.max(b.c(x), x) + torch.min(x, 2 * b.c(x))),
    "squeeze and excitation over tokens": pointwise(lambda b, x: b.c(x) * b.c(x.mean(1, keepdim=True)).sigmoid()),
    "centred over positions": pointwise(lambda b, x: F.gelu(b.c(x) - b.c(x).mean(dim=1, keepdim=True))),
    "length over positions": pointwise(lambda b, x: x / torch.norm(b.c(x), p=2, dim=1, keepdim=True)),
    "sum over positions": pointwise(lambda b, x: b.c(x.sum(1)).tanh().unsqueeze(1) * x),
    "retention": lambda: Decoder(retained),
    "a shift by one token": pointwise(lambda b, x: b.c(0.5 * x + 0.5 * torch.roll(x, 1, 1)).relu()),
    "tokens turned round": pointwise(lambda b, x: b.c(x.flip(1)) + b.c(x).flip([1])),
    "running sums": pointwise(lambda b, x: b.c(x).cumsum(1).relu()),
    "unflattened by a module": lambda: Calls(
        lambda b, x: x + b.a(2 * b.u(b.c(x)).flatten(-2)),
        a=nn.Linear(N, N),
        c=nn.Linear(N, N),
        u=nn.Unflatten(-1, (2, N // 2)),
    ),
    "loop over a shape": pointwise(
        lambda b, x: torch.cat([sum(h for h in b.c(x).chunk(2, -1))] * 2, -1) * len(x.shape)
    ),
}


def expanded_integral(x, above, below, beta=0.5, near=-1e-6):
    """The activation of Apertus, as the library ``transformers`` writes it: both slopes are learned."""
    left = torch.expm1(torch.min(x, torch.tensor(near))) - x
    above, below = nn.functional.softplus(above), beta + nn.functional.softplus(below)
    return torch.where(x > 0, above * x * x + beta * x, left * below + beta * x)


def assert_read_as_pytorch_computes(block):
    """With the module's own weights the network that is read gives the module's own output, and of another state it does not."""
    block = block.double()
    net, copies = read_with_copies(block, positions=TOKENS, scale=1)
    x = torch.randn(TOKENS, N, dtype=torch.float64)
    with torch.no_grad():
        theirs = block(x[None])[0].cpu().numpy()
    tensors = tensors_by_name(unwrapped(block))
    np.testing.assert_allclose(evaluated(net, x.numpy(), tensors, copies), theirs, rtol=1e-4, atol=1e-5)
    wrong = evaluated(net, x.numpy()[:, ::-1], tensors, copies)  # control: another state
    assert np.abs(wrong - theirs).max() > 1e-3


@pytest.mark.parametrize("name", BLOCKS)
def test_what_is_read_is_what_pytorch_computes(name):
    assert_read_as_pytorch_computes(BLOCKS[name]())


def test_slices_that_have_neurons_in_common_are_refused():
    with pytest.raises(ValueError, match="qkv puts out is read in parts that have neurons in common"):
        from_torch(Sliced((N // 2, 3 * N // 2)), positions=TOKENS)


@pytest.mark.parametrize("counts", [True, False])
def test_averages_over_neighbours_that_keep_the_grid(counts):
    pool = nn.AvgPool2d((3, 1), stride=1, padding=(1, 0), count_include_pad=counts)
    block = Calls(lambda b, x: x + b.pool(b.a(x).relu()), a=nn.Conv2d(N, N, 1), pool=pool).double()
    net = from_torch(block, positions=(3, 2), scale=1)
    x = torch.randn(6, N, dtype=torch.float64)
    with torch.no_grad():
        theirs = block(x.T.reshape(1, N, 3, 2))[0].reshape(N, 6).T.numpy()
    found = evaluated(net, x.numpy(), tensors_by_name(block))
    np.testing.assert_allclose(found, theirs, rtol=1e-6)
    assert (
        np.abs(evaluated(net, x.numpy()[::-1].copy()[[0, 2, 1, 3, 4, 5]], tensors_by_name(block)) - theirs).max() > 1e-3
    )


def test_averages_that_make_another_grid_are_refused():
    for pool, said in (
        (nn.AvgPool2d(2), r"0 \(AvgPool2d\) of size \(2, 2\), stride \(2, 2\) .* changes the grid"),
        (nn.AvgPool2d(3, stride=1), "padding .0, 0. changes the grid"),
        (nn.AvgPool1d(3, stride=1, padding=1), "reads tensors of .batch, features, positions. and gets"),
        (
            nn.AdaptiveAvgPool2d(1),
            "reads a tensor of .batch, features, positions, positions. and puts out one of .batch, features, 1, 1.",
        ),
        (nn.AdaptiveAvgPool2d(2), "0 .AdaptiveAvgPool2d. averages over positions and makes a grid of its own"),
    ):
        with pytest.raises(ValueError, match=said):
            from_torch(nn.Sequential(pool, nn.Conv2d(N, N, 1)), positions=(3, 3))


@pytest.mark.slow
def test_submodules_that_are_compiled_are_read_as_they_were_before():
    inner = nn.Sequential(nn.Linear(N, N), nn.GELU())
    plain = from_torch(Calls(lambda b, x: x + b.a(b.m(x)), a=nn.Linear(N, N), m=inner))
    compiled = from_torch(
        Calls(lambda b, x: x + b.a(b.m(x)), a=nn.Linear(N, N), m=torch.compile(inner, backend="eager"))
    )
    assert len(compiled.modules) == len(plain.modules) == 2
    assert [draw for _, draw in compiled.modules] == [draw for _, draw in plain.modules]
    assert str(compiled.layer).replace("m__orig_mod_0", "m_0") == str(plain.layer)
    assert str(plain.layer) != str(from_torch(Calls(lambda b, x: x + b.a(b.m(x)), a=nn.Linear(N, N), m=inner[0])).layer)


def test_heads_that_share_keys_share_their_matrices():
    names = {node.weights.name for node in from_torch(Decoder(interleaved, keys=2), positions=2).layer.atoms(Applied)}
    assert {"k_1", "k_2", "v_1", "v_2", "q_1", "q_4"} <= names
    assert not {"k_3", "v_3", "q_5"} & names


def test_floats_are_the_roots_that_they_were_written_as():
    def layer(function):
        return str(from_torch(pointwise(function)()).layer)

    assert "sqrt(2)" in layer(lambda b, x: x / math.sqrt(2))
    assert "2**(3/4)*sqrt(5)" in layer(lambda b, x: x * (2 * 100) ** 0.25)
    assert "0.3" in layer(lambda b, x: 0.3 * x) or "3*x/10" in layer(lambda b, x: 0.3 * x)


def rotated(b, q, k, v):
    return causal(b, q * b.cos, k * b.cos, v)


def with_angles(attend):
    block = Decoder(attend)
    block.register_buffer("cos", torch.outer(torch.arange(TOKENS), torch.tensor([1.0, 0.01])).cos())
    return block


def gate_over_positions():
    return Calls(
        lambda b, x: x + b.a(b.c(x) * b.p(b.c(x))), a=nn.Linear(N, N), c=nn.Linear(N, N), p=nn.Conv1d(TOKENS, TOKENS, 1)
    )


def depthwise():
    return nn.Sequential(nn.Conv1d(N, N, 3, padding=1, groups=N), nn.Conv1d(N, N, 1))


@pytest.mark.parametrize(
    ("block", "said"),
    [
        (
            lambda: with_angles(rotated),
            "multiplied by numbers that differ between positions and do not turn pairs of neurons",
        ),
        (gate_over_positions, "p .Conv1d. takes the positions for channels, .* as of MLP-Mixer and gMLP"),
        (lambda: nn.Embedding(4, N), "as an input layer or a table of relative positions does"),
        (depthwise, "0 .Conv1d. has 8 groups"),
        (lambda: Decoder(lambda b, q, k, v: v[:, :, torch.arange(q.shape[0])]), "must be Number, not Symbol"),
        (pointwise(lambda b, x: F.rrelu(x, training=True)), "a random slope of each neuron has no rule"),
        (
            pointwise(lambda b, x: b.c(x) * torch.arange(1.0, TOKENS + 1).view(1, -1, 1)),
            "numbers that differ between positions; known are those that turn pairs",
        ),
        (pointwise(lambda b, x: x.norm(p=1, dim=-1, keepdim=True)), "the norm of order 1 has no rule"),
        (
            pointwise(lambda b, x: x.sum((1, 2), keepdim=True)),
            "sum is known over the neurons, .* over all positions, and over tensors that were stacked",
        ),
        (pointwise(lambda b, x: torch.einsum("bti,csi->btcs", x, x)), "'bti,csi->btcs' is no product of two matrices"),
        (pointwise(lambda b, x: torch.einsum("bti->bt", x)), "is no product of two tensors, such as"),
        (pointwise(lambda b, x: torch.einsum("bti,oj->bto", x, b.c.weight)), "sums over more or less than one axis"),
        (pointwise(lambda b, x: x.roll(1, -1)), "roll is known along positions, got the dimension -1"),
        (pointwise(lambda b, x: x.max(-1, keepdim=True)), "max over the entries of one tensor has no rule"),
        (
            lambda: Decoder(lambda b, q, k, v: (q @ k.mT * torch.rand(HEADS, TOKENS, TOKENS)) @ v),
            "random numbers",
        ),
        (
            lambda: Decoder(lambda b, q, k, v: (q @ k.mT * torch.arange(float(TOKENS))) @ v),
            r"are multiplied by a tensor of shape \(3,\); known is one number for each of 3 times 3 pairs",
        ),
        (pointwise(lambda b, x: x.repeat_interleave(2, dim=-1)), "repeat_interleave is known along heads"),
        (pointwise(lambda b, x: x.expand(2, 2, 2)), "is expanded to"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_what_has_no_rule_is_refused_by_its_reason(block, said):
    with pytest.raises(ValueError, match=said):
        from_torch(block(), positions=TOKENS)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_what_torch_jit_has_compiled_is_refused():
    with pytest.raises(
        ValueError, match=r"compiled by torch.jit and cannot be traced; give the module as it was before"
    ):
        from_torch(torch.jit.script(nn.Linear(N, N)))


def test_a_sum_over_all_neurons_grows_with_them():
    block = pointwise(lambda b, x: F.normalize(x, dim=-1))()
    with pytest.raises(ValueError, match="norm goes over all neurons and grows with their number"):
        from_torch(block, width=float("inf"))


def test_a_missing_number_of_positions_is_asked_for():
    with pytest.raises(ValueError, match=r"asks for the shape of its input; give the number of positions, positions=$"):
        from_torch(Decoder(causal))


def test_weights_without_their_biases_are_measured_without_them():
    block = pointwise(lambda b, x: F.linear(x, b.c.weight))
    (_, c), _ = from_torch(block, initialiser="measured").modules
    assert c.bias_variance == 0


def test_sums_over_positions_of_a_grid_go_over_all_of_it():
    def block(average):
        pooled = Calls(
            lambda b, x: x + b.a(x) * b.c(average(b, x)).sigmoid(),
            a=nn.Conv2d(N, N, 1),
            c=nn.Conv2d(N, N, 1),
            pool=nn.AdaptiveAvgPool2d(1),
        )
        return pooled.double()

    x = torch.randn(6, N, dtype=torch.float64)
    for average in (lambda b, x: x.mean((2, 3), keepdim=True), lambda b, x: b.pool(x)):
        made = block(average)
        with torch.no_grad():
            theirs = made(x.T.reshape(1, N, 3, 2))[0].reshape(N, 6).T.numpy()
        found = evaluated(from_torch(made, positions=(3, 2), scale=1), x.numpy(), tensors_by_name(made))
        np.testing.assert_allclose(found, theirs, rtol=1e-5)
        wrong = evaluated(from_torch(made, positions=(3, 2), scale=1), 2 * x.numpy(), tensors_by_name(made))
        assert np.abs(wrong - theirs).max() > 1e-3
    with pytest.raises(
        ValueError,
        match=r"mean goes over some of the axes .batch, features, positions, positions.; over positions it is known for all",
    ):
        from_torch(block(lambda b, x: x.mean(2, keepdim=True)), positions=(3, 2))
