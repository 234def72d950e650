r"""Solutions of diffusions of Gram matrices as depth and width grow together.

Coefficients that are smooth give a unique solution while the matrix is positive definite. The norm of an input, where it moves by itself,
explodes as Feller's test says; covariances are bounded by norms, so that no more than linear growth of the norms' drift, and quadratic growth of their
noise, excludes an explosion (the noise of a covariance enters no bound of a norm). Where no norm moves by itself,
:mod:`derivations.existence.directions` looks for other numbers that do.
"""

from __future__ import annotations

import math

import sympy as sp

from derivations.architectures.base import Recipe
from derivations.calculus.boundaries import classify
from derivations.calculus.growth import at_most, degree
from derivations.diffusion import Diffusion
from derivations.errors import DerivationError
from derivations.existence.directions import by_directions
from derivations.existence.feller import fellers_test
from derivations.existence.flows import SecondMoments
from derivations.existence.growth import is_smooth, rising
from derivations.existence.statement import UNKNOWN, Existence
from derivations.language.statements import Matrix, Mean


def of_gram(limit: Diffusion, recipe: Recipe) -> Existence:
    """Of the limit of a Gram matrix, or of one number of it."""
    if len(limit.states) == 1 and isinstance(limit.domain, sp.Interval):
        return _of_number(limit)
    moments = SecondMoments.of(limit.states, recipe.coordinates)
    explodes, why = _explodes(limit, moments, math.prod(recipe.positions) if recipe.positions else 0)
    if _is_smooth(limit, recipe):
        return Existence(
            "yes", "yes", explodes, ("the coefficients are smooth while the matrix is positive definite", why)
        )
    return Existence(UNKNOWN, UNKNOWN, explodes, ("the coefficients are not seen to be smooth", why))


def _is_smooth(limit: Diffusion, recipe: Recipe) -> bool:
    r"""Whether the coefficients are smooth functions of a positive definite V.

    Given V neurons are :math:`V^{1/2}` times standard normal ones, and the root is smooth: the means of a program without kinks are so, however many
    tokens an entry adds up. With kinks the formulas are asked.
    """
    program = recipe.scaled_program()
    if is_smooth([s.body for s in program.statements if isinstance(s, Matrix | Mean)] + [program.update]):
        return True
    return is_smooth([*limit.drift, *(limit.entry(i, j) for i, j in limit.generic_entries)])


def _of_number(limit: Diffusion) -> Existence:
    (s,), (noise,) = limit.states, limit.covariance
    if limit.domain.inf == 0 and at_most([degree(rising(limit.drift[0]), (s,))], [degree(noise, (s,))]):
        explodes, why = "cannot", "noise and drift grow at most linearly"
    else:
        explodes, why = fellers_test(limit, "it")
    if not is_smooth([limit.drift[0], limit.covariance[0, 0]]):
        return Existence(UNKNOWN, UNKNOWN, explodes, ("the coefficients are not seen to be smooth", why))
    try:
        reached = [str(end.point) for end in classify(limit) if end.attainable != sp.false and end.point.is_finite]
    except DerivationError:
        reached = []
    until = f", until {' or '.join(reached)} is reached" if reached else ""
    return Existence("yes", "yes", explodes, (f"the coefficients are smooth{until}", why))


def _explodes(limit: Diffusion, moments: SecondMoments, positions: int) -> tuple[str, str]:
    if not moments.variances:
        return "cannot", "the norms are fixed, and correlations are bounded"
    if found := linear_growth(limit, moments):
        return found
    if (norm := _norm_alone(limit, moments)) is not None:
        return fellers_test(norm, "the norm of an input, which moves by itself,")
    if found := by_directions(limit, moments, positions):
        return found
    return UNKNOWN, "the coefficients grow faster than linearly, and no norm moves by itself"


def _norm_alone(limit: Diffusion, moments: SecondMoments) -> Diffusion | None:
    """The first of the norms, if each moves by itself; noise, which may be long, is made last."""
    rule, norms = moments.by_correlations, [*moments.variances.values()]
    others = {*limit.states, *(r for size in rule.values() for r in size.atoms(sp.Dummy))}
    for entry in (_drift_of, _noise_of):
        if any(entry(limit, v).xreplace(rule).free_symbols & (others - {v}) for v in norms):
            return None
    drift, noise = (entry(limit, norms[0]).xreplace(rule) for entry in (_drift_of, _noise_of))
    return Diffusion((norms[0],), [drift], [[noise]], sp.Interval.open(0, sp.oo), limit.time)


def _drift_of(limit: Diffusion, state: sp.Symbol) -> sp.Expr:
    return limit.drift[limit.states.index(state)]


def _noise_of(limit: Diffusion, state: sp.Symbol) -> sp.Expr:
    place = limit.states.index(state)
    return limit.entry(place, place)


def linear_growth(limit: Diffusion, moments: SecondMoments) -> tuple[str, str] | None:
    """That a Gram matrix does not explode, where its norms grow at most linearly; noise, which may be long, is made last."""
    rule = moments.by_correlations

    def grows(entry: sp.Expr, most: int) -> bool:
        found = moments.degree(entry)
        return found is None or found > most

    norms = moments.variances.values()
    if any(grows(rising(_drift_of(limit, v).xreplace(rule)), 1) for v in norms):
        return None
    if any(grows(_noise_of(limit, v).xreplace(rule), 2) for v in norms):
        return None
    return "cannot", "drift and noise of the norms grow at most linearly, and norms bound the covariances"
