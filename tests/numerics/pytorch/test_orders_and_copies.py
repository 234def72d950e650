"""Blocks that turn their axes before a module reads them, ``...`` in einsum, and laws that are compared with fresh copies."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="reading PyTorch modules needs the extra torch")
from torch import nn  # noqa: E402

from numerics import simulate_network  # noqa: E402
from numerics.pytorch import from_torch  # noqa: E402
from tests.numerics.pytorch.modules import Calls  # noqa: E402

N, PLACES = 4, 3


@pytest.fixture(autouse=True)
def seeded():
    torch.set_num_threads(1)
    torch.manual_seed(0)


def filters(**options):
    return Calls(lambda b, x: x + b.c(x.transpose(1, 2)).transpose(1, 2), c=nn.Conv1d(N, N, 3, padding=1, **options))


def positions_first():
    attention = nn.MultiheadAttention(N, 2)

    def forward(b, x):
        y = x.transpose(0, 1)
        return x + b.m(y, y, y)[0].transpose(0, 1)

    return Calls(forward, m=attention)


def channels_last_of_all():
    """A norm of features behind a turn, read before the filter is."""

    def forward(b, x):
        return x + b.c(torch.relu(b.norm(x.transpose(1, 2))).transpose(1, 2))

    return Calls(forward, norm=nn.LayerNorm(N), c=nn.Conv1d(N, N, 1))


def moments(moved):
    """Means, and means of products of all moves, with their errors."""
    flat = moved.reshape(len(moved), -1)
    products = np.concatenate([flat, (flat[:, :, None] * flat[:, None, :]).reshape(len(flat), -1)], axis=1)
    return products.mean(axis=0), products.std(axis=0) / np.sqrt(len(flat))


@pytest.mark.parametrize("make", [filters, positions_first, channels_last_of_all])
def test_a_block_may_turn_its_axes_before_a_module_reads_them(make):
    samples = 1500
    net = from_torch(make, positions=PLACES, exact_law=True)
    turned = make is channels_last_of_all
    order = "(batch, features, positions)" if turned else "(batch, positions, features)"
    assert f"the state is read as a tensor of {order}" in net.remarks
    x = np.random.default_rng(1).normal(size=(PLACES, N))
    given = torch.tensor(x.T.copy() if turned else x, dtype=torch.float32)[None]
    with torch.no_grad():
        theirs = np.array([(make()(given) - given)[0].numpy() for _ in range(samples)])
    theirs = theirs.transpose(0, 2, 1) if turned else theirs
    ours = simulate_network(net, depth=1, samples=4 * samples, x0=x.T, seed=2).transpose(0, 2, 1) - x
    (first, error), (second, other) = moments(theirs), moments(ours)
    assert (np.abs(first - second) < 4.5 * np.hypot(error, other) + 1e-7).all()
    larger, error = moments(np.sqrt(1.3) * theirs)
    assert (np.abs(larger - second) > 4.5 * np.hypot(error, other) + 1e-7).any()


def test_a_matrix_over_positions_is_not_taken_for_one_of_features():
    """Where there are as many positions as features, another order of axes would fit."""
    block = Calls(lambda b, x: x + b.layer(x.mT).mT, layer=nn.Linear(N, N))
    with pytest.raises(ValueError, match=r"layer \(Linear\) works along the last axis"):
        from_torch(block, positions=N)
    assert (
        from_torch(block, positions=PLACES).remarks[0]
        == "the state is read as a tensor of (batch, features, positions)"
    )


def test_the_reason_is_not_that_of_a_number_of_features_that_does_not_fit():
    """What reads two tensors side by side says another number of features first."""

    def make():
        block = Calls(lambda b, x: x + b.l(torch.cat([nn.functional.layer_norm(x, (6,)), x], -1)), l=nn.Linear(12, 6))
        nn.init.orthogonal_(block.l.weight)
        return block

    with pytest.raises(ValueError, match=r"l \(Linear\) does not look like PyTorch's default"):
        from_torch(make)


@pytest.mark.parametrize(
    ("short", "long"),
    [
        (
            lambda b, x: x + torch.einsum("...i,io->...o", torch.tanh(x), b.w),
            lambda b, x: x + torch.einsum("bpi,io->bpo", torch.tanh(x), b.w),
        ),
        (lambda b, x: x + torch.einsum("oi,...i", b.w, x), lambda b, x: x + torch.einsum("oi,bpi->bpo", b.w, x)),
        (
            lambda b, x: x + torch.einsum("...id,...jd->...ij", b.q(x), b.k(x)).softmax(-1) @ b.v(x),
            lambda b, x: x + torch.einsum("bid,bjd->bij", b.q(x), b.k(x)).softmax(-1) @ b.v(x),
        ),
    ],
)
def test_dots_in_einsum_stand_for_the_axes_that_are_not_named(short, long):
    modules = {word: nn.Linear(N, N) for word in "qkv"} | {"w": torch.randn(N, N)}
    nets = [from_torch(Calls(f, **modules), positions=PLACES, initialiser="lecun_normal") for f in (short, long)]
    assert nets[0].layer == nets[1].layer


def test_dots_in_einsum_without_positions():
    block = Calls(lambda b, x: x + torch.einsum("...i,io->...o", x, b.w), w=torch.randn(N, N))
    assert str(from_torch(block, initialiser="lecun_normal").layer) == "varepsilon*w(x) + x"


def own(std=0.45, seed=None):
    def make():
        if seed is not None:
            torch.manual_seed(seed)
        block = Calls(lambda b, x: x + b.l(torch.tanh(x)), l=nn.Linear(N, N))
        nn.init.normal_(block.l.weight, std=std)
        return block

    return make


def test_a_few_weights_are_compared_with_their_law_in_fresh_copies():
    """16 weights of variance .81/k are no surprise for 1/(3k); 1024 are."""
    with pytest.raises(
        ValueError, match=r"l \(Linear\) does not look like PyTorch's default: its weights have variance"
    ):
        from_torch(own())
    assert from_torch(lambda: Calls(lambda b, x: x + b.l(x), l=nn.Linear(N, N))).modules[0][1].source == "default"


def test_biases_that_a_name_takes_for_0_are_said():
    net = from_torch(own(std=0.5), initialiser="lecun_normal")
    assert any("l (Linear) is taken as lecun_normal draws it, but its biases have variance" in r for r in net.remarks)


def test_copies_that_are_all_one_are_measured_as_one():
    net = from_torch(own(seed=3), initialiser="measured")
    assert any("since the callable makes the same weights each time" in remark for remark in net.remarks)
    assert net.modules[0][1].source == "measured on this copy"
    fresh = from_torch(own(), initialiser="measured")
    assert fresh.modules[0][1].source == "measured on 64 fresh copies"
    assert fresh.modules[0][1].error < net.modules[0][1].error / 4


def attended(shift):
    def forward(b, x):
        scores = b.q(x) @ b.k(x).transpose(-1, -2)
        return x + b.o((scores + shift(b, x)).softmax(-1) @ b.v(x))

    return Calls(forward, some=torch.zeros(PLACES, PLACES), **{word: nn.Linear(N, N) for word in "qkvo"})


def changed(b, x):
    made = torch.full((x.shape[1], x.shape[1]), 0.0)
    made += torch.full((x.shape[1], x.shape[1]), -2.0).triu(1)
    made *= 2 if x.shape[1] > 1 else 3  # a condition has what is before it read while the block is traced
    return made


def seen_before(b, x):
    made = torch.full((x.shape[1], x.shape[1]), 0.0)
    name = made.unsqueeze(0)
    made += torch.full((x.shape[1], x.shape[1]), -2.0).triu(1)
    return name


def of_the_block(b, x):
    b.some += torch.full((x.shape[1], x.shape[1]), -2.0).triu(1)
    return b.some


def test_a_tensor_that_the_forward_makes_may_change_in_place():
    """As the buckets of relative positions in T5 do."""
    at_once = attended(lambda b, x: torch.full((x.shape[1], x.shape[1]), -4.0).triu(1))
    assert from_torch(attended(changed), positions=PLACES).layer == from_torch(at_once, positions=PLACES).layer
    with pytest.raises(ValueError, match=r"changes a tensor in place .* then reads under another name"):
        from_torch(attended(seen_before), positions=PLACES)
    with pytest.raises(ValueError, match="changes a tensor of the block in place"):
        from_torch(attended(of_the_block), positions=PLACES)
