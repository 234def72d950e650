r"""A density on a line as panels on which Gauss's rule has settled: tails, their inverses, and their logarithms far out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp

from numerics.densities.base import Array
from numerics.densities.integrals import NODES, WEIGHTS

LogDensity = Callable[[Array], Array]

_FADED = 720.0  # fall of the logarithm of the density beyond which its integral is no double
_CLOSER = 0.5 ** np.arange(0, 45, 0.5)  # distances from a finite end that are tried, in units of that of the centre
_TOLERANCE = 2e-14  # of a panel
_HALVINGS = 14
_MOST = 20_000  # panels


@dataclass(frozen=True)
class Panels:
    """Edges of the panels, and what lies beyond each of them.

    Parameters
    ----------
    edges, below, above : array
        The edges, and the integrals from the lower end up to each and from each up to the upper end.
    faded : pair of bool
        Whether the density has faded at the outermost edges; if not, the end is finite and the density a power there.
    ends : pair of float
    powers : pair of float or None
    """

    edges: Array
    below: Array
    above: Array
    faded: tuple[bool, bool]
    ends: tuple[float, float]
    powers: tuple[float | None, float | None]

    @property
    def total(self) -> float:
        """The whole integral."""
        return float(self.below[self._middle] + self.above[self._middle])

    @property
    def _middle(self) -> int:
        return int(np.argmax(self.below >= self.above))

    @property
    def half(self) -> float:
        """The integral up to the edge at which the two tails meet."""
        return float(self.below[self._middle])

    def end_mass(self, log_density: LogDensity, s: Array, upper: bool = False) -> Array:
        """What lies between an end at which the density is a power and points close to it."""
        distance = np.abs(s - self.ends[int(upper)])
        return distance * np.exp(log_density(s)) / (1 + (self.powers[int(upper)] or 0.0))

    def nearer_tail(self, log_density: LogDensity, s: Array) -> tuple[Array, Array]:
        """The tail on the nearer side of the median, and whether that is the upper one."""
        shape, s = np.shape(s), np.ravel(s)
        edges = self.edges
        upper = s >= edges[self._middle]
        value = np.where(np.isnan(s), np.nan, 0.0)
        inside = (s >= edges[0]) & (s <= edges[-1])
        if inside.any():
            here, from_above = s[inside], upper[inside]
            panel = np.clip(np.searchsorted(edges, here, side="right") - 1, 0, edges.size - 2)
            low, high = np.where(from_above, here, edges[panel]), np.where(from_above, edges[panel + 1], here)
            part = _sums(log_density, low, high)
            whole = np.where(
                from_above, self.above[panel] - self.above[panel + 1], self.below[panel + 1] - self.below[panel]
            )
            start = np.where(from_above, self.above[panel + 1], self.below[panel])
            value[inside] = start + np.minimum(part, whole)
        for side, beyond in ((False, s < edges[0]), (True, s > edges[-1])):
            if beyond.any() and not self.faded[int(side)]:
                edge = self.above[-1] if side else self.below[0]
                value[beyond] = np.minimum(self.end_mass(log_density, s[beyond], side), edge)
        return value.reshape(shape), upper.reshape(shape)

    def inverse(self, log_density: LogDensity, q: Array, upper: bool) -> Array:
        """The points with a tail q on their lower or upper side, on this side of the median."""
        edges, tails = (self.edges, self.below) if not upper else (self.edges[::-1], self.above[::-1])
        q = np.minimum(q, tails[-1])
        k = np.clip(np.searchsorted(tails, q, side="right") - 1, 0, edges.size - 2)
        a, b, start, stop = edges[k], edges[k + 1], tails[k], tails[k + 1]
        low, high = a.copy(), b.copy()
        with np.errstate(all="ignore"):
            s = a + (b - a) * np.clip(np.where(stop > start, (q - start) / (stop - start), 0.5), 0, 1)
            for _ in range(70):
                part = _sums(log_density, np.minimum(a, s), np.maximum(a, s))
                off = start + part - q
                low, high = np.where(off < 0, s, low), np.where(off < 0, high, s)
                step = s - (1 if not upper else -1) * off / np.exp(log_density(s))
                inner = (step - low) * (step - high) < 0
                new = np.where(inner, step, (low + high) / 2)
                moved = np.abs(new - s)
                done = (np.abs(off) <= 1e-15 * q) | (moved <= 1e-16 * np.abs(s))
                s = np.where(done, s, new)
                if done.all():
                    break
        if not self.faded[int(upper)]:
            end, power, first = self.ends[int(upper)], self.powers[int(upper)] or 0.0, tails[0]
            close = q < first
            share = np.where(close, q, first) / (first or 1.0)  # where nothing is beyond the edge, none is close
            distance = np.abs(edges[0] - end) * share ** (1 / (1 + power))
            s = np.where(close, end - distance if upper else end + distance, s)
        return s

    def log_deep_tail(self, log_density: LogDensity, s: Array, upper: bool) -> Array:
        r"""The logarithm of a tail so far out that it underflows.

        Where the end is finite and close, by the power; else the integral of :math:`e^{L(s \pm u)}` over panels in units of
        :math:`1/|L'|`, the distance on which the density falls.
        """
        sign = 1.0 if upper else -1.0
        end, power = self.ends[int(upper)], self.powers[int(upper)]
        result = np.empty(s.shape)
        for i, point in enumerate(s):
            room = abs(end - point)
            first = float(log_density(np.array([point]))[0])
            if np.isneginf(first):
                result[i] = -np.inf
                continue
            step = 1e-4 * max(abs(point), 1e-300) if np.isinf(room) else 1e-4 * min(room, abs(point) or room)
            fall = (first - float(log_density(np.array([point + sign * step]))[0])) / step
            reach = min(60.0 / fall if fall > 0 else np.inf, room)
            if not np.isfinite(reach):
                result[i] = -np.inf if np.isinf(first) else first
                continue
            grid = reach * (np.linspace(0, 1, 33) if reach < room else 1 - 0.5 ** np.linspace(0, 40, 121))
            half = np.diff(grid)[:, None] / 2
            u = grid[:-1, None] + half * (1 + NODES)
            total = float(logsumexp(log_density(point + sign * u), b=half * WEIGHTS))
            if reach == room and power is not None:  # what the grid leaves at the end
                rest = room * 0.5**40
                total = float(
                    np.logaddexp(total, np.log(rest / (1 + power)) + log_density(np.array([end - sign * rest]))[0])
                )
            result[i] = total
        return result


def settled_panels(
    log_density: LogDensity,
    low: float,
    high: float,
    centre: float,
    width: float,
    powers: tuple[float | None, float | None],
    features: Array,
) -> Panels:
    """Panels over all of the line on which a density has not faded.

    Parameters
    ----------
    log_density : callable
    low, high : float
        The ends.
    centre, width : float
        A point and a scale from which the mass is looked for, at distances from tiny to huge.
    powers : pair of float or None
        Of the density in the distance from a finite end.
    features : array
        Further points between which the density may change.
    """
    points = _candidates(low, high, centre, width, features)
    values = log_density(points)
    for _ in range(40):  # uphill to the top
        top = int(np.argmax(values))
        near = slice(max(top - 1, 0), top + 2)
        between = (points[near][1:] + points[near][:-1]) / 2
        between = between[~np.isin(between, points)]
        if not between.size:
            break
        points = np.concatenate([points, between])
        order = np.argsort(points)
        points, values = points[order], np.concatenate([values, log_density(between)])[order]
        if np.isfinite(values.max()) and values.max() - np.partition(values, -3)[-3] < 0.05:
            break
    peak = float(values.max())
    if not np.isfinite(peak):
        raise ValueError("the density is 0 or infinite everywhere in double precision; the law cannot be resolved")
    kept = np.flatnonzero(values > peak - _FADED)
    first, last = max(kept[0] - 1, 0), min(kept[-1] + 1, points.size - 1)
    faded = (bool(values[first] <= peak - _FADED), bool(values[last] <= peak - _FADED))
    for side, end in ((0, low), (1, high)):
        if not faded[side] and not np.isfinite(end):
            raise ValueError("the density does not fade within the range of doubles; the law cannot be resolved")
    edges, sums = _halved(log_density, points[first : last + 1])
    ends = (low, high)
    at_ends = [0.0, 0.0]
    for side in (0, 1):
        if not faded[side]:
            edge = edges[-side]
            with np.errstate(all="ignore"):
                at_ends[side] = float(
                    abs(edge - ends[side]) * np.exp(log_density(np.array([edge])))[0] / (1 + (powers[side] or 0.0))
                )
    below = np.cumsum(np.concatenate([[at_ends[0]], sums]))
    above = np.cumsum(np.concatenate([[at_ends[1]], sums[::-1]]))[::-1]
    return Panels(edges, below, above, faded, ends, powers)


def _candidates(low: float, high: float, centre: float, width: float, features: Array) -> Array:
    """Points at distances from the centre and from finite ends that double again and again."""
    distances = width * 2.0 ** np.arange(-10, 110, 0.5)
    points = [np.array([centre]), centre + distances, centre - distances, features]
    for end, side in ((low, 1), (high, -1)):
        room = side * (centre - end)
        if np.isfinite(end) and room < 2e3 * width:
            points += [end + side * scale * _CLOSER for scale in (width, room) if 0 < scale <= width]
            if 0 < room < width:  # a power of the distance may hold on all of the way
                points.append(end + side * np.exp2(np.arange(np.log2(room), np.log2(width), 0.5)))
    if np.isfinite(low) and np.isfinite(high):
        points.append(low + (high - low) * np.linspace(0, 1, 33)[1:-1])
    every = np.unique(np.concatenate(points))
    return every[(every > low) & (every < high) & np.isfinite(every)]


def _sums(log_density: LogDensity, low: Array, high: Array) -> Array:
    half = (high - low) / 2
    with np.errstate(all="ignore"):
        values = np.exp(log_density(low[:, None] + half[:, None] * (1 + NODES)))
    return half * (np.where(np.isfinite(values), values, 0.0) @ WEIGHTS)


def _halved(log_density: LogDensity, edges: Array) -> tuple[Array, Array]:
    """Edges and integrals of panels that are halved until Gauss's rule has settled."""
    low, high = edges[:-1], edges[1:]
    whole = _sums(log_density, low, high)
    total = float(whole.sum())
    kept: list[tuple[Array, Array]] = []
    for depth in range(_HALVINGS):
        middle = (low + high) / 2
        left, right = _sums(log_density, low, middle), _sums(log_density, middle, high)
        gap = np.abs(left + right - whole)
        total = max(total, float((left + right).sum()))
        settled = (
            (gap <= _TOLERANCE * (left + right))
            | ((gap <= 1e-18 * total) & (gap <= 1e-12 * (left + right)))
            | (middle <= low)
            | (middle >= high)
        )
        if depth == _HALVINGS - 1 or 2 * np.count_nonzero(~settled) > _MOST:
            settled[:] = True
        kept.append((low[settled], whole[settled]))
        if settled.all():
            break
        low, high = (
            np.concatenate([low[~settled], middle[~settled]]),
            np.concatenate([middle[~settled], high[~settled]]),
        )
        whole = np.concatenate([left[~settled], right[~settled]])
    starts, sums = (np.concatenate([pair[i] for pair in kept]) for i in (0, 1))
    order = np.argsort(starts)
    return np.append(starts[order], edges[-1]), sums[order]
