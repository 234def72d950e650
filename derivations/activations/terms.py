"""The parts of an untrusted formula while it is built: expressions of bounded size, with their values at a few points."""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice

import sympy as sp

from derivations.activations.syntax import refuse, shorten
from derivations.symbols import state

MAX_EXPONENT = 64  # of a power, and of powers of powers together
MAX_BITS = 2048  # of the numerator and the denominator of an exact number
MAX_KINKS = 16  # of abs, max, min, sign, where in the result
MAX_SIZE = 1000  # nodes of the result, in which gelu(u) holds u twice
_HUGE = sp.Integer(10) ** 100

POINTS = tuple(
    sp.Float(sp.Rational(p, q), 30)
    for p, q in [(0, 1), (1, 97), (1, 3), (6, 7), (5, 2), (41, 3), (1000, 3), (10**6, 3), (10**12, 3)]
    for p in sorted({p, -p})
)


#: In place of a value that is real, and too large or too small to be worked with.
UNKNOWN = sp.oo
_KINKS = (sp.Max, sp.Min, sp.Abs, sp.sign, sp.Heaviside, sp.Piecewise)
_PARTIAL = (sp.log, sp.asin, sp.acos, sp.acosh, sp.atanh)
# what SymPy raises on formulas that make no sense, e.g. when a comparison meets nan inside an assumption
_FAILURES = (ArithmeticError, ValueError, TypeError, NotImplementedError, RecursionError)


@dataclass(frozen=True)
class Term:
    """A part of the formula.

    Attributes
    ----------
    expr : Expr
        What SymPy makes of it, which may have values where the text has none: it cancels.
    values : tuple of Expr
        The values of the text at the points, ``nan`` where it has none and ``UNKNOWN`` where they are of no moderate size; one for all points
        where the text has no variable.
    degree : Expr
        In powers of the variable.
    asked : frozenset of Expr
        Parts of the expressions so far that have no value somewhere, as roots and quotients.
    """

    expr: sp.Expr
    values: tuple[sp.Expr, ...]
    degree: sp.Expr = sp.S.Zero
    asked: frozenset[sp.Expr] = frozenset()

    @property
    def constant(self) -> sp.Expr:
        """The value of a part from which the variable has cancelled, as from x/x, which has none at a single point."""
        return self.expr if self.expr.is_Rational else next(v for v in self.values if v not in (sp.nan, UNKNOWN))


def number(node: ast.Constant, text: str) -> Term:
    """The exact number that stands in the text."""
    # a decimal is read from its text, and so exactly; but its size is looked at first in the rounded number that
    # Python made of it, since the exact 1e-999999999 has as many digits
    value, source = node.value, ast.get_source_segment(text, node) or ""
    zero = value == 0 and not re.search(r"[1-9]", re.split("[eE]", source)[0])
    if not zero and not 1 / _HUGE**2 < value < _HUGE**2:
        refuse(
            f"the number {shorten(source)} is too large or too small", "use numbers between 1e-100 and 1e100 in size"
        )
    exact = sp.S.Zero if zero else sp.Rational(source) if isinstance(value, float) else sp.Integer(value)
    return combine(node, lambda: exact)


def power(node: ast.expr, base: Term, exponent: Term) -> Term:
    """A power, whose degree and digits are bounded before it is built."""
    if exponent.expr.has(state):
        if base.expr.is_zero:
            refuse(
                f"{shorten(ast.unparse(node))} is 0, 1 or infinite, by the sign of the exponent",
                "write its cases with where",
            )
        return combine(node, operator.pow, base, exponent)
    size = sp.ceiling(abs(exponent.constant))
    # the power of a rational number multiplies its digits, that of a formula its degree
    bits = size * _bits(base.expr) if base.expr.is_Rational else sp.S.Zero
    degree = max(sp.S.One, size) * base.degree
    if size > MAX_EXPONENT or degree > MAX_EXPONENT or bits > MAX_BITS:
        refuse(
            f"the power {shorten(ast.unparse(node))} is too large",
            f"keep exponents, powers of powers together, within {MAX_EXPONENT}, exact numbers within {MAX_BITS} bits",
        )
    return combine(node, operator.pow, base, exponent, degree=degree)


