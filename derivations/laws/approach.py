r"""What a diffusion does at an end, by local exponents as numbers: for coefficients whose limits algebra is slow to take.

With d the distance from a finite end, or 1/x at an infinite one, every integral of Feller's test has an integrand whose local
exponent is read off the coefficients: with :math:`\sigma = d\,s'/s = -2 d\mu/a` and :math:`\gamma = d\,a'/a`, the density of speed has
:math:`-\sigma - \gamma`, and the double integrals have what :func:`derivations.calculus.boundaries.classify` derives. The exponents are
evaluated, with as many digits as their cancellations ask for, at distances that fall by a factor of four, until they have settled:
their differences shrink geometrically, as they do wherever corrections are powers, or they grow without bound, as they do at the
end of an exponential. A limit is critical if it is :math:`-1` to :math:`10^{-6}`: with such corrections the integral then diverges. Where
logarithms decide, exponents do not settle so, and are looked at once more at distances whose logarithms double
(:mod:`derivations.laws.slowly`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import mpmath
import sympy as sp
from mpmath import mp

from derivations.calculus.ends import AtEnd
from derivations.calculus.intervals import coefficients
from derivations.calculus.means import in_decimals
from derivations.diffusion import Diffusion
from derivations.laws import slowly
from derivations.laws.numbers import compiled

_DIGITS = (25, 40, 80, 160, 320, 640, 1280)
_FACTOR = 4
_POINTS = 40
_DOUBLINGS = 11  # to distances of 10^-308, and 10^-616 where states keep their digits
_FEWEST = 6  # points before a limit is read off
_CRITICAL = sp.Rational(1, 10**6)
#: What mpmath raises where a function has no value, or one too large to be written down.
_NO_VALUE = (ZeroDivisionError, OverflowError, MemoryError, ValueError, TypeError, mpmath.libmp.ComplexResult)


@dataclass(frozen=True)
class Approach:
    r"""The coefficients of a diffusion on the way to one end.

    Parameters
    ----------
    drift, variance : callable
        mpmath number to mpmath number.
    point : Expr
        The end; a number or an infinity.
    inside : Expr
        A number inside the interval.
    """

    drift: Callable[[mpmath.mpf], mpmath.mpf]
    variance: Callable[[mpmath.mpf], mpmath.mpf]
    point: sp.Expr
    inside: sp.Expr

    @cached_property
    def exponents(self) -> tuple[tuple[mpmath.mpf, mpmath.mpf, mpmath.mpf], ...]:
        r"""The numbers :math:`\sigma`, :math:`\gamma` and :math:`\mu` (inward at a finite end) at ever smaller distances."""
        found: list[tuple[mpmath.mpf, mpmath.mpf, mpmath.mpf]] = []
        for k in range(_POINTS):
            here = self._settled(self._first + k)
            if here is None:
                break
            found.append(here)
            if len(found) > _FEWEST:
                now, before = self._signs(tuple(found)), self._signs(tuple(found[:-1]))
                if now == before and None not in now:
                    break
        return tuple(found)

    @property
    def _first(self) -> int:
        """The power of 4 from which on distances are looked at."""
        away = mp.convert(_number(self.inside)) - _number(self.point) if self.point.is_finite else _number(self.inside)
        return 1 - _below(min(1, abs(away))) if self.point.is_finite else 1 - _below(1 / max(1, abs(away)))

    def _settled(self, power: int) -> tuple[mpmath.mpf, mpmath.mpf, mpmath.mpf] | None:
        """The numbers at the distance 4^(−power), with digits doubled until they agree; None where there are none."""
        last = None
        for digits in _DIGITS:
            with mp.workdps(digits):
                try:
                    here = self._at(power)
                except _NO_VALUE:
                    here = None
            if here is not None and last is not None and all(map(_agree, here, last)):
                return here
            last = here
        return None

    def _at(self, power: int) -> tuple[mpmath.mpf, mpmath.mpf, mpmath.mpf] | None:
        finite = self.point.is_finite
        if finite:
            end = _number(self.point)
            x = end + mp.sign(_number(self.inside) - end) * mp.mpf(_FACTOR) ** -power
            d = x - end
        else:
            side = 1 if self.point == sp.oo else -1
            x = d = side * mp.mpf(_FACTOR) ** power
        a = self.variance(x)
        step = d * mp.mpf(10) ** (-mp.dps // 3)
        slope = (self.variance(x + step) - self.variance(x - step)) / (2 * step)
        mu = self.drift(x)
        if not (mp.isfinite(a) and mp.im(a) == 0 and a > 0 and mp.isfinite(slope) and mp.isfinite(mu)):
            return None
        if finite:
            return -2 * d * mu / a, d * slope / a, mu * mp.sign(d)
        return 2 * x * mu / a - 2, 4 - x * slope / a, mp.zero

    def _signs(self, seen: tuple[tuple[mpmath.mpf, mpmath.mpf, mpmath.mpf], ...]) -> tuple[int | None, ...]:
        """Signs of one more than the exponents of s, m, and Σ's and N's integrands where the inner integral is infinite; of γ's, μ's and 1 − γ's."""
        scale = [s + 1 for s, _, _ in seen]
        speed = [1 - s - g for s, g, _ in seen]
        growth = [g for _, g, _ in seen]
        pushes = [mu for _, _, mu in seen]
        return (
            limit_sign(scale),
            limit_sign(speed),
            limit_sign(_double(speed, growth)),
            limit_sign(_double(scale, growth)),
            limit_sign(growth),
            limit_sign(_local_exponents(pushes)) if all(mu > 0 for mu in pushes[-4:]) else 0,
            limit_sign([1 - g for g in growth]),
        )

    @cached_property
    def signs(self) -> tuple[int | None, ...]:
        """As :meth:`_signs` says, of all points; where logarithms decide, as they do."""
        found = self._signs(self.exponents)
        if None not in found:
            return found
        return tuple(late if sign is None else sign for sign, late in zip(found, self._late_signs, strict=True))

    @cached_property
    def _late_signs(self) -> tuple[int | None, ...]:
        """The same at distances whose logarithms double."""
        last = _DOUBLINGS if not self.point.is_finite or self.point == 0 else _DOUBLINGS - 1
        powers = [2**j for j in range(2, last) if 2**j >= self._first]
        seen = []
        for power in powers:
            here = self._settled(power)
            if here is None:
                return (None,) * 7
            seen.append(here)
        logs = [power * mp.log(_FACTOR) for power in powers]
        scale = [s + 1 for s, _, _ in seen]
        speed = [1 - s - g for s, g, _ in seen]
        growth = [g for _, g, _ in seen]
        pushes = [mu for _, _, mu in seen]
        return (
            slowly.converges(scale, logs),
            slowly.converges(speed, logs),
            slowly.converges_twice(speed, growth, logs),
            slowly.converges_twice(scale, growth, logs),
            slowly.vanishes(growth, logs),
            slowly.vanishes(slowly.orders(pushes, logs), logs[:-1]) if all(mu > 0 for mu in pushes) else 0,
            slowly.converges([1 - g for g in growth], logs),
        )

    @property
    def attracting(self) -> bool | None:
        r""":math:`\int s < \infty`."""
        return _converges(self.signs[0])

    @property
    def light(self) -> bool | None:
        r""":math:`\int m < \infty`."""
        return _converges(self.signs[1])

    @property
    def attainable(self) -> bool | None:
        r""":math:`\Sigma < \infty`: that of s where m is light, else of its own integrand."""
        return self.attracting if self.light else _both(self.attracting, self.light, _converges(self.signs[2]))

    @property
    def enterable(self) -> bool | None:
        r""":math:`N < \infty`."""
        return self.light if self.attracting else _both(self.light, self.attracting, _converges(self.signs[3]))

    @property
    def passable(self) -> bool | None:
        r""":math:`\int \mathrm{d}y/a < \infty` although a vanishes like y but for logarithms; None where powers decide."""
        return None if self._signs(self.exponents)[6] is not None else _converges(self.signs[6])

    @property
    def _at_end(self) -> AtEnd | None:
        """The evidence on what happens there; None where it is not seen."""
        pushes = [mu for _, _, mu in self.exponents][-4:]
        if not self.point.is_finite or all(mu <= 0 for mu in pushes):
            return AtEnd(sp.S.Zero, sp.S.One, sp.S.One)
        order, vanishes, slowly = self.signs[5], self.signs[4], self.signs[6]
        if any(mu <= 0 for mu in pushes) or order is None or vanishes is None:
            return None
        if slowly is None and order == 0 and vanishes > 0:
            return None
        noise = sp.Integer(vanishes) if vanishes <= 0 else sp.Rational(1, 2) if (slowly or 0) > 0 else sp.S.One
        return AtEnd(sp.S.One, sp.Integer(order), noise)

    @property
    def returns(self) -> bool | None:
        """Whether the equation takes the process back, as :mod:`derivations.calculus.ends` says."""
        return None if self._at_end is None else bool(self._at_end.comes_back())

    @property
    def sticky(self) -> bool | None:
        """Whether it is held there for a time before."""
        return None if self._at_end is None else bool(self._at_end.sticks())

    @property
    def keeps(self) -> bool | None:
        """Whether the end is reached and keeps what reaches it."""
        if self.attainable is False or self.returns is True:
            return False
        return None if self.attainable is None or self.returns is None else True

    @property
    def kind(self) -> str | None:
        """Feller's class, or None where it is not decided."""
        if self.attainable is None or self.enterable is None:
            return None
        return (("natural", "entrance"), ("exit", "regular"))[self.attainable][self.enterable]


