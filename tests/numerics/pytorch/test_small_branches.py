"""Norms behind branches that start near 0: the small number under the root is a share of what stands there."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="reading PyTorch modules needs the extra torch")
from torch import nn  # noqa: E402

from numerics import simulate_network  # noqa: E402
from numerics.pytorch import from_torch  # noqa: E402
from tests.numerics.pytorch.modules import Calls  # noqa: E402

N, SMALL = 6, 1e-5


@pytest.fixture(autouse=True)
def seeded():
    torch.set_num_threads(1)
    torch.manual_seed(0)


def normed(kind):
    def make(std=0.02):
        block = Calls(FORWARDS[kind], a=nn.Linear(N, N), b=nn.Linear(N, N), norm=nn.LayerNorm(N, eps=SMALL))
        for layer in (block.a, block.b):
            nn.init.normal_(layer.weight, std=std)
            nn.init.zeros_(layer.bias)
        return block

    return make


def by_hand(b, x):
    branch = b.b(torch.tanh(b.a(x)))
    return x + branch * torch.rsqrt(branch.pow(2).mean(-1, keepdim=True) + SMALL)


FORWARDS = {
    "module": lambda b, x: x + b.norm(b.b(torch.tanh(b.a(x)))),
    "function": lambda b, x: x + nn.functional.rms_norm(b.b(torch.tanh(b.a(x))), (N,), eps=SMALL),
    "by hand": by_hand,
}


@pytest.mark.parametrize("kind", FORWARDS)
def test_a_number_under_the_root_is_kept_where_it_counts(kind):
    """The branch has a mean square of 6e-6 and the norm adds 1e-5: without it the branch would have one of 1."""
    make, samples = normed(kind), 1500
    net = from_torch(make, initialiser=0.02)
    x = np.random.default_rng(1).normal(size=N)
    with torch.no_grad():
        given = torch.tensor(x, dtype=torch.float32)
        theirs = np.array([(make()(given) - given).numpy() for _ in range(samples)])
    ours = simulate_network(net, depth=1, samples=4 * samples, x0=x, seed=2).reshape(-1, N) - x
    (first, error), (second, other) = (
        (m.mean(), m.std() / np.sqrt(len(m))) for m in ((theirs**2).mean(axis=1), (ours**2).mean(axis=1))
    )
    assert abs(first - second) < 4 * np.hypot(error, other)
    assert abs(1.3 * first - second) > 4 * np.hypot(1.3 * error, other)
    assert first < 0.7
    large = from_torch(lambda: make(0.5), initialiser=0.5)
    assert any("is taken without the small number" in remark for remark in large.remarks)
    assert not any("is taken without the small number" in remark for remark in net.remarks)
