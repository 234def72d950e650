r"""Means of products over a pair, by the angle of the pair where their terms cancel.

The mean of two kinked functions is a sum of :math:`\arcsin(c/\sqrt{ab})`, :math:`\sqrt{ab - c^2}` and powers of c. With
:math:`c = -\sqrt{ab}\cos\theta` it is :math:`\sum_k m_k(a, b)\,\kappa_k(\theta)`, each :math:`\kappa_k` of one variable, and its terms cancel
twice: at :math:`\theta \to 0`, where two neurons are opposite and what is left is of the order :math:`\theta^3` for ReLU, of
:math:`\theta^5` for its square; and at :math:`\theta \to \pi/2`, where they are independent and functions with a mean near 0 leave a
product of two small means. At both ends the expansions of :math:`\kappa_k` stand in, and at the second the product of the means is
split off as a product.

What is left is what rounding the entries themselves does: a share of about :math:`2^{-52}/(1 + \rho)` of a mean near
:math:`\rho = -1`, which no formula in the entries can avoid.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import sympy as sp

from derivations.piecewise.expansion import expansion_at
from derivations.piecewise.terms import is_flat
from numerics.backends.kinks import Where
from numerics.backends.many_digits import many_digits
from numerics.backends.sides import UNKNOWN, Side, X
from numerics.backends.tails import meets, written_expansion

_SPAN = (20,)  # powers of the angle that an expansion holds
_ABOVE = Side(1, False)
_BELOW = Side(-1, False)


class Angle(NamedTuple):
    """A covariance c, the root of its determinant, and the variances whose product it is of."""

    covariance: sp.Symbol
    root: sp.Expr
    variances: tuple[sp.Symbol, ...]


def small_angles(expr: sp.Expr) -> sp.Expr:
    """Take the expansion in the angle where the sum over kinked functions of a pair cancels; the angle is written as ``atan2`` before.

    Examples
    --------
    >>> from numerics.backends.correlations import correlation_angles
    >>> a, b = sp.symbols("a b", positive=True)
    >>> c = sp.Symbol("c", real=True)
    >>> mean = c * sp.asin(c / (sp.sqrt(a) * sp.sqrt(b))) / (2 * sp.pi) + c / 4 + sp.sqrt(a * b - c**2) / (2 * sp.pi)
    >>> small_angles(correlation_angles(mean)).args[0]
    (a > 0) & (b > 0) & (atan2(sqrt(Max(0, a*b - c**2)), -c) < 1/4)
    """
    return expr.replace(lambda node: isinstance(node, sp.Add) and node.has(sp.atan2), _mended)


@lru_cache(maxsize=1024)
def _mended(total: sp.Add) -> sp.Expr:
    angle = _angle(total)
    if angle is None:
        return total
    positive = {v: sp.Dummy(v.name, positive=True) for v in angle.variances}
    back = {dummy: sp.Abs(v) for v, dummy in positive.items()}  # of two negative numbers, which the condition keeps out
    root = angle.root.xreplace(positive)
    inside = Angle(angle.covariance, root, tuple(positive[v] for v in angle.variances))
    parts = _parts(total.xreplace(positive), inside)
    if parts is None:
        return total
    found: sp.Expr = total
    for branch in (_near_opposition(parts, inside), _near_independence(parts, inside)):
        if branch is not None:
            small, formula = (part.xreplace({root: angle.root}).xreplace(back) for part in branch)
            condition = sp.And(small, *(sp.Gt(v, 0, evaluate=False) for v in angle.variances))
            found = Where(condition, formula, found)
    return found


def _angle(total: sp.Expr) -> Angle | None:
    """The one pair whose angle is in a sum; None where there are several, or its covariance is a formula."""
    angles = total.atoms(sp.atan2)
    if len(angles) != 1:
        return None
    c, root = angles.pop().args
    if not (c.is_Symbol and root.is_Pow and root.exp == sp.S.Half and isinstance(root.base, sp.Max)):
        return None
    determinant = next((arg for arg in root.base.args if arg != 0), sp.S.Zero)
    product = sp.expand(determinant + c**2)
    number, factors = product.as_coeff_mul()
    if number != 1 or len(root.base.args) != 2 or not all(v.is_Symbol for v in factors) or c in factors:
        return None
    return Angle(c, root, tuple(factors))


def _parts(total: sp.Expr, angle: Angle) -> dict[sp.Expr, sp.Expr] | None:
    """The functions of the angle, in X, by what they are multiplied with; None where some other function holds both."""
    size = sp.Mul(*map(sp.sqrt, angle.variances))
    squared = angle.root.base
    rules = {
        power: (size * sp.sin(X)) ** (2 * power.exp)
        for power in total.atoms(sp.Pow)
        if power.base == squared and (2 * power.exp).is_Integer
    }
    turned = total.xreplace({angle_: X - sp.pi / 2 for angle_ in total.atoms(sp.atan2)}).xreplace(rules)
    turned = turned.xreplace({angle.covariance: -size * sp.cos(X)})
    if turned.has(sp.Max, sp.Piecewise, Where):
        return None
    found: dict[sp.Expr, sp.Expr] = {}
    for term in sp.Add.make_args(sp.expand(turned)):
        factors = sp.Mul.make_args(term)
        of_angle = [f for f in factors if f.has(X) or not f.free_symbols]
        if any(f.free_symbols - {X} for f in of_angle):
            return None
        key = sp.Mul(*(f for f in factors if f not in of_angle))
        found[key] = found.get(key, sp.S.Zero) + sp.Mul(*of_angle)
    return {key: kappa for key, kappa in found.items() if kappa != 0}


def _near(
    parts: dict[sp.Expr, sp.Expr], place: sp.Expr, ends: tuple[Side, ...], least: int
) -> tuple[sp.Basic, sp.Expr] | None:
    """The condition that an angle is small, and the sum of the expansions there, if one of them is of a higher order than the least."""
    total, edge, cancels = sp.S.Zero, sp.S.Half, False
    for key, kappa in parts.items():
        try:
            formula, t, order = _expansion(kappa, ends)
        except UNKNOWN:
            return None
        cancels |= bool(order > least)
        edge = min(edge, t)
        total += key * formula.xreplace({X: place})
    size = place if len(ends) == 1 else sp.Abs(place)
    return (sp.Lt(size, edge, evaluate=False), total) if cancels else None


@lru_cache(maxsize=256)
def _expansion(kappa: sp.Expr, ends: tuple[Side, ...]) -> tuple[sp.Expr, sp.Rational, sp.Expr]:
    """A polynomial in X that is a function of it to double precision from 0 to some place, and its order at 0."""
    if not kappa.has(X):
        return kappa, sp.S.Half, sp.S.Zero
    found = expansion_at(kappa, X, sp.S.Zero, 1, _SPAN)
    if not found.terms and is_flat(found.error):
        return sp.S.Zero, sp.S.Half, sp.S.Zero
    formula = written_expansion(found, _ABOVE)
    truth = many_digits(kappa)
    return formula, min(meets(formula, end, truth).t for end in ends), found.leading[0]


def _near_opposition(parts: dict[sp.Expr, sp.Expr], angle: Angle) -> tuple[sp.Basic, sp.Expr] | None:
    """Near the correlation -1, where a sum of the size of the angle's root may leave its third power."""
    return _near(parts, sp.atan2(angle.root, -angle.covariance), (_ABOVE,), 1)


