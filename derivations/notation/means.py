r"""Gaussian means that are met more than once are said once: numbers get a letter, long means of what a page is about are functions of it.

So :math:`\mathbb{E}[\phi(u)\phi(v)]` of two coordinates with correlation :math:`\rho` is :math:`\kappa(\rho)` wherever it comes, of whatever
:math:`\rho` is there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import sympy as sp

from derivations.gaussian.node import GaussianMean
from derivations.notation.plain import plain
from derivations.notation.steps import Line, Step, equation
from derivations.sums import CoordinateSum

_NUMBERS, _FUNCTIONS = ("c", "kappa", "eta"), ("kappa", "eta", "h")
_ARGUMENTS = "abdhpqrsv"
_DIGITS = 6
_MOST = 3  # arguments of a function
_LONG = 45  # characters of a mean for which a name is worth while


@dataclass(frozen=True)
class NamedMeans:
    """Letters for numbers, functions for means of what is not a number, and the lines that say them."""

    numbers: dict[sp.Expr, sp.Expr]
    functions: dict[sp.Expr, sp.Expr]
    lines: tuple[Line, ...]

    @classmethod
    def of(cls, lines: Sequence[Line]) -> NamedMeans:
        """Of the means that lines have more than once."""
        taken = {symbol.name.split("_")[0] for line in lines for symbol in _symbols(line)}
        seen = Counter(node for line in lines for node in _outermost(line))
        nodes = [node for node, count in seen.items() if count > 1 and _is_number(node)]
        stem = next((name for name in _NUMBERS if name not in taken), "C")
        numbers = {node: _name(_numbered(stem, k, len(nodes)), node) for k, node in enumerate(nodes, 1)}
        letters = [letter for letter in _ARGUMENTS if letter not in taken]
        shapes = {node: shape for node in seen if not _is_number(node) and (shape := _shape(node, letters)) is not None}
        count = Counter[sp.Expr]()
        for node, shape in shapes.items():
            count[shape[0]] += seen[node]
        often = [mean for mean, times in count.items() if times > 1 and len(plain(mean)) >= _LONG]
        stem = next((name for name in _FUNCTIONS if name not in taken | ({stem} if nodes else set())), "H")
        names = {mean: sp.Function(_numbered(stem, k, len(often)), real=True) for k, mean in enumerate(often, 1)}
        functions = {node: names[mean](*values) for node, (mean, _, values) in shapes.items() if mean in names}
        arguments = {mean: symbols for mean, symbols, _ in shapes.values()}
        said = [line for node, name in numbers.items() for line in _definition(name, node)]
        said += [equation(name(*arguments[mean]), mean) for mean, name in names.items()]
        return cls(numbers, functions, tuple(said))

    @property
    def rule(self) -> dict[sp.Expr, sp.Expr]:
        """What stands for each mean."""
        return self.functions | self.numbers


def lines_with_named_means(lines: tuple[Line, ...]) -> tuple[Line, ...]:
    """The lines with names for the means that they have more than once, and those that say these."""
    named = NamedMeans.of(lines)
    return (*(line.xreplace(named.rule) for line in lines), *named.lines) if named.lines else lines


def with_named_means(steps: tuple[Step, ...]) -> tuple[Step, ...]:
    """The steps with names for the means that they have more than once, and a step that says these, after what is given."""
    named = NamedMeans.of([line for step in steps for line in step.lines])
    if not named.lines:
        return steps
    kinds = [
        (named.numbers, "number", "Means over a standard Gaussian that are numbers and enter more than once."),
        (
            named.functions,
            "function",
            "Means over Gaussians that enter more than once are written as functions of their covariance.",
        ),
    ]
    what = [f"{word}{'s' * (len(set(_heads(found))) > 1)}" for found, word, _ in kinds if found]
    because = " ".join(why for found, _, why in kinds if found)
    closed = "They have no closed form here" + ("; the value is computed." if named.numbers else ".")
    title = " and ".join(name for (found, *_), name in zip(kinds, ("Constants", "functions"), strict=True) if found)
    said = Step(
        title[0].upper() + title[1:],
        (f"With the {' and the '.join(what)}",),
        named.lines,
        (f"{because} {closed}",),
        is_setting=True,
    )
    given = next(k for k, step in enumerate(steps[1:], 1) if not step.is_setting)
    return (*steps[:given], said, *(step.xreplace(named.rule) for step in steps[given:]))


def _heads(found: dict[sp.Expr, sp.Expr]) -> Iterator[sp.Basic]:
    """The letters, and the functions without their arguments."""
    return (name if name.is_Symbol else name.func for name in found.values())


def _numbered(stem: str, number: int, count: int) -> str:
    return stem if count == 1 else f"{stem}_{number}"


def _name(text: str, node: sp.Expr) -> sp.Symbol:
    return sp.Symbol(text, **({"positive": True} if node.evalf(_DIGITS).is_positive else {"real": True}))


def _outermost(line: Line) -> Iterator[sp.Expr]:
    """The means in a line, the outermost ones."""
    for term in line.terms:
        walk = sp.preorder_traversal(term.coefficient)
        for node in walk:
            if isinstance(node, GaussianMean):
                walk.skip()
                yield node


def _is_number(node: sp.Expr) -> bool:
    """Whether it holds no symbol; a sum over neurons is no number."""
    return not node.free_symbols and not node.has(CoordinateSum)


def _shape(node: sp.Expr, letters: Sequence[str]) -> tuple[sp.Expr, tuple[sp.Symbol, ...], tuple[sp.Expr, ...]] | None:
    """The mean as a function of what is no number in its law, the letters of the arguments, and what they are here."""
    functions = [argument for argument in node.args if isinstance(argument, sp.Lambda)]
    law = [argument for argument in node.args if not isinstance(argument, sp.Lambda)]
    entries = [entry for part in law for entry in (part if isinstance(part, sp.MatrixBase) else (part,))]
    values = tuple(
        dict.fromkeys(e for e in entries if (isinstance(e, sp.Expr) and not e.is_number) or e.has(CoordinateSum))
    )
    if (
        not 0 < len(values) <= _MOST
        or any(f.free_symbols for f in functions)
        or any(isinstance(s, sp.Dummy) for v in values for s in v.free_symbols)
    ):
        return None
    alone = len(values) == 1 and {e for e in entries if e not in values} <= {sp.S.Zero, sp.S.One} and len(entries) > 2
    names = ["rho"] if alone else letters[: len(values)]
    kinds = ({"positive": True} if v.is_positive else {"real": True} for v in values)
    symbols = tuple(sp.Symbol(name, **kind) for name, kind in zip(names, kinds, strict=False))
    rule = dict(zip(values, symbols, strict=False))
    parts = [
        a
        if isinstance(a, sp.Lambda)
        else a.applyfunc(lambda e: rule.get(e, e))
        if isinstance(a, sp.MatrixBase)
        else rule.get(a, a)
        for a in node.args
    ]
    mean = node.func(*parts)
    return (mean, symbols, values) if isinstance(mean, type(node)) and len(symbols) == len(values) else None


def _symbols(line: Line) -> set[sp.Symbol]:
    parts = (line.left, *(term.coefficient for term in line.terms))
    return {symbol for part in parts for symbol in part.atoms(sp.Symbol)}


def _definition(name: sp.Symbol, node: sp.Expr) -> tuple[Line, ...]:
    value = node.evalf(_DIGITS)
    exact = equation(name, node)
    return (exact, equation(name, value, "≈")) if value.is_Float else (exact,)
