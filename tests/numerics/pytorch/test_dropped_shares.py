"""Dropout of attention's shares: one factor for each pair of positions, head and input."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp

torch = pytest.importorskip("torch", reason="reading PyTorch modules needs the extra torch")
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from derivations import NotClosed, derive  # noqa: E402
from numerics import simulate_network, to_sympy_lambda  # noqa: E402
from numerics.pytorch import from_torch  # noqa: E402
from tests.numerics.pytorch.modules import Calls  # noqa: E402

N, PLACES, DROPPED = 4, 2, 0.25
KEEP = sp.Rational(3, 4)


@pytest.fixture(autouse=True)
def seeded():
    torch.set_num_threads(1)
    torch.manual_seed(0)


def modules(**more):
    return {word: nn.Linear(N, N, bias=False) for word in "qkvo"} | more


def by_module():
    """A module behind the softmax."""

    def forward(b, x):
        shares = b.drop((b.q(x) @ b.k(x).transpose(-1, -2) / N**0.5).softmax(-1))
        return x + b.o(shares @ b.v(x))

    return Calls(forward, **modules(drop=nn.Dropout(DROPPED)))


def by_number():
    return Calls(
        lambda b, x: x + b.o(F.scaled_dot_product_attention(b.q(x), b.k(x), b.v(x), dropout_p=DROPPED)), **modules()
    )


def by_function():
    def forward(b, x):
        shares = F.dropout((b.q(x) @ b.k(x).mT / N**0.5).softmax(-1), DROPPED, b.training)
        return x + b.o(shares @ b.v(x))

    return Calls(forward, **modules())


def heads(p=DROPPED, **options):
    attention = nn.MultiheadAttention(N, 2, dropout=p, batch_first=True, bias=False, **options)
    return Calls(lambda b, x: x + b.m(x, x, x)[0], m=attention)


def layer_of_torch():
    return nn.TransformerEncoderLayer(N, 2, 6, dropout=DROPPED, norm_first=True, batch_first=True)


def moved_by(make, x, samples):
    given = torch.tensor(x, dtype=torch.float32)
    with torch.no_grad():
        return np.array([(make()(given) - given).numpy() for _ in range(samples)])


def test_equal_scores_by_hand():
    """Shares are 1/2: the covariance of two positions is that of means of values, of one with itself more by what is dropped."""

    def forward(b, x):
        return x + b.o(b.drop(torch.softmax(0 * (x @ x.mT), -1)) @ b.v(x))

    net = from_torch(
        lambda: Calls(forward, **modules(drop=nn.Dropout(DROPPED))),
        positions=2,
        width=sp.oo,
        initialiser="lecun_normal",
    )
    limit = derive(net).limit
    one, both, two = limit.states
    assert sp.expand(limit.drift[0] - ((one + two) / KEEP + 2 * both) / 4) == 0
    assert sp.expand(limit.drift[1] - (one + 2 * both + two) / 4) == 0


@pytest.mark.parametrize("make", [by_module, by_number, by_function])
def test_three_ways_to_drop_shares_are_one(make):
    net = from_torch(make, positions=PLACES, width=sp.oo)
    told = derive(net).limit.drift
    assert told == derive(from_torch(by_module, positions=PLACES, width=sp.oo)).limit.drift
    assert any("is 1 with probability 3/4 and else 0, one for each pair of positions" in r for r in net.remarks)
    still = derive(from_torch(lambda: make().eval(), positions=PLACES, width=sp.oo)).limit.drift
    assert (told == still) == (make is by_number)  # a number is dropped after eval() too


@pytest.mark.slow
@pytest.mark.parametrize("make", [heads, layer_of_torch])
def test_one_layer_of_fresh_blocks_moves_as_its_networks(make):
    samples = 3000
    net = from_torch(make, positions=PLACES, exact_law=True)
    x = np.random.default_rng(1).normal(size=(PLACES, N))
    theirs = moved_by(make, x[None], samples).reshape(samples, -1)
    ours = (simulate_network(net, depth=1, samples=4 * samples, x0=x.T, seed=2).transpose(0, 2, 1) - x).reshape(
        4 * samples, -1
    )

    def products(moved):
        both = moved[:, :, None] * moved[:, None, :]
        return both.mean(axis=0), both.std(axis=0) / np.sqrt(len(moved))

    (first, error), (second, other) = products(theirs), products(ours)
    assert (np.abs(first - second) < 4.5 * np.hypot(error, other)).all()
    assert (np.abs(first / 1.3 - second) > 4.5 * np.hypot(error, other)).any()


@pytest.mark.slow
def test_two_inputs_at_finite_width_have_the_derived_covariance():
    """Heads that share their keys' matrix by halves; what is dropped differs between inputs."""

    def make(p=DROPPED):
        block = heads(p)
        nn.init.normal_(block.m.in_proj_weight, std=0.6)
        nn.init.normal_(block.m.out_proj.weight, std=0.5)
        return block

    inputs, samples = 2, 12_000
    laws = {"m.in_proj": 0.6, "m.out_proj": 0.5}
    x = np.random.default_rng(3).normal(size=(inputs, PLACES, N))
    moved = moved_by(make, x, samples).transpose(0, 3, 1, 2).reshape(samples, -1)
    both = (moved.reshape(samples, N, -1)[:, :, :, None] * moved.reshape(samples, N, -1)[:, :, None, :]).mean(axis=1)
    seen, error = both.mean(axis=0), both.std(axis=0) / np.sqrt(samples)

    def derived(p):
        limit = derive(from_torch(lambda: make(p), positions=PLACES, inputs=inputs, initialiser=laws)).limit
        _, covariance = to_sympy_lambda(limit)
        whole = np.array(covariance(0.0, x.reshape(-1, N).T.ravel()), dtype=float)
        size = inputs * PLACES
        return np.mean([whole[k : k + size, k : k + size] for k in range(0, N * size, size)], axis=0)

    assert (np.abs(seen - derived(DROPPED)) < 4.5 * error).all()
    assert (np.abs(seen - derived(0.0)) > 4.5 * error).any()


def test_four_positions_derive_as_fast_as_without_dropout():
    limit = derive(from_torch(heads, positions=4, width=sp.oo)).limit
    assert len(limit.states) == 10
    text = " ".join(str(derive(from_torch(heads, positions=PLACES))).split())
    assert "Shares that are dropped at random are taken in the mean" in text


def test_a_function_of_what_a_head_with_dropped_shares_puts_out_is_refused():
    def forward(b, x):
        heads_out = F.scaled_dot_product_attention(b.q(x), b.k(x), b.v(x), dropout_p=DROPPED)
        return x + b.o(F.rms_norm(heads_out, (N,)))

    with pytest.raises(NotClosed, match="whose shares are dropped enters in another way than by its mean"):
        derive(from_torch(lambda: Calls(forward, **modules()), positions=PLACES, width=sp.oo))
