r"""The densities of the kernel families in double precision, each with the constants that it needs computed to fifty digits.

They are written in the coordinate y and in its offset from the start or the centre, so that a peak far from the ends keeps its digits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import mpmath
import numpy as np
import sympy as sp
from scipy.special import expit, gammaln, kve

from derivations.calculus.logs import log_of_positive
from derivations.laws.kernel import KernelLaw
from derivations.laws.mehler import MehlerLaw
from derivations.laws.numbers import compiled
from derivations.special import Weber
from derivations.symbols import initial, time
from numerics.compile.expression import CompiledFunction, compile_expression
from numerics.densities.base import Array
from numerics.densities.kernel import KernelDensity
from numerics.special import log_interval_kernel, log_scaled_bessel_i, log_weber


@dataclass(frozen=True)
class FamilyDensity(KernelDensity):
    """What the families share: a law at a time from a start, whose formula answers where doubles overflow."""

    part: KernelLaw
    start: sp.Expr
    when: sp.Expr

    @cached_property
    def _functions(self) -> tuple[CompiledFunction, CompiledFunction]:
        x, form = self.part.form.state, self.part.form
        return compile_expression((x,), self.part.chart.coordinate), compile_expression(
            (x,), log_of_positive(form.scale, form)
        )

    @cached_property
    def _exact(self) -> Callable[..., mpmath.mpf]:
        x = self.part.form.state
        return compiled((x,), self.part.logpdf(x).subs({initial: self.start, time: self.when}, simultaneous=True))

    def log_scale(self, x: Array) -> Array:
        r""":math:`\log\varphi`."""
        return self._functions[1](x)

    def per_x(self, x: Array) -> Array:
        """In the coordinate where that is a double; by the law's formula elsewhere."""
        value = self._per_x(x)
        lost = np.isnan(value) & ~np.isnan(x)
        if lost.any():
            value[lost] = [self._at_fifty_digits(v) for v in x[lost]]
        return value

    def _at_fifty_digits(self, x: float) -> float:
        with mpmath.workdps(50):
            try:
                value = self._exact(mpmath.mpf(float(x)))
            except (ZeroDivisionError, ValueError, OverflowError, mpmath.libmp.NoConvergence):
                return -np.inf
            return -np.inf if mpmath.isnan(value) or mpmath.im(value) != 0 else float(mpmath.re(value))

    def _per_x(self, x: Array) -> Array:
        raise NotImplementedError


@dataclass(frozen=True)
class MehlerDensity(FamilyDensity):
    r"""By the law's own formula, with its terms in y and :math:`y^2` collected to fifty digits, since large ones cancel.

    They are a parabola, which opens downwards, counted from its top: around there lies the mass, also where the process has gone far from
    its start.
    """

    part: MehlerLaw

    @cached_property
    def _formula(
        self,
    ) -> tuple[tuple[float, float, float], CompiledFunction, tuple[tuple[Weber, CompiledFunction], ...]]:
        part, y = self.part, self.part.chart.back.variables[0]
        log_density = part.logpdf(part.form.state) + log_of_positive(part.form.scale, part.form)
        folded = log_density.subs({initial: self.start, time: self.when}, simultaneous=True)
        folded = sp.expand_log(folded.subs(part.form.state, part.chart.back(y)))
        logs = [n for n in folded.atoms(sp.log) if isinstance(n.args[0], Weber) and n.args[0].args[0] == 0 and n.has(y)]
        logs.sort(key=sp.default_sort_key)
        rests = {n: sp.Dummy(f"r{i}", real=True) for i, n in enumerate(logs)}
        opened = {n: n.args[0].args[1] * n.args[0].args[4] ** 2 / 2 + r for n, r in rests.items()}
        collected = {sp.S.One: sp.S.Zero, y: sp.S.Zero, y**2: sp.S.Zero}
        rest = sp.S.Zero
        for term in sp.Add.make_args(sp.expand(folded.xreplace(opened))):
            factor, power = term.as_independent(y, *rests.values())
            if power in collected:
                collected[power] += factor
            else:
                rest += term
        grown = int(part.alpha * self.when) + 1
        with mpmath.workdps(50 + grown):  # e^{−2αt} is what is left of the square where the process goes out
            constant, linear, square = (compiled((), c)() for c in collected.values())
            top = -linear / (2 * square)
            parabola = (float(constant - linear**2 / (4 * square)), float(top), float(square))
        nodes = tuple((n.args[0], compile_expression((y,), n.args[0].args[4])) for n in logs)
        return parabola, compile_expression((y, *rests.values()), rest), nodes

    @property
    def peak(self) -> tuple[float, float]:
        """The top of the parabola and the standard deviation of the Gauss curve that it is the logarithm of; infinite where they outgrow doubles."""
        _, top, square = self._formula[0]
        return top, float(np.sqrt(-0.5 / square)) if square < 0 else np.inf

    def at(self, y: Array, offset: Array) -> Array:
        """The formula in the coordinate y; the offset is counted from the top of the parabola."""
        (value, _, square), rest, nodes = self._formula
        scaled = [_scaled_weber(node, place(y)) for node, place in nodes]
        return value + square * np.square(offset) + rest(y, *scaled)

    def _per_x(self, x: Array) -> Array:
        y = self._functions[0](x)
        value = self.at(y, y - self.peak[0]) - self.log_scale(x)
        return np.where(np.isfinite(y), value, -np.inf)  # the last doubles before an end have no coordinate


