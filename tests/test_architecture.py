"""The house rules of docs/architecture.md, read off the source; each rule has a control that it must reject."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from importlib import import_module
from pathlib import Path
from statistics import median

import pytest

ROOT = Path(__file__).parents[1]

# fmt: off
LAYERS = {
    "derivations": [
        "loading",
        "errors", "symbols", "decimals", "constants",
        "evaluation", "binding", "affine",
        "piecewise", "special", "sums", "gaussian", "notation", "activations", "language", "architectures",
        "covariances", "entries", "interchange", "equations", "diffusion", "limits", "calculus", "norms", "laws", "steps", "kernels", "existence",
        "explain", "exponents", "backward", "dynamics", "derivation",
    ],
    "numerics": [
        "given",
        "special", "extras", "linalg", "densities", "backends", "compile", "quadrature", "ensembles", "outcomes", "schemes", "initial_conditions",
        "expectations", "paths", "exports", "fokker_planck", "limit_distribution", "flows", "outputs", "tangent_kernels", "joint_outputs", "networks",
        "dynamics", "pytorch", "exponential_functional", "kernels",
        "regression", "statistics", "training", "depth_levels", "depth_extrapolation", "crossings", "choices", "units", "targets", "validation", "plots",
        "report", "cli",
    ],
}
# modules whose place is kept and that nobody has built yet: on the map they are marked (planned)
PLANNED: dict[str, set[str]] = {"derivations": set(), "numerics": set()}
# fmt: on
SYMBOLIC_LIBRARIES = {"sympy", "mpmath"}
OPTIONAL_LIBRARIES = {
    "numba",
    "llvmlite",
    "jax",
    "optax",
    "dask",
    "distributed",
    "matplotlib",
    "jinja2",
    "rich",
    "shtab",
    "latex2mathml",
    "sklearn",
    "threadpoolctl",
    "torch",
}
STARTED = ("derivations", "numerics", "numerics.cli")  # what a user imports or runs without asking for an extra
LONGEST, TYPICAL = 600, 150  # lines


@dataclass(frozen=True)
class Import:
    """One imported module or name, as a dotted path; eager if it runs when the file is imported."""

    target: str
    eager: bool

    @property
    def library(self) -> str:
        return self.target.split(".")[0]


@dataclass(frozen=True)
class File:
    """One source file under the dotted name that imports use; a package's is that of its ``__init__.py``."""

    name: str
    source: str
    is_package: bool = False

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.source)

    @cached_property
    def imports(self) -> list[Import]:
        return list(self._imports(self.tree, eager=True))

    @property
    def package(self) -> str:
        return self.name.split(".")[0]

    @property
    def module(self) -> str:
        """The part of the name after the package; empty for the package's own ``__init__.py``."""
        return ".".join(self.name.split(".")[1:2])

    def _imports(self, node: ast.AST, eager: bool) -> Iterator[Import]:
        match node:
            case ast.Import(names=names):
                yield from (Import(alias.name, eager) for alias in names)
            case ast.ImportFrom(names=names):
                base = self._absolute(node)
                yield from (Import(f"{base}.{alias.name}", eager) for alias in names)
            case ast.Call(
                func=ast.Name(id="import_module" | "__import__") | ast.Attribute(attr="import_module"),
                args=[ast.Constant(value=str(target)), *_],
            ):
                yield Import(target, eager)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for child in node.body:
                yield from self._imports(child, eager=False)
            for child in node.orelse:
                yield from self._imports(child, eager)
            return
        inside = eager and not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.iter_child_nodes(node):
            yield from self._imports(child, inside)

    def _absolute(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        parents = self.name.split(".")
        base = parents[: len(parents) - node.level + self.is_package]
        return ".".join([*base, *([node.module] if node.module else [])])


def read(package: str) -> list[File]:
    files = []
    for path in sorted((ROOT / package).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        is_package = parts[-1] == "__init__"
        files.append(File(".".join(parts[: len(parts) - is_package]), path.read_text(encoding="utf-8"), is_package))
    return files


DERIVATIONS, NUMERICS = read("derivations"), read("numerics")
HOUSE = DERIVATIONS + NUMERICS


# --- the rules: each takes files and returns what breaks it, empty when all is well ---


def off_the_map(files: list[File]) -> list[str]:
    return [f"{f.name} is in no module" for f in files if f.module and f.module not in LAYERS[f.package]]


def against_the_order(files: list[File]) -> list[str]:
    """Imports of a module below one's own; the package itself is below all its modules."""

    def rank(package: str, module: str) -> int:
        return LAYERS[package].index(module) if module in LAYERS[package] else len(LAYERS[package])

    broken = []
    for f in files:
        for i in f.imports:
            target = File(i.target, "")
            if target.package == f.package and rank(f.package, f.module) < rank(f.package, target.module):
                broken.append(f"{f.name} imports {i.target}, which is below it")
    return broken


def circles(files: list[File]) -> list[str]:
    """Files that import each other, be it inside functions; that a submodule loads its package is no import of it."""
    names = {f.name for f in files}
    graph = {f.name: {m for i in f.imports if (m := module_of(i.target, names))} - {f.name} for f in files}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return [" → ".join(reversed(error.args[1]))]
    return []


def module_of(target: str, names: set[str]) -> str | None:
    """The file that an import reads: the target is a module, or a name in one."""
    return next((m for m in (target, target.rpartition(".")[0]) if m in names), None)


def shadowed(files: list[File]) -> list[str]:
    """Public names that a module of the package hides: importing ``a.f`` puts the module where the name ``f`` was."""
    names = {f.name for f in files}
    return [
        f"{f.name} exports {name}, which is also the module {f.name}.{name}"
        for f in files
        if f.is_package
        for name in exported(f)
        if f"{f.name}.{name}" in names and all(i.target != f"{f.name}.{name}" for i in f.imports)
    ]


def exported(file: File) -> list[str]:
    for node in file.tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return list(ast.literal_eval(node.value))
    return []


def foreign_to_derivations(files: list[File]) -> list[str]:
    allowed = SYMBOLIC_LIBRARIES | {"derivations"} | sys.stdlib_module_names
    return [f"{f.name} imports {i.target}" for f in files for i in f.imports if i.library not in allowed]


def symbolic_off_the_bridge(files: list[File]) -> list[str]:
    rest = [f for f in files if f.module not in ("compile", "backends", "pytorch")]
    return [f"{f.name} imports {i.target}" for f in rest for i in f.imports if i.library == "sympy"]


def optional_at_start(files: list[File]) -> list[str]:
    """Optional libraries that come with the start: eager imports of a file that is itself reached eagerly."""
    by_name = {f.name: f for f in files}
    reached: set[str] = set()
    waiting = [name for name in STARTED if name in by_name]
    while waiting:
        name = waiting.pop()
        if name in reached:
            continue
        reached.add(name)
        modules = {m for i in by_name[name].imports if i.eager and (m := module_of(i.target, set(by_name)))}
        # importing a.b.c runs a and a.b too
        parents = {m.rsplit(".", k)[0] for m in modules | {name} for k in range(1, m.count(".") + 1)}
        waiting += (modules | parents) & set(by_name)
    return [
        f"{name} imports {i.target}, which comes with {' or '.join(STARTED)}; import it in the function that needs it"
        for name in sorted(reached)
        for i in by_name[name].imports
        if i.eager and i.library in OPTIONAL_LIBRARIES
    ]


def statistics_at_start(files: list[File]) -> list[str]:
    """SciPy's statistics, a quarter of the start of every command, loaded before they are used; ``scipy.stats.f`` loads them there."""
    return [
        f"{f.name} imports {i.target}"
        for f in files
        for i in f.imports
        if i.eager and i.target.startswith("scipy.stats")
    ]


def blind_simplification(files: list[File]) -> list[str]:
    def is_simplify(node: ast.AST) -> bool:
        return (isinstance(node, ast.Name) and node.id == "simplify") or (
            isinstance(node, ast.Attribute) and node.attr == "simplify"
        )

    return [f"{f.name}:{node.lineno}" for f in files for node in ast.walk(f.tree) if is_simplify(node)]


def floats(files: list[File]) -> list[str]:
    return [
        f"{f.name}:{node.lineno}: {node.value}"
        for f in files
        for node in ast.walk(f.tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, float | complex)
    ]


def unbounded(files: list[File]) -> list[str]:
    """Formulas made into functions of mpmath's numbers elsewhere than where these are bounded."""
    return [
        f"{f.name}:{node.lineno}"
        for f in files
        if "lambdify" in f.source and f.name != "derivations.evaluation"
        for node in ast.walk(f.tree)
        if isinstance(node, ast.Call)
        and getattr(node.func, "attr", getattr(node.func, "id", "")) == "lambdify"
        and any(isinstance(part, ast.Constant) and part.value == "mpmath" for part in ast.walk(node))
    ]


def undocumented(files: list[File]) -> list[str]:
    """Signatures of one function are documented by the function."""
    return [
        f"{f.name}.{node.name}"
        for f in files
        for node in f.tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        and not node.name.startswith("_")
        and not ast.get_docstring(node)
        and not any(isinstance(d, ast.Name) and d.id == "overload" for d in node.decorator_list)
    ]


def too_long(files: list[File]) -> list[str]:
    return [f"{f.name}: {n} lines" for f in files if (n := len(f.source.splitlines())) > LONGEST]


def long_winded(files: list[File]) -> list[str]:
    """The median over files that hold something; an empty ``__init__.py`` must not make the others look short."""
    lengths = [n for f in files if (n := len(f.source.splitlines()))]
    typical = median(lengths or [0])
    return [f"the median file has {typical} lines"] if typical > TYPICAL else []


RULES = [
    (off_the_map, HOUSE),
    (against_the_order, HOUSE),
    (circles, HOUSE),
    (shadowed, HOUSE),
    (foreign_to_derivations, DERIVATIONS),
    (symbolic_off_the_bridge, NUMERICS),
    (optional_at_start, HOUSE),
    (statistics_at_start, HOUSE),
    (blind_simplification, DERIVATIONS),
    (floats, DERIVATIONS),
    (unbounded, HOUSE),
    (undocumented, HOUSE),
    (too_long, HOUSE),
    (long_winded, HOUSE),
]


@pytest.mark.parametrize(("rule", "files"), RULES, ids=lambda v: getattr(v, "__name__", "files"))
def test_house_keeps_the_rule(rule, files):
    broken = rule(files)
    assert not broken, "\n" + "\n".join(broken)


@pytest.mark.parametrize("package", ["derivations", "numerics"])
def test_every_file_imports(package):
    """Doctests of a file that does not import are skipped; that may be for want of an optional library, and nothing else."""
    missing = []
    for file in (f for f in HOUSE if f.package == package and not f.name.endswith("__main__")):
        try:
            import_module(file.name)
        except ModuleNotFoundError as error:
            missing.append((error.name or "").split(".")[0])
    assert set(missing) <= OPTIONAL_LIBRARIES


def lines(count: int) -> str:
    return "pass\n" * count


CONTROLS = [
    (off_the_map, [File("derivations.attic", "")]),
    (off_the_map, [File("numerics.attic.box", "")]),
    (against_the_order, [File("derivations.errors", "from derivations.symbols import time")]),
    (against_the_order, [File("derivations.errors", "def f():\n    from derivations import limits")]),
    (against_the_order, [File("derivations.laws.base", "from ..derivation import derive")]),
    (against_the_order, [File("derivations.laws", "from .. import derive", is_package=True)]),
    (against_the_order, [File("derivations.gaussian", "import derivations")]),
    (against_the_order, [File("numerics.plots", "import numerics.report")]),
    (circles, [File("numerics.a", "from numerics import b"), File("numerics.b", "from numerics.a import f")]),
    (circles, [File("a.x", "from .y import f"), File("a.y", "def g():\n    import a.x")]),
    (shadowed, [File("a", "__all__ = ['f']\nfrom a.f import f", is_package=True), File("a.f", "def f(): ...")]),
    (foreign_to_derivations, [File("derivations.sums", "import numpy as np")]),
    (foreign_to_derivations, [File("derivations.sums", "def f():\n    from scipy.special import ive")]),
    (foreign_to_derivations, [File("derivations.derivation", "from numerics import validate")]),
    (foreign_to_derivations, [File("derivations.sums", "import importlib\nimportlib.import_module('numpy')")]),
    (symbolic_off_the_bridge, [File("numerics.paths", "class A:\n    from sympy import Symbol")]),
    (symbolic_off_the_bridge, [File("numerics.flows", "if TYPE_CHECKING:\n    import sympy as sp")]),
    (optional_at_start, [File("numerics", "import rich", is_package=True)]),
    (optional_at_start, [File("numerics.cli", "try:\n    import rich.table\nexcept ImportError:\n    rich = None")]),
    (
        optional_at_start,
        [
            File("numerics", "from numerics.validation import f", is_package=True),
            File("numerics.validation", "from .b import f", is_package=True),
            File("numerics.validation.b", "from matplotlib import pyplot"),
        ],
    ),
    (
        optional_at_start,
        [
            File("numerics.cli", "import numerics.backends.numpy"),
            File("numerics.backends", "import numba", is_package=True),
            File("numerics.backends.numpy", ""),
        ],
    ),
    (statistics_at_start, [File("numerics.paths", "from scipy import special, stats")]),
    (statistics_at_start, [File("numerics.paths", "from scipy.stats import qmc")]),
    (blind_simplification, [File("derivations.limits", "y = simplify(x)")]),
    (blind_simplification, [File("derivations.limits", "y = sp.simplify(x)")]),
    (blind_simplification, [File("derivations.limits", "y = m.applyfunc(sp.simplify)")]),
    (floats, [File("derivations.limits", "half = 0.5")]),
    (floats, [File("derivations.limits", "def f(x=-1e-3): ...")]),
    (unbounded, [File("derivations.limits", 'f = sp.lambdify(x, x**2, "mpmath")')]),
    (unbounded, [File("numerics.paths", 'f = lambdify(x, x**2, modules=[{}, "mpmath"])')]),
    (undocumented, [File("derivations.limits", "def f(x):\n    return x")]),
    (undocumented, [File("numerics.paths", "class Scheme:\n    order = 1")]),
    (too_long, [File("derivations.limits", lines(LONGEST + 1))]),
    (long_winded, [File("a", lines(TYPICAL + 1)), File("b", lines(TYPICAL + 1)), File("c", lines(1)), File("d", "")]),
]


@pytest.mark.parametrize(("rule", "files"), CONTROLS, ids=lambda v: getattr(v, "__name__", "control"))
def test_rule_rejects_its_control(rule, files):
    assert rule(files)


def test_every_rule_has_a_control():
    assert {rule for rule, _ in RULES} == {rule for rule, _ in CONTROLS}


ALLOWED = [
    (against_the_order, [File("derivations.laws.base", "from .cauchy import f\nfrom ..errors import NoLimit")]),
    (against_the_order, [File("numerics.special", "from derivations import derive")]),
    (against_the_order, [File("derivations", "from derivations.derivation import derive", is_package=True)]),
    (circles, [File("a", "from a.x import f", is_package=True), File("a.x", "from a.y import g"), File("a.y", "")]),
    (shadowed, [File("a", "__all__ = ['f']\nfrom a import f", is_package=True), File("a.f", "def g(): ...")]),
    (foreign_to_derivations, [File("derivations.sums", "import json\nimport sympy as sp\nfrom mpmath import mp")]),
    (
        symbolic_off_the_bridge,
        [File("numerics.backends.jax", "import sympy"), File("numerics.compile", "import sympy")],
    ),
    (
        optional_at_start,
        [File("numerics.cli", "def f():\n    import numerics.plots"), File("numerics.plots", "import rich")],
    ),
    (optional_at_start, [File("numerics", "if TYPE_CHECKING:\n    import jax", is_package=True)]),
    (blind_simplification, [File("derivations.limits", 'x = sp.cancel(y)  # not simplify()\n"""simplify(x)"""')]),
    (floats, [File("derivations.limits", '"""0.5"""\nx = sp.Rational(1, 2)')]),
    (unbounded, [File("numerics.paths", 'f = sp.lambdify(x, x**2, "numpy")')]),
    (undocumented, [File("derivations.limits", 'def _f(): ...\ndef g():\n    """Claim."""')]),
    (too_long, [File("derivations.limits", lines(LONGEST))]),
]


@pytest.mark.parametrize(("rule", "files"), ALLOWED, ids=lambda v: getattr(v, "__name__", "allowed"))
def test_rule_accepts_what_it_allows(rule, files):
    assert not rule(files)


# --- the map itself ---


def packages_on_the_map(text: str) -> dict[str, list[str]]:
    """The first column of the table under each package's heading, from top to bottom."""
    sections = re.split(r"^## (.+)$", text, flags=re.MULTILINE)
    by_heading = dict(zip(sections[1::2], sections[2::2], strict=True))
    return {p: re.findall(r"^\| `(\w+)` \|", by_heading.get(p, ""), flags=re.MULTILINE) for p in LAYERS}


def test_map_lists_the_packages_in_the_order_that_is_kept():
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert packages_on_the_map(text) == LAYERS
    assert packages_on_the_map(text.replace("| `limits` |", "| `attic` |")) != LAYERS


@pytest.mark.parametrize("package", LAYERS)
def test_every_package_exists_or_is_planned(package):
    missing = {r for r in LAYERS[package] if not any(f.package == package and f.module == r for f in HOUSE)}
    assert missing == PLANNED[package], f"without a file: {missing}; marked as planned: {PLANNED[package]}"


def packages_marked_planned(text: str) -> set[str]:
    return set(re.findall(r"^\| `(\w+)` \| \(planned\) ", text, flags=re.MULTILINE))


def test_map_marks_what_is_planned():
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert packages_marked_planned(text) == set().union(*PLANNED.values())
    assert packages_marked_planned(text.replace("| `limits` | ", "| `limits` | (planned) ")) != set().union(
        *PLANNED.values()
    )


def test_what_is_started_exists():
    assert set(STARTED) <= {f.name for f in HOUSE}


def misplaced_tests(folders: set[str], packages: set[str]) -> set[str]:
    """Folders of tests that no package of the same path explains."""
    return folders - packages


def test_tests_are_laid_out_as_the_packages_are():
    folders = {str(file.parent.relative_to(ROOT / "tests")) for file in (ROOT / "tests").rglob("test_*.py")} - {
        ".",
        "contracts",
    }
    packages = {str(file.parent.relative_to(ROOT)) for name in LAYERS for file in (ROOT / name).rglob("*.py")}
    assert not misplaced_tests(folders, packages)
    assert misplaced_tests(folders | {"numerics/law"}, packages) == {"numerics/law"}
