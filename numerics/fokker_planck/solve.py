"""From a diffusion, a start and a time to its law, on grids that are refined until the error is small enough."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, overload

import numpy as np
from numpy.typing import ArrayLike
from scipy.interpolate import CubicSpline

from derivations.calculus.intervals import coefficients as require_coefficients
from derivations.calculus.intervals import crossed_jumps, crossed_zeros, kinks_inside, moving_interval
from derivations.calculus.martingales import is_martingale
from derivations.calculus.size import factored
from derivations.diffusion import Diffusion
from derivations.errors import kind_of, shown
from derivations.laws.behaviour import EndBehaviour, end_behaviour
from numerics import given
from numerics.compile import compile_expression
from numerics.densities.base import Array, Measure
from numerics.densities.crowded import crowded
from numerics.densities.plain import PointMass
from numerics.fokker_planck.chain import Chain, Grid
from numerics.fokker_planck.charts import OnChart, Shift
from numerics.fokker_planck.coefficients import Coefficients
from numerics.fokker_planck.coordinate import Coordinate
from numerics.fokker_planck.crossings import Resolved, crossing, origin_of, with_cusps
from numerics.fokker_planck.density import GridMeasure, SolvedDistribution, solved
from numerics.fokker_planck.ends import BesideEnds, Counted, counted_from_ends
from numerics.fokker_planck.plane import solve_plane
from numerics.fokker_planck.plane_density import PlaneDistribution

_COARSEST = 60  # cells
_PROBED = 10_000  # cells at most with which it is seen how far probability gets
_WIDEST = 100_000  # cells of the first width beyond which it gets too far
_NEGLIGIBLE = 1e-5  # share of the tolerance: probability beside a far end at which it is cut off
_BEYOND = 1e-2  # share of the tolerance: probability beside the edge of the range of doubles at which it is refused
_REST = 1e-6  # of the spread without drift: what may be left of the coordinate towards an end at a finite distance
_UNSEEN = 1e-3  # share of the probability that a spline of the density may miss before it is scaled
_SURELY = 1e-3  # share of the tolerance that steps in time may use


@dataclass(frozen=True)
class StartingDensity:
    """A start that is spread over the interval, instead of a point.

    Parameters
    ----------
    density : callable
        Array of states to the density of the start, which must have mass 1 on the interval.
    centre : float
        A state inside the interval around which the grid is laid out, where there is much of the mass.
    """

    density: Callable[[Array], ArrayLike]
    centre: float


@overload
def solve_fokker_planck(
    process: Diffusion,
    x0: float | StartingDensity,
    *,
    t: float = ...,
    tol: float | None = ...,
    points: int | None = ...,
) -> SolvedDistribution: ...


@overload
def solve_fokker_planck(
    process: Diffusion, x0: Sequence[float], *, t: float = ..., tol: float | None = ..., points: int | None = ...
) -> PlaneDistribution: ...


@given.checked(points=given.optional(given.whole))
def solve_fokker_planck(
    process: Diffusion,
    x0: float | StartingDensity | Sequence[float],
    *,
    t: float = 1.0,
    tol: float | None = None,
    points: int | None = None,
) -> SolvedDistribution | PlaneDistribution:
    r"""The law of :math:`X_t` given :math:`X_0 = x_0`, by the forward equation on a grid.

    Space is the Lamperti coordinate, cut into cells between which the flux is exponentially fitted: a Markov chain, so that
    probability is conserved and positive, of second order in the width of the cells. The time is taken at once by a contour
    integral, or in implicit steps where rounding asks for it.
    Ends are treated as :func:`derivations.laws.behaviour.end_behaviour` says: an end that is reached keeps what
    reaches it, as an atom, unless the equation itself brings the process back, at once or, at a sticky end, after a time, with an
    atom there, too; one that is not reached lets nothing out. A zero of the
    noise inside at which :math:`1/\varphi^2` is integrable on both sides is no end: the process crosses it
    (:func:`derivations.calculus.intervals.crossed_zeros`, also on the solutions that do not). So it does a jump between two positive
    limits, and a pole at which :math:`\varphi^2` is integrable; all these are faces of cells, and so are cusps, such as that of
    :math:`1 + |x|^{1/4}`. States are counted from the steepest zero. Beside another one, :math:`\varphi \sim |x - c|^q`, the share
    :math:`\varepsilon^{1-2q}` of the time is spent within the rounding :math:`\varepsilon` of a double: 2e-5 for q = 0.35, beyond which
    a second zero is refused.
    Where a drift takes what comes to an end inside the domain on to its other side, that is said.

    Each grid cuts the cells of the last one in three; two neighbouring grids are extrapolated in the logarithm of the density,
    which keeps it positive, and the distance of two neighbouring extrapolations is the error that is returned. It bounds
    the error of the finer one as soon as the grids converge at all.

    Two states are solved by Gaussian steps on a lattice (:mod:`numerics.fokker_planck.plane`): a Markov chain, too, whatever the
    correlation of the noise. Their ends must be infinitely far in coordinates of unit noise, as those of a norm and of a correlation are.

    Parameters
    ----------
    process : Diffusion
        Of one state or two, time-homogeneous, without free parameters; the coefficients may have kinks, with two states those of the
        noise in its own state only where they leave it a slope.
    x0 : float, StartingDensity or pair of float
        The start, in the domain.
    t : float
        Time, positive, in the limit's units.
    tol : float, optional
        Bound on the error in L¹, atoms included: 1e-6 for one state and 1e-4 for two, if it is not given.
    points : int, optional
        Largest number of cells: 50 000, and 100 000 for two states.

    Returns
    -------
    SolvedDistribution or PlaneDistribution
        With pdf, cdf, sf, ppf, rvs, mean, var, atoms like any frozen distribution, ``expectation(f)``, ``error``, and ``ends``:
        what was decided of the two ends, and whether that is proved or read off local exponents.

    Raises
    ------
    ValueError
        If the time or the start makes no sense, the noise vanishes at the start while the drift does not, the coefficients depend
        on time or on parameters, or the tolerance is not met with so many points.

    Notes
    -----
    States are doubles: what gathers within a relative 1e-12 of an end other than 0, such as √π/2, is not resolved from the
    end, and the error does not know of it; ``remark`` says how much of the law does.

    Examples
    --------
    >>> from derivations import ResNet, depth_limit, tanh
    >>> X = solve_fokker_planck(depth_limit(ResNet(tanh, width=1)), x0=1.0, t=0.5)
    >>> X.mean(), X.error < 1e-6
    (1.00000, True)
    """
    if isinstance(process, Diffusion) and len(process.states) == 2:
        return _of_two(process, x0, t, 1e-4 if tol is None else tol, 100_000 if points is None else points)
    tol, points = 1e-6 if tol is None else tol, 50_000 if points is None else points
    spread = x0.density if isinstance(x0, StartingDensity) else None
    start, when = _checked(process, x0.centre if isinstance(x0, StartingDensity) else x0, t, tol)
    require_coefficients(process)
    arguments = (process.states[0],)
    # a polynomial that is written out loses half of its digits beside a double zero, and an end is one
    drift, variance = (compile_expression(arguments, factored(e)) for e in (process.drift[0], process.covariance[0, 0]))
    here = np.array([start])
    with np.errstate(over="ignore", invalid="ignore"):
        noise = float(variance(here)[0])
    if not np.isfinite(noise):
        raise ValueError(f"the noise at the start x0 = {start:g} leaves the range of doubles; start nearer to 0")
    if noise == 0:
        if drift(here)[0] != 0:
            raise ValueError(
                f"the diffusion is degenerate at the start x0 = {start}: drift without noise; solve the flow there"
            )
        return solved("frozen", (PointMass(start),))
    interval = moving_interval(process, start)
    ends = end_behaviour(process, interval, start)
    left, right = (float(end) for end in interval)
    zeros = crossed_zeros(process, start)
    crossed = [crossing(p) for p in (*zeros, *crossed_jumps(process, start)) if left < float(p) < right]
    kinks = sorted({float(k) for k in kinks_inside(process, start) if left < float(k) < right})
    crossed = with_cusps(crossed, kinks, (drift, variance))
    changes = tuple(k for k in kinks if k not in {float(zero) for zero in zeros})
    smooth = all(c.is_jump and not c.is_cusp for c in crossed)  # else digits are asked for where it is not
    counted = counted_from_ends(process, interval, (*kinks, *(c.place for c in crossed))) if smooth else None
    if counted is None:
        counted = Counted(Shift(origin_of(crossed, start)))
    chart = counted.chart

    def number(state: float) -> float:
        return float(chart.number(np.array(state)))

    coefficients = Coefficients(
        BesideEnds(OnChart(drift, chart), chart, counted.drift, number(start)),
        BesideEnds(Resolved(variance, chart, tuple(crossed), changes), chart, counted.variance, number(start)),
        number(left),
        number(right),
        tuple(map(number, kinks)),
        tuple(replace(c, place=number(c.place)) for c in crossed),
        chart,
        counted.held,
    )
    found = _Problem(coefficients, number(start), when, ends, spread).solve(tol, points)
    outermost = {float(zero) for zero in zeros}
    if any(place in outermost and mass > tol for place, mass in found.atoms):
        raise ValueError("the process crosses more zeros of its noise than were listed; take a smaller time")
    return found if spread or not is_martingale(process, interval) else found.with_mean(start)


def _of_two(process: Diffusion, x0: Any, t: float, tol: float, points: int) -> PlaneDistribution:
    start = tuple(x0) if isinstance(x0, Sequence | np.ndarray) else ()
    if len(start) != 2:
        raise ValueError(f"the start of two states must be two numbers, got {x0!r}")
    for value in start:
        _numbers(process, value, t, tol)
    one, two = (float(value) for value in start)
    return solve_plane(process, (one, two), float(t), float(tol), points)


def _checked(process: Any, x0: Any, t: float, tol: float) -> tuple[float, float]:
    if not isinstance(process, Diffusion) or len(process.states) != 1:
        got = f"{len(process.states)} states" if isinstance(process, Diffusion) else kind_of(process)
        raise ValueError(
            f"expected a Diffusion of one state or two, got {got}; larger vector limits are simulated with simulate_sde"
        )
    _numbers(process, x0, t, tol)
    low, high = float(process.domain.inf), float(process.domain.sup)
    if not low <= x0 <= high:
        raise ValueError(f"the start x0 = {x0} is outside the domain {process.domain}; choose one inside")
    return float(x0), float(t)


def _numbers(process: Diffusion, x0: float, t: float, tol: float) -> None:
    if process.parameters:
        names = ", ".join(sorted(map(str, process.parameters)))
        raise ValueError(f"the diffusion has the parameters {names} left; substitute numbers for them")
    for name, value in (("the start x0", x0), ("the time t", t), ("the tolerance tol", tol)):
        if not given.number.holds(value):
            raise ValueError(f"{name} must be a finite number, got {shown(value)}")
    if not given.moderate.holds(x0):
        raise ValueError(f"the start x0 must be {given.moderate.expected}, got {x0:.3g}")
    if t <= 0:
        raise ValueError(f"the time t must be positive, got {t}; at t = 0 the law is an atom at the start")
    if tol <= 0:
        raise ValueError(f"the tolerance must be positive, got {tol}")


@dataclass(frozen=True)
class _Level:
    """One grid's solution: density per unit of z at the nodes, the probabilities of the two ends, and all together."""

    grid: Grid
    density: Array
    ends: tuple[float, float]
    total: float


