r"""What the process does at an end that its Lamperti coordinate reaches at a finite length.

Near such an end, at distance y, :math:`u \sim y^{e}` and :math:`\beta = (\log u)' \sim e/y`. The kernel with absorbing ends
falls off like the *smaller* solution. If u is that one, :math:`u/u_0` times the kernel is Doob's transform of a process killed at the
end into one that never gets there: the end is unattainable and no mass is lost. If u is the larger one, the process gets
there, and what happens then is decided by the equation itself: it goes on if its drift points inward where its noise vanishes (or if
the drift becomes infinite there), and it stays where noise and drift both vanish.
"""

from __future__ import annotations

from enum import Enum

import sympy as sp

from derivations.calculus.lamperti import LampertiForm, tidy


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
    return sp.limit(expr, form.state, end, "-" if right else "+") if end.is_number else value


def goes_on(form: LampertiForm, right: bool, distance: sp.Expr) -> bool:
    """Whether the drift takes the process back inside from an end at which its noise vanishes, or is infinite there."""
    inward = -form.drift if right else form.drift
    if inward == 0:
        return False
    value = end_value(inward, form, right)
    if value.is_finite:
        return end_value(form.scale, form, right) == 0 and form.sign(value) > 0
    strength = end_value(tidy(inward * distance / form.scale), form, right)  # the coefficient of 1/y in the drift of Y
    return bool(strength.is_finite) and form.sign(strength) > 0


def regular_end(form: LampertiForm, right: bool, distance: sp.Expr) -> End:
    r"""The kind of an end at which the potential stays bounded: u vanishes there iff :math:`\beta` is infinite."""
    if end_value(form.beta, form, right).is_infinite:
        return End.UNATTAINABLE
    return End.REFLECTING if goes_on(form, right, distance) else End.ABSORBING
