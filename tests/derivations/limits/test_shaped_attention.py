"""Shaped attention at depth proportional to width: the published equation, one layer, and deep chains drawn in law by hand."""

from __future__ import annotations

import random
import warnings

import numpy as np
import pytest
import sympy as sp
from scipy import stats
from scipy.stats import qmc

from derivations import DerivationError, ShapedAttention, derive
from derivations.symbols import width as n
from numerics import simulate_network, simulate_sde
from numerics.compile import compile_expression
from numerics.outcomes import ExplosionWarning
from tests.helpers import equal_symbolically

tau = sp.Symbol("tau", positive=True)


def _published(matrix, temperature, spread=1):
    """Drift and covariance as functions of entries, of the issue's formula."""
    V, p = sp.Matrix(matrix), matrix.shape[0]
    P = sp.eye(p) - sp.ones(p) / p
    W = P * V * P
    M, inner = V * W * V, (V * W).trace()

    def drift(a, b):
        half = V[a, a] * sum(V[b, d] * (W[d, d] - W.trace() / p) for d in range(p))
        other = V[b, b] * sum(V[a, d] * (W[d, d] - W.trace() / p) for d in range(p))
        return V[a, b] * inner / (p**2 * temperature**2) + (half + other) / (2 * p * temperature**2)

    def noise(a, b, c, d):
        more = V[a, c] * M[b, d] + V[a, d] * M[b, c] + V[b, c] * M[a, d] + V[b, d] * M[a, c]
        return V[a, c] * V[b, d] + V[a, d] * V[b, c] + more / (p**2 * temperature**2)

    return drift, noise


def _limit(p, temperature=tau):
    limit = derive(ShapedAttention(width=100, positions=p, temperature=temperature)).limit
    return limit, limit.matrix, [(a, b) for a in range(p) for b in range(a, p)]


@pytest.mark.slow
def test_the_published_equation_comes_out():
    limit, V, pairs = _limit(2)
    drift, noise = _published(V, tau)
    for i, one in enumerate(pairs):
        assert equal_symbolically(limit.drift[i], drift(*one))
        for j, other in enumerate(pairs):
            assert equal_symbolically(limit.covariance[i, j], noise(*one, *other))


@pytest.mark.slow
@pytest.mark.parametrize("p", [3, 4, 8])
def test_more_tokens_at_a_random_matrix(p):
    # exactly, in rational numbers: the drift everywhere, the covariance of one pair of entries of each kind
    temperature, rng = sp.Rational(3, 2), random.Random(0)
    limit, matrix, pairs = _limit(p, temperature)
    root = sp.Matrix(p, p, lambda i, j: sp.Rational(rng.randrange(-9, 10), 7))
    V = root * root.T + sp.eye(p) / 3
    at = {matrix[pair]: V[pair] for pair in pairs}
    (drift, noise), (other, _) = _published(V, temperature), _published(V, 2 * temperature)
    for i, one in enumerate(pairs):
        assert limit.drift[i].xreplace(at) == drift(*one)
        assert limit.drift[i].xreplace(at) != other(*one)
    kinds = (
        ((0, 0), (0, 0)),
        ((1, 1), (1, 3)),
        ((0, 0), (2, 2)),
        ((0, 0), (1, 2)),
        ((1, 2), (1, 2)),
        ((0, 2), (2, 3)),
        ((0, 1), (2, 3)),
    )
    for one, two in kinds[-2:] if p == 8 else (kind for kind in kinds if max(*kind[0], *kind[1]) < p):
        assert limit.entry(pairs.index(one), pairs.index(two)).xreplace(at) == noise(*one, *two)


@pytest.mark.slow
def test_a_skip_and_fewer_keys():
    # fewer keys have larger averages, and their scores are divided by less
    half = derive(ShapedAttention(width=100, temperature=tau, size=n / 2)).limit
    drift, noise = _published(half.matrix, tau)
    assert equal_symbolically(half.drift[0], drift(0, 0))
    assert equal_symbolically(half.covariance[0, 1], noise(0, 0, 0, 1))
    skipped = derive(ShapedAttention(width=100, temperature=tau, skip=sp.Rational(3, 5))).limit
    assert equal_symbolically(skipped.drift[1], sp.Rational(16, 25) * drift(0, 1))


