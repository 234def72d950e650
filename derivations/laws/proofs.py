r"""The checks that every law must pass, exact where algebra decides and to 30 digits where it does not."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress

import mpmath
import sympy as sp
from mpmath import mp

from derivations.calculus.lamperti import LampertiForm
from derivations.calculus.size import size_expanded
from derivations.diffusion import Diffusion
from derivations.errors import DerivationError
from derivations.laws.base import Check
from derivations.laws.numbers import compiled

_DIGITS = 50
_WORKING = 2 * _DIGITS
_TOLERANCE = sp.Rational(1, 10**30)
_SMALL = 600  # operations up to which a common denominator is worth the wait
_MANY = 5_000  # symbols and numbers of a formula multiplied out


def vanishes(
    expr: sp.Expr,
    interval: tuple[sp.Expr, sp.Expr],
    spatial: Sequence[sp.Symbol],
    assuming: Sequence[sp.Basic] = (),
) -> tuple[bool, bool, sp.Expr]:
    """Decide whether an expression is 0: (holds, exactly, value).

    Algebra first (expand, cancel); if that leaves something, five random rational points with 50 digits, the
    spatial symbols inside the interval and every other symbol in (1/2, 2).
    """
    # products of roots of numbers multiply the terms, and seldom cancel before all of them are there
    roots = any(r.base.is_Integer and r.exp == sp.Rational(1, 2) and r.base > 2 for r in expr.atoms(sp.Pow))
    large = sp.count_ops(expr) > (_SMALL // 4 if roots else 2 * _SMALL) or size_expanded(expr) > _MANY
    reduced = expr if large else sp.expand(sp.powsimp(sp.expand(expr)))
    if reduced != 0 and sp.count_ops(reduced) < _SMALL:
        with suppress(sp.PolynomialError):
            reduced = sp.cancel(sp.together(reduced))
    if reduced == 0:
        return True, True, sp.S.Zero
    draw = random.Random(0)
    worst = sp.S.Zero
    size = _size(expr)
    for _ in range(5):
        point = _parameters(
            expr.free_symbols | set().union(*(e.free_symbols for e in interval)), spatial, assuming, draw
        )
        ends = (interval[0].subs(point), interval[1].subs(point))
        point |= {s: draw_inside(ends, draw) for s in sorted(expr.free_symbols & set(spatial), key=str)}
        value = size(point)
        worst = value if not value.is_number or value > worst else worst
    return bool(worst < _TOLERANCE), False, sp.N(worst, 5)


def _size(expr: sp.Expr) -> Callable[[dict[sp.Symbol, sp.Expr]], sp.Expr]:
    """The size of an expression at a point, in plain arithmetic of more digits than can cancel in what is 0 to fifty."""
    names = sorted(expr.free_symbols, key=str)
    with mp.workdps(_WORKING):
        function = compiled(names, expr)

    def at(point: dict[sp.Symbol, sp.Expr]) -> sp.Expr:
        with mp.workdps(_WORKING):
            return sp.Float(abs(function(*(_number(point[name]) for name in names))), _DIGITS)

    return at


def _number(value: sp.Expr) -> mpmath.mpf:
    value = sp.sympify(value)
    return mp.mpf(value.p) / value.q if value.is_Rational else mp.convert(sp.N(value, _WORKING))


def _parameters(
    symbols: Iterable[sp.Symbol], spatial: Sequence[sp.Symbol], assuming: Sequence[sp.Basic], draw: random.Random
) -> dict[sp.Symbol, sp.Expr]:
    """Rationals for all symbols but the spatial ones, that keep to the assumptions."""
    names = sorted(set(symbols) - set(spatial), key=str)
    for _ in range(1000):
        point = {s: sp.Rational(draw.randint(101, 1999), 1000) * (-1 if s.is_negative else 1) for s in names}
        if not any(relation.subs(point) == sp.false for relation in assuming):
            return point
    raise DerivationError(f"found no values for {', '.join(map(str, names))} that satisfy {list(assuming)}")


def draw_point(form: LampertiForm, parameters: Iterable[sp.Symbol], draw: random.Random) -> dict[sp.Symbol, sp.Expr]:
    """Rational values for a law's parameters that keep to what is assumed of them."""
    return _parameters(parameters, (), form.assuming, draw)


def draw_inside(interval: tuple[sp.Expr, sp.Expr], draw: random.Random) -> sp.Expr:
    """A rational fraction of the way into an interval."""
    left, right = interval
    fraction = sp.Rational(draw.randint(101, 899), 1000)
    if left.is_finite and right.is_finite:
        return left + (right - left) * fraction
    if left.is_finite:
        return left + 2 * fraction
    if right.is_finite:
        return right - 2 * fraction
    return 2 * fraction - 1


def check_zero(
    statement: str,
    expr: sp.Expr,
    interval: tuple[sp.Expr, sp.Expr],
    spatial: Sequence[sp.Symbol],
    assuming: Sequence[sp.Basic] = (),
) -> Check:
    """A check that an expression vanishes identically."""
    holds, exact, value = vanishes(expr, interval, spatial, assuming)
    return Check(statement, value, sp.S.Zero, exact, holds)


def check_forward(
    process: Diffusion,
    log_density: sp.Expr,
    interval: tuple[sp.Expr, sp.Expr],
    start: sp.Symbol,
    assuming: Sequence[sp.Basic] = (),
) -> Check:
    r"""The density :math:`p = e^{\ell}` solves the Fokker–Planck equation of the process.

    The residual is divided by p, which leaves derivatives of :math:`\ell` only:
    :math:`\dot\ell + \mu' + \mu\ell' - \tfrac12\big(a'' + 2a'\ell' + a(\ell'' + \ell'^2)\big)`.
    """
    (x,), (mu,), (a,) = process.states, process.drift, process.covariance
    slope = sp.diff(log_density, x)
    residual = (
        sp.diff(log_density, process.time)
        + sp.diff(mu, x)
        + mu * slope
        - sp.Rational(1, 2) * (sp.diff(a, x, 2) + 2 * sp.diff(a, x) * slope + a * (sp.diff(slope, x) + slope**2))
    )
    return check_zero(
        "residual of the Fokker–Planck equation, divided by the density", residual, interval, (x, start), assuming
    )
