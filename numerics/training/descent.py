r"""Training by gradient descent: optax's optimizers on a recipe's network, with checkpoints, and a stop where the loss is lost."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from derivations.errors import unknown
from derivations.limits.slopes import require_slopes
from numerics.compile.programs import Array
from numerics.ensembles import Progress
from numerics.ensembles.checkpoint import Checkpoint, kept_part, require_same
from numerics.ensembles.memory import require_memory as fits_memory
from numerics.training.network import Parameters, TrainableNetwork

LOSSES = ("squared", "cross_entropy")
#: Of optax: those that need the gradient and the parameters, and no more.
OPTIMIZERS = ("sgd", "adam", "adamw", "adagrad", "rmsprop", "lion", "lamb", "nadam", "radam", "sign_sgd")
#: Steps that run in one piece, between two looks at the loss.
_PIECE = 20


class TrainingDiverged(ValueError):
    """The loss or a weight is no finite number any more; says at which step, and what was kept."""

    def __init__(self, message: str, step: int, losses: Array) -> None:
        super().__init__(message)
        self.step, self.losses = step, losses


@dataclass(frozen=True)
class Training:
    """What a training gave.

    Parameters
    ----------
    network : TrainableNetwork
    parameters : dict
        After the last step.
    losses : array, a number for each step
        The loss of each step's batch, before the step.
    """

    network: TrainableNetwork
    parameters: Parameters = field(repr=False)
    losses: Array

    def __call__(self, inputs: ArrayLike) -> Array:
        """The trained network at inputs, shape (m, outputs); factors that layers draw, as dropout's, are at their means."""
        return np.asarray(self.network.evaluated(self.parameters, self.network.rows(inputs)))

    def accuracy(self, inputs: ArrayLike, labels: ArrayLike) -> float:
        """The share of inputs whose largest output is that of their label, a number from 0."""
        return float(np.mean(self(inputs).argmax(axis=1) == np.asarray(labels)))


def loss_of(network: TrainableNetwork, kind: str = "squared") -> Any:
    r"""The loss as a function of (parameters, inputs, targets, key, pushes), in JAX.

    ``"squared"`` is :math:`\frac{1}{2m}\sum_\alpha\|f(a_\alpha) - y_\alpha\|^2`; ``"cross_entropy"`` the mean of
    :math:`-\log\mathrm{softmax}(f)` at labels, or at rows of probabilities.
    """
    if kind not in LOSSES:
        raise ValueError(unknown("loss", kind, LOSSES))

    def loss(parameters: Parameters, inputs: Any, targets: Any, key: Any = None, pushes: Any = 0.0) -> Any:
        import jax

        out, _ = network.run(parameters, inputs, key, pushes)
        if kind == "squared":
            return 0.5 * ((out - targets) ** 2).sum(axis=1).mean()
        return -(targets * jax.nn.log_softmax(out, axis=1)).sum(axis=1).mean()

    return loss


def one_hot(labels: ArrayLike, outputs: int) -> Array:
    """Labels 0 … outputs − 1 as rows of zeros and a one."""
    whole = np.asarray(labels)
    if whole.ndim != 1 or not np.issubdtype(whole.dtype, np.integer) or whole.min() < 0 or whole.max() >= outputs:
        raise ValueError(f"labels must be whole numbers from 0 to {outputs - 1}, one for each input")
    return np.eye(outputs)[whole]


