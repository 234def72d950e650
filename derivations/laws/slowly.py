r"""Whether integrals converge where logarithms decide, by exponents at distances whose logarithms double.

Let g be positive near :math:`y = 0`, :math:`\lambda = \log(1/y)` and :math:`E = y g'/g + 1`. If E tends to a number other than 0, its sign
decides whether :math:`\int g\,\mathrm{d}y` is finite. If :math:`E \sim e/\lambda`, then :math:`g = y^{-1} \lambda^{-e + o(1)}`, and
:math:`\int g\,\mathrm{d}y = \int \lambda^{-e + o(1)}\,\mathrm{d}\lambda` is finite iff :math:`e > 1` (Bertrand). For :math:`e = 1` it is not,
where corrections are powers of :math:`1/\lambda`. The limits of E and of :math:`E\lambda` are found by Richardson's extrapolation in
:math:`1/\lambda`: with doubled logarithms such corrections are geometric. Where these do not settle either, as with :math:`\log\log`,
nothing is decided.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import mpmath
from mpmath import mp

_NOTHING = mp.mpf(10) ** -6  # what a limit of 0 may seem to be
_LEVELS = 4  # powers of 1/λ that are taken away


def converges(exponents: Sequence[mpmath.mpf], logs: Sequence[mpmath.mpf]) -> int | None:
    """1 if an integral converges at 0, −1 or 0 if it does not, None if that is not seen.

    Parameters
    ----------
    exponents : sequence
        One more than the integrand's local exponents.
    logs : sequence
        Logarithms of the inverse distances, each twice the one before.

    Examples
    --------
    >>> logs = [mp.mpf(2) ** k for k in range(3, 12)]
    >>> [converges([e / u + 1 / u**2 for u in logs], logs) for e in (2, 1, mp.mpf(1) / 2)]
    [1, 0, -1]
    >>> converges([1 / u + 1 / (u * mp.log(u)) for u in logs], logs) is None
    True
    """
    return _sign(exponents, logs, mp.one)


def vanishes(orders: Sequence[mpmath.mpf], logs: Sequence[mpmath.mpf]) -> int | None:
    """1 if a function with these local exponents tends to 0, −1 if it grows without bound, 0 if it has another limit."""
    return _sign(orders, logs, mp.zero)


def converges_twice(
    inner: Sequence[mpmath.mpf], growth: Sequence[mpmath.mpf], logs: Sequence[mpmath.mpf]
) -> int | None:
    r"""Whether :math:`\int f \int_y g` is finite for :math:`fg = 2/a` where :math:`\int g` is not.

    Where the exponent of g is not critical, :math:`\int_y g \sim y g/|E|`, which is as many logarithms less as E grows with. Else it is
    :math:`y g \lambda/|e - 1|`, one logarithm more, or :math:`y g \lambda \log\lambda` for e = 1, where :math:`\log\log` decides nothing: the integral of
    :math:`1/\lambda` is infinite with it and without it.

    Parameters
    ----------
    inner : sequence
        One more than the exponents of g.
    growth : sequence
        The exponents of a.
    logs : sequence
    """
    limit, more = _limit(inner), mp.zero
    if limit is None:
        more = _limit([-mp.log(abs(b / a), 2) for a, b in pairwise(inner) if a * b != 0])
        if not _grows(inner) or more is None:
            return None
    elif abs(limit) <= _NOTHING:
        weight = _limit([e * u for e, u in zip(inner, logs, strict=True)])
        if weight is None:
            return None
        more = mp.zero if abs(weight - 1) <= _NOTHING else mp.one
    return converges([2 - g - more / u for g, u in zip(growth, logs, strict=True)], logs)


def orders(values: Sequence[mpmath.mpf], logs: Sequence[mpmath.mpf]) -> list[mpmath.mpf]:
    """The exponents of a positive function between neighbouring distances."""
    steps = zip(pairwise(values), pairwise(logs), strict=True)
    return [mp.log(a / b) / (after - before) for (a, b), (before, after) in steps]


def _sign(exponents: Sequence[mpmath.mpf], logs: Sequence[mpmath.mpf], least: mpmath.mpf) -> int | None:
    limit = _limit(exponents)
    if limit is None:
        return int(mp.sign(exponents[-1])) if _grows(exponents) else None
    if abs(limit) > _NOTHING:
        return int(mp.sign(limit))
    weight = _limit([e * u for e, u in zip(exponents, logs, strict=True)])
    if weight is None:
        return None
    return 0 if abs(weight - least) <= _NOTHING else int(mp.sign(weight - least))


def _grows(values: Sequence[mpmath.mpf]) -> bool:
    """Whether numbers of one sign grow as powers of logarithms do, by factors that settle."""
    if any(a * b <= 0 for a, b in pairwise(values)):
        return False
    factor = _limit([b / a for a, b in pairwise(values)])
    return factor is not None and factor > mp.mpf("1.2")


def _limit(values: Sequence[mpmath.mpf]) -> mpmath.mpf | None:
    """The limit of a sequence with corrections in powers of one half; None if two extrapolations do not agree on it."""
    columns = list(values)
    if not columns:
        return None
    last = columns[-1]
    for power in range(1, _LEVELS + 1):
        columns = [(2**power * b - a) / (2**power - 1) for a, b in pairwise(columns)]
        if len(columns) < 2:
            return None
        now = columns[-1]
        if max(abs(now - last), abs(now - columns[-2])) <= _NOTHING / 10 * max(mp.one, abs(now)):
            return now
        last = now
    return None
