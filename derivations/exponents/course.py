r"""Where a flow of the mean square of neurons goes in the long run: what a network does whose terms are too strong."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import mpmath as mp
import sympy as sp

from derivations.exponents.maps import steady

_FAR = 12  # octaves beyond 1 at which growth is measured
_CLOSE = sp.Rational(1, 40)


@dataclass(frozen=True)
class Course:
    r"""The long run of :math:`\dot V = b(V)` from any start.

    Parameters
    ----------
    kind : str
        ``"rests"``, ``"grows"``, ``"explodes"``, ``"vanishes"``, ``"settles"``; ``"at most"`` where a bound of the growth is known.
    power : Expr or None
        r of :math:`b \sim V^r` where V grows.
    values : tuple of Expr
        Where V settles.
    """

    kind: str
    power: sp.Expr | None = None
    values: tuple[sp.Expr, ...] = ()


def course(rate: sp.Expr, v: sp.Symbol) -> Course | None:
    """The long run of a flow; None where it is not decided.

    Examples
    --------
    >>> V = sp.Symbol("V", positive=True)
    >>> course(V / 2, V).kind, course(sp.Integer(1), V).power, course(V * (1 - V), V).values
    ('grows', 0, (1,))
    """
    rate = sp.expand(rate)
    if rate == 0:
        return Course("rests")
    if rate.free_symbols - {v}:
        return None
    power = sp.cancel(v * sp.diff(rate, v) / rate) if not rate.has(sp.Integral) else sp.nan
    if power.is_number and power is not sp.nan:
        return _of_power(power, bool(rate.subs(v, 1).is_positive))
    if rate.is_polynomial(v):
        roots = sorted((r for r in sp.roots(sp.Poly(rate, v)) if r.is_positive), key=sp.N)
        leading = sp.Poly(rate, v)
        if leading.LC().is_negative:
            stable = tuple(r for r in roots if sp.diff(rate, v).subs(v, r).is_negative)
            return Course("settles", None, stable) if stable else Course("vanishes")
        if not roots:
            return _of_power(sp.Integer(leading.degree()), True)
        return None
    return _measured(rate, v)


def _of_power(power: sp.Expr, grows: bool) -> Course:
    if not grows:
        return Course("vanishes", power)
    return Course("explodes" if (power - 1).is_positive else "grows", power)


def _measured(rate: sp.Expr, v: sp.Symbol) -> Course | None:
    """From values on a geometric grid."""
    function = steady(rate, v)
    points = [(at, function(at)) for at in (mp.mpf(2) ** k for k in range(-_FAR, _FAR + 1, 4))]
    known = [(at, value) for at, value in points if value is not None and value != 0]
    if any(value is None for _, value in points) or not known:
        return None
    values, signs = [value for _, value in known], {mp.sign(value) for _, value in known}
    if len(signs) == 1 and len(known) < len(points):  # it rests at a point and goes on beyond
        return None
    if signs == {-1}:
        return Course("vanishes")
    if signs != {1}:
        changes = [k for k, (a, b) in enumerate(pairwise(values)) if a > 0 > b]
        if len(changes) != 1 or values[-1] > 0:
            return None
        root = mp.findroot(function, (known[changes[0]][0], known[changes[0] + 1][0]), solver="anderson")
        return Course("settles", None, (sp.Float(root, 6),))
    measured = mp.log(values[-1] / values[-2], 2) / 4
    nearest = sp.Rational(int(mp.nint(4 * measured)), 4)
    return _of_power(nearest, True) if abs(nearest - measured) < _CLOSE else None
