"""The helpers must reject what is wrong: a comparison that accepts everything would hide every other failure."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
import sympy as sp

from tests.conftest import SLOW
from tests.helpers import GoldenFile, equal_by_sampling, equal_symbolically, share_cores

x = sp.Symbol("x", real=True)
t = sp.Symbol("t", positive=True)
n = sp.Symbol("n", integer=True, positive=True)

IDENTITIES = [
    (sp.sin(x) ** 2 + sp.cos(x) ** 2, 1),
    ((x**2 - 1) / (x - 1), x + 1),
    (sp.log(t**3), 3 * sp.log(t)),
    (sp.factorial(n + 1), (n + 1) * sp.factorial(n)),
    (sp.exp(x) * sp.exp(-x) - 1, 0),
]


@pytest.mark.parametrize(("a", "b"), IDENTITIES)
@pytest.mark.parametrize("equal", [equal_symbolically, equal_by_sampling])
def test_accepts_identities(equal, a, b):
    assert equal(a, b)


@pytest.mark.parametrize(("a", "b"), IDENTITIES)
@pytest.mark.parametrize("equal", [equal_symbolically, equal_by_sampling])
def test_rejects_a_wrong_coefficient(equal, a, b):
    with pytest.raises(AssertionError, match="differ by"):
        equal(a, b + x * sp.Rational(1, 10**30))


def test_residual_of_the_heat_equation_is_zero_by_sampling():
    density = sp.exp(-(x**2) / (2 * t)) / sp.sqrt(2 * sp.pi * t)
    assert equal_by_sampling(density.diff(t) - density.diff(x, 2) / 2, 0)
    with pytest.raises(AssertionError, match="differ by"):
        assert equal_by_sampling(density.diff(t) - density.diff(x, 2) * sp.Rational(51, 100), 0)


def test_sampling_sees_both_signs():
    with pytest.raises(AssertionError, match="differ by"):
        assert equal_by_sampling(abs(x), x)


def test_sampling_refuses_a_value_that_is_not_finite():
    with pytest.raises(AssertionError, match="no finite value"):
        assert equal_by_sampling(1 / (x - 1), 1 / (x - 1), symbols={x: [1]})


def test_sampling_refuses_a_symbol_without_values():
    with pytest.raises(AssertionError, match="no values for"):
        assert equal_by_sampling(x + t, x + t, symbols=[x])


def test_sampling_uses_given_values():
    assert equal_by_sampling(sp.sqrt((1 - x) ** 2), 1 - x, symbols={x: ["1/3", "-1/2"]})
    with pytest.raises(AssertionError, match="differ by"):
        assert equal_by_sampling(sp.sqrt((1 - x) ** 2), 1 - x, symbols={x: [2]})


def test_golden_file_is_written_then_compared(tmp_path):
    path = tmp_path / "new" / "law.tex"
    with pytest.raises(AssertionError, match="pytest --update"):
        GoldenFile(path).check("a\nb\n")
    GoldenFile(path, update=True).check("a\nb\n")
    GoldenFile(path).check("a\nb\n")
    with pytest.raises(AssertionError, match=r"(?s)-b.*\+c"):
        GoldenFile(path).check("a\nc\n")
    with pytest.raises(AssertionError, match="line ends"):
        GoldenFile(path).check("a\nb")


def test_golden_fixture_looks_beside_the_tests(golden):
    assert golden("README.md").path.is_file()


def test_processes_side_by_side_share_the_cores(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    for processes, threads in ((2, "2"), (4, "1"), (9, "1"), (0, None)):
        monkeypatch.setattr(os, "environ", {})
        share_cores(processes)
        assert os.environ.get("OPENBLAS_NUM_THREADS") == threads
    monkeypatch.setattr(os, "environ", {"OPENBLAS_NUM_THREADS": "7"})
    share_cores(4)
    assert os.environ["OPENBLAS_NUM_THREADS"] == "7"  # what was asked for stays


def test_the_list_of_slow_tests_names_tests_that_exist():
    # a renamed test would join the fast lane without a word
    sources = {}
    for name in SLOW.read_text(encoding="utf-8").splitlines():
        file, *scopes = name.partition("[")[0].split("::")
        source = sources.setdefault(file, Path(file).read_text(encoding="utf-8"))
        assert re.search(rf"^\s*def {scopes[-1]}\(", source, re.MULTILINE), name
    assert sources