@dataclass(frozen=True)
class _Problem:
    coefficients: Coefficients
    start: float
    time: float
    ends: tuple[EndBehaviour, EndBehaviour]
    spread: Callable[[Array], ArrayLike] | None = None

    def solve(self, tol: float, points: int) -> SolvedDistribution:
        coordinate, left, right, absorbing = self._window(tol)
        levels = [self._level(coordinate, self._grid(coordinate, left, right, _COARSEST), absorbing, tol)]
        extrapolated: list[_Level] = []
        error = float("inf")
        while True:
            grid = levels[-1].grid.refined()
            if grid.size > points and len(extrapolated) > 1:
                self._refuse_narrow(coordinate, levels[-1].grid)
                raise ValueError(
                    f"the error is about {error:.1g} with {levels[-1].grid.size} cells, and tol = {tol:g} was asked for; "
                    "raise points or tol"
                )
            levels.append(self._level(coordinate, grid, absorbing, tol))
            extrapolated.append(_extrapolate(levels[-2], levels[-1]))
            if len(extrapolated) > 1:
                error = _distance(extrapolated[-2], extrapolated[-1]) + _SURELY * tol
                if error <= tol:
                    # what the spline between the nodes is off by shows in its sum, which is scaled: as much is off elsewhere; far more is
                    # probability that it cannot see
                    measure = self._measure(coordinate, left, right, extrapolated[-1])
                    error += 2 * measure.missing
                    if error <= tol or not measure.missing <= _UNSEEN:
                        break
        best = extrapolated[-1]
        self._refuse_narrow(coordinate, best.grid)
        # where the density of speed leaves the range of numbers a spline over it misses probability, which must not be made up by scaling
        if not measure.missing <= _UNSEEN:
            raise ValueError(
                "probability gathers closer to an end of the interval than doubles resolve; take a smaller time"
            )
        self._require_numbers(coordinate, best, tol)
        locations = [float(end.point) for end in self.ends]
        atoms = [PointMass(x, m) if m > 0 else None for x, m in zip(locations, best.ends, strict=True)]
        parts: list[Measure] = [part for part in (atoms[0], measure, atoms[1]) if part is not None]
        remark = crowded(tuple(parts), coordinate.closest)
        return solved("solved on a grid", tuple(parts), error, best.grid.size, _order(levels), self.ends, remark)

    def _require_numbers(self, coordinate: Coordinate, level: _Level, tol: float) -> None:
        """Probability at the last state towards an infinite end that is far away is beyond the grid, and may be beyond the range of doubles."""
        z = level.grid.nodes[0]
        edges = ((0, 1), (-1, -2))
        for end, (outer, inner), more, side in zip(self.ends, edges, coordinate.beyond, coordinate.sides, strict=True):
            far = end.point.is_infinite and not end.reached and more > _REST * np.sqrt(self.time)
            # a drift outwards gathers at the edge what would have gone on, within the length over which the energy rises by one
            before, last = coordinate.backward(z[[inner, outer]])[1]
            length = min(np.sqrt(self.time), abs(z[outer] - z[inner]) / max(last - before, 1e-300))
            if far and level.density[outer] * length > _BEYOND * tol:
                raise ValueError(
                    f"states leave the range of doubles towards {end.point} within the time {self.time:g}; take a smaller time"
                    if side.stops
                    else f"more probability goes towards {end.point} than coarse cells show, within the time {self.time:g}; take a smaller time"
                )

    def _refuse_narrow(self, coordinate: Coordinate, grid: Grid) -> None:
        """What happens within a cell is not seen."""
        kinks = coordinate.forward(np.array(self.coefficients.kinks))
        kinks = kinks[(kinks > grid.left) & (kinks < grid.right)]
        finest = float(grid.nodes[1].max())
        if kinks.size > 1 and np.diff(kinks).min() < finest:
            raise ValueError(
                f"the coefficients change twice within {np.diff(kinks).min():.2g} in the Lamperti coordinate, less than a cell of "
                f"{finest:.2g}, which the error does not see; lower tol, or simulate"
            )

    def _measure(self, coordinate: Coordinate, left: float, right: float, level: _Level) -> GridMeasure:
        """The density between the nodes, splined over that of speed where it is singular or kinked, if that sees all of it."""
        near = (left == coordinate.ends[0], right == coordinate.ends[1])
        weighted = bool(coordinate.crossings or self.coefficients.kinks) or any(
            close and not end.keeps for close, end in zip(near, self.ends, strict=True)
        )
        nodes, mass = level.grid.nodes[0], 1.0 - sum(level.ends)
        found = GridMeasure(coordinate, (left, right), nodes, level.density, mass, weighted)
        return found if found.missing <= _UNSEEN else replace(found, weighted=not weighted)

    @staticmethod
    def _grid(coordinate: Coordinate, left: float, right: float, cells: int) -> Grid:
        return Grid.of(left, right, cells, coordinate.crossings, coordinate.middle)

    def _level(self, coordinate: Coordinate, grid: Grid, absorbing: tuple[bool, bool], tol: float) -> _Level:
        chain = Chain(coordinate, grid, absorbing, (self.ends[0].sticky, self.ends[1].sticky))
        p = chain.run(chain.start(self.spread), self.time, _SURELY * tol)
        return _Level(grid, chain.density(p), (float(p[0]), float(p[-1])), float(p.sum()))

    def _window(self, tol: float) -> tuple[Coordinate, float, float, tuple[bool, bool]]:
        """The part of the line that matters: to the ends at a finite distance, and as far as probability gets elsewhere."""
        takes = [end.keeps or end.sticky for end in self.ends]
        # towards a far end that is reached the drift grows without bound: approach it from where it is moderate
        reach = [min(8.0 * np.sqrt(self.time), 3.0 if take else 8.0) for take in takes]
        before: tuple[float, ...] | None = None
        width: float | None = None
        for _ in range(40):
            coordinate = Coordinate(self.coefficients, self.start, (1.05 * reach[0], 1.05 * reach[1]))
            lengths = [side.length for side in coordinate.sides]
            whole = [length <= far for length, far in zip(lengths, reach, strict=True)]
            spans = [length if at_end else far for length, far, at_end in zip(lengths, reach, whole, strict=True)]
            absorbing = (takes[0], takes[1])
            # cells as wide as those of the first part: a drift outwards over wider ones carries probability further than it gets; what an end
            # takes does not come back
            width = width or sum(spans) / (3 * _COARSEST)
            wide = sum(spans) / width if width and not any(takes) else 3 * _COARSEST
            if wide > _WIDEST:
                break
            cells = round(min(wide, _PROBED))
            left, right = coordinate.middle - spans[0], coordinate.middle + spans[1]
            grid = self._grid(coordinate, left, right, cells)
            level = self._level(coordinate, grid, absorbing, tol)
            free = [not (at_end or take) for at_end, take in zip(whole, takes, strict=True)]
            if before is not None and any(takes):
                moved = [abs(a - b) > tol / 10 for a, b in zip(before, level.ends, strict=True)]
            else:
                moved = [take and not at_end for take, at_end in zip(takes, whole, strict=True)]
            before = level.ends
            grow = [
                further or (change and take and not at_end)
                for at_end, take, change, further in zip(
                    whole, takes, moved, self._gets_further(level, free, tol), strict=True
                )
            ]
            missing = 1.0 - level.total
            if self.spread is not None and missing > 1e-3:  # what little is left outside shows at the edges
                grow = [not at_end for at_end in whole]
                if not any(grow):
                    raise ValueError(
                        f"the start must be a density of mass 1 on the interval, got mass {1 - missing:.4g}"
                    )
            if not any(grow) and any(free) and 3 * grid.size < _PROBED:  # wide cells may hide what comes to an edge
                grow = self._gets_further(self._level(coordinate, grid.refined(), absorbing, tol), free, tol)
                width /= 3 if any(grow) else 1
            if not any(grow):
                return coordinate, left, right, absorbing
            reach = [far * 1.5 if more else far for far, more in zip(reach, grow, strict=True)]
        raise ValueError("probability spreads too far in the Lamperti coordinate; take a smaller time")

    def _gets_further(self, level: _Level, free: list[bool], tol: float) -> list[bool]:
        """Whether there is more than a negligible density at an edge of the window that is no end."""
        most = _NEGLIGIBLE * tol / np.sqrt(self.time)
        edges = (level.density[0], level.density[-1])
        return [inside and bool(density > most) for inside, density in zip(free, edges, strict=True)]


