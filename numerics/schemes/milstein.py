"""Milstein's scheme: strong order 1 from increments alone."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from derivations.diffusion import Limit
from derivations.steps import Step, milstein_step
from numerics.schemes.symbolic import SymbolicScheme


@dataclass(frozen=True)
class Milstein(SymbolicScheme):
    """Strong order 1 where the noise is proved to commute, refused elsewhere; see :func:`derivations.steps.milstein_step`."""

    name: str = "milstein"
    strong_order: Fraction = Fraction(1)
    weak_order: Fraction = Fraction(1)

    def formula(self, limit: Limit) -> Step:
        """Prove that the noise commutes and write the step."""
        return milstein_step(limit)
