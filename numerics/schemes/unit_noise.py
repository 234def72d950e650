"""Steps in the unit-noise coordinate: logarithms for geometric Brownian motion."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from derivations.diffusion import Limit
from derivations.steps import Step, unit_noise_step
from numerics.schemes.symbolic import SymbolicScheme


@dataclass(frozen=True)
class UnitNoiseSteps(SymbolicScheme):
    """Euler's step where the noise is constant; see :func:`derivations.steps.unit_noise_step`."""

    name: str = "unit_noise"
    strong_order: Fraction = Fraction(1)
    weak_order: Fraction = Fraction(1)
    can_leave: bool = False

    def formula(self, limit: Limit) -> Step:
        """Find the coordinate, its inverse and the step."""
        return unit_noise_step(limit)
