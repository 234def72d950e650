"""The pages' Python blocks run, in order, each page in one namespace; a text block right after one is what it prints."""

import contextlib
import importlib.util
import io
import re
import runpy
from pathlib import Path

import pytest

from numerics.linalg import one_thread

PAGES = sorted((Path(__file__).parents[1] / "docs").glob("*.md"))
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


PRINTED = re.compile(r"^```python\n(.*?)^```\n\n?(?:```text\n(.*?)^```$)?", re.MULTILINE | re.DOTALL)


@pytest.mark.slow
@pytest.mark.parametrize("page", [p for p in PAGES if BLOCK.search(p.read_text())], ids=lambda p: p.stem)
def test_code_on_the_page_runs(page):
    names: dict[str, object] = {"__name__": page.stem}
    for code, shown in PRINTED.findall(page.read_text()):
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            exec(compile(code, page.name, "exec"), names)
        assert not shown or out.getvalue().strip() == shown.strip()
    assert len(names) > 2


@pytest.mark.slow
def test_the_table_of_solvable_activations_is_what_the_engine_finds():
    docs = PAGES[0].parent
    table = runpy.run_path(str(docs / "make_solvable.py"))["table"]()
    assert table in (docs / "solvable.md").read_text(encoding="utf-8")


def test_there_is_a_page_with_code():
    assert any("assert" in code for page in PAGES for code in BLOCK.findall(page.read_text()))


@pytest.mark.slow
def test_table_of_digits_is_the_one_on_the_page():
    import warnings

    pytest.importorskip("sklearn")
    spec = importlib.util.spec_from_file_location("docs_digits", Path(__file__).parents[1] / "docs" / "docs_digits.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    page = (Path(__file__).parents[1] / "docs" / "inference.md").read_text()
    with warnings.catch_warnings(), one_thread():
        warnings.simplefilter("ignore")  # of scikit-learn's optimiser, at a bound of its length scale
        rows = [line.split("|") for line in module.markdown().splitlines()[2:]]
    for name, *values in (row[1:-1] for row in rows):
        (shown,) = [line.split("|")[2:-1] for line in page.splitlines() if line.startswith(f"|{name}|")]
        for one, other in zip(values, shown, strict=True):
            assert one.strip() == other.strip() == "" or abs(float(one) - float(other)) < 0.003  # four digits of 1497
