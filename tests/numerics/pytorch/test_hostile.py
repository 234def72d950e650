"""Blocks as people write them, with traps: read as PyTorch computes them, or refused with the module's name and the reason."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import sympy as sp

torch = pytest.importorskip("torch", reason="reading PyTorch modules needs the extra torch")
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402
from torch.nn.utils import parametrizations, prune  # noqa: E402

from derivations.language.nodes import Factor  # noqa: E402
from numerics.pytorch import from_torch  # noqa: E402
from tests.numerics.pytorch.evaluation import evaluated  # noqa: E402
from tests.numerics.pytorch.test_blocks import Calls, tensors_by_name  # noqa: E402


@pytest.fixture(autouse=True)
def seeded():
    torch.set_num_threads(1)
    torch.manual_seed(0)


def calls(function, **modules):
    """A function of two linear modules a and c, an activation that writes in place, and of what else is given."""
    own = {"a": nn.Linear(4, 4), "c": nn.Linear(4, 4), "relu": nn.ReLU(inplace=True)}
    return Calls(function, **own, **modules)


def writes_by_method(b, x):
    h = b.a(x)
    h.add_(1)
    return x + b.c(h)


def writes_by_function(b, x):
    h = b.a(x)
    torch.relu_(h)
    before = h * 2
    h.mul_(3)
    return x + b.c(before) + b.c(h)


def writes_into_the_state(b, x):
    return x + b.a(b.relu(x))  # the sum reads what relu has left


def adds_to_another_name(b, x):
    h = x
    h += b.a(x)
    return h + b.c(x)


def writes_by_keyword(b, x):
    h = b.a(x)
    F.silu(h, inplace=True)
    return x + b.c(h)


class Thrice(nn.Linear):
    def forward(self, x):
        return 3 * super().forward(x)


class SquaredReLU(nn.ReLU):
    def forward(self, x):
        return super().forward(x) ** 2


class ShiftedNorm(nn.RMSNorm):
    def forward(self, x):
        return super().forward(x) + 1


class Dropout(nn.Module):
    """Somebody's own, which only shares its name with PyTorch's."""

    def __init__(self, p):
        super().__init__()
        self.p = p

    def forward(self, x):
        return x * (1 - self.p)


class OwnRMSNorm(nn.Module):
    def __init__(self, size, eps):
        super().__init__()
        self.eps, self.weight, self.normalized_shape = eps, nn.Parameter(torch.ones(size)), (size,)

    def forward(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps) * self.weight


class DropPath(nn.Module):
    def __init__(self, drop_prob, keeps_mean=True):
        super().__init__()
        self.drop_prob, self.keeps_mean = drop_prob, keeps_mean

    def forward(self, x):
        if self.drop_prob == 0.0 or not self.training:
            return x
        keep = 1 - self.drop_prob
        mask = x.new_empty((x.shape[0],) + (1,) * (x.ndim - 1)).bernoulli_(keep)
        return x * mask / keep if self.keeps_mean else x * mask


def centred_by_hand(b, x):
    y = x - x.mean(-1, keepdim=True)
    return x + b.a(y / torch.sqrt((y**2).mean(-1, keepdim=True) + 0.25))


def attends(shares):
    """Attention whose shares are a function of the block and the scores; what it draws stands in ``more``."""
    more = {name: nn.Linear(4, 4) for name in "kv"}
    more["bias"] = torch.tensor([[0.0, -0.5], [-0.5, 0.0]])
    return calls(lambda b, x: x + b.c(shares(b, b.a(x) @ b.k(x).mT / 2) @ b.v(x)), **more)


def differential(b, x):
    first, second = ((q(x) @ k(x).mT / 2).softmax(-1) for q, k in ((b.a, b.k), (b.q2, b.k2)))
    return x + b.c((first - 0.8 * second) @ b.v(x))


def cosines(b, x):
    q, k = (F.normalize(m(x), dim=-1) for m in (b.a, b.k))
    return x + b.c((10 * q @ k.mT).softmax(-1) @ b.v(x))


READ = {
    "interpolation": lambda: calls(lambda b, x: torch.lerp(x, b.a(x), 0.3)),
    "interpolation by the state": lambda: calls(lambda b, x: torch.lerp(x, b.a(x), b.c(x).sigmoid())),
    "product added": lambda: calls(lambda b, x: torch.addcmul(x, b.a(x), b.c(x), value=0.5)),
    "quotient added": lambda: calls(lambda b, x: torch.addcdiv(x, b.a(x), 1 + b.c(x) ** 2)),
    "linear biases of attention": lambda: attends(lambda b, scores: (scores + b.bias).softmax(-1)),
    "capped scores": lambda: attends(lambda b, scores: (30 * torch.tanh(scores / 30)).softmax(-1)),
    "sigmoid attention": lambda: attends(lambda b, scores: scores.sigmoid()),
    "differential attention": lambda: calls(differential, **{m: nn.Linear(4, 4) for m in ("k", "v", "q2", "k2")}),
    "cosine attention": lambda: calls(cosines, **{m: nn.Linear(4, 4) for m in ("k", "v")}),
    "larger of two": lambda: calls(lambda b, x: x + torch.maximum(b.a(x), b.c(x))),
    "signs of both kinds": lambda: Calls(
        lambda b, x: x + b.a(torch.cat([F.relu(x), F.relu(-x)], -1)), a=nn.Linear(8, 4)
    ),
    "half steps": lambda: calls(lambda b, x: (y := x + b.a(x) / 2) + F.silu(b.c(y)) / 2),
    "method in place": lambda: calls(writes_by_method),
    "function in place": lambda: calls(writes_by_function),
    "keyword in place": lambda: calls(writes_by_keyword),
    "state in place": lambda: calls(writes_into_the_state),
    "another name in place": lambda: calls(adds_to_another_name),
    "weights times three": lambda: nn.Sequential(Thrice(4, 4)),
    "squared relu": lambda: nn.Sequential(SquaredReLU(), nn.Linear(4, 4)),
    "shifted norm": lambda: nn.Sequential(ShiftedNorm(4), nn.Linear(4, 4)),
    "own dropout": lambda: nn.Sequential(nn.Linear(4, 4), Dropout(0.3)),
    "own norm": lambda: nn.Sequential(OwnRMSNorm(4, 0.5), nn.Linear(4, 4)),
    "large eps": lambda: nn.Sequential(nn.LayerNorm(4, eps=0.5), nn.Linear(4, 4), nn.RMSNorm(4, eps=0.2)),
    "centred by hand": lambda: calls(centred_by_hand),
    "weight norm": lambda: nn.Sequential(parametrizations.weight_norm(nn.Linear(4, 4))),
    "functional": lambda: calls(lambda b, x: x + F.linear(F.gelu(x), b.a.weight, b.a.bias)),
    "learnt scalars": lambda: calls(lambda b, x: x + b.alpha * b.a(x), alpha=nn.Parameter(torch.tensor(0.3))),
    "uneven parts": lambda: Calls(
        lambda b, x: x + b.c(torch.cat([F.relu(b.a(x).split([1, 3], -1)[0]), b.a(x).split([1, 3], -1)[1]], -1)),
        a=nn.Linear(4, 4),
        c=nn.Linear(4, 4, bias=False),
    ),
    "nested": lambda: nn.Sequential(
        nn.Sequential(nn.Linear(4, 4), nn.Sequential(nn.ReLU())), nn.Identity(), nn.Linear(4, 4)
    ),
    "loop": lambda: Calls(
        lambda b, x: [x := x + m(F.relu(x)) for m in b.ms][-1], ms=nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)])
    ),
}
CUT = {
    "a_1": ("a", slice(0, 1), slice(None)),
    "a_2": ("a", slice(1, 4), slice(None)),
    "c_1": ("c", slice(None), slice(0, 1)),
    "c_2": ("c", slice(None), slice(1, 4)),
}
HALVES = {f"a_{k + 1}": ("a", slice(None), slice(4 * k, 4 * k + 4)) for k in range(2)}


@pytest.mark.parametrize("name", READ)
def test_what_is_read_is_what_pytorch_computes(name):
    block = READ[name]().double()
    net = from_torch(block, positions=2, scale=1)
    x = torch.randn(2, 4, dtype=torch.float64)
    with torch.no_grad():
        theirs = block(x.clone()[None])[0].numpy()
    tensors = tensors_by_name(block)
    found = evaluated(net, x.numpy(), tensors, HALVES if name == "signs of both kinds" else CUT)
    np.testing.assert_allclose(found, theirs, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("small", [1e-5, 0.5])
def test_one_group_of_neurons_is_a_layer_norm(small):
    block = nn.Sequential(nn.GroupNorm(1, 4, eps=small), nn.Linear(4, 4)).double()
    x = torch.randn(1, 4, dtype=torch.float64)
    with torch.no_grad():
        theirs = block(x).numpy()
    found = evaluated(from_torch(block, scale=1), x.numpy(), tensors_by_name(block))
    np.testing.assert_allclose(found, theirs, rtol=1e-4)
    assert np.abs(found / x.numpy() - 1).max() > 0.1


@pytest.mark.parametrize(
    ("groups", "channels", "options", "said"),
    [
        (2, 4, {}, "averages over 2 groups of neurons"),
        (1, 2, {"positions": 2}, "averages over neurons and positions together"),
    ],
)
def test_other_groups_are_refused(groups, channels, options, said):
    with pytest.raises(ValueError, match=said):
        from_torch(nn.Sequential(nn.GroupNorm(groups, channels), nn.Linear(4, 4)), **options)


def test_only_what_is_added_on_the_way_to_the_output_is_a_branch():
    def layer(function):
        return str(from_torch(calls(function)).layer)

    assert layer(lambda b, x: x + b.a(x - x.mean(-1, keepdim=True))) == "varepsilon*a(x - average(x)) + x"
    assert layer(lambda b, x: x + b.a(x + b.c(x))) in ("varepsilon*a(c(x) + x) + x", "varepsilon*a(x + c(x)) + x")
    assert layer(lambda b, x: b.c(x + b.a(x))) in ("c(a(x) + x)", "c(x + a(x))")
    normed = from_torch(
        calls(lambda b, x: (y := x + b.a(x)) * torch.rsqrt((y**2).mean(-1, keepdim=True))), initialiser="lecun_normal"
    )
    same = from_torch(calls(lambda b, x: F.rms_norm(x + b.a(x), (4,))), initialiser="lecun_normal")
    assert sp.simplify(normed.layer - same.layer) == 0


def test_somebodys_own_dropped_branch_is_known_by_what_it_does():
    def factors(module):
        return from_torch(nn.Sequential(nn.Linear(4, 4), module)).layer.atoms(Factor)

    (factor,) = factors(DropPath(0.3))
    assert factor.args[1] == sp.Rational(7, 10)
    assert factors(DropPath(0.3).eval()) == set()
    with pytest.raises(ValueError, match="getattr"):
        factors(DropPath(0.3, keeps_mean=False))


def test_a_matrix_that_does_nothing_is_said():
    net = from_torch(calls(lambda b, x: x + b.alpha * b.a(x), alpha=nn.Parameter(torch.tensor(0.0))))
    assert any(remark.startswith("a does nothing as the block stands") for remark in net.remarks)


def test_single_precision_is_not_asked_for():
    for dtype in (torch.bfloat16, torch.float16):
        block = nn.Sequential(nn.Linear(64, 64), nn.PReLU()).to(dtype)
        assert "0.25" in str(from_torch(block).layer.evalf(5))


def hooked():
    module = nn.Linear(4, 4)
    module.register_forward_hook(lambda module, given, out: 2 * out)
    return nn.Sequential(module)


def pruned():
    module = nn.Linear(4, 4)
    prune.random_unstructured(module, "weight", 0.5)
    return nn.Sequential(module)


def stale(b, x):
    h = b.a(x)
    view = h.transpose(0, 1)
    h.relu_()
    return x + b.c(view.transpose(0, 1))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (hooked, r"0 \(Linear\) has a forward hook"),
        (pruned, r"0 \(Linear\) computes its weights from others \(RandomUnstructured\)"),
        (
            lambda: nn.Sequential(parametrizations.spectral_norm(nn.Linear(4, 4))),
            r"0 \(ParametrizedLinear\) computes its weights from others \(_SpectralNorm\)",
        ),
        (lambda: nn.Sequential(nn.Linear(4, 4, device="meta")), r"0 \(Linear\): its weight is on the device meta"),
        (lambda: nn.Sequential(nn.LazyLinear(4)), r"0 \(LazyLinear\): its weight has no size"),
        (lambda: nn.Sequential(nn.Linear(4, 4, dtype=torch.complex64)), "complex numbers"),
        (lambda: calls(lambda b, x: x + b.a(x) * torch.rand(1)), "draws random numbers that are no module's"),
        (lambda: calls(lambda b, x: x + b.a(x) * torch.rand(x.shape[0], 1, 1)), "cannot be traced: rand"),
        (lambda: calls(stale), "changes a tensor in place .relu_"),
        (
            lambda: nn.Sequential(nn.Linear(4, 4), nn.Softplus(2.0, threshold=1.0)),
            "softplus is cut where 2 x is more than 1",
        ),
        (lambda: calls(lambda b, x: x + F.softplus(b.a(x), threshold=0.1)), "softplus is cut"),
        (lambda: calls(lambda b, x: x + F.mish(b.a(x), other=1)), "cannot be traced|has the option other"),
        (
            lambda: nn.TransformerEncoderLayer(4, 2, dropout=0.0, activation=lambda u: u * torch.sigmoid(u)),
            "activation is the function <lambda>",
        ),
        (
            lambda: Calls(
                lambda b, x: x + b.first(torch.tanh(b.second(x))), first=nn.Linear(4, 4), second=nn.Linear(4, 2)
            ),
            "second .Linear. shares a part of its weights with first|first .Linear. shares a part of its weights with second",
        ),
    ],
    ids=lambda v: "" if callable(v) else None,
)
def test_what_is_not_read_right_is_refused_by_name(make, said):
    block = make()
    if "shares a part" in said:
        block.first = nn.Linear(2, 4)
        block.second.weight.data = block.first.weight.data.reshape(-1)[0:8].reshape(4, 2).t()
        whole = torch.randn(12) / 4
        block.first.weight.data, block.second.weight.data = whole[:8].view(4, 2), whole[4:].view(2, 4)
    options = {"initialiser": "lecun_normal"} if "shares a part" in said else {}
    with pytest.raises(ValueError, match=said):
        from_torch(block, positions=2, **options)


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (lambda b, x: x + F.linear(x, b.a.weight - b.a.weight.mT), "computes its matrix from other tensors"),
        (lambda b, x: x + F.linear(x, b.a.weight.softmax(-1)), "computes its matrix from other tensors"),
        (lambda b, x: x + x @ (b.a.weight @ b.c.weight), "computes its matrix from other tensors"),
        (lambda b, x: x + (b.a(x) @ b.c(x).mT).softmax(1) @ x, "softmax goes over .positions"),
        (
            lambda b, x: x + torch.where(b.a(x).argmax(-1, keepdim=True) == 0, x, b.c(x)),
            "argmax .* looks for the largest",
        ),
        (lambda b, x: x + b.a(torch.tril(x)), "triangles are known of scores"),
        (
            lambda b, x: x + b.a(x.mean(0, keepdim=True)),
            "mean goes over the batch, while networks treat inputs one by one",
        ),
    ],
)
@pytest.mark.parametrize("initialiser", ["default", "lecun_normal", "measured"])
def test_what_has_no_rule_has_none_under_any_initialiser(function, said, initialiser):
    with pytest.raises(ValueError, match=said):
        from_torch(calls(function), positions=2, initialiser=initialiser)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda w: w + w.T, "entries repeat those across the diagonal"),
        (lambda w: w - w.T, "entries repeat those across the diagonal with the other sign"),
        (lambda w: w[:, :2] @ w[:2], "rows repeat each other, as those of a low rank do"),
        (lambda w: w * torch.linspace(0.2, 2, len(w)), "each column has a variance of its own"),
        (lambda w: w * torch.linspace(0.2, 2, len(w))[:, None], "each row has a variance of its own"),
        (lambda w: w - w.mean(1, keepdim=True), "the mean of each row is taken off"),
        (lambda w: torch.linalg.qr(w)[0], 'orthogonal; name the initialiser "orthogonal"'),
        (torch.abs, "the weights have mean"),
        (torch.sign, None),
        (lambda w: w**3, None),
    ],
    ids=range(10),
)
def test_measured_weights_must_look_independent(change, said):
    block = nn.Sequential(nn.Linear(96, 96, bias=False))
    block[0].weight.data = change(torch.randn(96, 96))
    if said is None:
        assert len(from_torch(block, initialiser="measured").modules) == 1
        return
    with pytest.raises(ValueError, match=said):
        from_torch(block, initialiser="measured")


def test_an_activation_with_arguments_given():
    def layer(activation):
        block = nn.TransformerEncoderLayer(4, 2, dropout=0.0, activation=activation, norm_first=True)
        return from_torch(block, positions=1).layer

    assert layer(partial(F.gelu, approximate="tanh")) == layer(nn.GELU("tanh")) != layer(nn.GELU())
