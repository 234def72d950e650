r"""A derivation as data: named steps, each a statement, its lines of mathematics, a list and the reason."""

from __future__ import annotations

from dataclasses import dataclass, field

import sympy as sp

from derivations.explain.notation import Differential, Notation
from derivations.explain.plain import Words, sentence
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


#: How the two sides of a line are related.
RELATIONS = ("=", "~", "≈", ":")


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

    @property
    def expressions(self) -> tuple[sp.Expr, ...]:
        """The coefficients that SymPy can compute with."""
        return tuple(term.coefficient for term in self.terms if not term.coefficient.has(Notation))


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
    """

    name: str
    claim: Words
    lines: tuple[Line, ...]
    because: Words
    items: tuple[Words, ...] = ()

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


def equation(left: sp.Basic, right: sp.Basic, relation: str = "=", where: sp.Basic | None = None) -> Line:
    """A line ``left = right``."""
    return Line(left, (Term(right),), relation, where)


def differential(
    name: sp.Expr, drift: sp.Expr, noise: sp.Expr, brownian: sp.Expr, at: sp.Symbol = time
) -> Line:
    r"""The line :math:`\mathrm{d}X_t = b\,\mathrm{d}t + \sigma\,\mathrm{d}B_t`, in that order, vanishing terms left out."""
    terms = [Term(drift, Differential(at))] if drift != 0 else []
    if noise != 0 or not terms:
        terms.append(Term(noise, brownian))
    return Line(Differential(name), tuple(terms))
