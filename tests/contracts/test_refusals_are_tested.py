"""Every refusal of the packages has words that a test holds: a new one without a test fails here."""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
#: Caught where they are raised, by what asks, or a protocol of Python or SymPy: no user reads them.
INSIDE = {"Unknown", "Unsupported", "Spent", "Cancelled", "AssertionError", "TooLarge", "ArgumentIndexError"}
#: Refusals whose words come from elsewhere: how they are made, and a message of theirs that a test holds; none where it is taken up.
PASSED_ON = {
    "derivations/activations/syntax.py: UnsafeExpression(f'{cause}; {advice}')": "unknown word 'rellu'; close names",
    "derivations/activations/text.py: UnsafeExpression(str(error))": "two arguments",
    "derivations/calculus/exits.py: NoClosedForm(otherwise)": None,
    "derivations/entries.py: AttributeError(self.name)": None,
    "derivations/errors.py: DerivationError(f'{what} must be {expected}, got {shown(value)}')": "must be a recipe",
    "derivations/exponents/found.py: NoLimit(self.why)": None,
    "derivations/interchange.py: ValueError(value)": None,
    "derivations/interchange.py: ValueError(found)": None,
    "derivations/language/text.py: UnsafeExpression(f'{cause}; {advice}')": "unknown word",
    "derivations/language/text.py: UnsafeExpression(f'{cause} in {where}; {advice}')": "unknown word",
    "derivations/laws/recognition.py: NoFamilyFits(form, tuple(reasons))": None,
    "derivations/limits/depth.py: DependentNoises(str(error))": None,
    "derivations/limits/elimination/homogeneous.py: NotHomogeneous(factor)": None,
    "numerics/cli/destination.py: ValueError(f'{cause}; {hint}, got {out}' if path.suffix else f'{hint}, got {out}')": "must end in",
    "numerics/compile/expression.py: TypeError(f'expected {len(self.arguments)} arguments {self.arguments}, got {len(values)}')": "expected 2 arguments",
    "numerics/given.py: ValueError(f'{name} must be {rule.expected}, got {shown(given[name])}')": "must be a",
    "numerics/report/start.py: ValueError(f'{name} must be {rule.expected}, got {shown(value)}')": "must be a",
    "numerics/pytorch/draws.py: ValueError(f'{name}: {error}')": None,
    "numerics/pytorch/graph.py: Unread(f'{error}{asks}')": None,
    "numerics/pytorch/graph.py: ValueError(f'{with_kind(self.block, node.target)}: {error}')": None,
    "numerics/pytorch/guards.py: ValueError(f\"{with_kind(block, name.rpartition('.')[0])}: its {name.rpartition('.')[2]} {reason}\")": None,
    "numerics/pytorch/rules.py: ValueError(reason)": None,
    "numerics/validation/catalogue.py: ModuleNotFoundError(f'{left_out[0].name} needs {needed}; {how_to_install(needed)}', name=needed)": None,
}
#: Words of several kinds that one call of ``unknown`` is given in turn.
IN_TURN = {
    "derivations/activations/text.py": ("unknown parameter of elu",),
    "derivations/architectures/attention.py": ("unknown kind", "unknown scale"),
    "derivations/architectures/branch.py": ("unknown norm", "unknown place"),
    "derivations/exponents/found.py": ("unknown exponent", "unknown size"),
    "derivations/exponents/at_point.py": ("unknown rule", "unknown parametrization"),
    "derivations/language/text.py": ("unknown option of the matrix", "unknown option of"),
}
_RUN, _LEAST = 3, 10  # words in a row, and letters, by which a message is known


@cache
def words_of_tests() -> str:
    """The tests as one line, without what parts and escapes literals."""
    text = " ".join(path.read_text() for path in sorted((ROOT / "tests").rglob("*.py")) if path != Path(__file__))
    return re.sub(r"\s+", " ", re.sub(r'"\s*[rf]*"', "", text.replace("\\", "")))


