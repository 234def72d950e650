r"""Means of products over strongly correlated pairs, by the Gaussian number that both neurons share.

With :math:`U = M + \sigma(\sqrt\rho\,A + \sqrt{1-\rho}\,W)`, V likewise, the same A and independent W, both are independent given A. So
:math:`\mathbb{E} f(U) g(V) = \mathbb{E} F(y, \varepsilon) G(y, \varepsilon')` with :math:`F(y, \varepsilon) = \mathbb{E} f(M + \varepsilon(y + W))`,
:math:`\varepsilon = \sigma\sqrt{1-\rho}` and :math:`y = A\sqrt{\rho/(1-\rho)}`, the same for both. F is entire in y, where it changes on the scale 1 or
slower, so panels that double their distance from 0 are halved until polynomials follow it; at their nodes it is a table in
:math:`\log\varepsilon`, one for all pairs.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from numerics.kernels.panels import Panels, interpolation
from numerics.kernels.tables import interpolated, octaves
from numerics.quadrature import legendre

Array = NDArray[np.float64]

ONE = 4e-16  #: How near to 1 a correlation is taken for 1.
_LEAST = 0.5  # correlation that panels are narrow enough for
_NODES = 24  # of a panel [a, 2a]: what is smooth but at 0 is followed to 5.8^-48
_FOLLOWED = 1e-13  # of the root of E f² over the panel
_PIECES = 64  # of a panel, at most
_BLOCK = 4  # panels whose values stand in one table
_FARTHEST = 12.0  # deviations: a panel there is as wide as two thirds of them
_STEPS = (1 / 4, 1 / 8, 1 / 16)  # of the trapezoidal rule, in deviations
_ERROR = 1e-13  # of it with three times the step, by the root of E f²
_AT_ONCE, _PAIRS = 1 << 12, 512  # means, and pairs, at a time


class One(NamedTuple):
    """A function, and the means and deviations of neurons."""

    panels: Panels
    mean: Array
    deviation: Array

    def some(self, which: Any) -> One:
        """Some of the neurons."""
        return self._replace(mean=self.mean[which], deviation=self.deviation[which])


def shared_means(left: One, right: One, rho: Array, by_tables: bool = False) -> Array:
    """The means of products of pairs side by side; NaN where they have to be found in another way.

    Parameters
    ----------
    rho : array
        Their correlations.
    by_tables : bool
        NaN also where neurons share no table: of a function with a closed mean, a pair has a shorter integral of its own.
    """
    total = np.full(len(rho), np.nan)
    known = np.flatnonzero((np.abs(rho) >= _LEAST) & (1.0 - np.abs(rho) > ONE))
    reach = max((one.panels.reach(one.mean, one.deviation) for one in (left, right)), default=0.0)
    if not len(known) or reach > _FARTHEST:
        return total
    size = np.abs(rho[known])
    apart, slope = np.sqrt(1.0 - size), np.sqrt((1.0 - size) / size)
    near = [one.some(known)._replace(deviation=one.deviation[known] * apart) for one in (left, right)]
    last = np.maximum(np.ceil(np.log2(reach / slope)), 0.0) // _BLOCK
    group = np.stack([*(octaves(one.deviation) for one in near), last, np.sign(rho[known])])
    for these in np.unique(group, axis=1).T:
        whole = np.flatnonzero(np.all(these == group.T, axis=1))
        for first in range(0, len(whole), _PAIRS):
            part = whole[first : first + _PAIRS]
            sides = [one.some(part) for one in near]
            alike = bool(these[3] > 0)
            blocks = range(int(these[2]) + 1)
            total[known[part]] = np.sum(
                [_on_block(sides, block, slope[part], alike, by_tables) for block in blocks], axis=0
            )
    return total


def _on_block(sides: list[One], block: int, slope: Array, alike: bool, by_tables: bool) -> Array:
    """What some panels and their mirror images add."""
    plans = [_plan(one, block) for one in sides]
    pieces = tuple(map(max, plans[0].pieces, plans[1].pieces))
    if any(0 in plan.pieces for plan in plans):
        return np.full(len(slope), np.nan)
    places, weights = _rule(block, pieces)
    sizes = [np.repeat(plan.sizes, _NODES * np.array(pieces)) for plan in plans]
    (one, size), (other, its) = (_values(*given, block, pieces, by_tables) for given in zip(sides, sizes, strict=True))
    weights = weights * sizes[0] * sizes[1]
    density = np.exp(-0.5 * (places[:, None] * slope) ** 2)
    half = len(places)
    there, here = (other[:half], other[half:]) if alike else (other[half:], other[:half])
    total = weights @ (density * (one[:half] * there + one[half:] * here))
    found: Array = total * size * its * slope / np.sqrt(2 * np.pi)
    return found


class Plan(NamedTuple):
    """Into how many pieces panels have to be cut, 0 if none are enough, and how large the function is there against the last."""

    pieces: tuple[int, ...]
    sizes: Array


def _plan(one: One, block: int) -> Plan:
    """Of a block of panels, for an octave of deviations where neurons have one mean."""
    panels = range(block * _BLOCK, (block + 1) * _BLOCK)
    if np.any(one.mean != one.mean[0]):
        return Plan(tuple(_pieces(one, panel) for panel in panels), np.ones(_BLOCK))
    octave = float(octaves(one.deviation[:1])[0])
    key = ("shared", float(one.mean[0]), octave, block)
    if key not in one.panels.tables:
        wide = one._replace(mean=np.repeat(one.mean[0], 3), deviation=2.0 ** (octave + np.array([-0.5, 0.0, 0.5])))
        pieces = tuple(_pieces(wide, panel) for panel in panels)
        sizes = np.array([0.0 if 0 in pieces else _size(wide, panel)[1] for panel in panels])
        sizes /= sizes[-1] or 1.0
        one.panels.tables[key] = Plan(
            pieces, np.where(sizes > 0, sizes, 1.0)
        )  # in a dead zone there is nothing to scale
    found: Plan = one.panels.tables[key]
    return found


@lru_cache(maxsize=256)
def _rule(block: int, pieces: tuple[int, ...]) -> tuple[Array, Array]:
    """Nodes and weights on a block of panels."""
    t, w = legendre(_NODES)
    panels = range(block * _BLOCK, (block + 1) * _BLOCK)
    places = [_places(panel, cut, t) for panel, cut in zip(panels, pieces, strict=True)]
    weights = [np.tile(w * _width(panel) / cut, cut) for panel, cut in zip(panels, pieces, strict=True)]
    return np.concatenate(places), np.concatenate(weights)


def _width(panel: int) -> float:
    """Of [0, 1] or [2^(panel-1), 2^panel]."""
    return 2.0 ** max(panel - 1, 0)


def _places(panel: int, pieces: int, t: Array) -> Array:
    """Points of (0, 1) in each of so many pieces of a panel."""
    low = _width(panel) if panel else 0.0
    places: Array = low + (_width(panel) / pieces * (np.arange(pieces)[:, None] + t)).ravel()
    return places


def _values(one: One, sizes: Array, block: int, pieces: tuple[int, ...], by_tables: bool) -> tuple[Array, Array]:
    """F at the nodes of a block and at their mirror images, by what is its size there, and the size on the last panel."""
    places, _ = _rule(block, pieces)
    at = np.concatenate([places, -places])
    sizes = np.tile(sizes, 2)

    def made(mean: Array, deviation: Array) -> tuple[Array, Array]:
        some = one._replace(mean=mean, deviation=deviation)
        return _smoothed(some, at) / sizes, _size(some, (block + 1) * _BLOCK - 1)

    def nothing(mean: Array, deviation: Array) -> tuple[Array, Array]:
        return np.full((len(mean), len(at)), np.nan), np.ones(len(mean))

    without = nothing if by_tables else made
    found = interpolated(one.panels, f"shared {block} {pieces}", one.mean, one.deviation, made, without)
    if found is None:
        values, size = made(one.mean, one.deviation)
        found = np.divide(values.T, size, out=np.zeros(values.T.shape), where=size > 0), size
    return found


def _smoothed(one: One, y: Array) -> Array:
    """F of all neurons at all places, shape (neurons, places)."""
    wide = np.repeat(one.deviation, len(y))
    mean = (one.mean[:, None] + one.deviation[:, None] * y).ravel()
    found = np.empty(len(wide))
    for first in range(0, len(wide), _AT_ONCE):
        some = slice(first, first + _AT_ONCE)
        found[some] = _means(one.panels, mean[some], wide[some])
    return found.reshape(len(one.mean), len(y))


def _means(panels: Panels, mean: Array, deviation: Array) -> Array:
    """E f of neurons: the trapezoidal rule where the function is smooth on the scale of a neuron, else panels."""
    reach, found = panels.reach(mean, deviation), np.empty(len(mean))
    smooth = np.ones(len(mean), dtype=bool)
    for corner in panels.corners:
        smooth &= np.abs(mean - corner.at) > reach * deviation
    rest = np.flatnonzero(smooth)
    for step in _STEPS:
        z = step * np.arange(-np.ceil(reach / step), np.ceil(reach / step) + 1)
        weight = step / np.sqrt(2 * np.pi) * np.exp(-0.5 * z * z)
        values = panels.function(mean[rest, None] + deviation[rest, None] * z)
        thirds = [3 * values[:, k::3] @ weight[k::3] for k in range(3)]  # one pair may agree by chance, not all
        found[rest] = np.mean(thirds, axis=0)
        rest = rest[~(np.ptp(thirds, axis=0) <= _ERROR * np.sqrt(values**2 @ weight))]
    rest = np.concatenate([np.flatnonzero(~smooth), rest])
    if len(rest):
        nodes = panels.nodes(mean[rest], deviation[rest], reach)
        found[rest] = nodes.mean(nodes.value, len(rest))
    return found


def _size(one: One, panel: int) -> Array:
    """The root of E f² over the whole panel."""
    wide = one.deviation * 2.0**panel
    nodes = one.panels.nodes(one.mean, wide, one.panels.reach(one.mean, wide))
    found: Array = np.sqrt(nodes.mean(nodes.value**2, len(wide)))
    return found


def _pieces(one: One, panel: int) -> int:
    """Into how many pieces a panel has to be cut for some neurons; 0 if none are enough."""
    between, interpolate = interpolation(_NODES)
    pieces = 1
    try:
        size = _size(one, panel)[:, None, None]
        while pieces <= _PIECES:
            off = 0.0
            for sign in (1.0, -1.0):
                values, truth = (
                    _smoothed(one, sign * _places(panel, pieces, t)).reshape(len(size), pieces, -1)
                    for t in (legendre(_NODES)[0], between)
                )
                off = max(off, float(np.max(np.abs(values @ interpolate.T - truth) / np.where(size > 0, size, 1.0))))
            if off <= _FOLLOWED:
                return pieces
            pieces *= 2
    except ValueError:  # beyond what the function can be followed to
        return 0
    return 0
