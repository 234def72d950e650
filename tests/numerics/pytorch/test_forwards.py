"""Forwards as libraries write them: decorators, further arguments, features as the last axis of a flat view, matrices that are read by rows."""

from __future__ import annotations

import functools
import math

import pytest
import sympy as sp

torch = pytest.importorskip("torch", reason="reading PyTorch modules needs the extra torch")
from torch import nn  # noqa: E402

from derivations import causal, derive, parse_activation  # noqa: E402
from derivations.language.nodes import Applied  # noqa: E402
from derivations.symbols import state  # noqa: E402
from numerics.pytorch import from_torch  # noqa: E402
from numerics.pytorch.values import number  # noqa: E402


def logged(call):
    """A decorator of any signature, as libraries put around forwards."""

    @functools.wraps(call)
    def inner(*arguments, **options):
        return call(*arguments, **options)

    return inner


class Attention(nn.Module):
    """One head whose queries and keys are turned by tables, as by rotary positions, and a mask that is added."""

    def __init__(self, features=4, turned=4, normed=False):
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(features, features, bias=False) for _ in range(3))
        self.norm = nn.LayerNorm(features) if normed else nn.Identity()
        self.turned = turned

    @logged
    def forward(self, x, mask=None, tables=None, sizes=(1, 2), **options):
        batch, places = x.shape[:-1]
        q, k = self.norm(self.q(x)), self.norm(self.k(x))
        if tables is not None:
            q, k = (self.turn(u, *tables) for u in (q, k))
        scores = q @ k.transpose(-1, -2) / 2
        if mask is not None:
            scores = scores + mask
        weights = scores.softmax(-1, dtype=torch.float32).to(x.dtype)
        return x + (weights @ self.v(x)).reshape(batch, places, -1)

    def turn(self, u, cosine, sine):
        some, rest = u[..., : self.turned], u[..., self.turned :]
        first, second = some.chunk(2, dim=-1)
        some = some * cosine + torch.cat((-second, first), dim=-1) * sine
        return torch.cat((some, rest), dim=-1)


class Flat(nn.Module):
    """A matrix applied to all positions of all inputs at once: ``addmm``, whose weights are read by rows."""

    def __init__(self, features=8):
        super().__init__()
        self.up, self.down = (
            nn.Parameter(torch.empty(*s)) for s in ((features, 4 * features), (4 * features, features))
        )
        self.bias = nn.Parameter(torch.zeros(4 * features))
        nn.init.normal_(self.up, std=0.5)
        nn.init.normal_(self.down, std=0.1)

    def forward(self, x):
        flat = torch.addmm(self.bias, x.view(-1, x.size(-1)), self.up)
        inside = torch.relu(flat.view(*x.size()[:-1], -1))
        return x + (inside.view(-1, inside.size(-1)) @ self.down).view(x.size())


MASK = torch.full((3, 3), float("-inf")).triu(1)


def test_a_decorated_forward_with_further_arguments():
    plain = from_torch(Attention, width=sp.oo, positions=3)
    assert not plain.layer.has(causal)
    assert from_torch(Attention, width=sp.oo, positions=3, arguments={"mask": MASK}).layer.has(causal)


@pytest.mark.parametrize("normed", [False, True])
@pytest.mark.parametrize("turned", [2, 4])
def test_positions_that_are_turned_by_no_angle(turned, normed):
    """Queries and keys are cut, also behind a norm, and put together again: the same as without."""
    block = Attention(turned=turned, normed=normed)
    plain = from_torch(block, width=sp.oo, positions=3)
    cosine, sine = torch.ones(3, turned), torch.zeros(3, turned)
    assert from_torch(block, width=sp.oo, positions=3, arguments={"tables": (cosine, sine)}).layer == plain.layer
    if turned == 4:
        half = from_torch(block, width=sp.oo, positions=3, arguments={"tables": (cosine / 2, sine)})
        assert half.layer != plain.layer


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"masks": MASK}, "unknown argument of its forward beside the state 'masks'; close names: mask"),
        (
            {"tables": (torch.rand(3, 4), torch.zeros(3, 4))},
            "numbers that differ between positions and do not turn pairs of neurons",
        ),
        (
            {"tables": (torch.ones(3, 4), torch.rand(3, 4))},
            "numbers that differ between positions and do not turn pairs of neurons",
        ),
    ],
)
def test_arguments_that_are_unknown_or_have_no_rule(given, said):
    with pytest.raises(ValueError, match=said):
        from_torch(Attention, width=sp.oo, positions=3, arguments=given)


