"""Whether the equation of a limit has a solution, a single one, and one for all times, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING

from derivations.loading import on_demand

if TYPE_CHECKING:
    from derivations.existence.front import existence
    from derivations.existence.statement import Existence

__all__ = ["Existence", "existence"]

__getattr__, __dir__ = on_demand(
    __name__,
    {
        "derivations.existence.front": "existence",
        "derivations.existence.statement": "Existence",
    },
)
