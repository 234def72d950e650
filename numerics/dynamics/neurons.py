r"""The neurons of a layer of infinite width: independent copies of one random variable, known exactly or by samples.

Where all fields are linear in Gaussian numbers, a field is its coefficients in an orthonormal family of these, and the mean of a product is a
scalar product: nothing is sampled. Else a field is its values at independent neurons.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class Neurons(ABC):
    """Fields of one layer: arrays whose last axis is the coefficients or the neurons."""

    @abstractmethod
    def fresh(self) -> Array:
        """A standard Gaussian field, independent of all that were there."""

    @abstractmethod
    def aligned(self, field: Array) -> Array:
        """The field as long as the newest ones."""

    @abstractmethod
    def inner(self, one: Array, other: Array) -> Array:
        """Means of products, for each pair of rows."""

    @abstractmethod
    def sizes(self, rows: Array) -> Array:
        """Roots of the mean squares, row by row."""


class Coefficients(Neurons):
    """Linear functions of independent standard Gaussian numbers, by their coefficients."""

    def __init__(self) -> None:
        self.used, self.room = 0, 16

    def fresh(self) -> Array:
        """A number that no field has yet."""
        if self.used == self.room:
            self.room *= 2
        field = np.zeros(self.room)
        field[self.used] = 1.0
        self.used += 1
        return field

    def aligned(self, field: Array) -> Array:
        """With zeros for numbers that are newer than the field."""
        missing = self.room - field.shape[-1]
        return np.pad(field, [*[(0, 0)] * (field.ndim - 1), (0, missing)]) if missing else field

    def inner(self, one: Array, other: Array) -> Array:
        """Scalar products."""
        return np.asarray(self.aligned(one) @ self.aligned(other).T)

    def sizes(self, rows: Array) -> Array:
        """Lengths."""
        return np.sqrt((rows**2).sum(axis=1))


class Samples(Neurons):
    """Values at independent neurons."""

    def __init__(self, count: int, rng: np.random.Generator) -> None:
        self.count, self.rng = count, rng

    def fresh(self) -> Array:
        """One number a neuron."""
        return self.rng.standard_normal(self.count)

    def aligned(self, field: Array) -> Array:
        """All fields are equally long, and what has no neurons yet has room for them."""
        return field if field.shape[-1] else np.zeros((*field.shape[:-1], self.count))

    def inner(self, one: Array, other: Array) -> Array:
        """Averages over the neurons."""
        return np.asarray(one @ other.T / self.count)

    def sizes(self, rows: Array) -> Array:
        """Over the neurons."""
        return np.sqrt((rows**2).mean(axis=1))
