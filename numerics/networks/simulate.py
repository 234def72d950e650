r"""Finite random networks, simulated layer by layer from the architecture's own recursion.

Nothing here knows a limit or a law: this is what theory is compared with.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from derivations.architectures import Recipe
from derivations.errors import unknown
from derivations.language import Program
from derivations.language.small import sizes_in_front
from derivations.symbols import step
from numerics import given
from numerics.compile.defined import everywhere_in
from numerics.compile.jit import uses_jit
from numerics.compile.jit_programs import program_kernel
from numerics.compile.programs import Array, Trace, compiled_program
from numerics.ensembles import Progress, Reduction, Seed, last_time, reduce_ensemble, run_ensemble
from numerics.ensembles.memory import require_memory
from numerics.ensembles.reductions import reductions_of
from numerics.networks.derivatives import Jacobian
from numerics.networks.drawings import DRAWINGS, Drawing, InLaw
from numerics.networks.gram import Gap
from numerics.networks.initial import Start, checked_start
from numerics.networks.observables import Observable, Record
from numerics.networks.records import observable
from numerics.outcomes import NotFinite, ProjectWarning, explain_network, warn_of_explosions, without_nan

_MOST_WORK = 1e17  # operations: three years on a processor that does 10^9 a second

#: Numbers in a buffer of one block: a few buffers of this size stay in a core's cache.
BLOCK = 2**15


@dataclass(frozen=True)
class Networks:
    """One ensemble, as a picklable function of a block: it draws networks ``first`` … ``first + count - 1``."""

    observable: Observable
    width: int
    depth: int
    time: float
    start: Start
    drawing: Drawing
    at: tuple[int, ...]
    jit: bool = False

    def __call__(self, first: int, count: int, rng: np.random.Generator) -> Array:
        """What is kept of them, shape (count, layers, ...)."""
        begin = rng.bit_generator.state
        with np.errstate(all="ignore"):  # what is not finite is looked at below
            end, kept = self._layers(first, count, rng, self.jit)
            if not np.isfinite(end).all() and not everywhere_in(self.observable.program):
                rng.bit_generator.state = begin
                self._layers(first, count, rng, jit=False, explain=True)
        return without_nan(kept) if self.observable.explodes else kept

    def _layers(
        self, first: int, count: int, rng: np.random.Generator, jit: bool, explain: bool = False
    ) -> tuple[Array, Array]:
        """The last states, and what is kept; by jit the same numbers to rounding."""
        seen, program, begin = self.observable, compiled_program(self.observable.program), rng.bit_generator.state
        carried = seen.start(self.start, first, count, self.width, self.drawing, rng)
        size = np.sqrt(self.time / self.depth) if self.depth else 0.0
        layers = [program.at(self.time * (done + 0.5) / self.depth) for done in range(self.depth)]
        kept, done = {}, 0
        for stop in sorted({*self.at, self.depth}):
            if jit and stop - seen.looks_back > done:
                kernel = program_kernel(seen.program, seen.columns)
                if kernel(carried.x, layers[done : stop - seen.looks_back], size, rng):
                    rng.bit_generator.state = begin  # squares have left the range of numbers; arrays take units first
                    return self._layers(first, count, rng, jit=False)
                done = stop - seen.looks_back
            for layer in layers[done:stop]:
                done += 1
                trace: Trace | None = [] if explain else None
                before, carried = carried, seen.advance(carried, layer, size, self.drawing, rng, trace)
                if trace is not None:
                    lost = _finite(seen.states(before)) & ~_finite(seen.states(carried))
                    for k in np.flatnonzero(lost):
                        explain_network(trace, int(k), f"layer {done} of {self.depth}, sample {first + k + 1}")
            if stop in self.at:
                kept[stop] = seen.value(carried)
        return seen.states(carried), np.stack([kept[at] for at in self.at], axis=1)


def _finite(states: Array) -> NDArray[np.bool_]:
    return np.asarray(np.isfinite(states).all(axis=(1, 2)))


@given.checked(
    architecture=given.network,
    depth=given.whole,
    samples=given.whole,
    t=given.optional(given.number),
    input_weight_variance=given.number,
    at=given.optional(given.array),
    progress=given.optional(given.function),
    checkpoint=given.optional(given.path),
)
def simulate_network(
    architecture: Recipe,
    depth: int,
    samples: int,
    x0: ArrayLike | None = None,
    inputs: ArrayLike | None = None,
    t: float | None = None,
    seed: Seed = 0,
    workers: int | Executor = 1,
    method: str | None = None,
    input_weight_variance: float = 1.0,
    at: Sequence[int] | None = None,
    record: str | Record = "state",
    backend: str = "auto",
    reduce: Reduction | Sequence[Reduction] | None = None,
    checkpoint: str | PathLike[str] | None = None,
    progress: Progress | None = None,
) -> Any:
    r"""Draw finite random networks and return their last layers.

    Each layer is run statement by statement from ``architecture.program()``, with :math:`\varepsilon = \sqrt{t/L}` and fresh weights,
    which the m inputs share. Variances and means that depend on the limit's time ``symbols.time`` are those of the middle of the
    layer, :math:`(\ell - \tfrac12)t/L`.

    Parameters
    ----------
    architecture : Recipe
        With a number for the width n and no free parameters. On a grid of positions, m below stands for the number of
        inputs times that of positions.
    depth : int
        The number L of layers; 0 returns :math:`X_0`.
    samples : int
        How many independent networks.
    x0 : float or array, shape (), (n,), (n, m) or (samples, n, m), optional
        A fixed start; the first two are the same for all inputs. With one input also (samples, n), at width 1 (samples,).
    inputs : array, shape (m, dim) or (m, channels, positions...), optional
        Network inputs a, one a row, mapped at each position by :math:`X_0 = W_{\mathrm{in}} a` with entries
        :math:`N(0, v/\mathrm{dim})`, drawn for each network and shared by its inputs. Give this or ``x0``.
    t : float, optional
        The limit's time that the L layers take together, 1 by default. Where depth and width grow together it is not free but
        :math:`L/n^\delta` (``architecture.time_of(depth)``), and refused if another is given.
    seed : int, SeedSequence, Generator or None
        A generator moves on; None is fresh each time. The result depends on it, and not on ``workers``, bit for bit.
    workers : int or Executor
        Threads to run blocks of networks in, or any executor.
    method : {"conditional", "weights"}, optional
        Exact in law by conditional Gaussians, the default, or every weight drawn, as derivatives always need it. A matrix that is not
        Gaussian is drawn in both.
    input_weight_variance : float
        v.
    at : sequence of int, optional
        Layers to keep, from 0 to L. Without it, the last one only, or with a function to ``record`` all.
    record : str or callable
        What to keep of the layers:

        * ``"state"``: x, shape (samples, n, m);
        * ``"gram"``: :math:`X^\top X/n`, shape (samples, m, m);
        * ``"conditional gram"``: its mean given all that this layer draws before, where the new state is what one matrix puts out: the
          covariance of the rows, for a perceptron :math:`\sigma_b^2 + \frac{\sigma_w^2}{n}\varphi(X)^\top\varphi(X)`. It is a Markov chain by itself;
        * ``"gap"``, ``"conditional gap"``: :math:`1 - \rho` of each pair of inputs by these matrices, shape (samples, inputs, inputs), over all
          neurons and positions. Inputs are carried as differences from the first, so that gaps keep their digits however small they
          are (:math:`q = \ell^2(1 - \rho)` is a multiple). nan where a state is 0;
        * ``"jacobian"``: :math:`\partial X_\ell/\partial X_0`, shape (samples, inputs, n, n) with n times the positions in n's place;
        * ``"tangent kernel"``: :math:`\frac1n\sum_i\sum_\theta \partial_\theta X_i^\alpha\,\partial_\theta X_i^\beta` over all weights and biases drawn,
          those of a first layer from ``inputs`` included, each a parameter of unit variance times its standard deviation; shape (samples, m, m);
        * a function of the states of some networks, shape (samples, n, m) to (samples, ...). It must not modify its argument.
    backend : {"auto", "numpy", "numba"}
        As for :func:`numerics.paths.simulate_sde`; states in law have a machine-code kernel, those with all weights
        and those with more than 16 coordinates do not.
    reduce : Reduction or sequence of them, optional
        Such as :class:`numerics.ensembles.Moments`, ``Histogram``, ``Quantiles`` or ``Gram``: what to return in place of the
        samples, in memory that does not grow with their number.
    checkpoint : path, optional
        A directory in which finished blocks are kept; the same call finds them again, however the last one ended.
    progress : callable, optional
        Called with the numbers of finished and of all samples.

    Returns
    -------
    array, shape (samples, n, m)
        States of the last layer, for each neuron m coordinates, or m times the positions, or what is recorded; with ``at`` or a function
        to record, shape (len(at), samples, ...). With ``reduce``, its result, or a tuple of them. Networks that left the range of numbers are
        infinite there, never nan.

    Raises
    ------
    ValueError
        For a width without a number, a negative depth, t ≤ 0, inputs that are not finite or do not fit, or both or
        neither of ``x0`` and ``inputs``.
    UndefinedState
        If a network comes to where the activation has no value; it says in which layer, sample and neuron.

    Warns
    -----
    ExplosionWarning
        With the number of networks that left the range of numbers.

    Examples
    --------
    >>> from derivations import ResNet, relu
    >>> simulate_network(ResNet(relu, width=3), depth=50, samples=2, x0=[1.0, -1.0, 2.0]).shape
    (2, 3, 1)
    >>> norms = simulate_network(ResNet(relu, width=3), 50, 1000, x0=1.0, at=[0, 50], record=lambda x: (x**2).sum((1, 2)))
    >>> norms.shape, float(norms[0, 0])
    ((2, 1000), 3.0)
    """
    every = callable(record) and at is None

    def start(width: int) -> Start:
        return checked_start(x0, inputs, input_weight_variance, _whole(samples, "samples", 1), width, architecture)

    layers = range(_whole(depth, "depth", 0) + 1) if every else at
    task = ensemble(architecture, depth, start, record, t, method, layers)
    if isinstance(task.observable, Gap):
        task = replace(task, start=task.start.in_differences(task.observable.positions))
    return run_networks(task, samples, at is None and not every, seed, workers, backend, reduce, checkpoint, progress)


def ensemble(
    architecture: Recipe,
    depth: int,
    start: Callable[[int], Start],
    record: str | Record,
    t: float | None = None,
    method: str | None = None,
    at: Sequence[int] | None = None,
) -> Networks:
    """The networks that a user asks for, checked; ``start`` makes their start at a width."""
    width, depth = finite_width(architecture), _whole(depth, "depth", 0)
    t = _clock(architecture, depth, t)
    if not (np.isfinite(t) and t > 0):
        raise ValueError(f"t must be finite and positive, got {t}; for the start itself use depth=0")
    begin = start(width)
    seen = observable(record, architecture, _program(architecture))
    layers = (depth,) if at is None else tuple(at)
    if not layers or any(not 0 <= _whole(k, "each layer in at", 0) <= depth for k in layers):
        raise ValueError(f"at must list layers from 0 to depth={depth}, got {list(layers)}")
    return Networks(seen, width, depth, float(t), begin, _drawing(method, seen), layers)


def _program(architecture: Recipe) -> Program:
    """One program for equal recipes, so that what is compiled for it is found again."""
    try:
        return _known_program(architecture)
    except TypeError:  # a recipe of one's own that has no hash
        return _numbered(architecture)


@lru_cache(maxsize=64)
def _known_program(architecture: Recipe) -> Program:
    return _numbered(architecture)


def _numbered(architecture: Recipe) -> Program:
    """With the small parameter in front of matrices, whose variances are numbers before the depth is known."""
    return sizes_in_front(architecture.program(), {step})[0]


def run_networks(
    task: Networks,
    samples: int,
    single: bool,
    seed: Seed,
    workers: int | Executor,
    backend: str = "auto",
    reduce: Reduction | Sequence[Reduction] | None = None,
    checkpoint: str | PathLike[str] | None = None,
    progress: Progress | None = None,
) -> Any:
    """An ensemble of networks, block by block; ``single`` drops the axis of the layers that are kept."""
    seen, columns, samples = task.observable, task.observable.columns, _whole(samples, "samples", 1)
    matrices = compiled_program(seen.program).matrices
    largest = max(task.drawing.entries(m, columns) for m in (task.start.matrix(task.width), *matrices))
    block = max(1, BLOCK // largest)
    work = samples * task.depth * columns * sum(numbers.rows for numbers in matrices)
    _require_room(task, samples, min(block, samples), largest, reduce is None)
    if work > _MOST_WORK:
        raise ValueError(
            f"{samples} networks of {task.depth} layers take about {work:.1g} operations, years on one processor; take fewer or smaller ones"
        )
    # statements about pairs of positions are written out pair by pair, each of which takes time to compile
    written_out = columns**2 if seen.program.has_pairs else 1
    task = replace(task, jit=uses_jit(backend, work // written_out, partial(_kernel, task)) and task.start.is_moderate)
    if reduce is not None:
        condensed = last_time(task) if single else task
        several = reductions_of(reduce)
        *results, lost = reduce_ensemble(
            condensed, (*several, NotFinite()), samples, block, seed, workers, progress, checkpoint
        )
        if seen.explodes:
            warn_of_explosions(lost[0], lost[1], "networks", callers=2)
        return results[0] if isinstance(reduce, Reduction) else tuple(results)
    kept = run_ensemble(task, samples, block, seed, workers, progress, checkpoint)
    flat = kept.reshape(samples, -1)
    lost_rows = ~np.isfinite(flat).all(axis=1) if seen.explodes else np.isnan(flat).any(axis=1)
    count = int(np.count_nonzero(lost_rows))
    if isinstance(seen, Gap):
        _warn_of_lost_angles(count, samples)
    else:
        warn_of_explosions(count, samples, "networks", callers=2)
    return kept[:, 0] if single else np.moveaxis(kept, 1, 0)


def _require_room(task: Networks, samples: int, block: int, largest: int, kept: bool) -> None:
    """Refuse networks whose results, and what a block of them is computed from, do not fit in memory."""
    seen, what = task.observable, f"{samples} networks of {task.width} neurons take"
    each, work = task.width * seen.columns if seen.keeps_states else 0, 3 * largest
    if isinstance(seen, Jacobian):
        size, along = seen.neurons * seen.inputs, seen.rules.directions
        each, work = seen.kept or size * seen.neurons, 4 * size**2 + 2 * size * along
        what = f"derivatives of {samples} networks of {seen.neurons} neurons and positions take"
    ends = samples * len(task.at) * each if kept else 0
    instead = "take fewer samples or a smaller width, or reduce= them as they come"
    require_memory(ends + block * work, what, instead)


def _kernel(task: Networks) -> Any:
    if not isinstance(task.drawing, InLaw) or not task.observable.plain:
        raise ValueError(
            'only states and Gram matrices of networks in law have a machine-code kernel; use method="conditional", or backend="numpy"'
        )
    return program_kernel(task.observable.program, task.observable.columns)


def _warn_of_lost_angles(lost: int, samples: int) -> None:
    if lost:
        warnings.warn(
            f"{lost} of {samples} networks have no angle between inputs, which is nan: a layer of zeros, or numbers out of range",
            ProjectWarning,
            stacklevel=4,
        )


def _drawing(method: str | None, seen: Observable) -> Drawing:
    named = next((d for d in DRAWINGS if d.name == (method or DRAWINGS[0].name)), None)
    if named is None:
        raise ValueError(unknown("method", str(method), (d.name for d in DRAWINGS)))
    if isinstance(seen, Jacobian) and method == InLaw().name:
        raise ValueError(
            'derivatives are products of matrices that are drawn; leave method out, or give method="weights"'
        )
    return seen.drawing(named)


def _clock(architecture: Recipe, depth: int, t: float | None) -> float:
    """The time of the layers: what is asked for where it is free, else what the recipe says."""
    own = architecture.time_of(depth)
    if own is None or depth == 0:
        return 1.0 if t is None else t
    if t is not None and not np.isclose(t, float(own), rtol=1e-9):
        raise ValueError(
            f"t = {t:g} is not free: {depth} layers of width {architecture.width} take the time {float(own):g} when depth and width grow "
            f"together; leave t out, or choose another depth"
        )
    return float(own)


def finite_width(architecture: Recipe) -> int:
    """The width as a number, or an error that says that it must be one."""
    width: Any = architecture.width
    if not getattr(width, "is_Integer", isinstance(width, int)):
        raise ValueError(
            f"a network is simulated at a width that is a number, got width={width}; "
            "give the architecture a positive integer, e.g. width=100 for a wide one"
        )
    return int(width)


def _whole(value: Any, name: str, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise ValueError(f"{name} must be a whole number, at least {least}, got {value!r}")
    return int(value)