def _scaled_weber(node: Weber, z: Array) -> Array:
    alpha, gamma, slope = (float(v) for v in node.args[1:4])
    return log_weber(alpha, gamma, slope, z, scaled=True)


@dataclass(frozen=True)
class RadialDensity(FamilyDensity):
    r""":math:`\log q(y)` of :class:`~derivations.laws.radial.RadialLaw`, the power of m taken out of the Bessel function where m is tiny."""

    index: float
    order: float
    variance: float
    centre: float
    log_centre: float
    log_variance: float
    steepness: float  # m/v

    def at(self, y: Array, offset: Array) -> Array:
        """The offset is counted from m."""
        n, nu, log_y = self.index, self.order, np.log(y)
        z = y * self.steepness
        small = z < 1e-8
        with np.errstate(all="ignore"):
            plain = n * (log_y - self.log_centre) + log_scaled_bessel_i(nu, np.where(small, 1.0, z))
            series = (n + nu) * log_y + (nu - n) * self.log_centre - nu * (self.log_variance + np.log(2))
            series = series - gammaln(nu + 1) - z
            return log_y - self.log_variance - np.square(offset) / (2 * self.variance) + np.where(small, series, plain)

    def _per_x(self, x: Array) -> Array:
        y = self._functions[0](x)
        value = self.at(y, y - self.centre) - self.log_scale(x)
        return np.where(np.isposinf(y), -np.inf, value)


@dataclass(frozen=True)
class CrossedDensity(FamilyDensity):
    r"""On the other side of a zero that the process crosses: :math:`S_{-\nu} - S_\nu = \tfrac2\pi \sin(\pi\nu)\,e^{-z} K_\nu(z)`.

    Parameters
    ----------
    order : float
        :math:`\nu`.
    log_factor : float
        Logarithm of :math:`\tfrac2\pi \sin(\pi\nu)` times the share of this side.
    variance, centre, log_centre, log_variance : float
        v and m of the radius, and their logarithms.
    """

    order: float
    log_factor: float
    variance: float
    centre: float
    log_centre: float
    log_variance: float

    def at(self, y: Array, offset: Array) -> Array:
        """The offset is not needed: nothing cancels in y + m."""
        nu, log_y = self.order, np.log(y)
        log_z = log_y + self.log_centre - self.log_variance
        small = log_z < -600
        with np.errstate(all="ignore"):
            z = np.exp(np.where(small, 0.0, log_z))
            bessel = np.where(small, gammaln(nu) - np.log(2) - nu * (log_z - np.log(2)), np.log(kve(nu, z)))
            gauss = -np.square(y + self.centre) / (2 * self.variance)
            return log_y - self.log_variance - nu * (log_y - self.log_centre) + gauss + bessel + self.log_factor

    def _per_x(self, x: Array) -> Array:
        y = self._functions[0](x)
        return np.where(np.isposinf(y), -np.inf, self.at(y, y) - self.log_scale(x))


@dataclass(frozen=True)
class MixedDensity(FamilyDensity):
    """On the side of the start: what has not been at the zero, and a share of what has, as two radial densities."""

    stopped: RadialDensity
    free: RadialDensity
    logs: tuple[float, float]

    def at(self, y: Array, offset: Array) -> Array:
        """The offset is counted from m."""
        return np.logaddexp(self.logs[0] + self.stopped.at(y, offset), self.logs[1] + self.free.at(y, offset))

    def _per_x(self, x: Array) -> Array:
        return np.logaddexp(self.logs[0] + self.stopped._per_x(x), self.logs[1] + self.free._per_x(x))


