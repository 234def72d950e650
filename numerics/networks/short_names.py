"""Short names for what is recorded of networks most often."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from derivations.architectures import Recipe
from numerics import given
from numerics.compile.programs import Array
from numerics.ensembles import Seed
from numerics.networks.derivatives import Jacobian
from numerics.networks.initial import Start, checked_start, factor_start, gram_start
from numerics.networks.simulate import ensemble, run_networks, simulate_network


@given.checked(
    architecture=given.network,
    depth=given.whole,
    samples=given.whole,
    start=given.array,
    t=given.optional(given.number),
    at=given.optional(given.array),
)
def simulate_gram(
    architecture: Recipe,
    depth: int,
    samples: int,
    start: ArrayLike,
    seed: Seed = 0,
    workers: int | Executor = 1,
    method: str | None = None,
    at: Sequence[int] | None = None,
    t: float | None = None,
    record: str = "gram",
    backend: str = "auto",
) -> Array:
    r"""Gram matrices of m inputs in finite random networks that start from a given one.

    Parameters
    ----------
    architecture : Recipe
        With numbers for the width and all parameters, without positions.
    depth, samples, seed, workers, method, at, t, backend
        As for :func:`simulate_network`.
    start : array, shape (m, m)
        :math:`V_0`, positive semi-definite. For ``"gram"`` the neurons start uniformly rotated with :math:`X_0^\top X_0/n = V_0`, for
        ``"conditional gram"`` i.i.d. :math:`N(0, V_0)`: in both cases the chain starts in :math:`V_0`.
    record : {"gram", "conditional gram"}
        :math:`X^\top X/n` of the states, or its mean given the layer before, which exists where the new state is the output of
        one matrix. The two differ by order :math:`n^{-1/2}` at each layer, and tend to the same process where depth and width grow together.

    Returns
    -------
    array, shape (samples, m, m)
        With ``at``, shape (len(at), samples, m, m).

    Raises
    ------
    ValueError
        For a start that is no covariance of m inputs, fewer neurons than inputs, or an architecture with symbols left.

    Examples
    --------
    >>> from derivations import ShapedMLP, relu
    >>> net = ShapedMLP(relu, inputs=2, c_plus=0, c_minus=-1, width=50)
    >>> simulate_gram(net, depth=50, samples=3, start=[[1, 0.3], [0.3, 1]]).shape
    (3, 2, 2)
    """
    _one_of(record, ("gram", "conditional gram"))

    def begin(width: int) -> Start:
        return gram_start(start, architecture.coordinates, width, rotated=record == "gram")

    task = ensemble(architecture, depth, begin, record, t, method, at)
    kept: Array = run_networks(task, samples, at is None, seed, workers, backend)
    return kept


@given.checked(
    architecture=given.network,
    depth=given.whole,
    samples=given.whole,
    gap=given.number,
    t=given.optional(given.number),
    at=given.optional(given.array),
)
def simulate_collapse(
    architecture: Recipe,
    depth: int,
    samples: int,
    gap: float,
    seed: Seed = 0,
    workers: int | Executor = 1,
    method: str | None = None,
    at: Sequence[int] | None = None,
    t: float | None = None,
    record: str = "gap",
) -> Array:
    r""":math:`1 - \rho` of two inputs of unit mean square in finite random networks, precise however small it is.

    Parameters
    ----------
    architecture : Recipe
        With two inputs, without positions, and a number for the width.
    depth, samples, seed, workers, method, at, t
        As for :func:`simulate_network`.
    gap : float
        :math:`1 - \rho_0` in (0, 2].
    record : {"gap", "conditional gap"}
        By the Gram matrix, or by its mean given the layer before, as for :func:`simulate_gram`.

    Returns
    -------
    array, shape (samples,)
        With ``at``, shape (len(at), samples). 0 after a layer in which a single neuron is not 0, nan after one in which none is:
        for a ReLU perceptron that happens with probability of order :math:`2^{-n}` per layer.

    Examples
    --------
    >>> from derivations import MLP, relu
    >>> gaps = simulate_collapse(MLP(relu, inputs=2, width=100), depth=100, samples=10, gap=1e-14)
    >>> bool(np.all((gaps > 0) & (gaps < 1e-10)))
    True
    """
    _one_of(record, ("gap", "conditional gap"))
    if architecture.coordinates != 2:
        raise ValueError(
            f"expected an architecture with two inputs and no positions, got {architecture}; use simulate_network"
        )
    if not (np.isfinite(gap) and 0 < gap <= 2):
        raise ValueError(f"gap must be 1 - ρ, in (0, 2], got {gap}")

    def begin(width: int) -> Start:
        factor = np.array(
            [[1.0, 0.0], [-gap, np.sqrt(gap * (2 - gap))]]
        )  # the first input, and what the second differs by
        return factor_start(factor, width, rotated=record == "gap")

    task = ensemble(architecture, depth, begin, record, t, method, at)
    kept: Array = run_networks(task, samples, at is None, seed, workers)
    return kept[..., 0, 1]


@given.checked(architecture=given.network, depth=given.whole, samples=given.whole, t=given.optional(given.number))
def simulate_jacobian(
    architecture: Recipe,
    depth: int,
    samples: int,
    x0: ArrayLike,
    t: float | None = None,
    seed: Seed = 0,
    workers: int | Executor = 1,
) -> tuple[Array, Array]:
    r"""Draw finite networks, all weights, and return their last layers with the Jacobians :math:`\partial X_L/\partial X_0`.

    The gradient of a loss in the first layer is :math:`J^\top` times that in the last one.

    Parameters
    ----------
    architecture : Recipe
        With one input and a number for the width n; n stands for neurons times positions below.
    depth, samples, t, seed, workers
        As for :func:`simulate_network`. For several inputs, record ``"jacobian"`` there.
    x0 : float or array, shape (n,)
        Where all networks start.

    Returns
    -------
    states : array, shape (samples, n)
    jacobians : array, shape (samples, n, n)

    Raises
    ------
    ValueError
        For several inputs, a width without a number or a start that does not fit.

    Examples
    --------
    >>> from derivations import ShrinkingResNet, tanh
    >>> x, j = simulate_jacobian(ShrinkingResNet(tanh, tanh, width=3), 10, 5, [1.0, 0.0, -1.0])
    >>> x.shape, j.shape
    ((5, 3), (5, 3, 3))
    """
    if architecture.inputs != 1:
        raise ValueError(
            f'expected one input, got {architecture.inputs}; for several use simulate_network(..., record="jacobian")'
        )
    positions = architecture.coordinates

    def begin(width: int) -> Start:
        shaped = np.reshape(x0, (width, positions)) if np.size(x0) == width * positions else x0
        return checked_start(shaped, None, 1.0, samples, width, architecture)

    task = ensemble(architecture, depth, begin, "jacobian", t)
    assert isinstance(task.observable, Jacobian)
    task = replace(task, observable=replace(task.observable, with_states=True))
    both: Array = run_networks(task, samples, True, seed, workers)[:, 0]
    return both[:, :, 0], both[:, :, 1:]


@given.checked(architecture=given.network, depth=given.whole, samples=given.whole, t=given.optional(given.number))
def simulate_tangent_kernel(
    architecture: Recipe,
    depth: int,
    samples: int,
    inputs: ArrayLike,
    t: float | None = None,
    seed: Seed = 0,
    workers: int | Executor = 1,
) -> Array:
    r"""Empirical neural tangent kernels :math:`\frac1n\sum_i\sum_\theta \partial_\theta X_i^\alpha\,\partial_\theta X_i^\beta` of finite networks.

    Over all weights and biases, those of the first layer :math:`X_0 = W_{\mathrm{in}}a` included, in the tangent parameterisation:
    weights are their standard deviation times a parameter of unit variance. By the chain rule, layer by layer, with the
    n × n matrices :math:`\Theta_{ij}^{\alpha\beta}`: :math:`\Theta' = A\Theta A^\top` plus what the layer's own parameters add.

    Parameters
    ----------
    architecture : Recipe
    depth, samples, t, seed, workers
        As for :func:`simulate_network`.
    inputs : array, shape (m, dim), or (m, channels, positions...) over a grid

    Returns
    -------
    array, shape (samples, m, m)

    Examples
    --------
    >>> from derivations import ResNet, relu
    >>> simulate_tangent_kernel(ResNet(relu, width=4, inputs=2), 3, 5, [[1.0, 0.0], [0.0, 1.0]]).shape
    (5, 2, 2)
    """
    kept: Array = simulate_network(
        architecture, depth, samples, inputs=inputs, t=t, seed=seed, workers=workers, record="tangent kernel"
    )
    return kept


def _one_of(record: str, words: tuple[str, ...]) -> None:
    if record not in words:
        raise ValueError(f"record must be {' or '.join(map(repr, words))}, got {record!r}")
