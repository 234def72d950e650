r"""How the matrices of a layer are drawn: every weight, or what they put out by its law given what they read.

The rows of a Gaussian matrix W being independent, what it makes of features f is, given these, i.i.d. over its rows:
:math:`N(0, G)` with :math:`G = \sigma_b^2 + \frac{\sigma_w^2}{k} f^\top f`. Applied once more to features g that depend on Wf, its rows given
Wf are still Gaussian: the triangular factor of the Gram matrix of (f, g) grows by the columns of g. So a layer costs
:math:`O(k m^2)` instead of :math:`O(k^2 m)`, and the law of the states is exactly the same. Matrices of other laws are drawn.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

import numpy as np

from derivations.language.entries import Gaussian
from numerics.compile.matrices import draw_matrices
from numerics.compile.programs import Apply, Array, MatrixNumbers
from numerics.linalg import SMALL, semidefinite_factor


class Drawing(ABC):
    """Interface: one way to draw the centred part of a matrix and of its biases, fresh for each sample."""

    name: str

    @abstractmethod
    def entries(self, numbers: MatrixNumbers, inputs: int) -> int:
        """Random numbers and working memory per sample and layer, which decide how many samples make a block."""

    @abstractmethod
    def __call__(self, numbers: MatrixNumbers, samples: int, rng: np.random.Generator) -> Apply:
        r"""The matrices of some samples, as a function that applies them.

        :math:`W_{ij} \sim N(0, \sigma_w^2/k)` and :math:`b_i \sim N(0, \sigma_b^2)`. The function takes features of shape
        (samples or 1, k, columns) and how much of b each column gets, and may be called as often as the layer applies the matrix.
        """


@dataclass(frozen=True)
class AllWeights(Drawing):
    """Every weight and bias is drawn: the network as it is defined, :math:`O(n^2)` numbers per layer."""

    name: str = "weights"

    def entries(self, numbers: MatrixNumbers, inputs: int) -> int:
        """The weight matrix."""
        return numbers.rows * max(numbers.columns, inputs)

    def __call__(self, numbers: MatrixNumbers, samples: int, rng: np.random.Generator) -> Apply:
        """Draw it now; all inputs and all applications share it."""
        return _Drawn(numbers, samples, rng)


class _Drawn:
    """Drawn matrices and biases, applied as often as the layer does."""

    def __init__(self, numbers: MatrixNumbers, samples: int, rng: np.random.Generator) -> None:
        self.weights = draw_matrices(numbers.law, samples, numbers.rows, numbers.columns, rng)
        self.size, biases = np.sqrt([numbers.variance, numbers.bias_variance])
        self.bias = biases * rng.standard_normal((samples, numbers.rows, 1)) if biases else None

    def __call__(self, features: Array, biased: Array | None = None) -> Array:
        out: Array = np.matmul(self.weights, features)
        out *= self.size
        if self.bias is not None:
            out += self.bias if biased is None else self.bias * biased
        return out

    def transposed(self, features: Array, biased: Array | None = None) -> Array:
        """By the transposes, which have no biases."""
        out: Array = np.matmul(self.weights.swapaxes(1, 2), features)
        out *= self.size
        return out


@dataclass(frozen=True)
class InLaw(Drawing):
    """The same law from as many numbers as come out, by their covariance given what is read.

    Parameters
    ----------
    precise : bool
        Whether the factor is made from the features themselves and not from their Gram matrix: columns that are nearly
        multiples of others keep the digits of what is not.
    forms : int
        How often a matrix is applied where the layer says once: to a state and to its tangent it is twice.
    """

    name: str = "conditional"
    precise: bool = False
    forms: int = 1

    def entries(self, numbers: MatrixNumbers, inputs: int) -> int:
        """What comes out, or what is read if this is more."""
        if numbers.whole or not isinstance(numbers.law, Gaussian):
            return AllWeights().entries(numbers, inputs)
        return max(numbers.rows, numbers.columns) * inputs

    def __call__(self, numbers: MatrixNumbers, samples: int, rng: np.random.Generator) -> Apply:
        """Draw nothing yet, but a matrix that is not Gaussian."""
        if numbers.whole or not isinstance(numbers.law, Gaussian):
            return AllWeights()(numbers, samples, rng)
        # of states alone, without tangents, the numbers are those of the layer: a copy a layer is a tenth of small blocks
        applied = numbers if self.forms == 1 else replace(numbers, applications=self.forms * numbers.applications)
        return _Conditional(applied, samples, rng, self.precise)


class _Conditional:
    """A matrix whose outputs are drawn given what it has been applied to before."""

    def __init__(self, numbers: MatrixNumbers, samples: int, rng: np.random.Generator, precise: bool) -> None:
        self.numbers, self.samples, self.rng, self.precise = numbers, samples, rng, precise
        self.read: list[tuple[Array, Array]] = []  # features and biased columns so far
        self.normals: list[Array] = []

    def __call__(self, features: Array, biased: Array | None = None) -> Array:
        numbers, columns = self.numbers, features.shape[2]
        if numbers.applications == 1:
            gram = None if self.precise else _gram(features)
            sizes = None if numbers.bias_variance else _sizes(features, gram)
            return self._drawn(features, biased, gram) if sizes is None else self._drawn(features / sizes, None) * sizes
        self.read.append((features, np.ones(columns) if biased is None else biased))
        known = sum(z.shape[2] for z in self.normals)
        self.normals.append(self.rng.standard_normal((self.samples, numbers.rows, columns)))
        before = np.concatenate([f for f, _ in self.read], axis=2)
        factor = self._factor(before, np.concatenate([b for _, b in self.read]))
        return np.matmul(np.concatenate(self.normals, axis=2), factor[:, known:].swapaxes(1, 2))

    def _drawn(self, features: Array, biased: Array | None, gram: Array | None = None) -> Array:
        factor, columns = self._factor(features, biased, gram), features.shape[2]
        if self.precise:  # column by column, each in one piece of memory
            planes = self.rng.standard_normal((columns, self.samples, self.numbers.rows))
            for j in reversed(range(columns)):
                planes[j] *= factor[:, j, j, None]
                for i in range(j):
                    planes[j] += factor[:, j, i, None] * planes[i]
            return np.moveaxis(planes, 0, 2)
        out = np.empty((self.samples, self.numbers.rows, columns))
        self.rng.standard_normal(out=out)
        if columns == 1:
            out *= factor
            return out
        return np.matmul(out, factor.swapaxes(1, 2))

    def _factor(self, features: Array, biased: Array | None, gram: Array | None = None) -> Array:
        r"""The triangular factor of G, shape (samples or 1, columns, columns); what is given of the columns' products is not made again."""
        variance, bias = self.numbers.variance, self.numbers.bias_variance
        scale = variance / self.numbers.columns
        if self.precise:
            rows = features * np.sqrt(scale)
            if bias:
                shared = np.sqrt(bias) * (np.ones(features.shape[2]) if biased is None else biased)
                rows = np.concatenate([rows, np.broadcast_to(shared, (len(rows), 1, len(shared)))], axis=1)
            return column_factor(rows)[1]
        products = (_gram(features) if gram is None else gram) * scale
        if features.shape[2] == 1:
            return np.asarray(np.sqrt(products + (bias if biased is None else bias * biased[:, None])))
        return semidefinite_factor(products + (bias if biased is None else bias * np.multiply.outer(biased, biased)))


