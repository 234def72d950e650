r"""What is kept of an ensemble too large to hold: reductions, block by block, in memory that does not grow.

A block is reduced where it is computed; only its small part travels. Parts are joined in the blocks' order, so that the
result does not depend on who computed them or when.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from derivations.errors import shown
from numerics import given

Array = NDArray[Any]
Part = dict[str, Array]


class Reduction(ABC):
    """Interface: one way to condense samples, whose first axis runs over them."""

    @abstractmethod
    def part(self, values: Array) -> Part:
        """What one block contributes, as arrays by name."""

    @abstractmethod
    def join(self, first: Part, second: Part) -> Part:
        """The parts of two groups of samples as the part of both."""

    @abstractmethod
    def result(self, part: Part) -> Any:
        """What the user gets."""


def reductions_of(asked: object) -> tuple[Reduction, ...]:
    """One reduction or several, as a tuple.

    Raises
    ------
    ValueError
        If it is none.
    """
    several = tuple(asked) if isinstance(asked, list | tuple) else (asked,)
    if not several or not all(isinstance(r, Reduction) for r in several):
        raise ValueError(f"expected reductions such as Moments(), got {shown(asked)}")
    return cast("tuple[Reduction, ...]", several)


@dataclass(frozen=True)
class Summary:
    """Count, mean, variance, extremes, and the standard error of the mean, each of the shape of one sample."""

    count: int
    mean: Array
    variance: Array
    least: Array
    greatest: Array

    @property
    def error(self) -> Array:
        """One standard deviation of the mean."""
        return np.sqrt(self.variance / self.count)


@dataclass(frozen=True)
class Moments(Reduction):
    r"""Mean and variance, joined without loss of digits.

    For groups of sizes n, m with means a, b: the mean moves by :math:`\delta m/(n + m)`, :math:`\delta = b - a`, and the squares by
    :math:`\delta^2 nm/(n + m)` (Chan, Golub and LeVeque). Running values carry the rounding errors of their sums beside them
    (Knuth's two-sum), so that 10⁹ samples are added as exactly as two.
    """

    def part(self, values: Array) -> Part:
        """About the block's own mean."""
        values = np.asarray(values, dtype=float)
        mean = values.mean(axis=0)
        squares = ((values - mean) ** 2).sum(axis=0)
        zero = np.zeros_like(mean)
        return {
            "count": np.array(len(values)),
            "mean": mean,
            "mean_rest": zero,
            "squares": squares,
            "squares_rest": zero,
            "least": values.min(axis=0),
            "greatest": values.max(axis=0),
        }

    def join(self, first: Part, second: Part) -> Part:
        """By the rule above."""
        n, m = int(first["count"]), int(second["count"])
        delta = (second["mean"] - first["mean"]) + (second["mean_rest"] - first["mean_rest"])
        mean, mean_rest = _two_sum(first["mean"], delta * (m / (n + m)))
        mean, mean_rest = _two_sum(mean, mean_rest + first["mean_rest"])
        squares, lost = _two_sum(first["squares"], second["squares"])
        squares, more = _two_sum(squares, delta**2 * (n * m / (n + m)))
        squares, rest = _two_sum(squares, lost + more + first["squares_rest"] + second["squares_rest"])
        return {
            "count": np.array(n + m),
            "mean": mean,
            "mean_rest": mean_rest,
            "squares": squares,
            "squares_rest": rest,
            "least": np.minimum(first["least"], second["least"]),
            "greatest": np.maximum(first["greatest"], second["greatest"]),
        }

    def result(self, part: Part) -> Summary:
        """The summary."""
        count = int(part["count"])
        return Summary(count, part["mean"], part["squares"] / max(1, count - 1), part["least"], part["greatest"])


def _two_sum(a: Array, b: Array) -> tuple[Array, Array]:
    """The rounded sum and what rounding lost, exactly (Knuth)."""
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


@dataclass(frozen=True)
class Gram(Reduction):
    r"""The mean Gram matrix :math:`\frac1n\sum_i x_i x_i^\top` of samples of shape (n, m), with its variance over samples."""

    def part(self, values: Array) -> Part:
        """Gram matrices of a block, and their moments."""
        return Moments().part(np.swapaxes(values, -1, -2) @ values / values.shape[-2])

    def join(self, first: Part, second: Part) -> Part:
        """As moments."""
        return Moments().join(first, second)

    def result(self, part: Part) -> Summary:
        """The summary, of shape (m, m)."""
        return Moments().result(part)


@dataclass(frozen=True)
class Histogram(Reduction):
    """Counts between given edges, for each coordinate, with those below the first and from the last on at the ends.

    Parameters
    ----------
    edges : sequence of float
        Increasing.
    """

    edges: tuple[float, ...]

    def __init__(self, edges: ArrayLike | Sequence[float]) -> None:
        values = np.asarray(edges, dtype=float)
        if values.ndim != 1 or len(values) < 2 or not np.all(np.diff(values) > 0):
            raise ValueError(f"edges must be at least two increasing numbers, got {edges!r}")
        object.__setattr__(self, "edges", tuple(map(float, values)))

    def part(self, values: Array) -> Part:
        """Counts of shape (coordinates, len(edges) + 1)."""
        flat = np.asarray(values, dtype=float).reshape(len(values), -1)
        cells = np.searchsorted(self.edges, flat, side="right")
        size = len(self.edges) + 1
        offsets = cells + size * np.arange(flat.shape[1])
        return {"counts": np.bincount(offsets.ravel(), minlength=size * flat.shape[1]).reshape(-1, size)}

    def join(self, first: Part, second: Part) -> Part:
        """Sums of whole numbers: exact."""
        return {"counts": first["counts"] + second["counts"]}

    def result(self, part: Part) -> Array:
        """The counts."""
        return part["counts"]


@dataclass(frozen=True)
class Quantiles(Reduction):
    r"""Quantiles of each coordinate to a relative accuracy, from counts in cells that grow geometrically.

    A value v with :math:`\gamma^{k-1} < |v| \le \gamma^k`, :math:`\gamma = (1 + \alpha)/(1 - \alpha)`, is counted in cell k, and
    :math:`2\gamma^k/(1 + \gamma)` is within :math:`\alpha|v|` of all of them. Counts add up exactly in any order, which randomised
    sketches do not; the cells are those of DDSketch (Masson, Rim and Lee 2019), filled a block at a time.

    Parameters
    ----------
    accuracy : float
        :math:`\alpha`.
    """

    accuracy: float = 1e-3

    def __post_init__(self) -> None:
        if not given.number.holds(self.accuracy) or not 1e-6 <= self.accuracy < 1:
            raise ValueError(f"accuracy must lie between 1e-6 and 1, got {self.accuracy!r}")

    @property
    def _log_ratio(self) -> float:
        return float(np.log1p(2 * self.accuracy / (1 - self.accuracy)))

    def part(self, values: Array) -> Part:
        """Cells in increasing order of their values, with counts, one coordinate after the other."""
        flat = np.asarray(values, dtype=float).reshape(len(values), -1)
        if not np.all(np.isfinite(flat)):
            raise ValueError("quantiles need finite samples")
        with np.errstate(divide="ignore"):
            k = np.ceil(np.log(np.abs(flat)) / self._log_ratio)
        shift = int(np.ceil(800 / self._log_ratio))  # beyond the smallest number
        cells = np.where(flat == 0, 0, np.sign(flat) * (np.where(np.isfinite(k), k, 0) + shift)).astype(np.int64)
        found = [np.unique(column, return_counts=True) for column in cells.T]
        return _ragged(found)

    def join(self, first: Part, second: Part) -> Part:
        """Equal cells add up."""
        joined = []
        for (a, n), (b, m) in zip(_rows(first), _rows(second), strict=True):
            cells, place = np.unique(np.concatenate([a, b]), return_inverse=True)
            counts = np.bincount(place, weights=None, minlength=len(cells)) * 0
            np.add.at(counts, place, np.concatenate([n, m]))
            joined.append((cells, counts))
        return _ragged(joined)

    def result(self, part: Part) -> Sketch:
        """A function of probabilities."""
        return Sketch(self.accuracy, tuple(_rows(part)))


@dataclass(frozen=True)
class Sketch:
    """Counts by geometric cells; called with probabilities it gives quantiles, shape (len(q), coordinates)."""

    accuracy: float
    rows: tuple[tuple[Array, Array], ...]

    def __call__(self, q: ArrayLike) -> Array:
        """Quantiles, each within the accuracy of a sample of its rank."""
        log_ratio = float(np.log1p(2 * self.accuracy / (1 - self.accuracy)))
        shift = int(np.ceil(800 / log_ratio))
        columns = []
        for cells, counts in self.rows:
            total = np.cumsum(counts)
            rank = np.asarray(q, dtype=float) * (total[-1] - 1)
            cell = cells[np.searchsorted(total, np.floor(rank), side="right")]
            size = np.exp((np.abs(cell) - shift) * log_ratio) * (2 / (1 + np.exp(log_ratio)))
            columns.append(np.where(cell == 0, 0.0, np.sign(cell) * size))
        return np.stack(columns, axis=-1)


def _ragged(rows: Sequence[tuple[Array, Array]]) -> Part:
    """Rows of different lengths as three arrays."""
    return {
        "cells": np.concatenate([cells for cells, _ in rows]),
        "counts": np.concatenate([counts for _, counts in rows]),
        "lengths": np.array([len(cells) for cells, _ in rows]),
    }


def _rows(part: Part) -> list[tuple[Array, Array]]:
    cuts = np.cumsum(part["lengths"])[:-1]
    return list(zip(np.split(part["cells"], cuts), np.split(part["counts"], cuts), strict=True))
