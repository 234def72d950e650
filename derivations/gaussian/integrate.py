"""Gaussian integrals to any number of digits, split at the kinks and at singular points (mpmath)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

import mpmath as mp

from derivations.errors import DerivationError

_LEVELS = 14  # halvings of the trapezoidal step
_LOST = 12  # digits that the error of a rule may take from those asked for
_WIDE = 4  # a deviation beyond which functions are narrow beside the Gaussian: they are taken to move over lengths of order 1
_NEAR = 16  # deviations between the mean and 0, beyond which what happens beside 0 has no weight
_WIDE_LEVELS = 11  # halvings of the step in the logarithm of the distance, before steps are equal

Function = Callable[[mp.mpf], mp.mpf]


class Singular(NamedTuple):
    r"""A point beside which a function is not smooth.

    Parameters
    ----------
    at : mpf
    power : int
        The power p of the substitution :math:`d = u^p` of the distance d to it.
    left, right : callable
        The function of the distance d, on either side.
    """

    at: mp.mpf
    power: int
    left: Function
    right: Function


def normal_mean(
    function: Function,
    mean: mp.mpf,
    deviation: mp.mpf,
    kinks: Sequence[mp.mpf] = (),
    singular: Sequence[Singular] = (),
    least: mp.mpf | int = 0,
) -> mp.mpf:
    r""":math:`\mathbb{E} f(Z)` at the current working precision, :math:`Z \sim N(\text{mean}, \text{deviation}^2)`.

    Without kinks by the trapezoidal rule, which converges geometrically for analytic functions, at a large deviation in the variable u of
    :math:`\sinh u`; with kinks by Gauss–Legendre, cut at the kinks and two deviations apart, at a large deviation beside the kinks and 0 at
    distances that grow by a factor of four; beside a singular point in the variable u, where
    the p-th power of u is the distance. The range ends where the density is the square of the working precision: a function
    that grows like :math:`e^{z^2/4}` at most has less than the last digit beyond. Digits are those of the mean of the modulus, or of ``least``
    where that is larger.

    Raises
    ------
    DerivationError
        If a rule and the finer one differ by more than is left of the working precision.

    Examples
    --------
    >>> mp.nstr(normal_mean(mp.fabs, mp.mpf(0), mp.mpf(1), [mp.mpf(0)]) ** 2 * mp.pi, 12)
    '2.0'
    >>> root = Singular(mp.mpf(0), 2, mp.sqrt, mp.sqrt)
    >>> mean = normal_mean(lambda x: mp.sqrt(mp.fabs(x)), mp.mpf(0), mp.mpf(1), singular=[root])
    >>> mp.nstr(mean / mp.gamma(0.75) * mp.sqrt(mp.pi) / mp.sqrt(mp.sqrt(2)), 12)
    '1.0'
    """
    if deviation == 0:
        return function(mean)
    edge = mp.ceil(mp.sqrt(4 * mp.mp.prec * mp.log(2)))
    special = {z: point for z, point in (((p.at - mean) / deviation, p) for p in singular) if -edge < z < edge}
    cuts = {z for z in ((kink - mean) / deviation for kink in kinks) if -edge < z < edge} | set(special)
    is_wide = deviation > _WIDE and abs(mean) < _NEAR * deviation
    if not cuts:
        wide = _wide_trapezoid(function, mean, deviation, edge) if is_wide else None
        return _evenly(function, mean, deviation, int(edge)) if wide is None else wide
    steps = {mp.mpf(z) for z in range(-int(edge), int(edge) + 1, 2)}
    ends = sorted(steps | cuts | (_ladders(cuts | {-mean / deviation}, deviation) if is_wide else set()))
    ends += [(left + right) / 2 for left, right in pairwise(ends) if left in special and right in special]
    value = error = size = mp.mpf(0)
    for left, right in pairwise(sorted(ends)):
        if left in special:
            part, off = _beside(special[left].right, special[left].power, left, 1, right - left, deviation)
        elif right in special:
            part, off = _beside(special[right].left, special[right].power, right, -1, right - left, deviation)
        else:
            part, off = mp.quad(
                lambda z: function(mean + deviation * z) * mp.npdf(z),
                [left, right],
                method="gauss-legendre",
                error=True,
            )
        value, error, size = value + part, error + off, size + abs(part)
    if error > max(size, least) * mp.mpf(10) ** (_LOST - mp.mp.dps):
        raise DerivationError(
            f"a Gaussian mean did not settle: {mp.nstr(value)} may be {mp.nstr(error, 2)} off; write a kink as Piecewise, Abs or "
            "Max so that the integral can be split there"
        )
    return value


def _beside(
    side: Function, power: int, start: mp.mpf, sign: int, width: mp.mpf, deviation: mp.mpf
) -> tuple[mp.mpf, mp.mpf]:
    """The integral over a panel that touches a singular point, and an estimate of its error."""

    def substituted(u: mp.mpf) -> mp.mpf:
        d = u**power
        return side(deviation * d) * mp.npdf(start + sign * d) * power * u ** (power - 1) if d else mp.mpf(0)

    value, error = mp.quad(substituted, [0, width ** (mp.mpf(1) / power)], error=True)
    return value, error


def _evenly(function: Function, mean: mp.mpf, deviation: mp.mpf, edge: int) -> mp.mpf:
    """By equal steps, of half a length at most: by longer ones a periodic function may be met at one phase only."""
    resolved = int(mp.ceil(mp.log(max(deviation, 1), 2))) + 1
    if resolved >= _LEVELS - 1:
        raise DerivationError(
            f"a Gaussian mean of standard deviation {mp.nstr(deviation, 3)} did not settle: the function moves over lengths that are short beside it; "
            "give a smaller variance"
        )
    return _trapezoid(lambda z: function(mean + deviation * z), edge, resolved)


def _trapezoid(function: Function, edge: int, resolved: int = 0) -> mp.mpf:
    r"""Standard normal mean of an analytic function, which is not taken to have settled above the step :math:`2^{-\text{resolved}}`.

    Halving the step squares the error, :math:`e^{-2\pi d/h}` in a strip of half-width d, so the last
    difference may be as large as the root of the precision.
    """
    total = size = value = mp.mpf(0)
    for level in range(1, _LEVELS):
        terms = [weight * function(z) for z, weight in new_nodes(level, edge, mp.mp.prec)]
        total, size = total + mp.fsum(terms), size + mp.fsum(terms, absolute=True)
        previous, value = value, mp.ldexp(total, -level)
        if level > max(2, resolved) and abs(value - previous) <= mp.ldexp(size, -level - mp.mp.prec // 2 - 4):
            return value
    raise DerivationError(
        f"a Gaussian mean did not settle: {mp.nstr(previous)} and then {mp.nstr(value)} at the finest steps; "
        "write a kink as Piecewise, Abs or Max so that the integral can be split there"
    )


def _wide_trapezoid(function: Function, mean: mp.mpf, deviation: mp.mpf, edge: mp.mpf) -> mp.mpf | None:
    r"""The mean in the variable u of :math:`x = \sinh u`, whose steps are equal beside 0 and grow with the distance; None where it does not settle.

    An analytic function of x that moves over lengths of order 1 is one of u in a strip that does not shrink with the deviation, where equal
    steps in the deviation's units would have to.
    """
    total = size = value = mp.mpf(0)
    end, rate = int(mp.ceil(mp.asinh(edge * deviation + abs(mean)))), -1 / (2 * deviation**2)
    for level in range(1, _WIDE_LEVELS):
        nodes = _new_wide_nodes(level, end, mp.mp.prec)
        terms = [w * mp.exp(rate * (x - mean) ** 2) * function(x) for x, w in nodes]
        total, size = total + mp.fsum(terms), size + mp.fsum(terms, absolute=True)
        previous, value = value, mp.ldexp(total, -level)
        if level > 2 and abs(value - previous) <= mp.ldexp(size, -level - mp.mp.prec // 2 - 4):
            return value / (deviation * mp.sqrt(2 * mp.pi))
    return None


@lru_cache(maxsize=256)
def _new_wide_nodes(level: int, end: int, precision: int) -> tuple[tuple[mp.mpf, mp.mpf], ...]:
    """The places x = sinh u of a level's own steps, and dx/du (at the precision set)."""
    odd = range(1, end << level, 2)
    steps = sorted({*odd, *(-k for k in odd)}) if level > 1 else range(-end << level, (end << level) + 1)
    return tuple((mp.sinh(u), mp.cosh(u)) for u in (mp.ldexp(k, -level) for k in steps))


def _ladders(points: set[mp.mpf], deviation: mp.mpf) -> set[mp.mpf]:
    """Cuts on both sides of points, at distances from 1 to the deviation that grow by a factor of four, in the deviation's units."""
    rungs = range(int(mp.log(deviation, 4)) + 1)
    return {z + side * mp.mpf(4) ** k / deviation for z in points for k in rungs for side in (-1, 1)}


@lru_cache(maxsize=64)
def new_nodes(level: int, edge: int, precision: int) -> tuple[tuple[mp.mpf, mp.mpf], ...]:
    """Multiples of 2^-level that no lower level has, with the normal density there (at the precision set)."""
    odd = range(1, edge << level, 2)
    steps = sorted({*odd, *(-k for k in odd)}) if level > 1 else range(-edge << level, (edge << level) + 1)
    return tuple((z, mp.npdf(z)) for z in (mp.ldexp(k, -level) for k in steps))
