"""The number of features of a block's state and the order of its axes, from the modules that say them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from numerics.pytorch.reader import here
from numerics.pytorch.values import ANY, BATCH, NEURONS, Axis


def shape_of_state(
    modules: Iterable[tuple[str, Any]], positions: tuple[int, ...]
) -> tuple[int | None, tuple[Axis, ...]]:
    """The number of features of the state and its axes, from the first modules that say them; the block may turn its axes before these read it."""
    features, filters, last = None, False, True
    for _, module in modules:
        size, is_filter = _reads(module)
        if size is not None and features is None:
            features, filters = size, is_filter
        attention = getattr(module, "self_attn", module)
        if hasattr(attention, "batch_first"):
            last = last and attention.batch_first
    return features, possible_orders(positions)[(1 if filters else 0 if last else 2) if positions else 0]


def possible_orders(positions: tuple[int, ...]) -> tuple[tuple[Axis, ...], ...]:
    """Orders of the state's axes: features last, features before the positions, positions first."""
    if not positions:
        return ((ANY, NEURONS),)
    grid = here(positions)
    return (BATCH, *grid, NEURONS), (BATCH, NEURONS, *grid), (*grid, BATCH, NEURONS)


def _reads(module: Any) -> tuple[int | None, bool]:
    """How many features a module reads, and whether they stand before the positions."""
    if extends(module, "_ConvNd"):
        return int(module.in_channels), True
    if extends(module, "_BatchNorm"):
        return int(module.num_features), not extends(module, "BatchNorm1d")
    if extends(module, "TransformerEncoderLayer"):
        return int(module.self_attn.embed_dim), False
    for name in ("in_features", "embed_dim"):
        if isinstance(getattr(module, name, None), int):
            return int(getattr(module, name)), False
    shape = list(getattr(module, "normalized_shape", []))
    return (int(shape[0]), False) if len(shape) == 1 else (None, False)


def extends(module: Any, name: str) -> bool:
    """Whether a module's class or one that it extends has this name."""
    return any(base.__name__ == name for base in type(module).__mro__)


def possible_sizes(block: Any) -> list[int]:
    """Other numbers of features that the state may have: what the block's modules read and put out, the first four."""
    found: list[int] = []
    for _, module in block.named_modules():
        for name in ("in_features", "out_features", "in_channels", "out_channels"):
            size = getattr(module, name, None)
            if isinstance(size, int) and size not in found:
                found.append(size)
    return found[:4]
