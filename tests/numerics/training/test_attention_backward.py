"""Attention and transformer blocks of few neurons, backward: gradients, Jacobians and tangent kernels against blocks written by hand in JAX."""

from dataclasses import replace

import numpy as np
import pytest
import sympy as sp
from scipy.stats import norm

from derivations import AttentionBlock, TransformerBlock, gelu, relu

jax = pytest.importorskip("jax", reason="blocks by hand are differentiated by the extra jax")
jnp = jax.numpy

from numerics import simulate_jacobian, simulate_tangent_kernel  # noqa: E402
from numerics.training import TrainableNetwork  # noqa: E402
from tests.backward_moments import assert_met, moments  # noqa: E402

pytestmark = pytest.mark.slow
TOKENS, DEPTH, SAMPLES, KERNELS, HALF = 2, 2, 3000, 4000, sp.S.Half


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


BLOCKS = {
    "two masked heads": AttentionBlock(width=3, size=2, value_size=2, heads=2, bias_variance=HALF, masked=True),
    "behind the sum": AttentionBlock(width=3, size=3, value_size=2, norm="layer", place="post", weight_variance=2),
    "turned": AttentionBlock(width=2, size=4, value_size=2, frequencies=[1, sp.Rational(1, 3)], norm="rms"),
    "transformer": TransformerBlock(
        width=2, activation=relu, size=2, value_size=2, hidden=3, heads=2, bias_variance=HALF
    ),
    "parallel": TransformerBlock(width=3, activation=gelu, size=2, hidden=4, parallel=True, norm="layer"),
}
LINEAR = {  # those whose Jacobian is derived at a fixed width
    "attention": AttentionBlock(width=2, size=2, value_size=3, kind="linear", norm="rms", bias_variance=HALF),
    "heads over k": AttentionBlock(width=2, size=2, value_size=1, kind="linear", scale="linear", heads=2, masked=True),
    "transformer": TransformerBlock(width=2, activation=relu, size=2, value_size=2, hidden=3, kind="linear"),
}
NUMBERS = {"relu": jax.nn.relu, "gelu": lambda h: h * jax.scipy.special.ndtr(h)}


def shapes(block):
    n, found = int(block.width), {}
    keys, values = (int(sp.sympify(s).subs("n", n)) for s in (str(block.size), str(block.value_size)))
    for h in ends(block):
        found |= {f"Q{h}": (keys, n), f"K{h}": (keys, n), f"V{h}": (values, n), f"O{h}": (n, values)}
    return found | ({"B": (int(block.hidden), n), "A": (n, int(block.hidden))} if has_mlp(block) else {})


def ends(block):
    return [str(h + 1) for h in range(block.heads)] if block.heads > 1 else [""]


def has_mlp(block):
    return isinstance(block, TransformerBlock)


def normed(x, kind):
    if kind == "none":
        return x
    x = x - jnp.mean(x, axis=0) if kind == "layer" else x
    return x / jnp.sqrt(jnp.mean(x**2, axis=0))


def turned(u, frequencies):
    angles = jnp.outer(jnp.array([float(f) for f in frequencies]), jnp.arange(TOKENS))
    first, second = jnp.split(u, 2)
    cos, sin = jnp.cos(angles), jnp.sin(angles)
    return jnp.concatenate([first * cos - second * sin, first * sin + second * cos])


def layer(block, x, weights, size):
    """One layer at a state of shape (neurons, tokens), its weights standard normal numbers."""

    def applied(name, y, share=1.0):
        w, bias = weights[name]
        deviations = (float(v) ** 0.5 for v in (block.weight_variance * share, block.bias_variance * share))
        return next(deviations) * w @ y / w.shape[1] ** 0.5 + next(deviations) * bias

    def attended(y):
        total = 0.0
        for h in ends(block):
            q, k, v = (applied(f"{name}{h}", y) for name in "QKV")
            if block.frequencies:
                q, k = turned(q, block.frequencies), turned(k, block.frequencies)
            scores = q.T @ k / (len(k) if block.scale == "linear" else len(k) ** 0.5)
            seen = np.tril(np.ones((TOKENS, TOKENS))) if block.masked else np.ones((TOKENS, TOKENS))
            shares = scores * seen
            if block.kind == "softmax":
                shares = jax.nn.softmax(jnp.where(seen > 0, scores, -jnp.inf), axis=1)
            total += applied(f"O{h}", v @ shares.T, sp.Rational(1, block.heads))
        return total

    def perceptron(y):
        return applied("A", NUMBERS[block.activation.name](applied("B", y)))

    def read(y):
        return normed(y, block.norm if block.place == "pre" else "none")

    def added(y, branch):
        return normed(y + size * branch, block.norm if block.place == "post" else "none")

    first = attended(read(x))
    if not has_mlp(block):
        return added(x, first)
    if block.parallel:
        return added(x, first + perceptron(read(x)))
    seen = added(x, first)
    return added(seen, perceptron(read(seen)))


def chain(block, x, layers, size=DEPTH**-0.5):
    for k in range(DEPTH):
        x = layer(block, x, {name: (w[k], b[k]) for name, (w, b) in layers.items()}, size)
    return x


def drawn(block, samples, seed, depth=DEPTH):
    rng, found = np.random.default_rng(seed), {}
    for name, shape in shapes(block).items():
        found[name] = rng.normal(size=(samples, depth, *shape)), rng.normal(size=(samples, depth, shape[0], 1))
    return found


