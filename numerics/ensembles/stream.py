"""Independent samples in blocks, each with a seed of its own: the same result for any number of workers.

What a block holds depends on the seed and on its place, never on who computes it or when. Blocks come back in
order whatever the order in which they were finished.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future, ThreadPoolExecutor
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from itertools import islice
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import NDArray

from numerics.ensembles.checkpoint import Checkpoint, fingerprint
from numerics.ensembles.dask import workers_of

Array = NDArray[np.float64]
Seed = int | np.random.SeedSequence | np.random.Generator | None
Task = Callable[[int, int, np.random.Generator], Any]
Progress = Callable[[int, int], None]

_TRIES = 4  # of a block whose worker dies
_IN_FLIGHT = (
    64  # blocks submitted and not yet taken, or 4 for each worker, which bounds the memory of results that wait
)


@dataclass(frozen=True)
class Block:
    """Samples ``first`` … ``first + count - 1`` of an ensemble and the seed from which they are made."""

    first: int
    count: int
    seed: np.random.SeedSequence
    index: int = 0

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
    root = seed_sequence(seed)
    return (
        Block(first, min(block, samples - first), _child(root, index), index)
        for index, first in enumerate(range(0, samples, block))
    )


def seed_sequence(seed: Seed) -> np.random.SeedSequence:
    """What a user gave for a seed as the root of all streams.

    A whole number or a ``SeedSequence`` gives the same root whenever it is given; a ``Generator`` is asked for 128 bits, and moves
    on by them; None takes fresh entropy from the system.

    Raises
    ------
    ValueError
        For anything else, and for a negative number.

    Examples
    --------
    >>> seed_sequence(np.random.default_rng(1)).entropy == seed_sequence(np.random.default_rng(1)).entropy
    True
    """
    if isinstance(seed, np.random.SeedSequence):
        return seed
    if isinstance(seed, np.random.Generator):
        return np.random.SeedSequence(seed.integers(2**32, size=4, dtype=np.uint64).tolist())
    whole = seed is None or (isinstance(seed, int | np.integer) and not isinstance(seed, bool) and seed >= 0)
    if not whole:
        raise ValueError(f"seed must be a whole number ≥ 0, a SeedSequence, a Generator or None, got {seed!r}")
    return np.random.SeedSequence(None if seed is None else int(seed))


def _child(root: np.random.SeedSequence, index: int) -> np.random.SeedSequence:
    return np.random.SeedSequence(root.entropy, spawn_key=(*root.spawn_key, index), pool_size=root.pool_size)


def stream_ensemble(
    task: Task,
    samples: int,
    block: int,
    seed: Seed = 0,
    workers: int | Executor = 1,
    progress: Progress | None = None,
    checkpoint: str | PathLike[str] | Checkpoint | None = None,
    skip: int = 0,
) -> Iterator[tuple[Block, Any]]:
    """Compute an ensemble block by block, in order, holding only a bounded number of results at a time.

    Parameters
    ----------
    task : callable
        Called with the first sample's number, the number of samples, and the block's generator. For executors of
        processes it must pickle.
    samples, block : int
        How many in all, and in one block; the result depends on both.
    seed : int, SeedSequence, Generator or None
        As :func:`seed_sequence` reads it.
    workers : int or Executor
        Threads to use (1 computes here and now), or any ``concurrent.futures.Executor``, which stays open. A block whose
        worker dies is computed again, up to three times.
    progress : callable, optional
        Called after each block with the numbers of finished and of all samples.
    checkpoint : path, optional
        A directory in which each block is kept as soon as it is finished, and found again by the same ensemble; blocks
        must then be arrays, or dictionaries of arrays.
    skip : int
        Blocks at the beginning that are not wanted.

    Yields
    ------
    tuple of Block and the task's value
    """
    # what can be given again stays as it is, so that a checkpoint knows it
    seed = seed if isinstance(seed, int) else seed_sequence(seed)
    plan = blocks(samples, block, seed)
    if isinstance(workers, Executor):
        own: Any = nullcontext(workers)
    elif isinstance(workers, bool) or not isinstance(workers, int | np.integer) or workers < 1:
        raise ValueError(f"workers must be a positive whole number or an Executor, got {workers!r}")
    else:
        # a thread starts with NumPy's own handling of overflow; it gets that of the caller
        as_here = partial(np.seterr, **np.geterr())
        own = nullcontext(None) if workers == 1 else ThreadPoolExecutor(workers, initializer=as_here)
    kept = opened(checkpoint, task, samples, block, seed)
    return _stream(islice(plan, skip, None), task, samples, own, progress, kept, skip * block)


def opened(
    checkpoint: str | PathLike[str] | Checkpoint | None, task: Task, samples: int, block: int, seed: Seed
) -> Checkpoint | None:
    """The checkpoint directory of one ensemble, which refuses another's."""
    if checkpoint is None or isinstance(checkpoint, Checkpoint):
        return checkpoint
    return Checkpoint(checkpoint, fingerprint(task=task, samples=samples, block=block, seed=seed))


