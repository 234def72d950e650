r"""Gram matrices of networks and the angles between inputs: of the states, or as their mean given the layer before."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import sympy as sp

from derivations.language import Program
from derivations.language.statements import Mask, Matrix
from derivations.symbols import state
from numerics.compile.differences import Differences, Pair
from numerics.compile.programs import PLAIN, Array, Rules, matrix_applied
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
        return gram(conditional_rows(carried, PLAIN))


@dataclass(frozen=True)
class Gap(Observable):
    r""":math:`1 - \rho` of each pair of inputs, carried as differences from the first."""

    conditional: bool = False
    explodes = False

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
            pair = conditional_rows(carried, self.rules)
        return gaps(pair, self.inputs)

    def states(self, carried: Carried) -> Array:
        """Both parts."""
        return self.rules.columns(carried.x)


def output_matrix(program: Program) -> Matrix:
    """The statement whose matrix puts out the new state.

    Raises
    ------
    ValueError
        If the update is anything else, with what it reads besides.
    """
    drawn = {s.symbol: s for s in program.statements if isinstance(s, Matrix) and not s.weights.is_mean}
    found = [s for symbol, s in drawn.items() if symbol in program.update.free_symbols]
    masks = {s.symbol for s in program.statements if isinstance(s, Mask)}
    neurons = {state, *drawn, *masks}
    if len(found) == 1:
        (last,) = found
        coefficient = sp.diff(program.update, last.symbol)
        rest = program.update.subs(last.symbol, 0)
        if not (coefficient.free_symbols | rest.free_symbols) & neurons:
            return last
    raise ValueError(
        f"given the layer before, the Gram matrix has a mean by itself where the new state is the output of one matrix, got the "
        f'update {program.update}; use record="gram" or "gap", which are of the states themselves'
    )


def conditional_rows(carried: Carried, rules: Rules) -> Any:
    """Rows whose Gram matrix is the mean of the new states' given the layer before: features, bias and mean of its matrix."""
    layer, values = carried.layer, carried.values
    assert layer is not None
    assert values is not None
    last = output_matrix(layer.program)
    numbers, update, u = layer.numbers[last.weights], layer.program.update, last.symbol
    features = rules.features(last.weights, rules.evaluated(last.body, values, carried.size, int(last.source.size)))
    biased = np.ones(features.shape[2]) if rules.biased is None else rules.biased
    bias = np.broadcast_to(np.sqrt(numbers.bias_variance) * biased, (len(features), 1, len(biased)))
    centred = np.concatenate([features * np.sqrt(numbers.variance / numbers.columns), bias], axis=1)
    mean = matrix_applied(None, features, rules.biased, numbers)[:, :1]
    here = {s: rules.form(rules.columns(v)[:, :1]) for s, v in values.items()} | {u: rules.form(mean)}
    scaled = sp.diff(update, u) * u
    rows = [
        rules.evaluated(scaled, here | {u: rules.form(centred)}, carried.size, centred.shape[1]),
        rules.evaluated(update, here, carried.size, 1),
    ]
    return rules.form(np.concatenate([rules.columns(part) for part in rows], axis=1))


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
