r"""Zeros of a smooth formula in an interval by interval arithmetic: none, exactly one, or halve the interval.

A cell :math:`[a, b]` is settled when :math:`0 \notin F([a, b])` (no zero), or :math:`0 \notin F'([a, b])` (at most one, which
the signs at the ends decide). Cells near a finite end and near infinity grow geometrically; the last bit before an end is
settled by the leading term of the expansion there. Zeros at simple rational points are looked for first and proved by
substitution; around one, a Taylor coefficient that does not vanish proves that it is alone.
"""

from __future__ import annotations

import heapq
import itertools
import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

import sympy as sp
from mpmath import libmp

from derivations.errors import brief
from derivations.piecewise.expansion import expansion_at
from derivations.piecewise.interval import Budget, IntervalFunction, Spent
from derivations.piecewise.jets import Raw, Unsupported, contains_zero, raw, sign
from derivations.piecewise.root import IsolatedRoot
from derivations.piecewise.terms import Unknown, is_zero

#: Rational ends of an interval with one zero in it.
Bracket: TypeAlias = tuple[sp.Rational, sp.Rational]

MOST_ZEROS = 64
OPERATIONS = 100_000  # interval operations that one search may take
_AT_AN_EDGE = sp.Rational(1, 10**10)  # of the width of a cell
_FAR = 62  # beyond 2^62 the expansion at infinity speaks
_NEAR = 40  # and within 2^-40 of a finite end the expansion there
_FINEST = 44  # times a cell is halved
_MOST_OPERATIONS = 60  # of a formula that is brought over one denominator
_MOST_FORMS = 3
_T = sp.Dummy("T", real=True)
_ORDER = 6  # of the Taylor coefficients looked at around a known zero
_CANDIDATES = tuple(
    sp.Rational(p, q) for p, q in ((0, 1), (1, 1), (-1, 1), (2, 1), (-2, 1), (1, 2), (-1, 2), (3, 1), (-3, 1))
)


@dataclass(frozen=True)
class Found:
    """Zeros in increasing order, and what keeps them from being all that there are: "" where nothing does."""

    zeros: tuple[sp.Expr, ...]
    doubt: str = ""


def isolated_zeros(
    expr: sp.Expr, x: sp.Symbol, left: sp.Expr, right: sp.Expr, budget: Budget, partly: bool = True
) -> Found:
    """Zeros in an open interval on which the formula is defined and smooth; none, unless partly, where not all are known."""
    function = IntervalFunction(expr, x, budget)
    known = [c for c in _CANDIDATES if _inside(c, left, right) and _vanishes(function, expr, x, c)]
    zeros: list[sp.Expr] = list(known)
    doubts: list[str] = []
    for start, end in pairwise((left, *sorted(known), right)):
        part = _between(function, expr, x, start, end, partly)
        zeros += part.zeros
        if part.doubt:
            doubts.append(part.doubt)
            if not partly:
                return Found((), part.doubt)
    return Found(tuple(sorted(zeros, key=lambda z: z.evalf(20))), doubts[0] if doubts else "")


def changing_sign(expr: sp.Expr, x: sp.Symbol, left: sp.Expr, right: sp.Expr) -> sp.Expr:
    """The product of those factors that intervals do not prove to keep their sign on a whole interval: where the whole changes its own.

    A factor that does is nowhere positive, or nowhere negative; it may touch 0 as often as it likes.

    Examples
    --------
    >>> x = sp.Symbol("x", real=True)
    >>> [changing_sign(f, x, -sp.oo, sp.oo) for f in (sp.cos(x) + 1, x * sp.sin(x) - x, sp.cos(x) + sp.Rational(1, 2))]
    [1, x, cos(x) + 1/2]
    """
    return sp.Mul(*(factor for factor, kept in _signs(expr, x, left, right) if factor.has(x) and not kept))


def is_nowhere_positive(expr: sp.Expr, x: sp.Symbol, left: sp.Expr, right: sp.Expr) -> bool:
    """Whether intervals prove it for a whole interval, factor by factor."""
    return math.prod(kept for _, kept in _signs(expr, x, left, right)) == -1


