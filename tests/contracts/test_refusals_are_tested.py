"""Every refusal of the packages has words that a test holds: a new one without a test fails here."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
#: Caught where they are raised, by what asks: no user meets them.
INSIDE = {"Unknown", "Unsupported", "Spent", "Cancelled", "AssertionError", "TooLarge"}
#: Known to be met by no input that was tried, or caught; each with why it stands.
LEFT = {
    "derivations/decimals.py: digits do not give": "as many digits as mpmath asks for always do",
    "derivations/diffusion/equation.py: text is never evaluated": "taken up two lines below",
    "derivations/gaussian/terms.py: no closed Gaussian integral is known with the argument": "the mean stays as it is",
    "derivations/laws/half_line.py: the coordinate reaches both ends": "the law of an interval comes before",
    "derivations/laws/radial.py: the coordinate covers (": "the singular point of a potential is an end",
    "derivations/laws/radial.py: the radial Ornstein–Uhlenbeck process has a pull": "without one it is a Bessel process",
    "derivations/limits/elimination/matrix_rules.py: the parameters move in one direction; follow one tangent with parameters=True": "its caller",
    "numerics/backends/ends.py: not known by these digits": "taken up where it is called",
    "numerics/special/scalar.py: scipy.special.cython_special exports no": "of another SciPy",
}
_RUN, _LEAST = 3, 10  # words in a row, and letters, by which a message is known


def words_of_tests() -> str:
    """The tests as one line, without what parts and escapes literals."""
    text = " ".join(path.read_text() for path in sorted((ROOT / "tests").rglob("*.py")) if path != Path(__file__))
    return re.sub(r"\s+", " ", re.sub(r'"\s*[rf]*"', "", text.replace("\\", "")))


def runs(part: str) -> list[str]:
    """Words in a row; none of a single word."""
    words = part.split()
    return [" ".join(words[i : i + _RUN]) for i in range(max(1, len(words) - _RUN + 1))] if len(words) > 1 else []


def refusals() -> Iterator[tuple[str, list[str]]]:
    """Where each refusal stands, and the literal parts of its message that are long enough."""
    for package in ("derivations", "numerics"):
        for path in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if not isinstance(node, ast.Raise) or node.exc is None:
                    continue
                call = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
                if isinstance(call, ast.Name) and call.id in INSIDE:
                    continue
                parts = [
                    n.value for n in ast.walk(node.exc) if isinstance(n, ast.Constant) and isinstance(n.value, str)
                ]
                if parts := [part for part in map(str.strip, parts) if any(len(run) >= _LEAST for run in runs(part))]:
                    yield f"{path.relative_to(ROOT)}: {parts[0]}", parts


def is_known(parts: list[str], text: str) -> bool:
    return any(len(run) >= _LEAST and run in text for part in parts for run in runs(part))


def test_every_refusal_has_words_in_a_test():
    text = words_of_tests()
    missing = {where for where, parts in refusals() if not is_known(parts, text)}
    assert missing == set(LEFT)


def test_a_message_without_a_test_is_seen():
    assert not is_known(["no test holds" + " these words at all"], words_of_tests())
    assert is_known(["holds no neurons to compute with"], words_of_tests())
