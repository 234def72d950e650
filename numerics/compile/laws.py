r"""Laws as frozen distributions and as samplers.

A law's constants (means, variances, weights, moments) are computed to fifty digits from the exact start and time,
and rounded once: that is what keeps :math:`t \to 0` and large starts accurate.
"""

from __future__ import annotations

from functools import cache, singledispatch

import mpmath
import numpy as np
import sympy as sp

from derivations.calculus.size import factored
from derivations.errors import brief
from derivations.laws import Law, Normal
from derivations.laws.crossing import CrossingLaw
from derivations.laws.frozen import FrozenLaw
from derivations.laws.kernel import KernelLaw
from derivations.laws.numbers import compiled
from derivations.laws.transformed import Component, TransformedGaussian
from derivations.symbols import initial
from numerics.compile.constants import constant, exact_number, parts_of
from numerics.compile.expression import compile_expression
from numerics.compile.kernels import crossing_measures, kernel_measures
from numerics.compile.moments import FixedMoments, SpreadMoments
from numerics.densities import (
    Chart,
    FrozenDistribution,
    GaussianPiece,
    Measure,
    PointMass,
    SpreadStart,
    TransformedMixture,
)
from numerics.densities.crowded import crowded


def compile_law(law: Law | None, *, x0: float | Normal = 1.0, t: float = 1.0) -> FrozenDistribution:
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
        With pdf, logpdf, cdf, logcdf, sf, logsf, ppf, isf, rvs, mean, var, std, moment, stats, median, interval, entropy, expect,
        support, atoms. Moments that are not finite at t are infinite; ``law.finite_until(k)`` says from which time on. Functions of
        x are those at a state that differs from x by a few roundings of x and of its Lamperti coordinate. Where all of a law rounds
        to one double it is an atom there, and ``remark`` says so; it says too how much of a law lies within a few doubles of an end.

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
    return FrozenDistribution(
        law.name, found, FixedMoments(chosen[0], start, when, found), remark=_remark(found, chosen[0])
    )


def _remark(found: tuple[Measure, ...], part: Law) -> str:
    """What to say where doubles show an atom and the law has none, or lies beside an end where they tell no two states apart."""
    places = {float(atom.location) for atom in part.atoms if atom.location.is_number}
    shown = [m.location for m in found if isinstance(m, PointMass) and m.mass > 0 and m.location not in places]
    if isinstance(part, FrozenLaw):
        return ""
    if not shown:
        return crowded(found, lambda end: abs(float(np.spacing(end))) if end else 0.0)
    if not np.isfinite(shown).all():
        return "the law has outgrown doubles: what lies beyond them is a point mass at infinity"
    return (
        f"the law is narrower than doubles resolve: what lies around {', '.join(f'{v:.17g}' for v in shown)} is a point mass at "
        "the nearest double; moments with a closed form are those of the exact law"
    )


@singledispatch
def measures(part: Law, start: sp.Expr, when: sp.Expr) -> tuple[Measure, ...]:
    """One part of a law from a fixed start: what moves, and the atoms; a kind of law registers how."""
    raise ValueError(
        f"laws of the kind {type(part).__name__} cannot be compiled; register a rule with numerics.compile.laws.measures.register"
    )


measures.register(KernelLaw, kernel_measures)
measures.register(CrossingLaw, crossing_measures)


@measures.register
def _(part: FrozenLaw, start: sp.Expr, when: sp.Expr) -> tuple[Measure, ...]:
    return (PointMass(float(start)),)


@measures.register
def _(part: TransformedGaussian, start: sp.Expr, when: sp.Expr) -> tuple[Measure, ...]:
    rows = [
        (constant(c.weight, start, when), constant(c.mean, start, when), _deviation(c, start, when))
        for c in part.components
    ]
    rows = [row for row in rows if float(row[0]) > 0]
    left, right = (float(end) for end in part.form.interval)
    if any(not np.isfinite(float(v)) for _, m, s in rows for v in (m, s)):
        # the coordinate has outgrown the doubles: all is at the ends, as far as these resolve
        above = mpmath.fsum(w * mpmath.ncdf(m / s) for w, m, s in rows)
        ends = [PointMass(end, float(mass)) for end, mass in ((left, 1 - above), (right, above))]
        return tuple(end for end in ends if end.mass > 0)
    with mpmath.workdps(50):
        point = only_double(part, min(m - _REACH * s for _, m, s in rows), max(m + _REACH * s for _, m, s in rows))
    if point is not None:
        return (PointMass(point),)
    return (TransformedMixture(chart(part), *zip(*((float(w), float(m), float(s)) for w, m, s in rows), strict=True)),)


_REACH = 8  # standard deviations, beyond which lies 1e-15


def only_double(part: TransformedGaussian, low: mpmath.mpf, high: mpmath.mpf) -> float | None:
    """The double to which all states between two values of the coordinate round, if they do."""
    z, x = part.inverse
    back = compiled((z,), x)
    try:
        first, last = (float(back(v)) for v in (low, high))
    except (OverflowError, ZeroDivisionError, ValueError):
        return None
    return first if first == last else None


def _deviation(component: Component, start: sp.Expr, when: sp.Expr) -> mpmath.mpf:
    with mpmath.workdps(50):
        return mpmath.sqrt(constant(component.variance, start, when))


@cache
def chart(part: TransformedGaussian) -> Chart:
    r"""The Lamperti map of a law and its inverse as functions of arrays, with :math:`\log \mathrm{d}x/\mathrm{d}z` written in z."""
    left, right = part.form.interval
    z, x = part.inverse
    # the derivative of the map back, not the noise of a state that has lost its distance from an end
    slope = sp.powsimp(factored(sp.diff(x, z)))
    return Chart(
        float(left),
        float(right),
        compile_expression((part.form.state,), part.map),
        compile_expression((z,), (x, _logarithm(slope))),
    )


def _logarithm(positive: sp.Expr) -> sp.Expr:
    """The logarithm of a positive product, its exponentials and powers of them taken out, so that they can neither overflow nor underflow."""
    exponent, rest = sp.S.Zero, sp.S.One
    for factor in sp.Mul.make_args(sp.factor_terms(positive)):
        base, power = (factor.base, factor.exp) if isinstance(factor, sp.Pow) else (factor, sp.S.One)
        if isinstance(factor, sp.exp):
            exponent += factor.args[0]
        elif base.has(sp.exp) and base.is_positive:
            exponent += power * sp.log(base)
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
            f"a Gaussian start needs a positive variance, got {brief(x0.variance)}; use a number for a fixed start"
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
    return FrozenDistribution(law.name, measures, SpreadMoments(tuple(wide), Normal(mean, variance), measures, when))


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
def _(part: TransformedGaussian, start: GaussianPiece, when: sp.Expr) -> Measure:
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
    return SpreadStart(chart(part), float(slope), float(shift), float(_deviation(component, inside, when)), start)


def _interior(part: TransformedGaussian) -> sp.Expr:
    left, right = part.form.interval
    if left.is_finite and right.is_finite:
        return (left + right) / 2
    return left + 1 if left.is_finite else right - 1 if right.is_finite else sp.S.Zero