def _signs(expr: sp.Expr, x: sp.Symbol, left: sp.Expr, right: sp.Expr) -> list[tuple[sp.Expr, int]]:
    """Factors, each with 1 where it is nowhere negative, −1 where it is nowhere positive, and 0 where neither is proved."""
    budget, found = Budget(OPERATIONS), []
    for factor in sp.Mul.make_args(sp.factor_terms(expr)):  # a number too: its rounding would reach beyond 0
        try:
            low, high = _over(IntervalFunction(factor, x, budget), left, right)
            kept = 1 if libmp.mpf_sign(low) >= 0 else -1 if libmp.mpf_sign(high) <= 0 else 0
        except (Unsupported, Spent):
            kept = 0
        found.append((factor, kept))
    return found


def _inside(point: sp.Expr, left: sp.Expr, right: sp.Expr) -> bool:
    return bool((point - left).is_extended_positive and (right - point).is_extended_positive)


def _vanishes(function: IntervalFunction, expr: sp.Expr, x: sp.Symbol, at: sp.Rational) -> bool:
    try:
        if not contains_zero(function.jet(raw(at, at), 0)[0]):
            return False
        return is_zero(expr.xreplace({x: at}))
    except (Unsupported, TypeError, AttributeError):
        return False


def _between(
    function: IntervalFunction, expr: sp.Expr, x: sp.Symbol, left: sp.Expr, right: sp.Expr, partly: bool
) -> Found:
    """Zeros strictly between two ends, at which the formula may vanish or be singular."""
    found: list[Bracket] = []
    doubts: list[str] = []
    try:
        if not contains_zero(_over(function, left, right)):
            return Found(())
        cuts = _cuts(left, right)
        for end, direction in ((left, 1), (right, -1)):
            cuts = _shortened(function, expr, x, cuts[::direction], end, direction, doubts)[::direction]
        _search(function, _forms(expr, x, function.budget), x, cuts, found, doubts)
    except Spent:
        doubts.append(f"the budget of interval operations ended in ({left}, {right})")
    except Unsupported as error:
        doubts.append(str(error))
    named = found if partly or not doubts else []
    return Found(tuple(_named_root(function, x, *bracket) for bracket in named), doubts[0] if doubts else "")


def _forms(expr: sp.Expr, x: sp.Symbol, budget: Budget) -> list[IntervalFunction]:
    """Formulas that vanish wherever this one does and in which terms cancel less.

    Over one denominator, and relative to each exponential; A² − B²r for A + B√r; and relative to the limits of each erf and tanh.
    """
    found, short = _from_limits(expr, x), expr.count_ops() <= _MOST_OPERATIONS
    found += _conjugates(expr, x) if short else []
    if short and expr.has(sp.exp):
        numerator = sp.expand_mul(sp.numer(sp.together(expr)))
        factors = [f for term in sp.Add.make_args(numerator) for f in sp.Mul.make_args(term)]
        exponentials = [f for f in dict.fromkeys(factors) if isinstance(f, sp.exp) and f.has(x)][:_MOST_FORMS]
        found += [sp.expand_mul(numerator / e) for e in (sp.S.One, *exponentials)]
    return [IntervalFunction(form, x, budget) for form in found]


def _conjugates(expr: sp.Expr, x: sp.Symbol) -> list[sp.Expr]:
    terms = sp.Add.make_args(expr)
    half = sp.Rational(1, 2)
    roots = {f for term in terms for f in sp.Mul.make_args(term) if f.is_Pow and f.exp == half and f.has(x)}
    found = []
    for root in sorted(roots, key=sp.default_sort_key)[:_MOST_FORMS]:
        with_root = [term for term in terms if root in sp.Mul.make_args(term)]
        rest = sp.Add(*(term for term in terms if term not in with_root))
        found.append(sp.expand(rest**2) - sp.expand(sp.Add(*(term / root for term in with_root)) ** 2 * root.base))
    return found


def _from_limits(expr: sp.Expr, x: sp.Symbol) -> list[sp.Expr]:
    """(A − sB) + B (T + s) for A + BT, where T tends to ±1 and s is 1 or −1, so that A and sB have terms in common."""
    found = []
    nodes = [node for node in expr.atoms(sp.erf, sp.tanh) if node.has(x)]
    for node in sorted(nodes, key=sp.default_sort_key)[:_MOST_FORMS]:
        rest, slope = (sp.diff(sp.expand(expr.xreplace({node: _T})), _T, k) for k in (0, 1))
        if slope.has(_T):
            continue
        rest = rest.xreplace({_T: sp.S.Zero})
        for sign_ in (1, -1):
            left = sp.expand(rest - sign_ * slope)
            if (rest.has(x) and not left.has(x)) or len(sp.Add.make_args(left)) < len(sp.Add.make_args(rest)):
                found.append(left + slope * (node + sign_))
    return found + (_from_all_limits(expr, nodes) if 1 < len(nodes) <= _MOST_FORMS else [])