def _layer(gram, neurons, temperature, rng):
    """One layer's conditional Gram matrices, exactly in law: averages over neurons are Wishart, scores products of Gaussians."""
    count, p = len(gram), gram.shape[-1]

    def triangle():
        found = np.zeros((count, p, p))
        for i in range(p):
            found[:, i, i] = np.sqrt(rng.chisquare(neurons - i, count))
            found[:, i, :i] = rng.standard_normal((count, i))
        return found / np.sqrt(neurons)

    sizes, vectors = np.linalg.eigh(gram)  # some matrices are singular to rounding
    root = vectors * np.sqrt(np.maximum(sizes, 0.0))[:, None, :] @ triangle()
    averaged = root @ np.swapaxes(root, 1, 2)
    product = triangle() @ rng.standard_normal((count, p, p)) / np.sqrt(neurons)  # of q k' over the neurons, whitened
    scores = root @ product @ np.swapaxes(root, 1, 2) / temperature
    shares = np.exp(scores)
    shares /= shares.sum(axis=2, keepdims=True)
    mixing = np.eye(p) + shares - 1 / p
    after = mixing @ averaged @ np.swapaxes(mixing, 1, 2)
    # of mean 0: the part of first order, in which all of the noise is
    linear = (scores - scores.mean(axis=2, keepdims=True)) / p @ averaged
    return after, averaged - gram + linear + np.swapaxes(linear, 1, 2)


class _Spread:
    """Scrambled Sobol points in the place of random numbers: each call takes the next dimensions."""

    def __init__(self, dimensions, count, seed):
        self.points = np.clip(qmc.Sobol(dimensions, seed=seed).random(count), 1e-12, 1 - 1e-12).T
        self.used = 0

    def _next(self, count):
        self.used += count
        return self.points[self.used - count : self.used]

    def chisquare(self, freedom, count):
        return stats.chi2.ppf(self._next(1)[0], freedom)

    def standard_normal(self, shape):
        return stats.norm.ppf(self._next(int(np.prod(shape[1:])))).T.reshape(shape)


@pytest.mark.slow
def test_one_layer_to_five_in_ten_thousand():
    p, neurons, blocks, count = 3, 1_000_000, 12, 2**15
    V = np.array([[1.0, 0.3, -0.2], [0.3, 0.8, 0.1], [-0.2, 0.1, 1.3]])
    limit, _, pairs = _limit(p, sp.S.One)
    values = [V[pair] for pair in pairs]
    drift, covariance = (
        np.array(compile_expression(limit.states, e)(*values)) for e in (limit.drift, limit.covariance)
    )
    means, products = [], []
    for seed in range(blocks):
        spread = _Spread(p * (p + 1) + p * p, count, seed)
        after, first = _layer(np.broadcast_to(V, (count, p, p)), neurons, 1.0, spread)
        rest = neurons * (after - V - first)
        means.append([rest[:, a, b].mean() for a, b in pairs])
        products.append(np.cov(np.sqrt(neurons) * np.stack([after[:, a, b] - V[a, b] for a, b in pairs])))
    for found, wanted in ((np.array(means), drift.ravel()), (np.array(products), covariance)):
        error = found.std(axis=0, ddof=1) / np.sqrt(blocks)
        off = np.abs(found.mean(axis=0) - wanted)
        assert error.max() < 2e-4
        assert off.max() < 5e-4
        assert np.abs(found.mean(axis=0) - 1.02 * wanted).max() > 5e-4  # 2 % more


@pytest.mark.slow
def test_deep_networks_follow_the_equation():
    p, time, count = 2, 0.15, 70_000
    start, temperature = np.array([[1.0, 0.2], [0.2, 1.0]]), sp.S.One

    def seen(v11, v12, v22):
        apart = np.maximum(v11 - 2 * v12 + v22, 0.0)  # how far the tokens are from each other
        return apart / (1 + apart)  # bounded: the tails of V are heavy

    means = []
    for neurons, seed in ((40, 1), (80, 2)):
        gram, rng = np.broadcast_to(start, (count, p, p)), np.random.default_rng(seed)
        for _ in range(round(time * neurons)):
            gram, _ = _layer(gram, neurons, float(temperature), rng)
        values = seen(gram[:, 0, 0], gram[:, 0, 1], gram[:, 1, 1])
        means.append(values.mean())
        noise = values.std() / np.sqrt(count)
    extrapolated = 2 * means[1] - means[0]  # the error of depth and width is of order 1/n

    def of_limit(temperature):
        limit = _limit(p, temperature)[0]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExplosionWarning)  # of one path in 25 000
            paths = simulate_sde(limit, x0=[1.0, 0.2, 1.0], t=time, steps=30, samples=count, seed=3)
        kept = np.isfinite(paths).all(axis=1)
        assert kept.mean() > 0.9999
        return seen(*paths[kept].T).mean()

    assert abs(extrapolated - of_limit(temperature)) < 4.5 * np.sqrt(6) * noise
    assert (
        abs(extrapolated - of_limit(100)) > 4.5 * np.sqrt(6) * noise
    )  # of attention that is hardly there: seven of them


