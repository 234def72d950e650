"""Random layers: the moments of their derivative against JAX's derivative of layers whose weights are drawn."""

from random import Random

import numpy as np
import pytest
import sympy as sp
from scipy.stats import norm

from derivations.backward import jacobian
from derivations.language.statements import Mask
from derivations.limits.depth import as_sums
from derivations.sums import written_out
from tests.random_layers import RandomLayer

jax = pytest.importorskip("jax")

from numerics.compile.matrices import draw_matrices  # noqa: E402
from numerics.training.network import (  # noqa: E402
    TrainableNetwork,
    _Given,
    _JaxRules,
    _layer_of,
    _unused_generator,
)

SAMPLES = 8000
STEP = 1e-3  # in the small parameter, of which these layers are polynomials: errors of its square


class OfOneInput(RandomLayer):
    """Jacobians are of one input."""

    def pick(self, *what):
        first = what == (1, 2, 3) and not hasattr(self, "inputs")
        return super().pick(*what) if not first else 1


def drawn(net, start, seed):
    """First order of the state, first and second of the Jacobian, in the small parameter; one layer a sample."""
    rng, layer, size = np.random.default_rng(seed), _layer_of(net, 1), start.size
    given = {}
    for weights, numbers in layer.numbers.items():
        if not weights.is_mean:
            entries = draw_matrices(numbers.law, SAMPLES, numbers.rows, numbers.columns, rng)
            given[weights.name] = entries * np.sqrt(numbers.variance)
            given[f"{weights.name} bias"] = rng.normal(size=(SAMPLES, numbers.rows, 1)) * np.sqrt(numbers.bias_variance)
    order = TrainableNetwork(net, 1, features=1)._order(layer)
    masks = sum(isinstance(s, Mask) for s in layer.program.statements)
    keys = jax.random.split(jax.random.key(seed), (SAMPLES, max(1, masks)))

    def after(x, weights, keys, step):
        matrices = iter([_Given(weights[name], weights[f"{name} bias"]) for name in order])
        rules = _JaxRules(keys=tuple(keys))
        return layer.advance(x[None], step, lambda *_: next(matrices), _unused_generator(), rules)[0][0]

    def both(weights, keys, step):
        return after(start, weights, keys, step), jax.jacfwd(after)(start, weights, keys, step)

    def at(step):
        new, slope = jax.jit(jax.vmap(lambda w, k: both(w, k, step)))(given, keys)
        return np.asarray(new).reshape(SAMPLES, size), np.asarray(slope).reshape(SAMPLES, size, size)

    with jax.enable_x64(True):
        (x, j), (y, k) = at(STEP), at(-STEP)
    return (x - y) / (2 * STEP), (j - k) / (2 * STEP), (j + k - 2 * np.eye(size)) / (2 * STEP**2)


def compared(seed):
    """Samples of moments of the derivative and what is derived for them."""
    made = OfOneInput(Random(seed))
    net, start = made.network(), made.start()
    layer, n, p = jacobian(net).layer, made.width, made.positions
    v, w = np.random.default_rng(seed).normal(size=(2, n, p))
    rows = [[sp.Float(e) for e in (*start[i], *v[i], *w[i])] for i in range(n)]

    def number(expr, i=0, k=0):
        expr = written_out(as_sums(layer.written_in({})(expr), layer.moments.states, layer.size), rows)
        symbols = (*layer.moments.states, *layer.moments.other)
        rule = dict(zip(symbols, (*rows[i], *rows[k]), strict=True))
        return float(expr.xreplace(rule).evalf(20, chop=True))

    moved, first, second = drawn(net, start, seed)
    v, w = v.ravel(), w.ravel()
    trace, turned = np.trace(first, axis1=1, axis2=2), np.swapaxes(first, 1, 2)
    yield np.trace(second, axis1=1, axis2=2), number(layer.trace)
    yield np.einsum("sij,sji->s", first, first), number(layer.square)
    yield trace**2, number(layer.variance)
    inverse = layer.transposed(tuple(q - a for q, a in zip(layer.squared, layer.drift, strict=True)))
    turned_drift = np.swapaxes(first @ first - second, 1, 2)
    own, apart = layer.transposed_covariance
    for i, a in np.ndindex(n, p):
        yield (second @ v)[:, i * p + a], number(layer.drift[a], i)
        yield moved[:, i * p + a] * trace, number(layer.with_state(a), i)
        yield (turned_drift @ v)[:, i * p + a], number(inverse[a], i)
        for k, b in np.ndindex(n, p):
            of = (i * p + a, k * p + b)
            here = number(layer.covariance[a, b] if i == k else layer.between[a, b], i, k)
            yield (first @ v)[:, of[0]] * (first @ w)[:, of[1]], here
            back = number(own[a, b] if i == k else apart[a, b], i, k)
            yield (turned @ v)[:, of[0]] * (turned @ w)[:, of[1]], back


@pytest.mark.slow
@pytest.mark.parametrize("seed", [7, 25, 29])
def test_moments_of_derivatives_are_those_of_drawn_layers(seed):
    samples, derived = zip(*compared(seed), strict=True)
    means, derived = np.mean(samples, axis=1), np.array(derived)
    errors = np.std(samples, axis=1) / np.sqrt(SAMPLES) + 1e-6 * (1 + np.abs(derived))
    bound = norm.isf(1e-4 / (2 * len(means)))
    assert np.max(np.abs(means - derived) / errors) < bound
    assert np.max(np.abs(means - 1.3 * derived) / errors) > bound  # the control: all rates too large
