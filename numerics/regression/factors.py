"""Factors of a kernel matrix: Cholesky's for trained to the end, the eigenvectors for trained a while."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, cholesky, eigh

Array = NDArray[np.float64]


class JitterWarning(UserWarning):
    """A kernel matrix was not positive definite to rounding, and a multiple of the identity was added."""


@dataclass(frozen=True)
class Factor:
    """A Cholesky factor, and what had to be added to the diagonal to have one."""

    lower: Array
    jitter: float

    def solve(self, right: Array) -> Array:
        """The solution of a linear system."""
        result: Array = cho_solve((self.lower, True), right)
        return result


@dataclass(frozen=True)
class Flow:
    r"""The eigenvectors of a kernel :math:`\Theta` and the gains :math:`(1 - e^{-\tau\Theta})/\Theta`, finite where it is singular."""

    vectors: Array
    gains: Array
    jitter: float = 0.0

    @classmethod
    def of(cls, kernel: Array, training_time: float) -> Flow:
        """Diagonalise; eigenvalues that rounding made negative count as 0."""
        values, vectors = eigh(kernel)
        safe = np.where(values > 0, values, 1.0)
        return cls(vectors, np.where(values > 0, -np.expm1(-training_time * safe) / safe, training_time))

    def solve(self, right: Array) -> Array:
        """What a training time does instead of the solution of a linear system."""
        result: Array = self.vectors @ (self.gains[:, None] * (self.vectors.T @ right))
        return result


def factor(matrix: Array, what: str, steps: int = 6) -> Factor:
    """Cholesky's factor of a symmetric matrix, with the least of a few jitters that makes it positive definite.

    Jitter starts at 1e-14 of the mean diagonal and grows by a factor of 100; any at all is warned of.

    Raises
    ------
    ValueError
        If the matrix is not positive semi-definite beyond rounding.
    """
    scale = float(np.mean(np.diag(matrix)))
    for jitter in (0.0, *(scale * 1e-14 * 100.0**k for k in range(steps))):
        try:
            lower = cholesky(matrix + jitter * np.eye(len(matrix)), lower=True, check_finite=False)
        except np.linalg.LinAlgError:
            continue
        if jitter:
            warnings.warn(
                f"{what} is singular to rounding; {jitter:.1e} was added to its diagonal. "
                "Remove repeated inputs or set noise > 0",
                JitterWarning,
                stacklevel=3,
            )
        return Factor(lower, jitter)
    raise ValueError(
        f"{what} is not positive semi-definite: Cholesky fails even with {scale * 1e-14 * 100.0 ** (steps - 1):.1e} on the diagonal; "
        "check the inputs, or set noise > 0"
    )
