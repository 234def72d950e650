"""All places between two bounds where a function of one number takes a value: costly functions, of which few points can be looked at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq, minimize_scalar

Array = NDArray[np.float64]

#: Points at which a function is looked at before a value is sought, and of the grid on which cheap functions show where it may turn.
COARSE, FINE = 9, 2001
#: More turns than these are too many to look at a costly function between them.
MOST_TURNS = 40
_EDGE = 16  # halvings between a point where the function exists and one where it does not
_JUMP = 1e-4  # of what it changes by between two points, from which a function jumps at a place
_SAME = 1e-7  # relative distance of two places that are one


def spaced(low: float, high: float, count: int) -> Array:
    """Points between two bounds, by ratios where these are positive and far apart."""
    return np.geomspace(low, high, count) if low > 0 and high / low > 10 else np.linspace(low, high, count)


def turns(rows: Array, points: Array) -> Array:
    """The points at which some row of numbers has a local extreme; rows are values of cheap functions on a fine grid.

    Parameters
    ----------
    rows : array, shape (functions, points)
    points : array

    Examples
    --------
    >>> grid = np.linspace(-1, 1, 201)
    >>> turns(np.array([np.cos(grid), grid**3]), grid)
    array([0.])
    """
    found: set[int] = set()
    for row in rows[np.isfinite(rows).all(axis=1)]:
        step = np.diff(row)
        moving = np.flatnonzero(np.abs(step) > 1e-12 * np.abs(row).max(initial=0.0))
        back = np.flatnonzero(np.diff(np.sign(step[moving])) != 0)
        found |= {int(k) for j in back for k in (moving[j] + 1, moving[j + 1])}  # both ends of a plateau
    return points[sorted(found)]


@dataclass(frozen=True)
class Crossings:
    """What was seen of a function between two bounds.

    Parameters
    ----------
    points, values : array
        Where it was looked at, and what it was there; only where it exists.
    found : tuple of float
        Where it takes the value, in order.
    jumps : tuple of float
        Where it jumps over the value.
    """

    points: Array
    values: Array
    found: tuple[float, ...]
    jumps: tuple[float, ...]

    @property
    def reach(self) -> tuple[float, float]:
        """The least and the largest value that were seen."""
        return float(self.values.min()), float(self.values.max())


def crossings(
    function: Callable[[float], float], target: float, points: Array, near: float = 1e-6, enough: float = 0.0
) -> Crossings:
    """Where a function takes a value, if it is monotone between neighbouring points, or turns once where it comes near the value.

    Parameters
    ----------
    function : callable
        Not a number where it does not exist.
    target : float
    points : array
        In order: those at which the function may turn must be among them.
    near : float
        How far from the target the function may be at a place where it takes it, at least; further away it jumps.
    enough : float
        So near to the target no place is sought that is nearer, as where errors of the function are larger.
    """
    seen = {float(x): float(function(float(x))) for x in points}

    def value(x: float) -> float:
        if x not in seen:
            seen[x] = float(function(x))
        return seen[x]

    def away(x: float) -> float:
        found = _there(value(float(x))) - target
        return found if abs(found) > enough else 0.0

    _look_at_edges(value, list(seen), target)
    kept = _known(seen)
    for low, high, side in _turning_back(kept, target):
        _sought(value, low, high, side)
    grid = _known(seen)
    found: list[float] = []
    jumps: list[float] = []
    for (a, u), (b, v) in pairwise(grid):
        if (u - target) * (v - target) > 0 or any(a < x < b for x in seen):
            continue
        try:
            root = float(brentq(away, a, b, xtol=1e-12, rtol=1e-9))
        except ArithmeticError:
            continue  # it does not exist in between
        places = found if abs(value(root) - target) <= max(near, _JUMP * abs(u - v)) else jumps
        if not any(abs(root - other) <= _SAME * max(abs(root), b - a) for other in places):
            places.append(root)
    return Crossings(np.array([x for x, _ in grid]), np.array([v for _, v in grid]), tuple(found), tuple(jumps))


def _known(seen: dict[float, float]) -> list[tuple[float, float]]:
    return sorted((x, v) for x, v in seen.items() if np.isfinite(v))


def _look_at_edges(value: Callable[[float], float], points: list[float], target: float) -> None:
    """Nearly to the end of where the function exists, between each point where it does and one where it does not, unless it moves away there."""
    for k, (one, other) in enumerate(pairwise(points)):
        if np.isfinite(value(one)) == np.isfinite(value(other)):
            continue
        inside, outside, before = (one, other, k - 1) if np.isfinite(value(one)) else (other, one, k + 2)
        behind = value(points[before]) if 0 <= before < len(points) else np.nan
        if np.isfinite(behind) and (value(inside) - behind) * (value(inside) - target) > 0:
            continue
        for _ in range(_EDGE):
            middle = (inside + outside) / 2
            inside, outside = (middle, outside) if np.isfinite(value(middle)) else (inside, middle)


def _turning_back(grid: list[tuple[float, float]], target: float) -> list[tuple[float, float, float]]:
    """Where the function comes nearer to the target and goes away on the same side: between which points, and 1 for above, −1 for below."""
    found = []
    for (a, u), (_, v), (b, w) in zip(grid, grid[1:], grid[2:], strict=False):
        side = np.sign(v - target)
        if (
            side
            and np.sign(u - target) == np.sign(w - target) == side
            and abs(v - target) <= min(abs(u - target), abs(w - target))
        ):
            found.append((a, b, float(side)))
    return found


def _sought(value: Callable[[float], float], low: float, high: float, side: float) -> None:
    """Look where the function is least (side 1) or largest (side -1) between two points."""

    def away(x: float) -> float:
        found = value(float(x))
        return side * found if np.isfinite(found) else np.inf

    minimize_scalar(away, bounds=(low, high), options={"xatol": 1e-3 * (high - low)})


def _there(value: float) -> float:
    if not np.isfinite(value):
        raise ArithmeticError("the function does not exist here")
    return value
