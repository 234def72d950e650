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

Array = NDArray[np.float64]

_TERMS = 200
_STEPS = (1 / 16, 1 / 32, 1 / 64)
_NOTHING = 1e-17  # of E f²
_HALVES = 1e-7  # how far both halves of a grid may differ: the square is what the grid is off
_REACHES = (13.0, 20.0, 38.0)
_WIDEST = 0.75  # deviations in a panel: the last polynomial turns by ten there, which its nodes follow


class Coefficients(NamedTuple):
    """Coefficients of each neuron, the last one used, E f², what E f² has beyond the coefficients, and whether all neurons are alike."""

    terms: Array
    last: int
    scale: Array
    tails: Array
    alike: bool

    def reach(self, tolerance: float) -> Array:
        """For each neuron the root of the correlation up to which what the series leaves out is below the root of the tolerance."""
        share = np.divide(self.tails, tolerance * self.scale, out=np.zeros_like(self.tails), where=self.tails > 0)
        return np.where(share > 0, np.maximum(share, 1e-300) ** (-0.5 / self.terms.shape[1]), 1e3)


def coefficients(panels: Panels, mean: Array, deviation: Array) -> Coefficients:
    """The first coefficients of the function at each neuron.

    Parameters
    ----------
    panels : Panels
    mean, deviation : array, shape (neurons,)
    """
    found, owner = panels.for_few("series", mean, deviation, lambda *few: _of_each(panels, *few))
    if owner is None:
        return found
    terms = np.asfortranarray(found.terms[owner])
    return Coefficients(terms, found.last, found.scale[owner], found.tails[owner], len(found.scale) == 1)


def _of_each(panels: Panels, mean: Array, deviation: Array) -> Coefficients:
    reach = panels.reach(mean, deviation)
    found = None
    if not panels.corners:
        found = _on_one_grid(panels, mean, deviation, reach)
    terms, scale = found if found is not None else _by_panels(panels, mean, deviation, reach)
    tails = np.maximum(scale - np.sum(terms**2, axis=1), 0.0)
    tails[tails < 1e-14 * scale] = 0.0  # rounding
    shares = np.divide(terms**2, scale[:, None], out=np.zeros_like(terms), where=scale[:, None] > 0)
    left = np.cumsum(shares.max(axis=0)[::-1])[::-1]  # of E f², from each coefficient on
    used = np.flatnonzero(left > _NOTHING)
    return Coefficients(np.asfortranarray(terms), int(used[-1]) if len(used) else 0, scale, tails, len(mean) == 1)


def summed(first: Coefficients, second: Coefficients, rows: slice, columns: slice, rho: Array) -> Array:
    """The series of a block of pairs in their correlations."""
    last = min(first.last, second.last)
    one, other = first.terms.T[: last + 1], second.terms.T[: last + 1]
    if first.alike and second.alike:
        return _polynomial(one[:, 0] * other[:, 0], rho)
    total = np.zeros_like(rho)
    term = np.empty_like(rho)
    for left, right in zip(one[::-1, rows], other[::-1, columns], strict=True):
        total *= rho
        total += np.multiply.outer(left, right, out=term)
    return total


def beyond(
    first: Coefficients, second: Coefficients, rows: slice, columns: slice, rho: Array, tolerance: float
) -> NDArray[np.bool_]:
    """The pairs of a block whose series leaves out more than the tolerance, of the roots of both E f²."""
    if not (first.tails.any() and second.tails.any()):
        return np.zeros(rho.shape, dtype=bool)
    far: NDArray[np.bool_] = np.abs(rho) > np.multiply.outer(
        first.reach(tolerance)[rows], second.reach(tolerance)[columns]
    )
    return far


def _polynomial(series: Array, x: Array) -> Array:
    """Horner's rule, in squares for even and for odd polynomials."""
    small = 1e-17 * np.abs(series).max(initial=0.0)
    parity = [k for k in (0, 1) if np.all(np.abs(series[1 - k :: 2]) <= small)]
    by, kept = (x * x, series[parity[0] :: 2]) if parity else (x, series)
    total = np.zeros_like(x)
    for c in kept[::-1]:
        total *= by
        total += c
    return total * x if parity == [1] else total


def _on_one_grid(panels: Panels, mean: Array, deviation: Array, reach: float) -> tuple[Array, Array] | None:
    limit = next((r for r in _REACHES if r >= min(reach + 3.5, _REACHES[-1])), _REACHES[-1])
    for step in _STEPS:
        z, weights = _grid(step, limit)
        values = panels.function(mean[:, None] + deviation[:, None] * z)
        if not np.all(np.isfinite(values)):
            return None
        halves = [2 * values[:, some] @ weights[some] for some in (slice(0, None, 2), slice(1, None, 2))]
        scale = values**2 @ weights[:, 0]
        difference = np.abs(halves[0] - halves[1]).max(axis=1)
        if np.all(difference <= _HALVES * np.sqrt(scale)):
            return (halves[0] + halves[1]) / 2, scale
    return None


@cache
def _grid(step: float, limit: float) -> tuple[Array, Array]:
    """Points of a grid, and weights times densities times Hermite polynomials, shape (points, terms)."""
    z: Array = step * np.arange(-int(limit / step), int(limit / step) + 1, dtype=float)
    columns = np.empty((_TERMS + 1, len(z)))
    for n, column in enumerate(_hermite(z)):
        columns[n] = column
    return z, step * columns.T


def _hermite(z: Array, terms: int = _TERMS) -> Iterator[Array]:
    """Normalised Hermite polynomials times the density, one after the other."""
    before, now = np.zeros_like(z), np.exp(-z * z / 2) / np.sqrt(2 * np.pi)
    yield now
    for n in range(terms):
        before, now = now, (z * now - np.sqrt(n) * before) / np.sqrt(n + 1.0)
        yield now


def _by_panels(panels: Panels, mean: Array, deviation: Array, reach: float) -> tuple[Array, Array]:
    count = len(mean)
    terms, scale = np.empty((count, _TERMS + 1)), np.empty(count)
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
        for n in range(_TERMS + 1):
            terms[some, n] = np.add.reduceat(now * weighted, starts)
            before, now = now, (z * now - np.sqrt(n) * before) / np.sqrt(n + 1.0)
    return terms, scale
