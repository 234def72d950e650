"""Gains that differ between neurons, and the laws of entries: against weights drawn by hand, and against the derivation itself."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp

torch = pytest.importorskip("torch", reason="reading PyTorch modules needs the extra torch")
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from derivations import Network, Weights, derive, epsilon, relu, rms_norm, tanh  # noqa: E402
from numerics.pytorch import from_torch  # noqa: E402
from numerics.pytorch.moments import needs_higher_moments  # noqa: E402
from tests.numerics.pytorch.test_blocks import Calls  # noqa: E402

X = np.array([0.8, -1.1, 0.4])
OUTER, FIRST = np.array([1.0, 0.5, -2.0]), np.array([0.5, 1.0, 2.0])


@pytest.fixture(autouse=True)
def seeded():
    torch.set_num_threads(1)
    torch.manual_seed(0)


class Trained(nn.Module):
    """Gains before a matrix and before the sum, which differ between neurons."""

    def __init__(self):
        super().__init__()
        self.up, self.down = nn.Linear(3, 4), nn.Linear(4, 3)
        self.outer, self.first = (nn.Parameter(torch.tensor(v)) for v in (OUTER, FIRST))

    def forward(self, x):
        return x + self.outer * self.down(F.relu(self.up(self.first * x)))


def test_gains_that_differ_between_neurons_are_covariances():
    limit = derive(from_torch(Trained().double())).limit
    at = dict(zip(limit.states, map(sp.Float, X), strict=True))
    derived = np.array(sp.Matrix(limit.covariance).subs(at).evalf(), dtype=float)
    draw = np.random.default_rng(0).normal
    samples = 40_000
    u = draw(size=(samples, 4, 3)) / 3 @ (FIRST * X) + draw(size=(samples, 4)) / 3  # variances 1/(3k), k = 3
    h = np.maximum(u, 0)
    moved = OUTER * (np.einsum("sij,sj->si", draw(size=(samples, 3, 4)), h) + draw(size=(samples, 3))) / np.sqrt(12)
    products = moved[:, :, None] * moved[:, None, :]
    error = products.std(axis=0) / np.sqrt(samples)
    assert (np.abs(products.mean(axis=0) - derived) < 4.5 * error).all()
    assert (np.abs(np.diag(products.mean(axis=0) - 1.1 * derived)) > 4.5 * np.diag(error)).all()


def calls(function):
    return Calls(function, a=nn.Linear(3, 3), c=nn.Linear(3, 3), gain=torch.tensor([1.0, 2.0, 3.0]))


@pytest.mark.parametrize(
    ("function", "options", "said"),
    [
        (lambda b, x: x + b.gain * x, {}, "gain holds numbers that differ .* one matrix puts out, or reads, alone"),
        (lambda b, x: x + b.a(x + b.gain), {}, "gain holds numbers that differ"),
        (
            lambda b, x: x + b.a(x) + b.gain * b.a(x),
            {},
            "gain multiplies what a puts out in one place and not in another",
        ),
        (
            lambda b, x: x + b.c(b.gain * F.relu(b.a(x))) + b.c(x),
            {},
            "gain multiplies what c reads in one place and not",
        ),
        (lambda b, x: x + b.gain * b.a(x) * b.c(x), {}, "alone"),
        (lambda b, x: x + b.gain * b.a(x), {"width": sp.oo}, "at the block's own width only"),
        (lambda b, x: x + b.gain * b.a(x), {"exact_law": True}, "dense and Gaussian, and a is not"),
        (lambda b, x: x + (b.gain * b.a(x)).chunk(3, -1)[0], {}, "cut it before"),
    ],
)
def test_gains_elsewhere_are_refused_by_name(function, options, said):
    with pytest.raises(ValueError, match=said):
        from_torch(calls(function), **options)


def test_weights_that_are_not_uniform_are_not_pytorchs_default():
    layer = nn.Linear(8, 8)
    with torch.no_grad():
        layer.weight[2, 3] = 1.2 / 8**0.5
    with pytest.raises(
        ValueError, match=r"0 \(Linear\) does not look like .* uniform ones of that variance are at most 0.3536"
    ):
        from_torch(nn.Sequential(layer))


@pytest.mark.slow
def test_the_fourth_moment_of_measured_weights():
    def fresh():
        return Calls(lambda b, x: x + b.c(b.a(x) ** 2), a=nn.Linear(8, 8, bias=False), c=nn.Linear(8, 8, bias=False))

    (_, inner), _ = from_torch(fresh, initialiser="measured", copies=2000).modules
    assert abs(float(inner.law[4]) - 1.8) < 0.05 < abs(float(inner.law[4]) - 3)
    exact, measured = (
        derive(from_torch(fresh, initialiser=how, copies=2000, exact_law=True)).limit.covariance[0, 0]
        for how in ("default", "measured")
    )
    gaussian = derive(from_torch(fresh)).limit.covariance[0, 0]
    at = {s: sp.Rational(k + 1, 5) for k, s in enumerate(sorted(exact.free_symbols, key=str))}
    values = [float(c.subs(at)) for c in (exact, measured, gaussian)]
    # relative errors √(0.8/N) of each of five powers of a variance, N = 128 000 entries
    assert abs(values[1] / values[0] - 1) < 4 * (5 * 0.8 / 128_000) ** 0.5 < abs(values[2] / values[0] - 1)


def test_what_the_law_of_entries_changes_is_said():
    def remarks(**options):
        return " ".join(from_torch(calls(lambda b, x: x + b.c(torch.tanh(b.a(x)))), **options).remarks)

    assert "the uniform weights of a (default) are taken as Gaussian ones" in remarks()
    assert "a share of order 1/3 (the neurons read)" in remarks()
    assert (
        "the uniform weights of c (default) are taken as Gaussian ones of the same variance, which is exact as the depth grows"
        in remarks()
    )
    assert "taken as Gaussian" not in remarks(width=sp.oo)
    assert "the biases of a, which stand inside a function, are taken as Gaussian ones" in remarks(exact_law=True)


kappa = sp.Symbol("kappa", positive=True)
U, D = Weights("U", law={4: kappa, 6: 15, 8: 105}), Weights("D")
LAYERS = {
    "last": (lambda x: x + epsilon * U(relu(x)), False),
    "linear in a chain": (lambda x: x + epsilon * D(U(x)), False),
    "gate of two": (lambda x: x + epsilon * U(x) * D(x), False),
    "gate of one": (lambda x: x + epsilon * U(x) ** 3, True),
    "square inside": (lambda x: x + epsilon * D(U(x) ** 2), True),
    "second order": (lambda x: x + epsilon * D(x) + epsilon**2 * U(x) ** 2, False),
    "cube in second order": (lambda x: x + epsilon * D(x) + epsilon**2 * U(x) ** 4, True),
    "function behind": (lambda x: x + tanh(epsilon * U(x)), False),
}


@pytest.mark.parametrize("name", LAYERS)
def test_where_higher_moments_matter_the_derivation_has_them(name):
    layer, matters = LAYERS[name]
    net = Network(layer, width=2, parameters=(kappa,))
    assert needs_higher_moments(net.layer, {"U"}) is matters
    limit = derive(net).limit
    assert matters is any(e.has(kappa) for e in (*limit.drift, *limit.covariance))


def test_a_norm_behind_the_sum_needs_second_moments_only():
    layer = Network(lambda x: rms_norm(x + epsilon * U(tanh(D(x)))), width=4, parameters=(kappa,)).layer
    assert not needs_higher_moments(layer, {"U"})
    assert needs_higher_moments(layer, {"D"})
