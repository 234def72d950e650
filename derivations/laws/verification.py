r"""The proof of a law from its density alone: forward equation, mass, initial law, Chapman–Kolmogorov.

Integrals are taken in the Lamperti coordinate, where a density is Gaussian times something tame, with the double
exponential rule at 36 digits; what should vanish must do so to 30.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import partial

import mpmath
import sympy as sp
from mpmath import mp

from derivations.calculus.lamperti import LampertiForm, tidy
from derivations.diffusion import Diffusion
from derivations.laws.approach import approach
from derivations.laws.base import Check, Law
from derivations.laws.chart import Chart
from derivations.laws.family import Family
from derivations.laws.numbers import compiled
from derivations.laws.proofs import check_forward, draw_inside, draw_point
from derivations.symbols import initial, time

_DIGITS = 36


def checks_of(law: Law, form: LampertiForm, chart: Chart) -> tuple[Check, ...]:
    """The checks for a law whose density lives on the interval of a form, with coordinate y."""
    forward = check_forward(law.diffusion, law.logpdf(form.state), form.interval, initial, form.assuming)
    return (forward, *integral_checks(law, form, chart), *_end_checks(law, form))


def _end_checks(law: Law, form: LampertiForm) -> tuple[Check, ...]:
    """An end has an atom iff it is reached and keeps what reaches it: a reflected and an absorbed density solve the same equation."""
    point = draw_point(form, law.parameters, random.Random(1))
    ends = tuple(end.subs(point) for end in form.interval)
    drift, variance = form.drift.subs(point), (form.scale**2).subs(point)
    process = Diffusion((form.state,), [drift], [[variance]], sp.Interval.open(*ends))
    inside = draw_inside(ends, random.Random(1))
    atoms = {atom.location for atom in law.atoms}
    rows = []
    for end, number in zip(form.interval, ends, strict=True):
        way = approach(process, number, inside)
        keeps = False if drift == 0 and not number.is_finite else way.keeps
        if keeps is not None:
            found = sp.Integer(end in atoms)
            statement = f"atoms at {str(end).replace('oo', '∞')}, as many as the local exponents there ask for"
            rows.append(Check(statement, found, sp.Integer(keeps), True, bool(found) == keeps))
    return tuple(rows)


def integral_checks(law: Law, form: LampertiForm, chart: Chart) -> tuple[Check, ...]:
    """Mass, Chapman–Kolmogorov and the initial law, at random rational points."""
    density = _in_coordinate(law, form, chart)
    start, t = density.points[0], mp.mpf(2) / 5
    atoms = sp.Add(*(a.mass for a in law.atoms))
    with mp.workdps(_DIGITS):
        moving = density.integrate(lambda y: density(t, start, y), (start,), t)
        mass = 1 - moving - density.at(atoms, density.state(start), t)  # type: ignore[no-untyped-call]
    return (
        _row("missing mass: 1 minus the integral of the density and the atoms", mass),
        _chained(density),
        _row(
            "density over Gauss's with variance t in the Lamperti coordinate, minus 1, as t goes to 0",
            density.at_start(),
        ),
    )


_TIMES = (sp.Rational(2, 5), sp.Rational(3, 7))


def chapman_kolmogorov(law: Law, form: LampertiForm, chart: Chart) -> Check:
    r""":math:`\int p_s(y_0, \eta)\,p_t(\eta, y)\,\mathrm{d}\eta = p_{s+t}(y_0, y)`, which two wrong densities do not keep."""
    return _chained(_in_coordinate(law, form, chart))


def _chained(density: _InCoordinate) -> Check:
    start, other = density.points
    with mp.workdps(_DIGITS):
        s, t = (mp.mpf(v.p) / v.q for v in _TIMES)
        chained = density.integrate(lambda y: density(s, start, y) * density(t, y, other), (start, other), s + t)
        gap = chained / density(s + t, start, other) - 1
    return _row("Chapman–Kolmogorov at two times, relative", gap)


class TwoSided:
    """The density of a radius with a side, from a start on a side, as a function of numbers, with the law's parameters fixed.

    Parameters
    ----------
    sides : pair of Family
        What the process does on the left and on the right of the point between them.
    parts : pair of pair of Law
        For a start on the left and on the right, the densities on the left and on the right.
    charts : pair of Chart
    """

    def __init__(
        self, sides: tuple[Family, Family], parts: Sequence[Sequence[Family]], charts: tuple[Chart, Chart]
    ) -> None:
        form, y, y0 = sides[0].form, sp.Dummy("y", positive=True), sp.Dummy("y0", positive=True)
        names = set().union(*(side.parameters for side in sides))
        with mp.workdps(2 * _DIGITS):
            point = draw_point(form, names, random.Random(1))
            given = [mp.mpf(v.p) / v.q for v in point.values()]
            logs = {}
            for start, row in enumerate(parts):
                for end, part in enumerate(row):
                    where = {form.state: charts[end].back(y), initial: charts[start].back(y0)}
                    log = (part.logpdf(form.state) + sp.log(part.form.scale)).subs(where, simultaneous=True)
                    logs[start, end] = compiled((time, y0, y, *point), log)
            zero = form.interval[1]
            away = [compiled((y, *point), chart.back(y) - zero) for chart in charts]
            (pull,) = {tidy(-side.form.drift / (form.state - zero)) for side in sides}
            self.pull = compiled(tuple(point), pull)(*given)
        self._log: Callable[..., mpmath.mpf] = lambda start, end, t, a, b: logs[start, end](t, a, b, *given)
        self._away: Callable[..., mpmath.mpf] = lambda side, b: away[side](b, *given)

    def __call__(self, start: int, end: int, t: mpmath.mpf, a: mpmath.mpf, b: mpmath.mpf) -> mpmath.mpf:
        """Per unit of the radius b, from the radius a."""
        return mp.exp(self._log(start, end, t, a, b))

    def integrate(self, function: Callable[[int, mpmath.mpf], mpmath.mpf], middle: mpmath.mpf) -> mpmath.mpf:
        """Over both sides."""
        total = mp.zero
        for side in (0, 1):
            here = partial(function, side)
            high = 2 * middle
            while abs(here(high)) > mp.mpf(10) ** -_DIGITS:
                high += 1
            total += _from_zero(here, middle) + mp.quad(here, [middle, (3 * middle + high) / 4, high])
        return total

    def checks(self) -> tuple[Check, ...]:
        """Mass from the left, mean from the right, and transitions; the mean feels how excursions are shared out between the sides."""
        with mp.workdps(_DIGITS):
            a, b = mp.mpf(2) / 3, mp.mpf(5) / 7
            s, t = (mp.mpf(v.p) / v.q for v in _TIMES)
            mass = self.integrate(lambda side, v: self(0, side, s, a, v), a)
            mean = self.integrate(lambda side, v: self(1, side, s, a, v) * self._away(side, v), a)
            linear = self._away(1, a) * mp.exp(-self.pull * s)
            chained = self.integrate(lambda side, v: self(1, side, s, a, v) * self(side, 0, t, v, b), a)
            return (
                _row("missing mass from the left: 1 minus the integral of the density on both sides", 1 - mass),
                _row("mean from the right over that of the linear drift, minus 1", mean / linear - 1),
                _row("Chapman–Kolmogorov from the right to the left, relative", chained / self(1, 0, s + t, a, b) - 1),
            )


def _in_coordinate(law: Law, form: LampertiForm, chart: Chart) -> _InCoordinate:
    with mp.workdps(2 * _DIGITS):
        return _InCoordinate(law, form, chart, draw_point(form, law.parameters, random.Random(1)))


def _row(statement: str, value: mpmath.mpf) -> Check:
    size = abs(value)
    return Check(statement, sp.Float(size, 5), sp.S.Zero, False, bool(size < mpmath.mpf(10) ** -30))


class _InCoordinate:
    """The density of Y as a function of numbers, with the law's parameters fixed."""

    def __init__(self, law: Law, form: LampertiForm, chart: Chart, point: dict[sp.Symbol, sp.Expr]) -> None:
        x, y = form.state, chart.back.variables[0]
        y0 = sp.Dummy("y0", positive=y.is_positive, real=True)
        transformed = {x: chart.back(y), initial: chart.back(y0)}
        log_density = (law.logpdf(x) + sp.log(form.scale)).subs(transformed, simultaneous=True)
        self.given = {s: mp.mpf(v.p) / v.q for s, v in point.items()}
        names, given = tuple(self.given), tuple(self.given.values())
        log = compiled((time, y0, y, *names), log_density)
        state, length = (compiled((v, *names), e) for v, e in ((y, chart.back.expr), (time, chart.length)))
        self._log = lambda t, a, b: log(t, a, b, *given)
        self.state = lambda at: state(at, *given)
        self.length = mp.inf if chart.length == sp.oo else length(mp.one, *given)
        self.line = chart.on_line
        small = mp.mpf(1) / 3 if self.length == mp.inf else self.length / 3
        self.points = (2 * small, 4 * small if self.length == mp.inf else small * mp.mpf(5) / 4)
        if self.line:
            self.points = (-small, small * mp.mpf(7) / 5)

    def at(self, expr: sp.Expr, x0: mpmath.mpf, t: mpmath.mpf) -> mpmath.mpf:
        """A function of the start and time, with the parameters fixed."""
        return compiled((initial, time, *self.given), expr)(x0, t, *self.given.values())

    def __call__(self, t: mpmath.mpf, y0: mpmath.mpf, y: mpmath.mpf) -> mpmath.mpf:
        try:
            return mp.exp(self._log(t, y0, y))  # type: ignore[no-untyped-call]
        except ZeroDivisionError:  # so near an end that e^{ky} − 1 is 0 to these digits
            with mp.workdps(4 * mp.dps):
                return mp.exp(self._log(t, y0, y))  # type: ignore[no-untyped-call]

    def integrate(
        self, function: Callable[[mpmath.mpf], mpmath.mpf], centres: tuple[mpmath.mpf, ...], t: mpmath.mpf
    ) -> mpmath.mpf:
        """Over the range of Y, cut off where the integrand has fallen below the digits."""
        step = mp.sqrt(t)
        middle = sorted(set(centres))
        peak = max(abs(function(c)) for c in middle)

        def edge(start: mpmath.mpf, sign: int, limit: mpmath.mpf) -> mpmath.mpf:
            at = start
            while sign * at < sign * limit and abs(function(at)) > peak * mp.mpf(10) ** (-_DIGITS):
                at += sign * step
            return at if sign * at < sign * limit else limit

        high = edge(middle[-1], 1, self.length)
        low = edge(middle[0], -1, -mp.inf if self.line else mp.zero)
        inside = [] if high == self.length else [(3 * middle[-1] + high) / 4]
        if low != 0 or self.line:
            return mp.quad(function, [low, *middle, *inside, high])
        return _from_zero(function, middle[0]) + mp.quad(function, [*middle, *inside, high])

    def at_start(self) -> mpmath.mpf:
        """The worst deviation from Gauss's density at distances of a few standard deviations, at t = 10⁻⁷⁰."""
        worst = mp.zero
        with mp.workdps(4 * _DIGITS):
            t = mp.mpf(10) ** -70
            for s in (-2, mp.mpf(-1) / 3, 1):
                y0 = self.points[0]
                gauss = mp.exp(-(mp.mpf(s) ** 2) / 2) / mp.sqrt(2 * mp.pi * t)
                worst = max(worst, abs(self(t, y0, y0 + s * mp.sqrt(t)) / gauss - 1))
        return worst


def _from_zero(function: Callable[[mpmath.mpf], mpmath.mpf], to: mpmath.mpf) -> mpmath.mpf:
    r"""The integral over (0, b) of what is like :math:`y^{p}` at 0, in :math:`y = b\,w^{1/(p+1)}` if p < 0, in which it stays bounded."""
    near = to * mp.mpf(10) ** -_DIGITS
    first, second = function(near), function(near / 4)
    order = 1 + mp.log(abs(first / second)) / mp.log(4) if first != 0 and second != 0 else mp.one
    if not 0 < order < 1 - mp.mpf(10) ** -10:
        return mp.quad(function, [0, to])

    def stretched(w: mpmath.mpf) -> mpmath.mpf:
        y = to * w ** (1 / order)
        return function(y) * y / (order * w)

    return mp.quad(stretched, [0, 1])
