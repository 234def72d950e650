"""Networks trained with dropout drawn anew at each step, by JAX, against what the regressor says of them."""

import numpy as np
import pytest
import sympy as sp

from derivations import Network, Weights, dropout, epsilon, tanh
from numerics.regression import NTKRegressor

pytest.importorskip("sklearn")
jax = pytest.importorskip("jax", reason="networks are trained by the extra jax")
jnp = jax.numpy

T, TRAINED, STEPS, WIDTH, DEPTH, NETWORKS = 0.8, 2.0, 40, 64, 10, 5
LABELS = np.array([1.0, -1.0, 0.5])
X = np.random.default_rng(1).normal(size=(4, 3))
X /= np.sqrt(np.mean(X**2, axis=1, keepdims=True))


def outputs(weights, readout, inputs, key):
    h = weights["U"] @ inputs.T / np.sqrt(3)
    for layer in range(DEPTH):
        hidden = jnp.tanh(weights["B"][layer] @ h / np.sqrt(WIDTH))
        kept = 2 * jax.random.bernoulli(jax.random.fold_in(key, layer), 0.5, hidden.shape)
        h = h + np.sqrt(T / DEPTH) * weights["A"][layer] @ (kept * hidden) / np.sqrt(WIDTH)
    return readout @ h / np.sqrt(WIDTH)


@jax.jit
def trained(weights, readout, keys, last):
    def step(weights, key):
        def loss(w):
            return jnp.sum((outputs(w, readout, X[:3], key) - LABELS) ** 2) / 2

        return jax.tree.map(lambda w, g: w - TRAINED / STEPS * g, weights, jax.grad(loss)(weights)), None

    weights, _ = jax.lax.scan(step, weights, keys)
    return jax.vmap(lambda key: outputs(weights, readout, X, key))(last).mean(0)


def mean_output(seed, redrawn):
    """With the readout and with its negative, which cancels what the network puts out before training."""
    rng, key = np.random.default_rng(seed), jax.random.key(seed)
    shapes = {"U": (WIDTH, 3), "A": (DEPTH, WIDTH, WIDTH), "B": (DEPTH, WIDTH, WIDTH)}
    weights = {name: rng.standard_normal(shape, dtype=np.float32) for name, shape in shapes.items()}
    readout = rng.standard_normal(WIDTH, dtype=np.float32)
    keys = jax.random.split(key, STEPS) if redrawn else jnp.stack([key] * STEPS)
    last = jax.random.split(jax.random.fold_in(key, 1), 16)
    return sum(np.asarray(trained(weights, sign * readout, keys, last)) for sign in (1, -1)) / 2


@pytest.mark.slow
def test_dropout_drawn_anew_at_each_step_trains_as_the_regressor_says():
    A, B = Weights("A"), Weights("B")
    recipe = Network(lambda x: x + epsilon * A(dropout(tanh(B(x)), sp.S.Half)), width=sp.oo)
    derived = NTKRegressor(recipe, t=T, noise=0.0, training_time=TRAINED).fit(X[:3], LABELS).predict(X)
    redrawn, fixed = (np.mean([mean_output(seed, way) for seed in range(NETWORKS)], axis=0) for way in (True, False))
    # errors are of order 1/L + 1/n + 1/steps, and the networks' own
    assert np.allclose(redrawn, derived, rtol=0, atol=0.08)
    assert not np.allclose(fixed, derived, rtol=0, atol=0.3)  # the control: factors drawn once
