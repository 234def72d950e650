"""Explaining an equivalence of two networks: the theorem and its proof."""

from __future__ import annotations

import sympy as sp

from derivations.calculus.equivalence import Equivalence
from derivations.notation.nodes import Rate
from derivations.notation.steps import Step, equation
from derivations.symbols import time


def equivalence_steps(found: Equivalence, first: str, second: str) -> list[Step]:
    """The theorem, and the two flows and the match that prove it.

    Parameters
    ----------
    found : Equivalence
    first, second : str
        What the two networks are called.
    """
    (rho,) = found.second.states

    def flow(name: str, velocity: sp.Expr) -> Step:
        return Step(
            f"Correlation in the {name}",
            ("The correlation of two inputs follows",),
            (equation(Rate(rho, time), velocity),),
            ("Itô's formula on the limit of the Gram matrix. The norms drop out.",),
        )

    return [
        Step(
            "Theorem",
            (f"The {first} and the {second} move the correlation of two inputs by the same flow if and only if",),
            (equation(found.unknown, found.value),),
            ("Each flow is derived from its own recursion below. Nothing is assumed about one from the other.",),
        ),
        flow(first, found.first.drift[0]),
        flow(second, found.second.drift[0]),
        Step(
            "Match",
            ("At ", rho, " = 0 the velocities agree for this value only:"),
            (
                equation(found.first.drift[0].subs(rho, 0), found.second.drift[0].subs(rho, 0)),
                equation(found.unknown, found.value),
            ),
            ("With this value the difference of the two velocities vanishes identically.",),
        ),
    ]