def _from_all_limits(expr: sp.Expr, nodes: list[sp.Expr]) -> list[sp.Expr]:
    """The same for functions that tend to the same limit together, as those of gelu(gelu(x)): x (T + 1)(S + 1) in place of four terms."""
    found = []
    for sign_ in (1, -1):
        above = {node: sp.Dummy(real=True) for node in sorted(nodes, key=sp.count_ops, reverse=True)}
        written = expr
        for node, distance in above.items():  # the outer ones first, with what is inside them
            written = written.xreplace({node: distance - sign_})
        written = sp.expand(written)
        if len(sp.Add.make_args(written)) < len(sp.Add.make_args(sp.expand(expr))):
            found.append(written.xreplace({distance: node + sign_ for node, distance in above.items()}))
    return found


def _over(function: IntervalFunction, left: sp.Expr, right: sp.Expr) -> Raw:
    low, high = (_rational(end, below) for end, below in ((left, True), (right, False)))
    return function.jet(raw(low, high), 0)[0]


def _rational(end: sp.Expr, below: bool) -> sp.Expr:
    """A rational number within 2^-90 of an end, on the side that is asked for; an infinite or rational end itself."""
    if end.is_infinite or end.is_Rational:
        return end
    unit = sp.Integer(2) ** 90
    floor = sp.floor(sp.Rational(end.evalf(40)) * unit)
    return (floor - 1) / unit if below else (floor + 2) / unit


def _cuts(left: sp.Expr, right: sp.Expr) -> list[sp.Rational]:
    """Ends of cells, in increasing order: geometric towards both ends and, on a long interval, away from 0."""
    low, high = _rational(left, False), _rational(right, True)
    base = sp.Rational(37, 32)  # no number that zeros like
    away = [base * sp.Integer(2) ** k for k in range(0, _FAR + 1, 2)]
    points = {s * a for a in away for s in (1, -1)} | {base / 8, -base / 8}
    for end, direction in ((low, 1), (high, -1)):
        if end.is_finite:
            points |= {end + direction * base * sp.Rational(1, 2**k) for k in range(0, _NEAR + 1, 2)}
    return sorted(p for p in points if low < p < high) or [(low + high) / 2]


def _shortened(
    function: IntervalFunction,
    expr: sp.Expr,
    x: sp.Symbol,
    cuts: list[sp.Rational],
    end: sp.Expr,
    direction: int,
    doubts: list[str],
) -> list[sp.Rational]:
    """Cuts, listed from an end inward, without those that a proof reaches from the end.

    Near the end either the interval up to it has no zero by its values, or, at an exact zero, by a Taylor coefficient; failing
    both, the leading term of the expansion there, which has one sign, speaks.
    """
    for index in range(len(cuts) - 1, -1, -1):
        if _free(function, expr, x, end, cuts[index]):
            return cuts[index:]
    try:
        _ = expansion_at(expr, x, end, direction).leading
    except Unknown as error:
        doubts.append(str(error))
    return cuts


def _free(function: IntervalFunction, expr: sp.Expr, x: sp.Symbol, end: sp.Expr, cut: sp.Rational) -> bool:
    """Whether there is provably no zero strictly between an end and a cut (and none at the cut)."""
    low, high = (end, cut) if (cut - end).is_extended_positive else (cut, end)
    over = raw(_rational(low, True), _rational(high, False))
    jet = function.jet(over, 1)
    if not contains_zero(jet[0]):
        return True
    if end.is_infinite:  # moving away from 0 on the way to infinity
        at = sign(function.jet(raw(cut, cut), 0)[0])
        return at != 0 and at == sign(jet[1]) * (1 if end == sp.oo else -1)
    if not end.is_Rational or not is_zero_at(expr, x, end):
        return False
    jet = function.jet(over, _ORDER)
    order = next((k for k in range(1, _ORDER + 1) if not contains_zero(jet[k])), None)
    return order is not None and (order == 1 or _zero_order(expr, x, end) == order)


