"""One step of a scheme as a formula: exact, with the random numbers as symbols, for every backend to run."""

from __future__ import annotations

from derivations.steps.base import Step
from derivations.steps.euler import two_point_step
from derivations.steps.lamperti import lamperti_step
from derivations.steps.milstein import milstein_step
from derivations.steps.weak_second import weak_second_order, weak_second_step

__all__ = ["Step", "milstein_step", "two_point_step", "lamperti_step", "weak_second_order", "weak_second_step"]
