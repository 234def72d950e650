"""Progress on standard error: with Rich where it is installed and someone is watching, in plain lines otherwise."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Announce work while it is done, and how long it took."""
    start = time.perf_counter()
    with _spinner(name):
        yield
    print(f"  {name}: {time.perf_counter() - start:.1f} s", file=sys.stderr, flush=True)


@contextmanager
def _spinner(name: str) -> Iterator[None]:
    try:
        from rich.console import Console
    except ModuleNotFoundError:
        Console = None  # type: ignore[assignment,misc]
    if Console is None or not sys.stderr.isatty():
        yield
        return
    with Console(stderr=True).status(name):
        yield
