r"""Gram matrices of networks and the angles between inputs: of the states, or as their mean given the layer before."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from numerics.compile.conditional_rows import conditional_rows
from numerics.compile.differences import Differences, Pair
from numerics.compile.programs import PLAIN, Array
from numerics.networks.drawings import Drawing, InLaw
from numerics.networks.initial import Start
from numerics.networks.observables import Carried, Observable, States, block_of, gram


@dataclass(frozen=True)
class Gram(States):
    r"""The Gram matrix of the coordinates, :math:`X^\top X/n`."""

    def value(self, carried: Carried) -> Array:
        """Shape (samples, coordinates, coordinates)."""
        return gram(carried.x / np.sqrt(carried.x.shape[1]))


@dataclass(frozen=True)
class ConditionalGram(States):
    r"""The mean of :math:`X^\top X/n` given the layer before, where what comes out of one matrix is the new state."""

    looks_back = 1

    def start(
        self, start: Start, first: int, count: int, width: int, drawing: Drawing, rng: np.random.Generator
    ) -> Carried:
        """With the rows of its mean."""
        made = super().start(start, first, count, width, drawing, rng)
        made.product = block_of(start.rows_of_covariance(width), first, count)
        return made

    def value(self, carried: Carried) -> Array:
        """Shape (samples, coordinates, coordinates)."""
        if carried.layer is None:
            assert carried.product is not None
            return gram(carried.product)
        return gram(conditional_rows(carried.layer, carried.values, carried.size, PLAIN))


@dataclass(frozen=True)
class Gap(Observable):
    r""":math:`1 - \rho` of each pair of inputs, carried as differences from the first."""

    conditional: bool = False
    explodes = False

    def __post_init__(self) -> None:
        if self.inputs < 2:
            raise ValueError(f"a gap is between inputs, got inputs={self.inputs}; set inputs=2 in the architecture")

    @property
    def rules(self) -> Differences:
        """Differences from the first input."""
        return Differences(self.inputs, self.positions)

    def drawing(self, drawing: Drawing) -> Drawing:
        """In law by factors that keep the digits of small differences."""
        return replace(drawing, precise=True) if isinstance(drawing, InLaw) else drawing

    def start(
        self, start: Start, first: int, count: int, width: int, drawing: Drawing, rng: np.random.Generator
    ) -> Carried:
        """The start is in differences already."""
        both = start.block(drawing, first, count, width, rng)
        before = block_of(start.rows_of_covariance(width), first, count) if self.conditional else None
        return Carried(self.rules.form(both), product=before)

    def value(self, carried: Carried) -> Array:
        """Shape (samples, inputs, inputs)."""
        if not self.conditional:
            pair: Pair = carried.x
        elif carried.layer is None:
            assert carried.product is not None
            pair = self.rules.form(carried.product)
        else:
            pair = conditional_rows(carried.layer, carried.values, carried.size, self.rules)
        return gaps(pair, self.inputs)

    def states(self, carried: Carried) -> Array:
        """Both parts."""
        return self.rules.columns(carried.x)


def gaps(rows: Pair, inputs: int) -> Array:
    r""":math:`1 - \rho` of each pair of inputs, shape (samples, m, m): nan where a length is 0.

    With d what one vector differs by from the other, v, and o its part orthogonal to v, :math:`\sin^2 = |o|^2/|v + d|^2`, and
    :math:`1 - \cos = \sin^2/(1 + \cos)` has no cancellation.
    """
    count = len(rows.first)
    first = rows.first.reshape(count, -1)
    rest = rows.rest.reshape(count, rows.first.shape[1], inputs - 1, -1).swapaxes(1, 2).reshape(count, inputs - 1, -1)
    size = np.max(np.abs(first), axis=1)
    size = np.where(size > 0, size, 1.0)[:, None]
    first, moves = first / size, [np.zeros_like(first), *np.moveaxis(rest / size[:, None], 1, 0)]
    out = np.zeros((count, inputs, inputs))
    for a in range(inputs):
        v = first + moves[a]
        square = np.einsum("bi,bi->b", v, v)
        for b in range(a + 1, inputs):
            d = moves[b] - moves[a]
            cross = np.einsum("bi,bi->b", v, d)
            apart = d - (cross / square)[:, None] * v
            other = np.einsum("bi,bi->b", v + d, v + d)
            sine2 = np.einsum("bi,bi->b", apart, apart) / other
            cosine = (square + cross) / np.sqrt(square * other)
            out[:, a, b] = out[:, b, a] = np.where(cosine > 0, sine2 / (1 + np.abs(cosine)), 1 - cosine)
    return out
