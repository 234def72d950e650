r"""Diffusions whose depth-dependent weights only change the clock.

If :math:`b(x, t) = g(t)\,b_0(x)` and :math:`a(x, t) = g(t)\,a_0(x)` with :math:`g \ge 0`, then :math:`X_t = Y_{C(t)}` in law, where Y has the
coefficients :math:`b_0, a_0` and

.. math:: C(t) = \int_0^t g(s)\,\mathrm{d}s .
"""

from __future__ import annotations

from dataclasses import dataclass

import sympy as sp

from derivations.diffusion import Diffusion
from derivations.errors import DerivationError, NoClosedForm


@dataclass(frozen=True)
class Clock:
    r"""A time-dependent diffusion as one that is not, in another clock.

    Parameters
    ----------
    base : Diffusion
        Y, with coefficients that do not depend on time.
    speed : Expr
        g, a function of ``time``.
    time : Symbol
    """

    base: Diffusion
    speed: sp.Expr
    time: sp.Symbol

    @property
    def reading(self) -> sp.Expr:
        r""":math:`C(t)`, closed where SymPy integrates g.

        Raises
        ------
        DerivationError
            If the integral is not finite.
        """
        s = sp.Dummy("s", positive=True)
        moved = sp.Symbol(self.time.name, positive=True)
        found = sp.integrate(self.speed.xreplace({self.time: s}), (s, 0, moved))
        if found.has(sp.oo, sp.zoo, sp.nan):
            raise DerivationError(
                f"the variance {self.speed} is not integrable from 0: all of the motion happens at once"
            )
        return found.xreplace({moved: self.time})

    def at(self, t: object) -> sp.Expr:
        r""":math:`C(t)` as a number.

        Raises
        ------
        DerivationError
            If g is negative or not finite between 0 and t, or its integral is not finite.
        """
        end = sp.Rational(str(t)) if isinstance(t, float) else sp.sympify(t)
        for k in range(1, 64):
            value = self.speed.xreplace({self.time: end * sp.Rational(2 * k - 1, 126)})
            if not value.is_number or not value.is_extended_real or value.is_infinite or value.is_negative:
                raise DerivationError(
                    f"the variance {self.speed} is {value} at {self.time} = {sp.N(end * sp.Rational(2 * k - 1, 126), 5)}, "
                    "expected a finite number ≥ 0"
                )
        reading = sp.N(self.reading.xreplace({self.time: end}), 30)
        if not reading.is_finite:
            raise DerivationError(f"the variance {self.speed} is not integrable up to {self.time} = {t}")
        return reading


def own_clock(process: Diffusion) -> Clock:
    """Separate time from the state in the coefficients of a scalar diffusion.

    Raises
    ------
    NoClosedForm
        If they are not a common function of time times functions of the state.

    Examples
    --------
    >>> x, t = sp.Symbol("x", real=True), sp.Symbol("t", positive=True)
    >>> clock = own_clock(Diffusion((x,), [0], [[x**2 * (1 + t)]], time=t))
    >>> clock.base.covariance[0], sp.expand(clock.reading)
    (x**2, t**2/2 + t)
    """
    (x,), (b,), (a,) = process.states, process.drift, process.covariance
    if process.time not in a.free_symbols | b.free_symbols:
        return Clock(process, sp.S.One, process.time)
    start = next((t for t in _TIMES if _moves(a.xreplace({process.time: t}))), None)
    at = next((p for p in _POINTS if start is not None and _moves(a.xreplace({process.time: start, x: p}))), None)
    if start is None or at is None:
        raise NoClosedForm("where the noise does not vanish is not found, so the clock is not known")
    first = a.xreplace({process.time: start})
    speed = sp.factor_terms(sp.cancel(a.xreplace({x: at}) / first.xreplace({x: at})))
    drift = b.xreplace({process.time: start})
    for whole, part in ((a, first), (b, drift)):
        for point in _POINTS:
            for t in _TIMES[1:]:
                here = {x: point, process.time: t}
                difference = sp.N(whole.xreplace(here) - speed.xreplace(here) * part.xreplace(here), 30)
                singular = difference.has(sp.nan, sp.zoo, sp.oo)
                if singular or (difference.is_number and abs(difference) > sp.Rational(1, 10**20)):
                    raise NoClosedForm(
                        "the coefficients are not a common function of time times functions of the state, so no change of clock "
                        "removes time; simulate it"
                    )
    return Clock(Diffusion((x,), [drift], [[first]], process.domain), speed, process.time)


#: Where coefficients are looked at: the start of time first.
_TIMES = tuple(sp.Rational(k, 7) for k in (0, 7, 2, 5, 11, 23))
_POINTS = tuple(sp.Rational(k, 11) for k in (7, -5, 19, -27, 2, 41))


def _moves(value: sp.Expr) -> bool:
    return value != 0 and not value.has(sp.zoo, sp.oo, sp.nan)
