r"""What a scalar diffusion does at an end that it reaches: one rule, whoever gathers the evidence for it.

At distance y from the end let the inward drift be :math:`\sim c\,y^{k}` and the variance :math:`\sim y^{p}`. The equation takes the
process back iff :math:`c > 0` and

* the drift explodes, :math:`k < 0`: the process is left to it at once; or
* the drift has a limit, :math:`k = 0`, and the noise vanishes, :math:`p > 0`. By Tanaka's formula at the end, with :math:`\ell` the local
  time of the semimartingale there, :math:`c \int 1_{\{y = 0\}}\,\mathrm{d}t = \tfrac12 \ell`, and by the occupation formula
  :math:`\int \ell^y\,y^{-p}\,\mathrm{d}y < \infty`. So for :math:`p \ge 1` both sides are 0: the process spends no time at the end (Cox,
  Ingersoll and Ross). For :math:`p < 1` the end is *sticky*: the process is held there for times that add up to
  :math:`\ell/2c`, which is an atom :math:`1/(c\,s(0))` of the speed measure. Reflection at once would add a push that the
  equation does not hold.

Elsewhere an end that is reached keeps what reaches it: where noise and drift vanish because the constant solves the equation, where the
noise does not vanish by definition of the domain.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import sympy as sp

from derivations.calculus.finiteness import Condition, leading, reduced, relation


@dataclass(frozen=True)
class AtEnd:
    r"""The leading powers of drift and variance at an end.

    Parameters
    ----------
    drift : Expr
        The c of :math:`\mu \sim c\,y^k`, inward; only its sign matters.
    order : Expr
        The k, or a number of its sign.
    noise : Expr
        The p of :math:`a \sim y^p`, or what lies on the same side of 0 and 1.

    Examples
    --------
    >>> c, p = sp.Symbol("c", real=True), sp.Symbol("p", positive=True)
    >>> AtEnd(c, sp.S.Zero, sp.S.One).comes_back(), AtEnd(sp.S.One, sp.S.Zero, p).sticks()
    (c > 0, p < 1)
    """

    drift: sp.Expr
    order: sp.Expr
    noise: sp.Expr

    @classmethod
    def of(cls, drift: sp.Expr, variance: sp.Expr, y: sp.Symbol) -> AtEnd:
        """From inward drift and variance as functions of the distance, by their leading terms."""
        order, coefficient = leading(drift, y)
        if order > 0 or (coefficient.is_number and not coefficient > 0):
            return cls(sp.S.Zero, sp.S.One, sp.S.One)  # the noise does not matter
        power, exponent = leading(y * reduced(sp.diff(variance, y) / variance), y)
        if power < 0 and exponent.is_number:  # flatter than every power, or steeper
            exponent = sp.sign(exponent) * sp.oo
        return cls(coefficient, sp.Integer(order), exponent if power <= 0 else sp.S.Zero)

    def comes_back(self, positive: Callable[[sp.Expr], Condition] | None = None) -> Condition:
        """Whether the equation takes the process back.

        Parameters
        ----------
        positive : callable, optional
            Decides a sign; a relation in the parameters by default.
        """
        sign = positive or _positive
        if self.drift == 0 or self.order.is_positive:
            return sp.false
        if self.order.is_negative:
            return sign(self.drift)
        quiet = sign(self.noise)  # first, since without noise at the end the drift's sign need not be known
        return sp.false if quiet == sp.false else sp.And(quiet, sign(self.drift))

    def sticks(self, positive: Callable[[sp.Expr], Condition] | None = None) -> Condition:
        """Whether it is held there for a time before."""
        sign = positive or _positive
        if self.order != 0:
            return sp.false
        return sp.And(self.comes_back(sign), sign(1 - self.noise))


def _positive(value: sp.Expr) -> Condition:
    return relation(value) if value.free_symbols else sp.sympify(value > 0)
