r"""What the derivation says of a network before its first step, and the same measured on networks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from derivations.errors import DerivationError
from derivations.gradients import gradient_flow
from numerics.compile.programs import Array
from numerics.flows import solve_flow
from numerics.kernels import kernel_matrix
from numerics.training.descent import TrainingDiverged, train
from numerics.training.network import TrainableNetwork


def derived_gradient_growth(network: TrainableNetwork, inputs: ArrayLike) -> float:
    r"""The mean square of the gradient in :math:`X_1` over that in :math:`X_L`, of a random readout, at infinite width and depth.

    :func:`derivations.gradients.gradient_flow` over the time of L - 1 layers, from the mean square of the inputs' states.

    Raises
    ------
    DerivationError
        Where the recipe has no such limit.

    Examples
    --------
    >>> from derivations import ResNet, relu
    >>> network = TrainableNetwork(ResNet(relu, width=8), depth=20, features=2)
    >>> bool(np.isclose(derived_gradient_growth(network, np.eye(2)), np.exp(0.5 * 19 / 20)))
    True
    """
    if network.recipe.time_of(network.depth) is not None:
        raise DerivationError(
            "the growth of gradients is derived for a depth that grows alone, and here depth and width grow together"
        )
    rows = network.rows(inputs)
    if network.depth == 1:
        return 1.0
    flow, between = gradient_flow(network.recipe), network.t * (network.depth - 1) / network.depth
    grown = []
    for square in np.unique((rows**2).reshape(len(rows), -1).mean(axis=1)):
        start = [1.0 if s == flow.states[-1] else square if s == flow.states[-2] else 0.0 for s in flow.states]
        path = solve_flow(flow, start, between)
        grown.append(np.inf if path.exploded else path(between)[-1])
    return float(np.mean(grown))


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
        Where the recipe has no kernel.
    """
    if network.parametrization != "ntk":
        raise DerivationError(
            'the largest learning rate is derived in the NTK parametrization; give parametrization="ntk"'
        )
    if network.recipe.time_of(network.depth) is not None:
        raise DerivationError(
            "kernels are derived for a depth that grows alone, and here depth and width grow together"
        )
    rows = network.rows(inputs)
    wide: Any = replace(network.recipe, width=np.inf, inputs=len(rows))  # type: ignore[type-var]
    kernel = kernel_matrix(wide, rows, t=network.t, kind="ntk") + kernel_matrix(wide, rows, t=network.t, kind="nngp")
    return float(2 * len(rows) / np.linalg.eigvalsh(kernel)[-1])


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
    ValueError
        If no rate above 1e-12 lowers the loss.
    """

    def falls(rate: float) -> bool:
        try:
            losses = train(network, inputs, targets, rate, steps, seed=seed).losses
        except TrainingDiverged:
            return False
        return bool(np.all(np.diff(losses) < 0) if each_step else losses[-1] < losses[0])

    low = high = 1.0
    while falls(high):
        low, high = high, 4 * high
    while not falls(low):
        low, high = low / 4, low
        if low < 1e-12:
            raise ValueError(
                "the loss falls at no learning rate above 1e-12; look at the targets, and at the states' size"
            )
    while high / low > ratio:
        middle = float(np.sqrt(low * high))
        low, high = (middle, high) if falls(middle) else (low, middle)
    return LargestRate(low, high)
