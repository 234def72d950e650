"""Averages over neighbouring positions that keep the grid."""

from __future__ import annotations

from itertools import product
from typing import Any

import sympy as sp

from derivations import other, over_positions, position_matrix
from numerics.pytorch.moving import over_all
from numerics.pytorch.reader import Reader, Rule, here
from numerics.pytorch.values import BATCH, NEURONS, Value, spoken


def pooled(reader: Reader, name: str, module: Any, x: Any) -> Value:
    """``nn.AvgPool1d``, ``nn.AvgPool2d`` and ``nn.AvgPool3d`` of stride 1: a matrix of numbers over the positions.

    Raises
    ------
    ValueError
        If the grid does not stay.
    """
    dimensions = int(type(module).__name__.removesuffix("d")[-1])
    kernel, stride, padding = (
        _each(given, dimensions) for given in (module.kernel_size, module.stride, module.padding)
    )
    if any(step != 1 for step in stride) or any(2 * p != k - 1 for p, k in zip(padding, kernel, strict=True)):
        reader.refuse(
            name,
            f"of size {kernel}, stride {stride} and padding {padding} changes the grid of positions; a layer that is repeated must keep it, "
            "such as with an odd size, stride 1 and half the size as padding",
        )
    value, expected = reader.value(x, name), (BATCH, NEURONS, *here(reader.positions))
    if len(reader.positions) != dimensions or value.axes != expected:
        wanted = (BATCH, NEURONS, *here((1,) * dimensions))
        reader.refuse(name, f"reads tensors of {spoken(wanted)} and gets {spoken(value.axes)}; give positions=")
    divisor = getattr(module, "divisor_override", None)
    every = list(product(*map(range, reader.positions)))
    rows = []
    for at in every:
        read = [all(abs(a - b) <= p for a, b, p in zip(at, place, padding, strict=True)) for place in every]
        count = divisor or (sp.prod(kernel) if module.count_include_pad else sum(read))
        rows.append([sp.Rational(int(hit), int(count)) for hit in read])
    weights = position_matrix(rows)
    return value.map(lambda e: over_positions(weights * other(e)))


def averaged_to_one(reader: Reader, name: str, module: Any, x: Any) -> Value:
    """``nn.AdaptiveAvgPool2d(1)``: the average over all positions, as squeeze and excitation reads.

    Raises
    ------
    ValueError
        For a grid of another size.
    """
    dimensions = int(type(module).__name__.removesuffix("d")[-1])
    sizes = _each(module.output_size, dimensions)
    value = reader.value(x, name)
    found = over_all(reader, name, value, tuple(range(-dimensions, 0)), True) if set(sizes) == {1} else None
    if found is None:
        reader.refuse(
            name, "averages over positions and makes a grid of its own; a layer that is repeated must keep its grid"
        )
    total, count = found
    return total.map(lambda e: e / count)


def _each(given: Any, dimensions: int) -> tuple[int, ...]:
    return (int(given),) * dimensions if isinstance(given, int) else tuple(int(g) for g in given)


MODULES: dict[str, Rule] = dict.fromkeys(("AvgPool1d", "AvgPool2d", "AvgPool3d"), pooled) | {
    "_AdaptiveAvgPoolNd": averaged_to_one
}
FUNCTIONS: dict[str, Rule] = {}
