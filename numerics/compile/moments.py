"""Moments of frozen distributions, exact until the last rounding where the engine has closed forms."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from functools import cache, lru_cache

import mpmath
import sympy as sp

from derivations.gaussian import GaussianExpectation
from derivations.laws import Law, Normal
from derivations.laws.numbers import compiled
from derivations.symbols import initial, time
from numerics.compile.constants import constant
from numerics.densities import Measure, Moments
from numerics.densities.base import Function

_DIGITS = 50
_MOST_DIGITS = 800


class FrozenMoments(Moments):
    """Moments of a distribution at a fixed time, infinite where they are not finite."""

    measures: tuple[Measure, ...]
    when: sp.Expr

    @abstractmethod
    def _is_finite(self, order: int) -> bool:
        """Whether the moment of an order is finite."""

    @abstractmethod
    def _closed(self, order: int) -> tuple[sp.Expr, sp.Expr | None]:
        """The moment in closed form as a function of the start, and the start; None for that if there is none."""

    def _value(self, order: int, digits: int) -> mpmath.mpf | None:
        """The closed moment, not yet rounded; None without one."""
        if order == 0:
            return mpmath.mpf(1)
        expr, start = self._closed(order)
        if start is None:
            return None
        return number_of(expr, start, self.when, digits)

    def raw(self, order: int) -> float:
        """The moment of an order, infinity where it is not finite."""
        if not self._is_finite(order):
            return float("inf")
        value = self._value(order, _DIGITS)
        return float(value) if value is not None else self._integrated(lambda x: x**order)

    def central(self, order: int) -> float:
        """From moments about 0 with as many digits as cancel, or by quadrature."""
        if not self._is_finite(order):
            return float("inf")
        digits = _DIGITS
        while True:
            values = [v for k in range(order + 1) if (v := self._value(k, digits)) is not None]
            if len(values) <= order:
                return self._about_the_mean(order)
            with mpmath.workdps(digits):
                terms = [mpmath.binomial(order, k) * values[k] * (-values[1]) ** (order - k) for k in range(order + 1)]
                total, largest = mpmath.fsum(terms), max(map(abs, terms))
            if total == 0 and largest == 0:
                return 0.0
            lost = digits if total == 0 else mpmath.log10(largest / abs(total))
            known = digits >= _MOST_DIGITS or any(
                self._closed(k)[0].has(GaussianExpectation) for k in range(1, order + 1)
            )
            if lost < digits - 20 or known:
                return float(total) if lost < digits - 20 else 0.0
            digits *= 2

    def _about_the_mean(self, order: int) -> float:
        moving = [measure for measure in self.measures if measure.mass > 0]
        if len(moving) == 1 and (found := moving[0].central(order)) is not None:
            return found
        mean = self.raw(1)
        return self._integrated(lambda x: (x - mean) ** order)

    def _integrated(self, function: Function) -> float:
        found = float(sum(measure.integral(function) for measure in self.measures))
        if found != found:
            raise ValueError(
                "the moment has no value in doubles, beyond which the law has mass on both sides; take a smaller time"
            )
        return found


@dataclass(frozen=True)
class FixedMoments(FrozenMoments):
    """Moments of one part from a fixed start, exact until the last rounding."""

    part: Law
    start: sp.Expr
    when: sp.Expr
    measures: tuple[Measure, ...] = ()

    def _is_finite(self, order: int) -> bool:
        return bool(self.when < finite_until(self.part, order))

    def _closed(self, order: int) -> tuple[sp.Expr, sp.Expr | None]:
        closed = closed_moment(self.part, order)
        return (closed, None) if closed.has(sp.Integral, sp.hyper) else (closed, self.start)


@dataclass(frozen=True)
class SpreadMoments(FrozenMoments):
    """Moments from a Gaussian start: closed forms where the engine has them, else integrals over the density."""

    parts: tuple[Law, ...]
    start: Normal
    measures: tuple[Measure, ...]
    when: sp.Expr

    def _is_finite(self, order: int) -> bool:
        return all(bool(self.when < finite_until(part, order)) for part in self.parts)

    def _closed(self, order: int) -> tuple[sp.Expr, sp.Expr | None]:
        inner = sp.Dummy("x0", real=True)
        given = [part.moment(order, self.when, inner) for part in self.parts]
        if any(g.has(GaussianExpectation, sp.Piecewise, sp.Integral, sp.hyper) for g in given):
            return sp.S.Zero, None
        averaged = (self.start.average(g, inner, p.diffusion.domain) for g, p in zip(given, self.parts, strict=True))
        total = sp.Add(*averaged)
        return (total, None) if total.has(GaussianExpectation) else (total, sp.S.Zero)


@lru_cache(maxsize=512)
def number_of(expr: sp.Expr, start: sp.Expr, when: sp.Expr, digits: int) -> mpmath.mpf | None:
    """A closed moment to so many digits; None where its functions have arguments with more digits before the point than memory holds."""
    try:
        if digits == _DIGITS:
            return constant(expr, start, when)
        with mpmath.workdps(digits):
            return compiled((initial, time), expr)(compiled((), start)(), compiled((), when)())
    except (MemoryError, OverflowError):
        return None


@cache
def finite_until(part: Law, order: int) -> sp.Expr:
    """The time up to which the law's moment of an order is finite."""
    return part.finite_until(sp.Integer(order))


@cache
def closed_moment(part: Law, order: int) -> sp.Expr:
    """The law's moment in terms of ``initial`` and ``time``."""
    return part.moment(order, time, initial)
