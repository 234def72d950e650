"""A derivation as plain text."""

from __future__ import annotations

import textwrap

from derivations.explain.plain import plain, sentence
from derivations.explain.steps import Line, Step, Term, Words

#: The width of a line of text; formulas are broken between terms.
WIDTH = 80


def line_text(line: Line) -> str:
    """One line of mathematics in SymPy's plain notation."""
    return " ".join(_parts(line))


def _parts(line: Line) -> list[str]:
    where = f"{plain(line.where)}: " if line.where is not None else ""
    head = f"{where}{plain(line.left)}{'' if line.relation == ':' else ' '}{line.relation}"
    return [head, *(_term(term, k == 0) for k, term in enumerate(line.terms))]


def _term(term: Term, first: bool) -> str:
    sign, coefficient = term.signed(first)
    if term.unit is None:
        return f"{sign}{plain(coefficient)}"
    unit = plain(term.unit)
    if coefficient == 1:
        return f"{sign}{unit}"
    body = f"({plain(coefficient)})" if coefficient.is_Add else plain(coefficient)
    return f"{sign}{body} {unit}"


def _formula(line: Line) -> list[str]:
    """The lines that one line of mathematics takes, broken between terms."""
    rows, indent = [""], 7
    for part in _parts(line):
        if rows[-1] and len(rows[-1]) + len(part) + 1 > WIDTH - indent:
            rows.append(f"    {part}")
        else:
            rows[-1] = f"{rows[-1]} {part}" if rows[-1] else part
    return [" " * indent + row for row in rows]


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
    heading = textwrap.wrap(title, WIDTH, break_long_words=False)
    return "\n\n".join(["\n".join(heading), *(step_text(k, step) for k, step in enumerate(steps, 1))]) + "\n"
