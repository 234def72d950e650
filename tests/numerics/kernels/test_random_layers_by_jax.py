"""Kernels of random layers at infinite width against JAX's derivatives of wide layers whose weights are drawn.

One layer moves both kernels by

    dK = E x'·y'/n - K,   dΘ = Θ (tr J_x J_yᵀ/n - 1) + Σ_w ∂_w x'·∂_w y'/n,

with J the layer's derivatives in its inputs; traces are read by random signs. Both signs of the small parameter leave its square, and widths n and
2n the limit with errors of 1/n².
"""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp

from derivations import Network
from derivations.kernels import ntk
from numerics.compile import compile_expression

jax = pytest.importorskip("jax", reason="layers by hand are differentiated by the extra jax")
from tests.drawn_layers import DrawnLayer  # noqa: E402

jnp = jax.numpy

SECOND = np.array([[1.1, 0.5], [0.5, 0.8]])
TANGENT = np.array([[0.9, 0.4], [0.4, 1.3]])
WIDTH, SAMPLES, STEP, ERRORS, WRONG = 32, 400, 1e-3, 4.0, 1.3
PAIRS = np.triu_indices(2)


def layer(seed: int, width: int) -> DrawnLayer:
    return DrawnLayer(seed, width, norms_inside=True, wide=True)


def by_networks(seed: int, width: int, samples: int) -> np.ndarray:
    """Of each drawn layer by how much a unit of the small parameter's square moves K and Θ, shape (samples, 6)."""
    made, rng = layer(seed, width), np.random.default_rng([seed, width])
    square = np.linalg.qr(rng.standard_normal((samples, width, 2)))[0] * np.sqrt(width)
    signs = rng.choice([-1.0, 1.0], (samples, width))
    inputs = np.linalg.cholesky(SECOND) @ np.swapaxes(square, 1, 2)  # of these second moments exactly

    def after(x, own, step):
        return x + step * made.first(x, own) + step**2 * made.second(x)

    def at(step, pair, own, factors, signs):
        def read(x, weights, factors):
            state = after(x, {**weights, **factors}, step)
            return signs @ state, state

        slopes = jax.vmap(jax.grad(read, argnums=(0, 1), has_aux=True), in_axes=(0, None, 0))
        (passed, rows), states = slopes(pair, own, factors)
        rows = jnp.concatenate([leaf.reshape(2, -1) for leaf in jax.tree.leaves(rows)], axis=1)
        return states @ states.T / width, (TANGENT * (passed @ passed.T) + rows @ rows.T) / width

    def moved(pair, own, factors, signs):
        kept = pair @ pair.T / width, TANGENT
        up, down = (at(step, pair, own, factors, signs) for step in (STEP, -STEP))
        return jnp.concatenate(
            [((u + d - 2 * k) / (2 * STEP**2))[PAIRS] for u, d, k in zip(up, down, kept, strict=True)]
        )

    own, other = made.draw(samples, seed), made.draw(samples, seed + 1)
    factors = {name: np.stack([own.pop(name), other[name]], axis=1) for name in made.masks}  # each input has its own
    with jax.enable_x64(True):
        return np.asarray(jax.jit(jax.vmap(moved))(inputs, own, factors, signs))


def by_derivation(seed: int) -> np.ndarray:
    """The same by the derived flow."""
    flow = ntk(Network(layer(seed, WIDTH).said, width=sp.oo, inputs=2))
    at: dict[sp.Expr, float] = dict.fromkeys(flow.states, 0.0)
    for symbols, values in zip(flow.second, (SECOND, TANGENT), strict=True):
        at |= {symbols[k]: values[k] for k in zip(*PAIRS, strict=True)}
    rates = compile_expression(list(flow.states), list(flow.drift))(*(at[s] for s in flow.states))
    found = dict(zip(flow.states, map(float, rates), strict=True))
    return np.array([found[symbols[k]] for symbols in flow.second for k in zip(*PAIRS, strict=True)])


def compare(seed: int, samples: int) -> None:
    """The derived rates are those of networks, and wrong ones are not."""
    one, two = (by_networks(seed, width, samples) for width in (WIDTH, 2 * WIDTH))
    errors = np.sqrt(4 * np.var(two, axis=0) + np.var(one, axis=0)) / np.sqrt(samples) + 1e-6
    measured, derived = 2 * two.mean(axis=0) - one.mean(axis=0), by_derivation(seed)
    assert np.max(np.abs(measured - derived) / errors) < ERRORS
    for part in (slice(3), slice(3, 6)):  # of each kernel
        assert np.max(np.abs(measured - WRONG * derived)[part] / errors[part]) > ERRORS


def test_a_layer_with_dropout():
    compare(11, 100)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 6, 7])
def test_gates_norms_and_averages(seed):
    compare(seed, SAMPLES)