def approach(process: Diffusion, point: sp.Expr, inside: sp.Expr) -> Approach:
    """The way of a scalar diffusion without parameters from a number inside to an end.

    Examples
    --------
    >>> x = sp.Symbol("x", real=True)
    >>> to_zero = approach(Diffusion((x,), [0], [[sp.tanh(x) ** 2]]), sp.S.Zero, sp.S.One)
    >>> to_zero.kind, to_zero.light
    ('natural', False)
    """
    x, *formulas = coefficients(process)
    mu, a, point, inside = (in_decimals(sp.sympify(e)) for e in (*formulas, point, inside))
    return Approach(compiled((x,), mu), compiled((x,), a), point, inside)


def _below(distance: mpmath.mpf) -> int:
    """The exponent of the largest power of 4 up to a distance: from every start the same places are looked at, whose means are kept.

    Examples
    --------
    >>> [_below(mp.mpf(d)) for d in (1, 0.9, 0.25, 0.2)]
    [0, -1, -1, -2]
    """
    return int((mp.frexp(distance)[1] - 1) // 2)


def limit_sign(values: list[mpmath.mpf]) -> int | None:
    """The sign of the limit of a sequence that converges geometrically or grows geometrically; None for others.

    Examples
    --------
    >>> limit_sign([mp.mpf(4) ** -k for k in range(14)]), limit_sign([1 - mp.mpf(2) ** -k for k in range(9)])
    (0, 1)
    >>> limit_sign([mp.mpf(1) / (k + 2) for k in range(9)]) is None
    True
    """
    if len(values) < 4:
        return None
    steps = [after - before for before, after in pairwise(values[-_FEWEST:])]
    tiny = mp.mpf(10) ** -10
    critical = mp.mpf(_CRITICAL.p) / _CRITICAL.q
    last = values[-1]
    if max(map(abs, steps[-2:])) <= tiny:
        return 0 if abs(last) <= critical else int(mp.sign(last))
    if any(step == 0 for step in steps):
        return None
    ratios = [after / before for before, after in pairwise(steps)]
    if min(ratios) >= mp.mpf("1.2") and _regular(ratios) and last * steps[-1] > 0:
        return int(mp.sign(last))
    if not all(abs(ratio) <= mp.mpf("0.85") for ratio in ratios):
        return None
    b, c = steps[-2:]
    ratio = c / b
    rest = c * ratio / (1 - ratio)  # what is left of a geometric series
    limit = last + rest
    if abs(limit) > 10 * abs(rest) + critical:
        return int(mp.sign(limit))
    return 0 if abs(rest) <= critical / 10 and abs(limit) <= critical else None


def _regular(ratios: list[mpmath.mpf]) -> bool:
    """Whether growth is that of a power, by equal factors, or faster, by factors that grow."""
    return all(after >= mp.mpf("0.9") * before for before, after in pairwise(ratios))


def _agree(first: mpmath.mpf, second: mpmath.mpf) -> bool:
    small = mp.mpf(10) ** -12
    return bool(abs(first - second) <= small * (abs(first) + small))


def _local_exponents(values: list[mpmath.mpf]) -> list[mpmath.mpf]:
    return [mp.log(abs(a / b)) / mp.log(_FACTOR) for a, b in pairwise(values) if a * b != 0]


def _double(inner: list[mpmath.mpf], growth: list[mpmath.mpf]) -> list[mpmath.mpf]:
    r"""One more than the exponent of :math:`2/(a|g'/g + 1/y|)`, where inner is :math:`y g'/g + 1`.

    If that tends to 0, :math:`\int g` is a logarithm, which changes no exponent.
    """
    if limit_sign(inner) == 0:
        return [2 - g for g in growth]
    return [2 - g - w for g, w in zip(growth[1:], _local_exponents(inner), strict=False)]


def _converges(sign: int | None) -> bool | None:
    return None if sign is None else sign > 0


def _both(outer: bool | None, inner: bool | None, heavy: bool | None) -> bool | None:
    """A double integral whose inner one is infinite: it needs the outer one to be finite, too."""
    if outer is False:
        return False
    return None if inner is None or outer is None else heavy


def _number(value: sp.Expr) -> mpmath.mpf:
    return mp.mpf(value.p) / value.q if value.is_Rational else mp.convert(sp.N(value, mp.dps))