def test_the_first_of_several_outputs_is_the_state():
    class Weighs(Attention):
        def __init__(self, more):
            super().__init__()
            self.more = more

        def forward(self, x):
            return super().forward(x), self.more and torch.softmax(x @ x.mT, -1)

    plain = from_torch(Attention, width=sp.oo, positions=3)
    first, alone = (from_torch(lambda more=more: Weighs(more), width=sp.oo, positions=3) for more in (True, None))
    assert first.layer == alone.layer == plain.layer
    said = "of 2 things that the block puts out the first one is the state"
    assert said in first.remarks
    assert said not in alone.remarks


class Needs(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(4, 4)

    def forward(self, x, scale, tables=None):
        _first, _second = tables
        return x + scale * self.inner(x)


def test_arguments_that_are_missing():
    with pytest.raises(
        ValueError, match=r"its forward needs scale beside the state; give it, arguments=\{'scale': \.\.\.\}"
    ):
        from_torch(Needs)
    with pytest.raises(ValueError, match=r"uses what is None .*; of tables give what it needs"):
        from_torch(Needs, arguments={"scale": 2.0})
    limit = derive(from_torch(Needs, arguments={"scale": 2.0, "tables": (1, 2)}, width=sp.oo)).limit
    assert limit.drift[0].coeff(limit.states[0]) == sp.Rational(4, 3)


def test_batch_and_positions_as_one_axis():
    limit = derive(from_torch(Flat, width=sp.oo, positions=3, initialiser="lecun_normal")).limit
    assert limit.drift[0] == limit.states[0] / 2  # half the square of a layer of variance 1 passes ReLU
    with pytest.raises(ValueError, match=r"^the operation size .* give the number of positions, positions=$"):
        from_torch(Flat, width=sp.oo, initialiser="lecun_normal")


def test_weights_that_are_read_by_rows_are_measured_by_the_neurons_they_read():
    torch.manual_seed(0)
    measured = dict(from_torch(Flat, positions=3, initialiser="measured", copies=20).modules)
    assert abs(float(measured["up"].variance) - 8 / 4) < 5 * measured["up"].error
    assert abs(float(measured["down"].variance) - 32 / 100) < 5 * measured["down"].error
    assert abs(float(measured["up"].variance) - 32 / 4) > 50 * measured["up"].error  # columns in place of rows


def test_the_block_is_left_as_it_was():
    block = Attention()
    before = set(vars(block))
    from_torch(block, width=sp.oo, positions=3, arguments={"mask": MASK})
    assert set(vars(block)) == before


def test_measuring_draws_before_the_forward_is_traced():
    """Shapes of what a measured module puts out are asked while drawing is refused."""
    assert len(from_torch(Attention, width=sp.oo, positions=3, initialiser="measured", copies=3).modules) == 3
    with pytest.raises(ValueError, match="copies is the number of blocks to measure, at least 1, got 0"):
        from_torch(Attention, positions=3, initialiser="measured", copies=0)


class Noisy(nn.Module):
    """Adds what a generator gives that is not the processor's."""

    def __init__(self, card):
        super().__init__()
        self.card, self.inner = card, nn.Linear(4, 4)

    def forward(self, x):
        self.card[0] += 1
        return x + self.inner(x) + float(self.card[0])


def test_what_a_graphics_card_draws_is_seen(monkeypatch):
    card = torch.zeros(1, dtype=torch.uint8)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_rng_state_all", lambda: [card.clone()])
    with pytest.raises(ValueError, match="Noisy draws random numbers that are no module's"):
        from_torch(Noisy(card))
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    assert from_torch(Noisy(card)).layer.has(sp.Integer(int(card[0])))


def test_memory_that_was_never_set_is_no_weight():
    block = nn.Linear(3, 3)
    nn.init.constant_(block.weight, float("nan"))
    with pytest.raises(ValueError, match="weight holds nan"):
        from_torch(block)


class ByHand(nn.Module):
    """GELU as older code writes it."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(4, 4, bias=False)

    def forward(self, x):
        u = self.inner(x)
        return x + 0.5 * u * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (u + 0.044715 * u**3)))


def test_a_number_with_pi_is_read_as_such():
    """So that the formula is the activation's own."""
    (matrix,) = {node for node in from_torch(ByHand, width=sp.oo).layer.atoms(Applied)}
    layer = from_torch(ByHand, width=sp.oo, scale=1).layer
    own = parse_activation("gelu(tanh)")(matrix)
    assert [abs((layer - state - own).subs({matrix: v, state: 0}).evalf(30)) < 1e-25 for v in (-2, 1, 3)] == [True] * 3
    assert number((2 / math.pi) ** 0.5) == sp.sqrt(2 / sp.pi)
    assert number(0.79788) == sp.Rational(79788, 100000)
