r"""Printing: expressions, lines and steps as LaTeX, aligned and wrapped."""

from __future__ import annotations

import sympy as sp
from sympy.printing.latex import LatexPrinter

from derivations.emit.steps import Glyph, Line, Math, Step, Term, Words

#: Longest right-hand side, in printed characters, that is left on one line of an A4 page at 10 pt.
LINE_WIDTH = 75


class Printer(LatexPrinter):
    r"""SymPy's printer with the notation of the field: :math:`\log`, :math:`\Phi`, fractions that do not explode."""

    def __init__(self) -> None:
        super().__init__({"ln_notation": False, "fold_short_frac": False, "mul_symbol": None})

    def _print_ExpBase(self, expr: sp.exp, exp: str | None = None) -> str:
        r"""A tall exponent stands beside :math:`\exp`, not above the line."""
        argument = expr.args[0]
        if exp is None and sp.count_ops(argument) > 4:
            return rf"\exp\left({self._print(argument)}\right)"
        return str(super()._print_ExpBase(expr, exp))


def latex(expr: Math) -> str:
    r"""One expression or glyph as LaTeX.

    Examples
    --------
    >>> import sympy as sp
    >>> latex(sp.sqrt(sp.Symbol("x", positive=True)))
    '\\sqrt{x}'
    """
    return expr.latex if isinstance(expr, Glyph) else str(Printer().doprint(expr))


def _term(term: Term | Glyph, first: bool) -> str:
    if isinstance(term, Glyph):
        return term.latex if first else f"+ {term.latex}"
    sign, coefficient = term.signed(first)
    if term.unit is None:
        return sign + latex(coefficient)
    if coefficient == 1:
        return sign + term.unit.latex
    body = latex(coefficient)
    if coefficient.is_Add:
        body = rf"\left({body}\right)"
    return rf"{sign}{body}\,{term.unit.latex}"


def _split(line: Line) -> list[Term | Glyph]:
    """Open a lone long sum into its terms, so that it can be wrapped."""
    if len(line.terms) == 1 and isinstance(line.terms[0], Term) and line.terms[0].unit is None:
        whole = line.terms[0].coefficient
        if whole.is_Add and printed_width(latex(whole)) > LINE_WIDTH:
            return [Term(part) for part in whole.as_ordered_terms()]
    return list(line.terms)


def printed_width(source: str) -> int:
    """A rough count of the characters that a LaTeX source prints: commands count one, braces nothing."""
    width, index = 0, 0
    while index < len(source):
        if source[index] == "\\":
            end = index + 1
            while end < len(source) and source[end].isalpha():
                end += 1
            name = source[index + 1 : end]
            width += (
                0
                if name in {"left", "right", "frac", "mathrm", "operatorname", "quad"}
                else 3
                if name in {"log", "exp"}
                else 1
            )
            index = max(end, index + 2)
            continue
        width += source[index] not in "{}^_ &"
        index += 1
    return width


def line_latex(line: Line) -> str:
    """One line with an alignment mark before the relation, wrapped between terms where it is too long."""
    rows: list[str] = []
    current = ""
    for index, term in enumerate(_split(line)):
        piece = _term(term, index == 0)
        if current and printed_width(f"{current} {piece}") > LINE_WIDTH:
            rows.append(current)
            current = piece
        else:
            current = f"{current} {piece}".strip()
    rows.append(current)
    head = f"{latex(line.left)} &{line.relation} {rows[0]}"
    return " \\\\\n  &\\quad ".join([head, *rows[1:]])


def words_latex(words: Words) -> str:
    """A sentence with its formulas between dollar signs."""
    return "".join(escaped(w) if isinstance(w, str) else f"${latex(w)}$" for w in words)


def step_latex(step: Step) -> str:
    """One step: heading, statement, aligned display, reason."""
    display = " \\\\\n".join(line_latex(line) for line in step.lines)
    parts = [rf"\paragraph{{{step.name}.}} {words_latex(step.claim)}"]
    if step.lines:
        parts.append("\\begin{equation*}\n\\begin{aligned}\n" + display + "\n\\end{aligned}\n\\end{equation*}")
    parts.append(rf"\emph{{Reason.}} {words_latex(step.because)}")
    return "\n".join(parts)


def aligned(lines: tuple[Line, ...]) -> str:
    r"""Lines in one ``aligned`` environment, for a display of any kind."""
    return "\\begin{aligned}\n" + " \\\\\n".join(line_latex(line) for line in lines) + "\n\\end{aligned}"


def document(title: str, steps: tuple[Step, ...]) -> str:
    """A complete LaTeX document, needing amsmath and amssymb only.

    Returns
    -------
    str
        Source for pdflatex.
    """
    body = "\n\n".join(step_latex(step) for step in steps)
    return (
        "\\documentclass[10pt,a4paper]{article}\n"
        "\\usepackage[utf8]{inputenc}\n"
        "\\usepackage[margin=25mm]{geometry}\n"
        "\\usepackage{amsmath,amssymb}\n"
        "\\setlength{\\parindent}{0pt}\n"
        "\\setlength{\\emergencystretch}{3em}\n"
        "\\allowdisplaybreaks\n"
        f"\\title{{{title}}}\n\\author{{}}\n\\date{{}}\n"
        "\\begin{document}\n\\maketitle\n\n"
        f"{body}\n\n\\end{{document}}\n"
    )


def escaped(plain: str) -> str:
    """Plain text with the characters that LaTeX reads as commands made printable."""
    table = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    table |= {c: f"${c}$" for c in "<>|"}
    return "".join(table.get(c, f"\\{c}" if c in "#$%&_{}" else c) for c in plain)
