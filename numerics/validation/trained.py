r"""Networks of many layers that are trained, and their loss as the tangent kernel says it, for the catalogue.

At infinite width gradient descent on the squared loss is linear: with all weights trained, those of the readout too, the outputs f of m
inputs obey :math:`f_{k+1} - y = (1 - \eta(\Theta + K)/m)(f_k - y)` from a Gaussian :math:`f_0` of covariance K. So the mean loss after k steps is
:math:`\frac1{2m}\operatorname{tr}\bigl(A^k(K + yy^\top)A^k\bigr)` with A the matrix in brackets.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np

from derivations.architectures import Recipe
from derivations.errors import DerivationError
from numerics.ensembles import Seed
from numerics.kernels import kernel_matrix
from numerics.regression.redrawn import draws_factors
from numerics.training import TrainableNetwork
from numerics.training.descent import loss_of
from numerics.validation.base import Array, spawn

INPUTS = np.array([[1.0, 0.0], [0.6, 0.8]])
TARGETS = np.array([[1.0], [-1.0]])
STEPS, RATE = 4, 0.3
#: Networks that are trained at once.
_TOGETHER = 50


def derived_loss(recipe: Recipe, layers_learn: bool = True) -> float:
    """The mean loss after the steps, of all weights, or of the readout's alone.

    Raises
    ------
    DerivationError
        Where layers draw factors anew at each step: the kernels are random then, and the loss is not that of their means.
    """
    if draws_factors(recipe):
        raise DerivationError(
            "layers draw factors, as dropout does, so that the kernel of a step is random; the mean loss is derived for networks without them"
        )
    count = len(INPUTS)
    start = np.asarray(kernel_matrix(recipe, INPUTS, kind="nngp"))
    kernel = start + np.asarray(kernel_matrix(recipe, INPUTS, kind="ntk")) if layers_learn else start
    after = np.linalg.matrix_power(np.eye(count) - RATE * kernel / count, STEPS)
    return float(np.trace(after @ (start + TARGETS @ TARGETS.T) @ after)) / (2 * count)


def trained_losses(recipe: Recipe, depth: int, size: int, samples: int, seed: Seed, workers: int) -> Array:
    """Losses of trained networks of width ``size``, all weights trained; JAX spreads them over its own threads."""
    network = TrainableNetwork(replace(recipe, width=size), depth=depth, features=INPUTS.shape[1])
    kept = [
        _descended(network)(_starts(network, seeds))
        for seeds in np.array_split(np.array(spawn(seed, samples), dtype=object), -(-samples // _TOGETHER))
    ]
    return np.concatenate(kept).astype(float)


def _starts(network: TrainableNetwork, seeds: Array) -> Any:
    """Parameters of several networks, stacked."""
    import jax

    return jax.tree.map(lambda *drawn: np.stack(drawn), *(network.initial(seed) for seed in seeds))


@lru_cache(maxsize=4)
def _descended(network: TrainableNetwork) -> Any:
    """The losses after the steps, from parameters of several networks."""
    import jax

    loss = loss_of(network)

    def step(parameters: Any, _: None) -> tuple[Any, None]:
        slopes = jax.grad(loss)(parameters, INPUTS, TARGETS)
        return jax.tree.map(lambda p, slope: p - RATE * slope, parameters, slopes), None

    def trained(parameters: Any) -> Any:
        return loss(jax.lax.scan(step, parameters, None, length=STEPS)[0], INPUTS, TARGETS)

    return jax.jit(jax.vmap(trained))
