"""Neighbouring neurons in pairs, ``x.reshape(*x.shape[:-1], -1, 2)``: one of each pair, or both as a complex number, as rotary positions take them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from numerics.pytorch.reader import Reader, Rule
from numerics.pytorch.shapes import side_by_side
from numerics.pytorch.turning import table_of, times_table
from numerics.pytorch.values import NEURONS, Value, is_tensor, spoken, stacked


@dataclass(frozen=True)
class ComplexNeurons(Value):
    """Pairs of neurons as complex numbers: the even ones are their real parts."""

    pending: ClassVar[str] = (
        "complex numbers made of pairs of neurons are known where a tensor of complex numbers multiplies them, as rotary positions do, and "
        "view_as_real follows"
    )
    even: Value | None = None
    odd: Value | None = None


def of_pairs(reader: Reader, value: Value, at: int) -> tuple[Value, Value]:
    """The even and the odd neurons, where an axis lists pairs of them and the next one has the two.

    Raises
    ------
    ValueError
        If these are no neighbours of one matrix.
    """
    joined = side_by_side(value, at, 2).each(reader.rejoined)
    made = [np.empty(joined.entries.shape, dtype=object) for _ in range(2)]
    for index, parts in joined.items():
        if len(parts) != 1:
            raise ValueError("two neurons of each pair are taken, which are no neighbours of what one matrix puts out")
        for entries, part in zip(made, reader.in_turn(parts[0]), strict=True):
            entries[index] = (part,)
    even, odd = (Value(joined.axes, entries) for entries in made)
    return even, odd


def lists_pairs(reader: Reader, value: Value, axis: int) -> bool:
    """Whether an axis has the two neurons of pairs, which the axis before lists."""
    return (
        axis > 0
        and value.axes[axis] == NEURONS
        and isinstance(value.axes[axis - 1], int)
        and int(reader.size_of(value, axis)) == 2
    )


def as_complex(reader: Reader, x: Any) -> ComplexNeurons:
    """``torch.view_as_complex``."""
    value, last = reader.value(x, "view_as_complex"), -1
    axis = value.axis(last, "view_as_complex")
    if not lists_pairs(reader, value, axis):
        raise ValueError(
            f"view_as_complex reads a tensor of {spoken(value.axes)}; known are pairs of neurons, x.reshape(*x.shape[:-1], -1, 2)"
        )
    even, odd = of_pairs(reader, value, axis - 1)
    return ComplexNeurons(even.axes, np.empty(0, dtype=object), even=even, odd=odd)


def times_complex(reader: Reader, value: ComplexNeurons, tensor: Any) -> ComplexNeurons:
    """Times given complex numbers.

    Raises
    ------
    ValueError
        For anything else.
    """
    assert value.even is not None
    assert value.odd is not None
    if not is_tensor(tensor) or not tensor.is_complex():
        raise ValueError(ComplexNeurons.pending)
    real, imaginary = tensor.real, tensor.imag

    def times(side: Value, numbers: Any) -> Value:
        table = table_of(reader, side, numbers)
        if table is not None:
            return times_table(reader, side, table)
        return reader.combine(side, reader.value(numbers, "a factor"), lambda a, b: a * b)

    def added(one: Value, other: Value, sign: int) -> Value:
        return reader.combine(one, other, lambda a, b: a + sign * b)

    even = added(times(value.even, real), times(value.odd, imaginary), -1)
    odd = added(times(value.even, imaginary), times(value.odd, real), 1)
    return ComplexNeurons(value.axes, value.entries, even=even, odd=odd)


def as_real(reader: Reader, x: Any) -> Value:
    """``torch.view_as_real``: an axis of real and imaginary parts behind the others."""
    if not isinstance(x, ComplexNeurons) or x.even is None or x.odd is None:
        raise ValueError("view_as_real is known of complex numbers made of pairs of neurons")
    return stacked([x.even, x.odd], len(x.axes))


MODULES: dict[str, Rule] = {}
FUNCTIONS: dict[str, Rule] = {"view_as_complex": as_complex, "view_as_real": as_real}
