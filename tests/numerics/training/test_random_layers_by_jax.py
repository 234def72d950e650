"""Random layers backward: Jacobians, adjoints and gradients in weights against JAX's derivatives of layers that are written by hand."""

import numpy as np
import pytest
import sympy as sp
from scipy.stats import norm

from derivations.dynamics.adjoint import Adjoint
from derivations.language.statements import Mean
from derivations.symbols import state, step

jax = pytest.importorskip("jax", reason="layers by hand are differentiated by the extra jax")
jnp = jax.numpy

from numerics import simulate_jacobian  # noqa: E402
from numerics.training import TrainableNetwork  # noqa: E402
from tests.backward_moments import assert_met, moments  # noqa: E402
from tests.drawn_layers import DrawnLayer  # noqa: E402

SAMPLES, DEPTH, STEP = 8000, 3, 0.3
SEEDS, CHAINS, ADJOINTS = (16, 27), (27, 54), (7, 27, 29, 54)

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


def drawn(made, start, seed):
    """Of each sample what moves the state, its derivative, and products of gradients in the weights, to the first order in ε."""

    def one(own):
        def moved(weights):
            return made.first(start, {**own, **weights})

        squares = {}
        for name, slopes in jax.jacfwd(moved)({name: own[name] for name in made.weights}).items():
            rows = jnp.concatenate([s.reshape(made.width, -1) for s in slopes], axis=1)
            squares[name] = rows @ rows.T
        return moved({}), jax.jacfwd(lambda x: made.first(x, own))(start), squares

    return jax.tree.map(np.asarray, jax.jit(jax.vmap(one))(made.draw(SAMPLES, seed)))


@pytest.mark.parametrize("seed", SEEDS)
def test_moments_of_one_layer(seed):
    made = DrawnLayer(seed)
    start = np.random.default_rng(seed).normal(size=made.width)
    (moved, first, squares), second = drawn(made, start, seed), np.asarray(jax.jacfwd(made.second)(start))
    samples = (moved, first, np.broadcast_to(second, first.shape))
    assert_met(moments(made.network, start[:, None], samples, squares, seed))


# --- chains of layers ---


def chain(made, x, layers):
    """Layers one behind the other, each with weights of its own."""
    for own in layers:
        x = x + STEP * made.first(x, own) + STEP**2 * made.second(x)
    return x


@pytest.mark.parametrize("seed", CHAINS)
def test_jacobians_of_chains(seed):
    made = DrawnLayer(seed)
    start = np.random.default_rng(seed).normal(size=made.width)
    layers = [made.draw(SAMPLES, 10 * seed + k) for k in range(DEPTH)]
    x, j = jax.jit(jax.vmap(lambda *own: (chain(made, start, own), jax.jacrev(lambda s: chain(made, s, own))(start))))(
        *layers
    )
    y, k = simulate_jacobian(made.network, DEPTH, SAMPLES, start, t=DEPTH * STEP**2, seed=seed)

    def moments(x, j):
        gradient = np.tanh(np.einsum("sij,i->sj", j, np.ones(made.width)))  # bounded, as the tails are heavy
        determinant = np.linalg.slogdet(np.asarray(j)).logabsdet
        return np.column_stack([gradient, gradient**2, gradient * np.tanh(np.asarray(x)), np.tanh(determinant)])

    one, other = moments(x, j), moments(y, k)
    bound = norm.isf(1e-4 / (2 * one.shape[1]))

    def distance(a, b):
        return np.max(np.abs(a.mean(0) - b.mean(0)) / (np.hypot(a.std(0), b.std(0)) / np.sqrt(SAMPLES) + 1e-9))

    assert distance(one, other) < bound
    assert distance(one, moments(y, np.eye(made.width) + 1.3 * (k - np.eye(made.width)))) > bound  # the control


