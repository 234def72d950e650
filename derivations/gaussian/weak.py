r"""Derivatives of piecewise smooth functions in the weak sense: a formula and Dirac masses at the breakpoints.

A jump h at l adds :math:`h\,\delta(x - l)` to the derivative, and one more derivative makes it
:math:`h\,\delta'(x - l)`. Against a density p, :math:`\int \delta^{(k)}(x - l)\,p = (-1)^k p^{(k)}(l)`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import sympy as sp

from derivations.piecewise import Piece, join, pieces


@dataclass(frozen=True)
class Mass:
    r""":math:`\text{weight}\cdot\delta^{(\text{order})}(x - \text{point})`."""

    weight: sp.Expr
    point: sp.Expr
    order: int


@dataclass(frozen=True)
class Weak:
    """A piecewise smooth formula plus masses, as a derivative of a function of one variable."""

    regular: sp.Expr
    masses: tuple[Mass, ...]
    variable: sp.Symbol

    def mean(self, expect: Callable[..., sp.Expr], mean: sp.Expr, variance: sp.Expr) -> sp.Expr:
        """Gaussian mean; ``expect`` takes the formula, the masses meet the density."""
        density = normal_density(self.variable, mean, variance)
        return expect(self.regular, self.variable, variance, mean) + sum(
            (against(mass, density, self.variable) for mass in self.masses), sp.S.Zero
        )


def against(mass: Mass, density: sp.Expr, variable: sp.Symbol) -> sp.Expr:
    """The integral of one mass times a smooth function."""
    return mass.weight * (-1) ** mass.order * sp.diff(density, variable, mass.order).subs(variable, mass.point)


def normal_density(x: sp.Expr, mean: sp.Expr, variance: sp.Expr) -> sp.Expr:
    """Density of N(mean, variance) at x."""
    return sp.exp(-((x - mean) ** 2) / (2 * variance)) / sp.sqrt(2 * sp.pi * variance)


def weak_derivative(f: sp.Expr, variable: sp.Symbol, order: int = 1) -> Weak:
    """Derivative of a piecewise smooth function, kinks and jumps included.

    Parameters
    ----------
    f : Expr
        Piecewise smooth in ``variable``.
    variable : Symbol
    order : int

    Examples
    --------
    >>> x = sp.Symbol("x", real=True)
    >>> weak_derivative(sp.Max(x, 0), x, 2).masses
    (Mass(weight=1, point=0, order=0),)
    """
    parts = pieces(f, variable)
    masses: list[Mass] = []
    for _ in range(order):
        masses = [Mass(m.weight, m.point, m.order + 1) for m in masses]
        for before, after in pairwise(parts):
            jump = sp.expand((after.expr - before.expr).subs(variable, after.left))
            if jump != 0:
                masses.append(Mass(jump, after.left, 0))
        parts = tuple(Piece(p.left, p.right, sp.diff(p.expr, variable)) for p in parts)
    return Weak(join(parts, variable), tuple(masses), variable)


def weak_pair_mean(
    left: Weak,
    right: Weak,
    expect: Callable[..., sp.Expr],
    expect_pair: Callable[..., sp.Expr],
    covariance: tuple[tuple[sp.Expr, sp.Expr], tuple[sp.Expr, sp.Expr]],
) -> sp.Expr:
    r"""Mean of a product of two weak derivatives over a centred Gaussian pair.

    A mass at :math:`U = y` leaves :math:`p_U(y)\,\mathbb{E}[h(V) \mid U = y]`, a Gaussian mean in one
    variable; a mass on both sides leaves the joint density, :math:`p_U(y)\,p_{V|U=y}(w)`.
    """
    (k11, k12), (_, k22) = covariance
    x, y, w = left.variable, sp.Dummy("y", real=True), sp.Dummy("w", real=True)
    total = expect_pair(left.regular, right.regular, x, covariance)
    sides = ((left.masses, right, k11, k22), (right.masses, left, k22, k11))
    for masses, other, near, far in sides:
        if masses and other.regular != 0:
            given = expect(other.regular, x, sp.cancel(far - k12**2 / near), k12 * y / near)
            total += sum((against(mass, normal_density(y, sp.S.Zero, near) * given, y) for mass in masses), sp.S.Zero)
    joint = normal_density(y, sp.S.Zero, k11) * normal_density(w, k12 * y / k11, sp.cancel(k22 - k12**2 / k11))
    for one in left.masses:
        for two in right.masses:
            total += against(one, against(two, joint, w), y)
    return total