def _gram(features: Array) -> Array:
    """Products of the columns, shape (samples or 1, columns, columns)."""
    if features.shape[2] == 1:
        return np.asarray(np.einsum("bkm,bkm->bm", features, features)[:, :, None])
    return np.asarray(np.matmul(features.swapaxes(1, 2), features))


def _sizes(features: Array, gram: Array | None) -> Array | None:
    """The columns' sizes, where squares of some would leave the range of numbers."""
    squares = np.einsum(
        "bkm,bkm->bm" if gram is None else "bmm->bm", *((features, features) if gram is None else (gram,))
    )
    if squares.min() > SMALL and squares.max() < 1 / SMALL:
        return None
    sizes = np.max(np.abs(features), axis=1, keepdims=True)
    outside = (sizes > 0) & np.isfinite(sizes) & ((sizes < SMALL**0.5) | (sizes > SMALL**-0.5))
    return np.where(outside, sizes, 1.0) if outside.any() else None


def column_factor(columns: Array) -> tuple[Array, Array]:
    r"""Orthogonal columns and the triangular :math:`\ell` with :math:`F^\top F = \ell\ell^\top`, column by column (modified Gram–Schmidt).

    What a column has besides the ones before it is a sum of squares of differences, and so keeps its digits however small it is;
    below the rounding error of the column it is 0.

    Parameters
    ----------
    columns : array, shape (samples, k, c)

    Returns
    -------
    array, shape (samples, k, c)
        Each of the length that stands on the diagonal of :math:`\ell`, or smaller than rounding where 0 does.
    array, shape (samples, c, c)

    Examples
    --------
    >>> _, factor = column_factor(np.array([[[1.0, 1.0], [0.0, 1e-12]]]))
    >>> factor[0].tolist()
    [[1.0, 0.0], [1.0, 1e-12]]
    """
    samples, _, count = columns.shape
    rest = np.moveaxis(columns, 2, 0).copy()  # a column's entries side by side
    factor = np.zeros((count, count, samples))
    for j in range(count):
        square = np.einsum("bk,bk->b", rest[j], rest[j])
        rounding = 4 * count * np.finfo(float).eps * np.sqrt(square + np.sum(factor[j, :j] ** 2, axis=0))
        alive = np.sqrt(square) > rounding
        factor[j, j] = np.where(alive, np.sqrt(square), 0.0)
        inverse = np.where(alive, 1 / np.where(alive, square, 1.0), 0.0)
        for i in range(j + 1, count):
            share = np.einsum("bk,bk->b", rest[j], rest[i]) * inverse
            factor[i, j] = share * factor[j, j]
            rest[i] -= share[:, None] * rest[j]
    return np.moveaxis(rest, 0, 2), np.moveaxis(factor, 2, 0)


#: The ways to draw a network; ``method`` takes the name of one.
DRAWINGS: tuple[Drawing, ...] = (InLaw(), AllWeights())
