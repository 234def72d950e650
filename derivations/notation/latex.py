r"""A derivation as LaTeX: expressions, lines, steps, documents."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, ClassVar

import sympy as sp
from sympy.core.function import AppliedUndef
from sympy.printing.latex import LatexPrinter
from sympy.printing.precedence import PRECEDENCE

from derivations.notation.abbreviated import Abbreviations
from derivations.notation.nodes import Juxtaposed, PatternPrinter, Total, Word, said, without_questions
from derivations.notation.numbers import ShownNumber, is_long, short, with_short_number
from derivations.notation.plain import GREEK, Words, lettered, under_one_root
from derivations.notation.steps import Line, Step, Term, wrapped
from derivations.notation.typeset import INDENT, PAGE, fits, size_of, typeset_width
from derivations.sums import CoordinateSum

#: Most lines of a display that is kept on one page.
LONGEST = 12

_RELATIONS = {"=": "=", "~": r"\sim", "≈": r"\approx", ":": ":"}
_SIGNS = {
    "∞": r"\infty",
    "≤": r"\le",
    "≥": r"\ge",
    "≠": r"\ne",
    "≈": r"\approx",
    "√": r"\surd",
    "∫": r"\int",
    "²": "^2",
    "−": "-",
}


class Printer(PatternPrinter, LatexPrinter):
    r"""SymPy's printer with the notation of the field: :math:`\log`, :math:`\Phi`, fractions that do not explode."""

    INDICES = ("{", "}", " ", ", ")
    _default_settings: ClassVar[dict[str, Any]] = LatexPrinter._default_settings | {"state": "X"}
    PATTERNS: ClassVar[Mapping[str, str]] = {
        "DifferentialOf": r"\mathrm{d}«0»",
        "Rate": r"\mathrm{d}«0»/\mathrm{d}«1»",
        "DerivativeOf": r"\frac{\mathrm{d}}{\mathrm{d}«1»}«0»",
        "Partial": r"\partial_{«0»}",
        "Variation": r"\mathrm{d}[«0», «1»]_{«2»}",
        "Expectation": r"\mathbb{E}[«0»«1? \mid »]",
        "Variance": r"\mathrm{Var}[«0»«1? \mid »]",
        "Covariance": r"\mathrm{Cov}[«0»«1? \mid »]",
        "ProbabilityOf": "P(«0»)",
        "TransitionDensity": r"p_{«0»}(«1» \mid «2»)",
        "Distribution": r"«0»\left(«1+»\right)",
        "Listed": "«0+»",
        "Angled": r"\left\langle «0» \right\rangle",
        "Transposed": r"«0»^\top",
        "Norm": r"\|«0»\|",
        "Remainder": "«0»(«1»)",
        "EvaluatedAt": r"\left.«0»\right|_{«1»}",
    }

    def __init__(self) -> None:
        super().__init__(
            {
                "ln_notation": False,
                "fold_short_frac": False,
                "mul_symbol": None,
                "diff_operator": "rd",
                "inv_trig_style": "full",
            }
        )

    def _print_ExpBase(self, expr: sp.exp, exp: str | None = None) -> str:
        r"""A tall exponent stands beside :math:`\exp`, not above the line."""
        if (function := said(expr)) != expr:
            return str(self._print_Function(function, exp))
        argument = expr.args[0]
        if exp is None and sp.count_ops(argument) > 4:
            return rf"\exp\left({self._print(argument)}\right)"
        return str(super()._print_ExpBase(expr, exp))

    def _needs_mul_brackets(self, expr: sp.Expr, first: bool = False, last: bool = False) -> bool:
        """A sum over the layer reaches to the end of a product."""
        if isinstance(expr, CoordinateSum) and not expr.counts and not last:
            return True
        return bool(super()._needs_mul_brackets(expr, first, last))

    def _print_Mul(self, expr: sp.Mul) -> str:
        """Square roots stand together."""
        if not expr.is_Mul:  # a power that prints as a fraction
            return str(super()._print_Mul(expr))
        joined = under_one_root(with_short_number(expr), lambda inside: rf"\sqrt{{{self._print(inside)}}}")
        return str(super()._print_Mul(without_questions(joined)) if joined.is_Mul else self._print(joined))

    def _print_Pow(self, expr: sp.Pow) -> str:
        r"""A power of a function without a value is :math:`\varphi(x)^2`, not :math:`\varphi^2(x)`."""
        if isinstance(expr.base, AppliedUndef) and expr.exp.is_Rational and expr.exp > 0 and expr.exp.is_Integer:
            return f"{self._print(expr.base)}^{{{self._print(expr.exp)}}}"
        return str(super()._print_Pow(expr))

    def _print_ShownNumber(self, expr: ShownNumber) -> str:
        mantissa, _, power = expr.name.replace("…", r"\ldots ").partition("e")
        return rf"{mantissa}\cdot 10^{{{power}}}" if power else mantissa

    def _print_Rational(self, expr: sp.Rational) -> str:
        if is_long(expr):
            return ("-" if expr.is_negative else "") + str(self._print(short(abs(expr))))
        return str(super()._print_Rational(expr))

    # notation

    def _print_Str(self, expr: sp.Basic) -> str:
        return expr.name if len(expr.name) == 1 else rf"\mathrm{{{expr.name}}}"

    def _print_Word(self, expr: Word) -> str:
        said = str(expr.args[0])
        return rf"\mathrm{{{said}}}" if len(said) == 1 and said.isascii() else rf"\text{{{escaped(said)}}}"

    def _print_Total(self, expr: Total) -> str:
        with_filter = r"\sum_{«1» \le «2», «3» \in T} «0:Mul»"
        return self._filled(with_filter if expr.args[3] else r"\sum_{«1»=1}^{«2»} «0:Mul»", expr)

    def _print_Juxtaposed(self, expr: Juxtaposed) -> str:
        return r"\,".join(self.parenthesize(a, PRECEDENCE["Mul"], strict=True) for a in expr.args)


