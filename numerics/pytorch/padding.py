"""Zeros beside positions: a shift where as many positions are cut at the other end, as in a mixture of a token with the one before."""

from __future__ import annotations

from typing import Any

from numerics.pytorch.moving import moved
from numerics.pytorch.reader import Reader, Rule, here
from numerics.pytorch.values import Value, spoken


def padded(reader: Reader, x: Any, pad: Any, mode: str = "constant", value: Any = 0) -> Value:
    """``F.pad``.

    Raises
    ------
    ValueError
        If it changes the number of neurons or positions, or fills with other numbers than 0.
    """
    tensor = reader.value(x, "pad")
    every, shifts = here(reader.positions), [0] * len(reader.positions)
    for place, (before, after) in enumerate(zip(pad[::2], pad[1::2], strict=True)):
        if before == after == 0:
            continue
        axis = tensor.axes[tensor.axis(-1 - place, "pad")]
        if before != -after or axis not in every:
            raise ValueError(
                f"pad adds {before} and {after} along {spoken([axis])}; a layer keeps its neurons and positions, so known is a shift of "
                "positions, such as (0, 0, 1, -1)"
            )
        if mode != "constant" or value not in (0, None):
            raise ValueError(f"pad fills with {value if mode == 'constant' else mode}; zeros are known")
        shifts[every.index(axis)] = int(before)
    if not any(shifts):
        return tensor

    def taken(at: tuple[int, ...], place: tuple[int, ...]) -> int:
        return int(all(p == a - shift for p, a, shift in zip(place, at, shifts, strict=True)))

    return moved(reader, "pad", tensor, taken)


def padded_by(reader: Reader, name: str, module: Any, x: Any) -> Value:
    """``nn.ZeroPad2d`` and the like."""
    return padded(reader, x, tuple(module.padding), "constant", module.value)


MODULES: dict[str, Rule] = {"_ConstantPadNd": padded_by}
FUNCTIONS: dict[str, Rule] = {"pad": padded}
