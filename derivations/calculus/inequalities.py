r"""Whether an inequality follows from others: linear elimination after Fourier and Motzkin, exact and small.

Each product of symbols (or other factor that is no number) is taken for a variable of its own, so that every expression is
linear in these. By the theorem of Farkas and Motzkin, :math:`e > 0` follows from the others iff they contradict
:math:`-e \ge 0`, and elimination of one variable after the other finds the contradiction. Products of two positive
expressions are positive, which reaches some inequalities of second degree; a polynomial in one symbol is also
decided by Sturm's count of its zeros between the bounds that are known of the symbol.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement

import sympy as sp

from derivations.piecewise import Piece

#: Elimination stops, and the answer is "not known", where it would hold more inequalities than this.
_MOST = 200
#: Products of two are formed for so many inequalities at most.
_PAIRED = 6


@dataclass(frozen=True)
class Inequality:
    """``expr > 0`` if strict, else ``expr >= 0``."""

    expr: sp.Expr
    strict: bool


#: Coefficients by variable (1 for the constant), and whether the inequality is strict.
_Row = tuple[dict[sp.Expr, sp.Expr], bool]


def follows(claim: Inequality, known: Sequence[Inequality]) -> bool:
    """Whether the claim can be shown to follow.

    Parameters
    ----------
    claim : Inequality
    known : sequence of Inequality
        The signs that the symbols have by assumption need not be listed.

    Examples
    --------
    >>> a, b = sp.symbols("a b", real=True)
    >>> follows(Inequality(a - 1, True), [Inequality(a - 2, True)])
    True
    >>> follows(Inequality(a * b - 6, True), [Inequality(a - 2, True), Inequality(b - 3, False)])
    True
    >>> follows(Inequality(a * b - 7, True), [Inequality(a - 2, True), Inequality(b - 3, False)])
    False
    >>> follows(Inequality(a**2 - 2, True), [Inequality(a - 2, True)])
    True
    """
    return _contradictory([*known, Inequality(-claim.expr, not claim.strict)]) or _on_an_interval(claim, known)


def contradictory(known: Sequence[Inequality]) -> bool:
    """Whether inequalities can be shown to exclude each other.

    Examples
    --------
    >>> a = sp.Symbol("a", positive=True)
    >>> contradictory([Inequality(-a - 1, False)])
    True
    """
    return bool(known) and _contradictory(list(known))


def _contradictory(known: list[Inequality]) -> bool:
    rows = [_row(i.expr, i.strict) for i in (*known, *_products(known))]
    rows += _signs({variable for row, _ in rows for variable in row if variable != 1})
    while True:
        if any(_impossible(row) for row in rows):
            return True
        counts = _by_sign_count(rows)
        if not counts:
            return False
        rows = _eliminate(rows, min(counts, key=lambda v: (counts[v], str(v))))
        if len(rows) > _MOST:
            return False


def _products(known: Sequence[Inequality]) -> list[Inequality]:
    chosen = known[:_PAIRED]
    return [Inequality(a.expr * b.expr, a.strict and b.strict) for a, b in combinations_with_replacement(chosen, 2)]


def _row(expr: sp.Expr, strict: bool) -> _Row:
    row: dict[sp.Expr, sp.Expr] = {}
    for term in sp.Add.make_args(sp.expand(expr)):
        number, variable = term.as_coeff_Mul() if term.is_number is False else (term, sp.S.One)
        constant, variable = variable.as_independent(*variable.free_symbols) if variable != 1 else (sp.S.One, variable)
        row[variable] = row.get(variable, sp.S.Zero) + number * constant
    return {v: c for v, c in row.items() if c != 0}, strict


def _signs(variables: Iterable[sp.Expr]) -> list[_Row]:
    found: list[_Row] = []
    for v in variables:
        if v.is_nonnegative:
            found.append(({v: sp.S.One}, bool(v.is_positive)))
        elif v.is_nonpositive:
            found.append(({v: -sp.S.One}, bool(v.is_negative)))
        if isinstance(v, sp.Abs):  # |u| ≥ ±u
            found += [_row(v - sign * v.args[0], False) for sign in (1, -1)]
    return found


def _impossible(row: _Row) -> bool:
    """A number that is claimed to be positive and is not."""
    coefficients, strict = row
    if set(coefficients) - {sp.S.One}:
        return False
    constant = coefficients.get(sp.S.One, sp.S.Zero)
    return bool(constant.is_negative) or (constant == 0 and strict)


def _by_sign_count(rows: list[_Row]) -> dict[sp.Expr, int]:
    """For each variable that is left, how many inequalities its elimination makes."""
    variables = {v for row, _ in rows for v in row if v != 1}
    ups = {v: sum(bool(row.get(v, sp.S.Zero).is_positive) for row, _ in rows) for v in variables}
    downs = {v: sum(bool(row.get(v, sp.S.Zero).is_negative) for row, _ in rows) for v in variables}
    return {v: ups[v] * downs[v] for v in variables}


def _eliminate(rows: list[_Row], v: sp.Expr) -> list[_Row]:
    kept = [r for r in rows if v not in r[0]]
    above = [r for r in rows if v in r[0] and r[0][v].is_positive]
    below = [r for r in rows if v in r[0] and r[0][v].is_negative]
    for up, up_strict in above:
        for down, down_strict in below:
            total = {
                u: sp.expand(-down[v] * up.get(u, sp.S.Zero) + up[v] * down.get(u, sp.S.Zero)) for u in {*up, *down}
            }
            new = {u: c for u, c in total.items() if u != v and c != 0}, up_strict or down_strict
            if new not in kept:
                kept.append(new)
    return kept


def _on_an_interval(claim: Inequality, known: Sequence[Inequality]) -> bool:
    """A polynomial in one symbol without zeros between the symbol's bounds, positive at one point between them."""
    symbols = claim.expr.free_symbols
    if len(symbols) != 1 or not claim.expr.is_polynomial(*symbols):
        return False
    (p,) = symbols
    poly = sp.Poly(claim.expr, p)
    low, high = (sp.S.Zero if p.is_nonnegative else -sp.oo), (sp.S.Zero if p.is_nonpositive else sp.oo)
    closed = [not p.is_positive, not p.is_negative]
    for inequality in known:
        slope = sp.expand(inequality.expr).coeff(p, 1)
        bound = sp.cancel(p - inequality.expr / slope) if slope.is_number and slope != 0 else p
        if bound.free_symbols:
            continue
        if slope.is_positive and bound >= low:
            low, closed[0] = bound, not inequality.strict
        elif slope.is_negative and bound <= high:
            high, closed[1] = bound, not inequality.strict
    if not all(c.is_Rational for c in poly.coeffs()) or not all(e.is_Rational or e.is_infinite for e in (low, high)):
        return False
    if low >= high:
        return False
    ends = [(e, is_closed) for e, is_closed in zip((low, high), closed, strict=True) if e.is_finite]
    zeros = poly.count_roots(None if low == -sp.oo else low, None if high == sp.oo else high)
    zeros -= sum(poly.eval(e) == 0 for e, _ in ends)
    if zeros or (claim.strict and any(poly.eval(e) <= 0 for e, is_closed in ends if is_closed)):
        return False
    return bool(poly.eval(Piece(low, high, p).interior()) > 0)
