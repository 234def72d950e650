"""Options and fixtures that every test may use."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest
import sympy as sp

from tests.helpers import GoldenFile, share_cores

GOLDEN = Path(__file__).parent / "golden"
#: Tests that took longer when they were measured: slow ones beside those that are marked, so that the fast lane takes two minutes.
SLOW, SECONDS = Path(__file__).parent / "slow.txt", 0.2


class _Measured:
    """Processor seconds of each test; those that took longer join the list of slow ones."""

    def __init__(self) -> None:
        self.slow: list[str] = []

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        start = time.process_time()
        result = yield
        is_test = isinstance(item, pytest.Function)  # docstrings stay where they are
        if is_test and time.process_time() - start > SECONDS:
            self.slow.append(item.nodeid)
        return result

    def pytest_sessionfinish(self) -> None:
        SLOW.write_text("".join(f"{name}\n" for name in sorted({*_listed(), *self.slow})), encoding="utf-8")


def _listed() -> set[str]:
    return set(SLOW.read_text(encoding="utf-8").splitlines()) if SLOW.exists() else set()


class _EveryDoctest:
    """The doctests of the packages lie outside ``tests/``, where a conftest's own fixtures do not reach."""

    @pytest.fixture(autouse=True)
    def _names(self, doctest_namespace: dict[str, Any], request: pytest.FixtureRequest) -> None:
        doctest_namespace["sp"] = sp
        if request.node.name.startswith("numerics.training."):
            pytest.importorskip("optax", reason="training needs the extra jax")


def pytest_configure(config: pytest.Config) -> None:
    # SymPy makes and drops millions of objects with hardly a cycle; searches at Python's own pace take a seventh of a
    # derivation and a quarter of the collection
    gc.set_threshold(200_000, 20, 20)
    share_cores(config.getoption("numprocesses", None) or 0)
    config.pluginmanager.register(_EveryDoctest(), "every-doctest")
    if config.getoption("--measure"):
        config.pluginmanager.register(_Measured(), "measured")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update", action="store_true", help="rewrite the golden files from what the tests produce")
    parser.addoption(
        "--measure",
        action="store_true",
        help=f"add tests that take long to {SLOW.name}; with -m 'not slow', in one process",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    listed = _listed()
    for item in items:
        if item.nodeid in listed:
            item.add_marker(pytest.mark.slow)


def pytest_collection_finish() -> None:
    """What collecting the tests made stays to the end: no search for cycles looks at it again."""
    gc.freeze()


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str], GoldenFile]:
    """``golden("relu.tex").check(text)`` compares with ``tests/golden/relu.tex``, or rewrites it under ``--update``."""
    update = request.config.getoption("--update")
    return lambda name: GoldenFile(GOLDEN / name, update=update)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """A test file that cannot be imported is a failure; the collector of doctests would skip it without a word."""
    report = yield
    if report.skipped and collector.path.name.startswith("test_") and "unable to import module" in str(report.longrepr):
        report.outcome = "failed"
    return report
