r"""Means :math:`\mathbb{E} f(U) f(V)` of single pairs, as integrals over U of f(U) times the mean of f(V) given U.

Given :math:`U = u`, V is :math:`N(M_2 + s(u - M_1), \varepsilon^2)`. Its mean of f is smooth in u, and bends within
:math:`\varepsilon/|s|` of where its centre meets a corner of f: panels are narrow there, and wider by powers of two away from it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from numerics.kernels.panels import Corner, Nodes, Panels

Array = NDArray[np.float64]

_INNER = 1 << 19  # nodes of inner integrals at a time
_PAIRS = 64  # at a time
_ONE = 4e-16  # how near to 1 a correlation is taken for 1


class Pair(NamedTuple):
    """Means, deviations and correlations of pairs of neurons, one array each."""

    mean: Array
    deviation: Array
    other_mean: Array
    other_deviation: Array
    correlation: Array


def pair_means(first: Panels, second: Panels, pair: Pair, closed: Callable[..., Array] | None = None) -> Array:
    """The mean of the product of a function at one end of each pair and one at the other.

    Parameters
    ----------
    first, second : Panels
    pair : Pair
    closed : callable, optional
        From mean and variance to the mean of the second function, where it is known.
    """
    result = np.empty(len(pair.mean))
    line = 1.0 - np.abs(pair.correlation) <= _ONE
    for i in np.flatnonzero(line):
        result[i] = _on_a_line(first, second, Pair(*(column[i : i + 1] for column in pair)))
    rest = np.flatnonzero(~line)
    for start in range(0, len(rest), _PAIRS):
        some = rest[start : start + _PAIRS]
        result[some] = _given_one(first, second, Pair(*(column[some] for column in pair)), closed)
    return result


def _given_one(first: Panels, second: Panels, pair: Pair, closed: Callable[..., Array] | None) -> Array:
    at, deviation, other, wide, rho = pair
    slope, left = rho * wide / deviation, wide * np.sqrt((1 - rho) * (1 + rho))
    reach = max(first.reach(at, deviation), second.reach(other, wide))
    edges = [_edges(first, second, Pair(*column), reach) for column in zip(*pair, strict=True)]
    owner = np.repeat(np.arange(len(edges)), [len(ends) - 1 for ends in edges])
    starts, stops = np.concatenate([ends[:-1] for ends in edges]), np.concatenate([ends[1:] for ends in edges])
    outer = first.on_panels(owner, starts, stops, at, deviation)
    of = outer.owner
    means, spread = other[of] + slope[of] * (outer.x - at[of]), left[of]
    inside = np.empty(len(means))
    if closed is not None:
        with np.errstate(all="ignore"):
            inside = closed(means, spread**2)
    lost = np.flatnonzero(~np.isfinite(inside)) if closed is not None else np.arange(len(means))
    step = max(1, _INNER // 256)
    for start in range(0, len(lost), step):
        some = lost[start : start + step]
        nodes = second.nodes(means[some], spread[some], reach)
        inside[some] = nodes.mean(nodes.value, len(some))
    return outer.mean(outer.value * inside, len(at))


def _edges(panels: Panels, second: Panels, pair: Pair, reach: float) -> Array:
    """Panel ends over U of one pair: those of the function, those of the mean given U, and finer ones where either is not smooth."""
    at, deviation, other, wide, rho = map(float, pair)
    slope, left = rho * wide / deviation, wide * np.sqrt((1 - rho) * (1 + rho))
    low, high = at - reach * deviation, at + reach * deviation
    width = left / abs(slope) if slope else np.inf
    bends = at + (second.edges(other - reach * wide, other + reach * wide) - other) / slope if slope else np.empty(0)
    centres = np.array([at + (corner.at - other) / slope for corner in second.corners]) if slope else np.empty(0)
    own = panels.edges(low, high)
    found = [own, np.array([low, high])]
    if width < 4 * deviation:
        steps = width * 2.0 ** np.arange(np.ceil(np.log2(4 * deviation / width)) + 1)
        offsets = np.concatenate([-steps, steps])
        rough = [corner.at for corner in panels.corners if not all(corner.smooth)]
        found += [np.add.outer(centre, offsets).ravel() for centre in (centres, np.array(rough))]
        found.append(centres)
    extra = np.concatenate([*found[1:], bends])
    for corner in panels.corners:  # no sliver beside a corner: the mean given U is smooth there
        extra = extra[(np.abs(extra - corner.at) >= 0.9 * width) | all(corner.smooth)]
    merged = np.unique(np.concatenate([own, extra]))
    return merged[(merged >= low) & (merged <= high)]


def _on_a_line(first: Panels, second: Panels, pair: Pair) -> float:
    """Correlation 1 or -1: one integral, of a function with the corners of both."""
    at, deviation, other, wide, rho = (float(column[0]) for column in pair)
    slope = np.sign(rho) * wide / deviation

    def partner(x: Array) -> Array:
        return other + slope * (x - at)

    corners: list[Corner] = []
    for corner in second.corners:
        place = at + (corner.at - other) / slope
        mirrored = corner.sides if slope > 0 else corner.sides[::-1]
        smooth = corner.smooth if slope > 0 else corner.smooth[::-1]
        sides = tuple(_scaled(side, abs(slope)) for side in mirrored)
        corners.append(Corner(place, sides, smooth, corner.exponent, corner.root))  # type: ignore[arg-type]

    def moved(x: Array) -> Array:
        return second.function(partner(x))

    product = [_times(corner, first.function, moved, corners) for corner in first.corners]
    product += [
        _times(corner, moved, first.function, [])
        for corner in corners
        if all(abs(corner.at - own.at) > 1e-14 * deviation for own in first.corners)
    ]
    whole = Panels(lambda x: first.function(x) * moved(x), tuple(sorted(product, key=lambda c: c.at)))
    reach = max(first.reach(pair.mean, pair.deviation), second.reach(pair.other_mean, pair.other_deviation))
    nodes: Nodes = whole.nodes(pair.mean, pair.deviation, reach)
    return float(nodes.mean(nodes.value, 1)[0])


def _scaled(side: Callable[[Array], Array], by: float) -> Callable[[Array], Array]:
    return lambda d: side(by * d)


def _times(
    corner: Corner, own: Callable[[Array], Array], other: Callable[[Array], Array], others: list[Corner]
) -> Corner:
    """A corner of a product: the other factor is smooth there, or has a corner of its own, as smooth on each side as it may be."""
    same = [c for c in others if abs(c.at - corner.at) <= 1e-14 * max(abs(c.at), abs(corner.at))]

    def beside(side: int, place: Corner | None, function: Callable[[Array], Array]) -> Callable[[Array], Array]:
        if place is not None and not place.smooth[side]:
            return place.sides[side]
        sign = 1.0 if side else -1.0
        return lambda d: function(corner.at + sign * d)

    def multiplied(side: int) -> Callable[[Array], Array]:
        own_side, other_side = beside(side, corner, own), beside(side, same[0] if same else None, other)
        return lambda d: own_side(d) * other_side(d)

    smooth = tuple(corner.smooth[side] and (not same or same[0].smooth[side]) for side in (0, 1))
    exponent = corner.exponent + (same[0].exponent if same else 0.0)
    root = int(np.lcm(corner.root, same[0].root)) if same else corner.root
    # of the product itself, not of its square, the mean is asked for
    return Corner(corner.at, (multiplied(0), multiplied(1)), smooth, exponent if root else exponent / 2, root)  # type: ignore[arg-type]