def runs(part: str) -> list[str]:
    """Words in a row; none of a single word."""
    words = part.split()
    return [" ".join(words[i : i + _RUN]) for i in range(max(1, len(words) - _RUN + 1))] if len(words) > 1 else []


@cache
def modules() -> dict[str, ast.Module]:
    """The packages' files, read."""
    paths = [path for package in ("derivations", "numerics") for path in sorted((ROOT / package).rglob("*.py"))]
    return {path.relative_to(ROOT).as_posix(): ast.parse(path.read_text()) for path in paths}


def name_of(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


@cache
def errors() -> frozenset[str]:
    """What can be raised, warnings apart: Python's exceptions and the packages' own."""
    kinds = {n for n, kind in vars(builtins).items() if isinstance(kind, type) and issubclass(kind, BaseException)}
    classes = [node for tree in modules().values() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    while own := {c.name for c in classes if c.name not in kinds and kinds & {name_of(b) for b in c.bases}}:
        kinds |= own
    return frozenset(kind for kind in kinds if not kind.endswith("Warning"))


@cache
def constants() -> dict[str, list[str]]:
    """The literals of each constant of text, by its name."""
    found: dict[str, list[str]] = {}
    for tree in modules().values():
        for node in ast.walk(tree):
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
            if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Constant | ast.JoinedStr):
                for target in targets:
                    found.setdefault(name_of(target), []).extend(literals(node.value))
    return found


def literals(node: ast.AST) -> list[str]:
    return [part.value for part in ast.walk(node) if isinstance(part, ast.Constant) and isinstance(part.value, str)]


def parts_of(call: ast.Call) -> list[str]:
    """The texts of a message, those of constants too."""
    given = ast.Tuple([*call.args, *(option.value for option in call.keywords)], ast.Load())
    named = [name_of(node) for node in ast.walk(given) if isinstance(node, ast.Name | ast.Attribute)]
    return [
        *literals(given),
        *(text for name in named if name.isupper() or name == "pending" for text in constants().get(name, ())),
    ]


def refusals() -> Iterator[tuple[str, ast.Call]]:
    """Where each error is made, raised at once or handed on to be."""
    for where, tree in modules().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and name_of(node.func) in errors() - INSIDE:
                yield where, node


def is_known(parts: list[str], text: str) -> bool:
    return any(len(run) >= _LEAST and run in text for part in parts for run in runs(part))


def missing(where: str, call: ast.Call) -> str | None:
    """What of a refusal no test holds."""
    text = words_of_tests()
    for asked in ast.walk(call):
        if isinstance(asked, ast.Call) and name_of(asked.func) == "unknown":
            what = asked.args[0]
            wanted = (f"unknown {what.value}",) if isinstance(what, ast.Constant) else IN_TURN[where]
            return next((f"{where}: {words}" for words in wanted if not re.search(rf"{words}\b", text)), None)
    parts = [part for part in map(str.strip, parts_of(call)) if any(len(run) >= _LEAST for run in runs(part))]
    if parts:
        return None if is_known(parts, text) else f"{where}: {parts[0]}"
    made = f"{where}: {ast.unparse(call)}"
    return None if made in PASSED_ON and (PASSED_ON[made] or "") in text else made


def test_every_refusal_has_words_in_a_test():
    assert [what for where, call in refusals() if (what := missing(where, call))] == []


def test_what_is_passed_on_is_still_there():
    made = {f"{where}: {ast.unparse(call)}" for where, call in refusals()}
    assert set(PASSED_ON) <= made


def test_a_message_without_a_test_is_seen():
    def of(source):
        return missing("numerics/given.py", ast.parse(source).body[0].value)

    assert of("ValueError('no test holds' ' these words at" + " all')") is not None
    assert of("ValueError(unknown('shade of " + "green', given, known))") is not None
    assert of("ValueError(reason)") is not None
    assert of("ValueError('holds no neurons to compute with')") is None
    assert of("ValueError(unknown('norm', given, known))") is None
