r"""Removable points at which no power series holds, and removable points at any precision: by the analysis of ``derivations``.

:math:`x \log|x|` has the limit 0 at 0 and no Taylor series there; :math:`\sin|x| / |x|` has one from each side. Such a point gets
its limit. For a target of many digits every removable point gets, close by, the polynomial that the expansion of the formula begins
with, since no digits make 0/0 a number.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import sympy as sp
from sympy.functions.elementary.piecewise import ExprCondPair

from derivations.calculus.size import written_size
from derivations.errors import DerivationError
from derivations.piecewise import Point, analyse
from derivations.piecewise.expansion import expansion_at
from derivations.piecewise.terms import Unknown
from numerics.backends.variables import variables

_MOST_OPERATIONS = 120  # of a formula that is looked at
_TERMS = 12
_NEAR = sp.Rational(1, 2**20)  # (2^-20)^12 is below the 65 digits that the many-digit target computes with
_KINKED = (sp.Abs, sp.sign, sp.Max, sp.Min, sp.Heaviside, sp.Piecewise)
_BELOW = {sp.coth: sp.tanh, sp.csch: sp.sinh, sp.cot: sp.tan, sp.csc: sp.sin}
_X = sp.Symbol("x", real=True)


def exact_limits(expr: sp.Expr) -> sp.Expr:
    """Put limits, and polynomials beside them, at the removable points of each part of one variable.

    Examples
    --------
    >>> x = sp.Symbol("x", real=True)
    >>> exact_limits(sp.exp(-1 / x**2))
    Piecewise((0, Eq(x, 0)), (exp(-1/x**2), True))
    >>> exact_limits(sp.sin(x) / x).args[0].expr.subs(x, 0)
    1
    """
    expr = as_quotients(expr)
    if not (isinstance(expr, sp.Expr | ExprCondPair) and may_be_singular(expr)):
        return expr
    if isinstance(expr, sp.Expr) and len(variables(expr)) == 1:
        (variable,) = expr.free_symbols
        branches = [_branch(expr, variable, *found) for found in removable(expr, variable)]
        if branches:
            return sp.Piecewise(*branches, (expr, True), evaluate=False)
    return expr.func(*map(exact_limits, expr.args)) if expr.args else expr


def as_quotients(expr: sp.Expr) -> sp.Expr:
    """The formula with coth, csch, cot and csc as what they divide by, so that their poles are seen.

    Examples
    --------
    >>> x = sp.Symbol("x", real=True)
    >>> as_quotients(x * sp.coth(x)), as_quotients(sp.tanh(x))
    (x/tanh(x), tanh(x))
    """
    inverses = {
        node: 1 / below(node.args[0])
        for name, below in _BELOW.items()
        for node in (expr.atoms(name) if isinstance(expr, sp.Basic) else ())
    }
    return expr.xreplace(inverses) if inverses else expr


def may_be_singular(expr: sp.Expr) -> bool:
    """Whether something is divided by, or a logarithm is taken of something, that may be 0."""
    return any(
        (node.is_Pow and node.exp.is_negative and node.base.free_symbols and not node.base.is_nonzero)
        or (isinstance(node, sp.log) and node.args[0].free_symbols and not node.args[0].is_positive)
        for node in expr.atoms(sp.Pow, sp.log)
    )


def removable(expr: sp.Expr, variable: sp.Symbol) -> Iterator[tuple[sp.Rational, sp.Expr]]:
    """Points without a value between finite limits, and the value there: the limit, or the mean of two where a sign that jumps is 0.

    Rational numbers, which are the only ones that numbers of a computer reach.

    Examples
    --------
    >>> x = sp.Symbol("x", real=True)
    >>> list(removable(x * sp.log(sp.Abs(x)), x)), list(removable(sp.diff(sp.sin(x) ** 2 / sp.Abs(x), x), x))
    ([(0, 0)], [(0, 0)])
    """
    if written_size(expr) <= _MOST_OPERATIONS and variable.is_extended_real:
        yield from _removable(expr.xreplace({variable: _X}))


@lru_cache(maxsize=512)
def _removable(expr: sp.Expr) -> tuple[tuple[sp.Rational, sp.Expr], ...]:
    try:
        known = analyse(expr, _X)
    except (DerivationError, ValueError, TypeError, NotImplementedError, RecursionError):
        return ()  # what the analysis does not know stays as it is
    found = [(p.value, sp.sympify(p.limit)) for p in known.removable]
    found += [(p.value, sp.Add(*p.limits) / 2) for p in known.jumps if None not in p.limits and _is_at_a_sign(expr, p)]
    return tuple((at, value) for at, value in found if at.is_Rational and value.is_finite)


def _is_at_a_sign(expr: sp.Expr, point: Point) -> bool:
    """Whether a formula without a value at a jump holds a sign that is 0 there, as slopes at kinks do; |x|/x does not."""
    at = {_X: point.value}
    try:
        turns = any(node.args[0].xreplace(at).is_zero for node in expr.atoms(sp.sign, sp.Heaviside))
        return turns and bool(expr.xreplace(at).has(sp.nan, sp.zoo, sp.oo))
    except (TypeError, ValueError):
        return False  # a maximum of what is no number there


def _branch(expr: sp.Expr, variable: sp.Symbol, point: sp.Rational, value: sp.Expr) -> tuple[sp.Expr, sp.Basic]:
    polynomial = None if expr.has(*_KINKED) else _polynomial(expr, variable, point)
    if polynomial is None:
        return value, sp.Eq(variable, point)
    return polynomial, sp.And(variable > point - _NEAR, variable < point + _NEAR)


def _polynomial(expr: sp.Expr, variable: sp.Symbol, point: sp.Rational) -> sp.Expr | None:
    """The first terms of the expansion, if it is one of whole powers and the same from both sides."""
    try:
        above, below = (expansion_at(expr, variable, point, side, (_TERMS,)) for side in (1, -1))
    except Unknown:
        return None
    powers = {*above.terms, *below.terms}
    same = all(p.is_Integer and p >= 0 and above.terms.get(p, 0) == (-1) ** p * below.terms.get(p, 0) for p in powers)
    if not same or above.growth or not above.terms:
        return None
    return sp.Add(*(c * (variable - point) ** p for p, c in above.terms.items()))
