"""Steps in the Lamperti coordinate: logarithms for geometric Brownian motion."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from derivations.diffusion import Limit
from derivations.steps import Step, lamperti_step
from numerics.schemes.symbolic import SymbolicScheme


@dataclass(frozen=True)
class LampertiSteps(SymbolicScheme):
    """Euler's step where the noise is constant; see :func:`derivations.steps.lamperti_step`."""

    name: str = "lamperti"
    strong_order: Fraction = Fraction(1)
    weak_order: Fraction = Fraction(1)
    can_leave: bool = False

    def formula(self, limit: Limit) -> Step:
        """Find the coordinate, its inverse and the step."""
        return lamperti_step(limit)
