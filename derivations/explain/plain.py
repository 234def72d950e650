"""Expressions and sentences as plain text, with the Greek letters that a terminal can show."""

from __future__ import annotations

import re
from typing import TypeAlias

import sympy as sp
from sympy.printing.precedence import PRECEDENCE
from sympy.printing.str import StrPrinter

from derivations.explain.notation import (
    Angled,
    DerivativeOf,
    DifferentialOf,
    Distribution,
    EvaluatedAt,
    Juxtaposed,
    Norm,
    Partial,
    ProbabilityOf,
    Rate,
    Remainder,
    Scripted,
    Statistic,
    Total,
    TransitionDensity,
    Transposed,
    Variation,
    Word,
)
from derivations.sums import CoordinateSum

#: A sentence: text with mathematics in between.
Words: TypeAlias = tuple[str | sp.Basic, ...]

_NAMES = "alpha beta gamma delta epsilon zeta eta theta kappa mu nu xi rho sigma tau phi chi psi omega"
GREEK = dict(zip(_NAMES.split(), "αβγδεζηθκμνξρστφχψω", strict=True)) | {
    "varepsilon": "ε", "varphi": "φ", "lamda": "λ", "lambda": "λ", "Lambda": "Λ", "Delta": "Δ", "Theta": "Θ", "Sigma": "Σ", "ell": "l",
}  # fmt: skip


class PlainPrinter(StrPrinter):
    """SymPy's text printer with Greek letters, intervals with brackets, and pieces in words."""

    def parenthesize(self, item: sp.Basic, level: int, strict: bool = False) -> str:
        """A sum over the layer has a bracket of its own."""
        return str(self._print(item) if isinstance(item, CoordinateSum) else super().parenthesize(item, level, strict))

    def _print_Symbol(self, expr: sp.Symbol) -> str:
        name = re.sub(r"[\\{}]", "", expr.name)
        return re.sub(r"[A-Za-z]+", lambda word: GREEK.get(word[0], word[0]), name)

    _print_Dummy = _print_Symbol

    def _print_Function(self, expr: sp.Function) -> str:
        name = re.sub(r"[A-Za-z]+", lambda word: GREEK.get(word[0], word[0]), expr.func.__name__)
        return f"{name}({self.stringify(expr.args, ', ')})"

    def _print_Relational(self, expr: sp.Rel) -> str:
        level = PRECEDENCE["Relational"]
        sides = (self.parenthesize(side, level) for side in expr.args)
        return f" {'=' if expr.rel_op == '==' else expr.rel_op} ".join(sides)

    def _print_Interval(self, expr: sp.Interval) -> str:
        left, right = "(" if expr.left_open else "[", ")" if expr.right_open else "]"
        return f"{left}{self._print(expr.start)}, {self._print(expr.end)}{right}"

    def _print_Reals(self, expr: sp.Set) -> str:
        return "the real line"

    def _print_Contains(self, expr: sp.Contains) -> str:
        return f"{self._print(expr.args[0])} in {self._print(expr.args[1])}"

    def _print_Piecewise(self, expr: sp.Piecewise) -> str:
        cases = [
            f"{self._print(e)} if {self._print(c)}" if c != sp.true else f"{self._print(e)} otherwise"
            for e, c in expr.args
        ]
        return "{" + "; ".join(cases) + "}"

    def _print_MatrixBase(self, expr: sp.Matrix) -> str:
        return f"[{', '.join('[' + ', '.join(map(self._print, row)) + ']' for row in expr.tolist())}]"

    def _print_Integral(self, expr: sp.Integral) -> str:
        body: str = self.parenthesize(expr.function, PRECEDENCE["Add"], strict=True)
        for variable, *ends in reversed(expr.limits):
            bounds = (
                "_{}^{}".format(*(self.parenthesize(end, PRECEDENCE["Atom"], strict=True) for end in ends))
                if ends
                else ""
            )
            body = f"∫{bounds} {body} d{self._print(variable)}"
        return body

    # notation

    def _listed(self, items: sp.Tuple) -> str:
        return ", ".join(map(self._print, items))

    def _print_Word(self, expr: Word) -> str:
        return str(expr.args[0])

    def _print_Scripted(self, expr: Scripted) -> str:
        stem, lower, upper = expr.args
        text: str = self._print(stem)
        for mark, indices in (("_", lower), ("^", upper)):
            if indices:
                joint = "" if Scripted.are_letters(indices) else ","
                inside = joint.join(self._print(i).replace(" ", "") for i in indices)
                text += mark + (inside if inside.isalnum() else f"{{{inside}}}")
        return text

    def _print_DifferentialOf(self, expr: DifferentialOf) -> str:
        return f"d{self._print(expr.args[0])}"

    def _print_Rate(self, expr: Rate) -> str:
        return "/".join(f"d{self._print(a)}" for a in expr.args)

    def _print_DerivativeOf(self, expr: DerivativeOf) -> str:
        return f"d/d{self._print(expr.args[1])} {self._print(expr.args[0])}"

    def _print_Partial(self, expr: Partial) -> str:
        return f"∂_{self._print(expr.args[0])}"

    def _print_Variation(self, expr: Variation) -> str:
        first, second, at = map(self._print, expr.args)
        return f"d[{first}, {second}]_{at}"

    def _print_Statistic(self, expr: Statistic) -> str:
        operator, of, given = expr.args
        return f"{operator}[{self._listed(of)}{' | ' + self._listed(given) if given else ''}]"

    def _print_ProbabilityOf(self, expr: ProbabilityOf) -> str:
        return f"P({self._print(expr.args[0])})"

    def _print_TransitionDensity(self, expr: TransitionDensity) -> str:
        at, x, start = map(self._print, expr.args)
        return f"p_{at}({x} | {start})"

    def _print_Distribution(self, expr: Distribution) -> str:
        name, *parameters = expr.args
        return f"{name}({', '.join(map(self._print, parameters))})"

    def _print_Total(self, expr: Total) -> str:
        body, index, _, more = expr.args
        over = ", ".join(map(self._print, (index, *more)))
        return f"Sum_{over} {self.parenthesize(body, PRECEDENCE['Mul'], strict=True)}"

    def _print_Juxtaposed(self, expr: Juxtaposed) -> str:
        return " ".join(self.parenthesize(a, PRECEDENCE["Mul"], strict=True) for a in expr.args)

    def _print_Angled(self, expr: Angled) -> str:
        return f"<{self._print(expr.args[0])}>"

    def _print_Transposed(self, expr: Transposed) -> str:
        return f"{self._print(expr.args[0])}ᵀ"

    def _print_Norm(self, expr: Norm) -> str:
        return f"‖{self._print(expr.args[0])}‖"

    def _print_Remainder(self, expr: Remainder) -> str:
        return f"{expr.args[0]}({self._print(expr.args[1])})"

    def _print_EvaluatedAt(self, expr: EvaluatedAt) -> str:
        return f"{self._print(expr.args[0])} at {self._print(expr.args[1])}"


def plain(expr: sp.Basic) -> str:
    """One expression as plain text.

    Examples
    --------
    >>> x = sp.Symbol("x", real=True)
    >>> plain(sp.Piecewise((0, x <= 0), (x, True)))
    '{0 if x <= 0; x otherwise}'
    """
    return str(PlainPrinter().doprint(expr))


def sentence(words: Words) -> str:
    """A sentence as plain text."""
    return "".join(w if isinstance(w, str) else plain(w) for w in words)
