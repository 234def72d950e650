"""Explaining whether the equation has a solution."""

from __future__ import annotations

from derivations.existence import Existence
from derivations.notation.steps import Step, result


def existence_step(found: Existence) -> Step:
    """Existence, uniqueness and explosion, with their grounds."""
    unique, explodes = found.reasons
    claim = f"{found.statement[0].upper()}{found.statement[1:]}."
    return result("Existence", (claim,), (), (f"On uniqueness: {unique}. On explosion: {explodes}.",))