def train(
    network: TrainableNetwork,
    inputs: ArrayLike,
    targets: ArrayLike,
    learning_rate: float,
    steps: int,
    optimizer: str = "sgd",
    batch: int | None = None,
    loss: str = "squared",
    seed: int = 0,
    checkpoint: str | PathLike[str] | None = None,
    progress: Progress | None = None,
) -> Training:
    r"""Train a network from its random start.

    Parameters
    ----------
    network : TrainableNetwork
    inputs : array, shape (m, features), or (m, channels, positions...) over a grid
    targets : array, shape (m, outputs), or (m,) of labels
    learning_rate : float
        :math:`\eta`; on the parameters as ``network.parametrization`` has them.
    steps : int
    optimizer : str
        The name of one of optax's in ``OPTIMIZERS``, such as ``"sgd"``, ``"adam"``, ``"sign_sgd"``.
    batch : int, optional
        Inputs in a step, drawn without replacement in each pass; all by default.
    loss : {"squared", "cross_entropy"}
    seed : int
        Of the start, the batches and the layer's random factors.
    checkpoint : path, optional
        A directory that keeps the state of the training; the same call, or one of more steps, goes on from it, to the numbers of one that
        never stopped.
    progress : callable, optional
        Called with the numbers of finished and of all steps.

    Returns
    -------
    Training

    Raises
    ------
    ValueError
        If shapes do not fit, the numbers would not fit in memory, or the checkpoint is of another run or further on.
    TrainingDiverged
        If the loss is no finite number, with the step; the checkpoint holds the last one before.

    Examples
    --------
    >>> from derivations import ResNet, relu
    >>> network = TrainableNetwork(ResNet(relu, width=8), depth=10, features=2)
    >>> x = np.random.default_rng(0).normal(size=(32, 2))
    >>> run = train(network, x, x[:, :1], learning_rate=0.1, steps=50)
    >>> bool(run.losses[-1] < 0.2 * run.losses[0])
    True
    """
    rows, wanted = network.rows(inputs), checked_targets(network, targets, inputs)
    batch = len(rows) if batch is None else batch
    if not 1 <= batch <= len(rows):
        raise ValueError(f"batch must be from 1 to {len(rows)}, the number of inputs, got {batch}")
    if not (np.isfinite(learning_rate) and learning_rate > 0):
        raise ValueError(f"learning_rate must be finite and positive, got {learning_rate}")
    require_trainable(network, batch)
    plan = _plan(network, rows, wanted, optimizer, learning_rate, batch, loss, seed)
    if checkpoint is not None:
        _require_resumable(checkpoint, plan, steps)
    kept = None if checkpoint is None else Checkpoint(checkpoint, plan)
    import jax

    many = _many_steps(network, optimizer, loss)
    parameters = jax.tree.map(jax.numpy.asarray, network.initial(np.random.SeedSequence([seed, 0])))
    memory, losses, done = _optimizer(optimizer, learning_rate).init(parameters), np.empty(0), 0
    leaves, shape = jax.tree.flatten((parameters, memory))
    if kept is not None and kept.has("state"):
        found = kept.load("state")
        losses, done = found["losses"], len(found["losses"])
        leaves = [jax.numpy.asarray(found[f"leaf {k}"]) for k in range(len(leaves))]
        parameters, memory = jax.tree.unflatten(shape, leaves)
    while done < steps:
        count = min(_PIECE, steps - done)
        chosen = np.stack([_chosen(len(rows), batch, seed, done + k) for k in range(count)])
        # by the number of the step, so that a run that goes on from any step has the factors of one that never stopped
        keys = jax.vmap(lambda step: jax.random.fold_in(jax.random.key(seed), step))(np.arange(done, done + count))
        state, piece = many((parameters, memory), rows[chosen], wanted[chosen], keys)
        piece = np.asarray(piece, dtype=float)
        lost = np.flatnonzero(~np.isfinite(piece))
        if lost.size or not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state)):
            # the loss is looked at before each step, so that what the last one does to the weights is not in it
            known = int(lost[0]) if lost.size else count
            what, step = (
                (f"the loss is {piece[known]} at", done + known + 1)
                if lost.size
                else ("a weight is not finite after", done + count)
            )
            raise TrainingDiverged(
                f"{what} step {step} of {steps}, with the learning rate {learning_rate:g}; take a smaller one"
                + (f", the state after step {done} is kept in {checkpoint}" if kept is not None and done else ""),
                step,
                np.concatenate([losses, piece[:known]]),
            )
        parameters, memory = state
        losses, done = np.concatenate([losses, piece]), done + count
        if kept is not None:
            leaves = jax.tree.leaves((parameters, memory))
            kept.save("state", {"losses": losses, **{f"leaf {k}": np.asarray(v) for k, v in enumerate(leaves)}})
        if progress is not None:
            progress(done, steps)
    return Training(network, {name: np.asarray(value) for name, value in parameters.items()}, losses)


def require_resumable(
    network: TrainableNetwork,
    inputs: ArrayLike,
    targets: ArrayLike,
    learning_rate: float | None,
    steps: int,
    optimizer: str,
    batch: int,
    loss: str,
    seed: int,
    checkpoint: str | PathLike[str],
) -> None:
    """Refuse a checkpoint from which :func:`train` could not go on, before anything is computed; a rate that is not chosen yet may be any.

    Raises
    ------
    ValueError
        If it is of another run, or further on.
    """
    rows, wanted = network.rows(inputs), checked_targets(network, targets, inputs)
    _require_resumable(checkpoint, _plan(network, rows, wanted, optimizer, learning_rate, batch, loss, seed), steps)


