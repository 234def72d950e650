"""Random layers: the moments of their derivative against JAX's derivative of layers whose weights are drawn."""

from random import Random

import numpy as np
import pytest

from derivations.language.statements import Mask
from tests.backward_moments import assert_met, moments
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


@pytest.mark.slow
@pytest.mark.parametrize("seed", [7, 25, 29])
def test_moments_of_derivatives_are_those_of_drawn_layers(seed):
    made = OfOneInput(Random(seed))
    net, start = made.network(), made.start()
    assert_met(moments(net, start, drawn(net, start, seed), seed=seed), relative=1e-6)