def is_zero_at(expr: sp.Expr, x: sp.Symbol, at: sp.Expr) -> bool:
    """Whether a formula vanishes at a point, by substitution."""
    value = expr.xreplace({x: at})
    return not value.has(sp.nan, sp.zoo, sp.oo, -sp.oo) and is_zero(value)


def _zero_order(expr: sp.Expr, x: sp.Symbol, at: sp.Expr) -> sp.Expr | None:
    try:
        return expansion_at(expr, x, at, 1).leading[0]
    except Unknown:
        return None


def _search(
    function: IntervalFunction,
    forms: list[IntervalFunction],
    x: sp.Symbol,
    cuts: list[sp.Rational],
    found: list[Bracket],
    doubts: list[str],
) -> None:
    """Zeros in [first cut, last cut]: settle the whole, or halve the list of cuts, or halve the last cell.

    What is nearest to 0 is looked at first, on both sides: where the search stops, as it does among infinitely many zeros, those that it
    has found are all up to some distance, so that the neighbours of a point between them are its neighbours.
    """
    undecided: set[int] = (
        set()
    )  # cells of the cuts with a point that no halving settles: the rest of such a cell is left
    count = itertools.count()
    todo = [(_distance(cuts), next(count), cuts, 0, -1)]
    while todo:
        if len(found) > MOST_ZEROS:
            doubts.append(f"{brief(function.expr)} has more than {MOST_ZEROS} zeros")
            return
        _, turn, ends, depth, cell = heapq.heappop(todo)
        if len(ends) < 2 or cell in undecided or _settled(function, forms, x, ends[0], ends[-1], found):
            continue
        if len(ends) > 2:
            middle = len(ends) // 2
            halves, deeper = (ends[: middle + 1], ends[middle:]), depth
        elif depth < _FINEST:
            at = (ends[0] * 31 + ends[1] * 33) / 64
            halves, deeper, cell = ([ends[0], at], [at, ends[1]]), depth + 1, turn if cell < 0 else cell
        else:
            undecided.add(cell)
            doubts.append(f"whether {brief(function.expr)} has a double zero near {sp.N(ends[0], 8)} is not decided")
            continue
        for half in halves:
            heapq.heappush(todo, (_distance(half), next(count), half, deeper, cell))


def _distance(ends: list[sp.Rational]) -> sp.Rational:
    """Of the nearest point between the first and the last of them from 0."""
    return max(ends[0], -ends[-1], sp.S.Zero)


def _settled(
    function: IntervalFunction,
    forms: list[IntervalFunction],
    x: sp.Symbol,
    low: sp.Rational,
    high: sp.Rational,
    found: list[Bracket],
) -> bool:
    """Whether a cell is known to have no zero, or exactly one, which is then kept."""
    over = raw(low, high)
    jet = function.jet(over, 1)
    if not contains_zero(jet[0]) or any(not contains_zero(form.jet(over, 0)[0]) for form in forms):
        return True
    if not sign(jet[1]):
        return False
    at_low, at_high = (sign(function.jet(raw(p, p), 0)[0]) for p in (low, high))
    if at_low * at_high < 0:
        found.append((low, high))
    return at_low * at_high != 0


def _named_root(function: IntervalFunction, x: sp.Symbol, low: sp.Rational, high: sp.Rational) -> sp.Expr:
    """The zero in a bracket on which the formula is monotone: a simple rational number if it is one, else by its bracket."""
    root = IsolatedRoot(function.expr, x, low, high)
    value = root.evalf(30)
    guess = sp.Rational(value).limit_denominator(64)
    if abs(guess - value) < sp.Rational(1, 10**25) and is_zero_at(function.expr, x, guess):
        return guess
    # the same number in the same cell, however it was found
    width = sp.Integer(2) ** 40
    place = sp.Rational(value) * width
    first, last = sp.floor(place), sp.floor(place) + 1
    edge = sp.floor(place + sp.S.Half)
    if abs(place - edge) < _AT_AN_EDGE:  # on which side thirty digits do not say
        first, last = edge - 1, edge + 1
    if low <= first / width and last / width <= high:
        return IsolatedRoot(function.expr, x, first / width, last / width)
    return root
