"""Weak Taylor steps of order 2, for expectations."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from derivations.diffusion import Limit
from derivations.steps import Step, weak_second_order, weak_second_step
from numerics.schemes.symbolic import SymbolicScheme


@dataclass(frozen=True)
class WeakSecond(SymbolicScheme):
    """Order 2 in expectations of smooth functions, for any noise without kinks; see :func:`derivations.steps.weak_second_step`."""

    name: str = "weak_second"
    strong_order: Fraction = Fraction(1, 2)
    weak_order: Fraction = Fraction(2)

    def formula(self, limit: Limit) -> Step:
        """Differentiate the coefficients and write the step."""
        return weak_second_step(limit)

    def weak_order_on(self, limit: Limit) -> float:
        """Less where the curvature of the noise jumps."""
        return float(weak_second_order(limit))