def latex(expr: sp.Basic) -> str:
    r"""One expression or piece of notation as LaTeX.

    Examples
    --------
    >>> import sympy as sp
    >>> latex(sp.sqrt(sp.Symbol("x", positive=True)))
    '\\sqrt{x}'
    """
    return str(Printer().doprint(expr))


def _term(term: Term, first: bool) -> str:
    return term.printed(first, latex, r"\,", (r"\left(", r"\right)"))


@lru_cache(maxsize=256)
def line_rows(line: Line) -> tuple[str, str, list[str]]:
    """The left side of a line, its relation, and the rows of its right side."""
    where = rf"{latex(line.where)}:\quad " if line.where is not None else ""
    left = where + latex(line.left)
    room = max(PAGE - typeset_width(left) - INDENT, PAGE // 2)
    return left, _RELATIONS[line.relation], wrapped(line, _term, typeset_width, room)


def line_latex(line: Line) -> str:
    """One line with an alignment mark before the relation, wrapped between terms where it is too long."""
    return _laid_out(*line_rows(line))


def _laid_out(left: str, relation: str, rows: list[str]) -> str:
    return " \\\\\n  &\\quad ".join([f"{left} &{relation} {rows[0]}", *rows[1:]])


def sentence(words: Words) -> str:
    """A sentence with its formulas between dollar signs."""
    return "".join(escaped(w) if isinstance(w, str) else f"${latex(w)}$" for w in words)


def aligned(lines: tuple[Line, ...]) -> str:
    r"""Lines in one ``aligned`` environment, for a display of any kind."""
    return _aligned(" \\\\\n".join(line_latex(line) for line in lines))


def _aligned(rows: str) -> str:
    return f"\\begin{{aligned}}\n{rows}\n\\end{{aligned}}"


def display(lines: tuple[Line, ...]) -> str:
    """Lines as a display between dollars, as notebooks want them."""
    return f"$\\displaystyle {aligned(lines)}$"


def labels(steps: tuple[Step, ...], label: str) -> tuple[str, ...]:
    """A label for the equations of each step, made of its name, and of a number where a name comes again."""
    names = [re.sub(r"[^a-z0-9]+", "-", step.name.lower()).strip("-") for step in steps]
    before = [names[:k].count(name) for k, name in enumerate(names)]
    return tuple(f"{label}:{name}{f'-{k + 1}' if k else ''}" for name, k in zip(names, before, strict=True))


def step_latex(step: Step, label: str) -> str:
    """One step: heading, statement, list, a numbered display, reason."""
    parts = [rf"\paragraph{{{heading(step.name)}.}} {sentence(step.claim)}"]
    if step.items:
        items = "\n".join(rf"\item {sentence(item)}" for item in step.items)
        parts.append(f"\\begin{{itemize}}\n{items}\n\\end{{itemize}}")
    if step.lines:
        parts.append(numbered(step.lines, label))
    parts.append(rf"\emph{{Reason.}} {sentence(step.because)}")
    return "\n".join(parts)


def numbered(lines: tuple[Line, ...], label: str) -> str:
    """Lines as one display with a number and a label, in smaller type where a row that cannot be broken is wider than a page."""
    parts = [line_rows(line) for line in lines]
    rows = " \\\\\n".join(_laid_out(*part) for part in parts)
    if sum(len(right) for *_, right in parts) > LONGEST:  # an aligned block does not break over pages
        unnumbered = rows.replace(" \\\\\n", " \\notag \\\\\n")
        display = f"\\begin{{align}}\n{unnumbered} \\label{{{label}}}\n\\end{{align}}"
    else:
        display = f"\\begin{{equation}}\\label{{{label}}}\n{_aligned(rows)}\n\\end{{equation}}"
    size = size_of([(left, right) for left, _, right in parts])
    return f"{{{size}\n{display}}}" if size else display


def fitting(steps: tuple[Step, ...]) -> tuple[Step, ...]:
    """The steps with letters for parts of formulas that are wider than a page."""

    def wide(lines: tuple[Line, ...]) -> list[Line]:
        rows = list(map(line_rows, lines))
        widest = max((left for left, *_ in rows), key=typeset_width, default="")
        return [line for line, (*_, right) in zip(lines, rows, strict=True) if not fits([(widest, right)])]

    return Abbreviations(steps, lambda part: typeset_width(latex(part)), wide).fitting()


def body(steps: tuple[Step, ...], label: str = "eq") -> str:
    """The steps as paragraphs and displays, to paste into a document with amsmath and amssymb."""
    return "\n\n".join(map(step_latex, fitting(steps), labels(steps, label)))


def document(title: str, steps: tuple[Step, ...]) -> str:
    """A complete LaTeX document, needing amsmath and amssymb only.

    Returns
    -------
    str
        Source for pdflatex.
    """
    return (
        "\\documentclass[10pt,a4paper]{article}\n"
        "\\usepackage[utf8]{inputenc}\n"
        "\\usepackage[margin=25mm]{geometry}\n"
        "\\usepackage{amsmath,amssymb}\n"
        "\\setlength{\\parindent}{0pt}\n"
        "\\setlength{\\emergencystretch}{3em}\n"
        "\\allowdisplaybreaks\n"
        f"\\title{{{heading(title)}}}\n\\author{{}}\n\\date{{}}\n"
        "\\begin{document}\n\\maketitle\n\n"
        f"{body(steps)}\n\n\\end{{document}}\n"
    )


def heading(name: str) -> str:
    """A name of a step, or a title, with its letters as mathematics."""
    return lettered(escaped(name))


def escaped(plain: str) -> str:
    """Plain text with the characters that LaTeX reads as commands made printable."""
    table = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    table |= {c: f"${c}$" for c in "<>|"} | {
        c: rf"$\{name}$" for name, c in GREEK.items() if name not in ("ell", "lamda")
    }
    table |= {c: f"${source}$" for c, source in _SIGNS.items()}
    shown = "".join(table.get(c, f"\\{c}" if c in "#$%&_{}" else c) for c in plain)
    return re.sub(r"(?<!\*)\*(?=[^*\s])", r"*\\allowbreak{}", shown)  # a formula in a sentence is one long word
