"""Closed forms as functions of mpmath numbers, at the caller's working precision."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import mpmath
import sympy as sp
from mpmath import mp

from derivations import special
from derivations.evaluation import in_mpmath

_NODES = {
    "ErfiInv": special.erfi_inverse,
    "ScaledBesselI": special.scaled_bessel_i,
    "LogNormalCdf": special.log_normal_cdf,
    "IntervalKernel": special.interval_kernel,
    "LogIntervalKernel": special.log_interval_kernel,
    "Weber": special.weber,
    "WeberCoordinate": special.weber_coordinate,
    "atan2": mpmath.atan2,
    "uppergamma": lambda s, x: mpmath.gammainc(s, x),
    "lowergamma": lambda s, x: mpmath.gammainc(s, 0, x),
    "erfinv": mpmath.erfinv,
}


def compiled(arguments: Sequence[sp.Symbol], expr: sp.Expr) -> Callable[..., mpmath.mpf]:
    """A function of mpmath numbers, one per argument in this order.

    Examples
    --------
    >>> x = sp.Symbol("x", real=True)
    >>> mpmath.nstr(mpmath.erfi(compiled((x,), special.ErfiInv(x))(1)), 8)
    '1.0'
    """
    dummies = [sp.Dummy(f"a{k}", real=True) for k in range(len(arguments))]
    body = sp.sympify(expr).subs(dict(zip(arguments, dummies, strict=True)))
    inner = {node: sp.Dummy(f"i{k}", real=True) for k, node in enumerate(sorted(body.atoms(sp.Integral), key=str))}
    # in the place of dummies `lambdify` puts symbols without assumptions, and SymPy then asks what it knows of each part, level by level
    names = {name: sp.Symbol(f"given_{k}", real=True) for k, name in enumerate([*dummies, *inner.values()])}
    outer = in_mpmath(list(names.values()), body.xreplace(inner).xreplace(names), _NODES)
    integrals = [_integral(dummies, node) for node in inner]

    def value(*numbers: Any) -> mpmath.mpf:
        given = [mp.convert(number) for number in numbers]
        return mp.convert(outer(*given, *(integral(*given) for integral in integrals)))

    return value


def _integral(arguments: Sequence[sp.Symbol], node: sp.Integral) -> Callable[..., mpmath.mpf]:
    """One integral over one variable, by the double exponential rule on intervals that are halved until it settles."""
    ((variable, low, high),) = node.limits
    ends = [compiled(arguments, end) for end in (low, high)]
    integrand = compiled((variable, *arguments), node.function)
    return lambda *given: settled(lambda v: integrand(v, *given), *(end(*given) for end in ends))


_HALVINGS = 12


def settled(function: Callable[[Any], mpmath.mpf], low: mpmath.mpf, high: mpmath.mpf, depth: int = 0) -> mpmath.mpf:
    """An integral to the working precision: where the rule says that it has not settled, both halves are asked.

    Examples
    --------
    >>> mpmath.nstr(settled(lambda v: mp.exp(-mp.exp(4 * v)) * mp.exp(4 * v), -12, 8), 12)
    '0.25'
    """
    value, error = mp.quad(function, [low, high], error=True)
    if error <= abs(value) * mp.eps * 1000 or error <= mp.eps**2 or depth == _HALVINGS:
        return value
    middle = _middle(low, high)
    return settled(function, low, middle, depth + 1) + settled(function, middle, high, depth + 1)


def _middle(low: mpmath.mpf, high: mpmath.mpf) -> mpmath.mpf:
    if mp.isinf(low) and mp.isinf(high):
        return mp.zero
    if mp.isinf(low):
        return min(2 * high, high - 1)
    if mp.isinf(high):
        return max(2 * low, low + 1)
    return (low + high) / 2
