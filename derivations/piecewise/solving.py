"""Zeros of a smooth formula in an open interval: exact where algebra finds them, else isolated in brackets."""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise

import sympy as sp
from sympy.functions.elementary.trigonometric import TrigonometricFunction

from derivations.piecewise.exact import ODD, exact_zeros
from derivations.piecewise.expansion import expansion_at, plain
from derivations.piecewise.interval import Budget
from derivations.piecewise.isolate import OPERATIONS, Found, isolated_zeros
from derivations.piecewise.root import IsolatedRoot
from derivations.piecewise.terms import Unknown, is_zero

__all__ = ["Found", "between", "is_defined", "nearest_zero", "rational_between", "singular_points", "zeros"]

_TOLD = sp.Rational(1, 10**12)  # share of the larger of two numbers, up to which they count as equal
_SEEN = sp.Rational(1, 10**20)  # and from which thirty digits tell them apart
WINDOW = 32  # half the length of the window in which infinitely many zeros are listed


@lru_cache(maxsize=512)
def zeros(expr: sp.Expr, x: sp.Symbol, left: sp.Expr = -sp.oo, right: sp.Expr = sp.oo, partly: bool = True) -> Found:
    r"""Zeros of a smooth formula in an open interval.

    Parameters
    ----------
    expr : Expr
        Smooth on the interval: without breakpoints.
    x : Symbol
        Its only symbol.
    left, right : Expr
        Ends, numbers or infinite.
    partly : bool, optional
        Whether to list those that are known where not all are; if not, the search stops at the first doubt.

    Returns
    -------
    Found
        ``zeros`` in increasing order: exact numbers, or :class:`~derivations.piecewise.root.IsolatedRoot`. ``doubt``
        says why there may be more; it is empty where these are proved to be all.

    Examples
    --------
    >>> x = sp.Symbol("x", real=True)
    >>> zeros(x**2 - 1, x).zeros, zeros(x - sp.tanh(x), x).zeros, zeros(sp.cos(x) - x, x).zeros
    ((-1, 1), (0,), (root(-x + cos(x), 0.739085133215),))
    >>> zeros(sp.exp(x) - 1 - x, x)
    Found(zeros=(0,), doubt='')
    >>> zeros(sp.sin(x), x, sp.S(1), sp.S(7)).zeros, zeros(sp.sin(x) / x, x, -sp.S(4), sp.S(4)).zeros
    ((pi, 2*pi), (-pi, pi))
    """
    found: dict[sp.Expr, None] = {}
    doubt = ""
    for factor in _factors(plain(expr), x):
        exact = exact_zeros(factor, x)
        if exact is not None:
            found |= dict.fromkeys(z for z in exact if between(z, left, right) and _is_defined_near(factor, x, z))
            continue
        cuts = singular_points(factor, x, left, right)
        doubt = doubt or cuts.doubt
        for start, end in pairwise((left, *cuts.zeros, right)):
            if not is_defined(factor, x, rational_between(start, end)):
                continue
            part = _isolated(factor, x, start, end, partly)
            found |= dict.fromkeys(part.zeros)
            doubt = doubt or part.doubt
            if doubt and not partly:
                return Found((), doubt)
    singular = singular_points(expr, x, left, right).zeros if found and _guards(expr, x) else ()
    kept = [z for z in found if z not in singular or _tends_to_zero(expr, x, z)]
    return Found(tuple(sorted(kept, key=lambda z: z.evalf(30))), doubt)


_SHARES = (*(sp.Rational(1, 4**k) for k in (3, 2, 1)), *(1 - sp.Rational(1, 2**k) for k in range(1, 13)))


