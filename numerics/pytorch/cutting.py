r"""Operations that cut a tensor into parts and put parts together: chunk, split, unbind, cat, stack, indices."""

from __future__ import annotations

import itertools
from functools import partial
from typing import Any

import numpy as np

from numerics.pytorch.moving import KEEPS, at_place, narrowed
from numerics.pytorch.neighbours import lists_pairs, of_pairs
from numerics.pytorch.reader import Reader, Rule
from numerics.pytorch.shapes import side_by_side
from numerics.pytorch.values import ANY, BATCH, HERE, NEURONS, ONE, Part, Value, spoken, stacked


def chunked(reader: Reader, x: Any, chunks: int, dim: int = 0) -> tuple[Value, ...]:
    """``torch.chunk``: over the neurons, or over a list."""
    value = reader.value(x, "chunk")
    size = _cuttable(reader, value, dim, "chunk")
    each = -(-size // chunks)
    return cut_by_sizes(reader, value, each, dim)


def cut_by_sizes(reader: Reader, x: Any, sizes: Any, dim: int = 0) -> tuple[Value, ...]:
    """``torch.split``: into parts of one size, or of the sizes that are listed."""
    value = reader.value(x, "split")
    size = _cuttable(reader, value, dim, "split")
    each = (
        [min(sizes, size - start) for start in range(0, size, sizes)]
        if isinstance(sizes, int)
        else [int(s) for s in sizes]
    )
    axis = value.axis(dim, "split")
    if value.axes[axis] == NEURONS:
        return reader.split(value, each)
    bounds = np.cumsum([0, *each])
    return tuple(stacked([value.taken(axis, i) for i in range(a, b)], axis) for a, b in itertools.pairwise(bounds))


def _cuttable(reader: Reader, value: Value, dim: int, word: str) -> int:
    axis = value.axis(dim, word)
    kind = value.axes[axis]
    if kind == NEURONS and value.entries.size == 1 and value.entries[(0,) * value.entries.ndim][0].size is None:
        raise ValueError(f"{word} cuts the state; a layer treats its neurons alike")
    if kind != NEURONS and not isinstance(kind, int):
        raise ValueError(f"{word} cuts along {spoken([kind])}, which a layer treats alike")
    return int(reader.size_of(value, axis))


def cut_evenly(reader: Reader, x: Any, sections: Any, dim: int = 0) -> tuple[Value, ...]:
    """``torch.tensor_split`` into a number of parts, the first ones longer by one where they are not alike."""
    value = reader.value(x, "tensor_split")
    size = _cuttable(reader, value, dim, "tensor_split")
    if isinstance(sections, int):
        each, longer = divmod(size, sections)
        return cut_by_sizes(reader, value, [each + (i < longer) for i in range(sections)], dim)
    ends = [0, *map(int, sections), size]
    return cut_by_sizes(reader, value, [b - a for a, b in itertools.pairwise(ends)], dim)


def narrowed_along(reader: Reader, x: Any, dim: int, start: Any, length: Any) -> Value:
    """``torch.narrow``: a run of neurons or of a list, or one position."""
    value = reader.value(x, "narrow")
    axis = value.axis(dim, "narrow")
    if value.axes[axis] != NEURONS and not isinstance(value.axes[axis], int):
        return narrowed(reader, value, dim, start, length)
    steps = [slice(None)] * axis + [slice(int(start), int(start) + int(length))]
    made: Value = item(reader, value, tuple(steps))
    return made


def unbound(reader: Reader, x: Any, dim: int = 0) -> tuple[Value, ...]:
    """The entries of a list."""
    value = reader.value(x, "unbind")
    axis = value.axis(dim, "unbind")
    size = value.axes[axis]
    if reader.are_few(value, axis):
        return reader.one_by_one(value, axis)
    if not isinstance(size, int):
        raise ValueError(f"unbind goes through {spoken([size])}, which a layer treats alike")
    return tuple(value.taken(axis, i) for i in range(size))


def together(reader: Reader, tensors: Any, dim: int = 0) -> Value:
    """``torch.cat`` over the neurons, or over a list."""
    values = [reader.value(x, "cat") for x in tensors]
    axis = values[0].axis(dim, "cat")
    if values[0].axes[axis] == NEURONS:
        return side_by_side(stacked([_known_size(reader, v) for v in values], axis), axis, 2)
    if isinstance(values[0].axes[axis], int):
        parts = [v.taken(axis, i) for v in values for i in range(int(reader.size_of(v, axis)))]
        return stacked(parts, axis)
    raise ValueError(f"cat joins along {spoken([values[0].axes[axis]])}; a layer keeps its batch and positions")


def _known_size(reader: Reader, value: Value) -> Value:
    def sized(parts: tuple[Part, ...]) -> tuple[Part, ...]:
        return tuple(Part(p.expr, reader.count(p)) for p in parts)

    return value.each(sized)


def stacked_up(reader: Reader, tensors: Any, dim: int = 0) -> Value:
    """``torch.stack``: a new list."""
    values = [reader.value(x, "stack") for x in tensors]
    return stacked(values, dim if dim >= 0 else len(values[0].axes) + 1 + dim)


def item(reader: Reader, values: Any, index: Any) -> Any:
    """One of several values, an entry of a list, or a run of neurons.

    Raises
    ------
    ValueError
        If the batch or the positions are indexed.
    """
    if not isinstance(values, Value):
        return values[index]
    steps = list(index) if isinstance(index, tuple) else [index]
    if Ellipsis in steps:
        missing = len(values.axes) - sum(s is not None and s is not Ellipsis for s in steps)
        at = steps.index(Ellipsis)
        if ANY in values.axes:
            missing = 1
        steps[at : at + 1] = [slice(None)] * missing
    elif ANY in values.axes:
        raise ValueError("a tensor is indexed; give the number of positions, positions=, so that its axes are known")
    made, axis = values, 0
    for step in steps:
        if step is None:
            made, axis = made.with_one(axis), axis + 1
        elif step == slice(None):
            axis += 1
        elif isinstance(made.axes[axis], int) and isinstance(step, int):
            made = made.taken(axis, step)
        elif isinstance(made.axes[axis], int) and (isinstance(step, slice) or _are_numbers(step)):
            every = range(int(reader.size_of(made, axis)))
            picked = every[step] if isinstance(step, slice) else [every[i] for i in step]
            made, axis = stacked([made.taken(axis, i) for i in picked], axis), axis + 1
        elif made.axes[axis] == NEURONS and isinstance(step, slice) and step.step in (None, 1):
            size = _cuttable(reader, made, axis - len(made.axes), "an index")
            start, stop, _ = step.indices(size)
            sizes = [s for s in (start, stop - start, size - stop) if s > 0]
            empty = start >= stop  # as what is left over where all of it is turned
            made = made.each(lambda parts: ()) if empty else reader.split(made, sizes)[1 if start else 0]
            axis += 1
        elif made.axes[axis] == NEURONS and isinstance(step, slice) and step in _EVERY_SECOND:
            place = _EVERY_SECOND.index(step) % 2
            made, axis = made.each(partial(_one_in_turn, reader, place)), axis + 1
        elif isinstance(step, int) and lists_pairs(reader, made, axis):
            made = of_pairs(reader, made, axis - 1)[step]
        elif isinstance(step, int) and reader.are_few(made, axis):
            made = reader.one_by_one(made, axis)[step]
        elif made.axes[axis] == ONE and step == 0:
            made = made.without(axis)
        elif made.axes[axis] == HERE and isinstance(step, int):
            made = at_place(reader, "an index", made, axis, step).without(axis)
        elif made.axes[axis] == HERE and isinstance(step, slice):
            made, axis = _positions(reader, made, axis, step), axis + 1
        else:
            raise ValueError(
                "a tensor is indexed along the batch; networks treat inputs one by one"
                if made.axes[axis] == BATCH
                else f"a tensor is indexed along {spoken([made.axes[axis]])}; a layer treats its neurons and positions alike"
            )
    return made


def _are_numbers(step: Any) -> bool:
    return isinstance(step, (list, tuple)) and bool(step) and all(type(i) is int for i in step)


def _one_in_turn(reader: Reader, place: int, parts: tuple[Part, ...]) -> tuple[Part, ...]:
    """The even neurons of each part, or the odd ones."""
    return tuple(reader.in_turn(part)[place] for part in parts)


def _positions(reader: Reader, value: Value, axis: int, step: slice) -> Value:
    """All positions, or one of them for all to read."""
    (size,) = reader.positions
    picked = range(size)[step]
    if picked == range(size):
        return value
    if len(picked) != 1:
        raise ValueError(f"a slice keeps {len(picked)} of {size} positions; {KEEPS}")
    return at_place(reader, "a slice", value, axis, picked[0])


#: Even neurons, and odd ones.
_EVERY_SECOND = (slice(None, None, 2), slice(1, None, 2), slice(0, None, 2))

MODULES: dict[str, Rule] = {}
FUNCTIONS: dict[str, Rule] = {
    "chunk": chunked,
    "split": cut_by_sizes,
    "tensor_split": cut_evenly,
    "narrow": narrowed_along,
    "unbind": unbound,
    **dict.fromkeys(("cat", "concat"), together),
    "stack": stacked_up,
    "getitem": item,
}
