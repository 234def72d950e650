"""Factors of many small matrices at once, and the number of threads that linear algebra takes."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


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
    size = matrix.shape[-1]
    rest = np.moveaxis(matrix, (-2, -1), (0, 1)).copy()
    factor = np.zeros_like(rest)
    rounding = 4 * size * np.finfo(float).eps * np.einsum("jj...->j...", rest)
    for j in range(size):
        alive = rest[j, j] > rounding[j]
        inverse = np.where(alive, 1 / np.sqrt(np.where(alive, rest[j, j], 1.0)), 0.0)
        column = np.multiply(rest[j:, j], inverse, out=factor[j:, j])
        rest[j + 1 :, j + 1 :] -= column[1:, None] * column[None, 1:]
    return np.moveaxis(factor, (0, 1), (-2, -1))


def one_thread() -> AbstractContextManager[object]:
    """A context in which the linear algebra below NumPy runs in the calling thread, if threadpoolctl is there to say so.

    An integrator's combinations of stages are products of a tall matrix with a short vector: memory-bound, and the threads of
    a BLAS gain nothing on them, but wait for each other in busy loops where other work has the cores.
    """
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        return nullcontext()
    limits: AbstractContextManager[object] = threadpool_limits(1)
    return limits
