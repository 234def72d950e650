"""Gaussian integrals to any number of digits, split at the kinks (mpmath)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import mpmath as mp

from derivations.errors import DerivationError

_LEVELS = 14  # halvings of the trapezoidal step


def normal_mean(
    function: Callable[[mp.mpf], mp.mpf], mean: mp.mpf, deviation: mp.mpf, kinks: Sequence[mp.mpf]
) -> mp.mpf:
    r""":math:`\mathbb{E} f(Z)` at the current working precision, :math:`Z \sim N(\text{mean}, \text{deviation}^2)`.

    Without kinks by the trapezoidal rule, which converges geometrically for analytic functions;
    with kinks by Gauss–Legendre, cut at the kinks and two deviations apart. The range ends where the
    density is the square of the working precision: a function that grows like
    :math:`e^{z^2/4}` at most has less than the last digit beyond.

    Examples
    --------
    >>> mp.nstr(normal_mean(mp.fabs, mp.mpf(0), mp.mpf(1), [mp.mpf(0)]) ** 2 * mp.pi, 12)
    '2.0'
    """
    if deviation == 0:
        return function(mean)
    edge = mp.ceil(mp.sqrt(4 * mp.mp.prec * mp.log(2)))
    inside = [z for z in ((kink - mean) / deviation for kink in kinks) if -edge < z < edge]

    def weighted(z: mp.mpf) -> mp.mpf:
        return function(mean + deviation * z) * mp.npdf(z)

    if not inside:
        return _trapezoid(lambda z: function(mean + deviation * z), int(edge))
    points = sorted({mp.mpf(z) for z in range(-int(edge), int(edge) + 1, 2)} | set(inside))
    return mp.quad(weighted, points, method="gauss-legendre")


def _trapezoid(function: Callable[[mp.mpf], mp.mpf], edge: int) -> mp.mpf:
    r"""Standard normal mean of an analytic function.

    Halving the step squares the error, :math:`e^{-2\pi d/h}` in a strip of half-width d, so the last
    difference may be as large as the root of the precision.
    """
    total = size = value = mp.mpf(0)
    for level in range(1, _LEVELS):
        terms = [weight * function(z) for z, weight in _new_nodes(level, edge, mp.mp.prec)]
        total, size = total + mp.fsum(terms), size + mp.fsum(terms, absolute=True)
        previous, value = value, mp.ldexp(total, -level)
        if level > 2 and abs(value - previous) <= mp.ldexp(size, -level - mp.mp.prec // 2 - 4):
            return value
    raise DerivationError(
        f"a Gaussian mean did not settle: {mp.nstr(previous)} and then {mp.nstr(value)} at the finest steps; "
        "write a kink as Piecewise, Abs or Max so that the integral can be split there"
    )


@lru_cache(maxsize=64)
def _new_nodes(level: int, edge: int, precision: int) -> tuple[tuple[mp.mpf, mp.mpf], ...]:
    """Multiples of 2^-level that no lower level has, with the normal density there (at the precision set)."""
    odd = range(1, edge << level, 2)
    steps = sorted({*odd, *(-k for k in odd)}) if level > 1 else range(-edge << level, (edge << level) + 1)
    return tuple((z, mp.npdf(z)) for z in (mp.ldexp(k, -level) for k in steps))
