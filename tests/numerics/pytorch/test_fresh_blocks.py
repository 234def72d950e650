"""One layer of blocks that are drawn afresh moves as networks with the laws of the weights that were read."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp

torch = pytest.importorskip("torch", reason="reading PyTorch modules needs the extra torch")
from torch import nn  # noqa: E402

from derivations import derive  # noqa: E402
from numerics import simulate_network  # noqa: E402
from numerics.pytorch import from_torch  # noqa: E402
from tests.numerics.pytorch.modules import E, H, encoder  # noqa: E402


@pytest.fixture(autouse=True)
def seeded():
    torch.set_num_threads(1)
    torch.manual_seed(0)


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
