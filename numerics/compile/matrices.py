r"""Random matrices of every law of the language, drawn with all their entries; each entry has mean 0 and variance 1 over the number of columns."""

from __future__ import annotations

from functools import lru_cache, singledispatch
from typing import Any

import numpy as np
import scipy  # scipy.stats, a quarter of the start, loads where it is first used
from numpy.typing import NDArray

from derivations.language.entries import Correlated, Gaussian, Independent, MatrixLaw, Orthogonal, triangular_root

Array = NDArray[np.float64]


@singledispatch
def draw_matrices(law: object, samples: int, rows: int, columns: int, rng: np.random.Generator) -> Array:
    """Independent matrices of a law, shape (samples, rows, columns)."""
    raise ValueError(f"no way is known to draw a matrix with the law {law}")


@draw_matrices.register
def _(law: Gaussian, samples: int, rows: int, columns: int, rng: np.random.Generator) -> Array:
    drawn: Array = rng.standard_normal((samples, rows, columns)) / np.sqrt(columns)
    return drawn


@draw_matrices.register
def _(law: Correlated, samples: int, rows: int, columns: int, rng: np.random.Generator) -> Array:
    drawn: Array = rng.standard_normal((samples, rows, columns)) / np.sqrt(columns)
    left, right = _roots(law)
    drawn = drawn if left is None else left @ drawn
    if right is None:
        return drawn
    # a filter's weights side by side, each with the covariance of what is read
    places: Array = drawn.reshape(samples, rows, -1, len(right)) @ right.T
    return places.reshape(samples, rows, columns)


@lru_cache(maxsize=32)
def _roots(law: Correlated) -> tuple[Array | None, Array | None]:
    _require_numbers(law, (law.rows, law.columns))
    found: list[Array | None] = []
    for covariance in (law.rows, law.columns):
        lower, pivots = triangular_root(covariance)
        root = np.array(lower.tolist(), dtype=float) * np.sqrt(np.array(pivots, dtype=float)) if pivots else None
        found.append(root)
    return found[0], found[1]


def _require_numbers(law: MatrixLaw, given: object) -> None:
    if law.symbols:
        names = ", ".join(sorted(map(str, law.symbols)))
        raise ValueError(f"expected numbers for the law of the entries, got {given}; substitute values for {names}")


@draw_matrices.register
def _(law: Orthogonal, samples: int, rows: int, columns: int, rng: np.random.Generator) -> Array:
    # the Q of a Gaussian matrix is Haar where the signs of R's diagonal are made positive
    long, short = max(rows, columns), min(rows, columns)
    q, r = np.linalg.qr(rng.standard_normal((samples, long, short)))
    q *= np.where(np.einsum("sii->si", r) < 0, -1.0, 1.0)[:, None, :]
    drawn: Array = q if rows == long else q.swapaxes(1, 2)
    return drawn * np.sqrt(long / columns)


@draw_matrices.register
def _(law: Independent, samples: int, rows: int, columns: int, rng: np.random.Generator) -> Array:
    shape = samples, rows, columns
    drawn: NDArray[Any]
    if law.name == "uniform":
        drawn = rng.uniform(-np.sqrt(3.0), np.sqrt(3.0), shape)
    elif law.name == "rademacher":
        drawn = 2.0 * rng.integers(0, 2, shape) - 1.0
    elif law.name == "laplace":
        drawn = rng.laplace(scale=np.sqrt(0.5), size=shape)
    elif law.name == "truncated_normal":
        cut = scipy.stats.truncnorm(-2.0, 2.0)
        drawn = cut.ppf(rng.random(shape)) / cut.std()
    else:
        points, weights = _points(law)
        drawn = rng.choice(points, size=shape, p=weights)
    scaled: Array = drawn / np.sqrt(columns)
    return scaled


@lru_cache(maxsize=32)
def _points(law: Independent) -> tuple[Array, Array]:
    """A law on few points with the given moments, by the orthogonal polynomials of these (Golub and Welsch).

    Raises
    ------
    ValueError
        If a moment is no number.
    """
    given = law.args[1]
    _require_numbers(law, given)
    known = [1.0, 0.0, 1.0, *map(float, given)]
    size = (len(known) + 1) // 2  # so many points have 2·size − 1 free moments
    if len(known) < 2 * size:
        known.append(0.0)  # the next odd one is free
    hankel = np.array([[known[i + j] for j in range(size)] for i in range(size)])
    while np.linalg.eigvalsh(hankel[:size, :size])[0] < 1e-10:  # a law on fewer points
        size -= 1
    shifted = np.array([[known[i + j + 1] for j in range(size)] for i in range(size)])
    root = np.linalg.cholesky(hankel[:size, :size])
    points, vectors = np.linalg.eigh(np.linalg.solve(root, np.linalg.solve(root, shifted).T))
    return points, vectors[0] ** 2 / np.sum(vectors[0] ** 2)
