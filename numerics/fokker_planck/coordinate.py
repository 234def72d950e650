r"""The unit-noise coordinate :math:`z = \int \mathrm{d}x/\varphi` as numbers, where no closed form of it is needed.

The interval is cut into panels that shrink towards a finite end and grow towards an infinite one, and are halved
until Gauss's rule has settled on them. So z, and :math:`E = \int 2\mu/a\,\mathrm{d}x` with it, are known to rounding up to
ends at which :math:`\varphi` vanishes or explodes; within a panel :math:`z(x) = z` is solved by Newton's method.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(14)
_SETTLED = 1e-13  # relative, of the integral over a panel
_HALVINGS = 12
_PANELS = 4000
_FARTHEST = 1e120  # beyond it, squares of states overflow


@dataclass(frozen=True)
class Coefficients:
    r"""Drift :math:`\mu` and variance a of a scalar diffusion on an interval, as functions of arrays.

    Parameters
    ----------
    drift, variance : callable
        Array to array; the variance is positive inside.
    left, right : float
        The ends, finite or not.
    kinks : tuple of float
        Points inside at which a formula changes.
    """

    drift: Callable[[Array], Array]
    variance: Callable[[Array], Array]
    left: float
    right: float
    kinks: tuple[float, ...] = ()

    def scale(self, x: Array) -> Array:
        r"""The noise :math:`\varphi = \sqrt a`."""
        a = np.asarray(self.variance(x), dtype=float)
        if not np.all(a > 0):
            where = np.asarray(x, dtype=float)[~(a > 0)]
            raise ValueError(
                f"the noise must be positive inside ({self.left:g}, {self.right:g}), got a = {a[~(a > 0)].flat[0]:.3g} "
                f"at x = {where.flat[0]:.6g}; restrict the diffusion's domain to an interval without zeros of the noise"
            )
        return np.sqrt(a)

    def tilt(self, x: Array) -> Array:
        r""":math:`2\mu/a`, the logarithmic derivative of 1/s."""
        return 2 * np.asarray(self.drift(x), dtype=float) / np.asarray(self.variance(x), dtype=float)


@dataclass(frozen=True)
class Side:
    """What was found on the way from the start to one end."""

    edges: Array
    length: float  # of the whole side in z; finite only if the end is at a finite distance
    stops: bool  # whether the panels go up to the end, or as far as states can be told from it


@dataclass(frozen=True)
class Coordinate:
    r"""A table of x, z and E at the panels' edges, with z = E = 0 at the start.

    Parameters
    ----------
    coefficients : Coefficients
    start : float
    reach : tuple of float
        How far left and right of the start the coordinate must be known, in z.
    """

    coefficients: Coefficients
    start: float
    reach: tuple[float, float]

    @cached_property
    def sides(self) -> tuple[Side, Side]:
        """Left and right of the start."""
        return self._walk(-1, self.reach[0]), self._walk(1, self.reach[1])

    @cached_property
    def ends(self) -> tuple[float, float]:
        """Values of z at the two ends: finite where the end is at a finite distance or where the panels stop at it."""
        left, right = self.sides
        return -left.length, right.length

    @cached_property
    def _table(self) -> tuple[Array, Array, Array]:
        left, right = self.sides
        x = np.concatenate([left.edges[::-1], right.edges[1:]])
        steps, tilts = self._integrals(x[:-1], x[1:])
        zero = len(left.edges) - 1
        z, energy = (np.concatenate([[0.0], np.cumsum(v)]) for v in (steps, tilts))
        return x, z - z[zero], energy - energy[zero]

    def _integrals(self, a: Array, b: Array) -> tuple[Array, Array]:
        half = (b - a)[:, None] / 2
        x = a[:, None] + half * (1 + _NODES)
        c = self.coefficients
        return (half * _WEIGHTS / c.scale(x)).sum(-1), (half * _WEIGHTS * c.tilt(x)).sum(-1)

    def _walk(self, direction: int, reach: float) -> Side:
        """Panels outward from the start until z exceeds the reach or the end is met."""
        c = self.coefficients
        end = c.right if direction > 0 else c.left
        kinks = [k for k in c.kinks if (k - self.start) * direction > 0]
        least = (
            1e-12 * abs(end) if np.isfinite(end) and end != 0 else 1e-200
        )  # closer to the end doubles cannot tell states apart
        edges, length, increments = [self.start], 0.0, [np.inf, np.inf]
        width = 0.25 * float(c.scale(np.array([self.start]))[0])
        stops = False
        while length < reach:
            here = edges[-1]
            room = abs(end - here)
            if room <= least or abs(here) > _FARTHEST or len(edges) > _PANELS:
                stops = True
                break
            if increments[-1] < 1e-17 * length and increments[-1] < increments[-2]:
                stops = True
                break
            step = min(width, room / 2)
            ahead = [abs(k - here) for k in kinks if 0 < (k - here) * direction < step * (1 + 1e-9)]
            there = here + direction * (min(ahead) if ahead else step)
            if ahead:
                there = min(kinks, key=lambda k: abs(k - there))
            panels = self._settled(here, there, _HALVINGS)
            gained = float(np.abs(self._integrals(np.array([here, *panels[:-1]]), np.array(panels))[0]).sum())
            edges += panels
            length += gained
            increments.append(gained)
            width = 2 * step
        if not stops:
            return Side(np.array(edges), np.inf, False)
        # the increments over panels that halve or double form a geometric series towards the end
        ratio = increments[-1] / increments[-2] if np.isfinite(increments[-2]) else 1.0
        rest = increments[-1] * ratio / (1 - ratio) if ratio < 0.999 else 0.0
        return Side(np.array(edges), length + rest, True)

    def _settled(self, here: float, there: float, halvings: int) -> list[float]:
        """Edges beyond ``here`` up to ``there``, between which Gauss's rule is exact to rounding."""
        middle = (here + there) / 2
        whole = self._integrals(np.array([here]), np.array([there]))
        parts = self._integrals(np.array([here, middle]), np.array([middle, there]))
        off = [abs(float(w[0]) - float(p.sum())) for w, p in zip(whole, parts, strict=True)]
        small = (abs(float(whole[0][0])), 1.0 + float(np.abs(whole[1]).sum()))
        if halvings == 0 or all(o <= self._tolerance(here, there) * s for o, s in zip(off, small, strict=True)):
            return [there]
        return self._settled(here, middle, halvings - 1) + self._settled(middle, there, halvings - 1)

    def _tolerance(self, here: float, there: float) -> float:
        """Relative; close to an end other than 0 the distance to it is only known to the rounding of the state."""
        c = self.coefficients
        known = [
            np.spacing(abs(end)) / min(abs(end - here), abs(end - there))
            for end in (c.left, c.right)
            if np.isfinite(end)
        ]
        return max([_SETTLED, *(64 * k for k in known)])

    def forward(self, x: Array) -> Array:
        """Values of z at states inside the table's range; beyond it the range's ends."""
        edges, z, _ = self._table
        x = np.clip(np.asarray(x, dtype=float), edges[0], edges[-1])
        k = np.clip(np.searchsorted(edges, x, side="right") - 1, 0, len(edges) - 2)
        return z[k] + self._integrals(edges[k], x)[0]

    def backward(self, z: Array) -> tuple[Array, Array]:
        """State x and E at points z, which are clipped to the table's range."""
        edges, table, energy = self._table
        z = np.clip(np.asarray(z, dtype=float), table[0], table[-1])
        k = np.clip(np.searchsorted(table, z, side="right") - 1, 0, len(edges) - 2)
        left, right = edges[k], edges[k + 1]
        low, high = left.copy(), right.copy()
        x = left + (right - left) * (z - table[k]) / (table[k + 1] - table[k])
        for _ in range(60):
            off = table[k] + self._integrals(left, x)[0] - z
            low, high = np.where(off < 0, x, low), np.where(off > 0, x, high)
            settled = np.abs(off) <= 2e-15 * (1 + np.abs(z))
            if settled.all():
                break
            step = x - off * self.coefficients.scale(x)
            new = np.where((step >= low) & (step <= high), step, (low + high) / 2)
            settled |= np.abs(new - x) <= 2e-16 * np.abs(x)
            x = np.where(settled, x, new)
            if settled.all():
                break
        return x, energy[k] + self._integrals(left, x)[1]

    @property
    def range(self) -> tuple[float, float]:
        """States at the ends of the table."""
        left, right = self.sides
        return float(left.edges[-1]), float(right.edges[-1])