def _with_skip(neurons, skip, time, count, seed):
    """Gram matrices of networks that keep a part of the state: neurons are drawn, and scores from queries and keys."""
    rng, start = np.random.default_rng(seed), np.linalg.cholesky(np.array([[1.0, 0.2], [0.2, 1.0]]))
    x = rng.standard_normal((count, neurons, 2))

    def gram(y):
        return np.einsum("sia,sib->sab", y, y) / neurons

    def drawn(v):
        return rng.standard_normal((count, neurons, 2)) @ np.swapaxes(np.linalg.cholesky(v + 1e-12 * np.eye(2)), 1, 2)

    x = x @ np.swapaxes(np.linalg.inv(np.linalg.cholesky(gram(x))), 1, 2) @ start.T
    for _ in range(round(time * neurons)):
        v = gram(x)
        scores = np.swapaxes(drawn(v), 1, 2) @ drawn(v) / neurons
        shares = np.exp(scores - scores.max(axis=2, keepdims=True))
        mixing = np.eye(2) + shares / shares.sum(axis=2, keepdims=True) - 0.5
        x = skip * x + np.sqrt(1 - skip**2) * drawn(mixing @ v @ np.swapaxes(mixing, 1, 2))
    return gram(x)


@pytest.mark.slow
def test_deep_networks_with_a_skip_follow_the_equation():
    time, count, skip = 0.2, 12_000, sp.Rational(3, 5)

    def seen(v11, v12, v22):
        apart = np.maximum(v11 - 2 * v12 + v22, 0.0)
        return apart / (1 + apart)

    found = []
    for neurons, seed in ((20, 1), (40, 2)):
        v = _with_skip(neurons, float(skip), time, count, seed)
        values = seen(v[:, 0, 0], v[:, 0, 1], v[:, 1, 1])
        found.append((values.mean(), values.std() / np.sqrt(count)))
    extrapolated, error = 2 * found[1][0] - found[0][0], np.hypot(2 * found[1][1], found[0][1])

    def of_limit(skip):
        limit = derive(ShapedAttention(width=100, temperature=1, skip=skip)).limit
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExplosionWarning)
            paths = simulate_sde(limit, x0=[1.0, 0.2, 1.0], t=time, steps=30, samples=40_000, seed=3)
        return seen(*paths[np.isfinite(paths).all(axis=1)].T).mean()

    assert abs(extrapolated - of_limit(skip)) < 4.5 * error
    assert abs(extrapolated - of_limit(0)) > 4.5 * error
    assert abs(extrapolated - of_limit(sp.Rational(4, 5))) > 4.5 * error


@pytest.mark.slow
def test_the_interpreter_draws_this_network():
    net = ShapedAttention(width=12, positions=2, temperature=1)
    start = np.random.default_rng(0).standard_normal((12, 2))
    gram = simulate_network(net, 1, 20_000, x0=start, seed=4, record="conditional gram")
    # given the state, averages are what they are and scores are drawn
    rng = np.random.default_rng(5)
    q, k = (np.einsum("sij,ja->sia", rng.standard_normal((20_000, 12, 12)) / np.sqrt(12), start) for _ in range(2))
    shares = np.exp(np.einsum("sia,sib->sab", q, k) / 12)
    mixing = np.eye(2) + shares / shares.sum(axis=2, keepdims=True) - 0.5
    by_hand = mixing @ (start.T @ start / 12) @ np.swapaxes(mixing, 1, 2)
    found = np.asarray(gram).reshape(20_000, 2, 2)
    for a, b in ((0, 0), (0, 1)):
        noise = np.hypot(found[:, a, b].std(), by_hand[:, a, b].std()) / np.sqrt(20_000)
        assert abs(found[:, a, b].mean() - by_hand[:, a, b].mean()) < 4.5 * noise


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"temperature": 0}, "temperature must be positive"),
        ({"skip": 1}, r"skip must be in \[0, 1\)"),
        ({"size": 8}, "number of keys must be a multiple of the width"),
        ({"positions": 0}, "positions must be"),
    ],
)
def test_what_makes_no_sense(options, says):
    with pytest.raises(DerivationError, match=says):
        ShapedAttention(width=10, **options)
