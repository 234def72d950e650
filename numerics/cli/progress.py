"""Progress on standard error: with Rich where it is installed and someone is watching, in plain lines otherwise."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Timer


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Announce work while it is done, and how long it took."""
    start = time.perf_counter()
    with _spinner(name):
        yield
    print(f"  {name}: {time.perf_counter() - start:.1f} s", file=sys.stderr, flush=True)


@contextmanager
def slow_stage(name: str) -> Iterator[None]:
    """The same for work that is mostly quick: a line if it took more than two seconds."""
    start = time.perf_counter()
    with _spinner(name):
        yield
    if (taken := time.perf_counter() - start) > _PATIENCE:
        print(f"  {name}: {taken:.1f} s", file=sys.stderr, flush=True)


@contextmanager
def _spinner(name: str) -> Iterator[None]:
    """What turns where someone is watching; else a line once it takes long."""
    try:
        from rich.console import Console
    except ModuleNotFoundError:
        Console = None  # type: ignore[assignment,misc]
    if Console is None or not sys.stderr.isatty():
        said = Timer(_PATIENCE, lambda: print(f"  {name} …", file=sys.stderr, flush=True))
        said.daemon = True
        said.start()
        try:
            yield
        finally:
            said.cancel()
        return
    with Console(stderr=True).status(name):
        yield


_QUIET, _PATIENCE = 5.0, 2.0  # seconds between plain lines, and before the first word of what is mostly quick


@contextmanager
def samples_bar(name: str) -> Iterator[Callable[[int, int], None]]:
    """A callable for finished and all samples, which shows how many, how fast, and how long it still takes."""
    try:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TimeRemainingColumn
    except ModuleNotFoundError:
        Console = None  # type: ignore[assignment,misc]
    if Console is None or not sys.stderr.isatty():
        yield plain_progress(name)
        return
    columns = ("{task.description}", BarColumn(), MofNCompleteColumn(), TaskProgressColumn(show_speed=True))
    with Progress(*columns, "{task.fields[rate]} per s", TimeRemainingColumn(), console=Console(stderr=True)) as bar:
        task, start = bar.add_task(name, total=None, rate="?"), time.perf_counter()

        def show(finished: int, total: int) -> None:
            rate = finished / max(time.perf_counter() - start, 1e-9)
            bar.update(task, completed=finished, total=total, rate=f"{rate:.2g}")

        yield show


@contextmanager
def slow_bar(name: str) -> Iterator[Callable[[int, int], None]]:
    """The same for work that is mostly quick and may draw no samples at all."""
    if sys.stderr.isatty():
        with samples_bar(name) as show:
            yield show
        return
    with slow_stage(name):
        yield plain_progress(name)


def plain_progress(name: str) -> Callable[[int, int], None]:
    """A line now and then, the first after some seconds: short work says nothing."""
    start = last = time.perf_counter()

    def show(finished: int, total: int) -> None:
        nonlocal last
        now = time.perf_counter()
        if now - last >= _QUIET:
            last, rate = now, finished / (now - start)
            left = (total - finished) / rate
            print(f"  {name}: {finished} of {total}, {rate:.2g} per s, {left:.0f} s left", file=sys.stderr, flush=True)

    return show
