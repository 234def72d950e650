"""What acts on positions by given numbers: averages and sums over them, shifts, reversals, running sums, and factors of scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from typing import Any, cast

import sympy as sp

from derivations import other, over_positions, position_matrix
from derivations.language.nodes import PositionMatrix
from numerics.pytorch.reader import Reader, Rule, here
from numerics.pytorch.values import HERE, ONE, THERE, Value, number, spoken, stacked

#: What slices of positions are read.
KEEPS = "a layer keeps its positions, and known is one of them, such as x[:, 0] or x[:, :1]; write shifts with torch.roll or functional.pad"


def over_all(reader: Reader, word: str, x: Any, dim: Any, keepdim: bool) -> tuple[Value, int] | None:
    """The sum over all positions of an input, and their number; None along other axes.

    Raises
    ------
    ValueError
        If only some axes of a grid are summed over.
    """
    value = reader.value(x, word)
    along = [value.axis(d, word) for d in (dim if isinstance(dim, tuple) else (dim,)) if isinstance(d, int)]
    every = here(reader.positions)
    if len(along) == 1 and value.axes[along[0]] == THERE:
        made = value.map(over_positions)
        kept = (ONE,) if keepdim else ()
        left = (*made.axes[: along[0]], *kept, *made.axes[along[0] + 1 :])
        return made.each(lambda parts: parts, axes=left), reader.places
    if not along or any(value.axes[axis] not in every for axis in along):
        return None
    if len(along) != len(every) or THERE in value.axes:
        raise ValueError(
            f"{word} goes over some of the axes {spoken(value.axes)}; over positions it is known for all of an input"
        )
    made = value.map(lambda e: over_positions(other(e)))
    axes = [ONE if place in along else axis for place, axis in enumerate(made.axes) if keepdim or place not in along]
    return made.each(lambda parts: parts, axes=axes), sp.prod(reader.positions)


def moved(reader: Reader, word: str, value: Value, taken: Callable[[tuple[int, ...], tuple[int, ...]], int]) -> Value:
    """A matrix over the positions: ``taken`` is how often a place reads another one."""
    if THERE in value.axes:
        raise ValueError(f"{word} is known for tensors of one position a place, got {spoken(value.axes)}")
    every = list(product(*map(range, reader.positions)))
    weights = position_matrix([[taken(at, place) for place in every] for at in every])
    return value.map(lambda e: over_positions(weights * other(e)))


def _axes_of_grid(reader: Reader, word: str, value: Value, dims: Any) -> list[int]:
    """Which axes of the grid dimensions are."""
    every, found = here(reader.positions), []
    for d in dims if isinstance(dims, (tuple, list)) else (dims,):
        axis = value.axes[value.axis(d, word)] if isinstance(d, int) else None
        if axis not in every:
            raise ValueError(
                f"{word} is known along positions, got the dimension {d} of a tensor of {spoken(value.axes)}"
            )
        found.append(every.index(cast(Any, axis)))
    return found


def rolled(reader: Reader, x: Any, shifts: Any, dims: Any = None) -> Value:
    """``torch.roll`` along positions."""
    value = reader.value(x, "roll")
    along = _axes_of_grid(reader, "roll", value, dims)
    by: Sequence[int] = shifts if isinstance(shifts, (tuple, list)) else (shifts,)
    sizes = reader.positions

    def taken(at: tuple[int, ...], place: tuple[int, ...]) -> int:
        source = list(at)
        for axis, shift in zip(along, by, strict=True):
            source[axis] = (source[axis] - shift) % sizes[axis]
        return int(tuple(source) == place)

    return moved(reader, "roll", value, taken)


def at_place(reader: Reader, word: str, value: Value, axis: int, place: int) -> Value:
    """What stands at one position, for all positions to read.

    Raises
    ------
    ValueError
        For a grid, or a position that does not exist.
    """
    if value.axes[axis] != HERE or len(reader.positions) != 1:
        raise ValueError(
            f"{word} takes one entry along {spoken([value.axes[axis]])}; known is one position where these have a single axis"
        )
    (size,) = reader.positions
    if not -size <= place < size:
        raise ValueError(f"{word} takes position {place} of {size}")
    made = moved(reader, word, value, lambda at, source: int(source == (place % size,)))
    return made.each(lambda parts: parts, axes=[*value.axes[:axis], ONE, *value.axes[axis + 1 :]])


def selected(reader: Reader, x: Any, dim: int, index: Any) -> Value:
    """``torch.select`` along positions."""
    value = reader.value(x, "select")
    axis = value.axis(dim, "select")
    return at_place(reader, "select", value, axis, index).without(axis)


def narrowed(reader: Reader, x: Any, dim: int, start: Any, length: Any) -> Value:
    """``torch.narrow`` to one position."""
    value = reader.value(x, "narrow")
    if length != 1:
        raise ValueError(f"narrow keeps {length} of the entries; {KEEPS}")
    return at_place(reader, "narrow", value, value.axis(dim, "narrow"), start)


def flipped(reader: Reader, x: Any, *dims: Any) -> Value:
    """``torch.flip`` along positions."""
    value = reader.value(x, "flip")
    along = _axes_of_grid(reader, "flip", value, dims[0] if len(dims) == 1 else dims)
    sizes = reader.positions

    def taken(at: tuple[int, ...], place: tuple[int, ...]) -> int:
        return int(place == tuple(sizes[k] - 1 - c if k in along else c for k, c in enumerate(at)))

    return moved(reader, "flip", value, taken)


def running(reader: Reader, x: Any, dim: int) -> Value:
    """``torch.cumsum`` along positions."""
    value = reader.value(x, "cumsum")
    (axis,) = _axes_of_grid(reader, "cumsum", value, dim)

    def taken(at: tuple[int, ...], place: tuple[int, ...]) -> int:
        beside = all(a == b for k, (a, b) in enumerate(zip(at, place, strict=True)) if k != axis)
        return int(beside and place[axis] <= at[axis])

    return moved(reader, "cumsum", value, taken)


def weighed(reader: Reader, scores: Value, tensor: Any) -> Value:
    """Scores times a tensor of one number for each pair of positions, and for each head, as the decay of a retention.

    Raises
    ------
    ValueError
        If the tensor has other sizes.
    """
    if scores.axes[-2:] != (HERE, THERE) or not _for_pairs(reader, scores, tensor):
        shape, places = tuple(int(k) for k in tensor.shape), reader.places
        raise ValueError(
            f"scores of {spoken(scores.axes)} are multiplied by a tensor of shape {shape}; known is one number for each of {places} times {places} pairs"
        )
    return head_by_head(reader, scores, tensor, lambda own, numbers: own.map(lambda e: _pairs(numbers) * e))


def _triangle(keeps: Callable[[int], bool]) -> Rule:
    """Scores of pairs on one side of a diagonal, and 0 for others."""

    def rule(reader: Reader, x: Any, diagonal: int = 0) -> Value:
        scores = reader.value(x, "a triangle")
        if scores.axes[-2:] != (HERE, THERE):
            raise ValueError(f"triangles are known of scores of pairs of positions, got {spoken(scores.axes)}")
        count = range(reader.places)
        kept = position_matrix([[int(keeps(there - at - diagonal)) for there in count] for at in count])
        return scores.map(lambda e: kept * e)

    return rule


def _pairs(tensor: Any) -> PositionMatrix:
    return position_matrix([[number(float(entry)) for entry in row] for row in tensor.tolist()])


def _for_pairs(reader: Reader, scores: Value, tensor: Any) -> bool:
    shape, places = tuple(int(k) for k in tensor.shape), reader.places
    heads = shape[-3] if len(shape) > 2 else 1
    return (
        shape[-2:] == (places, places)
        and all(k == 1 for k in shape[:-3])
        and (heads == 1 or scores.axes[-3:-2] == (heads,))
    )


def head_by_head(reader: Reader, scores: Value, tensor: Any, function: Callable[[Value, Any], Value]) -> Value:
    """A function of scores and of numbers for each pair of positions, for each head where these differ between heads."""
    places = reader.places
    if not _for_pairs(reader, scores, tensor) or tensor.numel() == places * places:
        square = tensor.numel() == places * places
        return function(scores, tensor.detach().reshape(places, places) if square else tensor)
    axis = len(scores.axes) - 3
    rows = tensor.detach().reshape(-1, places, places)
    return stacked([function(scores.taken(axis, i), rows[i]) for i in range(len(rows))], axis)


MODULES: dict[str, Rule] = {}
FUNCTIONS: dict[str, Rule] = {
    "roll": rolled,
    "flip": flipped,
    "cumsum": running,
    "tril": _triangle(lambda beyond: beyond <= 0),
    "triu": _triangle(lambda beyond: beyond >= 0),
    "select": selected,
}
