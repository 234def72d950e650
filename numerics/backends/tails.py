"""Expansions towards the ends of the double range, and from where they stand for the formula to double precision."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import mpmath
import sympy as sp
from mpmath import mp

from derivations.evaluation import TooLarge
from derivations.piecewise.expansion import expansion_at
from derivations.piecewise.near import smooth_beside
from derivations.piecewise.terms import LOG, Expansion, Unknown, is_flat
from numerics.backends.cancelling import ErrorTail, cancelling_sums
from numerics.backends.many_digits import DIGITS, Function, many_digits
from numerics.backends.sides import SIDES, UNKNOWN, Side, Tail, X

_SPANS = (8, 16)  # powers of t that an expansion holds, the more if these have few terms
_FEW = 4
_PRECISE = mpmath.mpf(2) ** -53  # the relative error of an expansion from where it is used on
_GONE = 1100  # a decaying exponential below 2 to the minus this is 0
_GONE_DIGITS = 700
_STARTS = (*range(2, 16), *range(16, 60, 4), *range(60, 600, 20))  # t = 2^-k from which an expansion is tried
_FURTHER = (0, 1, 3, 10, 20)  # and these powers of two further on
_FAR = 60  # 2 to this power is far enough out for the sign of an argument that grows


def smooth_sides(expr: sp.Expr) -> Iterator[tuple[Side, sp.Expr]]:
    """Each end with the smooth formula that holds towards it, not a number where that is not known."""
    for side in SIDES:
        try:
            yield side, smooth_beside(expr, X, side.point, side.towards)
        except UNKNOWN:
            yield side, sp.nan


def tails_or_joined(part: sp.Expr, side: Side, truth: Function) -> list[Tail]:
    """Of the formula as it stands, or, where its leading terms cancel, with those joined that do: e^u - e^u erf v is e^u erfc v."""
    try:
        return _tails(part, side, truth)
    except UNKNOWN:
        joined = cancelling_sums(part).replace(ErrorTail, lambda u: _error_tail(u, side))
        if joined == part:
            raise
        return _tails(joined, side, truth, _SPANS[1:])  # longer: its exponentials leave the range of doubles early


def _error_tail(u: sp.Expr, side: Side) -> sp.Expr:
    """Erfc u; where SymPy would write 2 - erfc(-u), which cancels again, that of the root of u² if u is positive there."""
    if u.could_extract_minus_sign() and side.infinite and many_digits(u)(side.at(mp.mpf(2) ** -_FAR)) > 0:
        return sp.erfc(sp.sqrt(sp.expand(u**2)))
    return sp.erfc(u)


def _tails(part: sp.Expr, side: Side, truth: Function, spans: tuple[int, ...] = _SPANS[:1]) -> list[Tail]:
    """The expansion towards an end, and from where it holds; a constant is its own. An exponential is 0 or infinite further out."""
    if part.is_number and part is not sp.nan:
        return [meets(part, side, truth)]
    found = expansion_at(part, X, side.point, side.towards, spans)
    if len(found.terms) < _FEW and not is_flat(found.error) and not found.growth:
        found = expansion_at(part, X, side.point, side.towards, _SPANS[1:])
    if found.terms and not found.growth:
        return [meets(written_expansion(found, side), side, truth)]
    last = _beyond_doubles(found, side, truth)
    if found.terms:
        with suppress(Unknown):
            first = meets(
                written_expansion(found, side) * sp.exp(written_expansion(Expansion(found.growth), side)), side, truth
            )
            return [first, last] if first.t > last.t else [last]
    return [last]


def mirrored(found: list[Tail], side: Side, truth: Function) -> list[Tail]:
    """The expansion of the same formula from the other side, if it holds on this one as far, as one in whole powers does.

    Of x² + 1/(1 + e^{-x}) both sides have terms of their own: far enough out the first alone counts, and it is the same.
    """
    if len(found) != 1 or not found[0].formula.is_rational_function(X):
        return []
    try:
        here = meets(found[0].formula, side, truth)
    except UNKNOWN:
        return []
    return [here] if here.t >= found[0].t else []


def meets(formula: sp.Expr, side: Side, truth: Function) -> Tail:
    """A formula from where it meets the truth on."""
    value = many_digits(formula)
    with mp.workdps(DIGITS):
        for start in _STARTS:
            t = mp.mpf(2) ** -start
            met = False
            with suppress(TooLarge):  # what cannot be computed further out is no double there
                for k in _FURTHER:
                    met = _close(value, truth, side.at(t / 2**k))
                    if not met:
                        break
            if met:
                return Tail(side, sp.Rational(1, 2**start), formula)
    raise Unknown("the expansion is not met")


def _close(value: Function, truth: Function, at: mpmath.mpf) -> bool:
    true, here = truth(at), value(at)
    if true != 0 and abs(mp.mag(true)) > _GONE:  # no double, of which the sign and the size matter
        return bool(here * true > 0 and (mp.mag(here) > _GONE) == (mp.mag(true) > _GONE) and abs(mp.mag(here)) > _GONE)
    return bool(abs(here - true) <= _PRECISE * abs(true))


def _beyond_doubles(found: Expansion, side: Side, truth: Function) -> Tail:
    """0 or infinity from where an exponential leaves the range of doubles; without terms the formula falls faster than any power."""
    grows = bool(found.growth) and sp.sympify(found.growth[min(found.growth)]).is_positive
    with mp.workdps(_GONE_DIGITS):
        for start in range(2, 1000):
            size = truth(side.at(mp.mpf(2) ** -start))
            if size == 0 or (mp.mag(size) > _GONE if grows else mp.mag(size) < -_GONE):
                return Tail(side, sp.Rational(1, 2**start), sp.oo * int(mp.sign(size)) if grows else sp.S.Zero)
    raise Unknown("an exponential that does not leave the range of doubles")


def written_expansion(found: Expansion, side: Side) -> sp.Expr:
    """The expansion as a formula in x: a power times a polynomial in another, by Horner's rule."""
    powers = sorted(found.terms)
    whole = all(p.is_Integer for p in powers)
    size = X if whole else side.towards * X  # whole powers keep the sign, so that both sides may be one formula
    power = (lambda p: size**-p) if side.infinite else (lambda p: size**p)
    log = {LOG: (-1 if side.infinite else 1) * sp.log(side.towards * X)}
    total: sp.Expr = sp.S.Zero
    for p, following in reversed(list(zip(powers, [*powers[1:], None], strict=True))):
        coefficient = sp.sympify(found.terms[p]) * (sp.Integer(side.towards) ** p if whole else 1)
        coefficient = coefficient if coefficient.is_Rational else coefficient.evalf(40).xreplace(log)
        total = coefficient + (power(following - p) * total if following is not None else 0)
    return power(powers[0]) * total
