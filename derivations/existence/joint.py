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
from derivations.diffusion import Diffusion
from derivations.errors import DerivationError
from derivations.existence.directions import by_directions
from derivations.existence.feller import fellers_test
from derivations.existence.flows import SecondMoments
from derivations.existence.growth import at_most, degree, is_smooth, rising
from derivations.existence.statement import UNKNOWN, Existence


def of_gram(limit: Diffusion, recipe: Recipe) -> Existence:
    """Of the limit of a Gram matrix, or of one number of it."""
    if len(limit.states) == 1 and isinstance(limit.domain, sp.Interval):
        return _of_number(limit)
    moments = SecondMoments.of(limit.states, recipe.coordinates)
    explodes, why = _explodes(limit, moments, math.prod(recipe.positions) if recipe.positions else 0)
    generic = limit.generic_entries
    if is_smooth([*limit.drift, *(limit.entry(i, j) for i, j in generic)]):
        return Existence(
            "yes", "yes", explodes, ("the coefficients are smooth while the matrix is positive definite", why)
        )
    return Existence(UNKNOWN, UNKNOWN, explodes, ("the coefficients are not seen to be smooth", why))


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
    drifts, noises = _of_norms(limit, moments)
    rule = moments.by_correlations
    (s, drift), noise = next(iter(drifts.items())), next(iter(noises.values()))
    if not any(
        (drifts[v].free_symbols | noises[v].free_symbols) & ({*limit.states, *_bounded(rule)} - {v}) for v in drifts
    ):
        norm = Diffusion((s,), [drift], [[noise]], sp.Interval.open(0, sp.oo), limit.time)
        return fellers_test(norm, "the norm of an input, which moves by itself,")
    if found := by_directions(limit, moments, positions):
        return found
    return UNKNOWN, "the coefficients grow faster than linearly, and no norm moves by itself"


def _bounded(rule: dict[sp.Symbol, sp.Expr]) -> set[sp.Symbol]:
    return {r for size in rule.values() for r in size.atoms(sp.Dummy)}


def _of_norms(limit: Diffusion, moments: SecondMoments) -> tuple[dict[sp.Symbol, sp.Expr], dict[sp.Symbol, sp.Expr]]:
    """Drift and noise of each, in correlations."""
    place, rule = {s: i for i, s in enumerate(limit.states)}, moments.by_correlations
    norms = moments.variances.values()
    drifts = {s: limit.drift[place[s]].xreplace(rule) for s in norms}
    return drifts, {s: limit.entry(place[s], place[s]).xreplace(rule) for s in norms}


def linear_growth(limit: Diffusion, moments: SecondMoments) -> tuple[str, str] | None:
    """That a Gram matrix does not explode, where its norms grow at most linearly."""
    drifts, noises = _of_norms(limit, moments)
    if not at_most([moments.degree(rising(d)) for d in drifts.values()], [moments.degree(c) for c in noises.values()]):
        return None
    return "cannot", "drift and noise of the norms grow at most linearly, and norms bound the covariances"
