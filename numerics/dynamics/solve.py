r"""Training at infinite width, solved: outputs, losses and two-time kernels, with their errors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from derivations.architectures import Recipe
from derivations.dynamics import TrainingLimit, training_limit
from derivations.errors import unknown
from derivations.notation.printed import Legible
from numerics import given
from numerics.dynamics.descent import Descent, Settings
from numerics.dynamics.layers import Met
from numerics.dynamics.matrices import padded
from numerics.ensembles import Progress
from numerics.ensembles.memory import require_memory
from numerics.linalg import one_thread
from numerics.networks.initial import finite_array

Array = NDArray[np.float64]
#: So many inputs are pushed through drawn matrices at the speed of memory, where threads only wait for each other.
FEW_INPUTS = 16
#: What the matrices met, layer by layer.
Run: TypeAlias = tuple[dict[str, Met], ...]


class Runs(NamedTuple):
    """Runs that are alike, and the weight of their mean."""

    weight: float
    runs: list[Run]


#: What can be taken to its limit besides the width, and how it is refined.
LIMITS = {"depth": Settings.deeper, "flow": Settings.finer}


@dataclass(frozen=True, repr=False)
class SolvedTraining(Legible):
    r"""A network of infinite width under gradient descent.

    Attributes
    ----------
    limit : TrainingLimit
        The equations, printable.
    outputs : array, shape (steps + 1, m)
        :math:`f_\mu` before the first step and after each.
    error : array, shape (steps + 1, m)
        Of the outputs: one standard error where neurons were sampled, and what halving the step or doubling the depth changed until then,
        where a limit of these was asked for. 0 for exact equations at the given depth and step.
    losses : array, shape (steps + 1,)
        :math:`\frac1{2m}\sum_\mu (f_\mu - y_\mu)^2` over the inputs that are trained on.
    """

    limit: TrainingLimit
    outputs: Array
    error: Array
    losses: Array
    _runs: tuple[Runs, ...] = field(repr=False, compare=False)

    def __str__(self) -> str:
        steps, m = self.outputs.shape
        return (
            f"{self.limit.title}: {m} outputs after {steps - 1} steps, loss from {self.losses[0]:.4g} to {self.losses[-1]:.4g}, "
            f"largest error of an output {self.error.max():.1g}"
        )

    def kernel(self, name: str, layer: int, side: str = "forward") -> Array:
        r"""A two-time kernel: the mean over neurons of a product at two steps, for two inputs.

        Parameters
        ----------
        name : str
            A matrix.
        layer : int
            From 1 to the depth that was given.
        side : {"forward", "gradient"}
            Of what the matrix is applied to, :math:`\Phi_{\mu\nu}(s, s') = \langle b_\mu(s)\,b_\nu(s')\rangle`, or of the gradient in what it
            makes, :math:`G_{\mu\nu}(s, s')`.

        Returns
        -------
        array, shape (steps, m, steps, m)
            Of the steps from 0; the last outputs need no way back, and are one step later.
        """
        if side not in ("forward", "gradient"):
            raise ValueError(unknown("side", side, ("forward", "gradient")))
        (first, *_), *_ = (group.runs for group in self._runs)
        if name not in first[0]:
            raise ValueError(unknown("matrix", name, first[0]))
        depth = len(first)
        if isinstance(layer, bool) or not isinstance(layer, int) or not 1 <= layer <= depth:
            raise ValueError(f"layer must be a whole number from 1 to {depth}, got {layer!r}")
        total = np.zeros(())
        for group in self._runs:
            for run in group.runs:
                met = getattr(run[layer - 1][name], side)
                rows = np.concatenate([padded(c, (len(c), met[-1].shape[1])) for c in met])
                total = total + group.weight / len(group.runs) * (rows @ rows.T)
        return np.asarray(total.reshape(len(met), -1, len(met), self.outputs.shape[1]))


@given.checked(
    net=given.network,
    inputs=given.array,
    targets=given.array,
    depth=given.whole,
    learning_rate=given.number,
    steps=given.whole,
    t=given.number,
    momentum=given.number,
    neurons=given.whole,
    repeats=given.whole,
    progress=given.optional(given.function),
)
def solve_training(
    net: Recipe,
    inputs: ArrayLike,
    targets: ArrayLike,
    depth: int,
    learning_rate: float = 0.1,
    steps: int = 100,
    richness: float = 1.0,
    t: float = 1.0,
    limits: str | Sequence[str] = (),
    neurons: int = 400,
    repeats: int = 20,
    seed: int = 0,
    progress: Progress | None = None,
    momentum: float = 0.0,
) -> SolvedTraining:
    r"""Train a network of infinite width by gradient descent.

    The network is :math:`x_0 = Ua/\sqrt{\mathrm{dim}}`, its layers, and :math:`f = \frac{1}{\gamma_0 n}\,v\cdot x_L`; U, v and the matrices of each
    layer are trained at :math:`\eta\gamma_0^2 n` in units of their deviations, times the power of the depth that
    :func:`~derivations.dynamics.training_limit` derives. So features move by order 1 at every width and depth, the more the larger
    :math:`\gamma_0` is, and :math:`\gamma_0 = 0` is training in the tangent kernel. Gradient descent in finite steps is followed as it is.

    Parameters
    ----------
    net : Recipe
        Of infinite width; its number of inputs is that of each call.
    inputs : array, shape (m, dim)
    targets : array, shape (m,)
        nan for inputs that are followed, but not trained on.
    depth : int
    learning_rate : float
        :math:`\eta`.
    steps : int
    richness : float
        :math:`\gamma_0`.
    t : float
        :math:`\varepsilon^2 L`, where the recipe has no clock of its own.
    limits : {"depth", "flow"} or sequence of these
        Infinite depth, and gradient flow up to the time :math:`\eta` times ``steps``, by doubling the depth or halving the step once and
        extrapolating outputs; kernels are those at the given depth and step.
    neurons, repeats, seed : int
        Where fields are not Gaussian: how many neurons of the state are sampled, how often, from which seed; what is of order 1/neurons is
        removed by runs with half as many.
    progress : callable, optional
        Called with how many steps of all runs are done, and how many there are.
    momentum : float
        How much of its last change each step adds, at least 0 and below 1: :math:`v' = \beta v - \eta\nabla`, and the weights move by v. Its flow,
        that without momentum at :math:`\eta/(1-\beta)`, is asked for there.

    Returns
    -------
    SolvedTraining

    Raises
    ------
    DerivationError
        For a network whose training is not derived.
    ValueError
        For arguments that make no sense, or when the loss diverges.
    MemoryError
        If the numbers would not fit, before anything is done.

    Examples
    --------
    >>> import sympy as sp
    >>> from derivations import Network, Weights, epsilon
    >>> linear = Network(lambda x: x + epsilon * Weights("W")(x), width=sp.oo)
    >>> run = solve_training(linear, [[1.0, 0.5], [-0.2, 1.0]], [1.0, -1.0], depth=4, learning_rate=0.3, steps=40)
    >>> bool(run.losses[-1] < 1e-3 * run.losses[0])
    True
    >>> run.kernel("W", layer=2).shape
    (41, 2, 41, 2)
    """
    limit = training_limit(net)
    base = _settings(limit, inputs, targets, depth, learning_rate, steps, richness, t, neurons)
    if not 0 <= momentum < 1:
        raise ValueError(f"momentum must be a number from 0 to below 1, got {momentum!r}")
    base = replace(base, momentum=float(momentum))
    asked = (limits,) if isinstance(limits, str) else tuple(limits)
    for word in asked:
        if word not in LIMITS:
            raise ValueError(unknown("limit", word, LIMITS))
    if momentum and "flow" in asked:
        raise ValueError(
            f"gradient flow forgets momentum after some steps: it is the flow without momentum at a learning rate of {learning_rate / (1 - momentum):g}, "
            "learning_rate/(1 - momentum); ask for that"
        )
    for name, count, least in (("neurons", neurons, 2), ("repeats", repeats, 2), ("seed", seed, 0)):
        _require_whole(name, count, least)
    refined = [LIMITS[word](base) for word in dict.fromkeys(asked)]
    for settings in (base, *refined):
        numbers, size = settings.numbers(repeats), f"{settings.depth} layers trained for {settings.steps} steps"
        require_memory(
            numbers, f"{size} on {len(base.targets)} inputs take", "take fewer layers, steps or inputs, or neurons"
        )
    count = 1 if base.neurons is None else 2 * repeats
    every, done = count * sum(settings.steps for settings in (base, *refined)), 0

    def stepped() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, every)

    outputs, variance, runs = _solved(base, repeats, seed, stepped)
    found, change, variance = outputs, np.zeros_like(outputs), variance * (1 - 2 * len(refined)) ** 2
    for k, settings in enumerate(refined, 1):
        finer, own, _ = _solved(settings, repeats, seed + k, stepped)
        often = settings.steps // steps
        moved = finer[::often] - outputs
        found, variance = found + 2 * moved, variance + 4 * own[::often]
        change = change + np.maximum.accumulate(abs(moved))
    losses = ((found - base.targets)[:, base.fitted] ** 2).mean(axis=1) / 2
    return SolvedTraining(limit, found, change + np.sqrt(variance), losses, runs)


def _solved(
    settings: Settings, repeats: int, seed: int, stepped: Callable[[], None]
) -> tuple[Array, Array, tuple[Runs, ...]]:
    """Outputs at infinite width, their variance, and what matrices met."""
    if settings.neurons is None:
        run = Descent(settings, np.random.default_rng(seed))
        outputs = run.run(stepped)
        return outputs, np.zeros_like(outputs), (Runs(1.0, [_met(run)]),)
    means, variances, met = [], [], []
    with one_thread() if len(settings.targets) <= FEW_INPUTS else nullcontext():
        for count, weight in ((settings.neurons, 2.0), (settings.neurons // 2, -1.0)):
            samples, group = [], Runs(weight, [])
            for child in np.random.SeedSequence((seed, count)).spawn(repeats):
                run = Descent(replace(settings, neurons=count), np.random.default_rng(child))
                samples.append(run.run(stepped))
                group.runs.append(_met(run))
            means.append(np.mean(samples, axis=0))
            variances.append(np.var(samples, axis=0, ddof=1) / repeats)
            met.append(group)
    return 2 * means[0] - means[1], 4 * variances[0] + variances[1], tuple(met)


def _met(run: Descent) -> Run:
    return tuple(layer.met for layer in run.layers)


def _settings(
    limit: TrainingLimit,
    inputs: ArrayLike,
    targets: ArrayLike,
    depth: int,
    rate: float,
    steps: int,
    richness: float,
    t: float,
    neurons: int,
) -> Settings:
    _require_whole("depth", depth, 1)
    _require_whole("steps", steps, 1)
    for name, value in (("learning_rate", rate), ("t", t), ("richness", richness)):
        if not given.number.holds(value) or value < 0 or (value == 0 and name != "richness"):
            raise ValueError(
                f"{name} must be a {'number ≥ 0' if name == 'richness' else 'positive number'}, got {value!r}"
            )
    x, y = finite_array(inputs, "inputs"), np.asarray(targets, dtype=float)
    if x.ndim != 2 or not x.size:
        raise ValueError(f"inputs must have shape (m, dim), one network input a row, got shape {x.shape}")
    if y.ndim == 2 and y.shape[1] > 1:
        raise ValueError(
            f"training is derived for one output, and targets have {y.shape[1]}: each output has a readout and gradients of its own, which meet in "
            "the kernels; give one number for each input"
        )
    if y.shape != (len(x),) or np.isinf(y).any() or np.isnan(y).all():
        raise ValueError(
            f"targets must be a number for each of the {len(x)} inputs, or nan for those that are not trained on; got {targets!r}"
        )
    own = limit.network.time_of(depth)
    time = float(t if own is None else own)
    count = None if limit.is_linear else neurons
    return Settings(limit, depth, x @ x.T / x.shape[1], y, float(rate), float(richness), steps, time, count)


def _require_whole(name: str, count: object, least: int) -> None:
    if isinstance(count, bool) or not isinstance(count, int | np.integer) or count < least:
        raise ValueError(f"{name} must be a whole number, at least {least}, got {count!r}")
