"""Scores of attention at spread points: what their law is made of is spread once, so that means are smooth in what they depend on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
import scipy  # scipy.stats, a quarter of the start, loads where it is first used
from numpy.typing import NDArray
from scipy.special import gammaincinv, ndtri

from numerics.compile.turned_scores import contrast_of, covariance_of_turned, turned_differences, turned_dimension

Array = NDArray[np.float64]

_SHARES, _FEWEST, _MOST = 2**20, 2**12, 2**16
_NUMBERS = 2**23  # of neurons that are drawn one by one


def scores_at_points(
    rows: list[int],
    queries: Array,
    keys: Array,
    p: int,
    neurons: float,
    shift: int,
    means: Sequence[Array],
    angles: Array,
    heads: int,
) -> tuple[Callable[[slice], Array], Array]:
    """Differences of the scores of rows at some of the points, shape (heads, rows, p - 1, points), and the weights of all points."""
    c = len(queries)
    if len(angles) and np.isfinite(neurons):
        size = turned_dimension(heads, c, int(neurons))
        numbers = _numbers(int(np.clip(_NUMBERS // size, _FEWEST, _MOST)), size, shift)
        roots = (_root(queries), _root(keys)), means or (np.zeros(c), np.zeros(c))
        return (
            lambda block: turned_differences(numbers[block], *roots, angles, heads)[:, rows],
            np.full(len(numbers), 1 / len(numbers)),
        )
    if len(angles):
        points, weights = _points(heads, c * (p - 1), p, neurons, shift)
        own = _root(covariance_of_turned(queries, keys, angles)).reshape(c, p - 1, -1)[rows]
    else:
        points, weights = _points(heads * c, c // p * (p - 1), p, neurons, shift, bool(means))
        own = _factored(rows, queries, keys, p, means)
    drawn, flat = points.reshape(heads, -1, len(weights)), own.reshape(len(rows) * (p - 1), -1)
    return lambda block: (flat @ drawn[:, :, block]).reshape(heads, len(rows), p - 1, -1), weights


@lru_cache(maxsize=2)
def _numbers(count: int, dimension: int, shift: int) -> Array:
    """Normal numbers of all neurons of queries and keys at points."""
    return _normal(_spread(1 << (count.bit_length() - 1), dimension, shift))


def _factored(rows: list[int], queries: Array, keys: Array, p: int, means: Sequence[Array]) -> Array:
    """By what the entries of U enter the scores of rows: one product of matrices for all of them."""
    contrast = contrast_of(len(queries) // p, p)
    left, right = _root(queries)[rows], _root(contrast @ keys @ contrast.T)
    if means:
        left = np.column_stack([left, means[0][rows]])
        right = np.column_stack([right, contrast @ means[1]])
    own = [np.multiply.outer(right[r // p * (p - 1) :][: p - 1], left[k]) for k, r in enumerate(rows)]
    return np.array(own).swapaxes(2, 3)


def _root(matrix: Array) -> Array:
    """The symmetric root of a covariance."""
    sizes, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
    root: Array = (vectors * np.sqrt(np.maximum(sizes, 0.0))) @ vectors.T
    return root


@lru_cache(maxsize=16)
def _points(
    rows: int, columns: int, positions: int, neurons: float, shift: int, means: bool = False
) -> tuple[Array, Array]:
    """Entries of points U row by row, shape (rows * columns, points), and weights; with one more row and column for means."""
    if means:
        count = int(np.clip(_SHARES // ((rows + 1) * (columns + 1)), _FEWEST, _MOST))
        drawn = _with_means(1 << (count.bit_length() - 1), rows, columns, int(neurons), shift)
        return np.ascontiguousarray(drawn.reshape(len(drawn), -1).T), np.full(len(drawn), 1 / len(drawn))
    count = int(np.clip(_SHARES // (rows * columns), _FEWEST, _MOST))
    half = _drawn(1 << (count.bit_length() - 2), rows, columns, neurons, shift)
    both = np.concatenate([half, -half])  # odd moments are 0
    flat = both.reshape(len(both), -1)
    if 4 * flat.shape[1] < len(flat):  # and second moments are what they are
        flat = flat @ np.linalg.inv(np.linalg.cholesky(flat.T @ flat / len(flat))).T
    return np.ascontiguousarray(flat.T), np.full(len(flat), 1 / len(flat))


def _drawn(count: int, rows: int, columns: int, neurons: float, shift: int) -> Array:
    """U for some number of keys."""
    if np.isinf(neurons):
        return _normal(_spread(count, rows * columns, shift)).reshape(-1, rows, columns)
    return _of_keys(_spread(count, _dimension(rows, columns, int(neurons)), shift), rows, columns, int(neurons))


def _with_means(count: int, rows: int, columns: int, k: int, shift: int) -> Array:
    """U for k keys, and beside it what means meet: the first rows of g and h, and the root of k."""
    rest = _dimension(rows, columns, k - 1)
    uniform = _spread(count, rest + rows + columns, shift)
    first = _normal(uniform[:, rest:])
    g, h = first[:, :rows, None], first[:, None, rows:]
    found = np.empty((count, rows + 1, columns + 1))
    others = np.sqrt(k - 1) * _of_keys(uniform[:, :rest], rows, columns, k - 1) if k > 1 else 0.0
    found[:, :rows, :columns] = (g * h + others) / np.sqrt(k)
    found[:, :rows, columns:], found[:, rows:, :columns], found[:, rows, columns] = g, h, np.sqrt(k)
    return found


def _dimension(rows: int, columns: int, k: int) -> int:
    """How many numbers U is made of for k keys."""
    size = min(rows, columns)
    return k * (rows + columns) if k <= size else size * (size + 1) // 2 + rows * columns


def _of_keys(uniform: Array, rows: int, columns: int, k: int) -> Array:
    """U for k keys, of numbers in the unit cube."""
    count, size = len(uniform), min(rows, columns)
    if k <= size:
        numbers = _normal(uniform)
        g, h = numbers[:, : k * rows].reshape(-1, rows, k), numbers[:, k * rows :].reshape(-1, k, columns)
        found: Array = g @ h / np.sqrt(k)
        return found
    # Bartlett: a Gaussian g of k columns is a triangle times orthogonal rows
    below = size * (size - 1) // 2
    triangle = np.zeros((count, size, size))
    diagonal, lower = np.arange(size), np.tril_indices(size, -1)
    triangle[:, diagonal, diagonal] = np.sqrt(2 * gammaincinv((k - diagonal) / 2, uniform[:, :size]))
    triangle[(slice(None), *lower)] = _normal(uniform[:, size : size + below])
    normal = _normal(uniform[:, size + below :]).reshape(-1, rows, columns)
    found = triangle @ normal if rows <= columns else normal @ np.swapaxes(triangle, 1, 2)
    return found / np.sqrt(k)


def _spread(count: int, dimension: int, shift: int) -> Array:
    """Points in the unit cube; in many dimensions a Sobol sequence is no better than independent points."""
    rng = np.random.default_rng([shift, dimension])
    uniform: Array = (
        scipy.stats.qmc.Sobol(dimension, rng=rng).random(count) if dimension <= 1024 else rng.random((count, dimension))
    )
    return np.clip(uniform, 1e-16, 1 - 1e-16)


def _normal(uniform: Array) -> Array:
    normal: Array = ndtri(uniform)
    return normal
