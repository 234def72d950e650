"""Where the time of the tests goes: processor seconds of a lane by folder or file, of their processes, and of the costliest tests.

Run with ``python tests/benchmarks/bench_tests.py fast|slow [FOLDER OR FILE ...]`` from the top of the repository (a script; no timed test). Each
path is a process of its own; nothing given is the collection of all tests alone. Wished are 10 s for that, 90 s for the fast lane and 300 s for
the slow one, both on two cores, which is twice as many processor seconds.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

#: Costliest tests shown of each path.
SHOWN = 10
LANES = {"fast": "not slow", "slow": "slow"}


def spent() -> tuple[float, float]:
    """Processor seconds of this process and of those that it has waited for."""
    own, others = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime, others.ru_utime + others.ru_stime


class Meter:
    """What each test takes, with its fixtures."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, float, float]] = []
        self.collected = 0.0

    def pytest_collection_finish(self) -> None:
        """The start and the collection of the tests."""
        self.collected = spent()[0]

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, Any, Any]:
        """One test."""
        own, others = spent()
        result = yield
        now, more = spent()
        self.rows.append((item.nodeid, now - own, more - others))
        return result


def measured(lane: str, path: str) -> dict[str, Any]:
    """One path in a process of its own, as this script says it in JSON."""
    found = subprocess.run([sys.executable, __file__, "--one", lane, path], capture_output=True, text=True, check=True)
    return dict(json.loads(found.stdout.splitlines()[-1]))


def one(lane: str, path: str) -> None:
    """Run the tests of a path in this process."""
    meter = Meter()
    only = [] if lane else ["--collect-only"]
    status = pytest.main(
        ["-q", "-p", "no:cacheprovider", *(["-m", LANES[lane]] if lane else only), *path.split()], plugins=[meter]
    )
    print("\n" + json.dumps({"status": int(status), "collected": meter.collected, "rows": meter.rows}))


def main(lane: str = "", *paths: str) -> None:
    """Print the table."""
    if not paths:
        print(f"collection: {measured('', '')['collected']:.1f} s (at most 10)")
        return
    total = 0.0
    for path in paths:
        found = measured(lane, path)
        own, others = (sum(row[k] for row in found["rows"]) for k in (1, 2))
        total += own + others
        print(
            f"{path}: {len(found['rows'])} tests, {own:.1f} s, their processes {others:.1f} s, start and collection {found['collected']:.1f} s"
        )
        for name, *seconds in sorted(found["rows"], key=lambda row: -row[1] - row[2])[:SHOWN]:
            print(f"  {sum(seconds):6.2f} {name.removeprefix(path)}")
    print(f"{total:.1f} processor seconds")


if __name__ == "__main__":
    os.chdir(Path(__file__).parents[2])
    if sys.argv[1:2] == ["--one"]:
        one(*sys.argv[2:])
    else:
        main(*sys.argv[1:])
