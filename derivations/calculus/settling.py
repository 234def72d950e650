"""What becomes of a diffusion on a half-line in the long run: whether it explodes, and the law that it settles in."""

from __future__ import annotations

from dataclasses import dataclass

import sympy as sp

from derivations.calculus.boundaries import classify, explosion
from derivations.calculus.finiteness import Condition, tidy_condition
from derivations.calculus.speed import speed_density
from derivations.diffusion import Diffusion


@dataclass(frozen=True)
class Settling:
    r"""Feller's test at both ends.

    Parameters
    ----------
    process : Diffusion
    explodes, stationary : Boolean
        The parameters for which it explodes, and for which it has a stationary law.
    gamma : (Expr, Expr) or None
        Shape and rate, where the stationary law is a Gamma law.
    """

    process: Diffusion
    explodes: Condition
    stationary: Condition
    gamma: tuple[sp.Expr, sp.Expr] | None


def settling(process: Diffusion) -> Settling:
    r"""Scale and speed at 0 and at infinity; where no end is left for ever and the speed density has finite mass, it is the stationary law's.

    Raises
    ------
    DerivationError
        If the ends are not classified.

    Examples
    --------
    >>> v = sp.Symbol("V", positive=True)
    >>> found = settling(Diffusion((v,), [2 * v * (1 - v)], [[2 * v**2]], sp.Interval.open(0, sp.oo)))
    >>> found.explodes, found.stationary, found.gamma
    (False, True, (1, 2))
    >>> found = settling(Diffusion((v,), [v**3 + v], [[v**4 + v**2]], sp.Interval.open(0, sp.oo)))  # the mass is finite too
    >>> found.explodes, found.stationary
    (True, False)
    """
    (v,) = process.states
    left, right = classify(process)
    stationary = tidy_condition(sp.And(left.recurrent, right.recurrent))
    gamma = None
    if stationary != sp.false:
        density = speed_density(process, (sp.S.Zero, sp.oo))
        slope = sp.expand(v * sp.diff(sp.expand_log(sp.log(density)), v))  # of v^(k-1) e^(-rv): k - 1 - r v
        if slope.is_polynomial(v) and sp.degree(slope, v) == 1:
            gamma = sp.factor(slope.coeff(v, 0) + 1), sp.factor(-slope.coeff(v, 1))
    return Settling(process, explosion(process), stationary, gamma)
