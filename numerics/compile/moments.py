"""Moments of frozen distributions, exact until the last rounding where the engine has closed forms."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import mpmath
import numpy as np
import sympy as sp
from scipy.integrate import tanhsinh

from derivations.gaussian import GaussianExpectation
from derivations.laws import Law, Normal
from derivations.symbols import initial, time
from numerics.compile.constants import constant
from numerics.densities import KernelMeasure, Measure, PointMass, SpreadStart


class FrozenMoments(ABC):
    """Moments of a distribution at a fixed time, infinity where they are not finite."""

    @abstractmethod
    def _moment(self, order: int) -> mpmath.mpf:
        """The moment of an order, not yet rounded."""

    def moment(self, order: int) -> float:
        """The moment of an order, infinity where it is not finite."""
        return float(self._moment(order))

    def variance(self) -> float:
        """The variance, from moments subtracted before they are rounded."""
        second = self._moment(2)
        if second == mpmath.inf:
            return float("inf")
        with mpmath.workdps(50):
            return float(second - self._moment(1) ** 2)


@dataclass(frozen=True)
class FixedMoments(FrozenMoments):
    """Moments of one part from a fixed start, exact until the last rounding."""

    part: Law
    start: sp.Expr
    when: sp.Expr
    measures: tuple[Measure, ...] = ()

    def _moment(self, order: int) -> mpmath.mpf:
        if not bool(self.when < self.part.finite_until(sp.Integer(order))):
            return mpmath.inf
        closed = self.part.moment(order, time, initial)
        if closed.has(sp.Integral, sp.hyper):
            return mpmath.mpf(sum(_against(measure, order) for measure in self.measures))
        return constant(closed, self.start, self.when)


@dataclass(frozen=True)
class SpreadMoments(FrozenMoments):
    """Moments from a Gaussian start: closed forms where the engine has them, else integrals over the density."""

    parts: tuple[Law, ...]
    start: Normal
    measures: tuple[Measure, ...]
    when: sp.Expr

    def _moment(self, order: int) -> mpmath.mpf:
        if not all(bool(self.when < part.finite_until(sp.Integer(order))) for part in self.parts):
            return mpmath.inf
        return sum((self._part(p, m, order) for p, m in zip(self.parts, self.measures, strict=True)), mpmath.mpf(0))

    def _part(self, part: Law, measured: Measure, order: int) -> mpmath.mpf:
        inner = sp.Dummy("x0", real=True)
        given = part.moment(order, self.when, inner)
        if not given.has(GaussianExpectation, sp.Piecewise):
            return constant(self.start.average(given, inner, part.diffusion.domain), initial, self.when)
        assert isinstance(measured, SpreadStart)  # a frozen part's moments are polynomials
        return mpmath.mpf(_integrated(measured, order))


def _against(measure: Measure, order: int) -> float:
    """A moment of an atom, or of a density by quadrature in its coordinate."""
    if isinstance(measure, PointMass):
        return measure.mass * measure.location**order if measure.mass else 0.0
    assert isinstance(measure, KernelMeasure)
    return measure.average(lambda x: x**order)


def _integrated(measured: SpreadStart, order: int) -> float:
    """A moment as an integral in the unit-noise coordinate, where the density is smooth."""

    def integrand(z: np.ndarray) -> np.ndarray:
        x, log_scale = measured.chart.backward(z)
        with np.errstate(divide="ignore"):
            return np.sign(x) ** order * np.exp(measured.logpdf(x) + log_scale + order * np.log(np.abs(x)))

    return float(tanhsinh(integrand, -np.inf, np.inf, rtol=1e-12).integral)
