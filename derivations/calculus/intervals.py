"""On which interval a scalar diffusion moves: where its noise vanishes, which of these zeros it crosses, where coefficients have kinks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import sympy as sp

from derivations.calculus.lamperti import zeros_inside
from derivations.calculus.means import means_are_numbers
from derivations.calculus.size import factored
from derivations.decimals import exact_decimals
from derivations.diffusion import Diffusion
from derivations.errors import DerivationError, NoClosedForm
from derivations.piecewise import Piece, Point, analyse, between, merged, pieces, singularities
from derivations.piecewise.cuts import cut, is_zero_function
from derivations.piecewise.solving import WINDOW, nearest_zero


def coefficients(process: Diffusion) -> tuple[sp.Symbol, sp.Expr, sp.Expr]:
    """State, drift and variance of a scalar, time-homogeneous diffusion with noise.

    Raises
    ------
    DerivationError
        For several states, coefficients that depend on time, or no noise at all.
    """
    if len(process.states) != 1:
        raise DerivationError(f"boundaries are those of a scalar diffusion, got {len(process.states)} states")
    (x,), (mu,), (a,) = process.states, process.drift, process.covariance
    if process.time in (mu.free_symbols | a.free_symbols):
        raise DerivationError(
            f"scale and speed need coefficients that do not depend on {process.time}; change time first"
        )
    if a == 0:
        raise DerivationError("the diffusion is degenerate: its noise vanishes identically; it is a flow")
    return x, mu, a


@means_are_numbers
def moving_interval(process: Diffusion, inside: sp.Expr | float) -> tuple[sp.Expr, sp.Expr]:
    """The largest open interval around a point, within the domain, on which the process moves.

    It ends where the noise vanishes, unless the process crosses the zero (:func:`crossed_zeros`).

    Raises
    ------
    DerivationError
        If the point is outside the domain or the noise vanishes at it.

    Examples
    --------
    >>> x = sp.Symbol("x", real=True)
    >>> moving_interval(Diffusion((x,), [0], [[x**2 * (1 - x) ** 2]]), sp.Rational(1, 3))
    (0, 1)
    >>> moving_interval(Diffusion((x,), [0], [[sp.sin(x) ** 2]]), sp.Integer(4))
    (pi, 2*pi)
    >>> moving_interval(Diffusion((x,), [0], [[sp.sqrt(abs(x))]]), sp.Integer(4))
    (-oo, oo)
    """
    x, _, a = coefficients(process)
    inside = exact_decimals(inside)
    if process.domain.contains(inside) == sp.false:
        raise DerivationError(f"the point {inside} is outside the domain {process.domain}")
    low, high = process.domain.inf, process.domain.sup
    if inside in (low, high):
        raise DerivationError(f"the point {inside} is an end of the domain {process.domain}; give one inside")
    cuts = {low, high, *_cuts(process, inside)}
    if a.subs(x, inside) == 0 or any(c == inside for c in cuts if c.is_finite):
        raise DerivationError(f"the noise vanishes at {x} = {inside}: the process is degenerate there")
    return max(c for c in cuts if c < inside), min(c for c in cuts if c > inside)


@means_are_numbers
def zeros_between(process: Diffusion, low: sp.Expr, high: sp.Expr, inside: sp.Expr) -> tuple[sp.Expr, ...]:
    """The zeros of the noise strictly between two points that the process does not cross; with parameters, those that are found.

    Examples
    --------
    >>> x = sp.Symbol("x", real=True)
    >>> zeros_between(Diffusion((x,), [0], [[x**2 * (1 - x) ** 2]]), sp.Integer(-1), sp.S.One, sp.Rational(1, 2))
    (0,)
    """
    x, _, a = coefficients(process)
    try:
        cuts = _cuts(process, inside)
        if not a.free_symbols - {x}:
            cuts |= {zero.value for zero in analyse(factored(a), x).zeros} - {
                z.value for z in crossed_zeros(process, inside)
            }
    except (DerivationError, TypeError):  # the sign of a parameter
        if not a.free_symbols - {x}:
            raise
        return ()
    return tuple(sorted((c for c in cuts if sp.And(low < c, c < high) == sp.true), key=float))


def _cuts(process: Diffusion, inside: sp.Expr) -> set[sp.Expr]:
    """The nearest points that the process does not cross, on both sides of one, and others beyond them."""
    x, _, a = coefficients(process)
    if a.free_symbols - {x}:
        return _cuts_with_parameters(process, inside)
    found = _around(a, x, inside)
    crossed = [zero.value for zero in crossed_zeros(process, inside)]
    outermost = set() if found.complete else {*crossed[:1], *crossed[-1:]}  # beyond them others are not listed
    near = {
        zero
        for cell in found.cells
        if not is_zero_function(cell.expr)
        for start in (inside, *crossed, *_edge_towards(inside, cell))
        if start in (cell.left, cell.right) or between(start, cell.left, cell.right)
        for end in {cell.left, cell.right} - {start}
        if (zero := nearest_zero(cell.expr, x, start, end)) is not None
    }
    vanishing = {end for cell in merged(found.cells) if is_zero_function(cell.expr) for end in (cell.left, cell.right)}
    return ({zero.value for zero in found.vanishing_sides} - set(crossed)) | outermost | near | vanishing


def _edge_towards(inside: sp.Expr, cell: Piece) -> tuple[sp.Expr, ...]:
    """Where a process that comes from a point outside of a cell enters it."""
    if between(inside, cell.left, cell.right):
        return ()
    return (cell.left if cell.left >= inside else cell.right,)


@means_are_numbers
def kinks_inside(process: Diffusion, inside: sp.Expr | float) -> tuple[sp.Expr, ...]:
    """Points at which a coefficient changes its formula, jumps or has a pole, around a point where there are infinitely many.

    Examples
    --------
    >>> x = sp.Symbol("x", real=True)
    >>> kinks_inside(Diffusion((x,), [abs(x - 3)], [[1]]), 0)
    (3,)
    """
    x, mu, a = coefficients(process)
    inside = sp.Rational(inside) if isinstance(inside, float) else sp.sympify(inside)
    return tuple(
        value for entry in (mu, a) if entry.has(x) for value in _singular(factored(entry), x, sp.floor(inside))
    )


def _singular(entry: sp.Expr, x: sp.Symbol, shift: sp.Expr) -> list[sp.Expr]:
    """Of a coefficient, around a point where only a window of infinitely many is listed."""
    found, doubt = singularities(entry, x)
    if not doubt or _within(found, shift):
        return [point.value for point in found]
    return [point.value + shift for point in singularities(entry.subs(x, x + shift), x)[0]]


def _within(listed: Sequence[Point], shift: sp.Expr) -> bool:
    """Whether a point is where zeros are listed if not all are: from 0 as far as there are many, within the window."""
    farthest = max((abs(float(point)) for point in listed), default=WINDOW / 2)
    return bool(abs(shift) <= min(farthest, WINDOW / 2))


@dataclass(frozen=True)
class _Around:
    """The noise around a point: smooth formulas on cells, and the points between these; of endlessly many those in a window around the point.

    Zeros inside of cells, where the noise is smooth, are not among them: the process crosses none.
    """

    cells: tuple[Piece, ...]
    zeros: tuple[Point, ...]
    poles: tuple[Point, ...]
    jumps: tuple[Point, ...]
    complete: bool

    @property
    def vanishing_sides(self) -> list[Point]:
        """The points at which the noise tends to 0 from one side at least, in increasing order."""
        return sorted((*self.zeros, *(p for p in (*self.jumps, *self.poles) if sp.S.Zero in p.limits)), key=float)


def _around(a: sp.Expr, x: sp.Symbol, inside: sp.Expr) -> _Around:
    a, shift = factored(a), sp.floor(inside)
    found = cut(a, x)
    complete = not (found.reason or found.sorter.doubt)
    if complete or _within((*found.sorter.zeros, *found.sorter.jumps, *found.sorter.poles), shift):
        shift = sp.S.Zero
    else:
        found = cut(a.subs(x, x + shift), x)
    back = (
        [Piece(c.left + shift, c.right + shift, c.expr.subs(x, x - shift)) for c in found.cells]
        if shift
        else found.cells
    )
    lists = (found.sorter.zeros, found.sorter.poles, found.sorter.jumps)
    zeros, poles, jumps = (tuple(Point(p.value + shift, p.orders, p.limits) for p in points) for points in lists)
    return _Around(tuple(back), zeros, poles, jumps, complete)


@means_are_numbers
def crossed_zeros(process: Diffusion, inside: sp.Expr | float = 0) -> tuple[Point, ...]:
    r"""The zeros of the noise at which a diffusion without parameters, coming from either side, goes on to the other.

    A process without drift is Brownian motion at the time :math:`A_t` with :math:`A = \inf\{s : \int_0^s a(W_u)^{-1}\mathrm{d}u > t\}`, and
    Brownian motion crosses a point unless that integral diverges at it: iff :math:`1/a` is integrable on both sides, that is if a
    vanishes there to an order below 1, from both sides. With a drift that stays bounded, which the scale function then carries away, it is
    the same. Other solutions of the equation stay at the zero for a while, or for ever (Engelbert and Schmidt); networks with random
    weights, which overshoot it, take the one that crosses.

    Parameters
    ----------
    process : Diffusion
    inside : Expr or float
        Around it zeros are listed where there are infinitely many.

    Examples
    --------
    >>> x = sp.Symbol("x", real=True)
    >>> [float(z) for z in crossed_zeros(Diffusion((x,), [0], [[sp.sqrt(abs(x)) * abs(x - 1)]]))]
    [0.0]
    """
    x, mu, a = coefficients(process)
    if a.is_polynomial(x):
        return ()  # to whole orders
    if (a.free_symbols | mu.free_symbols) - {x}:
        return ()
    inside = sp.Rational(inside) if isinstance(inside, float) else sp.sympify(inside)
    low, high = process.domain.inf, process.domain.sup
    zeros = [
        zero
        for zero in _around(a, x, inside).vanishing_sides
        if low < zero.value < high and all(order is not None and order < 1 for order in zero.orders)
    ]
    if not zeros or mu == 0:
        return tuple(zeros)
    poles = {pole.value for pole in analyse(mu, x).poles}
    return tuple(zero for zero in zeros if zero.value not in poles)


@means_are_numbers
def crossed_jumps(process: Diffusion, inside: sp.Expr | float) -> tuple[Point, ...]:
    r"""Where the squared noise of a diffusion without parameters jumps between two positive limits, or has a pole, around a point.

    The process crosses them. At a pole the speed measure :math:`\mathrm{d}x/a` is finite, but a layer steps over it, from far away and with
    steps of every size, unless a is integrable there.

    Raises
    ------
    NoClosedForm
        At a pole at which a is not integrable.

    Examples
    --------
    >>> x = sp.Symbol("x", real=True)
    >>> [p.limits for p in crossed_jumps(Diffusion((x,), [0], [[sp.Piecewise((4, x > 1), (1, True))]]), 0)]
    [(1, 4)]
    """
    x, _, a = coefficients(process)
    found = _around(a, x, exact_decimals(inside))
    low, high = moving_interval(process, inside)
    points = [p for p in (*found.jumps, *found.poles) if low < p.value < high and sp.S.Zero not in p.limits]
    for pole in sorted(points, key=lambda p: abs(float(p) - float(inside))):
        if any(order is None or order <= -1 for order in pole.orders):
            raise NoClosedForm(
                f"the noise has a pole at {x} = {pole.value} at which its square is not integrable: layers step over it with steps of "
                "every size, however deep the network is; restrict the domain to one side of it"
            )
    return tuple(sorted(points, key=float))


def _cuts_with_parameters(process: Diffusion, inside: sp.Expr) -> set[sp.Expr]:
    x, _, a = coefficients(process)
    low, high = process.domain.inf, process.domain.sup
    cuts: set[sp.Expr] = set()
    for part in pieces(a, x):
        left, right = sp.Max(part.left, low), sp.Min(part.right, high)
        if left >= right:
            continue
        if part.expr == 0:
            cuts |= {left, right}
            continue
        cuts |= {end for end in (left, right) if end.is_finite and part.expr.subs(x, end) == 0}
        cuts |= set(_zeros_around(part.expr, x, left, right, inside))
    return cuts


def _zeros_around(a: sp.Expr, x: sp.Symbol, left: sp.Expr, right: sp.Expr, inside: sp.Expr) -> tuple[sp.Expr, ...]:
    """All zeros of the noise; where there are infinitely many, as of a sine, those near a point, on both sides of it."""
    try:
        return zeros_inside(a, x, left, right)
    except NoClosedForm:
        for reach in (4, 16, 64):
            window = sp.Max(left, sp.floor(inside) - reach), sp.Min(right, sp.floor(inside) + reach)
            found = zeros_inside(a, x, *window)
            if any(z < inside for z in found) and any(z > inside for z in found):
                return found
        raise
