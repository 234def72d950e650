"""Whether the equation of a limit has a solution, a single one, and one for all times, and why."""

from derivations.existence.front import existence
from derivations.existence.statement import Existence

__all__ = ["Existence", "existence"]
