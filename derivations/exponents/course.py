r"""Where a flow of the mean square of neurons goes in the long run: what a network does whose terms are too strong."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import mpmath as mp
import sympy as sp

from derivations.exponents.maps import steady

_FAR = 12  # octaves beyond 1 at which growth is measured
_STEP = 2  # octaves between the points of the grid
_CLOSE = sp.Rational(1, 40)
_DIGITS = 40
_SHOWN = 6


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
        return _of_power(power, _sign(rate.subs(v, 1)))
    if rate.is_polynomial(v):
        return _of_polynomial(sp.Poly(rate, v))
    return _measured(rate, v)


def _of_polynomial(rate: sp.Poly) -> Course | None:
    roots = _positive_roots(rate)
    if roots is None:
        return None
    ends = [sp.S.Zero, *(sp.N(root, _DIGITS) for root in roots)]
    between = [(low + high) / 2 for low, high in pairwise(ends)]
    signs = [_sign(rate.eval(at)) for at in (*between, ends[-1] + 1)]
    if not roots:
        return _of_power(sp.Integer(rate.degree()), signs[0]) if signs[0] == 1 else Course("vanishes")
    if signs != [(-1) ** k for k in range(len(signs))] or signs[-1] == 1:
        return None  # where it goes depends on the start, or it only touches 0
    return Course("settles", None, tuple(_shown(root) for root in roots[::2]))


def _positive_roots(rate: sp.Poly) -> list[sp.Expr] | None:
    """Its different positive roots in order; None where they are not found."""
    if rate.domain.is_ZZ or rate.domain.is_QQ:
        return [root for root in dict.fromkeys(rate.real_roots()) if root.is_positive]
    if rate.degree() <= 2:
        return sorted((root for root in sp.roots(rate) if _sign(root) == 1), key=lambda root: sp.N(root, _DIGITS))
    try:
        found = mp.polyroots([mp.mpf(sp.N(c, _DIGITS)) for c in rate.all_coeffs()], maxsteps=100, extraprec=200)
    except mp.NoConvergence:
        return None
    return sorted(sp.Float(root.real, _SHOWN) for root in found if mp.im(root) == 0 and mp.re(root) > 0)


def _shown(root: sp.Expr) -> sp.Expr:
    """A root as a formula where it has a short one."""
    return sp.N(root, _SHOWN) if root.has(sp.CRootOf) else root


def _of_power(power: sp.Expr, sign: int | None) -> Course | None:
    if sign is None:
        return None
    if sign < 0:
        return Course("vanishes", power)
    return Course("explodes" if _sign(power - 1) == 1 else "grows", power)


def _sign(number: sp.Expr) -> int | None:
    """The sign of a number other than 0, Gaussian means computed; None where it has no value."""
    value = sp.N(number, 15)
    return int(sp.sign(value)) if value.is_extended_real and value != 0 else None


def _measured(rate: sp.Expr, v: sp.Symbol) -> Course | None:
    """From values on a geometric grid."""
    function = steady(rate, v)
    points = [(at, function(at)) for at in (mp.mpf(2) ** k for k in range(-_FAR, _FAR + 1, _STEP))]
    known = [(at, value) for at, value in points if value is not None and value != 0]
    if any(value is None for _, value in points) or not known:
        return None
    values, signs = [value for _, value in known], {mp.sign(value) for _, value in known}
    if len(signs) == 1 and len(known) < len(points):  # it rests at a point and goes on beyond
        return None
    if signs == {-1}:
        return Course("vanishes")
    if signs != {1}:
        changes = [k for k, (a, b) in enumerate(pairwise(values)) if a * b < 0]
        if len(changes) != 1 or values[-1] > 0:
            return None  # where it goes depends on the start
        root = mp.findroot(function, (known[changes[0]][0], known[changes[0] + 1][0]), solver="anderson")
        return Course("settles", None, (sp.Float(root, _SHOWN),))
    measured = mp.log(values[-1] / values[-2], 2) / _STEP
    nearest = sp.Rational(int(mp.nint(4 * measured)), 4)
    return _of_power(nearest, 1) if abs(nearest - measured) < _CLOSE else None
