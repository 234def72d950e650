"""PyTorch blocks read as networks: each module's function, one layer's moments over fresh copies, and what is refused."""

from __future__ import annotations

import re

import numpy as np
import pytest
import sympy as sp

torch = pytest.importorskip("torch", reason="reading PyTorch modules needs the extra torch")
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from derivations import Network, Weights, derive, epsilon, relu, rms_norm  # noqa: E402
from derivations.symbols import state  # noqa: E402
from derivations.symbols import width as n  # noqa: E402
from numerics.pytorch import from_torch  # noqa: E402

POINTS = np.array([-4.2, -1.7, -0.6, -0.04, 0.03, 0.4, 0.9, 2.3, 6.5])
START = np.array([0.9, -1.4, 0.3, 2.0, -0.2, 0.7])


@pytest.fixture(autouse=True)
def seeded():
    torch.set_num_threads(1)
    torch.manual_seed(0)


class Residual(nn.Module):
    """x + branch(x)."""

    def __init__(self, *branch):
        super().__init__()
        self.branch = nn.Sequential(*branch)

    def forward(self, x):
        return x + self.branch(x)


class PostNorm(nn.Module):
    def __init__(self, width=6):
        super().__init__()
        self.down, self.norm = nn.Linear(width, width), nn.RMSNorm(width)

    def forward(self, x):
        return self.norm(x + self.down(F.relu(x)))


class SwiGLU(nn.Module):
    """Pre-norm, one matrix cut into gate and value, a layer scale of 0.7."""

    def __init__(self, width=6):
        super().__init__()
        self.norm, self.up = nn.LayerNorm(width), nn.Linear(width, 8, bias=False)
        self.down, self.gamma = nn.Linear(4, width), nn.Parameter(torch.full((width,), 0.7))

    def forward(self, x):
        gate, value = self.up(self.norm(x)).chunk(2, dim=-1)
        return torch.add(x, self.gamma * self.down(F.silu(gate) * value))


def two_matrices(width=6):
    return Residual(nn.Linear(width, 4), nn.ReLU(), nn.Dropout(0.25), nn.Linear(4, width))


def one_matrix(width=6):
    return Residual(nn.Tanh(), nn.Linear(width, width))


MODULES = [
    *(
        nn.ReLU(),
        nn.ReLU6(),
        nn.GELU(),
        nn.GELU("tanh"),
        nn.SiLU(),
        nn.Mish(),
        nn.Tanh(),
        nn.Sigmoid(),
        nn.SELU(),
        nn.Hardswish(),
    ),
    *(nn.Hardsigmoid(), nn.Softsign(), nn.LogSigmoid(), nn.Tanhshrink(), nn.LeakyReLU(0.3), nn.ELU(0.7), nn.CELU(1.3)),
    *(
        nn.Hardtanh(-0.5, 2.0),
        nn.Softshrink(0.3),
        nn.Hardshrink(0.2),
        nn.Softplus(2.0),
        nn.Threshold(0.1, -2.0),
        nn.PReLU(),
        nn.Identity(),
    ),
]


@pytest.mark.parametrize("module", MODULES, ids=lambda m: type(m).__name__)
def test_modules_are_the_functions_that_pytorch_computes(module):
    net = from_torch(nn.Sequential(module, nn.Linear(3, 3)), scale=1)
    (applied,) = net.layer.atoms(type(Weights("W")(state)))
    value = sp.lambdify(state, applied.body, "mpmath")
    theirs = module.double()(torch.tensor(POINTS)).detach().numpy()
    np.testing.assert_allclose([float(value(p)) for p in POINTS], theirs, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    "call",
    [
        torch.relu,
        F.silu,
        lambda x: F.gelu(x, approximate="tanh"),
        lambda x: F.leaky_relu(x, 0.2),
        lambda x: F.elu(x, alpha=0.5),
        lambda x: x.tanh() * torch.sigmoid(x),
        lambda x: F.relu(x) ** 2 - x / 3,
        lambda x: -(x.abs()) + 2,
    ],
)
def test_operations_are_the_functions_that_pytorch_computes(call):
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.down = nn.Linear(3, 3)

        def forward(self, x):
            return self.down(call(x))

    (applied,) = from_torch(Block(), scale=1).layer.atoms(type(Weights("W")(state)))
    value = sp.lambdify(state, applied.body, "mpmath")
    theirs = call(torch.tensor(POINTS)).numpy()
    np.testing.assert_allclose([float(value(p)) for p in POINTS], theirs, rtol=1e-6, atol=1e-7)


def test_a_block_is_the_formula_that_one_would_write():
    net = from_torch(
        Residual(nn.RMSNorm(16), nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 16)), width=n, initialiser="kaiming_normal"
    )
    up, down = Weights("branch_1", out=4 * n, variance=2), Weights("branch_3", variance=2)
    assert net == Network(lambda x: x + epsilon * down(relu(up(rms_norm(x)))), width=n) or net.layer == (
        state + epsilon * down(relu(up(rms_norm(state))))
    )
    assert derive(net).gram is not None
    assert net.as_it_stands == net.layer.subs(epsilon, 1)


