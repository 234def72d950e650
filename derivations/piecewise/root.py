"""A real number that is known as the one zero of a function in a bracket."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

import mpmath
import sympy as sp
from mpmath import libmp, mp
from sympy.core import evalf as sympy_evalf
from sympy.core.expr import AtomicExpr

from derivations.evaluation import in_mpmath

_X = sp.Symbol("x", real=True)
_SHOWN = 12  # digits in print
_ENOUGH = 140  # bits that are worked out at least
_GUARD = 20  # bits beyond the precision that was asked for


class IsolatedRoot(AtomicExpr):
    r"""The only zero of a continuous function in an interval with rational ends, at which its signs differ.

    Exact in the sense in which :class:`sympy.CRootOf` is: a number with assumptions, compared and evaluated to any precision by
    narrowing its bracket. A constant: it holds no free symbol and no bound one that a substitution could meet.

    Parameters
    ----------
    function : Expr
        Continuous on the bracket.
    variable : Symbol
        Its argument.
    low, high : Rational
        :math:`f(\text{low})\,f(\text{high}) < 0`, and f is monotone between; that is the caller's to prove
        (:func:`~derivations.piecewise.solving.zeros` does).

    Examples
    --------
    >>> x = sp.Symbol("x", real=True)
    >>> r = IsolatedRoot(sp.cos(x) - x, x, sp.Rational(1, 2), sp.S(1))
    >>> r, r.is_positive, r > sp.Rational(7, 10), r.evalf(30)
    (root(-x + cos(x), 0.739085133215), True, True, 0.739085133215160641655312087674)
    """

    is_commutative = True
    is_number = True
    is_real = True
    is_extended_real = True
    is_finite = True
    __slots__ = ("function", "high", "low")

    function: sp.Expr
    low: sp.Rational
    high: sp.Rational

    def __new__(cls, function: sp.Expr, variable: sp.Symbol, low: sp.Expr, high: sp.Expr) -> IsolatedRoot:
        """Keep the function in a variable of our own and the bracket."""
        node: IsolatedRoot = AtomicExpr.__new__(cls)
        node.function = function.xreplace({variable: _X})
        node.low, node.high = sp.Rational(low), sp.Rational(high)
        return node

    def __getnewargs__(self) -> tuple[Any, ...]:
        return (self.function, _X, self.low, self.high)

    def _hashable_content(self) -> tuple[Any, ...]:
        return (self.function, self.low, self.high)

    def sort_key(self, order: Any = None) -> Any:
        """By value, so that sums print in a fixed order."""
        return self.class_key(), (1, (str(self),)), sp.S.One.sort_key(), sp.S.One

    @property
    def free_symbols(self) -> set[sp.Basic]:
        """None: it is a number."""
        return set()

    def _eval_is_extended_positive(self) -> bool | None:
        return True if self.low >= 0 else False if self.high <= 0 else None

    def _eval_is_extended_negative(self) -> bool | None:
        return True if self.high <= 0 else False if self.low >= 0 else None

    def _eval_is_zero(self) -> bool | None:
        return False if self.low >= 0 or self.high <= 0 else None

    def _eval_evalf(self, prec: int) -> sp.Expr:
        return sp.Float._new(_narrow(self, prec)._mpf_, prec)

    def _as_mpf_val(self, prec: int) -> Any:
        return _narrow(self, prec)._mpf_

    def _sympystr(self, printer: Any) -> str:
        return f"root({printer._print(self.function)}, {mp.nstr(_narrow(self, 60), _SHOWN)})"

    _sympyrepr = _sympystr

    def _latex(self, printer: Any) -> str:
        return rf"{mp.nstr(_narrow(self, 60), _SHOWN)}\ldots"

    def _pythoncode(self, printer: Any) -> str:
        return str(mp.nstr(_narrow(self, 80), 17))

    _numpycode = _pythoncode
    _ccode = _pythoncode

    def _mpmathcode(self, printer: Any) -> str:
        return f"{printer._module_format('mpmath.mpf')}('{mp.nstr(_narrow(self, 260), 75)}')"


# without an entry SymPy takes the real and imaginary parts of a float, by way of assumptions, each time a formula with a root is evaluated
sympy_evalf.evalf_table[IsolatedRoot] = lambda root, prec, options: (
    libmp.mpf_pos(root._as_mpf_val(prec), prec, "n"),
    None,
    prec,
    None,
)


def _narrow(root: IsolatedRoot, prec: int) -> mpmath.mpf:
    """The zero to a precision, at least; at few of them, so that questions with more and more digits share the work."""
    return _narrowed(root, _ENOUGH << max(0, -(-prec // _ENOUGH) - 1).bit_length())


@lru_cache(maxsize=1024)
def _narrowed(root: IsolatedRoot, prec: int) -> mpmath.mpf:
    """By a bracket that shrinks, from half of the digits where these are known."""
    value = _compiled(root.function)
    for working in (prec + 64, prec + 512):  # digits may cancel in the function
        with mp.workprec(working):
            for low, high in _brackets(root, prec):
                if value(low) * value(high) <= 0:
                    return _between(value, low, high, prec)
    raise ValueError(f"{root.function} does not change its sign between {root.low} and {root.high}")


def _brackets(root: IsolatedRoot, prec: int) -> Iterator[tuple[mpmath.mpf, mpmath.mpf]]:
    """The narrow one around half of the digits, and the root's own, which holds it for certain."""
    low, high = (mp.mpf(end.p) / end.q for end in (root.low, root.high))
    if prec > _ENOUGH:
        known = _narrowed(root, prec // 2)
        away = mp.ldexp(abs(known), -(prec // 2) - _GUARD // 2 + 1)
        yield max(low, known - away), min(high, known + away)
    yield low, high


@lru_cache(maxsize=64)
def _compiled(function: sp.Expr) -> Callable[[mpmath.mpf], mpmath.mpf]:
    compiled: Callable[[mpmath.mpf], mpmath.mpf] = in_mpmath(_X, function, cse=True)
    return compiled


def _between(value: Callable[[mpmath.mpf], mpmath.mpf], low: mpmath.mpf, high: mpmath.mpf, prec: int) -> mpmath.mpf:
    """Chandrupatla's method: inverse quadratic interpolation where the last three points lie on a monotone branch of it, else halving."""
    best, other = high, low
    at_best, at_other = value(high), value(low)
    if 0 in (at_best, at_other):
        return high if at_best == 0 else low
    close = mp.ldexp(1, -prec - _GUARD // 2)
    half = share = mp.mpf(1) / 2
    while True:
        point = best + share * (other - best)
        there = value(point)
        if there == 0:
            return +point
        if there * at_best > 0:  # the sign changes between the new point and the other end
            last, at_last = best, at_best
        else:
            last, at_last, other, at_other = other, at_other, best, at_best
        best, at_best = point, there
        nearer = best if abs(at_best) < abs(at_other) else other
        least = close * abs(nearer) / abs(other - best)
        if least > half:
            return nearer
        place, height = (best - other) / (last - other), (at_best - at_other) / (at_last - at_other)
        if height**2 < place and (1 - height) ** 2 < 1 - place:
            share = at_best / (at_other - at_best) * at_last / (at_other - at_last)
            share += (last - best) / (other - best) * at_best / (at_last - at_best) * at_other / (at_last - at_other)
        else:
            share = half
        share = min(1 - least, max(least, share))
