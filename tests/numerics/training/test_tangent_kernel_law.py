"""The law of the tangent kernel of one output against networks differentiated by JAX: all weights drawn, one output."""

import numpy as np
import pytest

from derivations import MLP, GatedBlock, Network, ShapedMLP, Weights, epsilon, identity, relu, rms_norm, tanh
from derivations.backward import jacobian
from numerics.statistics import Estimate, richardson
from numerics.tangent_kernels import sample_tangent_kernel

jax = pytest.importorskip("jax", reason="networks are differentiated by the extra jax")
jnp = jax.numpy


def perceptron(size, x, weights):
    h = x
    for w in weights["W"]:
        h = np.sqrt(2 / size) * w @ jnp.maximum(h, 0)
    return h


def shaped(size, x, weights):
    h, s = x, np.sqrt(size)
    z, mass = np.polynomial.hermite_e.hermegauss(40)
    gain = 1 / np.sqrt(np.sum(mass * (s * np.tanh(z / s)) ** 2) / np.sum(mass))  # norms of 1 are kept in the mean
    for w in weights["W"]:
        h = gain * w @ (s * jnp.tanh(h / s)) / np.sqrt(size)
    return h


def branches(size, x, weights):
    depth = len(weights["A"])
    for a, b in zip(weights["A"], weights["B"], strict=True):
        hidden = jnp.maximum(b @ x / jnp.sqrt(jnp.mean(x**2)) / np.sqrt(size), 0)
        x = x + a @ hidden / np.sqrt(6 * depth)
    return x


def gates(size, x, weights):
    depth = len(weights["A"])
    for a, b, c in zip(weights["A"], weights["B"], weights["C"], strict=True):
        read = x / jnp.sqrt(jnp.mean(x**2)) / np.sqrt(size)
        x = x + a @ (jnp.maximum(b @ read, 0) * (c @ read)) / np.sqrt(6 * depth)
    return x


def log_kernels(forward, size, shapes, samples, seed):
    """Of g·x_L with g ~ N(0, I/n), over all weights of the layers."""
    rng = np.random.default_rng(seed)

    @jax.jit
    @jax.vmap
    def square(weights, x, g):
        found = jax.grad(lambda w: jnp.dot(g, forward(size, x, w)))(weights)
        return sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(found))

    found = []
    for _ in range(samples // 2000):
        weights = {k: rng.standard_normal((2000, *shape), dtype=np.float32) for k, shape in shapes.items()}
        x, g = rng.standard_normal((2, 2000, size), dtype=np.float32)
        if "A" in shapes:  # elsewhere V is the covariance of the neurons
            x /= np.sqrt(np.mean(x**2, axis=1, keepdims=True))
        found.append(np.asarray(square(weights, x, g / np.float32(np.sqrt(size)))))
    return np.log(np.concatenate(found))


A, B, C = Weights("A"), Weights("B", out=6), Weights("C", out=6)
t = 0.25
CASES = {
    "ReLU perceptron": (MLP(relu), perceptron, (16, 32), lambda n: ({"W": (round(n * t), n, n)}, n)),
    "shaped tanh": (ShapedMLP(tanh, a=1), shaped, (16, 32), lambda n: ({"W": (round(n * t), n, n)}, n)),
    "norm inside": (
        Network(lambda x: x + epsilon * A(relu(B(rms_norm(x)))), width=4),
        branches,
        (8, 16),
        lambda depth: ({"A": (depth, 4, 6), "B": (depth, 6, 4)}, depth),
    ),
    "gate with a norm": (
        Network(lambda x: x + epsilon * A(relu(B(rms_norm(x))) * C(rms_norm(x))), width=4),
        gates,
        (8, 16),
        lambda depth: ({"A": (depth, 4, 6), "B": (depth, 6, 4), "C": (depth, 6, 4)}, depth),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_kernels_differentiated_by_jax_have_the_derived_law(name):
    recipe, forward, sizes, shapes = CASES[name]
    residual = recipe.width == 4

    def drawn(size):
        made, layers = shapes(size)
        # weights are in units of their standard deviations; a branch of size ε has ε² per layer, a perceptron counts layers
        return log_kernels(forward, 4 if residual else size, made, 14_000, size) - (0 if residual else np.log(layers))

    def sampled(steps):
        return np.log(
            sample_tangent_kernel(jacobian(recipe).kernel_law, 30_000, 1.0 if residual else t, 1.0, steps, seed=steps)
        )

    networks, limits = [drawn(size) for size in sizes], [sampled(steps) for steps in (12, 24)]
    controls = {Estimate.of: lambda v: v + np.log(1.12), Estimate.variance_of: lambda v: 1.12**2 * v}  # 12 % too large
    for statistic, wrong in controls.items():
        gap = richardson(*map(statistic, networks)) - (right := richardson(*map(statistic, limits)))
        assert gap.test(0.0).p_value > 1e-3
        assert gap.test(wrong(right.value) - right.value).p_value < 1e-3


def test_kernels_of_states_that_explode_are_infinite():
    # a gate without a norm explodes after finitely many layers' time: the samples were no numbers
    law = jacobian(GatedBlock(identity, width=3)).kernel_law
    late, early = (sample_tangent_kernel(law, 200, t, seed=1) for t in (3.0, 1e-3))
    assert not np.isnan(late).any()
    assert np.isinf(late).any()
    assert np.isfinite(early).all()  # the control
    assert early.min() > 0