def nearest_zero(expr: sp.Expr, x: sp.Symbol, start: sp.Expr, end: sp.Expr) -> sp.Expr | None:
    r"""The zero of a smooth formula, strictly between a start and an end, that is nearest to the start; None where none is found.

    Of an oscillating formula with endless zeros :func:`zeros` lists those around 0. So what lies beside the start is looked at by itself, in
    steps that first grow and then shrink towards a finite end, to which zeros may crowd.

    Examples
    --------
    >>> x = sp.Symbol("x", real=True)
    >>> f = sp.sin(1 / x)
    >>> [round(1 / float(sp.pi * nearest_zero(f, x, sp.Rational(1, 9), end)), 9) for end in (sp.S.Zero, sp.oo)]
    [3.0, 2.0]
    >>> nearest_zero(f, x, sp.S.One, sp.oo) is None
    True
    """
    if not expr.has(TrigonometricFunction):
        return _first(expr, x, start, end, end)
    if abs(start.evalf(15)) > WINDOW / 2:  # zeros are listed around 0
        shift = sp.floor(start)
        found = nearest_zero(expr.subs(x, x + shift), x, start - shift, end - shift)
        return None if found is None else found + shift
    direction = 1 if _less(start, end) else -1
    here = start if start.is_Rational else sp.Rational(start.evalf(30))
    if end.is_infinite:
        places = [here + direction * sp.Rational(4**k, 64) for k in range(6)]
    else:
        room = abs(sp.Rational(end.evalf(30)) - here)
        places = [here + direction * room * share for share in _SHARES]
    before = [start, start]  # a zero on the last place is found from the one before it
    for place in (*places, end):
        found = _first(expr, x, before[-2], place, end)
        if found is not None:
            return found
        before.append(place)
    return None


def _first(expr: sp.Expr, x: sp.Symbol, start: sp.Expr, stop: sp.Expr, end: sp.Expr) -> sp.Expr | None:
    """The first zero on the way from a start to a stop that lies towards an end."""
    if _less(start, end):
        return next(iter(zeros(expr, x, start, stop).zeros), None)
    return next(reversed(zeros(expr, x, stop, start).zeros), None)


def _tends_to_zero(expr: sp.Expr, x: sp.Symbol, at: sp.Expr) -> bool:
    """Whether a product vanishes at a zero of one factor at which another is singular, as sin(x)/x does not at 0."""
    for side in (-1, 1):
        try:
            e = expansion_at(expr, x, at, side)
        except Unknown:
            continue
        if e.terms and not e.growth and e.leading[0] <= 0:
            return False
    return True


@lru_cache(maxsize=512)
def singular_points(expr: sp.Expr, x: sp.Symbol, left: sp.Expr = -sp.oo, right: sp.Expr = sp.oo) -> Found:
    r"""Points of an open interval at which a formula without breakpoints may be undefined or not smooth.

    These are the zeros of denominators, of what stands under a root or a logarithm, of a cosine under a tangent, and where an
    inverse function's argument reaches ±1.

    Examples
    --------
    >>> x = sp.Symbol("x", real=True)
    >>> singular_points(sp.sin(x) / x + sp.log(2 - x), x).zeros
    (0, 2)
    """
    found: dict[sp.Expr, None] = {}
    doubt = ""
    for guard in _guards(expr, x):
        part = zeros(guard, x, left, right)
        found |= dict.fromkeys(part.zeros)
        doubt = doubt or part.doubt
    return Found(tuple(sorted(found, key=lambda z: z.evalf(30))), doubt)


def _guards(expr: sp.Expr, x: sp.Symbol) -> list[sp.Expr]:
    """Functions at whose zeros a part of the formula may be singular."""
    found: dict[sp.Expr, None] = {}
    for node in sp.preorder_traversal(plain(expr)):
        if not isinstance(node, sp.Expr) or not node.has(x):
            continue
        if node.is_Pow and not (node.exp.is_Integer and node.exp.is_positive) and node.base.has(x):
            found[node.base] = None
        elif isinstance(node, sp.log | sp.Abs | sp.sign | sp.loggamma | sp.gamma):
            found[node.args[0]] = None
        elif isinstance(node, sp.asin | sp.acos | sp.atanh | sp.acosh | sp.erfinv):
            found |= dict.fromkeys((node.args[0] - 1, node.args[0] + 1))
        elif isinstance(node, sp.erfcinv):
            found |= dict.fromkeys((node.args[0], node.args[0] - 2))
    return [guard for guard in found if not isinstance(guard, sp.exp | sp.cosh)]


def is_defined(expr: sp.Expr, x: sp.Symbol, at: sp.Expr) -> bool:
    """Whether a formula is a finite real number at a point."""
    try:
        value = _placed(expr, x, at).evalf(20)
    except (TypeError, ValueError, ZeroDivisionError):
        return False
    return bool(value.is_number and value.is_Float and value.is_finite) or value == 0


