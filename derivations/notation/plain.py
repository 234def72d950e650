"""Expressions and sentences as plain text, with the Greek letters that a terminal can show."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, TypeAlias

import sympy as sp
from sympy.printing.precedence import PRECEDENCE
from sympy.printing.str import StrPrinter

from derivations.notation.nodes import Juxtaposed, PatternPrinter, Scripted, Total, said
from derivations.notation.numbers import is_long, short, with_short_number
from derivations.sums import CoordinateSum

#: A sentence: text with mathematics in between.
Words: TypeAlias = tuple[str | sp.Basic, ...]

_NAMES = "alpha beta gamma delta epsilon zeta eta theta kappa mu nu xi rho sigma tau phi chi psi omega"
GREEK = dict(zip(_NAMES.split(), "αβγδεζηθκμνξρστφχψω", strict=True)) | {
    "varepsilon": "ε", "varphi": "φ", "lamda": "λ", "lambda": "λ", "Lambda": "Λ", "Delta": "Δ", "Theta": "Θ", "Sigma": "Σ", "Phi": "Φ", "ell": "l",
}  # fmt: skip


class ShownRoot(sp.Symbol):
    """A root that is text already; it sorts as any symbol does."""

    __slots__ = ()

    @classmethod
    def class_key(cls) -> tuple[int, int, str]:
        """That of a symbol, so that factors keep their order."""
        key: tuple[int, int, str] = sp.Symbol.class_key()
        return key


def under_one_root(product: sp.Mul, shown: Callable[[sp.Expr], str]) -> sp.Expr:
    r"""A product with its square roots of what is positive as one symbol, called as the root of all is shown.

    Examples
    --------
    >>> t, x = sp.symbols("t x", positive=True)
    >>> under_one_root(1 / (x * sp.sqrt(2 * sp.pi * t)), lambda inside: f"sqrt({inside})")
    1/(sqrt(2*pi*t)*x)
    """
    roots = [f for f in product.args if f.is_Pow and abs(f.exp) == sp.S.Half and f.base.is_positive]
    if len(roots) < 2:
        return product
    number = sp.Mul(*(f for f in product.args if f.is_Rational))
    over = [f.base for f in roots if f.exp.is_positive]
    under = [f.base for f in roots if f.exp.is_negative]
    whole = sp.Mul(*(base for base in over if base.is_Integer))
    rest = [f for f in product.args if f not in roots]
    if whole != 1 and number.q != 1 and (number**2 * whole).p == 1 and number > 0:  # sqrt(2)/2 is one over sqrt(2)
        over, under = [base for base in over if not base.is_Integer], [sp.Integer((number**2 * whole).q), *under]
        rest = [f for f in rest if not f.is_Rational]
    if not over:
        return sp.Mul(*rest, 1 / ShownRoot(shown(sp.Mul(*under, evaluate=len(under) == 1)), positive=True))
    inside = sp.Mul(*over) / sp.Mul(*under)
    return sp.Mul(*rest, ShownRoot(shown(inside), positive=True))


class PlainPrinter(PatternPrinter, StrPrinter):
    """SymPy's text printer with Greek letters, intervals with brackets, and pieces in words."""

    _default_settings: ClassVar[dict[str, Any]] = StrPrinter._default_settings | {"state": "X"}
    PATTERNS: ClassVar[Mapping[str, str]] = {
        "Reals": "the real line",
        "Contains": "«0» in «1»",
        "Word": "«0»",
        "DifferentialOf": "d«0»",
        "Rate": "d«0»/d«1»",
        "DerivativeOf": "d/d«1» «0»",
        "Partial": "∂_«0»",
        "Variation": "d[«0», «1»]_«2»",
        "Expectation": "E[«0»«1? | »]",
        "Variance": "Var[«0»«1? | »]",
        "Covariance": "Cov[«0»«1? | »]",
        "ProbabilityOf": "P(«0»)",
        "TransitionDensity": "p_«0»(«1» | «2»)",
        "Distribution": "«0»(«1+»)",
        "Listed": "«0+»",
        "Angled": "<«0»>",
        "Transposed": "«0»ᵀ",
        "Norm": "‖«0»‖",
        "Remainder": "«0»(«1»)",
        "KroneckerDelta": "δ_«0»«1»",
        "EvaluatedAt": "«0» at «1»",
    }

    def parenthesize(self, item: sp.Basic, level: int, strict: bool = False) -> str:
        """A sum over the layer has a bracket of its own; a letter with an upper index gets one in a power."""
        if isinstance(item, sp.Symbol) and "^" in item.name and level >= PRECEDENCE["Pow"]:
            return f"({self._print(item)})"
        return str(self._print(item) if isinstance(item, CoordinateSum) else super().parenthesize(item, level, strict))

    def _print_Symbol(self, expr: sp.Symbol) -> str:
        name = re.sub(r"\{([^{},]*)\}", r"\1", expr.name.replace("\\", ""))
        return re.sub(r"[A-Za-z]+", lambda word: GREEK.get(word[0], word[0]), name)

    _print_Dummy = _print_Symbol

    def _print_ShownRoot(self, expr: ShownRoot) -> str:
        return str(expr.name)

    _print_ShownNumber = _print_ShownRoot

    def _print_Rational(self, expr: sp.Rational) -> str:
        if is_long(expr):
            return ("-" if expr.is_negative else "") + str(short(abs(expr)).name)
        return str(super()._print_Rational(expr))

    def _print_Integer(self, expr: sp.Integer) -> str:
        return self._print_Rational(expr) if is_long(expr) else str(super()._print_Integer(expr))

    def _print_Mul(self, expr: sp.Mul) -> str:
        """Square roots stand together."""
        if not expr.is_Mul:  # a power that prints as a fraction
            return str(super()._print_Mul(expr))
        joined = under_one_root(with_short_number(expr), lambda inside: f"sqrt({self._print(inside)})")
        return str(super()._print_Mul(joined) if joined.is_Mul else self._print(joined))

    def _print_Pow(self, expr: sp.Pow, rational: bool = False) -> str:
        """What is below a line stands there, 1/n**2."""
        if expr.exp.is_Integer and expr.exp < -1:
            return f"1/{self._print(expr.base**-expr.exp)}"
        return str(super()._print_Pow(expr, rational))

    def _print_Function(self, expr: sp.Function) -> str:
        expr = said(expr)
        name = re.sub(r"[A-Za-z]+", lambda word: GREEK.get(word[0], word[0]), expr.func.__name__)
        return f"{name}({self.stringify(expr.args, ', ')})"

    def _print_Relational(self, expr: sp.Rel) -> str:
        level = PRECEDENCE["Relational"]
        sides = (self.parenthesize(side, level) for side in expr.args)
        return f" {'=' if expr.rel_op == '==' else expr.rel_op} ".join(sides)

    def _print_Interval(self, expr: sp.Interval) -> str:
        left, right = "(" if expr.left_open else "[", ")" if expr.right_open else "]"
        return f"{left}{self._print(expr.start)}, {self._print(expr.end)}{right}"

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

    def _indices(self, indices: sp.Tuple) -> str:
        joint = "" if Scripted.are_letters(indices) else ","
        inside = joint.join(self._print(i).replace(" ", "") for i in indices)
        return inside if inside.isalnum() else f"{{{inside}}}"

    def _print_Total(self, expr: Total) -> str:
        body, index, _, more = expr.args
        over = ",".join(map(self._print, (index, *more)))
        return f"Sum_{f'{{{over}}}' if more else over} {self.parenthesize(body, PRECEDENCE['Mul'], strict=True)}"

    def _print_Juxtaposed(self, expr: Juxtaposed) -> str:
        return " ".join(self.parenthesize(a, PRECEDENCE["Mul"], strict=True) for a in expr.args)


def plain(expr: sp.Basic) -> str:
    """One expression as plain text.

    Examples
    --------
    >>> x = sp.Symbol("x", real=True)
    >>> plain(sp.Piecewise((0, x <= 0), (x, True)))
    '{0 if x <= 0; x otherwise}'
    """
    return str(PlainPrinter().doprint(expr))


def lettered(name: str) -> str:
    """A name of a step, or a title, with the letters in it between dollars.

    Examples
    --------
    >>> print(lettered("Law of V"), lettered("ResNet, width n"))
    Law of $V$ ResNet, width $n$
    """
    return re.sub(r"(?<= of )([A-Z])$|(?<=width )(n)\b", r"$\1\2$", name)


def sentence(words: Words) -> str:
    """A sentence as plain text."""
    return "".join(w if isinstance(w, str) else plain(w) for w in words)
