"""Gaussian means that are numbers get a letter, where they are met more than once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import sympy as sp

from derivations.gaussian.node import GaussianMean
from derivations.notation.steps import Line, Step, equation
from derivations.sums import CoordinateSum

_LETTERS = ("c", "kappa", "eta")
_DIGITS = 6


def with_named_constants(steps: tuple[Step, ...]) -> tuple[Step, ...]:
    """The steps with a letter for each mean that is a number and is met twice, and a step that says these with their values, after what is given."""
    seen = Counter(node for step in steps for line in step.lines for node in _means(line))
    nodes = [node for node, count in seen.items() if count > 1]
    if not nodes:
        return steps
    taken = {symbol.name.split("_")[0] for step in steps for line in step.lines for symbol in _symbols(line)}
    stem = next((name for name in _LETTERS if name not in taken), "C")
    names = {node: _name(stem if len(nodes) == 1 else f"{stem}_{k}", node) for k, node in enumerate(nodes, 1)}
    lines = tuple(line for node, name in names.items() for line in _definition(name, node))
    because = "Means over a standard Gaussian that are numbers and enter more than once. They have no closed form here; the value is computed."
    said = Step(
        "Constants", ("With the numbers" if len(nodes) > 1 else "With the number",), lines, (because,), is_setting=True
    )
    given = next(k for k, step in enumerate(steps[1:], 1) if not step.is_setting)
    return (*steps[:given], said, *(step.xreplace(names) for step in steps[given:]))


def _name(text: str, node: sp.Expr) -> sp.Symbol:
    return sp.Symbol(text, **({"positive": True} if node.evalf(_DIGITS).is_positive else {"real": True}))


def _means(line: Line) -> Iterator[sp.Expr]:
    """The means in a line that hold no symbol, the outermost ones."""
    for term in line.terms:
        walk = sp.preorder_traversal(term.coefficient)
        for node in walk:
            if isinstance(node, GaussianMean):
                walk.skip()
                if not node.free_symbols and not node.has(CoordinateSum):  # a sum over neurons is no number
                    yield node


def _symbols(line: Line) -> set[sp.Symbol]:
    parts = (line.left, *(term.coefficient for term in line.terms))
    return {symbol for part in parts for symbol in part.atoms(sp.Symbol)}


def _definition(name: sp.Symbol, node: sp.Expr) -> tuple[Line, ...]:
    value = node.evalf(_DIGITS)
    exact = equation(name, node)
    return (exact, equation(name, value, "≈")) if value.is_Float else (exact,)
