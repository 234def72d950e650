"""Whether the equation has a solution, as a step."""

from __future__ import annotations

from derivations.emit.steps import Step
from derivations.existence import Existence


def existence_steps(found: Existence) -> list[Step]:
    """Existence, uniqueness and explosion, with their grounds."""
    unique, explodes = found.reasons
    claim = f"{found.statement[0].upper()}{found.statement[1:]}."
    return [Step("Existence", (claim,), (), (f"On uniqueness: {unique}. On explosion: {explodes}.",))]
