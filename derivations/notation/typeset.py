r"""How wide LaTeX sets a formula, in tenths of a point at 10 pt: an estimate, which chooses the size of displays that cannot be broken."""

from __future__ import annotations

import re

#: Of a page of A4 with margins of 25 mm, less what an estimate may be off.
PAGE = 4280
#: What relation and indentation of later rows take.
INDENT = 240
#: Sizes of type, and the thousandths of the usual width that are left of a formula: smaller letters are wider for their height.
SIZES = (("", 1000), ("\\small", 925), ("\\footnotesize", 860), ("\\scriptsize", 790))

_TOKEN = re.compile(r"\\[A-Za-z]+|\\.|\s+|.", re.DOTALL)
_NAMES = {"quad": 100, "infty": 100, "sum": 144, "int": 100, "mid": 83, "left": 30, "right": 30, "mathrm": 0, "text": 0}
_NAMES |= {
    "ldots": 117,
    "mathbb": 15,
    "operatorname": 17,
    "notag": 0,
    "cdot": 72,
    "le": 133,
    "wedge": 111,
    "sim": 133,
    "approx": 133,
}
_SPELT = frozenset(
    {"log", "exp", "sin", "cos", "tan", "sinh", "cosh", "tanh", "arcsin", "arccos", "arctan", "min", "max"}
)
_SCRIPT, _LETTER, _CAPITAL, _DIGIT, _RELATION, _BAR = 72, 58, 76, 50, 122, 40


def typeset_width(source: str, display: bool = True) -> int:
    r"""The width of a formula in display style, or as inside of a fraction, where a sum has its limits beside it.

    Examples
    --------
    >>> typeset_width(r"\frac{x + y}{z}") < typeset_width("x + y + z")
    True
    """
    tokens = [token for token in _TOKEN.findall(source) if not token.isspace()]
    width, at = 0, 0
    while at < len(tokens):
        wide, at = _atom(tokens, at, display)
        scripts, stacked = [], display and tokens[at - 1] == "\\sum"
        while at < len(tokens) and tokens[at] in "^_":
            inner, at = _group(tokens, at + 1)
            share = 100 if "\\begin" in inner else _SCRIPT  # a matrix is as large in an index as elsewhere
            scripts.append(share * typeset_width(inner, display=False) // 100)
        width += max([wide, *scripts]) if stacked else wide + max(scripts, default=0)
    return width


def _atom(tokens: list[str], at: int, display: bool) -> tuple[int, int]:
    """The width of what begins here, and where it ends."""
    token, at = tokens[at], at + 1
    if token == "{":
        inner, at = _group(tokens, at - 1)
        return typeset_width(inner, display), at
    if token == "\\frac":
        above, at = _group(tokens, at)
        below, at = _group(tokens, at)
        return max(typeset_width(part, display=False) for part in (above, below)) + 24, at
    if token == "\\sqrt":
        inner, at = _group(tokens, at)
        return typeset_width(inner, display) + 90, at
    if token == "\\begin":
        return _environment(tokens, at)
    if token.startswith("\\"):
        name = token[1:]
        return (17 if not name.isalpha() else _NAMES.get(name, 52 * len(name) + 20 if name in _SPELT else 62)), at
    kinds = (
        (token.isupper(), _CAPITAL),
        (token.isalpha(), _LETTER),
        (token.isdigit(), _DIGIT),
        (token in "+-=<>", _RELATION),
        (token in "&}", 0),
    )
    return next((width for holds, width in kinds if holds), _BAR), at


def _environment(tokens: list[str], at: int) -> tuple[int, int]:
    """Cases or a matrix: their columns, brackets and gaps."""
    _, at = _group(tokens, at)
    depth, start = 1, at
    while depth and at < len(tokens):
        depth += {"\\begin": 1, "\\end": -1}.get(tokens[at], 0)
        at += 1
    columns, column, cell, level = dict[int, int](), 0, list[str](), 0
    for token in [*tokens[start : at - 1], "\\\\"]:
        level += {"\\begin": 1, "\\end": -1, "{": 1, "}": -1}.get(token, 0)
        if level or token not in ("&", "\\\\"):
            cell.append(token)
            continue
        columns[column] = max(columns.get(column, 0), typeset_width(_joined(cell), display=False))
        column, cell = column + 1 if token == "&" else 0, []
    _, at = _group(tokens, at)
    return sum(columns.values()) + 100 * (len(columns) - 1) + 90, at


def _group(tokens: list[str], at: int) -> tuple[str, int]:
    """What stands between braces here, or the one token, and where it ends."""
    if at >= len(tokens) or tokens[at] != "{":
        return _joined(tokens[at : at + 1]), at + 1
    depth, start = 1, at + 1
    at = start
    while depth and at < len(tokens):
        depth += {"{": 1, "}": -1}.get(tokens[at], 0)
        at += 1
    return _joined(tokens[start : at - 1]), at


def _joined(tokens: list[str]) -> str:
    return " ".join(tokens)


def size_of(rows: list[tuple[str, list[str]]]) -> str:
    r"""The command for the size in which a display fits on a page: nothing, ``\\small``, …; the smallest if none does.

    Parameters
    ----------
    rows : list of pairs
        Of each line its left side, and the rows of its right side.
    """
    whole = _whole(rows)
    return next((name for name, share in SIZES if share * whole <= 1000 * PAGE), SIZES[-1][0])


def fits(rows: list[tuple[str, list[str]]]) -> bool:
    """Whether a display fits on a page in the smallest size."""
    return SIZES[-1][1] * _whole(rows) <= 1000 * PAGE


def _whole(rows: list[tuple[str, list[str]]]) -> int:
    left = max(typeset_width(side) for side, _ in rows)
    return left + INDENT + max(typeset_width(row) for _, side in rows for row in side)
