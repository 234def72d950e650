r"""Everything that is asked of a function of one real variable, found once.

The line is cut at breakpoints and at the points at which a formula may be singular; each point is then judged by the expansions
of the function from both sides, and between the points the zeros are found (:mod:`~derivations.piecewise.solving`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import sympy as sp

from derivations.errors import DerivationError, brief
from derivations.piecewise.expansion import expansion_at, plain
from derivations.piecewise.interval import IntervalFunction
from derivations.piecewise.jets import Unsupported, contains_zero, raw
from derivations.piecewise.solving import is_defined, rational_between, singular_points, zeros
from derivations.piecewise.splitting import Piece, merged, split_at_conditions
from derivations.piecewise.terms import LOG, Expansion, Unknown, is_zero

_WIDTH = sp.Integer(2) ** 60


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
        return self.value if self.value.is_Rational else sp.floor(sp.Rational(self.value.evalf(40)) * _WIDTH) / _WIDTH

    @property
    def high(self) -> sp.Rational:
        """A rational number at least the value, equal to it or within :math:`2^{-60}`."""
        return self.value if self.value.is_Rational else self.low + 1 / _WIDTH

    def __float__(self) -> float:
        return float(self.value.evalf(40))


@dataclass(frozen=True)
class Growth:
    r"""How a function grows towards an end: like :math:`c\,|x|^p (\log|x|)^k`, or exponentially.

    Parameters
    ----------
    exponent : Expr or None
        p; ``oo`` or ``-oo`` for exponential growth and decay (and for what vanishes altogether); None if not known.
    coefficient : Expr or None
        c, in which :math:`L = -\log|x|` may stand; None where the exponent is not finite.
    limit : Expr or None
        The limit at the end.
    """

    exponent: sp.Expr | None
    coefficient: sp.Expr | None
    limit: sp.Expr | None


@dataclass(frozen=True)
class Analysis:
    """What is known of a function; see :func:`analyse`.

    Attributes
    ----------
    expr, variable
        The function.
    pieces : tuple of Piece
        Its formulas, from left to right, on the intervals of its domain.
    intervals : tuple of tuple of Expr
        The maximal open intervals of the domain; points with a finite limit, and jumps, belong to it.
    zeros, poles, removable, kinks, jumps : tuple of Point
        In increasing order. A pole is a point with an infinite limit from one side at least. A removable point has a finite limit but
        the formula no value. A kink is a point of continuity at which the formula changes or a root vanishes.
    vanishing : tuple of tuple of Expr
        Open intervals on which the function is 0 altogether.
    parity : {"even", "odd", None}
    reaches : bool
        Whether the formulas of the first and the last piece hold all the way to their ends.
    reason : str
        Why there may be points that are not listed; "" if these are all.
    """

    expr: sp.Expr
    variable: sp.Symbol
    pieces: tuple[Piece, ...]
    intervals: tuple[tuple[sp.Expr, sp.Expr], ...]
    zeros: tuple[Point, ...]
    poles: tuple[Point, ...]
    removable: tuple[Point, ...]
    kinks: tuple[Point, ...]
    jumps: tuple[Point, ...]
    vanishing: tuple[tuple[sp.Expr, sp.Expr], ...]
    parity: str | None
    reaches: bool
    reason: str

    @property
    def complete(self) -> bool:
        """Whether every point is listed, by proof."""
        return not self.reason

    def growth(self, end: sp.Expr) -> Growth:
        """The growth towards ``oo`` or ``-oo``.

        Raises
        ------
        DerivationError
            If the function is not defined there.
        """
        if end not in (sp.oo, -sp.oo):
            raise DerivationError(f"growth is asked at oo or -oo, got {end}")
        part = next((p for p in self.pieces if end in (p.left, p.right)), None)
        if part is None:
            raise DerivationError(f"{brief(self.expr)} is not defined towards {end}")
        if not self.reaches:
            return Growth(None, None, None)
        side = _side(part.expr, self.variable, end, 1)
        order = side.order
        coefficient = side.coefficient if order is not None and order.is_finite else None
        return Growth(None if order is None else -order, coefficient, side.limit)

    @property
    def singular(self) -> tuple[Point, ...]:
        """Poles, jumps and kinks together, in increasing order: where a quadrature must be cut."""
        points = {p.value: p for p in (*self.kinks, *self.jumps, *self.poles)}
        return tuple(sorted(points.values(), key=float))

    @property
    def vanishing_sides(self) -> tuple[Point, ...]:
        """The points at which the function tends to 0 from one side at least, zeros and jumps and poles, in increasing order."""
        points = (*self.zeros, *(p for p in (*self.jumps, *self.poles) if sp.S.Zero in p.limits))
        return tuple(sorted(points, key=float))

    def limits_at(self, point: sp.Expr) -> tuple[sp.Expr | None, sp.Expr | None]:
        """The limits from below and from above at a point, None where they are not known."""
        found = next((p.limits for p in (*self.jumps, *self.poles, *self.removable) if p.value == point), None)
        return found or (self.expr.subs(self.variable, point),) * 2


@dataclass(frozen=True)
class _Side:
    order: sp.Expr | None
    coefficient: sp.Expr | None
    limit: sp.Expr | None


def _side(expr: sp.Expr, x: sp.Symbol, point: sp.Expr, direction: int) -> _Side:
    """Order and limit of a smooth formula towards a point."""
    if is_zero_function(expr):
        return _Side(sp.oo, None, sp.S.Zero)
    try:
        e = expansion_at(expr, x, point, direction)
    except Unknown:
        return _Side(None, None, None)
    if not e.terms:
        return _Side(sp.oo, None, sp.S.Zero)
    growth = min(e.growth, default=None)
    power, coefficient = e.leading
    if growth is not None:
        falls = sp.sympify(e.growth[growth]).is_extended_negative
        sign = sp.sign(coefficient.subs(LOG, -1))
        return _Side(sp.oo if falls else -sp.oo, None, sp.S.Zero if falls else sign * sp.oo)
    at_zero = sp.limit(coefficient, LOG, -sp.oo) if coefficient.has(LOG) else coefficient
    if at_zero.has(sp.Float) and power == 0 and is_defined(expr, x, point):
        at_zero = expr.xreplace({x: point})
    if power > 0:
        return _Side(power, coefficient, sp.S.Zero)
    if power < 0:
        return _Side(power, coefficient, sp.sign(at_zero) * sp.oo)
    return _Side(power, coefficient, at_zero)


def _order_inside(expr: sp.Expr, x: sp.Symbol, root: sp.Expr) -> sp.Expr | None:
    """The order of a zero at which the formula is smooth: that of a power of factors, each 0 or 1 by intervals where it can be."""
    total: sp.Expr = sp.S.Zero
    for factor in sp.Mul.make_args(expr):
        if not factor.has(x):
            continue
        base, power = (factor.base, factor.exp) if factor.is_Pow else (factor, sp.S.One)
        if not power.is_Integer:
            return _side(expr, x, root, 1).order
        order = _simple_order(base, x, root)
        order = _side(base, x, root, 1).order if order is None else order
        if order is None:
            return None
        total += power * order
    return total


def _simple_order(expr: sp.Expr, x: sp.Symbol, at: sp.Expr) -> sp.Expr | None:
    """0 or 1 where a formula or its derivative is seen not to vanish on a small bracket around a point, else None."""
    middle = at if at.is_Rational else sp.Rational(at.evalf(40))
    reach = 0 if at.is_Rational else abs(middle) / _WIDTH
    try:
        value, slope = IntervalFunction(expr, x).jet(raw(middle - reach, middle + reach), 1)
    except Unsupported:
        return None
    if not contains_zero(value):
        return sp.S.Zero
    return None if contains_zero(slope) else sp.S.One


def is_zero_function(expr: sp.Expr) -> bool:
    """Whether a formula is the number 0."""
    return bool(expr.is_zero) if not expr.free_symbols else False


@lru_cache(maxsize=256)
def analyse(expr: sp.Expr, variable: sp.Symbol) -> Analysis:
    r"""Domain, zeros, poles, removable points, kinks, jumps, growth and parity of a function of one real variable.

    Parameters
    ----------
    expr : Expr
        A formula in one symbol. It may hold ``Piecewise``, ``Abs``, ``Max``, ``Min``, ``sign`` and ``Heaviside`` with any conditions.
    variable : Symbol

    Returns
    -------
    Analysis
        Exact where algebra suffices, else by intervals with proved brackets; ``complete`` is False, and ``reason`` says why, where
        infinitely many points were listed in a window only, or the budget of operations ended.

    Raises
    ------
    DerivationError
        If the formula has parameters, or is defined nowhere.

    Examples
    --------
    >>> x = sp.Symbol("x", real=True)
    >>> a = analyse(sp.sin(x) / x, x)
    >>> [(p.value, p.limit) for p in a.removable], a.parity, a.complete
    ([(0, 1)], 'even', False)
    >>> [(p.value, p.order) for p in analyse(sp.sqrt(abs(x)), x).zeros]
    [(0, 1/2)]
    >>> a = analyse(sp.Max(x, 0), x)
    >>> [p.value for p in a.kinks], a.vanishing, a.growth(sp.oo).exponent
    ([0], ((-oo, 0),), 1)
    """
    expr = sp.sympify(expr)
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
    sorter = _Sorter(expr, variable)
    for before, after in zip([None, *cells], [*cells, None], strict=True):
        sorter.judge(before, after)
    for cell in cells:
        if is_zero_function(cell.expr):
            continue
        inside = zeros(cell.expr, variable, cell.left, cell.right)
        reason = reason or inside.doubt
        for root in inside.zeros:
            order = _order_inside(cell.expr, variable, root)
            sorter.zeros.append(Point(root, (order, order), (sp.S.Zero, sp.S.Zero)))
    return Analysis(
        expr=expr,
        variable=variable,
        pieces=tuple(cells),
        intervals=_joined(cells, sorter.cuts),
        zeros=_sorted(sorter.zeros),
        poles=_sorted(sorter.poles),
        removable=_sorted(sorter.removable),
        kinks=_sorted(sorter.kinks),
        jumps=_sorted(sorter.jumps),
        vanishing=tuple((p.left, p.right) for p in merged(cells) if is_zero_function(p.expr)),
        parity=_parity(cells, variable) if reaches else None,
        reaches=reaches,
        reason=reason or sorter.doubt,
    )


def _sorted(points: list[Point]) -> tuple[Point, ...]:
    return tuple(sorted(points, key=lambda p: p.value.evalf(30)))


def _joined(cells: list[Piece], cuts: set[sp.Expr]) -> tuple[tuple[sp.Expr, sp.Expr], ...]:
    """The intervals of the domain: neighbours joined where the function has a value or finite limits between them."""
    found: list[tuple[sp.Expr, sp.Expr]] = []
    for cell in cells:
        if found and found[-1][1] == cell.left and cell.left not in cuts:
            found[-1] = (found[-1][0], cell.right)
        else:
            found.append((cell.left, cell.right))
    return tuple(found)


class _Sorter:
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
        below = _side(before.expr, self.x, at, -1) if before is not None else None
        above = _side(after.expr, self.x, at, 1) if after is not None else None
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


def _parity(cells: list[Piece], x: sp.Symbol) -> str | None:
    """Whether f(−x) is f(x) or −f(x), by algebra."""
    mirrored = [Piece(-p.right, -p.left, p.expr.xreplace({x: -x})) for p in reversed(cells)]
    if len(mirrored) != len(cells):
        return None
    if any(not is_zero(a - b) for p, q in zip(cells, mirrored, strict=True) for a, b in _finite_ends(p, q)):
        return None
    if all(_equal(p.expr, q.expr, x) for p, q in zip(cells, mirrored, strict=True)):
        return "even"
    return "odd" if all(_equal(p.expr, -q.expr, x) for p, q in zip(cells, mirrored, strict=True)) else None


def _finite_ends(p: Piece, q: Piece) -> list[tuple[sp.Expr, sp.Expr]]:
    pairs = [(p.left, q.left), (p.right, q.right)]
    return [(a, b) if a.is_finite and b.is_finite else (sp.Integer(a != b), sp.S.Zero) for a, b in pairs]


def _equal(f: sp.Expr, g: sp.Expr, x: sp.Symbol) -> bool:
    """Whether two formulas are equal by expanding; numbers at one point save the work where they are not."""
    if f == g:
        return True
    at = {x: sp.Rational(337, 1009)}
    difference = (f - g).xreplace(at).evalf(30)
    if difference.is_number and difference.is_Float and abs(difference) > sp.Rational(1, 10**20):
        return False
    if f.count_ops() + g.count_ops() > 200:
        return False
    return bool(sp.expand(f - g) == 0 or sp.expand(sp.numer(sp.together(f - g))) == 0)
