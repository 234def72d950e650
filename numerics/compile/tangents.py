r"""Values with their derivatives along many directions, by the chain rule through the statements of a layer."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import sympy as sp

from derivations.language import Program, Weights
from derivations.language.statements import Back, Between, Mask, Matrix, Shares
from derivations.symbols import step
from numerics.compile.differences import in_pieces
from numerics.compile.positions import on_pairs, over_pairs, partners_of
from numerics.compile.programs import (
    PLAIN,
    Apply,
    Array,
    MatrixNumbers,
    Paired,
    Rules,
    Trace,
    Values,
    arguments_of,
    evaluated,
    filtered,
    matrix_applied,
)


@dataclass(frozen=True)
class Dual:
    """Values, shape (samples, neurons, coordinates), and their derivatives, (samples, neurons, coordinates, directions), or None for 0.

    A direction moves the same coordinate of all inputs: inputs do not meet in a layer, so each input's derivative is its own.
    """

    value: Array
    along: Array | None


@dataclass(frozen=True)
class Tangents(Rules):
    """Rules for :class:`Dual`.

    Parameters
    ----------
    inputs, positions : int
        The coordinates are those of ``inputs`` times ``positions``.
    directions : int
        How many there are.
    sources : dict
        The place from which on directions move what a statement's matrix puts out by itself, and whether all its neurons move along
        the same ones.
    """

    inputs: int
    positions: int
    directions: int
    sources: dict[Matrix, tuple[int, bool]] = field(default_factory=dict)

    def columns(self, value: Dual) -> Array:
        """The values alone."""
        return value.value

    def form(self, columns: Array) -> Dual:
        """Values that do not move."""
        return Dual(columns, None)

    def evaluated(self, expr: sp.Expr, values: Values, size: float, rows: int, trace: Trace | None = None) -> Dual:
        """The formula and its differential."""
        plain = {s: v.value for s, v in values.items()}
        value = PLAIN.evaluated(expr, plain, size, rows, trace)
        along: Array | None = None
        for s in arguments_of(expr):
            if s == step or values[s].along is None:
                continue
            slope = PLAIN.evaluated(_slope(expr, s), plain, size, rows)
            term = slope[..., None] * values[s].along
            along = term if along is None else along + term
        return Dual(value, along)

    def features(self, weights: Weights, value: Dual) -> Array:
        """Of the values."""
        return filtered(weights, value.value)

    def paired(self, statement: Paired, values: Values, size: float, program: Program, trace: Trace | None) -> Dual:
        """The same with its differential at each pair of positions."""
        plain = {s: v.value for s, v in values.items()}
        value = PLAIN.paired(statement, plain, size, program, trace)
        if isinstance(statement, Between):
            return Dual(value, None)
        others, p = dict(program.others), self.positions
        coordinates = self.inputs * p
        sources = {s: others.get(s, s) for s in arguments_of(statement.body) if s != step}
        moves = {s: values[of].along for s, of in sources.items() if values[of].along is not None}
        if not moves:
            return Dual(value, None)

        def along(partners: bool = False) -> Array:
            def there(array: Array, s: sp.Symbol) -> Array:
                return partners_of(array) if partners and s in others else array

            at = {s: there(on_pairs(plain[of], s in others, coordinates, p), s) for s, of in sources.items()}
            shape = np.broadcast_shapes(*(v.shape for v in at.values()))
            total: Array = np.zeros(1)
            for s, move in moves.items():
                slope = evaluated(_slope(statement.body, s), at, size, shape)
                total = total + slope[..., None] * there(on_pairs(move, s in others, coordinates, p, trailing=1), s)
            return total

        if isinstance(statement, Shares):
            share, moved = value[..., None], along()
            return Dual(value, share * (moved - (share * moved).sum(axis=4, keepdims=True)))
        return Dual(value, over_pairs(statement, along))

    def averaged(self, value: Dual, factor: float = 1.0) -> Dual:
        """Linear."""
        along = None if value.along is None else value.along.mean(axis=1, keepdims=True) * factor
        return Dual(value.value.mean(axis=1, keepdims=True) * factor, along)

    def applied(self, apply: Apply | None, value: Dual, statement: Matrix | Back, numbers: MatrixNumbers) -> Dual:
        """Linear but for the biases; then moved by itself, if asked for."""
        out = PLAIN.applied(apply, value.value, statement, numbers)
        along = None
        if value.along is not None:
            features = filtered(statement.weights, value.along)
            flat = features.reshape(*features.shape[:2], -1)
            along = matrix_applied(apply, flat, np.zeros(flat.shape[2]), numbers).reshape(*out.shape, self.directions)
        if isinstance(statement, Matrix) and statement in self.sources:
            first, together = self.sources[statement]
            own = unit_directions(numbers.rows, self.inputs, self.positions, self.directions, first, together)
            along = np.broadcast_to(own, (*out.shape, self.directions)) if along is None else along + own
        return Dual(out, along)

    def masked(self, statement: Mask, like: Dual, rng: np.random.Generator) -> Dual:
        """Does not depend on the state."""
        return Dual(PLAIN.masked(statement, like.value, rng), None)


def unit_directions(
    neurons: int, inputs: int, positions: int, directions: int, first: int = 0, together: bool = False
) -> Array:
    """The derivatives of neurons' own coordinates along directions ``first`` …, shape (neurons, inputs · positions, directions).

    Each neuron has its own directions, one a position, or all have the same.
    """
    along = np.zeros((neurons, inputs, positions, directions))
    i, a, p = np.ix_(range(neurons), range(inputs), range(positions))
    along[i, a, p, first + (0 if together else i * positions) + p] = 1.0
    return along.reshape(neurons, inputs * positions, directions)


@lru_cache(maxsize=256)
def _slope(expr: sp.Expr, symbol: sp.Symbol) -> sp.Expr:
    return sp.diff(in_pieces(expr), symbol)
