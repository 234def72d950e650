r"""Truncated power series in the small parameter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import sympy as sp

from derivations.errors import NoLimit
from derivations.symbols import step

_TIMES = {1: "once", 2: "twice"}

#: Coefficients of ε⁰, ε¹, …
Series: TypeAlias = tuple[sp.Expr, ...]


def taylor(expr: sp.Expr, order: int) -> Series:
    r"""Coefficients of an expression in :math:`\varepsilon` at 0, up to an order.

    Raises
    ------
    NoLimit
        If it is not smooth there.

    Examples
    --------
    >>> x = sp.Symbol("x", real=True)
    >>> taylor(sp.tanh(step * x), 3)
    (0, x, 0, -x**3/3)
    """
    if not expr.has(step):
        return (expr, *[sp.S.Zero] * order)
    if expr.is_polynomial(step):
        return _coefficients(expr, order)
    found = []
    derivative = expr
    for k in range(order + 1):
        value = derivative.subs(step, 0)
        if value.has(sp.nan, sp.zoo, sp.oo, -sp.oo, sp.AccumBounds):
            raise NoLimit(
                f"{expr} is not {_TIMES.get(order, f'{order} times')} differentiable in ε at ε = 0; write it in powers of ε = L^(-1/2), or "
                "choose an activation that is smooth at 0"
            )
        found.append(sp.expand(value / sp.factorial(k)))
        derivative = sp.diff(derivative, step)
    return tuple(found)


def _coefficients(polynomial: sp.Expr, order: int) -> Series:
    found: list[list[sp.Expr]] = [[] for _ in range(order + 1)]
    for term in sp.Add.make_args(sp.expand(polynomial)):
        coefficient, power = term.as_coeff_exponent(step)
        if power <= order:
            found[int(power)].append(coefficient)
    return tuple(sp.Add(*terms) for terms in found)


def as_expression(series: Sequence[sp.Expr]) -> sp.Expr:
    """The polynomial with these coefficients."""
    return sp.Add(*(c * step**k for k, c in enumerate(series)))


def truncated_product(first: Series, second: Series) -> Series:
    """Coefficients of a product, to the order of the shorter one."""
    size = min(len(first), len(second))
    return tuple(sp.Add(*(first[i] * second[k - i] for i in range(k + 1))) for k in range(size))
