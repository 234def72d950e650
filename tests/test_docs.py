"""The pages' Python blocks run, in order, each page in one namespace; a text block right after one is what it prints."""

import contextlib
import importlib
import importlib.util
import io
import json
import re
import runpy
import tomllib
from pathlib import Path

import pytest

import derivations
import numerics
from derivations.notation.citations import Source, software
from numerics.linalg import one_thread

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted((*DOCS.glob("*.md"), *DOCS.glob("results/*.md")))
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)

PRINTED = re.compile(r"^```python\n(.*?)^```\n\n?(?:```text\n(.*?)^```$)?", re.MULTILINE | re.DOTALL)


@pytest.mark.slow
@pytest.mark.parametrize("page", [p for p in PAGES if BLOCK.search(p.read_text())], ids=lambda p: p.stem)
def test_code_on_the_page_runs(page):
    if page.stem == "pytorch":
        pytest.importorskip("torch", reason="the page on PyTorch needs the extra torch")
    if page.stem == "training":
        pytest.importorskip("optax", reason="the page on training needs the extra jax")
    names: dict[str, object] = {"__name__": page.stem}
    for code, shown in PRINTED.findall(page.read_text()):
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            exec(compile(code, page.name, "exec"), names)
        assert not shown or out.getvalue().strip() == shown.strip()
    assert len(names) > 2


@pytest.mark.slow
def test_the_table_of_solvable_activations_is_what_the_engine_finds():
    table = runpy.run_path(str(DOCS / "make_solvable.py"))["table"]()
    assert table in (DOCS / "solvable.md").read_text(encoding="utf-8")


def test_the_page_on_how_to_cite_says_what_the_program_and_the_citation_file_say():
    page = (ROOT / "docs" / "cite.md").read_text(encoding="utf-8")
    held = dict(re.findall(r'^(\w+): "?(.*?)"?$', (ROOT / "CITATION.cff").read_text(encoding="utf-8"), re.MULTILINE))
    metadata = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert held["version"] == metadata["project"]["version"]
    fields = dict(software().fields) | {"howpublished": f"Software, version {held['version']}"}
    assert fields["title"] == held["title"]
    assert f"```bibtex\n{Source('deeplimits', 'misc', tuple(fields.items())).bibtex()}```" in page


def test_there_is_a_page_with_code():
    assert any("assert" in code for page in PAGES for code in BLOCK.findall(page.read_text()))


def linked(page: Path) -> set[str]:
    """Targets of a page's links and pictures, without their anchors."""
    return set(re.findall(r"\]\(([^)#:]+)[^)]*\)", page.read_text(encoding="utf-8")))


def test_every_page_is_linked_from_the_index_and_the_readme():
    results = {page.name for page in PAGES if page.parent != DOCS}
    pages = {page.name for page in PAGES if page.parent == DOCS} - {"index.md"}
    notebooks = {f"notebooks/{book.name}" for book in NOTEBOOKS}
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    groups = re.findall(r"^:hidden:\n:caption: [^\n]+\n\n(.*?)^```", index, flags=re.MULTILINE | re.DOTALL)
    listed = [name for group in groups for name in group.split()]
    assert {name.removesuffix(".md").removesuffix(".ipynb") for name in pages | notebooks} == set(listed)
    assert len(listed) == len(set(listed))  # in one group each
    assert pages | notebooks <= linked(ROOT / "docs" / "index.md")
    assert {f"results/{name}" for name in results} <= linked(DOCS / "results.md")
    assert {f"docs/{name}" for name in (pages | notebooks) - {"reference.md", "changelog.md"}} <= linked(
        ROOT / "README.md"
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_links_lead_somewhere(page):
    assert all((page.parent / target).is_file() for target in linked(page))


def test_every_figure_is_shown():
    shown = {(page.parent / target).resolve() for page in (*PAGES, ROOT / "README.md") for target in linked(page)}
    assert {figure.resolve() for figure in (ROOT / "docs" / "figures").iterdir()} <= shown


def referenced() -> list[str]:
    """The names of which the reference has a page each."""
    text = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
    return re.findall(r"^   ([\w.]+)$", text, re.MULTILINE)


@pytest.mark.parametrize("package", [derivations, numerics], ids=lambda p: p.__name__)
def test_every_public_name_and_no_other_has_a_page_of_reference(package):
    pages = [name for name in referenced() if name.rpartition(".")[0] == package.__name__]
    assert sorted(pages) == sorted(f"{package.__name__}.{name}" for name in package.__all__)


def test_what_else_has_a_page_exists_and_is_described():
    public = {name: getattr(package, name) for package in (derivations, numerics) for name in package.__all__}
    assert len(set(referenced())) == len(referenced())
    for module, _, name in (full.rpartition(".") for full in referenced()):
        if module not in ("derivations", "numerics"):
            found = getattr(importlib.import_module(module), name)
            assert found.__doc__
            assert public.get(name) is not found  # it has its page already


@pytest.mark.parametrize("book", NOTEBOOKS, ids=lambda b: b.stem)
def test_notebooks_are_kept_without_results_and_run_where_the_site_is_built(book):
    cells = [c for c in json.loads(book.read_text(encoding="utf-8"))["cells"] if c["cell_type"] == "code"]
    assert len(cells) > 3
    assert all(c["outputs"] == [] and c["execution_count"] is None for c in cells)
    settings = (ROOT / "docs" / "conf.py").read_text(encoding="utf-8")
    assert 'nb_execution_mode = "force"' in settings
    assert "nb_execution_raise_on_error = True" in settings


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
