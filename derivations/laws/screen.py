r"""A first look with numbers: which families a potential can belong to, before algebra is asked.

The derivatives :math:`D^kV` along z of a potential that is none of the solvable ones are huge expressions. At one point
they are six numbers, and an invariant that is not 0 there rules its family out for good; one that is 0 to 25 digits is then
decided by algebra.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TypeAlias

import mpmath
import sympy as sp
from mpmath import mp

from derivations.calculus.lamperti import UnitNoise
from derivations.errors import DerivationError
from derivations.laws.numbers import compiled
from derivations.laws.proofs import draw_inside, draw_point

#: :math:`V, DV, \dots, D^5V` at a point.
Derivatives: TypeAlias = tuple[mpmath.mpf, ...]

_DIGITS = 60
_ORDER = 5


def derivatives_along(form: UnitNoise) -> Derivatives | None:
    r"""The numbers :math:`V, DV, \dots, D^5V` at a random rational point, from Taylor series; None where there are none."""
    draw = random.Random(3)
    try:
        point = draw_point(form, (form.scale.free_symbols | form.drift.free_symbols) - {form.state}, draw)
        at = draw_inside((form.interval[0].subs(point), form.interval[1].subs(point)), draw)
        with mp.workdps(_DIGITS):
            functions = [compiled((form.state,), e.subs(point)) for e in (form.potential, form.scale)]
            v, phi = (
                mp.taylor(f, mp.mpf(at.p) / at.q if at.is_Rational else sp.N(at, _DIGITS), _ORDER) for f in functions
            )
            found = [v[0]]
            for _ in range(_ORDER):  # D = φ d/dx on truncated series
                slope = [k * c for k, c in enumerate(v)][1:]
                v = [mp.fsum(phi[i] * slope[k - i] for i in range(k + 1)) for k in range(len(slope))]
                found.append(v[0])
            return tuple(found) if all(mp.isfinite(d) and mp.im(d) == 0 for d in found) else None
    except (DerivationError, ValueError, TypeError, ZeroDivisionError, NameError, AttributeError):
        return None


def may_be(rule: Callable[[Derivatives], bool], numbers: Derivatives | None) -> bool:
    """Whether a rule holds for the numbers, with all their digits; without numbers nothing is ruled out."""
    with mp.workdps(_DIGITS):
        return numbers is None or rule(numbers)


def small(value: mpmath.mpf, *terms: mpmath.mpf) -> bool:
    """Whether a sum of terms is 0 up to the error of the numbers."""
    return bool(abs(value) <= mp.mpf(10) ** -25 * (1 + max(map(abs, terms), default=0)))


def may_be_constant(d: Derivatives) -> bool:
    """DV = 0."""
    return small(d[1], d[0])


def may_be_parabola(d: Derivatives) -> bool:
    """D³V = 0."""
    return small(d[3], d[0], d[2])


def may_be_inverse_square(d: Derivatives) -> bool:
    """D(−3 DV/D²V) = 1."""
    return small(4 * d[2] ** 2 - 3 * d[1] * d[3], d[2] ** 2, d[1] * d[3])


def may_be_radial(d: Derivatives) -> bool:
    """D(−5 D³V/D⁴V) = 1, or a parabola."""
    return may_be_parabola(d) or small(6 * d[4] ** 2 - 5 * d[3] * d[5], d[4] ** 2, d[3] * d[5])
