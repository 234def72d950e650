"""What is the same along an axis spread along it, and tensors put side by side with themselves: expand, repeat."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import sympy as sp

from numerics.pytorch.reader import Reader, Rule, as_number
from numerics.pytorch.shapes import listed_sizes
from numerics.pytorch.values import HERE, NEURONS, ONE, Value, spoken, stacked


def expanded(reader: Reader, x: Any, *sizes: Any) -> Value:
    """``x.expand``: axes of size 1 become the positions or lists of the same; the others stay."""
    value = reader.value(x, "expand")
    given = listed_sizes(sizes)
    while len(value.axes) < len(given):
        value = value.with_one(0)
    for axis, size in enumerate(given):
        if reader.are_few(value, axis) and reader.size_of(value, axis) == 1 and size == reader.features:
            value = value.map(as_number)  # a gate for all neurons
        elif value.axes[axis] == ONE and isinstance(size, int) and size > 1:
            value = _spread(reader, value, axis, size)
        elif size != -1 and sp.sympify(size) != reader.size_of(value, axis):
            raise ValueError(f"a tensor of {spoken(value.axes)} is expanded to {tuple(given)}")
    return value


def _spread(reader: Reader, value: Value, axis: int, size: int) -> Value:
    """An axis of size 1 along the positions, where it stands in the place of these and has their number, else as a list."""
    before_neurons = value.axes[axis + 1 :] == (NEURONS,)
    in_place = before_neurons or (len(value.axes) == len(reader.axes) and reader.axes[axis] == HERE)
    if in_place and size == reader.places and len(reader.positions) == 1 and HERE not in value.axes:
        return replace(value, axes=(*value.axes[:axis], HERE, *value.axes[axis + 1 :]))
    return stacked([value.without(axis)] * size, axis)


def expanded_as(reader: Reader, x: Any, other: Any) -> Value:
    """``x.expand_as(y)``: as broadcasting spreads it, neuron by neuron."""
    return reader.combine(reader.value(x, "expand_as"), reader.value(other, "expand_as"), lambda a, b: a)


def repeated(reader: Reader, x: Any, *counts: Any) -> Value:
    """``x.repeat``: neurons or heads side by side with themselves, and axes of size 1 as ``expand`` spreads them.

    Raises
    ------
    ValueError
        For the batch and the positions, of which a layer has as many as it reads.
    """
    value = reader.value(x, "repeat")
    given = listed_sizes(counts)
    while len(value.axes) < len(given):
        value = value.with_one(0)
    for axis, count in enumerate(given):
        kind = value.axes[axis]
        if count == 1:
            continue
        if kind == NEURONS:
            value = value.each(lambda parts, times=count: parts * times)  # type: ignore[misc]
        elif kind == ONE and isinstance(count, int):
            value = _spread(reader, value, axis, count)
        elif isinstance(kind, int):
            entries = np.concatenate([value.entries] * count, axis=value.listed(axis))
            value = Value((*value.axes[:axis], kind * count, *value.axes[axis + 1 :]), entries)
        else:
            raise ValueError(
                f"repeat puts {count} times as many along {spoken([kind])}, of which a layer has as many as it reads"
            )
    return value


MODULES: dict[str, Rule] = {}
FUNCTIONS: dict[str, Rule] = {
    **dict.fromkeys(("expand", "broadcast_to"), expanded),
    "expand_as": expanded_as,
    **dict.fromkeys(("repeat", "tile"), repeated),
}
