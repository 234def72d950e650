"""Options and fixtures that every test may use."""

from __future__ import annotations

import gc
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest
import sympy as sp

from tests.helpers import GoldenFile, share_cores

GOLDEN = Path(__file__).parent / "golden"


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


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update", action="store_true", help="rewrite the golden files from what the tests produce")


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
