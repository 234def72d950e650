"""Tangent kernels of two inputs at infinite width: one layer of many neurons by hand, differentiated by JAX along all weights and the state."""

import numpy as np
import pytest
import sympy as sp

from derivations import Network, Weights, average, epsilon, relu, rms_norm, silu, tanh
from derivations.limits.tangents import tangent_flow
from numerics.compile import compile_expression

jax = pytest.importorskip("jax", reason="layers by hand are differentiated by the extra jax")
jnp = jax.numpy

WIDTH, SAMPLES, STEP = 192, 60, 1e-3
STATES, TANGENTS = np.array([[1.2, 0.4], [0.4, 0.9]]), np.array([[1.5, 0.6], [0.6, 1.1]])
A, B, C = Weights("A"), Weights("B", bias_variance=sp.S.Half), Weights("C")


def two_readings(x, w):
    inside = w["A"] @ x + w["B"] @ (x / jnp.sqrt(jnp.mean(x**2))) + np.sqrt(0.5) * w["bias"]
    return w["C"] @ jax.nn.relu(inside)


def gate(x, w):
    inside = w["B"] @ (x * jnp.mean(x**2)) + np.sqrt(0.5) * w["bias"]
    return w["C"] @ (jax.nn.silu(w["A"] @ (x + jnp.mean(jnp.abs(x)))) * inside)


def applied_twice(x, w):
    return w["C"] @ (jnp.tanh(w["A"] @ x) + w["A"] @ jnp.sin(x))


LAYERS = {
    "two readings": (lambda x: C(relu(A(x) + B(rms_norm(x)))), two_readings),
    "gate": (lambda x: C(silu(A(x + average(sp.Abs(x)))) * B(x * average(x**2))), gate),
    "applied twice": (lambda x: C(tanh(A(x)) + A(sp.sin(x))), applied_twice),
}


def drawn(branch):
    """Rates of the second moments of states and tangents, one row a sample; the branch's own sign is free, so that odd orders vanish."""
    rng = np.random.default_rng(1)
    # states and tangents have their second moments exactly, so that the weights alone fluctuate
    basis = np.linalg.qr(rng.normal(size=(SAMPLES, WIDTH, 4)))[0].swapaxes(1, 2) * np.sqrt(WIDTH)
    x, v = np.linalg.cholesky(STATES) @ basis[:, :2], np.linalg.cholesky(TANGENTS) @ basis[:, 2:]
    weights, along = (
        {k: rng.normal(size=(SAMPLES, WIDTH, WIDTH)) / np.sqrt(WIDTH) for k in "ABC"}
        | {"bias": rng.normal(size=(SAMPLES, WIDTH))}
        for _ in range(2)
    )

    def rates(x, v, weights, along):
        def moments(step):
            ends = [jax.jvp(lambda y, w: y + step * branch(y, w), (x[a], weights), (v[a], along)) for a in (0, 1)]
            return jnp.stack([rows @ rows.T / WIDTH for rows in map(jnp.stack, zip(*ends, strict=True))])

        return (moments(STEP) + moments(-STEP) - 2 * moments(0.0)) / (2 * STEP**2)

    return np.asarray(jax.jit(jax.vmap(rates))(x, v, weights, along))


@pytest.mark.slow
@pytest.mark.parametrize("name", LAYERS)
def test_rates_of_states_and_tangents(name):
    said, branch = LAYERS[name]
    flow = tangent_flow(Network(lambda x: x + epsilon * said(x), width=sp.oo, inputs=2).program(), 2)
    upper = np.triu_indices(2)
    start = dict(zip(flow.states, map(sp.Float, (*STATES[upper], *TANGENTS[upper])), strict=True))
    derived = np.array([float(compile_expression((), rate.xreplace(start))()) for rate in flow.drift])
    with jax.enable_x64(True):
        found = drawn(branch)[:, :, *upper].reshape(SAMPLES, -1)
    error = found.std(axis=0) / np.sqrt(SAMPLES)
    allowed = 4 * error + 3 / WIDTH * np.abs(derived)  # chance, and the width's own order
    assert np.all(np.abs(found.mean(axis=0) - derived) < allowed)
    assert np.any(np.abs(found.mean(axis=0) - 1.2 * derived) > allowed)  # the control: rates that are too large
