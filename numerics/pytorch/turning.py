r"""Queries and keys whose neurons are turned in pairs by tables over the positions, as rotary positions are written in PyTorch.

A table of numbers for each position and neuron multiplies a tensor: while the block is read it is one symbol, which is cut where the neurons are cut.
Where scores are taken, each run of neurons is a sum of runs times tables; it is found out whether these turn pairs of neurons, and by which angles.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
import sympy as sp
from numpy.typing import NDArray

from derivations import rotary
from numerics.pytorch.draws import array
from numerics.pytorch.reader import Reader
from numerics.pytorch.tables import Woven
from numerics.pytorch.values import HERE, NEURONS, Axis, Part, Value, is_tensor, number

Array = NDArray[np.float64]
#: How far cosines and sines of single precision may be from those of one angle.
_SAME = 3e-6
_MOST_RUNS = 4  # that a head is made of; all their orders are tried


def table_of(reader: Reader, value: Any, tensor: Any) -> Array | None:
    """The numbers of a tensor that differ between the positions of a value, shape (positions, neurons); None where they do not."""
    if not isinstance(value, Value) or not is_tensor(tensor) or not {HERE, NEURONS} <= {*value.axes}:
        return None
    sizes: dict[Axis, int] = {HERE: reader.places, NEURONS: int(reader.size_of(value, value.axes.index(NEURONS)))}
    shape = [int(k) for k in tensor.shape]
    shape = [1] * (len(value.axes) - len(shape)) + shape
    shape = shape[len(shape) - len(value.axes) :] if all(k == 1 for k in shape[: -len(value.axes)]) else []
    if len(shape) != len(value.axes) or any(
        k not in (1, sizes.get(axis, 1)) for k, axis in zip(shape, value.axes, strict=True)
    ):
        return None
    numbers = array(tensor).reshape(*(k for k, axis in zip(shape, value.axes, strict=True) if axis in sizes))
    numbers = numbers if value.axes.index(HERE) < value.axes.index(NEURONS) else numbers.T
    if (numbers == numbers[0]).all():
        return None
    return np.ascontiguousarray(np.broadcast_to(numbers, (sizes[HERE], sizes[NEURONS])), dtype=float)


def times_table(reader: Reader, value: Value, numbers: Array) -> Value:
    """Each neuron times its position's number."""

    def times(parts: tuple[Part, ...]) -> tuple[Part, ...]:
        ends = list(itertools.accumulate((reader.count(p) for p in parts), initial=0))
        symbols = (reader.tables.symbol(numbers[:, a:b]) for a, b in itertools.pairwise(ends))
        return tuple(Part(s * p.expr, reader.count(p)) for p, s in zip(parts, symbols, strict=True))

    return value.each(times)


def as_rotary(reader: Reader, parts: tuple[Part, ...]) -> tuple[Part, ...]:
    """Runs of neurons that tables turn in pairs, as one that is turned; others as they are.

    Raises
    ------
    ValueError
        If tables do something else than to turn pairs.
    """
    if not any(reader.tables.within(p.expr) for p in parts):
        return parts
    parts = tuple(run for p in parts for run in (reader.in_turn(p) if p.expr.has(Woven) else (p,)))
    sums = [_sum(reader, p) for p in parts]
    bases = list(dict.fromkeys(base for own in sums for base in own))
    sizes = [reader.count(p) for p in parts]
    for order in itertools.permutations(bases) if len(bases) == len(parts) <= _MOST_RUNS else ():
        runs = tuple(Part(base, size) for base, size in zip(order, sizes, strict=True))
        whole = reader.rejoined(runs, in_turn=True)
        turns = _turns(sums, order) if len(whole) == 1 and _read_once(runs, whole, sizes) else None
        if turns is not None:
            return (Part(turns.factor * rotary(whole[0].expr, turns.rows()), sum(sizes)),)
    raise ValueError(
        "queries or keys are multiplied by numbers that differ between positions and do not turn pairs of neurons, all by one factor, as rotary "
        "positions do"
    )


def _read_once(runs: tuple[Part, ...], whole: tuple[Part, ...], sizes: list[int]) -> bool:
    """Whether the runs are the whole, which a single one always is."""
    return whole[0].size == sum(sizes) or (len(runs) == 1 and whole == runs)


def _sum(reader: Reader, part: Part) -> dict[sp.Expr, Array]:
    """A run as a sum of others, each times a table."""
    found: dict[sp.Expr, Array] = {}
    size = reader.count(part)
    for term in sp.Add.make_args(sp.expand(part.expr, deep=False)):
        tables = sorted(reader.tables.within(term), key=sp.default_sort_key)
        coefficient, base = (
            sp.cancel(term / sp.Mul(*tables)).as_coeff_Mul()
            if len(tables) > 1
            else (term.xreplace(dict.fromkeys(tables, sp.S.One)).as_coeff_Mul())
        )
        numbers = np.full((reader.places, size), float(coefficient))
        for table in tables:
            numbers = numbers * reader.tables.numbers[table]
        found[base] = found.get(base, 0.0) + numbers
    return found


@dataclass(frozen=True)
class _Turns:
    """Angles by position, shape (kinds of pairs, positions), and what all neurons are multiplied by."""

    angles: Array
    factor: sp.Expr

    def rows(self) -> list[Any]:
        """Frequencies where these give all angles, else the angles."""
        if self.angles.shape[1] > 1 and self._are_multiples():
            return [number(float(w)) for w in self.angles[:, 1] - self.angles[:, 0]]
        return [[number(float(a)) for a in row] for row in self.angles]

    def _are_multiples(self) -> bool:
        places = np.arange(self.angles.shape[1])
        rest = self.angles - self.angles[:, :1] - np.outer(self.angles[:, 1] - self.angles[:, 0], places)
        return bool(np.abs(np.exp(1j * rest) - 1).max() < _SAME * len(places))


def _turns(sums: list[dict[sp.Expr, Array]], order: tuple[sp.Expr, ...]) -> _Turns | None:
    """By which angles runs turn each other; None where they do not."""
    pairs: list[Array] = []
    still = 0  # neurons that are not turned
    sizes: list[Array] = []
    partner: dict[int, int] = {}
    for i, run in enumerate(sums):
        others = [j for j, base in enumerate(order) if base in run and j != i]
        if order[i] not in run or len(others) > 1:
            return None
        partner[i] = others[0] if others else i
    for i, j in partner.items():
        if partner[j] != i:
            return None
        own = sums[i][order[i]]
        if i == j:
            still += own.shape[1]
            sizes.append(own)
        elif i < j:
            cosine, sine, other, back = own, sums[j][order[i]], sums[j][order[j]], sums[i][order[j]]
            if own.shape != other.shape or max(np.abs(cosine - other).max(), np.abs(sine + back).max()) > _SAME:
                return None
            pairs.append(np.arctan2(sine, cosine).T)
            sizes += [np.hypot(cosine, sine)]
    factor = float(np.mean([size.mean() for size in sizes]))
    if factor <= 0 or any(np.abs(size / factor - 1).max() > _SAME for size in sizes):
        return None
    if not pairs:
        return None
    twice = 1 + still % 2  # a row is a pair of neurons
    angles = np.concatenate([*pairs * twice, np.zeros((still * twice // 2, pairs[0].shape[1]))])
    return _Turns(angles, sp.S.One if abs(factor - 1) < _SAME else number(factor))
