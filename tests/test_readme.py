"""The README's examples run and print what it says; its figure is there."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

from numerics.cli.arguments import parser

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```\n\n```\n(.*?)```", README, flags=re.DOTALL)


def output_of(source: str, monkeypatch: pytest.MonkeyPatch) -> str:
    module = ModuleType("readme_example")  # dataclasses look their module up
    monkeypatch.setitem(sys.modules, module.__name__, module)
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(source, "README.md", "exec"), module.__dict__)
    return out.getvalue()


def test_there_are_three_examples_and_the_first_is_short():
    assert len(EXAMPLES) == 3
    assert len([line for line in EXAMPLES[0][0].splitlines() if line.strip()]) <= 10


@pytest.mark.slow
@pytest.mark.parametrize(("source", "expected"), EXAMPLES, ids=["first-screen", "library", "own-architecture"])
def test_example_prints_what_the_readme_says(source, expected, monkeypatch):
    assert output_of(source, monkeypatch) == expected


def test_the_page_for_package_indexes_is_the_first_screen_and_points_to_nothing_beside_it():
    page = (ROOT / "README.pypi.md").read_text(encoding="utf-8")
    assert page.startswith(README[: README.index("![")])
    assert not re.search(r"!\[|\]\((?!https?://)|<img", page)
    assert tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["readme"] == "README.pypi.md"


@pytest.mark.parametrize("target", re.findall(r"\]\(([^)#:]+)\)", README))
def test_what_the_readme_points_to_exists(target):
    assert (ROOT / target).is_file()


def test_commands_for_a_fresh_machine_are_marked():
    assert len(re.findall(r"<!-- (?:main|test)-command -->\n```bash\n[^\n]+\n```", README)) == 2


def test_commands_shown_are_commands_that_exist():
    shown = re.findall(r"^deeplimits (.+)$", README, flags=re.MULTILINE)
    assert len(shown) == 17
    for line in shown:
        parser().parse_args(shlex.split(line))
