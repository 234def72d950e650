"""Telling an equivalence of two networks as a theorem with its steps."""

from __future__ import annotations

import sympy as sp

from derivations.calculus.equivalence import Equivalence
from derivations.emit.plain import plain
from derivations.emit.steps import Glyph, Line, Step, Term, equation


def equivalence_steps(found: Equivalence, first: str, second: str) -> list[Step]:
    """The theorem, and the two flows and the match that prove it.

    Parameters
    ----------
    found : Equivalence
    first, second : str
        What the two networks are called.
    """
    (rho,) = found.second.states
    left = Glyph(rf"\mathrm{{d}}{sp.latex(rho)}/\mathrm{{d}}t", f"d{plain(rho)}/dt")

    def flow(name: str, velocity: sp.Expr) -> Step:
        return Step(
            f"Correlation in the {name}",
            ("Two inputs follow",),
            (Line(left, (Term(velocity),)),),
            ("Itô's formula on the limit of the Gram matrix; the norms drop out.",),
        )

    return [
        Step(
            "Theorem",
            (f"The {first} and the {second} move the correlation of two inputs by the same flow if and only if",),
            (equation(found.unknown, found.value),),
            ("The two flows are derived from the two recursions below; nothing is assumed about one from the other.",),
        ),
        flow(first, found.first.drift[0]),
        flow(second, found.second.drift[0]),
        Step(
            "Match",
            ("At ", rho, " = 0 the velocities agree for this value only,"),
            (
                equation(found.first.drift[0].subs(rho, 0), found.second.drift[0].subs(rho, 0)),
                equation(found.unknown, found.value),
            ),
            ("Inserted, the difference of the two velocities vanishes identically.",),
        ),
    ]
