"""How work is announced: a stage has a name, and whoever runs the report decides how it is shown."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from time import perf_counter

#: A stage's name to a context in which its work is done.
Stage = Callable[[str], AbstractContextManager[object]]


def silent(name: str) -> AbstractContextManager[object]:
    """Show nothing."""
    return nullcontext()


def in_turn(stage: Stage, names: Sequence[str], shares: Sequence[float]) -> Iterator[AbstractContextManager[object]]:
    """One stage after the other, each said with its place and, from the second on, the time that the rest will take.

    Parameters
    ----------
    stage : callable
    names : sequence of str
    shares : sequence of float
        Of the work, in any unit.

    Examples
    --------
    >>> seen = []
    >>> for one in in_turn(lambda name: seen.append(name) or nullcontext(), ["first", "second"], [1, 2]):
    ...     with one:
    ...         pass
    >>> seen
    ['first, 1 of 2', 'second, 2 of 2, about 0 s left']
    """
    start, done = perf_counter(), 0.0
    for place, (name, share) in enumerate(zip(names, shares, strict=True), 1):
        left = (perf_counter() - start) / done * (sum(shares) - done) if done else None
        yield stage(f"{name}, {place} of {len(names)}" + ("" if left is None else f", about {left:.0f} s left"))
        done += share