@pytest.mark.parametrize("seed", CHAINS)
def test_gradients_of_chains_in_all_weights(seed):
    made = DrawnLayer(seed)
    network = TrainableNetwork(made.network, DEPTH, features=2, t=DEPTH * STEP**2)
    parameters, inputs = network.initial(seed), np.random.default_rng(seed).normal(size=(2, 2))

    def by_hand(given):
        layers = [
            {
                name: (given[name][k], given.get(f"{name} bias", np.zeros((DEPTH, 1, 1)))[k, :, 0])
                for name in made.weights
            }
            for k in range(DEPTH)
        ]
        ends = [chain(made, given["input"] @ row / np.sqrt(2), layers) for row in inputs]
        return sum(jnp.sum(given["output"] @ x) for x in ends) / np.sqrt(made.width)

    key = jax.random.key(0)
    (value, slopes), (other, found) = (
        jax.value_and_grad(f)(parameters) for f in (by_hand, lambda given: network(given, inputs, key).sum())
    )
    assert np.isclose(value, other, rtol=1e-10)
    for name, slope in slopes.items():
        assert np.allclose(slope, found[name], rtol=1e-9, atol=1e-11)
    turned = {name: w[::-1] if name not in ("input", "output") else w for name, w in parameters.items()}
    assert not np.isclose(by_hand(turned), other)  # the control: the layers the other way round


# --- the adjoint of a layer as formulas ---


def passed_back(made, x, weights, gradient):
    """The gradient in the state by the adjoint's formulas, statement by statement, and that in each matrix's entries."""
    program = made.network.program()
    adjoint, values = Adjoint(program), {state: x, step: STEP}
    entries = {
        s: weights[s.weights.name][0] * float(s.weights.variance / s.source.size) ** 0.5
        + float(s.weights.mean / s.source.size)
        for s in adjoint.matrices
    }

    def evaluated(formula, over):
        names = sorted(formula.free_symbols, key=str)
        by_numpy = sp.lambdify(names, formula, [{"Heaviside": lambda h, *_: np.heaviside(h, 0.5)}, "scipy", "numpy"])
        return np.broadcast_to(by_numpy(*(values[name] for name in names)), (int(over.size),))

    for s in program.statements:
        if isinstance(s, Mean):
            values[s.symbol] = evaluated(s.body, s.over).mean()
        else:
            shift = float(s.weights.bias_mean) + float(sp.sqrt(s.weights.bias_variance)) * weights[s.weights.name][1]
            values[s.symbol] = entries[s] @ evaluated(s.body, s.source) + shift
    values[adjoint.new] = gradient
    slopes = {}
    for s in reversed(program.statements):
        parts = [evaluated(part.formula, part.over) for part in adjoint.parts(s.symbol)]
        if isinstance(s, Mean):
            values[adjoint.passed[s]] = sum(part.sum() for part in parts) / int(s.over.size)
        else:
            scale = float(sp.sqrt(s.weights.variance / s.source.size))
            slopes[s.weights.name] = scale * np.outer(sum(parts), evaluated(s.body, s.source))
            values[adjoint.passed[s]] = entries[s].T @ sum(parts)
    return sum(evaluated(part.formula, part.over) for part in adjoint.parts(state)), slopes


@pytest.mark.parametrize("seed", ADJOINTS)
def test_adjoints_are_transposes_of_derivatives(seed):
    made = DrawnLayer(seed)
    x, gradient = np.random.default_rng(seed).normal(size=(2, made.width))
    weights = {name: (w[0], b[0]) for name, (w, b) in made.draw(1, seed).items()}
    found, slopes = passed_back(made, x, weights, gradient)

    def by_hand(x, entries):
        given = {name: (entries[name], weights[name][1]) for name in entries}
        return gradient @ chain(made, x, [given])

    wanted, others = jax.grad(by_hand, argnums=(0, 1))(x, {name: w for name, (w, _) in weights.items()})
    assert np.allclose(found, wanted, rtol=1e-10)
    assert not np.allclose(found, 2 * gradient - wanted)  # the control: the branch's sign
    for name, slope in others.items():
        assert np.allclose(slopes[name], slope, rtol=1e-10)
