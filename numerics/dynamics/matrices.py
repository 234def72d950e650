r"""A Gaussian matrix between layers of infinite width: drawn between sampled neurons, else known by what it has been applied to.

Given :math:`W e_j` and :math:`W^\top f_i` for orthonormal :math:`e_j` and :math:`f_i`, what W makes of a further vector e, orthogonal to the
:math:`e_j`, is a fresh Gaussian vector, but for its components along the :math:`f_i`: these are
:math:`\langle f_i, W e\rangle = \langle W^\top f_i, e\rangle`. So neither W nor derivatives are needed: the components are what
the response functions say. Gradient descent adds :math:`\sum_{ij} f_i C_{ij} e_j^\top`.

Vectors that a matrix has met are kept by coordinates whose scalar products are means over neurons.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from numerics.dynamics.neurons import Neurons, Samples

Array = NDArray[np.float64]
#: What is smaller than this, relative to the vector, is no further direction.
_SMALL = 1e-10


@dataclass
class Rows:
    """Fields of the same neurons; more are added one by one."""

    neurons: Neurons
    count: int = 0
    _kept: Array = field(default_factory=lambda: np.zeros((4, 0)))

    @property
    def array(self) -> Array:
        """All, shape (count, neurons)."""
        self._kept = self.neurons.aligned(self._kept)
        return self._kept[: self.count]

    def add(self, row: Array) -> None:
        """One more."""
        kept = self.neurons.aligned(self._kept)
        if self.count == len(kept):
            kept = np.concatenate([kept, np.zeros_like(kept)])
        kept[self.count] = self.neurons.aligned(row)
        self._kept, self.count = kept, self.count + 1


class Side:
    """One side of a matrix: an orthonormal family of the vectors that it met there, and what it made of each.

    Parameters
    ----------
    neurons, other : Neurons
        On this side and on the other one.
    variance : float
        Of an entry of what it makes of a vector whose mean square is 1.
    """

    def __init__(self, neurons: Neurons, other: Neurons, variance: float) -> None:
        self.neurons, self.variance = neurons, variance
        self.vectors, self.images = Rows(neurons), Rows(other)

    def meet(self, rows: Array, opposite: Side) -> Array:
        """Coordinates of vectors, shape (m, k); the family grows by what is new in them."""
        inner, found, rest = self.neurons.inner, np.zeros((len(rows), self.vectors.count)), rows
        small, first = _SMALL * self.neurons.sizes(rows), self.vectors.count
        for _ in range(2):  # the second time for rounding
            more = inner(rest, self.vectors.array)
            rest, found = self.neurons.aligned(rest) - more @ self.vectors.array, found + more
        for k in np.flatnonzero(self.neurons.sizes(rest) > small):
            row, own = self.neurons.aligned(rest[k : k + 1]), np.zeros((1, self.vectors.count - first))
            for _ in range(2):
                more = inner(row, self.vectors.array[first:])
                row, own = row - more @ self.vectors.array[first:], own + more
            size = self.neurons.sizes(row)
            if size[0] > small[k]:
                self._add(row[0] / size[0], opposite)
                own = np.append(own, [size], axis=1)
            found = padded(found, (len(rows), self.vectors.count))
            found[k, first:] = own
        return found

    def _add(self, vector: Array, opposite: Side) -> None:
        image = np.sqrt(self.variance) * opposite.neurons.fresh()
        along = self.neurons.inner(opposite.images.array, vector[None])[:, 0] * (self.variance / opposite.variance)
        there = opposite.vectors.array
        self.images.add(image + (along - opposite.neurons.inner(there, image[None])[:, 0]) @ there)
        self.vectors.add(vector)


class KnownMatrix:
    r"""A matrix with entries of variance :math:`\sigma^2/k` at the start, k the neurons that it reads.

    Parameters
    ----------
    source, target : Neurons
    deviation : float
        :math:`\sigma`.
    ratio : float
        How many times as many neurons it puts out as it reads.
    """

    def __init__(self, source: Neurons, target: Neurons, deviation: float, ratio: float) -> None:
        self.read, self.put_out = Side(source, target, 1.0), Side(target, source, ratio)
        self.deviation, self.ratio, self._learned, self._moving = deviation, ratio, np.zeros((0, 0)), np.zeros((0, 0))

    @property
    def shape(self) -> tuple[int, int]:
        """How many directions it has met of what it puts out, and of what it reads."""
        return self.put_out.vectors.count, self.read.vectors.count

    @property
    def learned(self) -> Array:
        """What descent has added, in these directions and over the deviation."""
        self._learned = padded(self._learned, self.shape)
        return self._learned

    def apply(self, rows: Array) -> tuple[Array, Array]:
        """What it makes of fields of the neurons that it reads, and their coordinates."""
        c = self.read.meet(rows, self.put_out)
        return self.deviation * (c @ self.read.images.array + c @ self.learned.T @ self.put_out.vectors.array), c

    def transposed(self, rows: Array) -> tuple[Array, Array]:
        """What its transpose makes of fields of the neurons that it puts out, and their coordinates."""
        c = self.put_out.meet(rows, self.read)
        learned = self.ratio * c @ self.learned @ self.read.vectors.array
        return self.deviation * (c @ self.put_out.images.array + learned), c

    def learn(self, left: Array, right: Array, momentum: float = 0.0) -> None:
        """Add outer products, given by coordinates, in units of the deviation: rows of what it puts out, times rows of what it reads.

        With so much of the last change, for momentum.
        """
        left, right = (padded(a, (len(a), k)) for a, k in zip((left, right), self.shape, strict=True))
        self._moving = momentum * padded(self._moving, self.shape) + self.deviation * left.T @ right
        self._learned = self.learned + self._moving


class DrawnMatrix:
    r"""The same between sampled neurons, entry by entry.

    Parameters
    ----------
    source, target : Samples
    deviation : float
        :math:`\sigma`.
    """

    def __init__(self, source: Samples, target: Samples, deviation: float) -> None:
        self.deviation, self.source, self.target = deviation, source.count, target.count
        self.entries = source.rng.standard_normal((target.count, source.count))
        self.entries *= deviation / np.sqrt(source.count)
        self._moving: Array | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Of the entries."""
        return self.target, self.source

    def apply(self, rows: Array) -> tuple[Array, Array]:
        """What it makes of fields of the neurons that it reads, and their coordinates."""
        return rows @ self.entries.T, rows / np.sqrt(self.source)

    def transposed(self, rows: Array) -> tuple[Array, Array]:
        """What its transpose makes of fields of the neurons that it puts out, and their coordinates."""
        return rows @ self.entries, rows / np.sqrt(self.target)

    def learn(self, left: Array, right: Array, momentum: float = 0.0) -> None:
        """Add outer products, given by coordinates, in units of the deviation, and so much of the last change."""
        change = self.deviation**2 * np.sqrt(self.target / self.source) * left.T @ right
        if momentum:
            change += 0.0 if self._moving is None else momentum * self._moving
            self._moving = change
        self.entries += change


def matrix_between(source: Neurons, target: Neurons, deviation: float, ratio: float) -> KnownMatrix | DrawnMatrix:
    """A matrix as its neurons allow."""
    if isinstance(source, Samples) and isinstance(target, Samples):
        return DrawnMatrix(source, target, deviation)
    return KnownMatrix(source, target, deviation, ratio)


def padded(array: Array, shape: tuple[int, ...]) -> Array:
    """With zeros at the ends of its axes."""
    return np.pad(array, [(0, new - old) for new, old in zip(shape, array.shape, strict=True)])