def _extrapolate(coarse: _Level, fine: _Level) -> _Level:
    """Richardson's extrapolation by (9 f − c)/8 of the logarithms; between the coarse nodes the correction is splined."""
    z = fine.grid.nodes[0]
    here = fine.density[1::3]
    good = (here > 0) & (coarse.density > 0)
    correction = np.zeros(len(here))
    correction[good] = np.clip(np.log(here[good] / coarse.density[good]) / 8, -1.0, 1.0)
    density = fine.density * np.exp(CubicSpline(coarse.grid.nodes[0], correction)(z))
    ends = [min(max((9 * f - c) / 8, 0.0), 1.0) for c, f in zip(coarse.ends, fine.ends, strict=True)]
    return _Level(fine.grid, density, (ends[0], ends[1]), fine.total)


def _distance(coarse: _Level, fine: _Level) -> float:
    """L¹ distance at the coarser nodes, with the ends."""
    inside = float(np.sum(np.abs(fine.density[1::3] - coarse.density) * coarse.grid.nodes[1]))
    return inside + sum(abs(f - c) for c, f in zip(coarse.ends, fine.ends, strict=True))


def _order(levels: list[_Level]) -> float:
    """log₃ of the quotient of the last two differences."""
    if len(levels) < 3:
        return float("nan")
    first, second = (_distance(c, f) for c, f in (levels[-3:-1], levels[-2:]))
    return float(np.log(first / second) / np.log(3)) if second > 1e-14 else float("nan")
