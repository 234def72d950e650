r"""A derivation as data: named steps, each a statement, its lines of mathematics, a list and the reason."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import sympy as sp

from derivations.notation.nodes import DifferentialOf, Notation, Scripted
from derivations.notation.plain import Words, plain, sentence
from derivations.symbols import time


@dataclass(frozen=True)
class Term:
    r"""A coefficient times a unit, e.g. :math:`\sigma(x)` times :math:`\mathrm{d}B_t`; no unit for a plain expression."""

    coefficient: sp.Expr
    unit: sp.Expr | None = None

    def signed(self, first: bool) -> tuple[str, sp.Expr]:
        """The sign to write before it, none before a positive first term, and the coefficient that is left to write."""
        bare_sum = self.coefficient.is_Add and self.unit is None  # has no bracket that a minus could stand before
        if self.coefficient.could_extract_minus_sign() and not bare_sum:
            return "-" if first else "- ", -self.coefficient
        return "" if first else "+ ", self.coefficient

    def printed(
        self, first: bool, show: Callable[[sp.Basic], str], apart: str = " ", brackets: tuple[str, str] = ("(", ")")
    ) -> str:
        """The term in some format, the first of a line or a later one: how an expression is shown, what stands before a unit, brackets."""
        sign, coefficient = self.signed(first)
        if self.unit is None:
            return sign + show(coefficient)
        if coefficient == 1:
            return sign + show(self.unit)
        opening, closing = brackets if coefficient.is_Add else ("", "")
        return f"{sign}{opening}{show(coefficient)}{closing}{apart}{show(self.unit)}"


#: How the two sides of a line are related.
RELATIONS = ("=", "~", "≈", ":")


def _symbol(*args: sp.Basic) -> sp.Symbol:
    return sp.Symbol(plain(Scripted(*args)), real=True)


@dataclass(frozen=True)
class Line:
    """One line of mathematics.

    Parameters
    ----------
    left : Basic
    terms : tuple of Term
        The right side, in the order in which it is to be read.
    relation : str
        One of ``RELATIONS``.
    where : Basic, optional
        The condition under which it holds.
    """

    left: sp.Basic
    terms: tuple[Term, ...]
    relation: str = field(default="=")
    where: sp.Basic | None = None

    def xreplace(self, rule: Mapping[sp.Basic, sp.Basic]) -> Line:
        """The same with other symbols."""
        terms = tuple(replace(term, coefficient=term.coefficient.xreplace(rule)) for term in self.terms)
        where = None if self.where is None else self.where.xreplace(rule)
        return replace(self, left=self.left.xreplace(rule), terms=terms, where=where)

    @property
    def expressions(self) -> tuple[sp.Expr, ...]:
        """The coefficients that SymPy can compute with; letters with indices are symbols."""
        found = (term.coefficient.replace(Scripted, _symbol) for term in self.terms)
        return tuple(expr for expr in found if not expr.has(Notation))


@dataclass(frozen=True)
class Step:
    """One named step of a derivation.

    Parameters
    ----------
    name : str
        A short heading.
    claim : tuple of str and Basic
        What is claimed, a sentence.
    lines : tuple of Line
        The mathematics.
    because : tuple of str and Basic
        Why it holds.
    items : tuple of sentences
        A list after the claim.
    is_result : bool
        Whether it holds the limit or its law, not what is done on the way.
    is_setting : bool
        Whether it says what is given.
    """

    name: str
    claim: Words
    lines: tuple[Line, ...]
    because: Words
    items: tuple[Words, ...] = ()
    is_result: bool = False
    is_setting: bool = False

    def xreplace(self, rule: Mapping[sp.Basic, sp.Basic]) -> Step:
        """The same with other symbols."""

        def words(given: Words) -> Words:
            return tuple(w if isinstance(w, str) else w.xreplace(rule) for w in given)

        return replace(
            self,
            claim=words(self.claim),
            lines=tuple(line.xreplace(rule) for line in self.lines),
            because=words(self.because),
            items=tuple(map(words, self.items)),
        )

    @property
    def statement(self) -> str:
        """The claim in plain text."""
        return sentence(self.claim)

    @property
    def reason(self) -> str:
        """The reason in plain text."""
        return sentence(self.because)

    @property
    def expression(self) -> tuple[sp.Basic, ...]:
        """The expressions of the right sides, for further use in SymPy; without those that are notation."""
        return tuple(e for line in self.lines for e in line.expressions)


def result(name: str, claim: Words, lines: tuple[Line, ...], because: Words) -> Step:
    """A step that holds the limit or its law."""
    return Step(name, claim, lines, because, is_result=True)


def wrapped(line: Line, shown: Callable[[Term, bool], str], width: Callable[[str], int], longest: int) -> list[str]:
    """The right side of a line in rows, broken between terms and, where a term alone is too long, between those of a sum in it.

    Parameters
    ----------
    line : Line
    shown : callable
        A term in some format, the first of a line or a later one.
    width : callable
        How wide its source is printed.
    longest : int
        Of a row.
    """
    terms: list[Term] = []
    for term in line.terms:
        outside, whole = _longest_sum(term.coefficient)
        opened = whole.is_Add and width(shown(term, True)) > longest
        terms += [Term(outside * part, term.unit) for part in whole.as_ordered_terms()] if opened else [term]
    rows = [""]
    for index, term in enumerate(terms):
        piece = shown(term, index == 0)
        if rows[-1] and width(f"{rows[-1]} {piece}") > longest:
            rows.append(piece)
        else:
            rows[-1] = f"{rows[-1]} {piece}".strip()
    return rows


def _longest_sum(coefficient: sp.Expr) -> tuple[sp.Expr, sp.Expr]:
    """A coefficient as a product with the longest sum among its factors."""
    if not isinstance(coefficient, sp.Expr):
        return sp.S.One, sp.S.One
    factors = list(sp.Mul.make_args(coefficient))
    place = max(range(len(factors)), key=lambda k: len(factors[k].args) if factors[k].is_Add else 0)
    return sp.Mul(*factors[:place], *factors[place + 1 :]), factors[place]


def equation(left: sp.Basic, right: sp.Basic, relation: str = "=", where: sp.Basic | None = None) -> Line:
    """A line ``left = right``."""
    return Line(left, (Term(right),), relation, where)


def differential(name: sp.Expr, drift: sp.Expr, noise: sp.Expr, brownian: sp.Expr, at: sp.Symbol = time) -> Line:
    r"""The line :math:`\mathrm{d}X_t = b\,\mathrm{d}t + \sigma\,\mathrm{d}B_t`, in that order, vanishing terms left out."""
    terms = [Term(drift, DifferentialOf(at))] if drift != 0 else []
    if noise != 0 or not terms:
        terms.append(Term(noise, brownian))
    return Line(DifferentialOf(name), tuple(terms))
