"""Tangent kernels through a softmax: against a flow written out over two positions, and Jacobians of wide networks taken by JAX."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp

from derivations import AttentionBlock, Network, Weights, attention, causal, epsilon
from derivations.gaussian import softmax_mean
from numerics.compile.softmax_means import softmax_mean_value
from numerics.kernels import kernel_matrices
from numerics.statistics import Estimate

Q, K, V = Weights("Q"), Weights("K"), Weights("V")
TOKENS = 0.7 * np.random.default_rng(0).normal(size=(2, 4, 2))
Z, W = np.polynomial.hermite_e.hermegauss(80)
W = W / W.sum()
APART = np.array([1.0, -1.0])


def mean(f, g, a, c, b):
    """E f(U) g(V) of a centred pair."""
    u = np.sqrt(a) * Z[:, None]
    v = c / np.sqrt(a) * Z[:, None] + np.sqrt(max(b - c * c / a, 0.0)) * Z[None]
    return float(W @ (f(u) * g(v)) @ W)


def shares(d):
    first = 1 / (1 + np.exp(-d))
    return first, 1 - first


def slope(d):
    first, second = shares(d)
    return first * second


def head(k, theta, i, j, slopes=1.0, outside=0.0, angle=0.0):
    """Rates of K and Θ between both inputs; over two positions a row moves along (1, -1) with the difference of its scores.

    The second position's pairs of neurons are turned by an angle further than the first one's.
    """
    force, moved = np.empty((2, 2)), np.empty((2, 2))
    for a in range(2):
        for b in range(2):
            places = np.arange(2)

            def apart(table, a=a, b=b, places=places):
                """Of differences of keys in the scores of rows a and b."""
                turn = np.cos(angle * ((a - places)[:, None] - (b - places)[None]))
                return APART @ (turn * table) @ APART

            distance, passed = apart(k[i, j]), apart(k[i, j] + theta[i, j])
            law = (
                k[i, i][a, a] * apart(k[i, i], b=a),
                k[i, j][a, b] * distance,
                k[j, j][b, b] * apart(k[j, j], a=b),
            )
            table = np.array(
                [
                    [mean(lambda d, p=p: shares(d)[p], lambda d, q=q: shares(d)[q], *law) for q in range(2)]
                    for p in range(2)
                ]
            )
            force[a, b] = np.sum(table * k[i, j])
            scores = (k[i, j] + theta[i, j])[a, b] * distance + k[i, j][a, b] * passed
            moved[a, b] = np.sum(table * (k[i, j] + theta[i, j])) + slopes * mean(slope, slope, *law) * scores * (
                APART @ k[i, j] @ APART
            )
    return force, moved + outside * force  # a matrix after the shares adds what it is applied to


def solved(t, slopes=1.0, steps=6, outside=0.0, angle=0.0):
    y = np.array([np.einsum("idp,jdq->ijpq", TOKENS, TOKENS) / 4] * 2)

    def rates(y):
        found = np.empty_like(y)
        for i in range(2):
            for j in range(2):
                found[:, i, j] = head(*y, i, j, slopes, outside, angle)
        return found

    for _ in range(steps):
        h = t / steps
        one = rates(y)
        two = rates(y + h / 2 * one)
        three = rates(y + h / 2 * two)
        y = y + h / 6 * (one + 2 * two + 2 * three + rates(y + h * three))
    return np.einsum("kijpp->kij", y) / 2


@pytest.mark.slow
def test_a_softmax_of_two_positions_has_the_tangent_kernel_written_out():
    found = kernel_matrices(
        Network(lambda x: x + epsilon * attention(Q(x), K(x), V(x)), width=sp.oo, positions=2), TOKENS, 0.2
    )
    exact, fixed = solved(0.2), solved(0.2, slopes=0.0)
    assert np.allclose(found.nngp, exact[0], rtol=0, atol=1e-8)
    assert np.allclose(found.ntk, exact[1], rtol=0, atol=1e-8)
    assert np.abs(fixed[1] - exact[1]).min() > 1e-5  # the control: scores that do not move


@pytest.mark.slow
def test_a_matrix_after_the_shares_adds_its_own_part():
    """A block whose heads are multiplied by an output matrix; it was refused as if queries and keys had means."""
    found = kernel_matrices(AttentionBlock(width=sp.oo, positions=2), TOKENS, 0.2)
    exact, without = solved(0.2, outside=1.0), solved(0.2)
    assert np.allclose(found.nngp, exact[0], rtol=0, atol=1e-8)
    assert np.allclose(found.ntk, exact[1], rtol=0, atol=3e-8)  # the six steps here err by 1.4e-8
    assert np.abs(without[1] - exact[1]).min() > 1e-4  # the control


@pytest.mark.slow
def test_turned_queries_and_keys_have_the_tangent_kernel_written_out():
    found = kernel_matrices(AttentionBlock(width=sp.oo, positions=2, frequencies=[2]), TOKENS, 0.2)
    exact, still = (solved(0.2, outside=1.0, angle=angle) for angle in (2.0, 0.0))
    assert np.allclose(found.nngp, exact[0], rtol=0, atol=3e-8)
    assert np.allclose(found.ntk, exact[1], rtol=0, atol=3e-8)
    assert np.abs(still[1] - exact[1]).min() > 1e-5  # the control: positions that are not turned


def test_means_of_slopes_are_those_of_drawn_scores():
    rng = np.random.default_rng(0)
    made = [sp.Matrix(rng.integers(-3, 4, size=(3, 4)).tolist()) for _ in range(4)]
    form, queries, keys, moved = (m * m.T / 6 for m in made)
    node = softmax_mean(0, 1, form, queries, keys, sp.ones(3), moved=moved)
    left, right = (np.linalg.cholesky(np.array(m, dtype=float)) for m in (queries, keys))
    scores = np.einsum("ai,sij,bj->sab", left[:2], rng.standard_normal((40_000, 3, 3)), right)
    a = np.exp(scores - scores.max(axis=-1, keepdims=True))
    a /= a.sum(axis=-1, keepdims=True)
    jacobians = a[..., None] * np.eye(3) - a[..., None] * a[..., None, :]
    M, T = (np.array(m, dtype=float) for m in (form, moved))
    drawn = Estimate.of(np.einsum("sij,jk,skl,il->s", jacobians[:, 0], M, jacobians[:, 1], T))
    value, error = softmax_mean_value(node)
    assert abs(drawn.value - value) < 4 * drawn.error + error
    assert abs(drawn.value - 1.2 * value) > 4 * drawn.error + error  # the control


@pytest.mark.slow
def test_networks_have_the_tangent_kernel_of_a_causal_softmax():
    """Jacobians of all weights, by JAX's own differentiation of a network written here."""
    jax = pytest.importorskip("jax")
    np_, t, width, depth, p = jax.numpy, 0.4, 64, 16, 2
    tokens = np.random.default_rng(3).normal(size=(2, 3, p))
    net = Network(lambda x: x + epsilon * attention(Q(x), K(x), V(x), mask=causal), width=sp.oo, positions=p)
    derived = kernel_matrices(net, tokens, t, tolerance=1e-4)
    mask = np.tril(np.ones((p, p)))

    def output(parameters, x, read):
        first, layers = parameters
        state = x.T @ first / np.sqrt(3)

        def layer(state, weights):
            q, k, v = (state @ w / np.sqrt(width) for w in weights)
            a = jax.nn.softmax(np_.where(mask > 0, q @ k.T / np.sqrt(width), -np_.inf), axis=-1)
            return state + np.sqrt(t / depth) * a @ v, None

        return jax.lax.scan(layer, state, layers)[0] @ read / np.sqrt(width)

    @jax.jit
    def kernel(parameters, read):
        rows = [jax.jacrev(output)(parameters, x, read) for x in tokens]
        flat = [np_.concatenate([leaf.reshape(p, -1) for leaf in jax.tree_util.tree_leaves(r)], axis=1) for r in rows]
        return np_.array([[np_.trace(a @ b.T) / p for b in flat] for a in flat])

    rng, found = np.random.default_rng(1), []
    for _ in range(24):
        first, layers = rng.standard_normal((3, width)), rng.standard_normal((depth, 3, width, width))
        found.append(kernel((first, layers), rng.choice([-1.0, 1.0], size=width)))
    rejected = []
    for a, b in ((0, 0), (0, 1), (1, 1)):
        measured = Estimate.of(np.array(found, dtype=float)[:, a, b])
        off = abs(measured.value - derived.ntk[a, b])
        assert off < 4 * measured.error + 0.05 * abs(derived.ntk[a, a])  # of order 1/n + 1/L
        rejected.append(abs(measured.value - derived.nngp[a, b]) > 4 * measured.error + 0.05 * abs(derived.ntk[a, a]))
    assert any(rejected)  # the control: the other kernel