@dataclass(frozen=True)
class Solution:
    r"""The positive solution u of :math:`u'' = -cu` relative to its value at the start, as a sum of nonnegative terms.

    Parameters
    ----------
    rate, curvature : float
        :math:`k = \sqrt{|c|}` and c.
    log_low, log_high : float
        Logarithms of u at the two ends; minus infinity where it vanishes, or where there is no upper end.
    parts : tuple of float
        On a half-line the weights of the two exponentials, or their sum and difference; on an interval the logarithm of what is divided by.
    special : bool
        On a half-line whether it is sum and difference, on an interval whether u vanishes at both ends.
    start : float
    """

    rate: float
    curvature: float
    log_low: float
    log_high: float
    parts: tuple[float, ...]
    special: bool
    start: float

    def _log_odd(self, s: Array) -> Array:
        """Logarithm of the solution that is 0 at 0 with slope 1."""
        k = self.rate
        if k == 0:
            return np.log(s)
        if self.curvature > 0:
            return np.log(np.sin(k * s) / k)
        return k * s + np.log(-np.expm1(-2 * k * s) / (2 * k))

    def on_half_line(self, y: Array, offset: Array) -> Array:
        r""":math:`\log u(y)/u(y_0)`."""
        k = self.rate
        if np.isneginf(self.log_low):  # u vanishes at 0
            if k == 0:
                return np.log(y / self.start)
            return k * offset + np.log(np.expm1(-2 * k * y) / np.expm1(-2 * k * self.start))
        if k == 0:
            return np.log(np.exp(self.log_low) + self.parts[0] * y)
        if self.special:
            e = np.exp(-2 * k * y)
            return k * offset + np.log(self.parts[0] * (1 + e) / 2 + self.parts[1] * (1 - e) / 2)
        plus, minus = (np.log(w) if w > 0 else -np.inf for w in self.parts)
        return np.logaddexp(plus + k * offset, minus - k * offset)

    def between(self, y: Array, rest: Array) -> Array:
        """The same on an interval."""
        (base,) = self.parts
        if self.special:
            return self._log_odd(np.minimum(y, rest) if self.curvature > 0 else y) - base
        return np.logaddexp(self.log_low + self._log_odd(rest), self.log_high + self._log_odd(y)) - base


@dataclass(frozen=True)
class HalfLineDensity(FamilyDensity):
    """Gauss's kernel and its image, times u."""

    solution: Solution
    y0: float
    rate: float
    elapsed: float
    image: int

    def at(self, y: Array, offset: Array) -> Array:
        """The offset is counted from the start."""
        t = self.elapsed
        overlap = 2 * y * (self.y0 / t)
        image = np.log(-np.expm1(-overlap)) if self.image < 0 else np.log1p(np.exp(-overlap))
        gauss = -np.square(offset) / (2 * t) - np.log(2 * np.pi * t) / 2 - self.rate**2 * t / 2
        return gauss + image + self.solution.on_half_line(y, offset)

    def _per_x(self, x: Array) -> Array:
        y = self._functions[0](x)
        value = self.at(y, y - self.y0) - self.log_scale(x)
        return np.where(np.isposinf(y), -np.inf, value)


@dataclass(frozen=True)
class IntervalDensity(FamilyDensity):
    r"""The theta series times u, in the variable :math:`s = \log\frac{y}{\ell - y}`, in which both ends keep their digits."""

    solution: Solution
    tau: float
    b: float
    b_left: float
    length: float
    shift: float

    def at(self, y: Array, offset: Array) -> Array:
        """Per unit of s, which takes the place of y."""
        near, rest = self.length * expit(y), self.length * expit(-y)
        return self._at(near, rest, offset) + np.log(near * expit(-y))

    def _at(self, y: Array, rest: Array, offset: Array) -> Array:
        # a − b from the difference of the logits, in which a narrow law keeps its digits
        gap = -(y / self.length) * self.b_left * np.expm1(-offset)
        far = np.where(y < rest, y / self.length - self.b, self.b_left - rest / self.length)
        gap = np.where(np.abs(offset) < 1, gap, far)
        kernel = log_interval_kernel(self.tau, y / self.length, self.b, rest / self.length, self.b_left, gap)
        return kernel + self.shift + self.solution.between(y, rest)

    @cached_property
    def _both(self) -> CompiledFunction:
        chart = self.part.chart
        return compile_expression((self.part.form.state,), (chart.coordinate, chart.complement))

    def _per_x(self, x: Array) -> Array:
        y, rest = self._both(x)
        return self._at(y, rest, np.log(y / rest) - np.log(self.b / self.b_left)) - super().log_scale(x)

    def log_scale(self, x: Array) -> Array:
        r"""Of dx/ds."""
        y, rest = self._both(x)
        return super().log_scale(x) + np.log(y * (rest / self.length))


@dataclass(frozen=True)
class Logit:
    """X to s, the logarithm of the distances from both ends over each other."""

    part: KernelLaw

    @cached_property
    def _both(self) -> CompiledFunction:
        chart = self.part.chart
        return compile_expression((self.part.form.state,), (chart.coordinate, chart.complement))

    def __call__(self, x: Array) -> Array:
        """At points inside."""
        y, rest = self._both(x)
        with np.errstate(all="ignore"):
            return np.log(y / rest)


@dataclass(frozen=True)
class FromLogit:
    """S to x."""

    part: KernelLaw

    @cached_property
    def _back(self) -> tuple[CompiledFunction, CompiledFunction, float]:
        """Of the distance from the lower end of y, and of that from the upper one, which keeps its digits there."""
        chart, (y,) = self.part.chart, self.part.chart.back.variables
        from_above = chart.back.expr.subs(y, chart.length - y)
        return compile_expression((y,), chart.back.expr), compile_expression((y,), from_above), float(chart.length)

    def __call__(self, s: Array) -> Array:
        """At any points."""
        from_below, from_above, length = self._back
        low, high = (
            back(np.maximum(length * expit(-np.abs(s)), np.finfo(float).tiny)) for back in (from_below, from_above)
        )
        return np.where(s < 0, low, high)
