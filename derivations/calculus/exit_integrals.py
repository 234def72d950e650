r"""The integrals of scale and speed between two points, in a coordinate in which they close where they can.

With M an antiderivative of the speed density m, :math:`T = \int s M` solves :math:`\mathcal{L}T = 1`: as :math:`T' = sM` and
:math:`s' = -\tfrac{2\mu}{a}s`, :math:`\tfrac a2 T'' + \mu T' = \tfrac a2 s m = 1`. So mean exit times need two antiderivatives, and no
definite integral.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import sympy as sp

from derivations.calculus.iterated import IteratedIntegral
from derivations.calculus.power_exponential import antiderivative, at_end, parse, product_antiderivative
from derivations.calculus.speed import coefficients_on, scale_density
from derivations.diffusion import Diffusion


@dataclass(frozen=True)
class ExitIntegrals:
    r"""Scale and speed of a process that starts between two points.

    Parameters
    ----------
    p : Symbol
        The coordinate, an affine function of the state.
    scale, speed : Expr
        s and m in it, the scale up to a constant factor.
    low, start, high : Expr
        In it.
    nonzero : set of Expr
        Filled while integrals are taken: what must not vanish for the formulas to hold.
    """

    p: sp.Symbol
    scale: sp.Expr
    speed: sp.Expr
    low: sp.Expr
    start: sp.Expr
    high: sp.Expr
    nonzero: set[sp.Expr]

    @classmethod
    def of(cls, process: Diffusion, start: sp.Expr, low: sp.Expr, high: sp.Expr) -> ExitIntegrals:
        """In the first coordinate in which both densities are powers times exponentials of powers, else in the state."""
        x, mu, a = coefficients_on(process, (low, high))
        for p, at, back in _coordinates(process, x, mu, a, low):
            drift, variance = mu.subs(x, at), sp.factor(a.subs(x, at))
            s = _scale(drift, variance, p, back.subs(x, low), back.subs(x, high))
            m = sp.powsimp(2 / (variance * s)) if s is not None else None
            if s is not None and parse(s, p) is not None and parse(m, p) is not None:
                there = [back.subs(x, e) for e in (low, start, high)]
                return cls(p, s, m, there[0], there[1], there[2], set())
        p, at, _ = next(_coordinates(process, x, mu, a, low))
        s = _scale(mu.subs(x, at), a.subs(x, at), p, low, high)
        s = scale_density(process, (low, high)).subs(x, at).as_independent(p, as_Add=False)[1] if s is None else s
        return cls(p, s, sp.powsimp(2 / (sp.factor(a.subs(x, at)) * s)), low, start, high, set())

    def _closed(self, density: sp.Expr) -> sp.Expr | None:
        value = antiderivative(density, self.p, self.nonzero)
        return None if value is None else _real(value, self.p, self.low, self.high)

    @cached_property
    def _s(self) -> sp.Expr | None:
        return self._closed(self.scale)

    @cached_property
    def _m(self) -> sp.Expr | None:
        return self._closed(self.speed)

    def _dummy(self) -> sp.Dummy:
        return sp.Dummy("y", positive=self.p.is_positive, real=True)

    def _between(self, density: sp.Expr, closed: sp.Expr | None, low: sp.Expr, high: sp.Expr) -> sp.Expr:
        """The definite integral of a density, by its antiderivative where that is known and has limits."""
        ends = [at_end(closed, density, self.p, e) if closed is not None else None for e in (low, high)]
        if ends[0] is not None and ends[1] is not None:
            return ends[1] - ends[0]
        y = self._dummy()
        return sp.Integral(density.subs(self.p, y), (y, low, high))

    def scale_between(self, low: sp.Expr, high: sp.Expr) -> sp.Expr:
        """S between two points."""
        return self._between(self.scale, self._s, low, high)

    @property
    def probability_up(self) -> sp.Expr:
        """S(low, start)/S(low, high)."""
        ratio = self.scale_between(self.low, self.start) / self.scale_between(self.low, self.high)
        return ratio if ratio.has(sp.Integral, sp.hyper) else sp.factor_terms(sp.cancel(sp.powsimp(ratio)))

    def mean_time(self) -> sp.Expr:
        r"""With P the probability to leave at the top, :math:`P\,T(h) + (1 - P)\,T(\ell) - T(x)`."""
        up = self.probability_up
        rise, fall = self._time(self.start, self.high), self._time(self.low, self.start)
        if rise is not None and fall is not None:
            return up * rise - (1 - up) * fall
        # M from the start: Green's function by parts
        rise, fall = (self._iterated(self.start, self.start, end) for end in (self.high, self.low))
        return up * rise + (1 - up) * fall

    def _time(self, low: sp.Expr, high: sp.Expr) -> sp.Expr | None:
        """T between two points; None if M is not known."""
        if self._m is None:
            return None
        return self._between(self._slope, self._t, low, high)

    @cached_property
    def _t(self) -> sp.Expr | None:
        if self._m is None:
            return None
        if self._m.has(sp.hyper):
            return product_antiderivative(self.scale, self.speed, self.p)
        return self._closed(self._slope)

    @property
    def _slope(self) -> sp.Expr:
        terms = sp.Add.make_args(self._m) if self._m is not None else ()
        return sp.Add(*(sp.powsimp(self.scale * term) for term in terms))

    def mean_time_one_sided(self, up: bool) -> sp.Expr:
        r"""To the only end that is reached: :math:`\int_x^h s(y)\,m(\ell, y)\,\mathrm{d}y` upward, its mirror image downward."""
        far, near = (self.low, self.high) if up else (self.high, self.low)
        path = (self.start, near) if up else (near, self.start)
        mass = at_end(self._m, self.speed, self.p, far) if self._m is not None else None
        time = self._time(*path) if mass is not None else None
        if mass is not None and time is not None:
            total = time - mass * self.scale_between(*path)
            return total if up else -total
        total = self._iterated(far, *path)
        return total if up else -total

    def _iterated(self, anchor: sp.Expr, low: sp.Expr, high: sp.Expr) -> sp.Expr:
        """The integral of s(y) times the speed measure from an anchor to y."""
        s, m = (sp.Lambda(self.p, density) for density in (self.scale, self.speed))
        return IteratedIntegral(s, m, anchor, low, high)


def _coordinates(
    process: Diffusion, x: sp.Symbol, mu: sp.Expr, a: sp.Expr, low: sp.Expr
) -> Iterator[tuple[sp.Symbol, sp.Expr, sp.Expr]]:
    """Coordinates with the state in them and they in the state; the first is the state, with the sign that it has here."""
    positive = low.is_nonnegative or x.is_positive
    p = sp.Dummy("p", positive=True) if positive else sp.Dummy("p", real=True)
    yield p, p, x
    end = process.domain.inf
    if end.is_finite and end != 0:
        d = sp.Dummy("p", positive=True)
        yield d, end + d, x - end
    ratio = sp.cancel(mu / a)
    slope = sp.diff(ratio, x)
    if ratio.is_polynomial(x) and slope != 0 and not slope.has(x):  # the vertex of a parabola
        vertex = sp.cancel(x - ratio / slope)
        q = sp.Dummy("p", real=True)
        yield q, vertex + q, x - vertex


def _real(value: sp.Expr, p: sp.Symbol, low: sp.Expr, high: sp.Expr) -> sp.Expr:
    """An antiderivative with logarithms of what is positive between two numbers: those of u and of -u have one slope."""
    if not (low.is_number and high.is_number) or (low.is_infinite and high.is_infinite):
        return value
    inside = (low + high) / 2 if (high - low).is_finite else low + 1 if low.is_finite else high - 1
    return value.replace(sp.log, lambda u: sp.log(-u if u.subs(p, inside).is_negative else u))


def _scale(
    drift: sp.Expr, variance: sp.Expr, p: sp.Symbol, low: sp.Expr = -sp.oo, high: sp.Expr = sp.oo
) -> sp.Expr | None:
    r""":math:`\exp(-\int 2\mu/a)`, read off where the ratio is a sum of powers; None where the integral is not found."""
    ratio = sp.powsimp(sp.expand(sp.cancel(2 * drift / variance)))
    ratio = sp.apart(ratio, p) if ratio.is_rational_function(p) and len(ratio.free_symbols) == 1 else ratio
    power, exponent = sp.S.Zero, sp.S.Zero
    for term in sp.Add.make_args(sp.expand(ratio)):
        own = parse(term, p)
        if own is None or own.rate != 0:
            whole = antiderivative(ratio, p, set())
            return sp.exp(-_real(whole, p, low, high)) if whole is not None else None
        if sp.expand(own.power + 1) == 0:
            power -= own.constant
        else:
            exponent -= own.constant * p ** (own.power + 1) / (own.power + 1)
    return p**power * sp.exp(exponent)
