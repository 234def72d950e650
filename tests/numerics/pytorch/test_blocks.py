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

from derivations import derive  # noqa: E402
from derivations.language.nodes import Applied, Factor  # noqa: E402
from numerics import simulate_network  # noqa: E402
from numerics.pytorch import from_torch  # noqa: E402
from tests.numerics.pytorch.evaluation import evaluated  # noqa: E402

P, E, H = 4, 6, 2  # positions, features, heads


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


def encoder(norm_first, batch_first, **options):
    return nn.TransformerEncoderLayer(E, H, 10, dropout=0.0, norm_first=norm_first, batch_first=batch_first, **options)


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


class Residual(nn.Module):
    """x + branch(x); attention reads the state three times."""

    def __init__(self, branch):
        super().__init__()
        self.branch = branch

    def forward(self, x):
        if isinstance(self.branch, nn.MultiheadAttention):
            return x + self.branch(x, x, x)[0]
        return x + self.branch(x)


def filters():
    return Residual(
        nn.Sequential(nn.Conv1d(2, 3, 3, padding="same", padding_mode="reflect"), nn.ReLU(), nn.Conv1d(3, 2, 1))
    )


def products(moved):
    """Means of products of all moves, and their errors."""
    flat = moved.reshape(len(moved), -1)
    pairs = flat[:, :, None] * flat[:, None, :]
    return pairs.mean(axis=0), pairs.std(axis=0) / np.sqrt(len(flat))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "axes"),
    [
        (lambda: Residual(nn.MultiheadAttention(E, H, batch_first=True)), "batch"),
        (lambda: encoder(True, True), "batch"),
        (filters, "channels"),
    ],
    ids=["multihead", "pre-norm", "filters"],
)
def test_one_layer_of_fresh_blocks_moves_as_networks_with_the_weights_that_were_read(make, axes):
    samples, places = 2500, 3
    net = from_torch(make, positions=places, exact_law=True)
    size = int(net.width)
    x = np.random.default_rng(1).normal(size=(places, size))
    given = torch.tensor(x if axes == "batch" else x.T.copy(), dtype=torch.float32)[None]
    with torch.no_grad():
        theirs = np.array([(make()(given) - given)[0].numpy() for _ in range(samples)])
    if axes == "channels":
        theirs = theirs.transpose(0, 2, 1)
    ours = simulate_network(net, depth=1, samples=samples, x0=x.T, seed=2).transpose(0, 2, 1) - x
    (first, error), (second, other) = products(theirs), products(ours)
    bound = 5.5 * np.hypot(error, other).max()
    assert np.abs(first - second).max() < bound
    (size, error), (ours_size, other) = (
        ((m**2).sum(axis=(1, 2)).mean(), (m**2).sum(axis=(1, 2)).std() / np.sqrt(samples)) for m in (theirs, ours)
    )
    assert abs(size - ours_size) < 4 * np.hypot(error, other)
    assert abs(1.25 * size - ours_size) > 4 * np.hypot(
        1.25 * error, other
    )  # a variance that is too large by a quarter is seen
    spread = np.hypot(theirs.std(axis=0), ours.std(axis=0)).max() / np.sqrt(samples)
    assert np.abs(theirs.mean(axis=0) - ours.mean(axis=0)).max() < 5 * spread


def test_filters_have_the_derived_covariance():
    """Between positions and neurons, per unit of ε²; a border that is reflected is read twice by some."""
    samples, places = 1500, 3
    limit = derive(from_torch(filters, positions=places)).limit
    x = np.random.default_rng(3).normal(size=(2, places))
    at = dict(zip(limit.states, x.ravel(), strict=True))
    derived = np.array(sp.Matrix(limit.covariance).subs(at).evalf(), dtype=float)
    given = torch.tensor(x, dtype=torch.float32)[None]
    with torch.no_grad():
        moved = np.array([(filters()(given) - given)[0].numpy() for _ in range(samples)])
    simulated, error = products(moved)
    assert np.abs(simulated - derived).max() < 5 * error.max()
    assert np.abs(np.diag(simulated - 1.3 * derived)).max() > 5 * error.max()


class Calls(nn.Module):
    """Any function of the block's modules and the state."""

    def __init__(self, function, **modules):
        super().__init__()
        self.function = function
        for name, module in modules.items():
            (self.register_buffer if isinstance(module, torch.Tensor) else self.__setattr__)(name, module)

    def forward(self, x):
        return self.function(self, x)


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
        (nn.Sequential(nn.TransformerEncoderLayer(4, 2)), {"positions": 2}, r"0.self_attn \(Multi.* drops attention"),
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
            Calls(lambda b, x: x + b.attn(x, x, x, key_padding_mask=b.mask)[0], mask=torch.ones(1, 3), **ATTENTION),
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
