"""Laws made of kernels as measures: what is compiled of each family."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property, singledispatch
from typing import Any

import mpmath
import numpy as np
import sympy as sp

from derivations.laws.crossing import CrossingLaw, Side
from derivations.laws.ends import End
from derivations.laws.half_line import HalfLineLaw
from derivations.laws.interval import IntervalLaw
from derivations.laws.kernel import KernelLaw
from derivations.laws.mehler import MehlerLaw
from derivations.laws.numbers import compiled
from derivations.laws.radial import BesselLaw, RadialLaw
from derivations.laws.recipes import Inversion
from derivations.symbols import initial, time
from numerics.compile.absorption import leaving
from numerics.compile.constants import constant
from numerics.compile.expression import CompiledFunction, compile_expression
from numerics.compile.kernel_densities import (
    CrossedDensity,
    FromLogit,
    HalfLineDensity,
    IntervalDensity,
    Logit,
    MehlerDensity,
    MixedDensity,
    RadialDensity,
    Solution,
)
from numerics.compile.samplers import compile_sampler
from numerics.densities import KernelMeasure, Measure, PointMass
from numerics.densities.kernel import CrossedMeasure, KernelDensity

Array = np.ndarray

_DIGITS = 50
_SETTLED = sp.Integer(30)  # times the rate at which an outgoing process goes: e^{−60} is left
_CLOSE = 1e6  # widths from the start to an end up to which samplers take less time than inversion


def kernel_measures(part: KernelLaw, start: sp.Expr, when: sp.Expr) -> tuple[Measure, ...]:
    """The moving part of a law and the atoms at its absorbing ends, from left to right."""
    found = absorbed(part, start, when)
    atoms = [PointMass(float(a.location), float(mass)) for a, mass in zip(part.atoms, found, strict=True)]
    with mpmath.workdps(_DIGITS):
        remaining = float(1 - mpmath.fsum(found))
    parts: list[Measure] = [*moving_part(part, start, when, remaining), *atoms]
    return tuple(sorted(parts, key=lambda m: (m.support[0], m.support[1])))


def moving_part(part: KernelLaw, start: sp.Expr, when: sp.Expr, remaining: float) -> tuple[Measure, ...]:
    """What has a density; as point masses where doubles do not resolve it, none where nothing is left."""
    if remaining <= 0:
        return ()
    left, right = (float(end) for end in part.form.interval)
    frame = frame_of(part, start, when)
    point = frame.only_double
    if point is not None:
        return (PointMass(point, remaining),)
    if not np.isfinite(frame.centre) or not np.isfinite(frame.width):  # the coordinate has outgrown the doubles
        if isinstance(part, MehlerLaw):
            return _gone(part, start)
        return (PointMass(left if part.chart.direction < 0 else right, remaining),)
    coordinate: Callable[[Array], Array]
    back: Callable[[Array], Array]
    coordinate, back = maps(part)
    low, high = (-np.inf if part.chart.on_line else 0.0), np.inf
    if isinstance(part, IntervalLaw):
        coordinate, back, low = Logit(part), FromLogit(part), -np.inf
    far = frame.centre > _CLOSE * frame.width and not part.chart.on_line
    inverted = far or remaining < 1e-3 or isinstance(part.sampler(), Inversion)
    measure = (CrossedMeasure if isinstance(part, Side) else KernelMeasure)(
        left,
        right,
        coordinate,
        back,
        part.chart.direction,
        low,
        high,
        frame.powers,
        frame.centre,
        frame.width,
        density(part, start, when),
        remaining,
        None if inverted else MovingSampler(part, start, when),
        frame.features,
        None if frame.middle is None else Apart(part, frame.middle),
    )
    if frame.beside_an_end(back, left, right):
        first, last = (float(measure.quantile(np.array([1e-15 * remaining]), upper)[0]) for upper in (False, True))
        if first == last:
            return (PointMass(first, remaining),)
    return (measure,)


def crossing_measures(part: CrossingLaw, start: sp.Expr, when: sp.Expr) -> tuple[Measure, ...]:
    """Both sides of a zero that the process crosses, and their masses from the probability of having been there."""
    right = bool(start > part.zero)
    (been,) = absorbed(part.right if right else part.left, start, when)
    found: list[Measure] = []
    for side in part.from_side(right):
        share = constant(side.share, start, when)
        with mpmath.workdps(_DIGITS):
            mass = share * been if side.other is not None else 1 - (1 - share) * been
        found += moving_part(side, start, when, float(mass))
    return tuple(found)


def _gone(part: MehlerLaw, start: sp.Expr) -> tuple[Measure, ...]:
    """What has gone out for good by when the coordinate is no double any more: masses at both ends, as they settle long before."""
    (measure,) = moving_part(part, start, _SETTLED / part.alpha, 1.0)
    left, right = (float(end) for end in part.form.interval)
    middle = maps(part)[1](np.zeros(1))
    return PointMass(left, float(measure.cdf(middle)[0])), PointMass(right, float(measure.sf(middle)[0]))


@singledispatch
def absorbed(part: KernelLaw, start: sp.Expr, when: sp.Expr) -> list[mpmath.mpf]:
    """The masses of the atoms; a family registers a better way than its formula."""
    return [number(a.mass, start, when) for a in part.atoms]


@absorbed.register
def _(part: IntervalLaw, start: sp.Expr, when: sp.Expr) -> list[mpmath.mpf]:
    y0, rest, t, potential, slope = _at_start(part, start, when)
    with mpmath.workdps(_DIGITS):
        masses = []
        for end, near, far, outward in ((part.ends[0], y0, rest, -slope), (part.ends[1], rest, y0, slope)):
            if end is End.ABSORBING:
                even, odd = _even_and_odd(-potential)
                masses.append((even(near) + outward * odd(near)) * leaving(t, near, far, potential))
        return masses


def number(expr: sp.Expr, start: sp.Expr, when: sp.Expr) -> mpmath.mpf:
    """A constant of a law that may hold integrals."""
    if not expr.has(sp.Integral):
        return constant(expr, start, when)
    with mpmath.workdps(20):
        return compiled((), expr.subs({initial: start, time: when}, simultaneous=True))()


@dataclass(frozen=True)
class MovingSampler:
    """Exact samples of what has not been absorbed."""

    part: KernelLaw
    start: sp.Expr
    when: sp.Expr

    def __call__(self, generator: np.random.Generator, size: int) -> Array:
        """So many samples."""
        left, right = (float(end) for end in self.part.form.interval)
        resting = [float(atom.location) for atom in self.part.atoms]
        found = np.empty(0)
        while found.size < size:
            starts = np.full(max(64, 2 * (size - found.size)), float(self.start))
            drawn = compile_sampler(self.part)(starts, float(self.when), generator)
            drawn = drawn[~np.isin(drawn, resting)] if resting else np.clip(drawn, left, right)
            found = np.concatenate([found, drawn])
        return found[:size]


@dataclass(frozen=True)
class Apart:
    """How far states are from that of the centre, which may be much larger."""

    part: KernelLaw
    middle: mpmath.mpf

    def __call__(self, offsets: Array) -> Array:
        """Of offsets in the coordinate."""
        back = compiled((self.part.chart.back.variables[0],), self.part.chart.back.expr)
        with mpmath.workdps(_DIGITS):
            here = back(self.middle)
            return np.array([float(back(self.middle + mpmath.mpf(float(s))) - here) for s in offsets])


@cache
def maps(part: KernelLaw) -> tuple[CompiledFunction, CompiledFunction]:
    """X to y and y to x, as functions of arrays."""
    y = part.chart.back.variables[0]
    return (
        compile_expression((part.form.state,), part.chart.coordinate),
        compile_expression((y,), part.chart.back.expr),
    )


@dataclass(frozen=True)
class Frame:
    """Where the mass is in the coordinate, and how the density falls off at the ends."""

    part: KernelLaw
    low: mpmath.mpf  # between these two lies all but 1e-15 of the mass
    high: mpmath.mpf
    centre: float
    width: float
    powers: tuple[float | None, float | None]
    push: float = 0.0  # how far a drift carries the coordinate
    features: tuple[float, ...] = ()  # where the density changes on scales of its own
    middle: mpmath.mpf | None = None  # the centre to all digits, where differences from it may be asked for

    def beside_an_end(self, back: Callable[[Array], Array], left: float, right: float) -> bool:
        """Whether a state typical of the law is hardly resolved from an end, as where it tends to one that it never reaches."""
        with np.errstate(all="ignore"):
            (x,) = back(np.array([self.centre + self.push]))
        return any(np.isfinite(end) and abs(x - end) <= 64 * np.spacing(abs(end)) for end in (left, right))

    @cached_property
    def only_double(self) -> float | None:
        """The double to which all of the mass rounds, if it does."""
        chart = self.part.chart
        length = chart.length
        with mpmath.workdps(_DIGITS):
            top = mpmath.inf if length == sp.oo else compiled((), length)()
            if mpmath.isinf(self.low) or not (chart.on_line or (self.low > 0 and self.high < top)):
                return None
            back = compiled((chart.back.variables[0],), chart.back.expr)
            try:
                first, second = (float(back(v)) for v in (self.low, self.high))
            except (OverflowError, ZeroDivisionError, ValueError):
                return None
        return first if first == second else None


@singledispatch
def frame_of(part: KernelLaw, start: sp.Expr, when: sp.Expr) -> Frame:
    """The frame of a law; a family registers its own."""
    y0 = constant(part.chart.coordinate.subs(part.form.state, initial), start, when)
    root = mpmath.sqrt(constant(when, start, when))
    return Frame(part, -mpmath.inf, mpmath.inf, float(y0), float(root), (None, None))


@frame_of.register
def _(part: RadialLaw, start: sp.Expr, when: sp.Expr) -> Frame:
    m, v, power = (
        constant(e, start, when) for e in (part.centre(time, initial), part.variance(time), 1 + part.index + part.order)
    )
    with mpmath.workdps(_DIGITS):
        reach = 8 * mpmath.sqrt(v) + 8 * v * (1 + abs(power)) / m
        return Frame(part, m - reach, m + reach, float(m), float(mpmath.sqrt(v)), (float(power), None), middle=m)


@frame_of.register
def _(part: Side, start: sp.Expr, when: sp.Expr) -> Frame:
    m, v, power = (
        constant(e, start, when) for e in (part.centre(time, initial), part.variance(time), 1 + 2 * part.index)
    )
    with mpmath.workdps(_DIGITS):
        root, near = mpmath.sqrt(v), v / (m + mpmath.sqrt(v))  # how fast what has crossed falls off
        features = tuple(float(near) * 2.0 ** np.arange(-3, 6))
        centre, width = (m, root) if part.other is None else (near, near)
    return Frame(part, -mpmath.inf, mpmath.inf, float(centre), float(width), (float(power), None), features=features)


@frame_of.register
def _(part: MehlerLaw, start: sp.Expr, when: sp.Expr) -> Frame:
    y0, beta, alpha, t = (
        constant(e.subs(part.form.state, initial), start, when)
        for e in (part.coordinate, part.form.beta, part.alpha, when)
    )
    with mpmath.workdps(_DIGITS):
        # far out u grows or falls off like e^{±αy²/2}, and y moves like an Ornstein–Uhlenbeck process, but for a drift like 1/y
        kappa = alpha if beta * y0 > 0 else -alpha
        grown = mpmath.exp(abs(kappa) * t)
        reach = 8 * mpmath.sqrt((grown**2 - 1) / (2 * alpha)) + 2 * abs(beta - kappa * y0) * t * grown
        middle = y0 * mpmath.exp(kappa * t)
        far = bool(abs(beta - kappa * y0) * abs(y0) < 1e3 * (1 + alpha) and abs(y0) > 1e3 * mpmath.sqrt(t))
        low, high = (middle - reach, middle + reach) if far else (-mpmath.inf, mpmath.inf)
        # u has left its last bend a few 1/√α from the bottom of the parabola, of which a wide law knows nothing
        bends = float(1 / mpmath.sqrt(alpha)) * 2.0 ** np.arange(-3, 13)
    features = (*-bends, 0.0, *bends)
    top, width = MehlerDensity(part, start, saturated(part, when)).peak
    return Frame(part, low, high, top, width, (None, None), features=features)


_POWERS = {End.UNATTAINABLE: 2.0, End.ABSORBING: 1.0, End.REFLECTING: 0.0}


@frame_of.register
def _(part: HalfLineLaw, start: sp.Expr, when: sp.Expr) -> Frame:
    y0, k, t = (constant(e, start, when) for e in (part._y(initial), part.rate, when))
    with mpmath.workdps(_DIGITS):
        reach = 8 * mpmath.sqrt(t) + k * t
        powers = (_POWERS[part.end], None)
        return Frame(part, y0 - reach, y0 + reach, float(y0), float(mpmath.sqrt(t)), powers, float(k * t), middle=y0)


@frame_of.register
def _(part: IntervalLaw, start: sp.Expr, when: sp.Expr) -> Frame:
    chart, x = part.chart, part.form.state
    assert chart.complement is not None
    y0, rest, length, t = (
        constant(e.subs(x, initial), start, when) for e in (chart.coordinate, chart.complement, chart.length, when)
    )
    with mpmath.workdps(_DIGITS):
        root = mpmath.sqrt(t)
        reach = 8 * root + t / min(y0, rest)
        width = min(mpmath.mpf(1), root * length / (y0 * rest))
        return Frame(part, y0 - reach, y0 + reach, float(mpmath.log(y0 / rest)), float(width), (None, None))


@singledispatch
def density(part: KernelLaw, start: sp.Expr, when: sp.Expr) -> KernelDensity:
    """The logarithm of the density; a family registers its own."""
    raise ValueError(
        f"the density of a {type(part).__name__} is not compiled; register it with numerics.compile.kernels.density"
    )


@density.register
def _(part: MehlerLaw, start: sp.Expr, when: sp.Expr) -> MehlerDensity:
    return MehlerDensity(part, start, saturated(part, when))


def saturated(part: MehlerLaw, when: sp.Expr) -> sp.Expr:
    """The time, or an earlier one by which all that doubles can show of an outgoing process on a bounded interval has long settled."""
    if not all(end.is_finite for end in part.form.interval):
        return when
    settled = sp.nsimplify(_SETTLED / part.alpha, rational=True)
    return settled if bool(when > settled) else when


def _logarithm(value: mpmath.mpf) -> float:
    """The logarithm of a number that need not be a double; minus infinity for 0."""
    with mpmath.workdps(_DIGITS):
        return float(mpmath.log(value)) if value > 0 else -np.inf


@density.register
def _radial(part: RadialLaw, start: sp.Expr, when: sp.Expr) -> RadialDensity:
    m, v = (constant(e, start, when) for e in (part.centre(time, initial), part.variance(time)))
    n, order = (float(constant(e, start, when)) for e in (part.index, part.order))
    with mpmath.workdps(_DIGITS):
        steep = float(m / v)
    return RadialDensity(part, start, when, n, order, float(v), float(m), _logarithm(m), _logarithm(v), steep)


@density.register
def _(part: Side, start: sp.Expr, when: sp.Expr) -> KernelDensity:
    share = constant(part.share, start, when)
    if part.other is None:
        stopped, free = (
            _radial(BesselLaw(part.form, part.y, part.direction, part.index, part.pull, kept), start, when)
            for kept in (True, False)
        )
        with mpmath.workdps(_DIGITS):
            logs = _logarithm(1 - share), _logarithm(share)
        return MixedDensity(part, start, when, stopped, free, logs)
    m, v, nu = (constant(e, start, when) for e in (part.centre(time, initial), part.variance(time), -part.index))
    with mpmath.workdps(_DIGITS):
        factor = _logarithm(2 * mpmath.sin(mpmath.pi * nu) / mpmath.pi * share)
    return CrossedDensity(part, start, when, float(nu), factor, float(v), float(m), _logarithm(m), _logarithm(v))


@density.register
def _(part: HalfLineLaw, start: sp.Expr, when: sp.Expr) -> KernelDensity:
    y0, k, t = (constant(e, start, when) for e in (part._y(initial), part.rate, when))
    slope = constant(part._start(initial)[1], start, when)
    image = 1 if part.end is End.REFLECTING else -1
    return HalfLineDensity(
        part, start, when, _solution(y0, -k * k, slope, part.end), float(y0), float(k), float(t), image
    )


@density.register
def _(part: IntervalLaw, start: sp.Expr, when: sp.Expr) -> KernelDensity:
    y0, rest0, t, potential, slope = _at_start(part, start, when)
    solution = _solution(y0, -potential, slope, *part.ends, rest0)
    with mpmath.workdps(_DIGITS):
        length = y0 + rest0
        tau, b, b_left = (float(e) for e in (t / length**2, y0 / length, rest0 / length))
        shift = float(-potential * t / 2 - mpmath.log(length))
    return IntervalDensity(part, start, when, solution, tau, b, b_left, float(length), shift)


def _at_start(part: IntervalLaw, start: sp.Expr, when: sp.Expr) -> tuple[mpmath.mpf, ...]:
    r"""The distances of the start from both ends, the time, the potential, and :math:`(\log u)'` there."""
    assert part.chart.complement is not None
    exprs = (part.chart.coordinate, part.chart.complement, when, part.form.potential, part.form.beta)
    return tuple(constant(e.subs(part.form.state, initial), start, when) for e in exprs)


def _even_and_odd(curvature: mpmath.mpf) -> tuple[Callable[[mpmath.mpf], mpmath.mpf], ...]:
    """The solutions of f″ = −curvature f with values 1, 0 and slopes 0, 1 at 0."""
    k = mpmath.sqrt(abs(curvature))

    def even(s: mpmath.mpf) -> mpmath.mpf:
        return mpmath.cos(k * s) if curvature > 0 else mpmath.cosh(k * s)

    def odd(s: mpmath.mpf) -> mpmath.mpf:
        return s if k == 0 else (mpmath.sin(k * s) if curvature > 0 else mpmath.sinh(k * s)) / k

    return even, odd


def _solution(
    y0: mpmath.mpf, curvature: mpmath.mpf, slope: mpmath.mpf, low: End, high: End | None = None, rest0: Any = None
) -> Solution:
    r"""The u of a constant potential, :math:`u'' = -cu`, :math:`u(y_0) = 1`, from what it is at the ends."""
    with mpmath.workdps(_DIGITS):
        k = mpmath.sqrt(abs(curvature))
        even, odd = _even_and_odd(curvature)
        at_low = mpmath.mpf(0) if low is End.UNATTAINABLE else even(y0) - slope * odd(y0)
        if high is None:
            plus, minus = ((1 + slope / k) / 2, (1 - slope / k) / 2) if k else (slope, mpmath.mpf(0))
            grown = minus * mpmath.exp(2 * k * y0) if minus < 0 else mpmath.mpf(0)
            sums = (plus + grown, plus - grown) if minus < 0 else (plus, minus)
            return Solution(
                float(k),
                float(curvature),
                _logarithm(at_low),
                -np.inf,
                tuple(map(float, sums)),
                bool(minus < 0),
                float(y0),
            )
        at_high = mpmath.mpf(0) if high is End.UNATTAINABLE else even(rest0) + slope * odd(rest0)
        both = low is End.UNATTAINABLE and high is End.UNATTAINABLE
        base = (
            odd(min(y0, rest0)) if both else odd(y0 + rest0)
        )  # a sine is seen from the end at which it has its digits
        return Solution(
            float(k), float(curvature), _logarithm(at_low), _logarithm(at_high), (_logarithm(base),), both, float(y0)
        )
