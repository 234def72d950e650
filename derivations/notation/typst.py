"""A derivation as Typst: lines, steps, documents."""

from __future__ import annotations

import re

from derivations.notation.plain import Words, lettered
from derivations.notation.steps import Line, Step, Term, wrapped
from derivations.notation.typst_formulas import quoted, typst

#: Longest right-hand side, in printed characters, that is left on one line of an A4 page at 10 pt.
LINE_WIDTH = 75
_MARKS = {"=": "=", "~": "tilde.op", "≈": "approx", ":": ":"}


def _term(term: Term, first: bool) -> str:
    return term.printed(first, typst, " thin ")


def line_typst(line: Line) -> str:
    """One line with an alignment mark before the relation, wrapped between terms where it is too long."""
    where = f"{typst(line.where)}: quad " if line.where is not None else ""
    rows = wrapped(line, _term, _printed_width, LINE_WIDTH)
    return " \\\n  & quad ".join([f"{where}{typst(line.left)} &{_MARKS[line.relation]} {rows[0]}", *rows[1:]])


def _printed_width(source: str) -> int:
    """A rough count of the characters that are printed: a name counts one, brackets of indices and fractions nothing."""
    return len(re.sub(r"[\s^_()]|frac|sqrt|lr|thin", "", re.sub(r"(?!frac|sqrt|thin)[a-zA-Z][a-zA-Z.]+", "x", source)))


def sentence(words: Words) -> str:
    """A sentence with its formulas between dollar signs."""
    return "".join(escaped(w) if isinstance(w, str) else f"${typst(w)}$" for w in words)


def step_typst(step: Step) -> str:
    """One step: heading, statement, list, aligned display, reason."""
    parts = [f"== {lettered(escaped(step.name))}", sentence(step.claim)]
    if step.items:
        parts.append("\n".join(f"- {sentence(item)}" for item in step.items))
    if step.lines:
        parts.append("$ " + " \\\n  ".join(map(line_typst, step.lines)) + " $")
    parts.append(f"_Reason._ {sentence(step.because)}")
    return "\n\n".join(parts)


def body(steps: tuple[Step, ...]) -> str:
    """The steps as sections, to paste into a document."""
    return "\n\n".join(map(step_typst, steps))


def document(title: str, steps: tuple[Step, ...]) -> str:
    """A complete Typst document.

    Returns
    -------
    str
        Source for ``typst compile``.
    """
    return (
        f"#set document(title: {quoted(title)})\n"
        '#set page(paper: "a4", margin: 25mm)\n'
        '#set text(font: "New Computer Modern", size: 10pt)\n'
        "#set par(justify: true)\n"
        "#show math.equation: set block(breakable: true)\n"
        f"\n= {lettered(escaped(title))}\n\n{body(steps)}\n"
    )


def escaped(plain: str) -> str:
    """Plain text with the characters that Typst reads as markup made printable."""
    return re.sub(r"[\\#$*_`<>@~\[\]]|//|^[=+-]", lambda mark: "".join(f"\\{c}" for c in mark[0]), plain)
