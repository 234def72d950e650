"""A derivation as plain text and as JSON."""

from __future__ import annotations

import json
import textwrap

import sympy as sp

from derivations.emit.latex import latex, line_latex
from derivations.emit.plain import plain
from derivations.emit.steps import Glyph, Line, Math, Step, Term


def _text(expr: Math) -> str:
    return expr.text if isinstance(expr, Glyph) else plain(expr)


def _term(term: Term | Glyph, first: bool) -> str:
    if isinstance(term, Glyph):
        return term.text if first else f"+ {term.text}"
    sign, coefficient = term.signed(first)
    if term.unit is None:
        return f"{sign}{plain(coefficient)}"
    if coefficient == 1:
        return f"{sign}{term.unit.text}"
    body = f"({plain(coefficient)})" if coefficient.is_Add else plain(coefficient)
    return f"{sign}{body} {term.unit.text}"


def line_text(line: Line) -> str:
    """One line of mathematics in SymPy's plain notation."""
    relation = {r"\sim": "~", r"\to": "->", r"\mapsto": "|->", r"\ne": "!=", r"\approx": "≈"}.get(
        line.relation, line.relation
    )
    return f"{_text(line.left)} {relation} " + " ".join(_term(t, k == 0) for k, t in enumerate(line.terms))


def step_text(number: int, step: Step) -> str:
    """One numbered step."""
    lines = [
        f"{number}. {step.name}",
        *textwrap.wrap(step.statement, 110, initial_indent="   ", subsequent_indent="   "),
    ]
    lines += [f"       {line_text(line)}" for line in step.lines]
    lines += textwrap.wrap(f"Because: {step.reason}", 110, initial_indent="   ", subsequent_indent="   ")
    return "\n".join(lines)


def text(title: str, steps: tuple[Step, ...]) -> str:
    """The derivation as plain text."""
    return "\n\n".join([title, *(step_text(k, step) for k, step in enumerate(steps, 1))]) + "\n"


def to_json(title: str, steps: tuple[Step, ...]) -> str:
    """The derivation as JSON: every step with its LaTeX, its text and the SymPy source of its expressions."""
    rows = [
        {
            "name": step.name,
            "statement": step.statement,
            "reason": step.reason,
            "lines": [
                {
                    "latex": line_latex(line),
                    "text": line_text(line),
                    "left": latex(line.left),
                    "sympy": [sp.srepr(t.coefficient) for t in line.terms if isinstance(t, Term)],
                }
                for line in step.lines
            ],
        }
        for step in steps
    ]
    return json.dumps({"title": title, "steps": rows}, indent=2, ensure_ascii=False) + "\n"
