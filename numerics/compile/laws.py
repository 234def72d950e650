r"""Laws as frozen distributions and as samplers.

A law's constants (means, variances, weights, moments) are computed to fifty digits from the exact start and time,
and rounded once: that is what keeps :math:`t \to 0` and large starts accurate.
"""

from __future__ import annotations

from functools import cache, singledispatch

import mpmath
import sympy as sp

from derivations.laws import Law, Normal
from derivations.laws.carried import CarriedGaussian, Component
from derivations.laws.frozen import FrozenLaw
from derivations.laws.kernel import KernelLaw
from derivations.symbols import initial
from numerics.compile.constants import constant, exact_number, parts_of
from numerics.compile.expression import compile_expression
from numerics.compile.kernels import kernel_measures
from numerics.compile.moments import FixedMoments, SpreadMoments
from numerics.densities import (
    CarriedMixture,
    Chart,
    FrozenDistribution,
    GaussianPiece,
    Measure,
    PointMass,
    SpreadStart,
)


def compile_law(law: Law | None, x0: float | Normal = 1.0, t: float = 1.0) -> FrozenDistribution:
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
    parts = parts_of(law)
    assert law is not None
    when = exact_number(t, "the time t")
    if not when.is_positive:
        raise ValueError(f"the time t must be positive, got {t}; at t = 0 the law is an atom at the start")
    if isinstance(x0, Normal):
        return _from_gaussian_start(law, parts, x0, when)
    start = exact_number(x0, "the start x0")
    chosen = [part for part in parts if part.diffusion.domain.contains(start) == sp.true]
    if not chosen:
        raise ValueError(
            f"the start x0 = {x0} is outside the domain {law.diffusion.domain} of the law; choose one inside"
        )
    found = measures(chosen[0], start, when)
    at = FixedMoments(chosen[0], start, when, found)
    return FrozenDistribution(law.name, found, at.moment, at.variance)


def measures(part: Law, start: sp.Expr, when: sp.Expr) -> tuple[Measure, ...]:
    """One part of a law from a fixed start: what moves, and the atoms at ends that absorb."""
    return kernel_measures(part, start, when) if isinstance(part, KernelLaw) else (measure(part, start, when),)


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
    rows = [
        (constant(c.weight, start, when), constant(c.mean, start, when), _deviation(c, start, when))
        for c in part.components
    ]
    kept = [(float(w), float(m), s) for w, m, s in rows if w != 0]
    return CarriedMixture(chart(part), *zip(*kept, strict=True))


def _deviation(component: Component, start: sp.Expr, when: sp.Expr) -> float:
    return float(mpmath.sqrt(constant(component.variance, start, when)))


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
    mean, variance = (
        exact_number(v, f"the start's {what}") for v, what in ((x0.mean, "mean"), (x0.variance, "variance"))
    )
    deviation = float(mpmath.sqrt(constant(variance, initial, when)))
    if not deviation > 0:
        raise ValueError(
            f"a Gaussian start needs a positive variance, got {x0.variance}; use a number for a fixed start"
        )
    wide = [part for part in parts if part.diffusion.domain.measure != 0]
    starts = [
        GaussianPiece(float(part.diffusion.domain.inf), float(part.diffusion.domain.sup), float(mean), deviation)
        for part in wide
    ]
    total = sum(start.mass for start in starts)
    if abs(total - 1) > 1e-12:
        raise ValueError(
            f"the Gaussian start is inside the law's domain {law.diffusion.domain} only with probability {total}"
        )
    measures = tuple(spread(part, start, when) for part, start in zip(wide, starts, strict=True))
    at = SpreadMoments(tuple(wide), Normal(mean, variance), measures, when)
    return FrozenDistribution(law.name, measures, at.moment, at.variance)


@singledispatch
def spread(part: Law, start: GaussianPiece, when: sp.Expr) -> Measure:
    """One part of a law from a Gaussian start, as a measure; a kind of law registers how."""
    raise ValueError(
        f"laws of the kind {type(part).__name__} cannot be averaged over a Gaussian start; give a number for x0"
    )


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
    slope = constant(gain, inside, when)
    with mpmath.workdps(50):
        shift = constant(component.mean, inside, when) - slope * constant(z0, inside, when)
    return SpreadStart(chart(part), float(slope), float(shift), _deviation(component, inside, when), start)


def _interior(part: CarriedGaussian) -> sp.Expr:
    left, right = part.form.interval
    if left.is_finite and right.is_finite:
        return (left + right) / 2
    return left + 1 if left.is_finite else right - 1 if right.is_finite else sp.S.Zero