def _require_resumable(checkpoint: str | PathLike[str], plan: Mapping[str, str], steps: int) -> None:
    require_same(checkpoint, plan)
    losses = kept_part(checkpoint, "state", "losses")
    if losses is not None and len(losses) > steps:
        raise ValueError(
            f"{checkpoint} is {len(losses)} steps on, and {steps} are asked for; ask for {len(losses)} or more, or give an empty directory"
        )


def _plan(
    network: TrainableNetwork,
    rows: Array,
    wanted: Array,
    optimizer: str,
    learning_rate: float | None,
    batch: int,
    loss: str,
    seed: int,
) -> dict[str, str]:
    """What a training is; its optimizer only where the rate is known."""
    known = {} if learning_rate is None else {"optimizer": f"{optimizer}({learning_rate!r})"}
    return {
        "network": repr(network),
        "data": hashlib.sha256(rows.tobytes() + wanted.tobytes()).hexdigest(),
        "batch": str(batch),
        "loss": loss,
        "seed": str(seed),
        **known,
    }


@lru_cache(maxsize=8)
def _many_steps(network: TrainableNetwork, optimizer: str, loss: str) -> Any:
    """Some steps as one compiled function of the state; the learning rate is part of the state."""
    import jax

    update = _optimizer(optimizer, 1.0)
    value_and_gradient = jax.value_and_grad(loss_of(network, loss))

    def one(state: Any, given: Any) -> tuple[Any, Any]:
        parameters, memory = state
        x, y, key = given
        value, gradient = value_and_gradient(parameters, x, y, key)
        moves, memory = update.update(gradient, memory, parameters)
        return (jax.tree.map(lambda p, d: p + d, parameters, moves), memory), value

    return jax.jit(lambda state, x, y, keys: jax.lax.scan(one, state, (x, y, keys)))


def _chosen(count: int, batch: int, seed: int, step: int) -> Any:
    """The inputs of a step: each pass goes through all of them, in an order of its own."""
    if batch == count:
        return np.arange(count)
    a_pass = count // batch
    order = np.random.default_rng([seed, 1, step // a_pass]).permutation(count)
    return order[(step % a_pass) * batch :][:batch]


def _optimizer(name: str, learning_rate: float) -> Any:
    try:
        import optax
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError('training needs optax; pip install "deeplimits[jax]"', name="optax") from error
    if name not in OPTIMIZERS:
        raise ValueError(unknown("optimizer", name, OPTIMIZERS))
    return optax.inject_hyperparams(getattr(optax, name))(learning_rate=learning_rate)


def checked_targets(network: TrainableNetwork, targets: ArrayLike, inputs: ArrayLike) -> Array:
    """Targets as rows; labels as rows of zeros and a one.

    Raises
    ------
    ValueError
        If they do not fit.
    """
    given = np.asarray(targets)
    if given.ndim == 1 and np.issubdtype(given.dtype, np.integer) and network.outputs > 1:
        given = one_hot(given, network.outputs)
    wanted = np.asarray(given, dtype=float)
    expected = (len(np.asarray(inputs)), network.outputs)
    if wanted.shape != expected or not np.isfinite(wanted).all():
        raise ValueError(
            f"targets must be finite, of shape {expected}, or labels from 0 to {network.outputs - 1}, got shape {wanted.shape}"
        )
    return wanted


def require_trainable(network: TrainableNetwork, batch: int) -> None:
    """Refuse a training without gradients, and one whose numbers do not fit in this machine's memory.

    Parameters, their gradients and two moments of each, and what a layer keeps for the way back: each statement and formula at each input.

    Raises
    ------
    DerivationError
        If a function of the layer jumps: automatic differentiation would take its slope beside the jump and say nothing.
    MemoryError
        With the number of bytes.
    """
    require_slopes(network.program)
    columns = batch * int(np.prod(network.recipe.positions, dtype=int))
    rows = sum(m.rows + m.columns for m in network.matrices.values())
    kept = network.depth * columns * (rows + network.width * (2 + network.formulas))
    what = f"training {network.parameters} parameters with {batch} inputs in a step takes"
    fits_memory(4 * network.parameters + kept, what, "take a smaller batch, width or depth")
