"""Ensembles condensed on the way."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from os import PathLike
from typing import Any

import numpy as np

from numerics.ensembles.reductions import Part, Reduction, reductions_of
from numerics.ensembles.stream import Progress, Seed, Task, of_samples, opened, seed_sequence, stream_ensemble

_PREFIX = "joined"  # what is joined so far, beside the blocks that wait for their turn
_JOIN_EVERY = 64  # blocks


@dataclass(frozen=True)
class _Reduced:
    """A task whose blocks are condensed where they are computed; pickles if the task does."""

    task: Task
    reductions: tuple[Reduction, ...]

    def __call__(self, first: int, count: int, rng: np.random.Generator) -> Part:
        values = of_samples(self.task(first, count, rng), count)
        with np.errstate(over="ignore", invalid="ignore"):  # infinite samples have no finite moments
            return _flat([reduction.part(values) for reduction in self.reductions])


@dataclass(frozen=True)
class _LastTime:
    """A task of shape (samples, times, ...) without the axis of times; pickles if the task does."""

    task: Task

    def __call__(self, first: int, count: int, rng: np.random.Generator) -> Any:
        return self.task(first, count, rng)[:, 0]


def last_time(task: Task) -> Task:
    """The same task for one time only, its axis dropped."""
    return _LastTime(task)


def reduce_ensemble(
    task: Task,
    reductions: Reduction | Sequence[Reduction],
    samples: int,
    block: int = 1 << 12,
    seed: Seed = 0,
    workers: int | Executor = 1,
    progress: Progress | None = None,
    checkpoint: str | PathLike[str] | None = None,
) -> Any:
    """Reductions of an ensemble, in memory that does not grow with the number of samples.

    Parameters
    ----------
    task : callable
        As for :func:`numerics.ensembles.run_ensemble`.
    reductions : Reduction or sequence of them
        Such as ``Moments()``, ``Histogram(edges)``, ``Quantiles()``, ``Gram()``.
    samples, block, seed, workers, progress
        As for :func:`numerics.ensembles.stream_ensemble`.
    checkpoint : path, optional
        A directory that holds what is joined so far and the finished blocks after it.

    Returns
    -------
    result of the reduction, or a tuple of them

    Examples
    --------
    >>> from numerics.ensembles import Moments
    >>> task = lambda first, count, rng: rng.standard_normal(count)
    >>> moments = reduce_ensemble(task, Moments(), 10_000)
    >>> moments.count, bool(abs(moments.mean) < 4 * moments.error)
    (10000, True)
    """
    several = reductions_of(reductions)
    seed = seed if isinstance(seed, int) else seed_sequence(seed)
    reduced = _Reduced(task, several)
    kept = opened(checkpoint, reduced, samples, block, seed)
    joined: list[Part] | None = None
    done = 0
    if kept is not None and kept.has(_PREFIX):
        state = kept.load(_PREFIX)
        done = int(state.pop("done"))
        joined = _split(state, len(several))
    dropped = done
    for piece, value in stream_ensemble(reduced, samples, block, seed, workers, progress, kept, done):
        parts = _split(value, len(several))
        with np.errstate(over="ignore", invalid="ignore"):
            joined = parts if joined is None else [r.join(a, b) for r, a, b in zip(several, joined, parts, strict=True)]
        done = piece.index + 1
        if kept is not None and done % _JOIN_EVERY == 0:
            kept.save(_PREFIX, _flat(joined) | {"done": np.array(done)})
            for index in range(dropped, done):
                kept.drop(index)
            dropped = done
    assert joined is not None
    results = tuple(r.result(part) for r, part in zip(several, joined, strict=True))
    return results[0] if isinstance(reductions, Reduction) else results


def _flat(parts: Sequence[Part]) -> Part:
    return {f"{k}.{name}": np.asarray(array) for k, part in enumerate(parts) for name, array in part.items()}


def _split(flat: Part, count: int) -> list[Part]:
    parts: list[Part] = [{} for _ in range(count)]
    for name, array in flat.items():
        k, inner = name.split(".", 1)
        parts[int(k)][inner] = array
    return parts
