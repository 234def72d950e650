r"""Filters over a grid of positions: which position each weight of a filter reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from typing import TypeAlias

import sympy as sp

from derivations.errors import DerivationError, unknown

#: What one weight of a filter reads: for every position of an input a position of it, or None beyond a border.
Tap: TypeAlias = tuple[int | None, ...]

#: What stands beyond a border, by PyTorch's words: the place that is read there on a line of so many, None for 0.
PADDINGS: dict[str, Callable[[int, int], int | None]] = {
    "circular": lambda place, size: place % size,
    "zeros": lambda place, size: place if 0 <= place < size else None,
    "reflect": lambda place, size: abs(place) if place < size else 2 * (size - 1) - place,
    "replicate": lambda place, size: min(max(place, 0), size - 1),
}


class Filter(sp.Basic):
    r"""Offsets around each position of a grid, one weight each.

    Parameters
    ----------
    sizes : int or tuple of int
        Odd, one for each dimension of the grid.
    padding : {"circular", "zeros", "reflect", "replicate"}
        What is read beyond a border: the other end, 0, the mirror image without the border, or the border.

    Raises
    ------
    DerivationError
        For another word, or sizes that are no odd positive whole numbers.

    Examples
    --------
    >>> Filter(3, "zeros").taps((4,))
    ((None, 0, 1, 2), (0, 1, 2, 3), (1, 2, 3, None))
    """

    def __new__(cls, sizes: object, padding: object = "circular") -> Filter:
        """Check the sizes."""
        given = tuple(sizes) if isinstance(sizes, Sequence | sp.Tuple) and not isinstance(sizes, str) else (sizes,)
        odd = all(isinstance(k, int | sp.Integer) and not isinstance(k, bool) and k > 0 and k % 2 for k in given)
        if not given or not odd:
            raise DerivationError(
                f"expected a filter of odd sizes, one for each dimension of the grid, got filter={sizes}"
            )
        if str(padding) not in PADDINGS:
            raise DerivationError(unknown("padding", padding, PADDINGS))
        made: Filter = sp.Basic.__new__(cls, sp.Tuple(*given), sp.Symbol(str(padding)))
        return made

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many weights there are in each dimension."""
        return tuple(map(int, self.args[0].args))

    @property
    def padding(self) -> str:
        """What stands beyond a border."""
        return str(self.args[1])

    def taps(self, grid: tuple[int, ...], what: str = "the filter") -> tuple[Tap, ...]:
        """For each weight, what every position of the grid reads, positions in row-major order.

        Raises
        ------
        DerivationError
            If the filter has other dimensions than the grid, or is larger.
        """
        if len(self.sizes) != len(grid):
            raise DerivationError(
                "shapes do not fit: expected a filter of odd sizes, one for each dimension of the grid, "
                f"got filter={self.sizes} for positions={grid} in {what}"
            )
        if any(k > p for k, p in zip(self.sizes, grid, strict=True)):
            raise DerivationError(
                f"shapes do not fit: expected a filter no larger than the grid {grid}, got {self.sizes} in {what}"
            )
        offsets = product(*(range(-(k // 2), k // 2 + 1) for k in self.sizes))
        return tuple(tuple(self._read(at, offset, grid) for at in product(*map(range, grid))) for offset in offsets)

    def _read(self, at: tuple[int, ...], offset: tuple[int, ...], grid: tuple[int, ...]) -> int | None:
        index = 0
        for p, d, size in zip(at, offset, grid, strict=True):
            place = PADDINGS[self.padding](p + d, size)
            if place is None:
                return None
            index = index * size + place
        return index
