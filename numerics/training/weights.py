r"""Gradients in each layer's weights, derived at infinite width and depth, and measured."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from derivations.backward import KernelMoments, adjoint_flow, gradient_flow, jacobian, weight_gradient_flow
from derivations.backward.kernel_moments import START
from derivations.decimals import exact_decimals
from derivations.diffusion import Flow
from derivations.errors import DerivationError
from derivations.symbols import time
from numerics.compile import compile_expression
from numerics.compile.programs import Array
from numerics.flows import solve_flow
from numerics.training.network import TrainableNetwork
from numerics.training.start import kernel_at_the_end, require_few_positions


def derived_weight_gradients(network: TrainableNetwork, inputs: ArrayLike) -> dict[str, Array]:
    r"""Mean squared norms of one output's gradient in the weights of each layer, at infinite width and depth.

    With R the second moment of the gradient in a layer, which runs back from the readout by :func:`derivations.backward.adjoint_flow` beside the
    kernel, layer :math:`\ell` has :math:`\int q_W(K_s)\cdot R_s\,\mathrm{d}s` over its share of the time. Weights and biases are in units of their
    standard deviations. Where depth and width grow together, a layer adds :math:`\mathbb{E}\,\tau(V_s)` to the tangent kernel, which from there grows
    at the rate of a tangent's mean square; so its mean :math:`\theta` gives back what each layer added.

    Parameters
    ----------
    network : TrainableNetwork
    inputs : array, shape (m, features)
        Averaged over.

    Returns
    -------
    dict of str to array, shape (L,)
        For each matrix, with its biases.

    Raises
    ------
    DerivationError
        Where the recipe has no limit of infinite depth, and where weights themselves are trained. Where depth and width grow together, for several
        matrices, and where a tangent's growth moves with the state.

    Examples
    --------
    >>> from derivations import ResNet, relu
    >>> network = TrainableNetwork(ResNet(relu, width=8), depth=20, features=2)
    >>> (found,) = derived_weight_gradients(network, np.eye(2)).values()
    >>> bool(np.isclose(found.sum(), 0.25 * np.exp(0.5)))  # V/2 in each layer, and V |G|² grows to the end as V does
    True
    """
    if network.parametrization != "ntk":
        raise DerivationError(
            'gradients in weights are derived in units of their standard deviations; give parametrization="ntk"'
        )
    if network.recipe.time_of(network.depth) is not None:
        return _together(network, inputs)
    require_few_positions(network)
    flow, rates = gradient_flow(network.recipe), weight_gradient_flow(network.recipe)
    rows = network.rows(inputs)
    left = network.t * (1 - np.arange(network.depth + 1) / network.depth)
    found = np.mean([_back(flow, rates, row.reshape(len(row), -1), network.t, left) for row in rows], axis=0)
    return dict(zip(rates, found, strict=True))


def _together(network: TrainableNetwork, inputs: ArrayLike) -> dict[str, Array]:
    """Where depth and width grow together: a layer's share of the tangent kernel's mean."""
    if len(network.matrices) > 1:
        raise DerivationError(
            "where depth and width grow together, gradients in weights are derived for all matrices of a layer together, and here are "
            f"{len(network.matrices)}; measure them"
        )
    single: Any = replace(network.recipe, inputs=1)
    gram = jacobian(single).gram
    added = compile_expression((time, START), [KernelMoments(gram).added])
    ends = network.t * np.arange(network.depth + 1) / network.depth
    left = np.exp(float(gram.growth) * (network.t - ends[1:]))
    squares = (network.rows(inputs) ** 2).mean(axis=1)
    (name,) = (w.name for w in network.matrices)
    return {name: np.mean([np.broadcast_to(added(ends[:-1], v)[0], left.shape) * left for v in squares], axis=0)}


def _back(flow: Flow, rates: dict[str, tuple[Any, ...]], row: Array, t: float, left: Array) -> Array:
    """For one input, shape (channels, p): a row for each matrix, a column for each layer."""
    kernel, same = kernel_at_the_end(flow, row, t)
    if kernel is None:
        return np.full((len(rates), len(left) - 1), np.inf)
    back = adjoint_flow(flow, exact_decimals(t), [*rates.values()])
    start = [*kernel, *((2.0 - same) / row.shape[1] ** 2), *np.zeros(len(rates))]
    return np.asarray(-np.diff(solve_flow(back, start, t)(left)[:, -len(rates) :].T, axis=1))


def measured_weight_gradients(
    network: TrainableNetwork, inputs: ArrayLike, networks: int = 20, seed: int = 0
) -> dict[str, Array]:
    r"""Squared norms of the gradient of one output in the weights of each layer, one row a network.

    The sum over inputs is that of the outputs with random signs, whose products vanish in the mean: one way back a network.

    Parameters
    ----------
    network : TrainableNetwork
    inputs : array, shape (m, features)
        Averaged over.
    networks, seed : int
        How many random starts.

    Returns
    -------
    dict of str to array, shape (networks, L)
        For each matrix, with its biases. Not finite where a square leaves the range of JAX's numbers.
    """
    import jax

    rows = network.rows(inputs)
    names = [w.name for w in network.matrices]

    @jax.jit
    def squares(parameters: Any, signs: Any, key: Any) -> Any:
        found = jax.grad(lambda q: (signs * network(q, rows, key)[:, 0]).sum())(parameters)
        own = {k: (v**2).reshape(len(v), -1).sum(axis=1) for k, v in found.items() if k not in ("input", "output")}
        return {name: (own[name] + own.get(f"{name} bias", 0.0)) / len(rows) for name in names}

    starts = np.random.SeedSequence(seed).spawn(networks)
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], size=(networks, len(rows)))
    each = [squares(network.initial(s), signs[k], jax.random.key(k)) for k, s in enumerate(starts)]
    return {name: np.stack([np.asarray(one[name]) for one in each]) for name in names}