def start_of(block, seed=2):
    x = np.random.default_rng(seed).normal(size=(int(block.width), TOKENS))
    return np.asarray(normed(x, block.norm)) if block.place == "post" else x


def distance(one, other):
    """The largest one between means, in standard errors, and what chance allows."""
    error = np.sqrt(one.var(axis=0) / len(one) + other.var(axis=0) / len(other)) + 1e-9
    return np.max(np.abs(one.mean(axis=0) - other.mean(axis=0)) / error), norm.isf(1e-4 / (2 * one.shape[1]))


@pytest.mark.parametrize("name", BLOCKS)
def test_gradients_in_all_weights(name):
    block = BLOCKS[name]
    network = TrainableNetwork(block, DEPTH, features=3)
    parameters, inputs = network.initial(seed=3), np.random.default_rng(1).normal(size=(2, 3, TOKENS))

    def by_hand(given):
        layers = {k: (given[k], given.get(f"{k} bias", np.zeros((DEPTH, s[0], 1)))) for k, s in shapes(block).items()}
        last = [chain(block, given["input"] @ text / np.sqrt(3), layers).mean(axis=1) for text in inputs]
        return sum((given["output"] @ x).sum() for x in last) / np.sqrt(int(block.width))

    value, slopes = jax.value_and_grad(by_hand)(parameters)
    other, found = jax.value_and_grad(lambda given: network(given, inputs).sum())(parameters)
    assert np.isclose(value, other, rtol=1e-11)
    for key, slope in slopes.items():
        assert np.allclose(slope, found[key], rtol=1e-9, atol=1e-12)
    key = f"K{ends(block)[0]}"
    assert not np.isclose(
        by_hand({**parameters, key: -parameters[key]}), other
    )  # the control: scores of the other sign


@pytest.mark.parametrize("name", ["two masked heads", "behind the sum", "transformer"])
def test_jacobians_and_tangent_kernels_of_networks(name):
    block = BLOCKS[name]
    start, n = start_of(block), int(block.width)

    def bounded(j):  # tails are heavy
        entries = np.tanh(j.reshape(len(j), -1))
        return np.concatenate([entries, entries**2, entries[:, :1] * entries], axis=1)

    _, found = simulate_jacobian(block, DEPTH, SAMPLES, start, t=1.0, seed=4)
    slopes = jax.jit(jax.vmap(lambda own: jax.jacfwd(lambda x: chain(block, x, own))(start)))
    by_hand = np.asarray(slopes(drawn(block, SAMPLES, 5))).reshape(found.shape)
    off, bound = distance(bounded(found), bounded(by_hand))
    assert off < bound
    wrong = np.eye(found.shape[1])
    assert distance(bounded(found), bounded(wrong + 1.2 * (by_hand - wrong)))[0] > bound  # the control

    texts = np.random.default_rng(1).normal(size=(2, 3, TOKENS))
    kernels = simulate_tangent_kernel(replace(block, inputs=2), DEPTH, KERNELS, texts, t=1.0, seed=6)
    first = np.random.default_rng(8).normal(size=(KERNELS, n, 3))

    def kernel(first, own):
        slopes = [
            jax.jacrev(lambda f, w, t=text: chain(block, f @ t / np.sqrt(3), w), argnums=(0, 1))(first, own)
            for text in texts
        ]
        rows = [jnp.concatenate([leaf.reshape(n, TOKENS, -1) for leaf in jax.tree.leaves(s)], axis=2) for s in slopes]
        every = jnp.concatenate(rows, axis=1)
        return jnp.einsum("iaw,ibw->ab", every, every) / n

    own = np.asarray(jax.jit(jax.vmap(kernel))(first, drawn(block, KERNELS, 7)))
    one, other = (np.arcsinh(k.reshape(len(k), -1)) for k in (kernels, own))
    off, bound = distance(one, other)
    assert off < bound
    assert distance(one, np.arcsinh(1.2 * np.sinh(other)))[0] > bound  # the control


@pytest.mark.parametrize("name", LINEAR)
def test_moments_of_one_layer_of_linear_attention(name):
    block, samples = LINEAR[name], 8000
    start = start_of(block)
    size = start.size

    def after(own, step):
        return layer(block, start, own, step).ravel()

    def slope(own, step):
        return jax.jacfwd(lambda x: layer(block, x, own, step).ravel())(start).reshape(size, size)

    def orders(own):
        first, second = jax.jacfwd(slope, argnums=1), jax.jacfwd(jax.jacfwd(slope, argnums=1), argnums=1)
        moved = jax.jacfwd(after, argnums=1)
        gradients = {
            k: jnp.concatenate([s.reshape(size, -1) for s in g], axis=1) for k, g in jax.jacfwd(moved)(own, 0.0).items()
        }
        squares = {k: g @ g.T for k, g in gradients.items()}
        return (moved(own, 0.0), first(own, 0.0), second(own, 0.0) / 2), squares

    own = {k: (w[:, 0], b[:, 0]) for k, (w, b) in drawn(block, samples, 9, depth=1).items()}
    found, squares = jax.tree.map(np.asarray, jax.jit(jax.vmap(orders))(own))
    assert_met(moments(block, start, found, squares, seed=3))
