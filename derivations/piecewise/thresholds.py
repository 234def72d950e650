r"""Where a condition with parameters changes its truth value, by undoing functions around a linear one, and the order of such points."""

from __future__ import annotations

from collections.abc import Iterable

import sympy as sp
from sympy.core.relational import Relational

from derivations.errors import DerivationError


class Nonlinear(ValueError):
    """A condition changes its truth value elsewhere than at the zero of a linear function."""


def thresholds(condition: Relational, variable: sp.Symbol) -> tuple[sp.Expr, ...]:
    """Where a relation changes its truth value that is linear in the variable or, with parameters, in a function of it that is known."""
    difference = condition.lhs - condition.rhs
    if not difference.is_polynomial(variable):
        return _undone(difference, variable)
    opened = sp.expand(difference)
    slope = opened.coeff(variable, 1)
    point = sp.cancel(-opened.coeff(variable, 0) / slope) if slope != 0 else sp.nan
    if slope == 0 or sp.expand(opened - slope * (variable - point)) != 0:
        return _undone(difference, variable)
    return (point,)


def _undone(difference: sp.Expr, variable: sp.Symbol) -> tuple[sp.Expr, ...]:
    """The zeros of a formula with parameters, by undoing functions one by one around a linear argument.

    Each step must hold for all parameters: a factor of known sign, a logarithm or a root of what is positive.
    """
    if not difference.free_symbols - {variable}:
        raise Nonlinear  # a number: found, or isolated, elsewhere
    values, rest = [sp.S.Zero], difference
    while not (rest.is_polynomial(variable) and sp.degree(rest, variable) == 1):
        outside, inner = rest.as_independent(variable, as_Add=rest.is_Add)
        signs = {_sign(sp.factor(value)) for value in values}
        if rest.is_Add and outside != 0:
            values = [value - outside for value in values]
        elif rest.is_Mul and _sign(outside) and outside != 1:
            values = [value / outside for value in values]
        elif isinstance(rest, sp.exp) and signs == {1}:
            values, inner = [sp.log(value) for value in values], rest.args[0]
        elif isinstance(rest, sp.sinh | sp.asinh):
            values, inner = [rest.inverse()(value) for value in values], rest.args[0]
        elif rest.is_Pow and rest.exp.is_Integer and rest.exp.is_positive and signs <= {1, -1}:
            values, inner = _roots(values, rest.exp), rest.base
        else:
            raise Nonlinear
        rest = inner
    slope = sp.expand(rest).coeff(variable, 1)
    if not _sign(slope):
        raise Nonlinear
    return tuple(sp.expand_log(sp.cancel((value - rest.subs(variable, 0)) / slope)) for value in values)


def _roots(values: list[sp.Expr], power: sp.Integer) -> list[sp.Expr]:
    """Real roots of numbers of known sign: one of an odd power, two or none of an even one."""
    found = [_sign(sp.factor(v)) * sp.Abs(v) ** (1 / power) for v in values if power.is_odd or _sign(sp.factor(v)) > 0]
    return [sign * root for root in found for sign in ((1,) if power.is_odd else (-1, 1))]


def _sign(value: sp.Expr) -> int:
    """−1 or 1; 0 where the sign is not known for all parameters."""
    return 1 if value.is_positive else -1 if value.is_negative else 0


def in_order(points: Iterable[sp.Expr]) -> tuple[sp.Expr, ...]:
    """Sort points of the line exactly.

    Raises
    ------
    DerivationError
        If the order of two points depends on a parameter.
    """
    return tuple(sorted(points, key=_Ordered))


class _Ordered:
    """Sort key by a provable ``<``; refuses breakpoints whose order depends on a parameter."""

    def __init__(self, value: sp.Expr) -> None:
        self.value = value

    def __lt__(self, other: _Ordered) -> bool:
        less = _less(sp.sympify(self.value - other.value))
        if less is None:
            raise DerivationError(
                f"cannot order the breakpoints {self.value} and {other.value}; {_way_out(self, other)}"
            )
        return bool(less)


def _way_out(one: _Ordered, other: _Ordered) -> str:
    """What to do: a sign may decide, unless all that can change the order has one, as the covariances of neurons do."""
    symbols = sorted((one.value - other.value).free_symbols, key=str)
    if any(s.is_positive is None and s.is_negative is None for s in symbols):
        return "give the parameters a sign, e.g. Symbol('c', positive=True)"
    names = ", ".join(map(str, symbols))
    return (
        f"which comes first may change with {names}; no formula is derived over such a change: simulate networks of finite width, or give "
        "parameters numbers"
    )


def _less(difference: sp.Expr) -> bool | None:
    """Whether a difference is negative for all parameters, also where only written out it is seen to be."""
    known: bool | None = difference.is_negative
    if known is None:
        known = sp.expand(difference).is_negative
    return known