def drawn_again(block, generator):
    """Every weight N(0, 2/k), every bias 0: He's initialiser written out."""
    with torch.no_grad():
        for module in block.modules():
            if isinstance(module, nn.Linear):
                module.weight.normal_(0, (2 / module.in_features) ** 0.5, generator=generator)
                if module.bias is not None:
                    module.bias.zero_()


@pytest.mark.parametrize("make", [one_matrix, two_matrices, SwiGLU])
def test_one_layer_of_fresh_blocks_has_the_derived_covariance(make):
    samples, generator = 4000, torch.Generator().manual_seed(1)
    limit = derive(from_torch(make, initialiser="kaiming_normal")).limit
    derived = np.array(
        limit.covariance.subs(dict(zip(limit.states, map(sp.Float, START), strict=True))).evalf(), dtype=float
    )
    block, x = make().double(), torch.tensor(START)
    moved = np.empty((samples, 6))
    for i in range(samples):
        drawn_again(block, generator)
        moved[i] = (block(x) - x).detach().numpy()
    products = moved[:, :, None] * moved[:, None, :]
    error = products.std(axis=0) / np.sqrt(samples)
    assert np.abs(products.mean(axis=0) - derived).max() < 4.5 * error.max()
    assert (
        np.abs(np.diag(products.mean(axis=0) - 1.2 * derived)) / np.diag(error)
    ).max() > 4.5  # a wrong coefficient is seen
    assert np.abs(moved.mean(axis=0)).max() < 4.5 * (moved.std(axis=0) / np.sqrt(samples)).max()


def test_a_norm_behind_the_sum_keeps_the_branch_inside():
    net = from_torch(PostNorm(), initialiser="lecun_normal")
    down = Weights("down")
    assert net.layer == rms_norm(state + epsilon * down(relu(state)))


@pytest.mark.parametrize("kind", [nn.Dropout1d, nn.Dropout2d, nn.AlphaDropout, nn.FeatureAlphaDropout])
def test_dropout_of_another_kind_is_read_where_it_is_not_there(kind):
    made = nn.Sequential(nn.Linear(4, 4), kind(0.5))
    with pytest.raises(ValueError, match="has no rule in training mode; call eval"):
        from_torch(made)
    assert from_torch(made.eval()).layer == from_torch(nn.Sequential(nn.Linear(4, 4))).layer


def test_factors_are_said_with_their_probability():
    assert any(
        " is 1 with probability 3/4 and else 0, one for each neuron" in r
        for r in from_torch(nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.25))).remarks
    )


def test_dropout_is_a_factor_in_training_only():
    net = from_torch(two_matrices())
    assert "branch_2" in str(net.layer)
    assert "branch_2" not in str(from_torch(two_matrices().eval()).layer)


def test_laws_of_initialisers():
    def variance(**options):
        net = from_torch(Residual(nn.Linear(6, 24), nn.Tanh(), nn.Linear(24, 6)), **options)
        return [draw.variance for _, draw in net.modules]

    assert variance() == [sp.Rational(1, 3)] * 2
    assert variance(initialiser="xavier_uniform_") == [sp.Rational(2, 5), sp.Rational(8, 5)]
    assert variance(initialiser=0.02) == [sp.Rational(6, 2500), sp.Rational(24, 2500)]
    assert variance(initialiser={"": "lecun_normal", "branch.2": "orthogonal"}) == [1, 1]
    for name, init in (("kaiming_normal", nn.init.kaiming_normal_), ("xavier_uniform", nn.init.xavier_uniform_)):
        layer = nn.Linear(300, 500)
        init(layer.weight, nonlinearity="relu") if "kaiming" in name else init(layer.weight)
        found = 300 * float((layer.weight.detach() ** 2).mean())
        (claimed,) = [
            d.variance
            for _, d in from_torch(
                Residual(layer, nn.Linear(500, 300)), initialiser={"": "default", "branch.0": name}
            ).modules
        ][:1]
        assert abs(found / float(claimed) - 1) < 0.02
    nn.init.orthogonal_(layer.weight)
    assert abs(300 * float((layer.weight.detach() ** 2).mean()) / 0.6 - 1) < 1e-5
    assert float(variance(initialiser="orthogonal")[0]) == 0.25


def test_weights_that_the_named_initialiser_does_not_draw_are_remarked():
    block = Residual(nn.Linear(300, 300, bias=False), nn.Tanh(), nn.Linear(300, 300, bias=False))
    for layer in (block.branch[0], block.branch[2]):
        nn.init.xavier_normal_(layer.weight, gain=0.25 if layer is block.branch[0] else 1)
    said = str(from_torch(block, initialiser="xavier_normal"))
    assert re.search(
        r"branch\.0 \(Linear\) is taken as xavier_normal draws it, but its weights have variance 0\.06", said
    )
    assert "branch.2 (Linear) is taken" not in said