def _bits(number: sp.Rational) -> int:
    return max(int(number.p).bit_length(), int(number.q).bit_length())


def combine(
    node: ast.expr,
    build: Callable[..., sp.Expr],
    *terms: Term,
    degree: sp.Expr | None = None,
    partial: bool = False,
    asks: sp.Expr = sp.S.One,
) -> Term:
    """Apply a function to terms: first to their values, and only if that makes sense to their expressions.

    A ``partial`` function may have a value where one of its arguments has none, as a choice between two branches. What it ``asks`` must have a
    value too, and may cancel at once.
    """
    count = max((len(term.values) for term in terms), default=1)
    rows = zip(*(term.values * (count // len(term.values)) for term in terms), strict=True) if terms else ((),)
    values = tuple(value_of(build, row, partial) for row in rows)
    if all(value in (sp.nan, UNKNOWN) for value in values):
        refuse(
            f"{shorten(ast.unparse(node))} is at every point tried complex, infinite, or not between 1e-100 and 1e100 in size",
            "write a formula with real values of moderate size",
        )
    try:
        expr = build(*(term.expr for term in terms))
    except _FAILURES:
        refuse(f"{shorten(ast.unparse(node))} cannot be built", "write it in another way")
    if expr.has(sp.I, sp.nan, sp.zoo, sp.oo, -sp.oo):
        refuse(f"{shorten(ast.unparse(node))} is complex or infinite", "write a formula with real values")
    parts = list(islice(sp.preorder_traversal(expr), MAX_SIZE + 1))
    if len(parts) > MAX_SIZE or sum(isinstance(part, _KINKS) for part in parts) > MAX_KINKS:
        refuse(f"{shorten(ast.unparse(node))} is too large when written out", "nest fewer functions")
    if any(_bits(part) > MAX_BITS for part in parts if part.is_Rational):
        refuse("an exact number has too many digits", f"keep numbers within {MAX_BITS} bits")
    if expr.is_Rational:  # stays exact, so that a power of it is a power with an exact exponent
        values = tuple(value if value in (sp.nan, UNKNOWN) else expr for value in values)
    inside = (*parts, *sp.preorder_traversal(asks))
    asked = frozenset(part for part in inside if is_partial(part)).union(*(term.asked for term in terms))
    return Term(
        expr, values, max((term.degree for term in terms), default=sp.S.Zero) if degree is None else degree, asked
    )


def is_partial(part: sp.Expr) -> bool:
    """Whether a node, without what is inside of it, may have no value on an interval."""
    if part.is_Pow:
        total = part.base.is_positive if part.base.is_number else part.exp.is_Integer and part.exp >= 0
        return not total and part.has(state)
    return isinstance(part, _PARTIAL) and part.has(state)


def value_of(build: Callable[..., sp.Expr], arguments: tuple[sp.Expr, ...], partial: bool = False) -> sp.Expr:
    """A value as a real number of moderate size, ``UNKNOWN``, or ``nan``."""
    if not partial and sp.nan in arguments:
        return sp.nan
    if not partial and UNKNOWN in arguments:
        return UNKNOWN
    try:
        value = sp.N(build(*arguments), 30)  # never an exact integer, with which 2**(10**99) would be worked out
    except _FAILURES:
        return sp.nan if sp.nan in arguments else UNKNOWN
    if value.is_zero:
        return sp.S.Zero
    if value in (sp.oo, -sp.oo):  # beyond the largest exponent
        return UNKNOWN
    if not value.is_Float or value.is_finite is False:
        return sp.nan
    return value if 1 / _HUGE <= abs(value) <= _HUGE else UNKNOWN
