"""Independent samples in blocks, each with a seed of its own: the same result for any number of workers.

What a block holds depends on the seed and on its place, never on who computes it or when. Blocks come back in
order whatever the order in which they were finished.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Seed = int | np.random.SeedSequence
Task = Callable[[int, int, np.random.Generator], Any]
Progress = Callable[[int, int], None]

_IN_FLIGHT = 64  # blocks submitted and not yet taken, which bounds the memory of results that wait


@dataclass(frozen=True)
class Block:
    """Samples ``first`` … ``first + count - 1`` of an ensemble and the seed from which they are made."""

    first: int
    count: int
    seed: np.random.SeedSequence

    def generator(self) -> np.random.Generator:
        """A fresh generator at the beginning of the block's stream."""
        return np.random.Generator(np.random.SFC64(self.seed))

    def run(self, task: Task) -> Any:
        """What the task makes of this block."""
        return task(self.first, self.count, self.generator())


def blocks(samples: int, block: int, seed: Seed = 0) -> Iterator[Block]:
    """Cut an ensemble into blocks.

    The seeds are the children that ``SeedSequence.spawn`` would make, but found by their place alone, so that the
    same ensemble can be cut twice, or taken up in the middle.

    Raises
    ------
    ValueError
        If ``samples`` or ``block`` is no positive whole number.

    Examples
    --------
    >>> [(b.first, b.count) for b in blocks(10, 4)]
    [(0, 4), (4, 4), (8, 2)]
    """
    for name, value in (("samples", samples), ("block", block)):
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
            raise ValueError(f"{name} must be a positive whole number, got {value!r}")
    root = seed if isinstance(seed, np.random.SeedSequence) else np.random.SeedSequence(seed)
    return (
        Block(first, min(block, samples - first), _child(root, index))
        for index, first in enumerate(range(0, samples, block))
    )


def _child(root: np.random.SeedSequence, index: int) -> np.random.SeedSequence:
    return np.random.SeedSequence(root.entropy, spawn_key=(*root.spawn_key, index), pool_size=root.pool_size)


def stream_ensemble(
    task: Task,
    samples: int,
    block: int,
    seed: Seed = 0,
    workers: int | Executor = 1,
    progress: Progress | None = None,
) -> Iterator[tuple[Block, Any]]:
    """Compute an ensemble block by block, in order, holding only a bounded number of results at a time.

    Parameters
    ----------
    task : callable
        Called with the first sample's number, the number of samples, and the block's generator. For executors of
        processes it must pickle.
    samples, block : int
        How many in all, and in one block; the result depends on both.
    seed : int or SeedSequence
    workers : int or Executor
        Threads to use (1 computes here and now), or any ``concurrent.futures.Executor``, which stays open.
    progress : callable, optional
        Called after each block with the numbers of finished and of all samples.

    Yields
    ------
    tuple of Block and the task's value
    """
    plan = blocks(samples, block, seed)
    if isinstance(workers, Executor):
        own: Any = nullcontext(workers)
    elif isinstance(workers, bool) or not isinstance(workers, int | np.integer) or workers < 1:
        raise ValueError(f"workers must be a positive whole number or an Executor, got {workers!r}")
    else:
        # a thread starts with NumPy's own handling of overflow; it gets that of the caller
        as_here = partial(np.seterr, **np.geterr())
        own = nullcontext(None) if workers == 1 else ThreadPoolExecutor(workers, initializer=as_here)
    return _stream(plan, task, samples, own, progress)


def _stream(
    plan: Iterator[Block], task: Task, samples: int, own: Any, progress: Progress | None
) -> Iterator[tuple[Block, Any]]:
    with own as executor:
        finished = 0
        results = ((b, b.run(task)) for b in plan) if executor is None else _submitted(plan, task, executor)
        for block, value in results:
            finished += block.count
            if progress is not None:
                progress(finished, samples)
            yield block, value


def _submitted(plan: Iterator[Block], task: Task, executor: Executor) -> Iterator[tuple[Block, Any]]:
    waiting: deque[tuple[Block, Future[Any]]] = deque()
    try:
        for block in plan:
            waiting.append((block, executor.submit(block.run, task)))
            if len(waiting) >= _IN_FLIGHT:
                first, future = waiting.popleft()
                yield first, future.result()
        while waiting:
            first, future = waiting.popleft()
            yield first, future.result()
    finally:
        for _, future in waiting:
            future.cancel()


def run_ensemble(
    task: Task,
    samples: int,
    block: int = 1 << 12,
    seed: Seed = 0,
    workers: int | Executor = 1,
    progress: Progress | None = None,
) -> Array:
    """All samples of an ensemble in one array, the first axis over the samples.

    Parameters
    ----------
    task : callable
        Called with the first sample's number, the number of samples and the block's generator; returns an array
        whose first axis has that number of entries.
    samples, block, seed, workers, progress
        As for :func:`stream_ensemble`.

    Examples
    --------
    >>> task = lambda first, count, rng: rng.standard_normal(count)
    >>> one, three = (run_ensemble(task, 10, block=4, seed=1, workers=w) for w in (1, 3))
    >>> bool(np.all(one == three))
    True
    """
    result: Array | None = None
    for piece, value in stream_ensemble(task, samples, block, seed, workers, progress):
        value = np.asarray(value)
        if value.shape[:1] != (piece.count,):
            raise ValueError(
                f"the task must return {piece.count} samples along the first axis, got shape {value.shape}"
            )
        if result is None:
            result = np.empty((samples, *value.shape[1:]), dtype=value.dtype)
        result[piece.first : piece.first + piece.count] = value
    assert result is not None  # there is at least one block
    return result
