"""Deep stacks of PyTorch's own modules, drawn afresh in every layer, against the flow of the norms and correlations that is derived.

A network of width n and depth L has the moments of the limit plus a/n + b/L + …; the two sizes are doubled together, so that twice the
larger one less the smaller one leaves second orders.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import sympy as sp

torch = pytest.importorskip("torch", reason="reading PyTorch modules needs the extra torch")
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from derivations import derive  # noqa: E402
from numerics import solve_flow  # noqa: E402
from numerics.pytorch import from_torch  # noqa: E402

SIGMAS = 4.0


class PreNorm(nn.Module):
    """Written by hand: layer norm, two matrices, GELU."""

    def __init__(self, n):
        super().__init__()
        self.norm, self.up, self.down = nn.LayerNorm(n), nn.Linear(n, 2 * n), nn.Linear(2 * n, n)

    def forward(self, x):
        return x + self.down(F.gelu(3 * self.up(self.norm(x))))

    def last(self):
        return [self.down]


class ConvBlock(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.first = nn.Conv1d(n, n, 3, padding=1, padding_mode="circular")
        self.second = nn.Conv1d(n, n, 3, padding="same")

    def forward(self, x):
        return x + self.second(F.relu(self.first(x)))

    def last(self):
        return [self.second]


class Attention(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.norm, self.attn = nn.RMSNorm(n), nn.MultiheadAttention(n, 2, batch_first=True)

    def forward(self, x):
        y = self.norm(x)
        return x + self.attn(y, y, y)[0]

    def last(self):
        return [self.attn.out_proj]


class Encoder(nn.TransformerEncoderLayer):
    def __init__(self, n):
        super().__init__(n, 2, 2 * n, dropout=0.0, norm_first=True, batch_first=True)

    def last(self):
        return [self.self_attn.out_proj, self.linear2]


def drawn_again(block, scale):
    """By PyTorch's own initialisers; the last matrix of every branch is scaled."""
    for module in reversed(list(block.modules())):
        for reset in ("reset_parameters", "_reset_parameters"):
            if hasattr(module, reset):
                getattr(module, reset)()
    with torch.no_grad():
        for module in block.last():
            for parameter in module.parameters():
                parameter.mul_(scale)


def start(rng, n, gram):
    """States (m, n) of mean 0 with the given Gram matrix, in a random direction."""
    m = len(gram)
    z = rng.normal(size=(n, m))
    q, _ = np.linalg.qr(z - z.mean(axis=0))
    return np.sqrt(n) * (np.linalg.cholesky(gram) @ q.T)


def last_grams(make, n, depth, t, gram, channels, samples, seed):
    rng, block = np.random.default_rng(seed), make(n)
    torch.manual_seed(seed)
    found = []
    for _ in range(samples):
        x = torch.tensor(start(rng, n, gram), dtype=torch.float32)
        x = (x.T if channels else x)[None]
        with torch.no_grad():
            for _ in range(depth):
                drawn_again(block, (t / depth) ** 0.5)
                x = block(x)
        x = x[0].T if channels else x[0]
        found.append((x @ x.T / n).numpy())
    return np.array(found, dtype=float)


GRAM = np.array([[1.0, 0.2], [0.2, 1.0]])
RING = np.array([[1.0, 0.1, 0.3], [0.1, 1.2, 0.0], [0.3, 0.0, 0.8]])
STACKS = {
    "pre-norm": (PreNorm, GRAM, {"inputs": 2}, False, 4.0),
    "convolution": (ConvBlock, RING, {"positions": 3}, True, 12.0),
    "attention": (Attention, GRAM, {"positions": 2}, False, 10.0),
    "encoder layer": (Encoder, GRAM, {"positions": 2}, False, 10.0),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", STACKS)
def test_norms_and_correlations_after_many_layers(name):
    make, gram, options, channels, t = STACKS[name]
    torch.set_num_threads(1)
    (n, depth), samples = (48, 16), 90
    small, large = (last_grams(make, k * n, k * depth, t, gram, channels, samples * (3 - k), seed=k) for k in (1, 2))
    pairs = list(itertools.combinations_with_replacement(range(len(gram)), 2))
    diagonal = [a == b for a, b in pairs]
    limit = derive(from_torch(lambda: make(n), width=sp.oo, **options)).limit
    path = solve_flow(limit, [gram[p] for p in pairs], t=1.5 * t, rtol=1e-5)
    values, wrong = (np.array(path(time))[: len(pairs)] for time in (t, 1.5 * t))

    def measured(of):
        one, other = (np.array([of(g) for g in grams]) for grams in (small, large))
        value = 2 * other.mean() - one.mean()
        error = np.hypot(2 * other.std(ddof=1) / len(other) ** 0.5, one.std(ddof=1) / len(one) ** 0.5)
        # what is left is of the order of the square of the share that was taken off
        return value, error, (other.mean() - one.mean()) ** 2 / abs(value)

    for kind in (True, False):
        chosen = [k for k, d in enumerate(diagonal) if d is kind]
        value, error, next_order = measured(lambda g, c=chosen: np.mean([g[pairs[k]] for k in c]))
        assert abs(value - values[chosen].mean()) < SIGMAS * error + next_order
        assert abs(value - wrong[chosen].mean()) > SIGMAS * error + next_order
