r"""A derivation as data: named steps, each a statement, its lines of mathematics and the reason."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

import sympy as sp

from derivations.emit.plain import plain


@dataclass(frozen=True)
class Glyph:
    r"""A piece of notation that is not an expression, such as :math:`\mathrm{d}X_t`, in LaTeX and in plain text."""

    latex: str
    text: str


Math: TypeAlias = sp.Basic | Glyph


@dataclass(frozen=True)
class Term:
    r"""A coefficient times a unit, e.g. :math:`\sigma(x)` times :math:`\mathrm{d}B_t`; no unit for a plain expression."""

    coefficient: sp.Expr
    unit: Glyph | None = None

    def signed(self, first: bool) -> tuple[str, sp.Expr]:
        """The sign to write before it, none before a positive first term, and the coefficient that is left to write."""
        bare_sum = self.coefficient.is_Add and self.unit is None  # has no bracket that a minus could stand before
        if self.coefficient.could_extract_minus_sign() and not bare_sum:
            return "-" if first else "- ", -self.coefficient
        return "" if first else "+ ", self.coefficient


@dataclass(frozen=True)
class Line:
    """One line of mathematics: left side, relation, and the terms of the right side in the order in which they are to be read."""

    left: Math
    terms: tuple[Term | Glyph, ...]
    relation: str = field(default="=")


#: A sentence: text with expressions and glyphs in between.
Words: TypeAlias = tuple[str | Math, ...]


def words_text(words: Words) -> str:
    """A sentence in plain text."""
    return "".join(w if isinstance(w, str) else w.text if isinstance(w, Glyph) else plain(w) for w in words)


@dataclass(frozen=True)
class Step:
    """One named step of a derivation.

    Parameters
    ----------
    name : str
        A short heading.
    claim : tuple of str, Expr and Glyph
        What is claimed, a sentence.
    lines : tuple of Line
        The mathematics.
    because : tuple of str, Expr and Glyph
        Why it holds.
    """

    name: str
    claim: Words
    lines: tuple[Line, ...]
    because: Words

    @property
    def statement(self) -> str:
        """The claim in plain text."""
        return words_text(self.claim)

    @property
    def reason(self) -> str:
        """The reason in plain text."""
        return words_text(self.because)

    @property
    def expression(self) -> tuple[sp.Basic, ...]:
        """The expressions of the right sides, for further use in SymPy."""
        return tuple(t.coefficient for line in self.lines for t in line.terms if isinstance(t, Term))


def equation(left: Math, right: Math, relation: str = "=") -> Line:
    """A line ``left = right``."""
    return Line(left, (right if isinstance(right, Glyph) else Term(right),), relation)


def differential(name: Glyph, drift: sp.Expr, noise: sp.Expr, brownian: Glyph) -> Line:
    r"""The line :math:`\mathrm{d}X_t = b\,\mathrm{d}t + \sigma\,\mathrm{d}B_t`, in that order, vanishing terms left out."""
    terms = [Term(drift, Glyph(r"\mathrm{d}t", "dt"))] if drift != 0 else []
    if noise != 0 or not terms:
        terms.append(Term(noise, brownian))
    return Line(Glyph(rf"\mathrm{{d}}{name.latex}", f"d{name.text}"), tuple(terms))
