r"""Laws as frozen distributions and as samplers.

A law's constants (means, variances, weights, moments) are computed to fifty digits from the exact start and time,
and rounded once: that is what keeps :math:`t \to 0` and large starts accurate.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property, singledispatch
from typing import Any

import mpmath
import numpy as np
import sympy as sp
from scipy.integrate import tanhsinh

from derivations.gaussian import GaussianExpectation
from derivations.laws import GluedLaw, Law, Normal
from derivations.laws.carried import CarriedGaussian, Component
from derivations.laws.frozen import FrozenLaw
from derivations.symbols import initial, time
from numerics.backends import MPMATH
from numerics.compile.expression import CompiledFunction, compile_expression
from numerics.densities import (
    CarriedMixture,
    Chart,
    FrozenDistribution,
    GaussianPiece,
    Measure,
    PointMass,
    SpreadStart,
)


def compile_law(law: Law, x0: float | Normal = 1.0, t: float = 1.0) -> FrozenDistribution:
    r"""The distribution of :math:`X_t` given the start, with the methods of SciPy's frozen distributions.

    Parameters
    ----------
    law : Law
        As ``derive(...).law`` gives it, without free parameters.
    x0 : float or Normal
        The start: a number in the law's domain, or :class:`derivations.laws.Normal`, over which the law is averaged.
    t : float
        Time, positive, in the limit's units; depth ℓ of L layers is ℓ/L.

    Returns
    -------
    FrozenDistribution
        With pdf, logpdf, cdf, sf, ppf, isf, rvs, mean, var, std, moment, median, interval, support, atoms. Moments that are
        not finite at t are infinite; ``law.finite_until(k)`` says from which time on.

    Raises
    ------
    ValueError
        If there is no law, t is not a positive number, the start is not finite or outside the domain, or the law
        still has parameters.

    Examples
    --------
    >>> from derivations import ResNet, depth_limit, identity, recognise
    >>> d = compile_law(recognise(depth_limit(ResNet(identity, width=1))), x0=2.0, t=0.5)
    >>> d.mean(), d.var(), d.pdf([-1.0, 2.0])
    (2.0, 2.5948850828005128, array([0.        , 0.26500353]))
    """
    parts = _parts(law)
    when = _exact(t, "the time t")
    if not when.is_positive:
        raise ValueError(f"the time t must be positive, got {t}; at t = 0 the law is an atom at the start")
    if isinstance(x0, Normal):
        return _from_gaussian_start(law, parts, x0, when)
    start = _exact(x0, "the start x0")
    chosen = [part for part in parts if part.diffusion.domain.contains(start) == sp.true]
    if not chosen:
        raise ValueError(f"the start x0 = {x0} is outside the domain {law.diffusion.domain} of the law; choose one inside")
    at = _FixedMoments(chosen[0], start, when)
    return FrozenDistribution(law.name, (measure(chosen[0], start, when),), at.moment, at.variance)


def _parts(law: Law) -> tuple[Law, ...]:
    if not isinstance(law, Law):
        raise ValueError(
            f"expected a law, got {law!r}; where no closed form is known (d.law is None) use simulate_sde(d.limit, ...)"
        )
    parts = law.parts if isinstance(law, GluedLaw) else (law,)
    loose = sorted(set().union(*(part.diffusion.parameters for part in parts)), key=str)
    if loose:
        raise ValueError(f"the law has the parameters {', '.join(map(str, loose))} left; derive it with numbers in their place")
    return parts


def _exact(number: Any, what: str) -> sp.Expr:
    """A finite real number without rounding: a float is the binary fraction that it is."""
    if isinstance(number, np.generic | np.ndarray) and np.ndim(number) == 0:
        number = number.item()
    if isinstance(number, float) and not np.isfinite(number):
        raise ValueError(f"{what} must be finite, got {number}")
    try:
        exact = sp.Rational(number) if isinstance(number, float) else sp.sympify(number, strict=True)
    except (TypeError, ValueError, sp.SympifyError) as error:
        raise ValueError(f"{what} must be a real number, got {number!r}") from error
    if isinstance(number, bool) or not isinstance(exact, sp.Expr) or not exact.is_number or not exact.is_real:
        raise ValueError(f"{what} must be a finite real number, got {number!r}")
    return exact.replace(lambda node: node.is_Float, lambda node: sp.Rational(node))


def _number(expr: sp.Expr, start: sp.Expr, when: sp.Expr) -> mpmath.mpf:
    """A constant of the law to fifty digits."""
    value = compile_expression((), expr.subs({initial: start, time: when}, simultaneous=True), MPMATH)()
    if not isinstance(value, mpmath.mpf) or mpmath.isnan(value):
        raise ValueError(
            f"{expr} is not a real number at x0 = {start}, t = {when}, got {mpmath.nstr(value, 8)}; the law does not hold there"
        )
    return value


@singledispatch
def measure(part: Law, start: sp.Expr, when: sp.Expr) -> Measure:
    """One part of a law from a fixed start, as a measure; a kind of law registers how."""
    raise ValueError(
        f"laws of the kind {type(part).__name__} cannot be compiled; register a rule with numerics.compile.laws.measure.register"
    )


@measure.register
def _(part: FrozenLaw, start: sp.Expr, when: sp.Expr) -> Measure:
    return PointMass(float(start))


@measure.register
def _(part: CarriedGaussian, start: sp.Expr, when: sp.Expr) -> Measure:
    rows = [(_number(c.weight, start, when), _number(c.mean, start, when), _deviation(c, start, when)) for c in part.components]
    kept = [(float(w), float(m), s) for w, m, s in rows if w != 0]
    return CarriedMixture(chart(part), *zip(*kept, strict=True))


def _deviation(component: Component, start: sp.Expr, when: sp.Expr) -> float:
    return float(mpmath.sqrt(_number(component.variance, start, when)))


@cache
def chart(part: CarriedGaussian) -> Chart:
    r"""The unit-noise map of a law and its inverse as functions of arrays, with :math:`\log \mathrm{d}x/\mathrm{d}z` written in z."""
    left, right = part.form.interval
    z, x = part.inverse
    slope = sp.powsimp(sp.expand_power_base(part.form.scale.subs(part.form.state, x)))
    return Chart(
        float(left),
        float(right),
        compile_expression((part.form.state,), part.map),
        compile_expression((z,), (x, _logarithm(slope))),
    )


def _logarithm(positive: sp.Expr) -> sp.Expr:
    """The logarithm of a positive product with its exponentials taken out, so that they can neither overflow nor underflow."""
    exponent, rest = sp.S.Zero, sp.S.One
    for factor in sp.Mul.make_args(sp.factor_terms(positive)):
        if isinstance(factor, sp.exp):
            exponent += factor.args[0]
        else:
            rest *= factor
    return exponent + sp.log(rest)


def _from_gaussian_start(law: Law, parts: tuple[Law, ...], x0: Normal, when: sp.Expr) -> FrozenDistribution:
    mean, variance = (_exact(v, f"the start's {what}") for v, what in ((x0.mean, "mean"), (x0.variance, "variance")))
    deviation = float(mpmath.sqrt(_number(variance, initial, when)))
    if not deviation > 0:
        raise ValueError(f"a Gaussian start needs a positive variance, got {x0.variance}; use a number for a fixed start")
    wide = [part for part in parts if part.diffusion.domain.measure != 0]
    starts = [
        GaussianPiece(float(part.diffusion.domain.inf), float(part.diffusion.domain.sup), float(mean), deviation)
        for part in wide
    ]
    total = sum(start.mass for start in starts)
    if abs(total - 1) > 1e-12:
        raise ValueError(f"the Gaussian start is inside the law's domain {law.diffusion.domain} only with probability {total}")
    measures = tuple(spread(part, start, when) for part, start in zip(wide, starts, strict=True))
    at = _SpreadMoments(tuple(wide), Normal(mean, variance), measures, when)
    return FrozenDistribution(law.name, measures, at.moment, at.variance)


@singledispatch
def spread(part: Law, start: GaussianPiece, when: sp.Expr) -> Measure:
    """One part of a law from a Gaussian start, as a measure; a kind of law registers how."""
    raise ValueError(f"laws of the kind {type(part).__name__} cannot be averaged over a Gaussian start; give a number for x0")


@spread.register
def _(part: FrozenLaw, start: GaussianPiece, when: sp.Expr) -> Measure:
    return start


@spread.register
def _(part: CarriedGaussian, start: GaussianPiece, when: sp.Expr) -> Measure:
    z0 = part.map.subs(part.form.state, initial)
    if len(part.components) != 1:
        raise ValueError(
            f"a Gaussian start needs a law with one component, got {len(part.components)}, whose weights depend on the "
            "start; give a number for x0, or simulate with simulate_sde"
        )
    (component,) = part.components
    # the mean is affine in z(x0): its slope is the quotient of the derivatives, and what is left the shift
    gain = sp.cancel(sp.diff(component.mean, initial) / sp.diff(z0, initial))
    inside = _interior(part)
    slope = _number(gain, inside, when)
    with mpmath.workdps(50):
        shift = _number(component.mean, inside, when) - slope * _number(z0, inside, when)
    return SpreadStart(chart(part), float(slope), float(shift), _deviation(component, inside, when), start)


def _interior(part: CarriedGaussian) -> sp.Expr:
    left, right = part.form.interval
    if left.is_finite and right.is_finite:
        return (left + right) / 2
    return left + 1 if left.is_finite else right - 1 if right.is_finite else sp.S.Zero


@dataclass(frozen=True)
class _FixedMoments:
    """Moments of one part from a fixed start, exact until the last rounding."""

    part: Law
    start: sp.Expr
    when: sp.Expr

    def _moment(self, order: int) -> mpmath.mpf:
        if not bool(self.when < self.part.finite_until(sp.Integer(order))):
            return mpmath.inf
        return _number(self.part.moment(order, time, initial), self.start, self.when)

    def moment(self, order: int) -> float:
        return float(self._moment(order))

    def variance(self) -> float:
        second = self._moment(2)
        if second == mpmath.inf:
            return float("inf")
        with mpmath.workdps(50):
            return float(second - self._moment(1) ** 2)


@dataclass(frozen=True)
class _SpreadMoments:
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
            return _number(self.start.average(given, inner, part.diffusion.domain), initial, self.when)
        assert isinstance(measured, SpreadStart)  # a frozen part's moments are polynomials
        return mpmath.mpf(_integrated(measured, order))

    def moment(self, order: int) -> float:
        return float(self._moment(order))

    def variance(self) -> float:
        second = self._moment(2)
        if second == mpmath.inf:
            return float("inf")
        with mpmath.workdps(50):
            return float(second - self._moment(1) ** 2)


def _integrated(measured: SpreadStart, order: int) -> float:
    """A moment as an integral in the unit-noise coordinate, where the density is smooth."""

    def integrand(z: np.ndarray) -> np.ndarray:
        x, log_scale = measured.chart.backward(z)
        with np.errstate(divide="ignore"):
            return np.sign(x) ** order * np.exp(measured.logpdf(x) + log_scale + order * np.log(np.abs(x)))

    return float(tanhsinh(integrand, -np.inf, np.inf, rtol=1e-12).integral)


@dataclass(frozen=True)
class CompiledSampler:
    """Exact transitions of a law: from an array of starts, a time and normals to samples.

    Parameters
    ----------
    law : Law
        Picklable, as all laws are; the parts' recipes are compiled where they are used.
    """

    law: Law

    @cached_property
    def _rows(self) -> list[tuple[CompiledFunction, CompiledFunction, CompiledFunction]]:
        rows = []
        for part in _parts(self.law):
            recipe = part.sampler()
            inside = sp.Piecewise((1, part.diffusion.domain.as_relational(initial)), (0, True))
            arguments = (initial, time)
            rows.append((
                compile_expression((initial,), inside),
                compile_expression(arguments, tuple(recipe.weights)),
                compile_expression((*arguments, recipe.normal), tuple(recipe.values)),
            ))
        return rows

    def __call__(self, start: np.ndarray, duration: float, generator: np.random.Generator) -> np.ndarray:
        """One sample after a time for each start; ``nan`` for a start outside the law's domain."""
        normal = generator.standard_normal(start.shape)
        several = any(len(weights.expression) > 1 for _, weights, _ in self._rows)
        uniform = generator.random(start.shape) if several else np.zeros(start.shape)
        result = np.full(start.shape, np.nan)
        for inside, weights, values in self._rows:
            here = inside(start) == 1
            if not here.any():
                continue
            x0 = start[here]
            upto = np.cumsum(weights(x0, duration), axis=0)
            which = (uniform[here] >= upto[:-1]).sum(axis=0)
            result[here] = np.choose(which, values(x0, duration, normal[here]))
        return result


def compile_sampler(law: Law) -> CompiledSampler:
    """The exact sampler of a law, by its recipe.

    Examples
    --------
    >>> from derivations.laws.frozen import FrozenLaw
    >>> compile_sampler(FrozenLaw(sp.Interval(-sp.oo, 0)))(np.array([-2.0, 1.0]), 1.0, np.random.default_rng(0))
    array([-2., nan])
    """
    _parts(law)
    return CompiledSampler(law)
