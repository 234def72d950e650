r"""Scores of queries and keys whose neurons are turned in pairs by their positions.

Infinitely many neurons make them Gaussian, with one covariance over all rows. Finitely many are drawn one by one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_LARGEST = 8192  # numbers of all neurons at one point


def contrast_of(inputs: int, p: int) -> Array:
    """Differences of an input's scores to the last one."""
    apart: Array = np.hstack([np.eye(p - 1), -np.ones((p - 1, 1))])
    return np.asarray(np.kron(np.eye(inputs), apart), dtype=float)


def covariance_of_turned(queries: Array, keys: Array, angles: Array) -> Array:
    """The covariance of all rows' differences of scores, each row with the keys of its own input."""
    c, p = len(queries), angles.shape[1]
    waves = np.exp(1j * np.repeat(angles[:, None, :], c // p, axis=1).reshape(len(angles), c))
    turn = np.einsum("fa,fc,fb,fd->abcd", waves, waves.conj(), waves[:, :p].conj(), waves[:, :p], optimize=True)
    blocks = keys.reshape(c // p, p, c // p, p).repeat(p, axis=0).repeat(p, axis=2)
    whole = queries[:, None, :, None] * blocks * turn.real / len(angles)
    contrast = contrast_of(1, p)
    return np.einsum("xb,abcd,yd->axcy", contrast, whole, contrast, optimize=True).reshape(c * (p - 1), -1)


def turn_of(angles: Array, a: int, c: int) -> Any:
    """By what turning multiplies the covariance of the scores of two positions with keys."""
    if not len(angles):
        return 1.0
    waves = np.exp(1j * angles)
    return np.einsum("f,fb,fd->bd", waves[:, a] * waves[:, c].conj(), waves.conj(), waves).real / len(angles)


def require_pairs(kinds: int, neurons: int) -> None:
    """Require as many pairs of each kind.

    Raises
    ------
    ValueError
        If neurons are no such pairs.
    """
    if neurons % (2 * kinds):
        raise ValueError(
            f"rotary positions turn pairs of {kinds} frequencies, as many of each, and queries and keys have {neurons} neurons here; give a "
            f"multiple of {2 * kinds}"
        )


def turned_dimension(heads: int, coordinates: int, neurons: int) -> int:
    """How many numbers are drawn for the queries and keys of some heads.

    Raises
    ------
    ValueError
        If they are more than can be drawn at thousands of points.
    """
    size = 2 * heads * coordinates * neurons
    if size > _LARGEST:
        raise ValueError(
            f"scores of {neurons} turned queries and keys at {coordinates} positions are drawn neuron by neuron, {size} numbers at a time, and "
            f"known are {_LARGEST}; give fewer keys, or infinitely many, width=oo"
        )
    return size


def turned_differences(
    numbers: Array, roots: Sequence[Array], means: Sequence[Array], angles: Array, heads: int
) -> Array:
    """Scores of each row with the keys of its own input, less that with the last one.

    Parameters
    ----------
    numbers : array, shape (points, 2 * heads * c * neurons)
        Standard normal.
    roots : two arrays, shape (c, c)
        Of the covariances of queries and keys.
    means : two arrays, shape (c,)
    angles : array, shape (F, p)
    heads : int

    Returns
    -------
    array, shape (heads, c, p - 1, points)

    Raises
    ------
    ValueError
        If neurons are not as many pairs of each kind.
    """
    c, (kinds, p) = len(roots[0]), angles.shape
    drawn = numbers.T.reshape(2, heads, c, -1, len(numbers))
    neurons = drawn.shape[3]
    require_pairs(kinds, neurons)
    theta = np.tile(angles, (neurons // (2 * kinds), c // p)).T[None, :, :, None]
    cosine, sine = np.cos(theta), np.sin(theta)
    sides = []
    for root, mean, own in zip(roots, means, drawn, strict=True):
        moved = np.einsum("ab,hbnk->hank", root, own) + np.asarray(mean)[:, None, None]
        first, second = np.split(moved, 2, axis=2)
        sides.append(np.concatenate([cosine * first - sine * second, sine * first + cosine * second], axis=2))
    queries, keys = (side.reshape(heads, c // p, p, neurons, -1) for side in sides)
    scores = np.einsum("hiank,hibnk->hiabk", queries, keys).reshape(heads, c, p, -1) / np.sqrt(neurons)
    found: Array = scores[:, :, :-1] - scores[:, :, -1:]
    return found
