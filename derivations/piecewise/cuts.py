r"""A function of one real variable cut where its formula changes or has no value, and what happens at each cut.

Each point between two cells is judged by the expansions of the function from both sides.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import sympy as sp

from derivations.errors import DerivationError, brief
from derivations.piecewise.expansion import expansion_at, plain
from derivations.piecewise.piece import Piece
from derivations.piecewise.solving import is_defined, rational_between, singular_points
from derivations.piecewise.splitting import split_at_conditions
from derivations.piecewise.terms import LOG, Expansion, Unknown, is_zero

#: A bracket around a point is this narrow, as a share of 1.
WIDTH = sp.Integer(2) ** 60


@dataclass(frozen=True)
class Point:
    r"""A point at which something happens to a function.

    Parameters
    ----------
    value : Expr
        Where: an exact number, or an :class:`~derivations.piecewise.root.IsolatedRoot`.
    orders : tuple
        The local exponents from below and from above: f behaves like :math:`|x - p|^q` up to logarithms; 1 at a simple zero, ½ at
        that of :math:`\sqrt{|x|}`, negative at a pole, ``oo`` where f vanishes faster than any power or altogether; None where f is
        not defined or the exponent is not known. At a kink: that of the difference of the two sides, twice.
    limits : tuple
        The limits from below and from above, None where f is not defined or the limit is not known.
    """

    value: sp.Expr
    orders: tuple[sp.Expr | None, sp.Expr | None] = (None, None)
    limits: tuple[sp.Expr | None, sp.Expr | None] = (None, None)

    @property
    def order(self) -> sp.Expr | None:
        """The exponent of both sides, or of the one that is known; None if they differ."""
        known = {o for o in self.orders if o is not None}
        return known.pop() if len(known) == 1 else None

    @property
    def limit(self) -> sp.Expr | None:
        """The limit, where it is the same from all sides."""
        known = {o for o in self.limits if o is not None}
        return known.pop() if len(known) == 1 else None

    @property
    def low(self) -> sp.Rational:
        """A rational number at most the value, equal to it or within :math:`2^{-60}`."""
        return self.value if self.value.is_Rational else sp.floor(sp.Rational(self.value.evalf(40)) * WIDTH) / WIDTH

    @property
    def high(self) -> sp.Rational:
        """A rational number at least the value, equal to it or within :math:`2^{-60}`."""
        return self.value if self.value.is_Rational else self.low + 1 / WIDTH

    def __float__(self) -> float:
        return float(self.value.evalf(40))


@dataclass(frozen=True)
class Cut:
    """A function cut where its formula changes or has no value: the cells, their judged ends, whether they reach all the way, a doubt."""

    cells: list[Piece]
    sorter: Sorter
    reaches: bool
    reason: str


@lru_cache(maxsize=256)
def cut(expr: sp.Expr, variable: sp.Symbol) -> Cut:
    """The cells of a function and the points between them, judged."""
    if expr.free_symbols - {variable}:
        others = ", ".join(sorted(map(str, expr.free_symbols - {variable})))
        raise DerivationError(
            f"the analysis of a function needs numbers for the parameters {others}, got {brief(expr)}"
        )
    parts, reason = split_at_conditions(plain(expr), variable)
    reaches = not reason
    cells: list[Piece] = []
    for part in parts:
        found = singular_points(part.expr, variable, part.left, part.right)
        reason = reason or found.doubt
        ends = (part.left, *found.zeros, part.right)
        cells += [
            Piece(a, b, part.expr) for a, b in pairwise(ends) if is_defined(part.expr, variable, rational_between(a, b))
        ]
    if not cells:
        raise DerivationError(f"{brief(expr)} is a real number nowhere")
    sorter = Sorter(expr, variable)
    for before, after in zip([None, *cells], [*cells, None], strict=True):
        sorter.judge(before, after)
    return Cut(cells, sorter, reaches, reason)


def singularities(expr: sp.Expr, variable: sp.Symbol) -> tuple[tuple[Point, ...], str]:
    """Poles, jumps and kinks as :func:`analyse` lists them, without the search for zeros, and why there may be others.

    Examples
    --------
    >>> x = sp.Symbol("x", real=True)
    >>> [p.value for p in singularities(abs(x - 1) / (x + 2), x)[0]]
    [-2, 1]
    """
    found = cut(sp.sympify(expr), variable)
    return together(found.sorter.kinks, found.sorter.jumps, found.sorter.poles), found.reason or found.sorter.doubt


def together(*kinds: Iterable[Point]) -> tuple[Point, ...]:
    """Points of several kinds, each value once, in increasing order."""
    points = {p.value: p for kind in kinds for p in kind}
    return tuple(sorted(points.values(), key=float))


class Sorter:
    """Judges the points between cells by the expansions from both sides."""

    def __init__(self, expr: sp.Expr, variable: sp.Symbol) -> None:
        self.expr, self.x, self.doubt = expr, variable, ""
        self.cuts: set[sp.Expr] = set()
        self.zeros: list[Point] = []
        self.poles: list[Point] = []
        self.removable: list[Point] = []
        self.kinks: list[Point] = []
        self.jumps: list[Point] = []

    def judge(self, before: Piece | None, after: Piece | None) -> None:
        """Sort the point between two cells, or the ends on both sides of a gap of the domain."""
        if before is not None and after is not None and before.right != after.left:
            self.judge(before, None)
            self.judge(None, after)
            return
        at = before.right if before is not None else after.left if after is not None else sp.oo
        if at in (sp.oo, -sp.oo):
            return
        below = side(before.expr, self.x, at, -1) if before is not None else None
        above = side(after.expr, self.x, at, 1) if after is not None else None
        sides = [s for s in (below, above) if s is not None]
        orders = (below.order if below else None, above.order if above else None)
        limits = (below.limit if below else None, above.limit if above else None)
        known = [s.limit for s in sides if s.limit is not None]
        if len(known) < len(sides):
            self.doubt = self.doubt or f"the limit of {brief(self.expr)} at {at} is not known"
            self.cuts.add(at)
            return
        if any(limit in (sp.oo, -sp.oo) for limit in limits):
            self.poles.append(Point(at, orders, limits))
            self.cuts.add(at)
            return
        if all(map(is_zero, known)) and any(s.order != sp.oo or s.coefficient for s in sides):
            self.zeros.append(Point(at, orders, limits))
        if before is None or after is None:
            return
        if not is_zero(known[0] - known[1]):
            self.jumps.append(Point(at, orders, limits))
            return
        if not is_defined(self.expr, self.x, at):
            self.removable.append(Point(at, orders, (known[1], known[1])))
        difference = _differ(*(_continued(p.expr, self.x, at, side) for p, side in ((before, -1), (after, 1))))
        if difference is not None:
            self.kinks.append(Point(at, (difference, difference), (known[1], known[1])))


def _continued(expr: sp.Expr, x: sp.Symbol, at: sp.Expr, direction: int) -> Expansion | None:
    """The expansion with some powers beyond the leading one."""
    if is_zero_function(expr):
        return Expansion({})
    try:
        return expansion_at(expr, x, at, direction, (4, 9))
    except Unknown:
        return None


def _differ(below: Expansion | None, above: Expansion | None) -> sp.Expr | None:
    """The power at which two expansions, in −t and in t, part; None if one smooth function continues the other."""
    if below is None or above is None:
        return sp.S.One
    for power in sorted({*below.terms, *above.terms}):
        p, q = (e.terms.get(power, sp.S.Zero) for e in (below, above))
        if is_zero(p) and is_zero(q):
            continue
        if not power.is_Integer or p.has(LOG) or q.has(LOG) or not is_zero(p * (-1) ** power - q):
            return power
    return None if min(below.error, above.error) > 1 and not below.growth and not above.growth else sp.oo


@dataclass(frozen=True)
class Side:
    """How a formula behaves towards a point: its order, the coefficient of that power, and the limit; None where not known."""

    order: sp.Expr | None
    coefficient: sp.Expr | None
    limit: sp.Expr | None


def side(expr: sp.Expr, x: sp.Symbol, point: sp.Expr, direction: int) -> Side:
    """Order and limit of a smooth formula towards a point."""
    if is_zero_function(expr):
        return Side(sp.oo, None, sp.S.Zero)
    try:
        e = expansion_at(expr, x, point, direction)
    except Unknown:
        return Side(None, None, None)
    if not e.terms:
        return Side(sp.oo, None, sp.S.Zero)
    growth = min(e.growth, default=None)
    power, coefficient = e.leading
    if growth is not None:
        falls = sp.sympify(e.growth[growth]).is_extended_negative
        if falls is None:
            return Side(None, None, None)
        sign = sp.sign(coefficient.subs(LOG, -1))
        return Side(sp.oo if falls else -sp.oo, None, sp.S.Zero if falls else sign * sp.oo)
    at_zero = sp.limit(coefficient, LOG, -sp.oo) if coefficient.has(LOG) else coefficient
    if at_zero.has(sp.Float) and power == 0 and is_defined(expr, x, point):
        at_zero = expr.xreplace({x: point})
    if power > 0:
        return Side(power, coefficient, sp.S.Zero)
    if power < 0:
        return Side(power, coefficient, sp.sign(at_zero) * sp.oo)
    return Side(power, coefficient, at_zero)


def is_zero_function(expr: sp.Expr) -> bool:
    """Whether a formula is the number 0."""
    return bool(expr.is_zero) if not expr.free_symbols else False
