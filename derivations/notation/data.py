"""A derivation as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import sympy as sp

from derivations.notation.latex import latex, line_latex
from derivations.notation.plain import sentence
from derivations.notation.steps import Step
from derivations.notation.text import line_text


def document(title: str, steps: tuple[Step, ...], more: Mapping[str, Any] | None = None) -> str:
    """The derivation as JSON: every step with its text, and of each line the LaTeX, the text and the SymPy source of its expressions.

    Parameters
    ----------
    title : str
    steps : tuple of Step
    more : mapping, optional
        What the result is made of, beside its steps.
    """
    rows = [
        {
            "name": step.name,
            "statement": step.statement,
            "items": [sentence(item) for item in step.items],
            "reason": step.reason,
            "lines": [
                {
                    "latex": line_latex(line),
                    "text": line_text(line),
                    "left": latex(line.left),
                    "sympy": [sp.srepr(expr) for expr in line.expressions],
                }
                for line in step.lines
            ],
        }
        for step in steps
    ]
    return json.dumps({"title": title, **(more or {}), "steps": rows}, indent=2, ensure_ascii=False) + "\n"
