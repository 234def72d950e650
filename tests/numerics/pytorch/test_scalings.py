"""How modules scale: as they stand, with a branch of a chosen size, and in a first step of training."""

from __future__ import annotations

import math

import pytest
import sympy as sp

torch = pytest.importorskip("torch", reason="reading PyTorch modules needs the extra torch")
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from derivations import AttentionBlock, Network, Weights, epsilon, relu, rms_norm, scalings  # noqa: E402
from numerics.pytorch import from_torch  # noqa: E402
from tests.numerics.pytorch.test_blocks import Calls  # noqa: E402


@pytest.fixture(autouse=True)
def seeded():
    torch.set_num_threads(1)
    torch.manual_seed(0)


def block(function):
    modules = {"norm": nn.RMSNorm(16), "up": nn.Linear(16, 32, bias=False), "down": nn.Linear(32, 16, bias=False)}
    return Calls(function, **modules, a=nn.Linear(16, 16, bias=False))


def pre_norm(b, x):
    return x + b.down(F.relu(b.up(b.norm(x))))


def test_the_first_step_of_a_module_is_that_of_the_formula_that_one_would_write():
    found = from_torch(block(pre_norm), width=sp.oo).scalings(training=True)
    one, two = Weights("down"), Weights("up")
    plain = scalings(Network(lambda x: x + epsilon * one(relu(two(rms_norm(x)))), width=sp.oo), training=True)
    ours, theirs = ({(r.name, r.role): (r.state, r.output) for r in f.moved("sign")} for f in (found, plain))
    assert ours == theirs
    verdict = found.at("sign", readout=1)
    assert (verdict.kind, verdict.a, verdict.b) == ("features move", 1, sp.Rational(1, 2))


def test_modules_are_trained_by_their_names():
    net = from_torch(lambda: nn.Sequential(block(pre_norm), nn.Identity()), width=sp.oo)
    assert dict(net.matrices) == {"0.up": ("W_0_up",), "0.down": ("W_0_down",)}
    assert net.scalings(training="0.up").trained == ("W_0_up",)
    assert set(net.scalings(training=["0"]).trained) == {"W_0_up", "W_0_down"}
    with pytest.raises(ValueError, match=r"unknown module with weights '0\.upp'; close names: 0\.up"):
        net.scalings(training="0.upp")


def test_parts_of_a_packed_matrix_are_trained_together():
    net = from_torch(nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, norm_first=True, batch_first=True), positions=2)
    assert len(dict(net.matrices)["self_attn.in_proj"]) == 6
    assert net._matrices_of("linear1") == ["linear1"]


def test_stopped_gradients_are_said_and_refused():
    net = from_torch(block(lambda b, x: x + b.down(F.relu(b.up(x.detach())))), width=sp.oo)
    assert any(r.startswith("gradients are stopped by detach") for r in net.remarks)
    assert net.scalings().regimes
    with pytest.raises(ValueError, match="stops gradients by detach"):
        net.scalings(training=True)


def test_a_state_that_a_number_multiplies_has_a_branch_where_a_norm_follows():
    deep = from_torch(block(lambda b, x: b.norm(3 * x + b.a(torch.relu(x)))), width=sp.oo)
    plain = from_torch(block(lambda b, x: b.norm(x + b.a(torch.relu(x)) / 3)), width=sp.oo)
    (one,), (two,) = deep.scalings().regimes, plain.scalings().regimes
    assert one.conditions == two.conditions == (sp.Eq(sp.Symbol("p", real=True), sp.Rational(1, 2)),)
    assert not from_torch(block(lambda b, x: 3 * x + b.a(torch.relu(x)))).layer.has(epsilon)


def test_residual_sums_divided_by_a_root_settle():
    net = from_torch(block(lambda b, x: (x + b.a(torch.relu(x))) / math.sqrt(2)), width=sp.oo)
    found = net.scalings()
    assert not net.layer.has(epsilon)
    assert found.maps.factor == sp.Rational(7, 12)  # (1 + 1/6) / 2
    assert found.at().kind == "not continuous"


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (lambda b, x: x, "no branch of the module .* only multiplies the state by 1; it has no branch"),
        (lambda b, x: torch.sigmoid(b.a(x)) * torch.tanh(b.a(x)) + (1 - torch.sigmoid(b.a(x))) * x, "no branch of the"),
    ],
    ids=["nothing", "highway"],
)
def test_what_has_no_size_is_refused_in_words(function, said):
    with pytest.raises(ValueError, match=said):
        from_torch(block(function), width=sp.oo).scalings()


def test_the_heads_of_one_matrix_have_one_mean():
    """Two heads were two matrices, whose means had exponents of their own: four regimes, of one matrix."""
    found = scalings(from_torch(Calls(attended, m=nn.MultiheadAttention(8, 2, batch_first=True)), positions=2))
    assert [size.of for size in found.family.sizes if size.role.name == "MEAN"] == ["m_out_proj"]
    assert len(found.regimes) == 1
    assert "At exponent 0 of a mean its powers are no smaller than 1" in " ".join(str(found).split())
    by_hand = scalings(AttentionBlock(width=8, heads=2))
    assert [size.of for size in by_hand.family.sizes if size.role.name == "MEAN"] == ["O"]
    apart = scalings(Network(lambda x: x + epsilon * (Weights("O1")(x) + Weights("O2")(relu(x))), width=8))
    assert "the mean of O2" in str(apart)


def attended(b, x):
    return x + b.m(x, x, x, need_weights=False)[0]
