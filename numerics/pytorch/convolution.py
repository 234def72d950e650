r"""Convolutions: which position each weight of a filter reads, by padding, dilation and the sizes of the filter."""

from __future__ import annotations

from itertools import product
from typing import Any

from derivations.language.filters import Tap
from numerics.pytorch.draws import Tensors
from numerics.pytorch.reader import Reader, Rule, here
from numerics.pytorch.values import BATCH, NEURONS, ONE, OVER_POSITIONS, Misfit, Value, spoken


def convolved(reader: Reader, name: str, module: Any, x: Any) -> Value:
    """``nn.Conv1d``, ``nn.Conv2d`` and ``nn.Conv3d``: a filter over the grid of positions, whose weights are random matrices.

    Raises
    ------
    ValueError
        For groups, strides, or a padding that changes the grid.
    """
    if module.groups != 1:
        reader.refuse(
            name,
            f"has {module.groups} groups: a neuron reads its own group only, while a layer here treats its neurons alike",
        )
    if any(step != 1 for step in module.stride):
        reader.refuse(
            name, f"has stride {module.stride}, which makes the grid smaller; a layer that is repeated must keep it"
        )
    value = reader.value(x, name)
    dimensions = len(module.kernel_size)
    if len(reader.positions) != dimensions:
        given = reader.positions or "no positions"
        reader.refuse(
            name,
            f"reads a grid of {dimensions} dimension{'s' * (dimensions > 1)}, got {given}; give its sizes, such as "
            f"positions={(8,) * dimensions}",
        )
    expected = (BATCH, NEURONS, *here(reader.positions))
    single = all(k == 1 for k in module.kernel_size)
    averaged = single and value.axes == (BATCH, NEURONS, *(ONE,) * dimensions) and not any(map(_pads, module.padding))
    if single and value.axes == (BATCH, *here(reader.positions), NEURONS):
        reader.refuse(
            name, f"takes the positions for channels, and so is a matrix over positions: {OVER_POSITIONS}", Misfit
        )
    if value.axes != expected and not averaged:
        reader.refuse(name, f"reads tensors of {spoken(expected)} and gets {spoken(value.axes)}", Misfit)
    taps = () if single else _taps(reader, name, module)
    return reader.matrix(name, Tensors(module.weight, module.bias, taps=taps), value)


def _pads(padding: Any) -> bool:
    """Of one dimension, or a letter of a word, which none of one weight needs."""
    return not isinstance(padding, str) and int(padding) > 0


def _taps(reader: Reader, name: str, module: Any) -> tuple[Tap, ...]:
    lines = []
    sizes = zip(module.kernel_size, module.dilation, reader.positions, strict=True)
    for place, (kernel, dilation, size) in enumerate(sizes):
        spread = dilation * (kernel - 1)
        if module.padding == "same":
            left, right = spread // 2, spread - spread // 2
        else:
            left = right = 0 if module.padding == "valid" else int(module.padding[place])
        if left + right != spread:
            reader.refuse(
                name,
                f"makes {size + left + right - spread} positions out of {size}; a layer that is repeated must keep the grid, such as with "
                'padding="same"',
            )
        if max(left, right) > (size if module.padding_mode == "circular" else size - 1) and module.padding_mode in (
            "reflect",
            "circular",
        ):
            reader.refuse(name, f"pads {size} positions by {max(left, right)} ({module.padding_mode})")
        lines.append(
            [[_read(p + d * dilation - left, size, module.padding_mode) for p in range(size)] for d in range(kernel)]
        )
    return tuple(
        tuple(_through(reader, lines, offsets)) for offsets in product(*(range(k) for k in module.kernel_size))
    )


def _through(reader: Reader, lines: list[list[list[int | None]]], offsets: tuple[int, ...]) -> list[int | None]:
    """For one weight the place, in row-major order, that each position reads."""
    read: list[int | None] = []
    for at in product(*map(range, reader.positions)):
        index: int | None = 0
        for line, offset, p, size in zip(lines, offsets, at, reader.positions, strict=True):
            found = line[offset][p]
            index = None if index is None or found is None else index * size + found
        read.append(index)
    return read


def _read(place: int, size: int, mode: str) -> int | None:
    """A place of a line, or what stands for it beyond the border."""
    if 0 <= place < size:
        return place
    if mode == "circular":
        return place % size
    if mode == "replicate":
        return 0 if place < 0 else size - 1
    if mode == "reflect":
        return -place if place < 0 else 2 * (size - 1) - place
    return None


MODULES: dict[str, Rule] = dict.fromkeys(("Conv1d", "Conv2d", "Conv3d"), convolved)
FUNCTIONS: dict[str, Rule] = {}
