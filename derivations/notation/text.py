"""A derivation as plain text."""

from __future__ import annotations

import re
import textwrap

from derivations.notation.plain import Words, plain, sentence
from derivations.notation.steps import Line, Step

#: The width of a line of text; formulas are broken between terms.
WIDTH = 80
_INDENT, _FURTHER = " " * 5, " " * 8  # of a formula, and of its lines after the first
_DEEPEST = 20  # brackets inside which a formula is broken
#: Before what it is: signs, what follows a comma or a condition, factors.
_MARKS = tuple(map(re.compile, (r" [+-] ", r"(?<=[,;]) | if ", r"(?<!\*)[*/](?!\*)")))


def line_text(line: Line) -> str:
    """One line of mathematics in SymPy's plain notation."""
    return " ".join(_parts(line))


def _parts(line: Line) -> list[str]:
    where = f"{plain(line.where)}: " if line.where is not None else ""
    head = f"{where}{plain(line.left)}{'' if line.relation == ':' else ' '}{line.relation}"
    return [head, *(term.printed(k == 0, plain) for k, term in enumerate(line.terms))]


def _formula(line: Line) -> list[str]:
    """The lines that one line of mathematics takes: broken between terms, then between the sums inside."""
    rows = [""]
    room = WIDTH - len(_FURTHER)
    for part in _parts(line):
        if not rows[-1] or len(rows[-1]) + len(part) < WIDTH - len(_INDENT):
            rows[-1] = f"{rows[-1]} {part}" if rows[-1] else part
        else:
            rows += broken(part, room)
    first, *rest = [row for part in rows[:1] for row in broken(part, WIDTH - len(_INDENT))] + rows[1:]
    return [_INDENT + first, *(_FURTHER + row for row in rest)]


def broken(formula: str, room: int, level: int = 0, opened: int = 0) -> list[str]:
    """A formula in lines no longer than a room, broken before signs, after commas, then between factors, outside of brackets first.

    Examples
    --------
    >>> broken("f(a + b)*h(x) + g(c - d)", 13)
    ['f(a + b)*h(x)', '+ g(c - d)']
    >>> broken("f(a + b)*h(x) + g(c - d)", 10)
    ['f(a + b)', '*h(x)', '+ g(c - d)']
    """
    if len(formula) <= room or level > len(_MARKS) * _DEEPEST:
        return [formula]
    depth, kind = divmod(level, len(_MARKS))
    pieces, inside, start, outside = [], opened, 0, opened
    for index, char in enumerate(formula):
        inside += (char in "([{") - (char in ")]}")
        if inside == depth and index > start and _MARKS[kind].match(formula, index):
            pieces.append((formula[start:index], outside))
            start, outside = index, inside
    rows: list[str] = []
    for piece, before in (*pieces, (formula[start:], outside)):
        if rows and len(rows[-1]) + len(piece) <= room:
            rows[-1] += piece
        else:
            rows += broken(piece.strip(), room, level + 1, before)
    return rows


def _paragraph(words: Words, mark: str = "", indent: str = "   ") -> list[str]:
    return textwrap.wrap(
        mark + sentence(words),
        WIDTH,
        initial_indent=indent,
        subsequent_indent=indent + " " * (len(mark) if mark == "- " else 0),
        break_long_words=False,
        break_on_hyphens=False,
    )


def step_text(number: int, step: Step) -> str:
    """One numbered step."""
    rows = [f"{number}. {step.name}", *_paragraph(step.claim)]
    rows += [row for item in step.items for row in _paragraph(item, "- ", "     ")]
    rows += [row for line in step.lines for row in _formula(line)]
    return "\n".join([*rows, *_paragraph(step.because, "Because: ")])


def document(title: str, steps: tuple[Step, ...]) -> str:
    """The derivation as plain text."""
    return "\n\n".join([title, *(step_text(k, step) for k, step in enumerate(steps, 1))]) + "\n"
