r"""Where a function of one variable is not smooth, and like which power it behaves there.

A Gaussian mean exists near such a point exactly if the function grows slower than the inverse distance. Exponents are read off
values at distances :math:`10^{-50}, 10^{-100}, 10^{-200}`: for :math:`f \sim C d^a |\log d|^k` three values give C, a and k.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import mpmath as mp
import sympy as sp

from derivations.errors import DerivationError
from derivations.piecewise import Piece, in_order, pieces

_NEAR = (50, 100, 200)  # distances, as negative powers of ten
_DIGITS = 700
_DENOMINATOR = 60  # of an exponent
_GROWN = 6  # degree up to which a polynomial around a point is multiplied out


class Side(NamedTuple):
    r"""A function beside a point, as :math:`C d^a |\log d|^k` and smaller terms in the distance d.

    Parameters
    ----------
    formula : Expr
        In :data:`DISTANCE`, exact for small distances.
    smooth : bool
        Whether it is analytic in the distance up to the point.
    exponent : Rational
        The power a; 0 where the function is smooth or vanishes.
    logarithms : int
        The power k.
    root : int
        The function is analytic in :math:`d^{1/\text{root}}`; 0 if in no root.
    """

    formula: sp.Expr
    smooth: bool
    exponent: sp.Rational
    logarithms: int
    root: int

    @property
    def integrable(self) -> bool:
        """Whether the function has an integral up to the point."""
        return bool(self.exponent > -1 or (self.exponent == -1 and self.logarithms < -1))


class Corner(NamedTuple):
    """A point at which a function is not smooth, and both sides of it."""

    point: sp.Expr
    left: Side
    right: Side


#: The distance from a corner.
DISTANCE = sp.Symbol("d", positive=True)


def corners(expr: sp.Expr, variable: sp.Symbol) -> tuple[Corner, ...]:
    """Points at which a function without parameters is not smooth, in increasing order.

    Examples
    --------
    >>> x = sp.Symbol("x", real=True)
    >>> [(c.point, c.left.exponent, c.right.smooth) for c in corners(sp.sqrt(abs(x - 1)), x)]
    [(1, 1/2, False)]
    """
    parts = pieces(expr, variable)
    found: list[Corner] = []
    for index, part in enumerate(parts):
        if index:
            found.append(_corner(part.left, parts[index - 1], part, variable))
        inside = {p for p in _candidates(part.expr, variable) if _is_between(part.left, p, part.right)}
        found += [_corner(point, part, part, variable) for point in in_order(inside)]
    return tuple(c for c in found if not (c.left.smooth and c.right.smooth and c.left.formula == _mirrored(c.right)))


def check_corners(expr: sp.Expr, variable: sp.Symbol, what: str) -> None:
    """Refuse a function that is not integrable at a point.

    Raises
    ------
    DerivationError
        If it grows like the inverse distance or faster.
    """
    if not singular_nodes(expr, variable):
        return
    for corner in corners(expr, variable):
        for side in (corner.left, corner.right):
            if not side.integrable:
                logs = f"*log(|d|)**{side.logarithms}" if side.logarithms else ""
                raise DerivationError(
                    f"{what} diverges: at distance d from {variable.name} = {corner.point} the function behaves like "
                    f"|d|**({side.exponent}){logs}, and only powers above -1 have a mean (a principal value is none)"
                )


def _mirrored(side: Side) -> sp.Expr:
    return side.formula.xreplace({DISTANCE: -DISTANCE})


def _corner(point: sp.Expr, before: Piece, after: Piece, variable: sp.Symbol) -> Corner:
    return Corner(point, _side(before.expr, variable, point, -1), _side(after.expr, variable, point, 1))


def _side(expr: sp.Expr, variable: sp.Symbol, point: sp.Expr, sign: int) -> Side:
    formula = around(expr, variable, point, sign)
    singular = [node for node in singular_nodes(expr, variable) if _vanishes(node, variable, point)]
    if not singular:
        return Side(formula, True, sp.S.Zero, 0, 1)
    exponent, logarithms, algebraic = _leading(formula)
    powers = [node.exp for node in singular if isinstance(node, sp.Pow)]
    algebraic = algebraic and len(powers) == len(singular) and all(p.is_Rational for p in powers)
    root = sp.ilcm(1, exponent.q, *(p.q for p in powers)) if algebraic else 0
    return Side(formula, False, exponent, logarithms, int(root))


def around(expr: sp.Expr, variable: sp.Symbol, point: sp.Expr, sign: int) -> sp.Expr:
    """The function at ``point + sign * DISTANCE``, polynomials multiplied out so that the point itself cancels."""
    moved = expr.xreplace({variable: point + sign * DISTANCE})

    def collected(node: sp.Expr) -> sp.Expr:
        return sp.expand(node) if node.is_polynomial(DISTANCE) and sp.degree(node, DISTANCE) <= _GROWN else node

    return moved.replace(lambda node: node.is_Add and node.has(DISTANCE), collected)


def singular_nodes(expr: sp.Expr, variable: sp.Symbol) -> list[sp.Expr]:
    """Powers and logarithms that are not smooth where their bases vanish."""
    nodes = [node for node in expr.atoms(sp.Pow) if node.base.has(variable) and not _is_natural(node.exp)]
    return [*nodes, *(node for node in expr.atoms(sp.log) if node.has(variable))]


def _is_natural(exponent: sp.Expr) -> bool:
    return bool(exponent.is_Integer and exponent.is_nonnegative)


def _argument(node: sp.Expr) -> sp.Expr:
    return node.base if isinstance(node, sp.Pow) else node.args[0]


def _vanishes(node: sp.Expr, variable: sp.Symbol, point: sp.Expr) -> bool:
    value = _argument(node).subs(variable, point)
    if value.is_zero is not None:
        return bool(value.is_zero)
    return bool(abs(value.evalf(40, chop=True)) < sp.Rational(1, 10**30))


def _candidates(expr: sp.Expr, variable: sp.Symbol) -> set[sp.Expr]:
    found: set[sp.Expr] = set()
    for node in singular_nodes(expr, variable):
        above, _ = sp.fraction(sp.together(_argument(node)))
        if above.is_polynomial(variable):
            found |= set(sp.real_roots(sp.Poly(above, variable)))
    return found


def _is_between(left: sp.Expr, point: sp.Expr, right: sp.Expr) -> bool:
    return bool((left == -sp.oo or point > left) and (right == sp.oo or point < right))


def _leading(formula: sp.Expr) -> tuple[sp.Rational, int, bool]:
    """Exponent, power of the logarithm, and whether both are what the values say to many digits."""
    function = sp.lambdify(DISTANCE, formula, "mpmath")
    with mp.workdps(_DIGITS):
        values = [abs(mp.mpmathify(function(mp.mpf(10) ** -k))) for k in _NEAR]
        if not all(values):
            return sp.S.Zero, 0, False
        heights = [mp.log(value) for value in values]
        logs = [-k * mp.log(10) for k in _NEAR]
        steps = [(a - b, mp.log(a / b)) for a, b in pairwise(logs)]
        rises = [a - b for a, b in pairwise(heights)]
        (l1, k1), (l2, k2) = steps
        determinant = l1 * k2 - l2 * k1
        slope = (rises[0] * k2 - rises[1] * k1) / determinant
        power = (l1 * rises[1] - l2 * rises[0]) / determinant
        logarithms, exponent = int(mp.nint(power)), _rational(slope)
        sharp = abs(slope - mp.mpf(exponent.p) / exponent.q) < mp.mpf(10) ** -12 and abs(power) < mp.mpf(10) ** -12
    return exponent, logarithms, bool(sharp)


def _rational(number: mp.mpf) -> sp.Rational:
    for denominator in range(1, _DENOMINATOR + 1):
        nearest = mp.nint(number * denominator)
        if abs(number * denominator - nearest) < mp.mpf(10) ** -4:
            return sp.Rational(int(nearest), denominator)
    return sp.Rational(int(mp.nint(number * 10**6)), 10**6)
