r"""Paths of the limit: simulated step by step, or drawn exactly where the law is known."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import solve_ivp

from derivations.diffusion import Diffusion, Flow, Limit, NeuronDiffusion
from derivations.laws import Law, Normal
from derivations.limits.width import KernelFlow
from numerics import given
from numerics.compile import compile_expression
from numerics.compile.jit import uses_jit
from numerics.compile.points import takes_points_at_each, tolerances
from numerics.compile.second_moments import SecondMoments
from numerics.ensembles import Progress, Reduction, Seed, last_time, reduce_ensemble, run_ensemble
from numerics.ensembles.reductions import reductions_of
from numerics.expectations.choice import choose_scheme
from numerics.initial_conditions import Grid, InitialStates, Start, shape_of
from numerics.linalg import one_thread
from numerics.outcomes import NotFinite, defined_everywhere, explain_path, formulas, warn_of_explosions, without_nan
from numerics.schemes import SCHEMES, Advance, EulerMaruyama, ExactLaw, Scheme, find_scheme, law_steps, usual_scheme

__all__ = ["SCHEMES", "EulerMaruyama", "ExactLaw", "Scheme", "sample_law", "simulate_sde"]

Array = NDArray[np.float64]

_BLOCK = 1 << 15  # numbers in the states of one block: a few such arrays stay in a core's cache


def has_slow_steps(limit: Limit) -> bool:
    """Whether a step of each path takes means of its own over a softmax, or over several Gaussian numbers, by thousands of points."""
    own = (limit.neuron_covariance,) if isinstance(limit, NeuronDiffusion) else (limit.covariance,)
    return not isinstance(limit, Flow) and any(map(takes_points_at_each, (limit.drift, *own)))


@given.checked(
    x0=given.start,
    samples=given.whole,
    times=given.optional(given.array),
    tol=given.optional(given.number),
    progress=given.optional(given.function),
    checkpoint=given.optional(given.path),
)
def simulate_sde(
    limit: Limit,
    x0: Start,
    t: float = 1.0,
    steps: int = 500,
    samples: int = 1000,
    seed: Seed = 0,
    workers: int | Executor = 1,
    scheme: Scheme | str | None = None,
    times: Sequence[float] | Array | None = None,
    progress: Progress | None = None,
    backend: str = "auto",
    tol: float | None = None,
    t0: float = 0.0,
    reduce: Reduction | Sequence[Reduction] | None = None,
    checkpoint: str | PathLike[str] | None = None,
) -> Any:
    r"""Draw paths of a limit and return where they are at time t, or at chosen times.

    Parameters
    ----------
    limit : Diffusion, NeuronDiffusion or Flow
        Without free parameters; a flow is integrated as an ordinary differential equation.
    x0 : float, array of shape (states,) or (samples, states), or Normal
        The start; (n, m) and (samples, n, m) are accepted for n neurons and m inputs, (samples,) for a scalar limit, and a
        :class:`derivations.laws.Normal` is drawn independently for each state and sample.
    t : float
        Time at the end, positive, in the limit's units.
    steps : int
        Steps from 0 to t; between two chosen times at least as fine.
    samples : int
        How many independent paths.
    seed : int, SeedSequence, Generator or None
        A generator moves on; None is fresh each time. The result depends on it, and not on ``workers``, bit for bit.
    workers : int or Executor
        Threads, or any ``concurrent.futures.Executor``.
    scheme : Scheme or str, optional
        One of ``SCHEMES``; by default Euler–Maruyama, for Gram matrices of several inputs a scheme that stays on their cone, and for two inputs
        that collapse one that starts where the coefficients are singular.
    times : sequence of float, optional
        Increasing times in [0, t] at which to keep the states.
    progress : callable, optional
        Called with the numbers of finished and of all samples.
    backend : {"auto", "numpy", "numba"}
        Array functions, or one machine-code kernel of the same formulas (extra ``fast``), which draws the same normals in
        the same order and gives the same numbers to rounding. ``"auto"`` takes the kernel where Numba is installed, the
        scheme has one and the work is worth compiling it: from 2²⁵ normals on.
    tol : float, optional
        In place of ``steps`` and ``scheme``: the cheapest of them, as
        :func:`numerics.expectations.choice.choose_scheme` finds, for which means and mean squares of the states at time t are
        within tol, relative to 1 plus their size. The start must be fixed.
    t0 : float
        When paths start, from 0 to below t; coefficients may depend on time.
    reduce : Reduction or sequence of them, optional
        Such as :class:`numerics.ensembles.Moments`, ``Histogram``, ``Quantiles`` or ``Gram``: what to return in place of the
        samples, in memory that does not grow with their number.
    checkpoint : path, optional
        A directory in which finished blocks are kept; the same call finds them again, however the last one ended.

    Returns
    -------
    array, shape (samples, states)
        States in the order of ``limit.states``; with ``times``, shape (len(times), samples, states). With
        ``reduce``, its result, or a tuple of them.

        Paths that left the range of numbers are infinite there, never nan. A scalar diffusion stays in its domain: at a finite end it
        does what :mod:`derivations.steps.domain` says.

    Raises
    ------
    ValueError
        If the width is symbolic, parameters are left, the start has the wrong shape, is not finite or lies outside the
        domain (with the share that does), or t, t0, steps, samples or times make no sense.
    UndefinedState
        If a path comes to where a coefficient has no value; it says which, where and when.

    Warns
    -----
    ExplosionWarning
        With the number of paths that left the range of numbers; :func:`numerics.outcomes.count_outcomes` counts what else became of them.

    Examples
    --------
    >>> from derivations import ResNet, depth_limit, relu
    >>> x = simulate_sde(depth_limit(ResNet(relu, width=3)), x0=1.0, steps=20, samples=1000)
    >>> x.shape, bool(abs(x.mean() - 1) < 0.1)
    ((1000, 3), True)
    """
    shape = shape_of(limit)
    if tol is not None and not isinstance(limit, Flow):
        choice = choose_scheme(limit, x0, t, tol)
        scheme, steps = choice.scheme, choice.steps
    grid = Grid.of(t, steps, times, t0)
    start = InitialStates.of(x0, shape, samples, limit)
    if isinstance(limit, Flow):
        kept = _flow(limit, start, grid, samples)
    else:
        chosen = usual_scheme(limit) if scheme is None else find_scheme(scheme)
        work = samples * sum(grid.steps) * int(np.prod(shape))
        task = _Paths(limit, chosen, shape, start, grid, uses_jit(backend, work, lambda: chosen.jit(limit)))
        block = _block(samples, int(np.prod(shape)))
        if reduce is not None:
            condensed = last_time(task) if times is None else task
            several = reductions_of(reduce)
            with one_thread():  # matrices are small, and blocks share the cores
                *results, lost = reduce_ensemble(
                    condensed, (*several, NotFinite()), samples, block, seed, workers, progress, checkpoint
                )
            warn_of_explosions(lost[0], lost[1], "paths")
            return results[0] if isinstance(reduce, Reduction) else tuple(results)
        with one_thread():
            kept = run_ensemble(task, samples, block, seed, workers, progress, checkpoint)
        warn_of_explosions(int(np.count_nonzero(~np.isfinite(kept).all(axis=(1, 2)))), samples, "paths")
    return kept[:, 0] if times is None else np.moveaxis(kept, 1, 0)


@given.checked(law=given.law, x0=given.start, samples=given.whole)
def sample_law(
    law: Law, x0: Start, t: float = 1.0, samples: int = 1000, seed: Seed = 0, workers: int | Executor = 1
) -> Array:
    """Draw from a law exactly, by its own recipe; to many samples what ``compile_law(...).rvs`` is to few.

    Parameters
    ----------
    law : Law
        Without free parameters.
    x0 : float, array of shape (samples,), or Normal
        The start.
    t : float
        Time, positive.
    samples, seed, workers
        As for :func:`simulate_sde`.

    Returns
    -------
    array, shape (samples,)

    Examples
    --------
    >>> from derivations import ResNet, depth_limit, recognise, relu
    >>> sample_law(recognise(depth_limit(ResNet(relu, width=1))), x0=-2.0, samples=3)
    array([-2., -2., -2.])
    """
    states = x0 if isinstance(x0, Normal) else np.asarray(x0, dtype=float)
    if not isinstance(states, Normal) and states.ndim == 1:
        states = states[:, np.newaxis]
    start = InitialStates.of(states, (1,), samples, law.diffusion)
    kept = run_ensemble(_LawPaths(law, (1,), start, Grid.of(t, 1, None)), samples, _BLOCK, seed, workers)
    return kept[:, 0, 0]


def _block(samples: int, size: int) -> int:
    """Samples in one block: an even number of equal blocks, so that two threads share the work, each small enough for a cache."""
    if samples * size <= _BLOCK // 4:
        return samples
    return -(-samples // (2 * -(-samples * size // (2 * _BLOCK))))


@dataclass(frozen=True)
class _Paths:
    """An ensemble of paths as a picklable function of a block."""

    limit: Limit
    scheme: Scheme
    shape: tuple[int, ...]
    start: InitialStates
    grid: Grid
    compiled: bool

    @cached_property
    def advance(self) -> Advance:
        return self.scheme.jit(self.limit) if self.compiled else self.scheme.prepare(self.limit)

    def __call__(self, first: int, count: int, rng: np.random.Generator) -> Array:
        begin = rng.bit_generator.state
        with np.errstate(all="ignore"):  # what is not finite is looked at below
            kept = _walk(self.advance, self.start.block(first, count, self.shape, rng), self.grid, rng)
        if np.isfinite(kept).all():
            return kept
        if isinstance(self.limit, Diffusion | NeuronDiffusion) and (
            self.scheme.name != "euler_maruyama"  # whose formula has a value wherever the coefficients have one
            or not all(defined_everywhere(entry) for entries in formulas(self.limit).values() for entry in entries)
        ):
            rng.bit_generator.state = begin
            with np.errstate(all="ignore"):
                self._explain(self.limit, first, count, rng)
        return without_nan(kept)

    def _explain(self, limit: Diffusion | NeuronDiffusion, first: int, count: int, rng: np.random.Generator) -> None:
        """Walk once more, step by step, and look at each state from which a path went beyond numbers."""
        x, advance = self.start.block(first, count, self.shape, rng), self.scheme.prepare(limit)
        done = 0
        for start, duration, steps in zip(self.grid.starts, self.grid.durations, self.grid.steps, strict=True):
            for step in range(steps):
                h = duration / steps
                before, x = np.array(x), advance(x, start + step * h, h, 1, rng)
                done += 1
                finite, here = (np.isfinite(y).reshape(count, -1).all(axis=1) for y in (before, x))
                for k in np.flatnonzero(finite & ~here):
                    where = f"step {done} of {sum(self.grid.steps)} of path {first + k + 1}"
                    explain_path(limit, before[k], start + step * h, where, self.scheme.name)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.limit, self.scheme, self.shape, self.start, self.grid, self.compiled)


@dataclass(frozen=True)
class _LawPaths:
    """The same for exact transitions of a law."""

    law: Law
    shape: tuple[int, ...]
    start: InitialStates
    grid: Grid

    @cached_property
    def advance(self) -> Advance:
        return law_steps(self.law)

    def __call__(self, first: int, count: int, rng: np.random.Generator) -> Array:
        return _walk(self.advance, self.start.block(first, count, self.shape, rng), self.grid, rng)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.law, self.shape, self.start, self.grid)


def _walk(advance: Advance, x: Array, grid: Grid, rng: np.random.Generator) -> Array:
    """States of a block at the end of each span, shape (samples, times, states)."""
    kept = np.empty((len(x), len(grid.steps), x[0].size))
    for index, (start, duration, steps) in enumerate(zip(grid.starts, grid.durations, grid.steps, strict=True)):
        if steps:
            x = advance(x, start, duration, steps, rng)
        kept[:, index] = x.reshape(len(x), -1)
    return kept


def _flow(limit: Flow, start: InitialStates, grid: Grid, samples: int) -> Array:
    """Solve the ordinary differential equation, once for all samples that start together."""
    size = len(limit.states)
    together = 1 if not start.per_sample else samples
    velocity = compile_expression((*limit.states, limit.time), tuple(limit.drift))

    def right_side(time: float, flat: Array) -> Array:
        with np.errstate(all="ignore"):
            values = np.concatenate(velocity(*flat.reshape(size, together), time))
        return np.where(np.isfinite(values), values, 1e200)  # a trial step that leaves the domain is made shorter

    x0 = start.block(0, together, (size,), np.random.default_rng(0))
    if isinstance(limit, KernelFlow) and limit.second:
        moments = SecondMoments(limit)
        for row in x0:
            moments.require(row)
    ends = np.add(grid.starts, grid.durations)
    with np.errstate(all="ignore"):
        at_start = np.stack(velocity(*x0.T, grid.starts[0]))
    if not np.isfinite(at_start).all():
        (row, sample), *_ = np.argwhere(~np.isfinite(at_start))
        where = ", ".join(f"{name} = {value:g}" for name, value in zip(limit.states, x0[sample], strict=True))
        raise ValueError(
            f"the flow has no velocity of {limit.states[row]} at its start {where}; start inside the domain, second moments as those of "
            "random variables"
        )
    rtol, atol = tolerances(limit.drift, 1e-10, 1e-12)
    with one_thread():
        solved = solve_ivp(
            right_side, (grid.starts[0], ends[-1]), x0.T.ravel(), t_eval=ends, method="DOP853", rtol=rtol, atol=atol
        )
    if not solved.success:
        raise ValueError(
            f"the flow could not be integrated up to t = {ends[-1]}: {solved.message} A flow that explodes before has no state there; "
            "solve_flow says how far it comes, ask for a smaller t"
        )
    states = solved.y.reshape(size, together, len(ends)).transpose(1, 2, 0)
    return np.array(np.broadcast_to(states, (samples, len(ends), size)))
