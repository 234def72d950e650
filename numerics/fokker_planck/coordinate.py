r"""The Lamperti coordinate :math:`z = \int \mathrm{d}x/\varphi` as numbers, where no closed form of it is needed.

States are the numbers y of a chart here, and :math:`\mathrm{d}x = x'(y)\,\mathrm{d}y`.

The interval is cut into panels that shrink towards a finite end and grow towards an infinite one, and are halved
until Gauss's rule has settled on them; so they do towards a zero of the noise that the process crosses, beside which the integrands
are powers. So z, and :math:`E = \int 2\mu/a\,\mathrm{d}x` with it, are known to rounding up to
ends at which :math:`\varphi` vanishes or explodes; within a panel :math:`z(x) = z` is solved by Newton's method.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from numerics.fokker_planck.coefficients import Array, Coefficients
from numerics.fokker_planck.inverse import Inverse

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(14)
_SETTLED = 1e-13  # relative, of the integral over a panel
_NOISE = 1e-9  # relative: above, a panel that halving does not help is not resolved
_HALVINGS = 12
_MORE_HALVINGS = 100  # of a panel that starts where the noise is far larger than it is elsewhere on it
_PANELS = 40_000
_REST = 1e-6  # share of z that may lie beyond so many panels: less than laws are solved to
_ROUNDED = 1e-13  # relative, of z
CUSP = 0.75  # beside a cusp integrals are taken in the fourth root of the distance, in which most are smooth
_FAINTEST, _CLOSE = (
    1e-290,
    1e-70,
)  # squared noise below it loses digits; looked at beside 0 only, for at a crossing it is 0
_MANY = 20  # points a panel, from which on the inverse is tabulated
_FARTHEST = 1e120  # beyond it, squares of states overflow
_NEAREST = 1e-100  # to an end other than 0, where states are counted from it: as doubles they are the end long before


@dataclass(frozen=True)
class Side:
    """What was found on the way from the start to one end."""

    edges: Array
    length: float  # of the whole side in z; finite only if the end is at a finite distance
    stops: bool  # whether the panels go up to the end, or as far as doubles resolve states from it


@dataclass(frozen=True)
class Coordinate:
    r"""A table of x, z and E at the panels' edges, with z = E = 0 at the origin of the states if the process crosses it, else at the start.

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
        return self.middle - left.length, self.middle + right.length

    @property
    def beyond(self) -> tuple[float, float]:
        """About how much of z lies beyond the last states on either side: |x| over the noise there, which vanishes towards an end at a finite distance."""
        last = self._table[0][[0, -1]]
        with np.errstate(all="ignore"):
            left, right = np.abs(last) / self.coefficients.pace(last)
        return float(left), float(right)

    @property
    def middle(self) -> float:
        """The value of z at the start."""
        edges, z, _ = self._table
        return float(z[np.searchsorted(edges, self.start)])

    @cached_property
    def _table(self) -> tuple[Array, Array, Array]:
        left, right = self.sides
        x = np.concatenate([left.edges[::-1], right.edges[1:]])
        crossed = any(cross.place == 0 for cross in self.coefficients.crossings) and x[0] < 0 < x[-1]
        zero = int(np.searchsorted(x, 0.0)) if crossed else len(left.edges) - 1
        steps, tilts = self._integrals(x[:-1], x[1:])
        # sums from there, so that small values keep their digits
        z, energy = (
            np.concatenate([-np.cumsum(v[:zero][::-1])[::-1], [0.0], np.cumsum(v[zero:])]) for v in (steps, tilts)
        )
        return x, z, energy

    def _integrals(self, a: Array, b: Array) -> tuple[Array, Array]:
        return self._steps(a, b), self._tilts(a, b)

    def _steps(self, a: Array, b: Array) -> Array:
        """Integrals of one over the noise."""
        return self._by_rule(a, b, 1, lambda x: 1 / self.coefficients.pace(x))

    def _tilts(self, a: Array, b: Array) -> Array:
        """Integrals of twice the drift over the squared noise, which at a crossing is twice as singular."""
        c = self.coefficients
        return self._by_rule(a, b, 2, lambda x: c.tilt(x) * c.chart.stretch(x))

    def _by_rule(self, a: Array, b: Array, times: int, function: Callable[[Array], Array]) -> Array:
        moved = np.abs(b - a) > np.finfo(float).tiny
        if not moved.all():  # the formula of the noise may have no value, or be 0, there
            found = np.zeros(len(a))
            found[moved] = self._by_rule(a[moved], b[moved], times, function)
            return found
        powers = [(d.place, (times * d.orders[0], times * d.orders[1])) for d in self.coefficients.crossings]
        x, weights = rule(a, b, powers, _NODES, _WEIGHTS)
        return np.asarray((weights * function(x)).sum(-1))

    def _from_edges(
        self, k: NDArray[np.intp], x: Array, known: Array, integrals: Callable[[Array, Array], Array]
    ) -> Array:
        edges = self._table[0]
        found = known[k] + integrals(edges[k], x)
        backwards = np.isin(edges[k + 1], [cross.place for cross in self.coefficients.crossings])
        if backwards.any():
            here = k[backwards]
            found[backwards] = known[here + 1] - integrals(x[backwards], edges[here + 1])
        return found

    def _before_crossing(self, here: float, direction: int) -> list[float]:
        """Bounds on the next panel: they shrink towards a crossing, and grow from it."""
        bounds = []
        for cross in self.coefficients.crossings:
            if cross.is_jump:
                continue
            last = 1e-4 * min(1.0, abs(cross.place - self.start))
            away = (cross.place - here) * direction
            if away > last:
                bounds.append(away / 2)
            elif away == 0:
                bounds.append(last)
        return bounds

    @cached_property
    def cusps(self) -> list[float]:
        """Values of z at the cusps in the table."""
        low, high = self.range
        inside = [cross.place for cross in self.coefficients.crossings if cross.is_cusp and low < cross.place < high]
        edges, z, _ = self._table
        return [float(z[np.searchsorted(edges, place)]) for place in inside]

    @cached_property
    def crossings(self) -> list[tuple[float, tuple[float, float]]]:
        r"""Values of z at the crossings in the table, with the exponents :math:`q/(1-q)` of the noise in z on both sides."""
        low, high = self.range
        inside = [cross for cross in self.coefficients.crossings if low < cross.place < high]
        edges, z, _ = self._table
        places = [z[np.searchsorted(edges, cross.place)] for cross in inside]
        return [
            (float(place), (cross.orders[0] / (1 - cross.orders[0]), cross.orders[1] / (1 - cross.orders[1])))
            for place, cross in zip(places, inside, strict=True)
        ]

    def _walk(self, direction: int, reach: float) -> Side:
        """Panels outward from the start until z exceeds the reach or the end is met."""
        c = self.coefficients
        end = c.right if direction > 0 else c.left
        powers = [cross.place for cross in c.crossings if not cross.is_jump]
        kinks = [k for k in {*c.kinks, *(d.place for d in c.crossings)} if (k - self.start) * direction > 0]
        # closer to the end doubles do not resolve states, or none that are asked for
        is_zero = np.isfinite(end) and c.state(end) == 0
        least = 1e-12 * abs(end) if np.isfinite(end) and end != 0 else 1e-200 if is_zero else _NEAREST
        edges, length, increments = [self.start], 0.0, [np.inf, np.inf]
        width = 0.25 * float(c.pace(np.array([self.start]))[0])
        stops = False
        while length < reach:
            here = edges[-1]
            room = abs(end - here)
            if len(edges) > _PANELS:
                if np.isinf(end) and abs(here) < _REST * length * float(c.pace(np.array([here]))[0]):
                    stops = True  # at about that much of z from an infinite end at a finite distance
                    break
                raise ValueError(
                    f"the noise changes more often than {_PANELS} panels of the Lamperti coordinate follow, up to x = {c.state(here):.6g}; "
                    "take a smaller time"
                )
            if room <= least or abs(here) > _FARTHEST:
                stops = True
                break
            if is_zero and room < _CLOSE and c.variance(np.array([here]))[0] < _FAINTEST:
                raise ValueError(
                    f"states come within {room:.1g} of the end 0, where doubles do not hold the squared noise; take a smaller time"
                )
            if increments[-1] < 1e-17 * length and increments[-1] < increments[-2]:
                stops = True
                break
            step = min(width, room / 2, *self._before_crossing(here, direction))
            ahead = [abs(k - here) for k in kinks if 0 < (k - here) * direction < step * (1 + 1e-9)]
            there = here + direction * (min(ahead) if ahead else step)
            if ahead:
                there = min(kinks, key=lambda k: abs(k - there))
            # beside a crossing the noise is a power, which is integrated as one
            panels = [there] if here in powers or there in powers else self._settled(here, there)
            gained = float(np.abs(self._integrals(np.array([here, *panels[:-1]]), np.array(panels))[0]).sum())
            edges += panels
            length += gained
            increments.append(gained)
            width = 2 * step
        if not stops:
            return Side(np.array(edges), np.inf, False)
        # the increments over panels that halve or double form a geometric series towards the end
        ratio = increments[-1] / (increments[-2] or 1.0) if np.isfinite(increments[-2]) else 1.0
        rest = increments[-1] * ratio / (1 - ratio) if ratio < 0.999 else 0.0
        return Side(np.array(edges), length + rest, True)

    def _settled(self, here: float, there: float) -> list[float]:
        """Edges beyond ``here`` up to ``there``, between which Gauss's rule is exact to rounding.

        All panels that are left are halved at once. Where halving no longer helps, the coefficients are known to so many digits only; after some
        halvings the error may be a share of z over the largest panel.
        """
        a, b = np.array([here]), np.array([there])
        before, largest = np.full(1, np.inf), np.zeros(1)
        whole, settled = self._integrals(a, b), []
        for halvings in range(_MORE_HALVINGS):
            middle = (a + b) / 2
            halves = np.concatenate([a, middle]), np.concatenate([middle, b])
            parts = self._integrals(*halves)
            sums = [part[: len(a)] + part[len(a) :] for part in parts]
            gaps = [np.abs(w - s) for w, s in zip(whole, sums, strict=True)]
            off = np.maximum(
                gaps[0] / np.where(whole[0] == 0, 1.0, np.abs(whole[0])), gaps[1] / (1.0 + np.abs(whole[1]))
            )
            largest = np.maximum(largest, np.abs(sums[0]))
            done = (off <= self._tolerance(a, b)) | ((off < _NOISE) & (off > before / 8))
            if halvings >= _HALVINGS:
                done |= gaps[0] <= _SETTLED * largest
            settled.append(b[done])
            left = np.concatenate([~done, ~done])
            a, b = halves[0][left], halves[1][left]
            if not 0 < len(a) <= _PANELS:
                break
            whole = parts[0][left], parts[1][left]
            before, largest = np.tile(off[~done], 2), np.tile(largest[~done], 2)
        edges = np.sort(np.concatenate([*settled, b]))
        return list(map(float, edges if there > here else edges[::-1]))

    def _tolerance(self, a: Array, b: Array) -> Array:
        """Relative, of panels; close to an end or a crossing other than 0 the distance to it is known to the rounding of the state, if no better."""
        c = self.coefficients
        found, offset = np.full(len(a), _SETTLED), abs(c.state(0.0))
        ends = zip((c.left, c.right), c.held, strict=True)
        for end, held in (*ends, *((d.place, 0.0) for d in c.crossings if not d.is_jump)):
            state = c.state(end)
            if np.isfinite(state):
                distance = np.maximum(np.minimum(c.chart.distance(a, end), c.chart.distance(b, end)), held)
                with np.errstate(divide="ignore"):
                    found = np.maximum(found, 64 * np.spacing(offset + abs(state)) / distance)
        return found

    def forward(self, x: Array) -> Array:
        """Values of z at states inside the table's range; beyond it the range's ends."""
        edges = self._table[0]
        x = np.clip(np.asarray(x, dtype=float), edges[0], edges[-1])
        k = np.clip(np.searchsorted(edges, x, side="right") - 1, 0, len(edges) - 2)
        return self._from_edges(k, x, self._table[1], self._steps)

    def backward(self, z: Array) -> tuple[Array, Array]:
        """State x and E at points z, which are clipped to the table's range."""
        edges, table, energies = self._table
        z = np.clip(np.asarray(z, dtype=float), table[0], table[-1])
        if len(z) < _MANY * len(edges):
            return self._solved(z)
        k = self._panels(z)
        x, energy, holds = self._inverse(z)
        x = np.clip(x, edges[k], edges[k + 1])
        x, energy = np.where(z == table[k], edges[k], x), np.where(z == table[k], energies[k], energy)
        if not holds.all():
            x[~holds], energy[~holds] = self._solved(z[~holds])
        return x, energy

    def _panels(self, z: Array) -> NDArray[np.intp]:
        table = self._table[1]
        return np.asarray(np.clip(np.searchsorted(table, z, side="right") - 1, 0, len(table) - 2))

    @property
    def _unit(self) -> float:
        """What is added to z where its rounding is judged: nothing where z itself has all its digits at 0."""
        return 0.0 if any(place == 0 for place, _ in self.crossings) else 1.0

    @cached_property
    def _inverse(self) -> Inverse:
        within = self.middle - self.reach[0], self.middle + self.reach[1]
        return Inverse.fitted(self._table[1], within, self._solved, self._pace, self._unit)

    def _pace(self, x: Array) -> Array:
        """The noise of the numbers by which states are counted; 0 at a crossing."""
        c = self.coefficients
        return np.asarray(np.sqrt(np.asarray(c.variance(x), dtype=float)) / c.chart.stretch(x))

    def _solved(self, z: Array) -> tuple[Array, Array]:
        """State and E at points z, by Newton's method."""
        edges, table, _ = self._table
        k, unit = self._panels(z), self._unit
        low, high = edges[k].copy(), edges[k + 1].copy()
        x = self._between(k, z)
        moving = np.arange(len(x))  # the points that Newton's steps still move
        before = np.full(len(x), np.inf)
        for _ in range(60):
            here, panel = x[moving], k[moving]
            off = self._from_edges(panel, here, table, self._steps) - z[moving]
            low[moving] = np.where(off < 0, here, low[moving])
            high[moving] = np.where(off > 0, here, high[moving])
            with np.errstate(divide="ignore", invalid="ignore"):
                noise = self._pace(here)
                new = np.where(noise > 0, here - off * noise, np.nan)  # at a crossing, halve
            middle = (low[moving] + high[moving]) / 2
            new = np.where((new >= low[moving]) & (new <= high[moving]), new, middle)
            far, scale = np.abs(off), unit + np.abs(z[moving])
            on = (far > 2e-15 * scale) & (np.abs(new - here) > 2e-16 * np.abs(here))
            on &= (far > _ROUNDED * scale) | (
                far < before[moving] / 2
            )  # below, what does not become smaller is rounding
            before[moving] = far
            moving = moving[on]
            if not len(moving):
                break
            x[moving] = new[on]
        return x, self._from_edges(k, x, self._table[2], self._tilts)

    def _between(self, k: NDArray[np.intp], z: Array) -> Array:
        """A first guess of the state in panels k: cubic in z, with the noise as slope at both edges, or linear where that leaves the panel."""
        edges, table, _ = self._table
        low, high, width = edges[k], edges[k + 1], table[k + 1] - table[k]
        share = np.divide(z - table[k], width, out=np.zeros(len(z)), where=width > 0)
        straight = low + (high - low) * share
        with np.errstate(invalid="ignore", over="ignore"):
            bends = [(width * self._noise[k + side] - (high - low)) for side in (0, 1)]
            cubic = straight + share * (1 - share) * ((1 - share) * bends[0] - share * bends[1])
            return np.where((cubic > low) & (cubic < high), cubic, straight)

    @cached_property
    def _noise(self) -> Array:
        """The noise at the edges, where it has a value."""
        with np.errstate(all="ignore"):
            return self._pace(self._table[0])

    def closest(self, end: float) -> float:
        """The distance from a finite end of the state nearest to it that is told apart from it, as a double and on the grid."""
        c = self.coefficients
        sides = zip(self.sides, self.range, (c.left, c.right), strict=True)
        last = [float(c.chart.distance(np.array(y), at)) for side, y, at in sides if side.stops and c.state(at) == end]
        return max([*last, float(np.spacing(abs(end)))])

    @property
    def edges(self) -> Array:
        """States at the edges of the panels of the table."""
        return self._table[0]

    @property
    def range(self) -> tuple[float, float]:
        """States at the ends of the table."""
        left, right = self.sides
        return float(left.edges[-1]), float(right.edges[-1])


