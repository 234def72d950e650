"""Factors of many small matrices at once, and the number of threads that linear algebra takes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
#: A sum of squares below has lost digits; above its inverse it may overflow.
SMALL = 1e-280
#: Matrices that are factored at a time: so many stay near the processor.
_TOGETHER = 8192
_EPSILON = np.finfo(float).eps
#: The largest matrices that are multiplied entry by entry, and from how many of them on.
_SMALL_SIZE, _MANY = 4, 64


def semidefinite_factor(matrix: Array) -> Array:
    r"""The lower triangular :math:`\ell` with :math:`\ell\ell^\top = G` for positive semi-definite G, many at once.

    Cholesky's recursion with one change: where a pivot vanishes the whole column of the remainder does too
    (:math:`G_{ij}^2 \le G_{ii} G_{jj}`), and the column of :math:`\ell` is 0. Equal inputs and dead activations make
    such G. A pivot counts as 0 at the rounding error of the subtraction that made it.

    Parameters
    ----------
    matrix : array, shape (..., m, m)

    Examples
    --------
    >>> semidefinite_factor(np.array([[4.0, 4.0], [4.0, 4.0]]))
    array([[2., 0.], [2., 0.]])
    """
    # the batch goes last, so that each of the m steps runs along contiguous memory
    last, batch = matrix.ndim - 1, range(matrix.ndim - 2)
    turned = matrix.transpose(last - 1, last, *batch)
    factor = np.zeros(turned.shape)
    if turned.ndim == 2:
        _factor(turned, factor)
    for first in range(0, turned.shape[2] if turned.ndim > 2 else 0, _TOGETHER):
        part = slice(first, first + _TOGETHER)
        _factor(turned[:, :, part], factor[:, :, part])
    return factor.transpose(*(axis + 2 for axis in batch), 0, 1)


def _factor(matrix: Array, factor: Array) -> None:
    """Fill the factor, which is 0, for matrices of shape (m, m, ...), column by column; only the lower triangle is read."""
    size = len(matrix)
    rounding = 4 * size * _EPSILON
    for j in range(size):
        column = factor[j:, j]
        column[...] = matrix[j:, j]
        for k in range(j):
            column -= factor[j:, k] * factor[j, k]
        pivot = column[0]
        alive = pivot > rounding * matrix[j, j]
        if np.all(alive):
            column *= 1 / np.sqrt(pivot)
        else:
            column *= np.where(alive, 1 / np.sqrt(np.where(alive, pivot, 1.0)), 0.0)


def factor_of_rank(matrix: Array, rank: int) -> Array:
    r"""The m × k factor :math:`\ell` for which :math:`\ell\ell^\top` is the nearest positive semi-definite matrix of rank k, many at once.

    Parameters
    ----------
    matrix : array, shape (..., m, m)
    rank : int
        k, at most m.

    Examples
    --------
    >>> factor = factor_of_rank(np.diag([4.0, 1.0, -1.0]), 1)
    >>> factor @ factor.T
    array([[4., 0., 0.],
           [0., 0., 0.],
           [0., 0., 0.]])
    """
    values, vectors = np.linalg.eigh(matrix)
    return np.asarray(vectors[..., -rank:] * np.sqrt(np.maximum(values[..., None, -rank:], 0.0)))


def times_transposed(left: Array, right: Array) -> Array:
    """Products of small matrices with the transposes of others, many at once: along the samples, where NumPy takes one after the other.

    Parameters
    ----------
    left, right : array, shape (samples, m, k)

    Examples
    --------
    >>> times_transposed(np.array([[[1.0, 2.0], [0.0, 1.0]]]), np.array([[[1.0, 1.0], [0.0, 3.0]]]))
    array([[[3., 6.],
            [1., 3.]]])
    """
    samples, size, inner = left.shape
    if size > _SMALL_SIZE or samples < _MANY:
        return left @ right.swapaxes(1, 2)
    one, other = np.moveaxis(left, 0, -1), np.moveaxis(right, 0, -1)
    product = np.empty((size, size, samples))
    for a in range(size):
        for b in range(size):
            np.multiply(one[a, 0], other[b, 0], out=product[a, b])
            for k in range(1, inner):
                product[a, b] += one[a, k] * other[b, k]
    return np.moveaxis(product, -1, 0)


def nearest_semidefinite(matrix: Array) -> Array:
    r"""The nearest positive semi-definite matrices, many at once: without their negative eigenvalues.

    Most of a batch has none: pivots of elimination are all positive there, which is seen at a tenth of the time of eigenvalues.

    Parameters
    ----------
    matrix : array, shape (samples, m, m)
        Symmetric, and finite.

    Examples
    --------
    >>> nearest_semidefinite(np.array([[[2.0, 1.0], [1.0, 2.0]], [[0.0, 1.0], [1.0, 0.0]]]))
    array([[[2. , 1. ],
            [1. , 2. ]],
    <BLANKLINE>
           [[0.5, 0.5],
            [0.5, 0.5]]])
    """
    rest = np.array(np.moveaxis(matrix, 0, -1))
    inside = np.ones(len(matrix), dtype=bool)
    with np.errstate(all="ignore"):  # behind a pivot that is not positive the rest is not looked at
        for j in range(len(rest)):
            inside &= rest[j, j] > 0
            rest[j + 1 :, j + 1 :] -= rest[j + 1 :, j, None] * (rest[j, j + 1 :] / rest[j, j])
    found = matrix.copy()
    values, vectors = np.linalg.eigh(matrix[~inside])
    found[~inside] = (vectors * np.maximum(values, 0.0)[:, None, :]) @ vectors.swapaxes(1, 2)
    return found


def one_thread() -> AbstractContextManager[object]:
    """A context in which the linear algebra below NumPy runs in the calling thread, if threadpoolctl is there to say so.

    An integrator's combinations of stages are products of a tall matrix with a short vector: memory-bound, and the threads of
    a BLAS gain nothing on them, but wait for each other in busy loops where other work has the cores.
    """
    return _limited()()


@cache
def _limited() -> Callable[[], AbstractContextManager[object]]:
    """The context, with the libraries looked up once: a search through all that the process has loaded takes 1.5 ms, a limit 0.01."""
    try:
        from threadpoolctl import ThreadpoolController
    except ImportError:
        return nullcontext
    import scipy.linalg  # noqa: F401 - SciPy brings a BLAS of its own, which is there only once this is loaded

    return partial(ThreadpoolController().limit, limits=1)


def triangle(covariance: Any, library: Any, root: Callable[[Any], Any]) -> Any:
    r"""Cholesky's :math:`\ell` with :math:`\ell\ell^\top = a`, written out for arrays of any library; a vanishing pivot gives a column of 0.

    Parameters
    ----------
    covariance : array, shape (..., d, d)
    library : module
        ``numpy``, ``jax.numpy`` or ``torch``: its ``where``, ``stack``, ``zeros_like`` and ``finfo``.
    root : callable
        The square root of what is not negative, with derivatives everywhere if they are wanted.

    Examples
    --------
    >>> triangle(np.array([[4.0, 2.0], [2.0, 1.0]]), np, np.sqrt)
    array([[2., 0.],
           [1., 0.]])
    """
    size = covariance.shape[-1]
    rest = [[covariance[..., a, b] for b in range(size)] for a in range(size)]
    zero = library.zeros_like(rest[0][0])
    tiny = float(library.finfo(covariance.dtype).eps) * 4 * size
    columns = []
    for j in range(size):
        alive = rest[j][j] > tiny * library.where(covariance[..., j, j] > 0, covariance[..., j, j], zero)
        pivot = root(library.where(alive, rest[j][j], zero))
        inverse = library.where(alive, 1 / library.where(alive, pivot, zero + 1), zero)
        columns.append([zero] * j + [rest[a][j] * inverse for a in range(j, size)])
        for a in range(j, size):
            for b in range(j + 1, a + 1):
                rest[a][b] = rest[a][b] - columns[j][a] * columns[j][b]
    return library.stack([library.stack(column, -1) for column in columns], -1)