def _placed(expr: sp.Expr, x: sp.Symbol, at: sp.Expr) -> sp.Expr:
    """The formula at a point; a maximum or minimum of numbers as one of them, by digits: of equal ones, at a kink, any does.

    SymPy asks for the sign of each difference, first by assumptions on everything that it is made of.
    """
    if at.is_Rational or not isinstance(expr, sp.Expr) or not expr.has(sp.Max, sp.Min):
        return expr.xreplace({x: at})
    args = [_placed(arg, x, at) for arg in expr.args]
    if not isinstance(expr, sp.Max | sp.Min):
        return expr.func(*args)
    values = [arg.evalf(20, maxn=60) for arg in args]
    if all(value.is_Float or value.is_Rational for value in values):
        best = max(values) if isinstance(expr, sp.Max) else min(values)
        equal = [i for i, value in enumerate(values) if abs(value - best) <= _TOLD * max(map(abs, values))]
        return next((args[i] for i in equal if args[i].is_Rational), args[equal[0]])
    return expr.func(*args)


def _is_defined_near(factor: sp.Expr, x: sp.Symbol, at: sp.Expr) -> bool:
    """Whether a formula is defined on both sides of one of its zeros, or on one."""
    near = sp.Rational(1, 2**30)
    middle = rational_between(at - near, at + near)
    return any(is_defined(factor, x, middle + k * near / 3) for k in (-1, 0, 1))


def _factors(expr: sp.Expr, x: sp.Symbol) -> list[sp.Expr]:
    """The parts of a product that can vanish, each once."""
    if expr.is_Mul:
        return [part for factor in expr.args if factor.has(x) or is_zero(factor) for part in _factors(factor, x)]
    if expr.is_Pow and not expr.exp.has(x):
        return [] if expr.exp.is_negative else _factors(expr.base, x)
    if isinstance(expr, (*ODD, sp.Abs)):
        return _factors(expr.args[0], x)
    return [expr]


_MOST_WAVES = 400  # of a sine, of which all zeros are listed


@lru_cache(maxsize=256)  # a law and its control differ by a constant
def _isolated(factor: sp.Expr, x: sp.Symbol, left: sp.Expr, right: sp.Expr, partly: bool) -> Found:
    """Zeros where algebra alone does not find them: of a function of one sine, exactly in a window; else by intervals."""
    window = sp.Max(left, -WINDOW), sp.Min(right, sp.Integer(WINDOW))
    outside = (
        "" if window == (left, right) else f"zeros of {factor} beyond [{window[0]}, {window[1]}] are not looked for"
    )
    periodic = _periodic_zeros(factor, x, *window)
    if periodic is None and _waves(factor, x, *window) > _MOST_WAVES:
        return Found((), f"{factor} has too many zeros in [{window[0]}, {window[1]}]")
    if periodic is not None:
        return Found(periodic, outside if periodic else "")
    if not outside or not factor.atoms(sp.sin, sp.cos):
        return isolated_zeros(factor, x, left, right, Budget(OPERATIONS), partly)
    # oscillation: there may be infinitely many, and beyond the window only whether there are is asked
    inside = isolated_zeros(factor, x, *window, Budget(OPERATIONS), partly)
    if inside.doubt:
        return inside
    everywhere = isolated_zeros(factor, x, left, right, Budget(OPERATIONS), partly=False)
    return everywhere if not everywhere.doubt else Found(inside.zeros if partly else (), outside)


def _waves(factor: sp.Expr, x: sp.Symbol, left: sp.Expr, right: sp.Expr) -> sp.Expr:
    """How often a function of one sine repeats itself between two numbers; 0 for another function."""
    nodes = list(factor.atoms(sp.sin, sp.cos))
    if len(nodes) != 1 or not nodes[0].args[0].is_polynomial(x) or sp.degree(nodes[0].args[0], x) != 1:
        return sp.S.Zero
    return sp.Abs(nodes[0].args[0].coeff(x, 1) * (right - left)).evalf(15) / 6


