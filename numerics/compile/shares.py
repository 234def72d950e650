r"""Shares of a softmax at many points, and weighted sums over these of what is made of the shares of two rows.

Points go last, so that every step runs along contiguous memory, and sums of products are matrix products: a form in two rows
needs no more of the points than the second moments of the shares.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def shares(differences: Array, mask: Array) -> Array:
    """Of scores less the last one's.

    Parameters
    ----------
    differences : array, shape (rows, p - 1, points)
    mask : array, shape (rows, p)

    Returns
    -------
    array, shape (rows, p, points)

    Examples
    --------
    >>> shares(np.zeros((1, 1, 1)), np.ones((1, 2))).ravel()
    array([0.5, 0.5])
    """
    rows, fewer, points = differences.shape
    found = np.empty((rows, fewer + 1, points))
    found[:, :-1], found[:, -1] = differences, 0.0
    for scores, seen in zip(found, mask > 0, strict=True):
        scores -= np.max(scores[seen], axis=0, initial=-np.inf)
    np.exp(np.minimum(found, 0.0, out=found), out=found)
    found *= mask[:, :, None]
    found /= found.sum(axis=1, keepdims=True)
    return found


def second_moments(one: Array, other: Array, weights: Array) -> Array:
    """Weighted sums of products of shares of two rows, shape (rows, p, rows, p)."""
    flat = (one * weights).reshape(-1, len(weights)), other.reshape(-1, len(weights))
    return (flat[0] @ flat[1].T).reshape(*one.shape[:2], *other.shape[:2])


def table(moments: Array, form: Array) -> Array:
    r"""Weighted sums of :math:`a_\alpha^\top M a_\gamma` for all pairs of rows, from the second moments of the shares."""
    found: Array = np.einsum("apcq,pq->ac", moments, form)
    return found


def table_of_slopes(one: Array, other: Array, weights: Array, moments: Array, form: Array, moved: Array) -> Array:
    r"""Of :math:`\mathrm{tr}(J_\alpha M J_\gamma T^\top)` with :math:`J = \mathrm{diag}(a) - aa^\top`."""
    left, right = [matrix.T @ one for matrix in (form, moved)], [matrix @ other for matrix in (form, moved)]
    found = table(moments, form * moved)
    found -= np.einsum("apcp->ac", second_moments(left[0] * left[1], other, weights))
    found -= np.einsum("apcp->ac", second_moments(one, right[0] * right[1], weights))
    for a, (first, second) in enumerate(zip(*left, strict=True)):
        for c, row in enumerate(other):
            found[a, c] += weights @ (np.sum(first * row, axis=0) * np.sum(second * row, axis=0))
    return found


def table_of_function(
    one: Array, other: Array, weights: Array, forms: tuple[Array, Array, Array], function: Callable[..., Array]
) -> Array:
    """Of a function of the forms of the first row, of both, and of the second, averages over the heads.

    Parameters
    ----------
    one, other : array, shape (heads, rows, p, points)
    """
    first, both, second = forms

    def average(left: Array, right: Array) -> Array:
        found: Array = np.sum(left * right, axis=-2).mean(axis=0)
        return found

    own, others = (average(matrix.T @ of, of) for matrix, of in ((first, one), (second, other)))
    moved = both.T @ one
    found = np.empty((one.shape[1], other.shape[1]))
    for a, c in np.ndindex(*found.shape):
        found[a, c] = np.sum(weights * function(own[a], average(moved[:, a], other[:, c]), others[c]))
    return found
