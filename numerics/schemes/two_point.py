"""Weak Euler steps with random signs for increments."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from derivations.diffusion import Limit
from derivations.steps import Step, two_point_step
from numerics.schemes.symbolic import SymbolicScheme


@dataclass(frozen=True)
class TwoPoint(SymbolicScheme):
    """Euler's step with increments ±√h, for expectations only; see :func:`derivations.steps.two_point_step`."""

    name: str = "two_point"
    strong_order: None = None
    weak_order: Fraction = Fraction(1)

    def formula(self, limit: Limit) -> Step:
        """Write the step."""
        return two_point_step(limit)
