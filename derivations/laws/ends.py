r"""What the process does at an end that its Lamperti coordinate reaches at a finite length.

Near such an end, at distance y, :math:`u \sim y^{e}` and :math:`\beta = (\log u)' \sim e/y`. The kernel with absorbing ends
falls off like the *smaller* solution. If u is that one, :math:`u/u_0` times the kernel is Doob's transform of a process killed at the
end into one that never gets there: the end is unattainable and no mass is lost. If u is the larger one, the process gets
there, and what happens then is the rule of :mod:`derivations.calculus.ends`.
"""

from __future__ import annotations

from enum import Enum

import sympy as sp

from derivations.calculus.ends import AtEnd
from derivations.calculus.lamperti import LampertiForm, tidy
from derivations.calculus.towards import limit_towards
from derivations.errors import NoClosedForm


class NoKernelAtEnd(NoClosedForm):
    """The potential is that of a family, and none of its kernels has what the process does at an end."""


class End(Enum):
    """How an end at finite length in the Lamperti coordinate behaves."""

    UNATTAINABLE = "never reached"
    ABSORBING = "reached, and the process stays there"
    REFLECTING = "reached, and left at once"


def end_value(expr: sp.Expr, form: LampertiForm, right: bool) -> sp.Expr:
    """The limit of a function of x at an end of the interval."""
    end = form.interval[int(right)]
    value = expr.subs(form.state, end)
    if value.is_finite or value in (sp.oo, -sp.oo):
        return value
    return limit_towards(expr, form.state, end, "-" if right else "+") if end.is_number else value


def goes_on(form: LampertiForm, right: bool, distance: sp.Expr) -> bool:
    r"""Whether the equation takes the process back from an end, as :mod:`derivations.calculus.ends` says; ``distance`` is that along y.

    It is not held there before: with :math:`a \sim x^p`, p < 1, and a drift c at the end, the potential has a term
    :math:`y^{-1-q}`, :math:`q = p/(2-p) < 1`, with a coefficient :math:`\propto qc`, which no family has.
    """
    inward = -form.drift if right else form.drift
    if inward == 0:
        return False
    value, order = end_value(inward, form, right), sp.S.Zero
    if not value.is_finite:
        value = end_value(tidy(inward * distance / form.scale), form, right)  # the coefficient of 1/y in the drift of Y
        order = -sp.S.One if value.is_finite else sp.S.One
    noise = sp.Integer(end_value(form.scale, form, right) == 0)
    return bool(AtEnd(value, order, noise).comes_back(lambda number: sp.sympify(form.sign(number) > 0)))


def regular_end(form: LampertiForm, right: bool, distance: sp.Expr) -> End:
    r"""The kind of an end at which the potential stays bounded: u vanishes there iff :math:`\beta` is infinite."""
    if end_value(form.beta, form, right).is_infinite:
        return End.UNATTAINABLE
    return End.REFLECTING if goes_on(form, right, distance) else End.ABSORBING