def _periodic_zeros(factor: sp.Expr, x: sp.Symbol, left: sp.Expr, right: sp.Expr) -> tuple[sp.Expr, ...] | None:
    """Zeros between two numbers of a function of sin(a x + b) or cos(a x + b) alone; None for another function."""
    if not (left.is_finite and right.is_finite and between(left, -sp.oo, right)):
        return None
    nodes = list(factor.atoms(sp.sin, sp.cos))
    if not 0 < _waves(factor, x, left, right) <= _MOST_WAVES:
        return None
    y, (inner,) = sp.Dummy("y", real=True), nodes[0].args
    levels = exact_zeros(factor.xreplace({nodes[0]: y}), y)
    if levels is None or factor.xreplace({nodes[0]: y}).has(x):
        return None
    slope, offset = inner.coeff(x, 1), inner.coeff(x, 0)
    found: list[sp.Expr] = []
    for level in levels:
        if not between(sp.Abs(level), sp.S.NegativeOne, sp.S.One) and not is_zero(sp.Abs(level) - 1):
            continue
        arc = sp.asin(level) if isinstance(nodes[0], sp.sin) else sp.acos(level)
        mirror = sp.pi - arc if isinstance(nodes[0], sp.sin) else -arc
        # by digits, which may be off by one at an end that is a zero itself: a turn more is looked at on each side
        ends = sorted(int(sp.floor(((slope * end + offset) / (2 * sp.pi)).evalf(30))) for end in (left, right))
        angles = [base + 2 * k * sp.pi for base in {arc, mirror} for k in range(ends[0] - 1, ends[1] + 2)]
        found += [(angle - offset) / slope for angle in angles]
    return tuple(z for z in sorted(set(found), key=lambda z: z.evalf(30)) if between(z, left, right))


def between(point: sp.Expr, left: sp.Expr, right: sp.Expr) -> bool:
    """Whether a number is strictly between two others or infinities."""
    return _less(left, point) and _less(point, right)


def _less(a: sp.Expr, b: sp.Expr) -> bool:
    """Whether a < b, by the brackets where these decide it."""
    if _bounds(a)[1] <= _bounds(b)[0] and (isinstance(a, IsolatedRoot) or isinstance(b, IsolatedRoot)):
        return True
    if not (a.is_number and b.is_number):
        return bool((b - a).is_extended_positive)
    first, second = (number if number.is_Rational or number.is_infinite else number.evalf(30) for number in (a, b))
    if not all(n.is_Float or n.is_Rational or n in (sp.oo, -sp.oo) for n in (first, second)):
        return False  # no real number
    if first.is_infinite or second.is_infinite or abs(second - first) > _SEEN * max(abs(first), abs(second)):
        return bool(first < second)  # by digits: SymPy takes oo less a number of unknown reality for not positive
    return not is_zero(b - a) and bool((b - a).is_extended_positive)


def _bounds(number: sp.Expr) -> tuple[sp.Expr, sp.Expr]:
    """Numbers at most and at least a number that are quick to compare; infinite ones where none are known."""
    if isinstance(number, IsolatedRoot):
        return number.low, number.high
    return (number, number) if number.is_Rational or number.is_infinite else (-sp.oo, sp.oo)


def rational_between(left: sp.Expr, right: sp.Expr) -> sp.Rational:
    """A rational number strictly between two numbers or infinities.

    Examples
    --------
    >>> rational_between(sp.S.Zero, sp.pi), rational_between(sp.sqrt(2), sp.oo)
    (2, 3)
    """
    if left == -sp.oo and right == sp.oo:
        return sp.S.Zero
    if left == -sp.oo:
        return sp.floor(right) - 1 if right.is_Rational else sp.floor(right.evalf(30))
    if right == sp.oo:
        return sp.ceiling(left) + 1 if left.is_Rational else sp.ceiling(left.evalf(30)) + 1
    low, high = _bounds(left)[1], _bounds(right)[0]
    low, high = (low, high) if low < high and low.is_finite and high.is_finite else (left, right)
    middle = sp.Rational(((low + high) / 2).evalf(30))
    for bound in (1, 2, 16, 10**3, 10**9):
        point = middle.limit_denominator(bound)
        if between(point, low, high):
            return point
    return middle
