"""Operations that have no rule: the cause in one line, for each refusal of the reader that no other test reaches."""

from __future__ import annotations

import sys

import pytest

torch = pytest.importorskip("torch", reason="reading PyTorch modules needs the extra torch")
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from numerics.pytorch import from_torch  # noqa: E402

E, P = 8, 3


class Block(nn.Module):
    """Linear modules of several sizes, and a forward that is given."""

    def __init__(self, function):
        super().__init__()
        for name, sizes in {
            "a": (E, E),
            "b": (E, E),
            "c": (E, E),
            "d": (E, E),
            "mask": (E, P),
            "up": (E, 16),
            "down": (16, E),
        }.items():
            setattr(self, name, nn.Linear(*sizes, bias=False))
        self.first, self.second = nn.Linear(E, E // 2, bias=False), nn.Linear(E, E // 2, bias=False)
        self.cube = nn.Parameter(torch.ones(E, E, E))
        self.register_buffer("some", torch.ones(E, dtype=torch.bool))
        self.function = function

    def forward(self, x):
        return self.function(self, x)


def scores(s, x):
    return torch.cat([s.b(x), s.c(x)], -1) @ torch.cat([s.b(x), s.c(x)], -1).transpose(-1, -2)


def attend(s, x, **options):
    return s.a(F.scaled_dot_product_attention(s.b(x), s.c(x), s.d(x), **options))


ANYWHERE = {
    "queries times queries": (lambda s, x: x + s.a(s.b(x) @ s.b(x)), "known are scores"),
    "parts of the state": (lambda s, x: torch.tensor_split(x, 2, -1)[0] + s.a(x), "tensor_split cuts the state; a layer treats its neurons alike"),
    "a shape that is not known": (lambda s, x: x.shape[0] * x + s.a(x), "give the number of positions"),
    "outputs with names": (lambda s, x: {"state": x}, "puts out a dictionary with .state.; wrap it in a module"),
    "part of the state": (lambda s, x: x[..., :4] + s.a(x), "an index cuts the state"),
    "a tensor of three axes": (lambda s, x: x + torch.einsum("bi,oij->boj", x, s.cube), "a matrix has two"),
    "an axis too many": (lambda s, x: x + torch.einsum("bpi,oi->bpo", x, s.a.weight), "einsum names 3 axes"),
    "a function without a rule": (lambda s, x: x + s.a(torch.erfinv(x)), "it has no rule"),
    "a matrix of the state": (lambda s, x: x + F.linear(x, torch.tanh(s.b(x))), "its matrix is computed from the state"),
    "parts that do not add up": (lambda s, x: x + s.a(torch.split(s.up(x), [8, 7], -1)[0]), "16 features are cut into parts"),
    "a part of a sum with the state": (
        lambda s, x: x + torch.cat([torch.chunk(s.b(x) + x, 2, -1)[0]] * 2, -1),
        "only what a linear module puts out can be cut",
    ),
    "sizes that do not fit": (lambda s, x: x + s.a(s.up(x) + s.b(x)), "8 and 16 features meet"),
    "an attribute": (lambda s, x: x.T + s.a(x), "the attribute T of a tensor"),
    "a dimension that is not known": (lambda s, x: x + s.a(torch.softmax(x, 1)), "works along dimension 1"),
    "an index without positions": (lambda s, x: x + s.a(x)[:, None], "a tensor is indexed; give the number of positions"),
    "an option without a rule": (lambda s, x: x + torch.tanh(s.a(x), out=None), "tanh has the option out"),
    "several parts": (lambda s, x: torch.cat([s.first(x), s.second(x)], -1), "several heads or parts of neurons stand"),
}  # fmt: skip
OVER_POSITIONS = {
    "products over positions": (lambda s, x: x + s.a(x.cumprod(1)), "a product over positions or neurons has no rule; known are sums"),
    "an input of the batch": (lambda s, x: x + s.a(x[0]), "indexed along the batch; networks treat inputs one by one"),
    "a mean over the batch": (lambda s, x: x - x.mean(0, keepdim=True), "mean goes over the batch, while networks treat inputs"),
    "scores over several parts": (lambda s, x: x + s.a(torch.softmax(scores(s, x), -1) @ s.d(x)), "cut queries and keys"),
    "a mask of the state": (lambda s, x: x + attend(s, x, attn_mask=s.mask(x)), "the mask is computed from the state"),
    "a mask of too many positions": (lambda s, x: x + s.a(torch.ones(4, 4) @ s.b(x)), "mixes 3 positions"),
    "a mask of 0": (lambda s, x: x + s.a(s.b(x).masked_fill(s.some, 0.0)), "masked_fill is known on scores"),
    "a part of the positions": (lambda s, x: torch.chunk(x, 3, 1)[0] + s.a(x), "chunk cuts along"),
    "one position after the other": (lambda s, x: torch.unbind(x, 1)[0] + s.a(x), "unbind goes through"),
    "more positions": (lambda s, x: torch.cat([x, s.a(x)], 1), "cat joins along"),
    "all and a part": (lambda s, x: x + s.a(torch.relu(s.up(x)[..., :8])) + s.down(torch.relu(s.up(x))), "read whole and in parts"),
    "a norm over two axes": (lambda s, x: x + s.a(F.layer_norm(x, (P, E))), "averages over 2 dimensions"),
    "another number of entries": (lambda s, x: x + s.a(s.b(x).reshape(x.shape[0], 3, 5)), "is reshaped to"),
    "a dimension too many": (lambda s, x: x + s.a(x.transpose(1, 5)), "works along dimension 5"),
    "axes that differ": (lambda s, x: x + s.a(torch.stack([x, x.mean(-1, keepdim=True)], 1)[:, 0]), "different axes are put together"),
    "a position that is none": (lambda s, x: x + s.a(x.select(1, 5)[:, None]), "select takes position 5 of 3"),
    "a stretch that is none": (lambda s, x: x + s.a(x.narrow(1, 5, 1)), "narrow takes position 5 of 3"),
    "axes that are exchanged": (lambda s, x: x + s.b(x).transpose(1, 2), "meet in one operation"),
}  # fmt: skip


@pytest.mark.parametrize("name", [*ANYWHERE, *OVER_POSITIONS])
def test_what_has_no_rule_is_refused_with_its_cause(name):
    function, message = (ANYWHERE | OVER_POSITIONS)[name]
    with pytest.raises(ValueError, match=message) as refused:
        from_torch(Block(function), **({"positions": P} if name in OVER_POSITIONS else {}))
    assert "\n" not in str(refused.value)


def test_complex_numbers_are_refused_by_the_name_of_what_holds_them():
    block = Block(lambda s, x: x + s.a(x))
    block.register_buffer("turn", torch.ones(3, dtype=torch.complex64))
    with pytest.raises(ValueError, match="its turn has complex numbers, which have no rule"):
        from_torch(block)


def test_a_block_without_matrices_has_no_number_of_features():
    class Bare(nn.Module):
        def forward(self, x):
            return x + x.mean(-1, keepdim=True) * x

    with pytest.raises(ValueError, match="the number of features is not known before a module says it"):
        from_torch(Bare())


def test_weights_that_do_not_look_drawn():
    for value, message in ((0.5, "all equal"), (None, "mean")):
        block = Block(lambda s, x: x + s.a(torch.relu(s.b(x))))
        with torch.no_grad():
            block.a.weight.copy_(torch.full((E, E), value) if value else torch.randn(E, E) + 3)
        with pytest.raises(ValueError, match=message):
            from_torch(block, initialiser="measured")


def test_without_pytorch_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.nn", None)
    with pytest.raises(ImportError, match="install the extra torch"):
        from_torch(nn.Linear(2, 2))