def _stream(
    plan: Iterator[Block],
    task: Task,
    samples: int,
    own: Any,
    progress: Progress | None,
    kept: Checkpoint | None,
    finished: int,
) -> Iterator[tuple[Block, Any]]:
    with own as executor:
        results = _here(plan, task, kept) if executor is None else _submitted(plan, task, executor, kept)
        for block, value in results:
            finished += block.count
            if progress is not None:
                progress(finished, samples)
            yield block, value


def _here(plan: Iterator[Block], task: Task, kept: Checkpoint | None) -> Iterator[tuple[Block, Any]]:
    for block in plan:
        if kept is None:
            yield block, block.run(task)
            continue
        if not kept.has(block.index):
            kept.save(block.index, block.run(task))
        yield block, kept.load(block.index)


def _submitted(
    plan: Iterator[Block], task: Task, executor: Executor, kept: Checkpoint | None
) -> Iterator[tuple[Block, Any]]:
    waiting: deque[tuple[Block, Future[Any] | None]] = deque()

    def submit(block: Block) -> Future[Any]:
        future = executor.submit(block.run, task)
        if kept is not None:  # as soon as it is there, whatever its turn is
            future.add_done_callback(lambda done: _keep(kept, block, done))
        return future

    def result(block: Block, future: Future[Any] | None) -> Any:
        for attempt in range(1, _TRIES + 1):
            if future is None:
                break
            try:
                value = future.result()
            except Exception as error:
                if not _worker_died(error) or attempt == _TRIES:
                    raise
                future = submit(block)
                continue
            if kept is None:
                return value
            kept.save(block.index, value)  # the callback may have failed, or not have run yet
            break
        assert kept is not None
        return kept.load(block.index)

    most = _IN_FLIGHT
    try:
        for block in plan:
            if block.index % _IN_FLIGHT == 0:  # a cluster may have grown
                most = max(_IN_FLIGHT, 4 * workers_of(executor))
            done = kept is not None and kept.has(block.index)
            waiting.append((block, None if done else submit(block)))
            if len(waiting) >= most:
                first, future = waiting.popleft()
                yield first, result(first, future)
        while waiting:
            first, future = waiting.popleft()
            yield first, result(first, future)
    finally:
        for _, future in waiting:
            if future is not None:
                future.cancel()


def _keep(kept: Checkpoint, block: Block, future: Future[Any]) -> None:
    if not future.cancelled() and future.exception() is None:
        with suppress(OSError):  # said when its turn comes
            kept.save(block.index, future.result())


def _worker_died(error: Exception) -> bool:
    """Whether a result is missing because who computed it is gone, rather than because the task is wrong."""
    # Dask's own errors, by name: it need not be installed
    lost = {"KilledWorker", "CommClosedError", "FutureCancelledError"}
    return isinstance(error, BrokenExecutor | CancelledError) or type(error).__name__ in lost


def of_samples(value: Any, count: int) -> Array:
    """What a task returned, as an array whose first axis is over its samples."""
    values = np.asarray(value)
    if values.shape[:1] != (count,):
        raise ValueError(f"the task must return {count} samples along the first axis, got shape {values.shape}")
    return values


def run_ensemble(
    task: Task,
    samples: int,
    block: int = 1 << 12,
    seed: Seed = 0,
    workers: int | Executor = 1,
    progress: Progress | None = None,
    checkpoint: str | PathLike[str] | None = None,
) -> Array:
    """All samples of an ensemble in one array, the first axis over the samples.

    Parameters
    ----------
    task : callable
        Called with the first sample's number, the number of samples and the block's generator; returns an array
        whose first axis has that number of entries.
    samples, block, seed, workers, progress, checkpoint
        As for :func:`stream_ensemble`.

    Examples
    --------
    >>> task = lambda first, count, rng: rng.standard_normal(count)
    >>> one, three = (run_ensemble(task, 10, block=4, seed=1, workers=w) for w in (1, 3))
    >>> bool(np.all(one == three))
    True
    """
    result: Array | None = None
    for piece, value in stream_ensemble(task, samples, block, seed, workers, progress, checkpoint):
        value = of_samples(value, piece.count)
        if result is None:
            result = np.empty((samples, *value.shape[1:]), dtype=value.dtype)
        result[piece.first : piece.first + piece.count] = value
    assert result is not None  # there is at least one block
    return result
