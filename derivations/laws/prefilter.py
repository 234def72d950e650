r"""A first look with numbers: which families a potential can belong to, before algebra is asked.

The derivatives :math:`D^kV` along z of a potential that is none of the solvable ones are huge expressions. At a point
they are six numbers, and an invariant that is not 0 there rules its family out for good; one that is 0 to 25 digits is then
decided by algebra.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import lru_cache
from typing import TypeAlias

import mpmath
import sympy as sp
from mpmath import mp

from derivations.calculus.lamperti import LampertiForm
from derivations.calculus.means import in_decimals
from derivations.errors import DerivationError
from derivations.laws.numbers import compiled
from derivations.laws.proofs import draw_inside, draw_point

#: :math:`U, DU, \dots, D^5U` at a point, in units of length in which the largest of :math:`\mu/\varphi`, :math:`\varphi'` and
#: :math:`\sqrt{|\varphi\varphi''|}` is 1.
Derivatives: TypeAlias = tuple[mpmath.mpf, ...]

_DIGITS = 40
_ORDER = 5
_POINTS = 3


def derivatives_along(form: LampertiForm) -> tuple[Derivatives, ...]:
    r"""The numbers :math:`U, DU, \dots, D^5U` at random rational points, from Taylor series; at those points at which there are any.

    At several points, since far out :math:`\varphi` may be equal to a simpler function in all digits.
    """
    draw = random.Random(3)
    found = []
    for _ in range(_POINTS):
        try:
            numbers = _at_random(form, draw)
        except (DerivationError, ValueError, TypeError, ArithmeticError, NameError, AttributeError):
            continue
        if numbers is not None:
            found.append(numbers)
    return tuple(found)


def _at_random(form: LampertiForm, draw: random.Random) -> Derivatives | None:
    point = draw_point(form, (form.scale.free_symbols | form.drift.free_symbols) - {form.state}, draw)
    left, right, scale, drift = (in_decimals(e.subs(point)) for e in (*form.interval, form.scale, form.drift))
    at = draw_inside((left, right), draw)
    with mp.workdps(_DIGITS):
        centre = mp.mpf(at.p) / at.q if at.is_Rational else sp.N(at, _DIGITS)
        phi, mu = (mp.taylor(_compiled(form.state, e), centre, _ORDER + 2) for e in (scale, drift))
        # β = μ/φ − φ′/2 and U = β² + φβ′ as truncated series, without their formulas
        beta = [b - (k + 1) * phi[k + 1] / 2 for k, b in enumerate(_quotient(mu, phi)[:-1])]
        found, v = [], [a + b for a, b in zip(_product(beta, beta), _product(phi, _slope(beta)), strict=False)]
        for _ in range(_ORDER + 1):  # D = φ d/dx
            found.append(v[0])
            v = _product(phi, _slope(v)) or [mp.zero]
        if not all(mp.isfinite(d) and mp.im(d) == 0 for d in found):
            return None
        # in units of the form's own length, so that what is compared with 1 below is so at any scale
        inverse_length = max(abs(mu[0] / phi[0]), abs(phi[1]), mp.sqrt(abs(2 * phi[0] * phi[2]))) or mp.one
        return tuple(d / inverse_length ** (k + 2) for k, d in enumerate(found))


@lru_cache(maxsize=64)
def _compiled(state: sp.Symbol, expr: sp.Expr) -> Callable[..., mpmath.mpf]:
    """Without parameters the same formula at every point, and writing it takes longer than its Taylor series."""
    return compiled((state,), expr)


def _slope(series: list[mpmath.mpf]) -> list[mpmath.mpf]:
    return [k * c for k, c in enumerate(series)][1:]


def _product(a: list[mpmath.mpf], b: list[mpmath.mpf]) -> list[mpmath.mpf]:
    return [mp.fsum(a[i] * b[k - i] for i in range(k + 1)) for k in range(min(len(a), len(b)))]


def _quotient(a: list[mpmath.mpf], b: list[mpmath.mpf]) -> list[mpmath.mpf]:
    found: list[mpmath.mpf] = []
    for k in range(min(len(a), len(b))):
        found.append((a[k] - mp.fsum(found[i] * b[k - i] for i in range(k))) / b[0])
    return found


def may_be(rule: Callable[[Derivatives], bool], numbers: tuple[Derivatives, ...]) -> bool:
    """Whether a rule holds for the numbers at every point, with all their digits; without numbers nothing is ruled out."""
    with mp.workdps(_DIGITS):
        return all(rule(at) for at in numbers)


def small(value: mpmath.mpf, *terms: mpmath.mpf) -> bool:
    """Whether a sum of terms is 0 up to the error of the numbers."""
    return bool(abs(value) <= mp.mpf(10) ** -25 * (1 + max(map(abs, terms), default=0)))


def may_be_constant(d: Derivatives) -> bool:
    """DU = 0."""
    return small(d[1], d[0])


def may_be_parabola(d: Derivatives) -> bool:
    """D³U = 0."""
    return small(d[3], d[0], d[2])


def may_be_inverse_square(d: Derivatives) -> bool:
    """D(−3 DU/D²U) = 1."""
    return small(4 * d[2] ** 2 - 3 * d[1] * d[3], d[2] ** 2, d[1] * d[3])


def may_be_radial(d: Derivatives) -> bool:
    """D(−5 D³U/D⁴U) = 1, or a parabola."""
    return may_be_parabola(d) or small(6 * d[4] ** 2 - 5 * d[3] * d[5], d[4] ** 2, d[3] * d[5])
