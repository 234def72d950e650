"""How long work is announced: a stage has a name, and whoever runs the report decides how it is shown."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

#: A stage's name to a context in which its work is done.
Stage = Callable[[str], AbstractContextManager[object]]


def silent(name: str) -> AbstractContextManager[object]:
    """Show nothing."""
    return nullcontext()
