"""Whether a recipe can be trained at a depth: what is derived of its start, what is measured, and what training then does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from derivations.architectures import Recipe
from derivations.errors import DerivationError, unknown
from derivations.notation.printed import Legible
from numerics.compile.programs import Array
from numerics.ensembles import Progress
from numerics.ensembles.checkpoint import require_directory
from numerics.statistics import Estimate
from numerics.training.descent import (
    OPTIMIZERS,
    TrainingDiverged,
    checked_targets,
    require_resumable,
    require_trainable,
    train,
)
from numerics.training.network import TrainableNetwork
from numerics.training.start import (
    LargestRate,
    NothingFalls,
    derived_gradients,
    derived_largest_rate,
    measured_gradients,
    measured_largest_rate,
)
from numerics.training.weights import derived_weight_gradients, measured_weight_gradients

#: Inputs at which the start is looked at, and at most so many coordinates, whose kernel is a matrix.
_LOOKED_AT, _COORDINATES = 50, 128

#: Steps of a trial of a learning rate.
_TRIAL = 10


@dataclass(frozen=True)
class AtDepth:
    """One depth.

    Parameters
    ----------
    depth : int
    growth : Estimate
        The mean square of the gradient in the first layer over that in the last, measured; inf where it left the range of numbers.
    gradients, derived_gradients : array, shape (L,), or None
        Mean squares of the gradient in each layer's states over that in the last, measured, and at infinite width and depth.
    weight_gradients : dict of str to array, shape (networks, L)
        Squared norms of one output's gradient in each layer's weights, of each matrix with its biases, measured.
    derived_weight_gradients : dict of str to array, shape (L,), or None
        Their means in the limit.
    derived_rate : float or None
        The largest learning rate at which gradient descent lowers the loss of the inputs looked at, by the tangent kernel.
    measured_rate : LargestRate or None
        Between which rates it ends on one network, of the first ten steps.
    rate : float
        That of the training.
    losses : array, a number for each step
    accuracy : float
        On the test data; nan without, or where the loss was lost.
    why : tuple of str
        Why something is not derived, or was not reached.
    """

    depth: int
    growth: Estimate
    gradients: Array = field(repr=False)
    derived_gradients: Array | None = field(repr=False)
    weight_gradients: dict[str, Array] = field(repr=False)
    derived_weight_gradients: dict[str, Array] | None = field(repr=False)
    derived_rate: float | None
    measured_rate: LargestRate | None
    rate: float
    losses: Array = field(repr=False)
    accuracy: float
    why: tuple[str, ...]

    def data(self) -> dict[str, Any]:
        """What a table shows, as plain numbers."""
        return {
            "depth": self.depth,
            "gradient_growth": self.growth.value,
            "gradient_growth_error": self.growth.error,
            "weight_gradients": {name: found.mean(axis=0) for name, found in self.weight_gradients.items()},
            "derived_weight_gradients": self.derived_weight_gradients,
            "derived_rate": self.derived_rate,
            "rate": self.rate,
            "losses": self.losses,
            "accuracy": self.accuracy,
            "why": self.why,
        }


@dataclass(frozen=True, repr=False)
class Trainability(Legible):
    """A recipe at several depths; prints as a table."""

    recipe: Recipe
    rows: tuple[AtDepth, ...]

    def __str__(self) -> str:
        head = (
            "depth",
            "gradient growth",
            "derived",
            "largest rate",
            "derived",
            "rate",
            "first loss",
            "last loss",
            "test accuracy",
        )
        lines = _table([head, *(_cells(row) for row in self.rows)])
        layers = ("first layer", "derived", "middle layer", "derived", "last layer", "derived")
        weights = [_weight_cells(row, name) for row in self.rows for name in row.weight_gradients]
        lines += [
            "",
            "squared gradients of one output in a layer's weights",
            *_table([("depth", "weights", *layers), *weights]),
        ]
        notes = dict.fromkeys(why for row in self.rows for why in row.why)
        return "\n".join([*lines, *(f"- {note}" for note in notes)])


def _table(cells: list[tuple[str, ...]]) -> list[str]:
    """Lines with aligned columns."""
    widths = [max(len(line[k]) for line in cells) for k in range(len(cells[0]))]
    return ["  ".join(c.rjust(w) for c, w in zip(line, widths, strict=True)) for line in cells]


def _shown(value: float | None, digits: str = ".3g") -> str:
    return "–" if value is None or np.isnan(value) else format(value, digits)


_OUT = "out of range"


def _with_error(found: Estimate) -> str:
    return f"{found.value:.3g} ± {found.error:.1g}" if np.isfinite(found.value) else _OUT


def _weight_cells(row: AtDepth, name: str) -> tuple[str, ...]:
    derived, cells = row.derived_weight_gradients, [str(row.depth), name]
    for k in (0, row.depth // 2, row.depth - 1):
        found = row.weight_gradients[name][:, k]
        shown = _with_error(Estimate.of(found)) if np.isfinite(found).all() else _OUT
        cells += [shown, _shown(None if derived is None else derived[name][k])]
    return tuple(cells)


def _cells(row: AtDepth) -> tuple[str, ...]:
    ends = (row.losses[0], row.losses[-1]) if len(row.losses) else (np.nan, np.nan)
    return (
        str(row.depth),
        _with_error(row.growth),
        _shown(None if row.derived_gradients is None else row.derived_gradients[0]),
        _shown(None if row.measured_rate is None else row.measured_rate.stable),
        _shown(row.derived_rate),
        _shown(row.rate),
        _shown(ends[0]),
        _shown(ends[1]),
        _shown(row.accuracy, ".1%"),
    )


def trainability(
    recipe: Recipe,
    depths: Sequence[int],
    inputs: ArrayLike,
    labels: ArrayLike,
    test: tuple[ArrayLike, ArrayLike] | None = None,
    learning_rate: float | None = None,
    steps: int = 200,
    batch: int | None = 128,
    optimizer: str = "sgd",
    t: float = 1.0,
    networks: int = 20,
    seed: int = 0,
    checkpoint: str | PathLike[str] | None = None,
    progress: Callable[[int], Progress] | None = None,
    stage: Callable[[str], AbstractContextManager[None]] = lambda name: nullcontext(),
) -> Trainability:
    r"""Train a recipe at several depths on the squared loss, and put what is derived of its start beside what is measured.

    Parameters
    ----------
    recipe : Recipe
        With a number for its width. A recipe whose branch is not scaled is one too: ``Network(lambda x: x + A(relu(x)), width=32)``.
    depths : sequence of int
    inputs : array, shape (m, features)
    labels : array, shape (m,)
        Whole numbers from 0.
    test : pair of arrays, optional
        For the accuracy.
    learning_rate : float, optional
        By default half of the largest that is derived for some of the inputs, or else half of the largest that is measured.
    steps, batch, optimizer
        As :func:`numerics.training.train`; a batch of more than all inputs is all.
    t : float
        The limit's time.
    networks : int
        Random starts at which gradients are measured.
    seed : int
    checkpoint : path, optional
        A directory with one for each depth.
    progress : callable, optional
        Makes for each depth what :func:`numerics.training.train` reports to.
    stage : callable, optional
        Makes a context manager around what is done before, from its name.

    Returns
    -------
    Trainability

    Raises
    ------
    ValueError
        If shapes do not fit, another optimizer than sgd has no ``learning_rate``, nothing can be kept in ``checkpoint``, or it holds another run,
        which is seen before anything is done.
    MemoryError
        If the numbers of one of the depths would not fit, before anything is done.

    Examples
    --------
    >>> from derivations import ResNet, relu
    >>> x = np.random.default_rng(0).normal(size=(40, 3))
    >>> found = trainability(ResNet(relu, width=8), [4, 16], x, (x[:, 0] > 0).astype(int), steps=30, networks=4)
    >>> [row.depth for row in found.rows]
    [4, 16]
    """
    if optimizer not in OPTIMIZERS:
        raise ValueError(unknown("optimizer", optimizer, OPTIMIZERS))
    if learning_rate is None and optimizer != "sgd":
        raise ValueError(f"the largest learning rate is that of sgd; give learning_rate for {optimizer}")
    if checkpoint is not None:
        require_directory(checkpoint)
    given = np.asarray(inputs, dtype=float)
    outputs = int(np.max(labels)) + 1
    batch = len(given) if batch is None else min(batch, len(given))
    networks_of = {depth: TrainableNetwork(recipe, depth, given.shape[1], max(2, outputs), t) for depth in depths}
    for depth, network in networks_of.items():
        require_trainable(network, batch)
        if checkpoint is not None:
            place = Path(checkpoint) / f"depth {depth}"
            require_resumable(network, given, labels, learning_rate, steps, optimizer, batch, "squared", seed, place)
    rows = []
    for depth, network in networks_of.items():
        kept = None if checkpoint is None else Path(checkpoint) / f"depth {depth}"
        show = None if progress is None else progress(depth)
        rows.append(
            _at_depth(
                network, given, labels, test, learning_rate, steps, batch, optimizer, networks, seed, kept, show, stage
            )
        )
    return Trainability(recipe, tuple(rows))


def _at_depth(
    network: TrainableNetwork,
    inputs: Array,
    labels: ArrayLike,
    test: tuple[ArrayLike, ArrayLike] | None,
    learning_rate: float | None,
    steps: int,
    batch: int,
    optimizer: str,
    networks: int,
    seed: int,
    checkpoint: Path | None,
    progress: Progress | None,
    stage: Callable[[str], AbstractContextManager[None]],
) -> AtDepth:
    positions = int(np.prod(network.recipe.positions, dtype=int))
    looked_at, why = inputs[: max(2, min(_LOOKED_AT, _COORDINATES // positions))], []
    targets = checked_targets(network, labels, inputs)

    def derived(ask: Callable[[TrainableNetwork, ArrayLike], Any]) -> Any:
        try:
            return ask(network, looked_at)
        except DerivationError as error:
            why.append(str(error))
            return None

    with stage(f"depth {network.depth}, derived"):
        profile, largest, weights = map(derived, (derived_gradients, derived_largest_rate, derived_weight_gradients))
    with stage(f"depth {network.depth}, gradients of {networks} networks"):
        gradients = measured_gradients(network, looked_at, networks, seed)
        own = measured_weight_gradients(network, looked_at, networks, seed)
    last = gradients[:, -1].mean()
    measured = gradients.mean(axis=0) / last
    lost = int(np.sum(~np.isfinite(gradients).all(axis=1)))
    ratio = Estimate(np.inf, np.nan) if lost else Estimate.of(gradients[:, 0] / last)
    if lost:
        why.append(
            f"depth {network.depth}: in {lost} of {networks} networks the gradient's square left the range of {gradients.dtype}"
        )
    rate, losses, accuracy, measured_rate = learning_rate, np.empty(0), np.nan, None
    with stage(f"depth {network.depth}, largest learning rate"):
        try:
            measured_rate = measured_largest_rate(network, looked_at, targets[: len(looked_at)], _TRIAL, seed)
        except NothingFalls as error:
            if str(error) not in why:  # the derived one is refused for the same reason
                why.append(f"depth {network.depth}: {error}")
    if rate is None:
        if largest is None and measured_rate is not None:
            rate = 0.5 * measured_rate.stable
        elif largest is not None:
            rate = 0.5 * largest
    if rate is not None:
        try:
            run = train(network, inputs, targets, rate, steps, optimizer, batch, "squared", seed, checkpoint, progress)
        except TrainingDiverged as error:
            losses = error.losses
            why.append(str(error))
        else:
            losses, accuracy = run.losses, np.nan if test is None else run.accuracy(*test)
    rate = np.nan if rate is None else rate
    derivatives = measured, profile, own, weights
    return AtDepth(network.depth, ratio, *derivatives, largest, measured_rate, rate, losses, accuracy, tuple(why))