def test_uniform_weights_stay_uniform_on_request():
    net = from_torch(one_matrix, exact_law=True)
    assert {str(a.weights.args[-1]) for a in net.layer.atoms(type(Weights("W")(state)))} == {"uniform"}
    assert not any("uniform" in remark for remark in net.remarks)
    assert any("uniform" in remark for remark in from_torch(one_matrix).remarks)


def test_measured_weights_carry_their_error():
    def fresh():
        block = two_matrices(20)
        for module in block.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.3)
        return block

    (_, first), (_, second) = from_torch(fresh, initialiser="measured", copies=50).modules
    for draw, reads in ((first, 20), (second, 4)):
        assert abs(float(draw.variance) - 0.09 * reads) < 4 * draw.error
        assert abs(float(draw.variance) - 0.09 * reads * 1.2) > 4 * draw.error
        assert "50 fresh copies" in draw.source


class Branching(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


class TiedOverDepth(nn.Module):
    def __init__(self):
        super().__init__()
        self.step = nn.Linear(6, 6)

    def forward(self, x):
        return self.step(torch.tanh(self.step(x)))


class Uneven(nn.Module):
    def __init__(self):
        super().__init__()
        self.gamma, self.down = nn.Parameter(torch.arange(6.0)), nn.Linear(6, 6)

    def forward(self, x):
        return x + self.gamma * self.down(x)


class Trained(nn.Module):
    def __init__(self):
        super().__init__()
        self.down = nn.Linear(30, 30)
        nn.init.normal_(self.down.weight)

    def forward(self, x):
        return x + self.down(x)


class HalfTheState(nn.Module):
    def forward(self, x):
        return x.chunk(2, dim=-1)[0]


class TwoInputs(nn.Module):
    def forward(self, x, y):
        return x + y


@pytest.mark.parametrize(
    ("block", "said"),
    [
        (Branching(), "Branching cannot be traced"),
        (nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)), r"1 \(BatchNorm1d\) divides by averages over a batch"),
        (nn.Sequential(nn.LSTM(4, 4)), r"0 \(LSTM\) is recurrent"),
        (nn.Sequential(nn.Conv2d(3, 3, 3)), r"0 \(Conv2d\) reads a grid of 2 dimensions, got no positions"),
        (nn.Sequential(nn.GroupNorm(2, 4)), r"0 \(GroupNorm\) averages over 2 groups of neurons"),
        (TiedOverDepth(), r"step \(Linear\) reads what it has put out itself"),
        (
            Uneven(),
            "gamma .* holds numbers that differ between neurons, which have a limit at the block's own width only",
        ),
        (Trained(), r"down \(Linear\) does not look like PyTorch's default"),
        (HalfTheState(), "chunk cuts the state"),
        (TwoInputs(), "needs y beside the state"),
        (nn.Linear(3, 4), "reads 3 features and puts out 4"),
        (Residual(nn.Linear(3, 4), nn.Linear(5, 3)), "reads 5 features and gets 4"),
        (3, "must be a torch.nn.Module"),
    ],
    ids=lambda v: type(v).__name__ if isinstance(v, nn.Module) else "",
)
def test_what_cannot_be_read_is_refused_by_name(block, said):
    with pytest.raises(ValueError, match=said):
        from_torch(block, width=sp.oo if isinstance(block, Uneven) else None)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"initialiser": "kaiming_norm"}, "unknown initialiser 'kaiming_norm'; close names: kaiming_normal"),
        ({"initialiser": {"branch.9": 0.02}}, "no initialiser is given for branch.0"),
        ({"initialiser": 0.02, "width": sp.oo}, "no limit as the width grows"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, said):
    with pytest.raises(ValueError, match=said):
        from_torch(two_matrices(), **options)


@pytest.mark.slow
def test_a_deep_stack_grows_as_derived():
    """200 layers of x + L^{-1/2} branch(x), width 6: log-norm of the two-matrix ReLU block, exactly log-normal in the limit."""
    depth, t, samples = 200, 1.0, 1500
    net = from_torch(Residual(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 6)), initialiser="kaiming_normal", width=6)
    law = derive(net).gram_law
    assert law.name == "geometric Brownian motion"
    block, generator = (
        Residual(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 6)).double(),
        torch.Generator().manual_seed(2),
    )
    logs = np.empty(samples)
    for i in range(samples):
        x = torch.tensor(START)
        for _ in range(depth):
            drawn_again(block, generator)
            with torch.no_grad():
                x = x + (block(x) - x) * (t / depth) ** 0.5
        logs[i] = np.log(float((x**2).sum()) / float((START**2).sum()))
    # d log R = (1/2 - 1/n)·σ² dt with σ² = 4 the product of both variances, variance 2σ²/n; bias of order 1/L below 0.02
    mean, spread = (0.5 - 1 / 6) * 4 * t, 8 * t / 6
    assert abs(logs.mean() - mean) < 4 * np.sqrt(spread / samples) + 0.05
    assert abs(logs.mean() - 1.3 * mean) > 4 * np.sqrt(spread / samples) + 0.05