def _near_independence(parts: dict[sp.Expr, sp.Expr], angle: Angle) -> tuple[sp.Basic, sp.Expr] | None:
    """Near the correlation 0, the product of both means and what the correlation adds; None where that is no product of two factors."""
    turned = {key: kappa.xreplace({X: X + sp.pi / 2}) for key, kappa in parts.items()}
    apart = {key: sp.expand(kappa.xreplace({X: sp.S.Zero})) for key, kappa in turned.items()}
    apart = {key: value for key, value in apart.items() if value != 0}
    product = _product(apart, angle)
    if product is None:
        return None
    added = {key: kappa - apart.get(key, sp.S.Zero) for key, kappa in turned.items()}
    found = _near(
        {k: a for k, a in added.items() if a != 0}, sp.atan2(angle.covariance, angle.root), (_ABOVE, _BELOW), 0
    )
    return None if found is None else (found[0], product + found[1])


def _product(terms: dict[sp.Expr, sp.Expr], angle: Angle) -> sp.Expr | None:
    """A sum over monomials in both variances as a product of a sum in each; None for one term, which cancels nothing."""
    if len(angle.variances) != 2 or len(terms) < 2:
        return None
    first, second = angle.variances
    table: dict[tuple[sp.Expr, sp.Expr], sp.Expr] = {}
    for key, value in terms.items():
        one, other = key.as_independent(second)
        if one.free_symbols - {first} or other.free_symbols - {second}:
            return None
        table[one, other] = value
    row, column = next(iter(table))
    pivot = table[row, column]
    rows = {one: table.get((one, column), sp.S.Zero) for one, _ in table}
    columns = {other: table.get((row, other), sp.S.Zero) for _, other in table}
    for one, left in rows.items():
        for other, right in columns.items():
            if sp.expand(table.get((one, other), sp.S.Zero) * pivot - left * right) != 0:
                return None
    whole = sp.Add(*(one * value for one, value in rows.items()))
    share = sp.Add(*(other * sp.radsimp(value / pivot) for other, value in columns.items()))
    return sp.Mul(whole, share, evaluate=False)
