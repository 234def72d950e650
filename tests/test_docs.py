"""The pages' Python blocks run, in order, each page in one namespace; a text block right after one is what it prints."""

import contextlib
import io
import re
import runpy
from pathlib import Path

import pytest

PAGES = sorted((Path(__file__).parents[1] / "docs").glob("*.md"))
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


PRINTED = re.compile(r"^```python\n(.*?)^```\n\n?(?:```text\n(.*?)^```$)?", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", [p for p in PAGES if BLOCK.search(p.read_text())], ids=lambda p: p.stem)
def test_code_on_the_page_runs(page):
    names: dict[str, object] = {"__name__": page.stem}
    for code, shown in PRINTED.findall(page.read_text()):
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            exec(compile(code, page.name, "exec"), names)
        assert not shown or out.getvalue().strip() == shown.strip()
    assert len(names) > 2


def test_the_table_of_solvable_activations_is_what_the_engine_finds():
    docs = PAGES[0].parent
    table = runpy.run_path(str(docs / "make_solvable.py"))["table"]()
    assert table in (docs / "solvable.md").read_text(encoding="utf-8")


def test_there_is_a_page_with_code():
    assert any("assert" in code for page in PAGES for code in BLOCK.findall(page.read_text()))
