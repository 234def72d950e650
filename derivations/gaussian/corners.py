r"""Where a function of one variable is not smooth, and like which power it behaves there.

A Gaussian mean exists near such a point exactly if the function grows slower than the inverse distance. Exponents are read off
values at distances :math:`10^{-50}, 10^{-100}, 10^{-200}`: for :math:`f \sim C d^a |\log d|^k` three values give C, a and k.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

import mpmath as mp
import sympy as sp

from derivations.errors import DerivationError
from derivations.evaluation import in_mpmath
from derivations.piecewise import IsolatedRoot, Piece, pieces
from derivations.piecewise.expansion import plain
from derivations.piecewise.solving import singular_points
from derivations.piecewise.terms import is_zero

_NEAR = (50, 100, 200)  # distances, as negative powers of ten
_DIGITS, _MOST_DIGITS = 700, 12_000
_SURE = 100  # digits in which values at two precisions agree
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

    @property
    def smooth(self) -> bool:
        """Whether the function is smooth up to the point from both sides, as at a kink or jump."""
        return self.left.smooth and self.right.smooth

    @property
    def power(self) -> int:
        """A power p such that integrals are smooth, or bend little, in u where the distance is the p-th power of u."""
        root = sp.ilcm(self.left.root, self.right.root)
        return int(root or sp.ceiling(3 / (1 + min(0, self.left.exponent, self.right.exponent))))


#: The distance from a corner.
DISTANCE = sp.Symbol("d", positive=True)


_X = sp.Symbol("x", real=True)


class Corners(NamedTuple):
    """Corners in increasing order, and why there may be more; the reason is empty where these are proved to be all."""

    points: tuple[Corner, ...]
    doubt: str


def corners(expr: sp.Expr, variable: sp.Symbol) -> tuple[Corner, ...]:
    """Points at which a function without parameters is not smooth, in increasing order.

    Examples
    --------
    >>> x = sp.Symbol("x", real=True)
    >>> [(c.point, c.left.exponent, c.right.smooth) for c in corners(sp.sqrt(abs(x - 1)), x)]
    [(1, 1/2, False)]
    """
    return all_corners(expr, variable).points


def all_corners(expr: sp.Expr, variable: sp.Symbol) -> Corners:
    """The corners, and whether they are all."""
    return _found(expr.xreplace({variable: _X}))


@lru_cache(maxsize=512)
def _found(expr: sp.Expr) -> Corners:
    parts = pieces(expr, _X)
    found: list[Corner] = []
    doubt = ""
    for index, part in enumerate(parts):
        if index:
            found.append(_corner(part.left, parts[index - 1], part))
        if _guards(part.expr):
            inside = singular_points(part.expr, _X, part.left, part.right)
            doubt = doubt or inside.doubt
            found += [_corner(point, part, part) for point in inside.zeros]
    kept = (c for c in found if not (c.left.smooth and c.right.smooth and c.left.formula == _mirrored(c.right)))
    return Corners(tuple(kept), doubt)


def check_corners(expr: sp.Expr, variable: sp.Symbol, what: str) -> None:
    """Refuse a function that is not integrable at a point.

    Raises
    ------
    DerivationError
        If it grows like the inverse distance or faster.
    """
    if not _guards(expr.xreplace({variable: _X})):
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


def _corner(point: sp.Expr, before: Piece, after: Piece) -> Corner:
    return Corner(point, _side(before.expr, point, -1), _side(after.expr, point, 1))


def _side(expr: sp.Expr, point: sp.Expr, sign: int) -> Side:
    formula = around(expr, _X, point, sign)
    singular = [(guard, power) for guard, power in _guards(expr) if _vanishes(guard, point)]
    if not singular:
        return Side(formula, True, sp.S.Zero, 0, 1)
    exponent, logarithms, algebraic = _leading(formula)
    root = sp.ilcm(1, exponent.q, *(p.q for _, p in singular if p)) if algebraic and all(p for _, p in singular) else 0
    return Side(formula, False, exponent, logarithms, int(root))


def around(expr: sp.Expr, variable: sp.Symbol, point: sp.Expr, sign: int) -> sp.Expr:
    """The function at ``point + sign * DISTANCE``, polynomials multiplied out so that the point itself cancels."""
    moved = expr.xreplace({variable: point + sign * DISTANCE})

    def collected(node: sp.Expr) -> sp.Expr:
        return sp.expand(node) if node.is_polynomial(DISTANCE) and sp.degree(node, DISTANCE) <= _GROWN else node

    return moved.replace(lambda node: node.is_Add and node.has(DISTANCE), collected)


@lru_cache(maxsize=512)
def _guards(expr: sp.Expr) -> tuple[tuple[sp.Expr, sp.Rational | None], ...]:
    """Functions at whose zeros a part of the formula is not smooth, and the power of them that it is; None for another function."""
    found: dict[tuple[sp.Expr, sp.Rational | None], None] = {}
    for node in sp.preorder_traversal(plain(expr)):
        if not node.has(_X):
            continue
        if isinstance(node, sp.Pow) and node.base.has(_X) and not (node.exp.is_Integer and node.exp.is_positive):
            found[node.base, node.exp if node.exp.is_Rational else None] = None
        elif isinstance(node, sp.log | sp.gamma | sp.loggamma):
            found[node.args[0], None] = None
        elif isinstance(node, sp.asin | sp.acos | sp.atanh | sp.acosh | sp.erfinv):
            algebraic = sp.S.Half if isinstance(node, sp.asin | sp.acos) else None
            found |= {(node.args[0] - 1, algebraic): None, (node.args[0] + 1, algebraic): None}
    return tuple(found)


def _vanishes(guard: sp.Expr, point: sp.Expr) -> bool:
    return is_zero(guard.xreplace({_X: point}))


def _leading(formula: sp.Expr) -> tuple[sp.Rational, int, bool]:
    """Exponent, power of the logarithm, and whether both are what the values say to many digits."""
    with mp.workdps(_DIGITS):
        values = _near(formula)
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


def _near(formula: sp.Expr) -> list[mp.mpf]:
    """Sizes at the small distances, with as many digits as are lost where large terms cancel; 0 where none are left."""
    digits, before = _DIGITS, None
    while digits <= _MOST_DIGITS:
        roots = {root: root.evalf(digits) for root in formula.atoms(IsolatedRoot)}
        function = in_mpmath(DISTANCE, formula.xreplace(roots))
        with mp.workdps(digits):
            values = [abs(mp.mpmathify(function(mp.mpf(10) ** -k))) for k in _NEAR]
            if before is not None and all(
                abs(v - w) <= mp.mpf(10) ** -_SURE * v for v, w in zip(values, before, strict=True)
            ):
                return values
        digits, before = 2 * digits, values
    return [mp.mpf(0)] * len(_NEAR)


def _rational(number: mp.mpf) -> sp.Rational:
    for denominator in range(1, _DENOMINATOR + 1):
        nearest = mp.nint(number * denominator)
        if abs(number * denominator - nearest) < mp.mpf(10) ** -4:
            return sp.Rational(int(nearest), denominator)
    return sp.Rational(int(mp.nint(number * 10**6)), 10**6)
