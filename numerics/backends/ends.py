r"""Far out and close to 0, the expansion of a formula stands in for it where its parts overflow, underflow or cancel.

:math:`x/\sqrt{1+x^2}` is 1 at :math:`10^{200}`, but :math:`x^2` is no double there. Each part of one variable is tried at points up to
the ends of the double range on all four sides, towards :math:`\pm\infty` and towards 0 from both. The truth is the expansion
:math:`c_0 t^{p_0} + c_1 t^{p_1} + \dots` of ``derivations.piecewise``, from where it meets the formula, computed with many digits, to
double precision; an exponential that grows or decays is infinite or 0 from some point on. Where the written formula
fails, this takes its place. A side that has no expansion is tried against many digits, and becomes nan from the first
point on at which the formula fails.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Protocol

import sympy as sp
from mpmath import mp
from sympy.printing.codeprinter import PrintMethodNotImplementedError

from derivations.calculus.size import written_size
from derivations.gaussian.node import GaussianMean
from numerics.backends.bridges import FIRST, LAST, bridges
from numerics.backends.cancelling import joined_terms
from numerics.backends.failures import doubts_on, exact, failure, holds, same
from numerics.backends.kinks import Where, guarded_branches
from numerics.backends.many_digits import Function, many_digits
from numerics.backends.removable import grouped, removable_points
from numerics.backends.sides import SIDES, UNKNOWN, Tail, X
from numerics.backends.sizes import may_fail
from numerics.backends.tails import mirrored, smooth_sides, tails_or_joined
from numerics.backends.variables import variables

_MOST_OPERATIONS = 250  # of a formula that is looked at
_OSCILLATING = (sp.sin, sp.cos, sp.tan)


class Naive(Protocol):
    """A target without a look at the ends of the double range."""

    def __hash__(self) -> int: ...

    def written(self, expr: sp.Expr) -> sp.Expr:
        """The formula in the form that is printed."""

    def __call__(self, expr: sp.Expr) -> Function:
        """The function in doubles of a formula in x."""


def safe_ends(expr: sp.Expr, naive: Naive) -> sp.Expr:
    """The formula with its limits at removable points, and with its expansions at the ends of the double range if it fails there.

    Parameters
    ----------
    expr : Expr
    naive : Naive
        The target whose functions in doubles are tried.
    """
    if isinstance(expr, GaussianMean):
        return expr  # whose value is computed in many digits, or by panels of its own
    if len(found := variables(expr)) == 1 and isinstance(expr, sp.Expr) and not expr.has(Where, GaussianMean):
        (variable,) = found
        if variable.is_extended_real and written_size(expr) <= _MOST_OPERATIONS:
            return _mended(expr.xreplace({variable: X}), naive).xreplace({X: variable})
    return _by_parts(expr, naive)


def _by_parts(expr: sp.Expr, naive: Naive) -> sp.Expr:
    """Each part on its own, but terms that cancel; in a sum or product of one variable those that do not oscillate together."""
    if expr.is_Add:
        expr = joined_terms(expr)
    parts = list(grouped(expr))
    steady = [part for part in parts if not part.has(*_OSCILLATING)]
    if (expr.is_Add or expr.is_Mul) and 1 < len(steady) < len(parts):
        parts = [*(part for part in parts if part not in steady), expr.func(*steady)]
    mended = [safe_ends(part, naive) for part in parts]
    return expr if mended == parts else expr.func(*mended)  # what is made anew SymPy may compare and factor again


@lru_cache(maxsize=1024)
def _mended(expr: sp.Expr, naive: Naive) -> sp.Expr:
    inner = removable_points(expr)
    if not may_fail(naive.written(inner), X):
        return inner
    try:
        truth, written = many_digits(expr), naive(inner)
    except (PrintMethodNotImplementedError, KeyError):
        return inner  # a function that is not known in many digits, or not in doubles either
    tails, beyond, unknown = [], [], []
    known: dict[tuple[sp.Expr, bool], list[Tail]] = {}
    for side, part in smooth_sides(expr):
        if not side.infinite and holds(written, truth, side):
            continue
        try:
            found = mirrored(known.get((part, side.infinite), []), side, truth) or tails_or_joined(part, side, truth)
            known[part, side.infinite] = found
        except UNKNOWN:
            unknown.append(side)
            continue
        if failure(written, exact(many_digits(found[0].formula)), side, found[0].t) is not None:
            tails.append(found[0])
            beyond += found[1:]
    doubts = doubts_on(written, expr, truth, unknown)
    if doubts and inner == expr:
        by_parts = _by_parts(expr, naive)
        other = naive(by_parts)
        if by_parts != expr and same(written, other, [side for side in SIDES if side not in {d.side for d in doubts}]):
            left = doubts_on(other, expr, truth, [d.side for d in doubts])
            if sum(d.t for d in left) <= sum(d.t for d in doubts):  # holds as far out
                inner, written, doubts = by_parts, other, left
    mended = [*tails, *doubts]
    between = [piece for towards in (1, -1) for piece in bridges(written, truth, X, towards, _middle(mended, towards))]
    if not mended and not between:
        return inner
    branches = [*between, *_united(mended), *_united(beyond)]  # what is further out takes over from what is nearer
    return _joined(guarded_branches(inner), mended[0].side.at(mended[0].t) if mended else between[0][2], branches)


def _middle(mended: list[Tail], towards: int) -> tuple[int, int]:
    """Binary logarithms of the sizes between which no tail stands in."""
    here = [tail for tail in mended if tail.side.towards == towards]
    return (
        max((int(mp.ceil(mp.log(mp.mpf(t.t.p) / t.t.q, 2))) for t in here if not t.side.infinite), default=FIRST),
        min((int(mp.ceil(-mp.log(mp.mpf(t.t.p) / t.t.q, 2))) for t in here if t.side.infinite), default=LAST),
    )


def _united(tails: list[Tail]) -> list[tuple[sp.Basic, sp.Expr, sp.Rational]]:
    """Conditions, formulas, and points at which they hold; one formula on both sides from the same distance, up to its sign, is one branch."""
    left, found = list(tails), []
    while left:
        tail = left.pop(0)
        condition, formula, t = tail.side.beyond(tail.t), tail.formula, tail.t
        for other in left:
            same = other.formula == formula
            alike = other.side.infinite == tail.side.infinite and other.t == t
            if alike and (same or sp.expand(other.formula + formula) == 0):
                left.remove(other)
                size = sp.Abs(X)
                condition = size > 1 / t if tail.side.infinite else sp.And(size > 0, size < t)
                formula = formula if same else tail.side.towards * sp.sign(X) * formula
                break
        found.append((condition, formula, tail.side.at(t / 2)))
    return found


def _joined(inner: sp.Expr, edge: sp.Rational, branches: list[tuple[sp.Basic, sp.Expr, sp.Rational]]) -> sp.Expr:
    """Each branch computed at its own points only, and the formula at an edge where it is not used."""
    anywhere = sp.Or(*(condition for condition, _, _ in branches))
    inner = inner.xreplace({X: Where(anywhere, edge, X)})
    for condition, formula, inside in branches:
        inner = Where(condition, formula.xreplace({X: Where(condition, X, inside)}), inner)
    return inner
