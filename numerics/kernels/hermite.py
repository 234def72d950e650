r"""Normalised Hermite coefficients :math:`f_n = \mathbb{E} f(M + \sigma Z) He_n(Z)/\sqrt{n!}` of a function, for many neurons.

A function that is smooth on the whole line has one grid for all neurons: the trapezoidal rule, whose halves on the even and the odd
points estimate its error, which squares with each halving of the step. All others are integrated panel by panel.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from numerics.kernels.panels import Panels
from numerics.kernels.tables import interpolated

Array = NDArray[np.float64]

TERMS = 200
_STEPS = (1 / 16, 1 / 32, 1 / 64)
_NOTHING = 1e-17  # of the roots of both E f²
_LAST = 20  # coefficients, of which some may be small by chance
_HALVES = 1e-7  # how far both halves of a grid may differ: the square is what the grid is off
_REACHES = (13.0, 20.0, 38.0)
_WIDEST = 0.75  # deviations in a panel: the last polynomial turns by ten there, which its nodes follow


class Coefficients(NamedTuple):
    """Coefficients of each neuron, E f², what E f² has beyond them, and whether all neurons are alike.

    ``shares`` are the largest ones of E f² from each coefficient on.
    """

    terms: Array
    scale: Array
    tails: Array
    shares: Array
    alike: bool

    def last(self, other: Coefficients) -> int:
        """The last coefficient that adds anything to means of products with another function."""
        used = np.flatnonzero(np.sqrt(self.shares * other.shares) > _NOTHING)
        return int(used[-1]) if len(used) else 0

    def reach(self, tolerance: float) -> Array:
        """For each neuron the root of the correlation up to which what the series leaves out is below the root of the tolerance."""
        share = np.divide(self.tails, tolerance * self.scale, out=np.zeros_like(self.scale), where=self.tails > 0)
        return np.where(share > 0, np.maximum(share, 1e-300) ** (-0.5 / self.terms.shape[1]), 1e3)


def coefficients(panels: Panels, mean: Array, deviation: Array) -> Coefficients:
    """The first coefficients of the function at each neuron.

    Parameters
    ----------
    panels : Panels
    mean, deviation : array, shape (neurons,)
    """

    def made(some: Array, wide: Array) -> tuple[Array, Array]:
        return _of_each(panels, some, wide)

    def with_size(some: Array, wide: Array) -> tuple[Array, Array]:
        found, scale = made(some, wide)
        return found, np.sqrt(scale)

    name, deviation = "series", panels.widened(mean, deviation)
    if np.any(deviation != deviation[0]) and (found := interpolated(panels, name, mean, deviation, with_size)):
        values, size = found
        values *= size
        return _whole(values.T, size**2)
    few, owner = panels.for_few(name, mean, deviation, lambda *some: _whole(*made(*some)))
    if owner is None:
        return few
    if len(few.scale) > 1:
        return Coefficients(few.terms.T[:, owner].T, few.scale[owner], few.tails[owner], few.shares, False)
    each, scale, tails = (np.broadcast_to(part, (len(mean), *part.shape[1:])) for part in few[:3])
    return Coefficients(each, scale, tails, few.shares, True)


def _whole(terms: Array, scale: Array) -> Coefficients:
    tails = np.maximum(scale - np.einsum("ij,ij->i", terms, terms), 0.0)
    decayed = terms.shape[1] * np.max(terms[:, -_LAST:] ** 2, axis=1)  # as for coefficients that fall like 1/n
    tails = np.where(
        tails < 1e-14 * scale, np.minimum(decayed, 1e-14 * scale), tails
    )  # which the difference does not tell
    tails[tails < 1e-28 * scale] = 0.0  # rounding
    most = np.divide(terms.T**2, scale, out=np.zeros(terms.shape[::-1]), where=scale > 0).max(axis=1)
    shares = np.cumsum(most[::-1])[::-1]
    return Coefficients(np.asfortranarray(terms), scale, tails, shares, False)


def _of_each(panels: Panels, mean: Array, deviation: Array) -> tuple[Array, Array]:
    reach = panels.reach(mean, deviation)
    found = None
    if not panels.corners:
        found = _on_one_grid(panels, mean, deviation, reach)
    return found if found is not None else _by_panels(panels, mean, deviation, reach)


def _on_one_grid(panels: Panels, mean: Array, deviation: Array, reach: float) -> tuple[Array, Array] | None:
    limit = next((r for r in _REACHES if r >= min(reach + 3.5, _REACHES[-1])), _REACHES[-1])
    for step in _STEPS:
        z = _grid(step, limit)
        values = panels.function(mean[:, None] + deviation[:, None] * z)
        if not np.all(np.isfinite(values)):
            return None
        scale = step * values**2 @ (np.exp(-z * z / 2) / np.sqrt(2 * np.pi))
        weights = _weights(step, limit)
        halves = [2 * values[:, k::2] @ weights[k::2] for k in range(2)]
        if np.all(np.abs(halves[0] - halves[1]).max(axis=1) <= _HALVES * np.sqrt(scale)):
            return (halves[0] + halves[1]) / 2, scale
    return None


def _grid(step: float, limit: float) -> Array:
    found: Array = step * np.arange(-int(limit / step), int(limit / step) + 1, dtype=float)
    return found


@cache
def _weights(step: float, limit: float) -> Array:
    """Weights of a grid times densities times Hermite polynomials, shape (points, polynomials)."""
    return step * np.array(list(_hermite(_grid(step, limit)))).T


def _hermite(z: Array) -> Iterator[Array]:
    """Normalised Hermite polynomials times the density, one after the other."""
    before, now = np.zeros_like(z), np.exp(-z * z / 2) / np.sqrt(2 * np.pi)
    yield now
    for n in range(TERMS):
        before, now = now, (z * now - np.sqrt(n) * before) / np.sqrt(n + 1.0)
        yield now


def _by_panels(panels: Panels, mean: Array, deviation: Array, reach: float) -> tuple[Array, Array]:
    count = len(mean)
    found, scale = np.empty((count, TERMS + 1)), np.empty(count)
    reach = max(reach, 13.0)  # high polynomials reach further than the density
    step = 64
    for start in range(0, count, step):
        some = slice(start, min(start + step, count))
        size = some.stop - start
        nodes = panels.nodes(mean[some], deviation[some], reach, _WIDEST)
        scale[some] = nodes.mean(nodes.value**2, size)
        weighted = nodes.value * nodes.weight
        order = np.argsort(nodes.owner, kind="stable")
        starts = np.searchsorted(nodes.owner[order], np.arange(size))
        z, weighted = nodes.z[order], weighted[order]
        before, now = np.zeros_like(z), np.ones_like(z)
        for n in range(TERMS + 1):
            found[some, n] = np.add.reduceat(now * weighted, starts)
            before, now = now, (z * now - np.sqrt(n) * before) / np.sqrt(n + 1.0)
    return found, scale