def rule(
    a: Array, b: Array, powers: Sequence[tuple[float, tuple[float, float]]], nodes: Array, weights: Array
) -> tuple[Array, Array]:
    r"""Gauss's rule on intervals (a, b): points and weights, of shape (intervals, nodes).

    Beside a point c at which the integrand is like :math:`|x - c|^{-e}`, it is applied in
    :math:`v = |x - c|^{1 - e}`, in which that power is constant.

    Parameters
    ----------
    a, b : array
    powers : sequence
        Points c, each with the exponents e < 1 from the left and from the right.
    nodes, weights : array
        On (−1, 1).

    Examples
    --------
    >>> gauss = np.polynomial.legendre.leggauss(3)
    >>> x, w = rule(np.zeros(1), np.ones(1), [(0.0, (0.5, 0.5))], *gauss)
    >>> float((w / np.sqrt(x)).sum())  # ∫₀¹ dx/√x
    2.0
    """
    half = (b - a)[:, None] / 2
    x, w = a[:, None] + half * (1 + nodes), half * weights
    share = (1 + nodes) / 2
    for place, (left, right) in powers:
        for beside, sign, exponent in ((a == place, 1, right), (b == place, -1, left)):
            if beside.any():
                stretch = 1 / (1 - exponent)
                width = (b - a)[beside][:, None]
                x[beside] = place + sign * width * share**stretch
                w[beside] = width * stretch * share ** (stretch - 1) * weights / 2
    return x, w
