"""What is said of the solutions of a limit's equation."""

from __future__ import annotations

from dataclasses import dataclass

import sympy as sp

from derivations.notation.printed import Legible

UNKNOWN = "not known"


@dataclass(frozen=True, repr=False)
class Existence(Legible):
    """What is known of the solutions of a limit's equation.

    Parameters
    ----------
    exists, unique : str
        "yes", "no" or "not known"; up to an explosion.
    explodes : str
        "cannot", "can" (with positive probability from some start) or "not known".
    reasons : tuple of str
        On which ground, of each in this order.
    explosion_time : Expr, optional
        Of a flow that explodes, the time from a start :math:`K_0` on, where that has a closed form.
    """

    exists: str
    unique: str
    explodes: str
    reasons: tuple[str, str]
    explosion_time: sp.Expr | None = None

    def __str__(self) -> str:
        said = self.statement
        return f"{said[0].upper()}{said[1:]}. On uniqueness: {self.reasons[0]}. On explosion: {self.reasons[1]}."

    @property
    def statement(self) -> str:
        """In one sentence."""
        unique = {
            "yes": "the equation has a unique solution",
            "no": "the equation has solutions, and more than one",
            UNKNOWN: "whether the equation has a unique solution is not known",
        }[self.unique]
        explodes = {
            "cannot": "it does not explode",
            "can": "it can explode: paths become infinite in finite time",
            UNKNOWN: "whether it can explode is not known",
        }[self.explodes]
        if self.exists == "no":
            unique = "the equation as it is written has no solution beyond some time"
        return f"{unique}, and {explodes}"
