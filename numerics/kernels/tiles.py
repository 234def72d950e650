"""Matrices over pairs of inputs, tile by tile: bands of rows in threads here, or blocks of inputs on any executor."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from numerics.ensembles.memory import require_memory

Array = NDArray[np.float64]

_SIDE = 1000  # inputs in a block that is sent to an executor
_WAITING = 16  # blocks that are sent and not taken yet


def require_room(parts: int, height: int, width: int) -> None:
    """Refuse so many matrices where they do not fit.

    Raises
    ------
    MemoryError
        If there is none, with both sizes.
    """
    require_memory(
        parts * height * width,
        f"{parts} kernel{'s' * (parts > 1)} of {height} with {width} inputs take{'s' * (parts == 1)}",
        "give fewer inputs, rows and columns apart by other=, or fit a NystroemRegressor",
    )


def empty(parts: int, height: int, width: int) -> list[Array]:
    """Matrices to be filled."""
    return [np.empty((height, width)) for _ in range(parts)]


def in_bands(
    found: list[Array], split: int | None, step: int, workers: int, band: Callable[[slice, slice], Any]
) -> list[Array]:
    """Fill matrices, so many rows at a time; where rows and columns are the same inputs, what is left of the diagonal is mirrored.

    Parameters
    ----------
    split : int or None
        How many inputs are rows, where the rest are columns.
    band : callable
        From rows and columns to one array a matrix.
    """
    height = len(found[0])

    def fill(first: int) -> None:
        last = min(first + step, height)
        rows, columns = slice(first, last), slice(first if split is None else split, None)
        for matrix, values in zip(found, band(rows, columns), strict=True):
            if split is not None:
                matrix[rows] = values
                continue
            both = np.triu(values[:, : last - first])  # the band's rows with themselves, both halves alike
            values[:, : last - first] = both + np.triu(both, 1).T
            matrix[rows, first:], matrix[first:, rows] = values, values.T

    with ThreadPoolExecutor(workers) as threads:
        list((threads.map if workers > 1 else map)(fill, range(0, height, step)))
    return found


def on_executor(
    executor: Executor, block: Callable[..., Any], parts: int, rows: Array, columns: Array | None
) -> list[Array]:
    """Fill matrices by blocks of inputs that an executor runs, few at a time.

    Parameters
    ----------
    block : callable
        From rows, and columns or None for the rows themselves, to one array a matrix; an executor of processes pickles it.
    """
    others = rows if columns is None else columns
    found = empty(parts, len(rows), len(others))
    waiting: deque[tuple[slice, slice, Future[Any]]] = deque()

    def take() -> None:
        here, there, future = waiting.popleft()
        for matrix, values in zip(found, future.result(), strict=True):
            matrix[here, there] = values
            if columns is None:
                matrix[there, here] = values.T

    for i in range(0, len(rows), _SIDE):
        for j in range(i if columns is None else 0, len(others), _SIDE):
            here, there = slice(i, i + _SIDE), slice(j, j + _SIDE)
            itself = columns is None and i == j
            waiting.append((here, there, executor.submit(block, rows[here], None if itself else others[there])))
            if len(waiting) >= _WAITING:
                take()
    while waiting:
        take()
    return found
