r"""What the derivation says of a network before its first step, and the same measured on networks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from derivations.backward import adjoint_flow, gradient_flow, jacobian
from derivations.decimals import exact_decimals
from derivations.diffusion import Flow
from derivations.errors import DerivationError
from numerics.compile.programs import Array
from numerics.flows import solve_flow
from numerics.kernels import kernel_matrix
from numerics.regression.redrawn import draws_factors
from numerics.training.descent import TrainingDiverged, checked_targets, loss_of, train
from numerics.training.network import TrainableNetwork

#: Relative error of a kernel's entries: a learning rate is not asked for to more digits.
_TOLERANCE = 1e-5
#: Positions whose pairs a gradient is followed over: 9 take some seconds, 16 a minute.
_POSITIONS = 9
_BY_CHANCE = (
    "layers draw factors anew at each step, as dropout does, so that the loss rises by chance at any learning rate and none is the largest; "
    "give learning_rate, or look for it without these factors"
)


def derived_gradients(network: TrainableNetwork, inputs: ArrayLike) -> Array:
    r"""Mean squares of a random readout's gradient in :math:`X_1, …, X_L` over that in :math:`X_L`, at infinite width and depth.

    The flow of :func:`derivations.backward.gradient_flow` is linear in the gradient's mean square Q, so that from a depth s to t it grows by
    :math:`Q_t/Q_s`, where both start at the network's start. Over positions Q is a matrix, and the readout's, which averages over
    positions, goes back by :func:`derivations.backward.adjoint_flow`. Where depth and width grow together Q grows at the rate of a tangent's mean square.

    Returns
    -------
    array, shape (L,)
        The average over the inputs.

    Raises
    ------
    DerivationError
        Where the recipe has no such limit, and where the growth moves with a random state.

    Examples
    --------
    >>> from derivations import ResNet, relu
    >>> network = TrainableNetwork(ResNet(relu, width=8), depth=20, features=2)
    >>> bool(np.isclose(derived_gradients(network, np.eye(2))[0], np.exp(0.5 * 19 / 20)))
    True
    """
    left = network.t * (1 - np.arange(1, network.depth + 1) / network.depth)
    if network.recipe.time_of(network.depth) is not None:
        single: Any = replace(network.recipe, inputs=1)
        return np.exp(float(jacobian(single).gram.growth) * left)
    require_few_positions(network)
    rows = network.rows(inputs)
    flow = gradient_flow(network.recipe)
    if network.recipe.positions:
        return np.mean([_over_positions(flow, row.reshape(len(row), -1), network.t, left) for row in rows], axis=0)
    squares, counts = np.unique((rows**2).mean(axis=1), return_counts=True)
    profiles = []
    for square in squares:
        start = [1.0 if s == flow.states[-1] else square if s == flow.states[-2] else 0.0 for s in flow.states]
        path = solve_flow(flow, start, network.t)
        profiles.append(
            np.full(network.depth, np.inf) if path.exploded else path(network.t)[-1] / path(network.t - left)[:, -1]
        )
    return np.average(profiles, axis=0, weights=counts)


def require_few_positions(network: TrainableNetwork) -> None:
    """Require that all pairs of positions can be followed."""
    count = int(np.prod(network.recipe.positions, dtype=int))
    if count > _POSITIONS:
        raise DerivationError(
            f"the growth of gradients over positions follows all pairs of them, and is derived up to {_POSITIONS} positions, got {count}"
        )


def kernel_at_the_end(flow: Flow, row: Array, t: float) -> tuple[Array | None, Array]:
    """For one input, shape (channels, p): second moments of pairs of positions at t, None beyond an explosion; and 1 for equal ones."""
    upper = np.triu_indices(row.shape[1])
    same = (upper[0] == upper[1]).astype(float)
    path = solve_flow(flow, [*(row.T @ row / len(row))[upper], *same], t)
    return None if path.exploded else path(t)[: len(same)], same


def _over_positions(flow: Flow, row: Array, t: float, left: Array) -> Array:
    """For one input, shape (channels, p), from a readout of the average over positions."""
    kernel, same = kernel_at_the_end(flow, row, t)
    if kernel is None:
        return np.full(len(left), np.inf)
    back = solve_flow(adjoint_flow(flow, exact_decimals(t)), [*kernel, *(2.0 - same)], t)
    return np.asarray(back(left)[:, len(same) :] @ same / same.sum())


def measured_gradients(network: TrainableNetwork, inputs: ArrayLike, networks: int = 20, seed: int = 0) -> Array:
    r"""Mean squares of the gradient of one output in the states, one row a network: :math:`X_1, …, X_L`.

    Parameters
    ----------
    network : TrainableNetwork
    inputs : array, shape (m, features)
        Averaged over.
    networks, seed : int
        How many random starts.

    Returns
    -------
    array, shape (networks, L)
        Not finite where a square leaves the range of JAX's numbers.
    """
    import jax
    import jax.numpy as jnp

    rows = network.rows(inputs)
    columns = len(rows) * int(np.prod(network.recipe.positions, dtype=int))
    still = jnp.zeros((network.depth, network.width, columns))

    @jax.jit
    def squares(parameters: Any, key: Any) -> Any:
        pushed = jax.grad(lambda pushes: network.run(parameters, rows, key, pushes)[0][:, 0].sum())(still)
        return (pushed**2).sum(axis=(1, 2)) / len(rows)

    starts = (network.initial(s) for s in np.random.SeedSequence(seed).spawn(networks))
    return np.stack([np.asarray(squares(start, jax.random.key(k))) for k, start in enumerate(starts)])


def derived_largest_rate(network: TrainableNetwork, inputs: ArrayLike) -> float:
    r"""The learning rate beyond which gradient descent on the squared loss, all inputs at once, first raises it, at infinite width.

    There :math:`\dot f = -\frac{1}{m}(\Theta + K)(f - y)` with the tangent kernel of the layers and the readout's K, so a step multiplies
    the part along an eigenvalue by :math:`1 - \eta\lambda/m`, and :math:`\eta < 2m/\lambda_{\max}`. Finite networks survive rates somewhat
    above: the loss rises, the kernel shrinks, and the loss falls again. In the NTK parametrization.

    Raises
    ------
    DerivationError
        Where the recipe has no kernel, or draws factors at each step.
    """
    if network.parametrization != "ntk":
        raise DerivationError(
            'the largest learning rate is derived in the NTK parametrization; give parametrization="ntk"'
        )
    if network.recipe.time_of(network.depth) is not None:
        raise DerivationError(
            "largest learning rates are derived from kernels for a depth that grows alone; here depth and width grow together, and kernels are random"
        )
    if draws_factors(network.recipe):
        raise DerivationError(_BY_CHANCE)
    rows = network.rows(inputs)
    wide: Any = replace(network.recipe, width=np.inf, inputs=len(rows))
    kernels = (kernel_matrix(wide, rows, t=network.t, kind=kind, tolerance=_TOLERANCE) for kind in ("ntk", "nngp"))
    kernel = sum(kernels)
    return float(2 * len(rows) / np.linalg.eigvalsh(kernel)[-1])


class NothingFalls(ValueError):
    """No learning rate lowers the loss."""


@dataclass(frozen=True)
class LargestRate:
    """Between which learning rates stability ends."""

    stable: float
    unstable: float


def measured_largest_rate(
    network: TrainableNetwork,
    inputs: ArrayLike,
    targets: ArrayLike,
    steps: int = 30,
    seed: int = 0,
    ratio: float = 1.2,
    each_step: bool = True,
) -> LargestRate:
    """Bisection, on a logarithmic scale, for where the squared loss of all inputs stops falling.

    Parameters
    ----------
    network : TrainableNetwork
    inputs, targets : array
    steps : int
        Of each trial.
    seed : int
        Of the start, the same for all rates.
    ratio : float
        Of both ends, at which to stop.
    each_step : bool
        Whether the loss must fall at each step, or only be lower in the end.

    Raises
    ------
    NothingFalls
        If no rate lowers the loss, the first loss is no finite number, or layers draw factors, so that the loss rises by chance.
    """
    if draws_factors(network.recipe):
        raise NothingFalls(_BY_CHANCE)

    def falls(rate: float) -> bool:
        try:
            losses = train(network, inputs, targets, rate, steps, seed=seed).losses
        except TrainingDiverged:
            return False
        return bool(np.all(np.diff(losses) < 0) if each_step else losses[-1] < losses[0])

    low = high = start = _natural_rate(network, inputs, targets, seed)
    while falls(high):
        low, high = high, 4 * high
    while not falls(low):
        low, high = low / 4, low
        if low < 1e-6 * start:
            raise NothingFalls(
                f"the loss falls at no learning rate above {low:.1g}; look at the targets, and at the size of the states"
            )
    while high / low > ratio:
        middle = float(np.sqrt(low * high))
        low, high = (middle, high) if falls(middle) else (low, middle)
    return LargestRate(low, high)


def _natural_rate(network: TrainableNetwork, inputs: ArrayLike, targets: ArrayLike, seed: int) -> float:
    """The step that would remove the loss if it went on falling as at the start: the loss over the square of its gradient."""
    import jax

    parameters = network.initial(np.random.SeedSequence([seed, 0]))
    value, gradient = jax.value_and_grad(loss_of(network))(
        parameters, network.rows(inputs), checked_targets(network, targets, inputs), jax.random.key(seed)
    )
    square = sum(float((g.astype(float) ** 2).sum()) for g in jax.tree.leaves(gradient))
    if not (np.isfinite(value) and np.isfinite(square) and square > 0):
        raise NothingFalls(
            f"the loss is {float(value):g} at the start, and the square of its gradient {square:g}; scale the branch down"
        )
    return float(value) / square
