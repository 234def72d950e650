r"""Whether the entries of a matrix look drawn independently and from one law, by comparison with the same entries in another order."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

#: A statistic further than this many of its own standard deviations over reordered entries is no chance.
SURE = 6.0
#: How many entries are looked at, all copies together, and in how many orders.
_ENTRIES = 128**2
_ORDERS = 32
#: Of fewer rows or columns, all copies together, nothing can be said: their sums of squares are far from Gaussian.
_FEWEST = 16


def _with_transpose(w: np.ndarray) -> float:
    k = min(w.shape)
    return float((np.triu(w[:k, :k], 1) * np.triu(w[:k, :k].T, 1)).sum())


def _products_of_rows(w: np.ndarray) -> float:
    products = w @ w.T
    return float((products**2).sum() - (np.diag(products) ** 2).sum())


def _sums(axis: int) -> Callable[[np.ndarray], float]:
    return lambda w: float((w.sum(axis) ** 2).sum())


def _lengths(axis: int) -> Callable[[np.ndarray], float]:
    return lambda w: float(((w**2).sum(axis) ** 2).sum())


#: From a matrix to a number, and what the matrix is where the number is too small or too large; rows of one length change a layer by the share of
#: one over the neurons read, and count as independent.
_STATISTICS: tuple[tuple[Callable[[np.ndarray], float], str, str], ...] = (
    (
        _with_transpose,
        "entries repeat those across the diagonal with the other sign",
        "entries repeat those across the diagonal",
    ),
    (_sums(1), "the mean of each row is taken off", "each row has a mean of its own"),
    (_sums(0), "the mean of each column is taken off", "each column has a mean of its own"),
    (_lengths(1), "", "each row has a variance of its own"),
    (_lengths(0), "", "each column has a variance of its own"),
    (
        _products_of_rows,
        'rows or columns are orthogonal; name the initialiser "orthogonal"',
        "rows repeat each other, as those of a low rank do",
    ),
)


def dependence(weights: Sequence[np.ndarray]) -> str | None:
    """Why entries cannot have been drawn independently from one law, or None if they can.

    Nothing is supposed of that law: each statistic is compared with its values for the same entries in random order. Small matrices show
    strong dependence only.

    Parameters
    ----------
    weights : sequence of array, shape (out, in)
        Copies drawn independently; at least one.
    """
    rng = np.random.default_rng(0)
    most = max(8, int(np.sqrt(_ENTRIES / len(weights))))
    corners = [np.asarray(w, dtype=float)[:most, :most] for w in weights[: _ENTRIES // most**2]]

    if len(corners) * min(corners[0].shape) < _FEWEST:
        return None

    def all_of(matrices: list[np.ndarray]) -> np.ndarray:
        return np.array([sum(f(w) for w in matrices) for f, _, _ in _STATISTICS])

    own = all_of(corners)
    mixed = np.array([all_of([rng.permutation(w.ravel()).reshape(w.shape) for w in corners]) for _ in range(_ORDERS)])
    error = mixed.std(axis=0, ddof=1) * np.sqrt(1 + 1 / _ORDERS)
    found = [
        (abs(score) / scale, large if score > 0 else small)
        for score, scale, (_, small, large) in zip(own - mixed.mean(axis=0), error, _STATISTICS, strict=True)
        if scale > 0
    ]
    sure = max((pair for pair in found if pair[1]), default=(0.0, ""))
    return f"{sure[1]} ({sure[0]:.0f} standard deviations from independent entries)" if sure[0] > SURE else None
