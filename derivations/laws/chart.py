r"""Lamperti coordinates measured from an end: the distance y from an end that z reaches at finite length."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import sympy as sp

from derivations.calculus.invert import invert
from derivations.calculus.lamperti import LampertiForm, back_from, tidy
from derivations.calculus.logs import real_logs
from derivations.calculus.quadratic import Quadratic
from derivations.calculus.towards import limit_towards
from derivations.errors import NoClosedForm
from derivations.piecewise import Piece


@dataclass(frozen=True)
class Chart:
    r"""A coordinate y with :math:`|\mathrm{d}y/\mathrm{d}x| = 1/\varphi` on (0, length), or on the line.

    Parameters
    ----------
    coordinate : Expr
        y as a function of x, without cancellation where y is small.
    back : Lambda
        x as a function of y.
    direction : int
        1 if y grows with x, else −1.
    length : Expr
        ``oo`` on a half-line and on the line.
    complement : Expr or None
        On a bounded interval, length − y without cancellation.
    on_line : bool
        Whether y covers the whole line.
    """

    coordinate: sp.Expr
    back: sp.Lambda
    direction: int
    length: sp.Expr = sp.oo
    complement: sp.Expr | None = None
    on_line: bool = False


def antiderivative(form: LampertiForm) -> sp.Expr:
    r"""An antiderivative :math:`z = \int \mathrm{d}x/\varphi` on the interval."""
    p, inside = form.on_interval
    speed = tidy(sp.powdenest(1 / form.scale.subs(form.state, inside), force=False))
    integral = sp.integrate(sp.powsimp(speed) * sp.diff(inside, p), p)
    if integral.has(sp.Integral, sp.Piecewise):
        raise NoClosedForm(f"∫ dx/({form.scale}) is not elementary")
    back = back_from(inside, p, form.state)
    return real_logs(integral.subs(p, back), form)


@lru_cache(maxsize=256)
def inverted(form: LampertiForm, coordinate: sp.Expr, positive: bool) -> sp.Lambda:
    """X as a function of a coordinate."""
    y = sp.Dummy("y", positive=True) if positive else sp.Dummy("y", real=True)
    left, right = form.interval
    return sp.Lambda(y, invert(coordinate, form.state, y, Piece(left, right, coordinate).interior()))


def finite_length(form: LampertiForm) -> Chart:
    r"""The coordinate measured from an end that z reaches at finite length, the left one if both are.

    Raises
    ------
    NoClosedForm
        If z reaches neither end, or has no closed form.
    """
    q = Quadratic.of(sp.expand(form.scale), form.state)
    return _quadratic(form, q) if q is not None else _general(form)


def _quadratic(form: LampertiForm, q: Quadratic) -> Chart:
    left, right = form.interval
    kind = form.sign(q.discriminant)
    if kind < 0 and (left, right) == (-sp.oo, sp.oo):
        below, above, length, back = q.without_zeros()
        return Chart(below, back, 1, length, above)
    if kind == 0 and -q.b / (2 * q.a) in (left, right) and {left, right} & {sp.oo, -sp.oo}:
        distance, back = q.double_zero()
        if right == sp.oo:
            return Chart(distance, back, -1)
        d = sp.Dummy("d", positive=True)
        return Chart(-distance, sp.Lambda(d, back(-d)), 1)
    if kind > 0 and right == sp.oo and sp.expand(left - q.roots[1]) == 0:
        distance, back = q.beyond(right=True)
        return Chart(distance, back, -1)
    if kind > 0 and left == -sp.oo and sp.expand(right - q.roots[0]) == 0:
        distance, back = q.beyond(right=False)
        return Chart(distance, back, 1)
    return _general(form)


def _general(form: LampertiForm) -> Chart:
    x = form.state
    z = antiderivative(form)
    low, high = (_limit(z, form, right) for right in (False, True))
    if low.is_finite and high.is_finite:
        below, above = tidy(z - low), tidy(high - z)
        return Chart(below, inverted(form, below, True), 1, sp.expand(high - low), above)
    if low.is_finite:
        y = tidy(z - low)
        return Chart(y, inverted(form, y, True), 1)
    if high.is_finite:
        y = tidy(high - z)
        return Chart(y, inverted(form, y, True), -1)
    raise NoClosedForm(f"the Lamperti coordinate {z} of {x} reaches neither end at a finite length")


def _limit(z: sp.Expr, form: LampertiForm, right: bool) -> sp.Expr:
    end = form.interval[int(right)]
    value = z.subs(form.state, end)
    if value.is_extended_real:
        return value
    return limit_towards(z, form.state, end, "-" if right else "+")
