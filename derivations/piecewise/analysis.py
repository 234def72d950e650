r"""Everything that is asked of a function of one real variable, found once.

The line is cut at breakpoints and at the points at which a formula may be singular; each point is then judged by the expansions
of the function from both sides, and between the points the zeros are found (:mod:`~derivations.piecewise.solving`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property, lru_cache

import sympy as sp

from derivations.errors import DerivationError, brief
from derivations.piecewise.cuts import WIDTH, Cut, Point, cut, is_zero_function, side, together
from derivations.piecewise.interval import IntervalFunction
from derivations.piecewise.jets import Unsupported, contains_zero, raw
from derivations.piecewise.piece import Piece, merged
from derivations.piecewise.solving import zeros
from derivations.piecewise.terms import is_zero


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
    poles: tuple[Point, ...]
    removable: tuple[Point, ...]
    kinks: tuple[Point, ...]
    jumps: tuple[Point, ...]
    vanishing: tuple[tuple[sp.Expr, sp.Expr], ...]
    parity: str | None
    reaches: bool
    parts: Cut = field(repr=False, compare=False)

    @cached_property
    def _inside(self) -> tuple[list[Point], str]:
        """The zeros inside of the pieces, which take longest to find, and why there may be others."""
        found, doubt = [], ""
        for cell in self.pieces:
            if is_zero_function(cell.expr):
                continue
            inside = zeros(cell.expr, self.variable, cell.left, cell.right)
            doubt = doubt or inside.doubt
            for root in inside.zeros:
                order = _order_inside(cell.expr, self.variable, root)
                found.append(Point(root, (order, order), (sp.S.Zero, sp.S.Zero)))
        return found, doubt

    @cached_property
    def zeros(self) -> tuple[Point, ...]:
        """In increasing order, found when they are asked for."""
        return _sorted([*self.parts.sorter.zeros, *self._inside[0]])

    @cached_property
    def reason(self) -> str:
        """Why there may be points that are not listed; "" if these are all."""
        return self.parts.reason or self._inside[1] or self.parts.sorter.doubt

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
        grown = side(part.expr, self.variable, end, 1)
        order = grown.order
        coefficient = grown.coefficient if order is not None and order.is_finite else None
        return Growth(None if order is None else -order, coefficient, grown.limit)

    @property
    def singular(self) -> tuple[Point, ...]:
        """Poles, jumps and kinks together, in increasing order: where a quadrature must be cut."""
        return together(self.kinks, self.jumps, self.poles)

    @property
    def vanishing_sides(self) -> tuple[Point, ...]:
        """The points at which the function tends to 0 from one side at least, zeros and jumps and poles, in increasing order."""
        points = (*self.zeros, *(p for p in (*self.jumps, *self.poles) if sp.S.Zero in p.limits))
        return tuple(sorted(points, key=float))

    def limits_at(self, point: sp.Expr) -> tuple[sp.Expr | None, sp.Expr | None]:
        """The limits from below and from above at a point, None where they are not known."""
        found = next((p.limits for p in (*self.jumps, *self.poles, *self.removable) if p.value == point), None)
        return found or (self.expr.subs(self.variable, point),) * 2


def _order_inside(expr: sp.Expr, x: sp.Symbol, root: sp.Expr) -> sp.Expr | None:
    """The order of a zero at which the formula is smooth: that of a power of factors, each 0 or 1 by intervals where it can be."""
    total: sp.Expr = sp.S.Zero
    for factor in sp.Mul.make_args(expr):
        if not factor.has(x):
            continue
        base, power = (factor.base, factor.exp) if factor.is_Pow else (factor, sp.S.One)
        if not power.is_Integer:
            return side(expr, x, root, 1).order
        order = _simple_order(base, x, root)
        order = side(base, x, root, 1).order if order is None else order
        if order is None:
            return None
        total += power * order
    return total


def _simple_order(expr: sp.Expr, x: sp.Symbol, at: sp.Expr) -> sp.Expr | None:
    """0 or 1 where a formula or its derivative is seen not to vanish on a small bracket around a point, else None."""
    middle = at if at.is_Rational else sp.Rational(at.evalf(40))
    reach = 0 if at.is_Rational else abs(middle) / WIDTH
    try:
        value, slope = IntervalFunction(expr, x).jet(raw(middle - reach, middle + reach), 1)
    except Unsupported:
        return None
    if not contains_zero(value):
        return sp.S.Zero
    return None if contains_zero(slope) else sp.S.One


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
    parts = cut(sp.sympify(expr), variable)
    return Analysis(
        expr=parts.sorter.expr,
        variable=variable,
        pieces=tuple(parts.cells),
        intervals=_joined(parts.cells, parts.sorter.cuts),
        poles=_sorted(parts.sorter.poles),
        removable=_sorted(parts.sorter.removable),
        kinks=_sorted(parts.sorter.kinks),
        jumps=_sorted(parts.sorter.jumps),
        vanishing=tuple((p.left, p.right) for p in merged(parts.cells) if is_zero_function(p.expr)),
        parity=_parity(parts.cells, variable) if parts.reaches else None,
        reaches=parts.reaches,
        parts=parts,
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
