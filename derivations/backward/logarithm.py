r"""The logarithm of a volume, :math:`\Lambda`: its symbol, its equation, and its law where it depends on nothing else."""

from __future__ import annotations

import sympy as sp

from derivations.diffusion import Diffusion
from derivations.equations import DB
from derivations.errors import DependsOnParameter
from derivations.laws.piecewise_law import PiecewiseLaw
from derivations.laws.recognition import recognise
from derivations.notation.nodes import Distribution, indexed
from derivations.notation.steps import Line, Term, differential
from derivations.symbols import time

#: log|det J|, or the logarithm of another volume.
LOG_VOLUME = sp.Symbol("Lambda", real=True)


def moves_alone(drift: sp.Expr, rate: sp.Expr) -> Diffusion:
    """The logarithm as a process by itself."""
    return Diffusion((LOG_VOLUME,), sp.ImmutableMatrix([drift]), sp.ImmutableMatrix([[rate]]))


def law_alone(drift: sp.Expr, rate: sp.Expr) -> PiecewiseLaw | None:
    """Brownian motion with drift; None where rates move with the time, there is no noise, or letters do not say whether there is."""
    if time in drift.free_symbols | rate.free_symbols or rate == 0:
        return None
    try:
        return recognise(moves_alone(drift, rate))
    except DependsOnParameter:  # as on the sign of n − 1, where layers take off the average of n neurons
        return None


def logarithm_lines(drift: sp.Expr, rate: sp.Expr, alone: bool, law: PiecewiseLaw | None) -> tuple[Line, ...]:
    """Its equation, and its law where it has one by itself."""
    noise = sp.sqrt(rate) if alone else sp.Pow(rate, sp.S.Half, evaluate=False)
    moving = indexed(LOG_VOLUME, (time,))
    lines = (differential(moving, drift, noise, DB),)
    return lines if law is None else (*lines, Line(moving, (Term(Distribution("N", drift * time, rate * time)),), "~"))
