r"""Lines that are wider than a page: parts of their formulas get a letter, and a line that says what it stands for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import sympy as sp

from derivations.notation.nodes import Juxtaposed, Notation, Total
from derivations.notation.steps import Line, Step, equation
from derivations.piecewise.cases import Encloses

#: Letters that may stand for parts, and most of them in one display.
_LETTERS, _MOST = "wghqr", 40
#: The share of its line, in percent, that a part may be wide; the least width for which a letter is worth while, and that of a letter.
_SHARE, _LEAST, _LETTER = 70, 200, 130


@dataclass
class Abbreviations:
    """Parts with their letters, the same one wherever a part comes again.

    Parameters
    ----------
    steps : tuple of Step
        Whose own letters are not used.
    width : callable
        Of an expression on the page.
    wide : callable
        The lines of a display that do not fit on a page.
    """

    steps: tuple[Step, ...]
    width: Callable[[sp.Basic], int]
    wide: Callable[[tuple[Line, ...]], list[Line]]
    found: dict[sp.Expr, sp.Symbol] = field(default_factory=dict)

    def fitting(self) -> tuple[Step, ...]:
        """The steps, in which as many parts have a letter as it needs for lines to fit."""
        return tuple(replace(step, lines=self._lines(step.lines)) for step in self.steps)

    def _lines(self, lines: tuple[Line, ...]) -> tuple[Line, ...]:
        shown, meant = list(lines), list[Line]()
        while (wide := self.wide((*shown, *meant))) and len(meant) < _MOST:
            part = self._widest(wide)
            if part is None:
                break
            rule = {part: self._letter(part)}
            shown, meant = ([line.xreplace(rule) for line in every] for every in (shown, meant))
            meant.append(equation(rule[part], part))
        return (*shown, *meant)

    def _widest(self, wide: list[Line]) -> sp.Expr | None:
        """The part by whose letter most room is won: wide itself, or there many times."""
        count = Counter(p for line in wide for term in line.terms for p in _parts(term.coefficient))
        most = max(self.width(term.coefficient) for line in wide for term in line.terms) * _SHARE // 100
        widths = {part: self.width(part) for part in count}
        # a sum under a root or a product cannot be broken into rows, and can in a line of its own
        sums = [part for part, width in widths.items() if part.is_Add and width > max(most, _LEAST)]
        if sums:
            return max(sums, key=lambda p: (widths[p], sp.default_sort_key(p)))
        worth = [part for part, width in widths.items() if _LEAST <= width <= most]
        return max(worth, key=lambda p: (count[p] * (widths[p] - _LETTER), sp.default_sort_key(p)), default=None)

    def _letter(self, part: sp.Expr) -> sp.Symbol:
        if part not in self.found:
            name = f"{self._stem()}_{len(self.found) + 1}"
            sign = {"positive": True} if part.is_positive else {"real": True}
            self.found[part] = sp.Symbol(name, **sign)
        return self.found[part]

    def _stem(self) -> str:
        """A letter that nothing on the page is called."""
        lines = [line for step in self.steps for line in step.lines]
        used = {
            s.name.split("_")[0] for line in lines for term in line.terms for s in term.coefficient.atoms(sp.Symbol)
        }
        used |= {s.name.split("_")[0] for line in lines for s in line.left.atoms(sp.Symbol)}
        return next((stem for stem in _LETTERS if stem not in used), _LETTERS[0] + "'")


def _parts(expr: sp.Basic, bound: frozenset[sp.Basic] = frozenset()) -> Iterator[sp.Expr]:
    """The formulas in a formula that hold nothing that is bound around them: no index of a sum, and no dummy."""
    if isinstance(expr, Total):
        bound |= {expr.args[1], *expr.args[3].args}
    elif isinstance(expr, sp.Lambda):
        bound |= {*expr.variables}
    for part in expr.args:
        if isinstance(part, Total | Juxtaposed | sp.Lambda):  # a function is no formula, and nodes keep theirs
            yield from _parts(part, bound)
        elif part.args and not isinstance(part, Notation):
            if isinstance(part, sp.Expr) and not part.is_Matrix and not _is_inverse(part) and _is_free(part, bound):
                yield part
            yield from _parts(part, bound)


def _is_free(expr: sp.Expr, bound: frozenset[sp.Basic]) -> bool:
    """Whether it depends on something, and on nothing that is bound outside."""
    symbols = expr.free_symbols
    depends = bool(symbols) or bool(expr.atoms(Encloses))  # a sum over the neurons binds the state that it is of
    return depends and not symbols & bound and not any(isinstance(symbol, sp.Dummy) for symbol in symbols)


def _is_inverse(expr: sp.Expr) -> bool:
    """Whether it is written under a fraction's line, or with a minus sign."""
    return (expr.is_Pow and bool(expr.exp.is_negative)) or (expr.is_Mul and bool(expr.args[0].is_negative))
