r"""Operations that move the axes of a tensor: transposing, reshaping into heads and back, cutting and putting together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module
from typing import Any

import numpy as np
import sympy as sp

from numerics.pytorch.network import STOPPED
from numerics.pytorch.reader import Reader, Rule, here
from numerics.pytorch.tables import Woven
from numerics.pytorch.values import (
    ANY,
    BATCH,
    NEURONS,
    ONE,
    ROWS,
    Axis,
    Misfit,
    Part,
    Value,
    batch_size,
    is_tensor,
    spoken,
    stacked,
)


def shape_of(reader: Reader, x: Any, dim: Any = None) -> Any:
    """``x.size()`` and ``x.size(dim)``."""
    value = reader.value(x, "a shape")
    if dim is not None:
        return reader.size_of(value, value.axis(dim, "size"))
    if ANY in value.axes:
        raise ValueError("the block asks for the shape of its input; give the number of positions, positions=")
    return tuple(reader.size_of(value, i) for i in range(len(value.axes)))


def attribute(reader: Reader, x: Any, name: str) -> Any:
    """``x.shape``, ``x.mT`` and what does not touch the numbers."""
    if name == "shape":
        return shape_of(reader, x)
    if name == "mT":
        return transposed(reader, x, -2, -1)
    if name == "ndim":
        return len(shape_of(reader, x))
    if name == "device":
        return import_module("torch").device("cpu")
    if name == "dtype":
        return None
    raise ValueError(f"the attribute {name} of a tensor is asked for, which has no rule")


def transposed(reader: Reader, x: Any, dim0: int, dim1: int) -> Value:
    """Two axes exchanged."""
    value = reader.value(x, "transpose")
    order = list(range(len(value.axes)))
    i, j = value.axis(dim0, "transpose"), value.axis(dim1, "transpose")
    order[i], order[j] = order[j], order[i]
    return value.arranged(order)


def permuted(reader: Reader, x: Any, *dims: Any) -> Value:
    """All axes in a new order."""
    value = reader.value(x, "permute")
    return value.arranged([value.axis(d, "permute") for d in listed_sizes(dims)])


def unsqueezed(reader: Reader, x: Any, dim: int) -> Value:
    """An axis of size 1 more."""
    value = reader.value(x, "unsqueeze")
    if ANY in value.axes and dim >= 0:
        value.axis(dim, "unsqueeze")
    return value.with_one(dim if dim >= 0 else len(value.axes) + 1 + dim)


def squeezed(reader: Reader, x: Any, dim: int) -> Value:
    """An axis of size 1 less."""
    value = reader.value(x, "squeeze")
    axis = value.axis(dim, "squeeze")
    if reader.are_few(value, axis) and reader.size_of(value, axis) == 1:
        return reader.one_by_one(value, axis)[0]
    return value.without(axis) if value.axes[axis] == ONE else value


def flattened(reader: Reader, x: Any, start_dim: int = 0, end_dim: int = -1) -> Value:
    """Neighbouring axes made one."""
    value = reader.value(x, "flatten")
    first, last = value.axis(start_dim, "flatten"), value.axis(end_dim, "flatten")
    sizes = [reader.size_of(value, i) for i in range(len(value.axes))]
    whole = int(np.prod(sizes[first : last + 1])) if batch_size not in sizes[first : last + 1] else sp.prod(sizes)
    return reshaped(reader, value, *sizes[:first], whole, *sizes[last + 1 :])


def unflattened(reader: Reader, x: Any, dim: int, sizes: Any) -> Value:
    """One axis made several."""
    value = reader.value(x, "unflatten")
    at = value.axis(dim, "unflatten")
    all_sizes = [reader.size_of(value, i) for i in range(len(value.axes))]
    made = list(sizes)
    if -1 in made:
        made[made.index(-1)] = all_sizes[at] // -int(np.prod(made))
    return reshaped(reader, value, *all_sizes[:at], *made, *all_sizes[at + 1 :])


def unflattened_by(reader: Reader, name: str, module: Any, x: Any) -> Value:
    """``nn.Unflatten``."""
    return unflattened(reader, x, module.dim, module.unflattened_size)


def reshaped(reader: Reader, x: Any, *shape: Any) -> Value:
    """``x.reshape`` and ``x.view``: neurons cut into heads, heads put side by side, lists regrouped.

    Raises
    ------
    ValueError
        If neurons would be mixed with batch or positions, or only some of these with each other.
    """
    value = reader.value(x, "reshape")
    old = list(shape_of(reader, value))
    new = [sp.sympify(size) for size in listed_sizes(shape)]
    total = sp.prod(old)
    if -1 in new:
        rest = sp.prod([size for size in new if size != -1])
        new[new.index(-1)] = total / rest
    if sp.cancel(sp.prod(new) - total) != 0:
        raise ValueError(f"a tensor of {spoken(value.axes)} with sizes {tuple(old)} is reshaped to {tuple(new)}")
    return _regrouped(reader, value, _groups(value.axes, old, new))


def _groups(axes: Sequence[Axis], old: list[Any], new: list[Any]) -> list[tuple[list[int], list[Any]]]:
    """Which old axes become which new sizes: the finest match from the left."""
    groups: list[tuple[list[int], list[Any]]] = []
    i = j = 0
    while i < len(old) or j < len(new):
        taken: list[int] = []
        sizes: list[Any] = []
        if i < len(old) and axes[i] == ONE:
            groups.append(([i], []))  # holds nothing
            i += 1
            continue
        if j < len(new) and new[j] == 1 and (i == len(old) or old[i] != 1):
            groups.append(([], [new[j]]))
            j += 1
            continue
        left = right = sp.S.One
        while True:
            ratio = sp.cancel(left / right)
            if taken and sizes and ratio == 1:
                break
            above, below = ratio.as_numer_denom()
            if i < len(old) and (not taken or (above == 1 and below != 1) or (below != 1 and j >= len(new))):
                taken.append(i)
                left *= old[i]
                i += 1
            elif j < len(new):
                sizes.append(new[j])
                right *= new[j]
                j += 1
            elif i < len(old):
                taken.append(i)
                left *= old[i]
                i += 1
            else:
                break
        groups.append((taken, sizes))
    return groups


def _regrouped(reader: Reader, value: Value, groups: list[tuple[list[int], list[Any]]]) -> Value:
    made, at = value, 0
    for taken, sizes in groups:
        old = made.axes[at : at + len(taken)]
        if not taken:
            made = made.with_one(at)
        elif not sizes:
            made = made.without(at)
        elif len(taken) == 1 and len(sizes) == 1:
            pass
        elif all(isinstance(a, int) for a in old):
            made = _lists(made, at, len(taken), [int(s) for s in sizes])
        elif old[-1] == NEURONS and all(isinstance(a, int) for a in old[:-1]):
            made = _cut(reader, side_by_side(made, at, len(taken)), at, [int(s) for s in sizes])
        elif old == (NEURONS, 2) and len(sizes) == 1:
            made = _woven(made, at)
        else:
            made = replace(made, axes=(*made.axes[:at], *_rows(reader, old, sizes), *made.axes[at + len(taken) :]))
        at += len(sizes)
    return made


def _rows(reader: Reader, old: tuple[Axis, ...], sizes: list[Any]) -> tuple[Axis, ...]:
    """Batch and positions made one axis, or apart again."""
    apart = (BATCH, *here(reader.positions))
    if old == apart and len(sizes) == 1:
        return (ROWS,)
    if old == (ROWS,) and sizes == [batch_size, *reader.positions]:
        return apart
    raise Misfit(
        f"the axes {spoken(old)} are made one or cut; neurons stay apart from others, and batch and positions are made one together, batch first"
    )


def _woven(value: Value, at: int) -> Value:
    """Neurons of two tensors in turn, the list behind the neurons gone."""
    even, odd = (value.taken(at + 1, k) for k in range(2))
    entries = np.empty(even.entries.shape, dtype=object)
    for index in np.ndindex(entries.shape):
        pairs = zip(even.entries[index], odd.entries[index], strict=True)
        entries[index] = tuple(Part(Woven(p.expr, q.expr), p.size and 2 * p.size) for p, q in pairs)
    return Value(even.axes, entries)


def _lists(value: Value, at: int, count: int, sizes: list[int]) -> Value:
    """Listed axes regrouped."""
    first = value.listed(at)
    shape = value.entries.shape
    entries = value.entries.reshape(*shape[:first], *sizes, *shape[first + count :])
    return Value((*value.axes[:at], *sizes, *value.axes[at + count :]), entries)


def side_by_side(value: Value, at: int, count: int) -> Value:
    """Listed axes before the neurons become parts of them."""
    if count == 1:
        return value
    first, number = value.listed(at), count - 1
    order = [*range(first), *range(first + number, value.entries.ndim), *range(first, first + number)]
    moved = value.entries.transpose(order)
    shape = moved.shape[: value.entries.ndim - number]
    entries = np.empty(shape, dtype=object)
    for index in np.ndindex(shape):
        inner = moved[index]
        entries[index] = tuple(part for i in np.ndindex(inner.shape) for part in inner[i])
    return Value((*value.axes[:at], NEURONS, *value.axes[at + count :]), entries)


def _cut(reader: Reader, value: Value, at: int, sizes: list[int]) -> Value:
    """The neurons cut into lists, the last size being neurons again."""
    *lists, last = sizes
    count = int(np.prod(lists)) if lists else 1
    if count == 1 and not lists:
        return value
    pieces = reader.split(value, [last] * count)
    made = stacked(pieces, at)
    return _lists(made, at, 1, lists)


def repeated_in_place(reader: Reader, x: Any, repeats: Any, dim: Any = None) -> Value:
    """``x.repeat_interleave(k, dim)`` along a list, as for heads that share their keys."""
    value = reader.value(x, "repeat_interleave")
    axis = value.axis(dim, "repeat_interleave") if isinstance(dim, int) else None
    if axis is not None and value.axes[axis] == ONE and isinstance(repeats, int):
        return stacked([value.without(axis)] * repeats, axis)
    if axis is None or not isinstance(value.axes[axis], int) or not isinstance(repeats, int):
        raise ValueError(
            "repeat_interleave is known along heads, each as often; neurons and positions are not repeated"
        )
    entries = np.repeat(value.entries, repeats, axis=value.listed(axis))
    return Value((*value.axes[:axis], entries.shape[value.listed(axis)], *value.axes[axis + 1 :]), entries)


def listed_sizes(given: tuple[Any, ...]) -> list[Any]:
    """Sizes that are given one by one, or as one tuple."""
    return list(given[0]) if len(given) == 1 and isinstance(given[0], (tuple, list)) else list(given)


def stopped(reader: Reader, x: Any) -> Any:
    """``x.detach()``: the same numbers, without a gradient."""
    reader.remark(STOPPED)
    return x


def converted(reader: Reader, x: Any, *options: Any, **more: Any) -> Any:
    """``x.to(...)``: another precision or device.

    Raises
    ------
    ValueError
        For whole numbers or truth values, to which numbers would be rounded.
    """
    if is_tensor(x):  # to the state's precision, which here is none
        return x
    value = reader.value(x, "what is converted")
    for kind in (*options, *more.values()):
        if hasattr(kind, "is_floating_point") and not callable(kind.is_floating_point) and not kind.is_floating_point:
            raise ValueError(f"numbers are converted to {kind}, which rounds them; no rule")
    return replace(value, truth=False)


def same(reader: Reader, x: Any, *options: Any, **more: Any) -> Any:
    """Nothing."""
    return x


MODULES: dict[str, Rule] = {"Unflatten": unflattened_by}
FUNCTIONS: dict[str, Rule] = {
    "size": shape_of,
    "getattr": attribute,
    "dim": lambda reader, x: len(shape_of(reader, x)),
    **dict.fromkeys(("transpose", "swapaxes"), transposed),
    "permute": permuted,
    "unsqueeze": unsqueezed,
    "squeeze": squeezed,
    "flatten": flattened,
    "unflatten": unflattened,
    **dict.fromkeys(("reshape", "view"), reshaped),
    "repeat_interleave": repeated_in_place,
    "detach": stopped,
    **{word: same for word in ("contiguous", "clone", "type_as", "requires_grad_")},
    **dict.fromkeys(("to", "float", "double", "half", "bfloat16", "type"), converted),
}
