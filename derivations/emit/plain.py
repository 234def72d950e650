"""Expressions as readable plain text, with the Greek letters that a terminal can show."""

from __future__ import annotations

import sympy as sp
from sympy.printing.str import StrPrinter

_GREEK = {
    "varphi": "φ",
    "phi": "φ",
    "psi": "ψ",
    r"\varphi'(0)": "φ'(0)",
    r"\varphi''(0)": "φ''(0)",
    "varepsilon": "ε",
    "rho": "ρ",
    "Lambda": "Λ",
    "beta": "β",
    "eta": "η",
    "kappa": "κ",
    "delta": "δ",
    "sigma": "σ",
    "alpha": "α",
    r"\ell": "l",
    r"\Lambda_t": "Λ_t",
}


class PlainPrinter(StrPrinter):
    """SymPy's text printer with Greek letters, intervals with brackets, and pieces in words."""

    def _print_Symbol(self, expr: sp.Symbol) -> str:
        name: str = expr.name
        return _GREEK.get(name, name.replace(r"\ell", "l").replace("{", "").replace("}", ""))

    _print_Dummy = _print_Symbol

    def _print_Function(self, expr: sp.Function) -> str:
        name = expr.func.__name__
        return f"{_GREEK.get(name, name)}({self.stringify(expr.args, ', ')})"

    def _print_Interval(self, expr: sp.Interval) -> str:
        left, right = "(" if expr.left_open else "[", ")" if expr.right_open else "]"
        return f"{left}{self._print(expr.start)}, {self._print(expr.end)}{right}"

    def _print_Reals(self, expr: sp.Set) -> str:
        return "the real line"

    def _print_Piecewise(self, expr: sp.Piecewise) -> str:
        told = [
            f"{self._print(e)} if {self._print(c)}" if c != sp.true else f"{self._print(e)} otherwise"
            for e, c in expr.args
        ]
        return "{" + "; ".join(told) + "}"


def plain(expr: sp.Basic) -> str:
    """One expression as plain text.

    Examples
    --------
    >>> x = sp.Symbol("x", real=True)
    >>> plain(sp.Piecewise((0, x <= 0), (x, True)))
    '{0 if x <= 0; x otherwise}'
    """
    return str(PlainPrinter().doprint(expr))
