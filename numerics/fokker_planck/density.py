"""The solution as a distribution: a density on a grid, splined in the Lamperti coordinate, beside atoms at the ends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike
from scipy.interpolate import CubicSpline
from scipy.optimize import elementwise

from derivations.laws.behaviour import EndBehaviour
from numerics.densities.base import Array, ByContent, Measure, Moments
from numerics.densities.distribution import FrozenDistribution
from numerics.densities.tabulated import MANY, Table
from numerics.fokker_planck.charts import Odds
from numerics.fokker_planck.coordinate import CUSP, Coordinate, rule

_IMPROBABLE = 1e-20  # of the largest density, below which it is rounding
_LARGE = 1e100  # states beside which the grid ends because larger ones have no squares in doubles
_RISEN = 1.01  # times that a function is larger beyond the grid
_OUTER = 1e-4  # share of a mean beside the ends of the grid, above which what is beyond them counts
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(8)


@dataclass(frozen=True)
class Beside:
    r"""The density over that of speed beside a crossing, :math:`g = g_0 + g_1 (x - c) + b_\pm (z - z_c)^2`.

    There :math:`g'' = \partial_t g` in scale and speed, so g is linear in the scale, which the state itself is at a crossing, up to
    :math:`\int m\,\mathrm{d}S`, of the order of :math:`(z - z_c)^2`; and a spline over z would have to follow the state's own power
    of z.
    """

    first: float  # from here
    last: float  # to here
    place: float
    state: float
    values: Array

    @classmethod
    def fitted(cls, coordinate: Coordinate, place: float, nodes: Array, values: Array) -> Beside:
        """Through two nodes on either side."""
        (state,), _ = coordinate.backward(np.array([place]))
        found = cls(float(nodes[0]), float(nodes[-1]), place, float(state), np.zeros(4))
        return replace(found, values=np.asarray(np.linalg.solve(found._terms(coordinate, nodes), values), dtype=float))

    def _terms(self, coordinate: Coordinate, z: Array) -> Array:
        x, square = coordinate.backward(z)[0] - self.state, (z - self.place) ** 2
        return np.stack(
            [np.ones(len(z)), x, np.where(z < self.place, square, 0.0), np.where(z < self.place, 0.0, square)], axis=1
        )

    def __call__(self, coordinate: Coordinate, z: Array) -> Array:
        """At points between."""
        return np.asarray(self._terms(coordinate, z) @ self.values)


@dataclass(frozen=True, eq=False)
class GridMeasure(ByContent, Measure):
    """The part with a density.

    Parameters
    ----------
    coordinate : Coordinate
    ends : tuple of float
        z at the ends of the grid.
    nodes, density : array
        Points z inside, and the density per unit of z at them.
    mass : float
        Its probability.
    weighted : bool
        Whether to spline :math:`g = p/m`, p over the density of speed, instead of p. Near an end that reflects, g is smooth
        and p as singular as m; near one that absorbs, p is smooth.
    """

    coordinate: Coordinate
    ends: tuple[float, float]
    nodes: Array
    density: Array
    mass: float
    weighted: bool = False

    def _key(self) -> tuple[object, ...]:
        """What is compared: the grid as bytes; the coordinate is that of the same equation."""
        coordinate = self.coordinate
        c = coordinate.coefficients
        ends = c.chart, c.left, c.right, coordinate.start, *self.ends
        return *ends, self.nodes.tobytes(), self.density.tobytes(), self.mass, self.weighted

    @cached_property
    def _reference(self) -> float:
        return float(self.coordinate.backward(self.nodes[[np.argmax(self.density)]])[1][0])

    def _weight(self, z: Array) -> Array:
        """What the spline is multiplied by: the density of speed per unit of z, or 1."""
        if not self.weighted:
            return np.ones(np.shape(z))
        x, energy = self.coordinate.backward(z)
        return np.exp(np.clip(energy - self._reference, -300.0, 300.0)) / self.coordinate.coefficients.scale(x)

    @cached_property
    def _interpolant(self) -> tuple[list[tuple[float, CubicSpline]], list[Beside]]:
        """Splines up to each crossing and beyond the last, and what replaces them in the two cells on either side of one."""
        values = self.density / self._weight(self.nodes)
        splines, patches, first = [], [], 0
        for place, _ in self._crossings:
            last = int(np.searchsorted(self.nodes, place))
            if last - first > 3 and len(self.nodes) - last > 3:
                splines.append((place, CubicSpline(self.nodes[first:last], values[first:last])))
                patches.append(
                    Beside.fitted(self.coordinate, place, self.nodes[last - 2 : last + 2], values[last - 2 : last + 2])
                )
                first = last
        return [*splines, (np.inf, CubicSpline(self.nodes[first:], values[first:]))], patches

    def _unscaled(self, z: Array) -> Array:
        splines, patches = self._interpolant
        at = np.searchsorted([end for end, _ in splines], z)
        values = np.select([at == k for k in range(len(splines))], [spline(z) for _, spline in splines])
        for patch in patches:
            near = (z > patch.first) & (z < patch.last)
            values[near] = patch(self.coordinate, z[near])
        return np.maximum(values, 0.0) * self._weight(z)

    @cached_property
    def _cumulative(self) -> tuple[Array, Array]:
        """Knots and the probability below them, before scaling."""
        zeros = [z for z, _ in self._crossings]
        knots = np.unique(np.concatenate([self.ends, self.nodes, zeros]))
        return knots, np.concatenate([[0.0], np.cumsum(self._between(knots[:-1], knots[1:]))])

    @property
    def _crossings(self) -> list[tuple[float, tuple[float, float]]]:
        return [c for c in self.coordinate.crossings if self.ends[0] < c[0] < self.ends[1]]

    def _between(self, a: Array, b: Array) -> Array:
        found = np.zeros(len(a))
        wide = a != b
        cusps = self.coordinate.cusps
        powers = [(z, (CUSP, CUSP) if z in cusps else orders) for z, orders in self._crossings]
        z, weights = rule(a[wide], b[wide], powers, _NODES, _WEIGHTS)
        found[wide] = (weights * self._unscaled(z.ravel()).reshape(z.shape)).sum(-1)
        return found

    @cached_property
    def _factor(self) -> float:
        return self.mass / float(self._cumulative[1][-1])

    @property
    def missing(self) -> float:
        """The share of the probability by which the spline is off before it is scaled."""
        seen = float(self._cumulative[1][-1])
        return abs(seen / self.mass - 1.0) if np.isfinite(seen) and self.mass > 0 else float(self.mass > 0)

    def below(self, z: Array) -> Array:
        """Probability below points z of the grid."""
        knots, total = self._cumulative
        k = np.clip(np.searchsorted(knots, z, side="right") - 1, 0, len(knots) - 2)
        part = self._between(knots[k], z)
        backwards = np.isin(knots[k + 1], [c for c, _ in self._crossings])
        if backwards.any():  # beside a crossing, from there
            here = k[backwards]
            part[backwards] = total[here + 1] - total[here] - self._between(z[backwards], knots[here + 1])
        return self._factor * (total[k] + part)

    @property
    def support(self) -> tuple[float, float]:  # type: ignore[override]
        """The interval that the process moves in."""
        return self.coordinate.coefficients.ends

    def per_z(self, z: Array) -> Array:
        """The density in the Lamperti coordinate."""
        inside = (z >= self.ends[0]) & (z <= self.ends[1])
        return np.where(inside, self._unscaled(np.clip(z, *self.ends)) * self._factor, 0.0)

    def pdf(self, x: ArrayLike) -> Array:
        """Density at states; 0 outside the grid."""
        chart = self.coordinate.coefficients.chart
        y = self._numbers(x)
        per_number = np.array(self._table.pdf(y) if y.size > MANY else self._density(y))
        np.divide(per_number, chart.stretch(y), out=per_number, where=per_number > 0)
        return per_number[()]

    def _numbers(self, x: ArrayLike) -> Array:
        """What states are counted as; beyond the ends, what is beyond the numbers of these."""
        c, x = self.coordinate.coefficients, np.asarray(x, dtype=float)
        left, right = c.ends
        return np.where(x < left, -np.inf, np.where(x > right, np.inf, c.chart.number(np.clip(x, left, right))))

    @cached_property
    def _table(self) -> Table:
        """Of the density over numbers of states, on panels between the points at which it is not smooth."""
        c, (low, high) = self.coordinate.coefficients, self.coordinate.backward(np.array(self.ends))[0]
        own = np.concatenate([self.coordinate.edges, c.kinks, [cross.place for cross in c.crossings]])
        edges = np.unique(np.concatenate([[low, high], own[(own > low) & (own < high)]]))
        return Table.fitted(self._density, lambda y: self.below(np.clip(self._z(y), *self.ends)), edges)

    def _density(self, x: Array) -> Array:
        """The density at numbers of states, and by them."""
        c = self.coordinate.coefficients
        inside = (x > c.left) & (x < c.right)
        values = np.where(np.isnan(x), np.nan, 0.0)
        for cross in c.crossings:
            if cross.is_jump:
                continue
            here = x == cross.place
            values = np.where(here, np.inf if max(cross.orders) > 0 else 0.0, values)
            inside &= ~here
        density = self.per_z(self._z(x[inside]))
        kept = density > 0  # elsewhere the noise may have underflown
        flat = np.zeros(density.shape)
        flat[kept] = density[kept] / c.pace(x[inside][kept])
        values[inside] = flat
        return values[()]

    def _z(self, x: Array) -> Array:
        """Values of z, and infinity beyond the table."""
        edges = self.coordinate.range
        z = self.coordinate.forward(x)
        return np.where(x < edges[0], -np.inf, np.where(x > edges[1], np.inf, z))

    def logpdf(self, x: ArrayLike) -> Array:
        """Logarithm of the density."""
        with np.errstate(divide="ignore"):
            return np.log(self.pdf(x))

    def _below(self, x: ArrayLike) -> Array:
        c, x = self.coordinate.coefficients, self._numbers(x)
        if x.size > MANY:
            return self._table.cdf(x)
        z = np.where(x <= c.left, -np.inf, np.inf)
        inside = (x > c.left) & (x < c.right)
        if inside.any():
            z[inside] = self._z(x[inside])
        values = self.below(np.clip(z, *self.ends).ravel()).reshape(x.shape)
        return np.where(np.isnan(x), np.nan, values)

    def cdf(self, x: ArrayLike) -> Array:
        """Probability up to x."""
        return np.clip(self._below(x), 0.0, self.mass)[()]

    def sf(self, x: ArrayLike) -> Array:
        """Probability beyond x."""
        return np.clip(self.mass - self._below(x), 0.0, self.mass)[()]

    def quantile(self, q: Array, upper: bool = False) -> Array:
        """The point with probability q below it, or above it, found in z."""
        target = self.mass - q if upper else q
        knots, total = self._cumulative
        k = np.clip(np.searchsorted(total * self._factor, target, side="right") - 1, 0, len(knots) - 2)
        low, high = knots[k], knots[k + 1]
        found = elementwise.find_root(
            lambda z, target: self.below(z) - target,
            (low, high),
            args=(target,),
            tolerances={"xrtol": 1e-15, "xatol": 1e-300},
        )
        rounded = np.where(found.f_bracket[0] >= 0, low, high)  # to an end of the cell, where it has no sign change
        z = np.where(found.status == -1, rounded, found.x)
        return np.asarray(self.coordinate.coefficients.chart.state(self.coordinate.backward(z)[0]))

    def draw(self, generator: np.random.Generator, size: int) -> Array:
        """Samples by inversion."""
        return self.quantile(generator.random(size) * self.mass)

    def integral(self, function: Callable[[Array], ArrayLike], kinks: Sequence[float] = ()) -> float:
        """The integral of a function of the state against the density, cell by cell and cut at its kinks.

        The grid ends where next to no probability is left. Where a function grows on beyond an end that is infinitely far, and the outermost
        twentieth of the grid towards it still counts, what lies beyond does, too: then the integral is refused. So it is where states
        leave the range of doubles at the end of the grid while they count, or those count of which the density is known by rounding only.
        """
        z, parts = self._contributions(function, kinks)
        (low, high), (first, last) = self.ends, self.coordinate.ends
        near, size = (high - low) / 20, np.abs(parts)
        total = max(float(size.sum()), np.finfo(float).tiny)
        shares = [0.0]
        for side, outer, endless in ((-1, z < low + near, low > first), (1, z > high - near, high < last)):
            if not outer.any() or not self._grows_beyond(function, z[outer], side):
                continue
            share = float(size[outer].sum()) / total
            shares.append(share if endless else self._beyond_doubles(z, size, side) / total)
        density = self.per_z(z)
        shares.append(float(size[density < _IMPROBABLE * density.max(initial=0.0)].sum()) / total)
        if max(shares) > _OUTER:
            raise ValueError(
                f"the mean is carried by states so improbable that the grid leaves them out: {max(shares):.1g} of it lies beside the ends of the "
                "grid; ask for quantiles, or take a smaller time"
            )
        return float(parts.sum())

    def _beyond_doubles(self, z: Array, size: Array, side: int) -> float:
        """What a mean has beyond an end of the grid, if it goes on falling as over the last cells; nothing where the state there is moderate."""
        edge = self.nodes[[0, 4, 8]] if side < 0 else self.nodes[[-1, -5, -9]]
        state, _ = self.coordinate.backward(edge[:1])
        if abs(state[0]) < _LARGE:
            return 0.0
        outer, inner = (float(size[(z - a) * (z - b) <= 0].sum()) for a, b in pairwise(edge))
        if outer == 0.0:
            return 0.0
        return outer * outer / (inner - outer) if inner > outer else np.inf

    def entropy(self) -> float:
        r"""The integral :math:`-\int p\log p`, in the Lamperti coordinate, in which no digit of the density is lost beside an end."""
        z, weights = self._points()
        density, noise = self.per_z(z), self.coordinate.coefficients.scale(self.coordinate.backward(z)[0])
        kept = density > 0
        with np.errstate(divide="ignore"):
            logarithm = np.log(density[kept]) - np.log(noise[kept])
        return float(-np.sum(weights[kept] * density[kept] * logarithm))

    def _grows_beyond(self, function: Callable[[Array], ArrayLike], z: Array, side: int) -> bool:
        """Whether a function is larger beyond an end of the grid than at points beside it."""
        x, chart = self.coordinate.backward(z)[0], self.coordinate.coefficients.chart
        if isinstance(chart, Odds):  # there is nothing beyond
            return False
        far = float(np.max(side * x)) + np.max(np.abs(x)) * np.array([1.0, 10.0, 100.0])
        with np.errstate(all="ignore"):
            beside, beyond = (np.abs(np.asarray(function(chart.state(at)), dtype=float)) for at in (x, side * far))
        return bool(np.max(beyond) > _RISEN * np.max(beside))

    def _contributions(
        self, function: Callable[[Array], ArrayLike], kinks: Sequence[float] = ()
    ) -> tuple[Array, Array]:
        """Points z and what each adds to the integral."""
        z, weights = self._points(kinks)
        weights = weights * self.per_z(z)
        kept = weights > 0
        x, _ = self.coordinate.backward(z[kept])
        return z[kept], np.asarray(function(self.coordinate.coefficients.chart.state(x)), dtype=float) * weights[kept]

    def _points(self, kinks: Sequence[float] = ()) -> tuple[Array, Array]:
        """Points z and weights of a rule on cells that are cut at kinks, states."""
        c = self.coordinate.coefficients
        own = [*self._numbers(np.array(kinks, dtype=float)), *c.kinks]
        inner = self.coordinate.forward(np.array(own, dtype=float))
        middles = (self.nodes[1:] + self.nodes[:-1]) / 2
        for zero, _ in self._crossings:  # one of them lies there but for rounding
            middles = np.delete(middles, np.argmin(np.abs(middles - zero)))
        zeros = [z for z, _ in self._crossings]
        inner = inner[~np.isin(own, [cross.place for cross in c.crossings])]
        edges = np.unique(np.clip(np.concatenate([self.ends, middles, inner, zeros]), *self.ends))
        z, weights = rule(edges[:-1], edges[1:], self._crossings, _NODES, _WEIGHTS)
        return z.ravel(), weights.ravel()


@dataclass(frozen=True, repr=False)
class SolvedDistribution(FrozenDistribution):
    """The law of a diffusion at a time, solved on a grid: a frozen distribution that knows its error.

    Parameters
    ----------
    cells : int
        Of the finest grid.
    order : float
        The order in the width of the cells that the last three grids showed, before extrapolation; ``nan`` if below rounding.
    ends : tuple of EndBehaviour
        What was decided of the two ends of the interval, and on which ground; empty where nothing moves.
    """

    cells: int = field(default=0)
    order: float = field(default=float("nan"), compare=False)
    ends: tuple[EndBehaviour, ...] = field(default=())

    def expectation(self, function: Callable[[Array], ArrayLike], kinks: Sequence[float] = ()) -> float:
        r""":math:`\mathbb{E} f(X_t)`, over density and atoms.

        Parameters
        ----------
        function : callable
            Array of states to array.
        kinks : sequence of float
            States at which f or a derivative of it jumps.
        """
        return sum(part.integral(lambda x: np.asarray(function(x), dtype=float), kinks) for part in self.parts)

    def with_mean(self, mean: float) -> SolvedDistribution:
        """The same law, of which the mean is known otherwise than by an integral over the grid."""
        return replace(self, moments=IntegratedMoments(self.parts, mean))


def solved(
    name: str,
    parts: tuple[Measure, ...],
    error: float = 0.0,
    cells: int = 0,
    order: float = float("nan"),
    ends: tuple[EndBehaviour, ...] = (),
    remark: str = "",
) -> SolvedDistribution:
    """A distribution from its parts, with moments taken from them."""
    return SolvedDistribution(name, parts, IntegratedMoments(parts), error, remark, cells, order, ends)


@dataclass(frozen=True)
class IntegratedMoments(Moments):
    """Moments as integrals over measures."""

    parts: tuple[Measure, ...]
    known: float | None = None  # the mean

    def _mean_of(self, function: Callable[[Array], Array]) -> float:
        mean = float(sum(part.integral(function) for part in self.parts))
        if np.isnan(mean):
            raise ValueError("the moment does not exist: there is probability at an infinite end; ask for quantiles")
        return mean

    def raw(self, order: int) -> float:
        """The moment about 0."""
        return self.known if order == 1 and self.known is not None else self._mean_of(lambda x: x**order)

    def central(self, order: int) -> float:
        """The moment about the mean."""
        mean = self.raw(1)
        return self._mean_of(lambda x: (x - mean) ** order)
