"""A power of the size of the state that bounds coefficients far out, and what follows at linear growth."""

from __future__ import annotations

from collections.abc import Sequence

import sympy as sp

from derivations.errors import DerivationError
from derivations.gaussian import GaussianExpectation, GaussianJointExpectation, SoftmaxMean
from derivations.gaussian.growth import away_from_zero
from derivations.piecewise import analyse
from derivations.special import ExpertGate
from derivations.sums import CoordinateSum

#: A power that grows faster than all powers of a logarithm.
_ABOVE_LOGARITHMS = sp.Rational(1, 8)
#: Bounded functions of real numbers.
_BOUNDED = (sp.sin, sp.cos, sp.tanh, sp.erf, sp.erfc, sp.asin, sp.acos, sp.atan, ExpertGate)
#: Those that are at most a multiple of the size of their argument.
_LINEAR_AT_ZERO = (sp.sin, sp.tanh, sp.atan, sp.asin, sp.erf)


def at_most(drift: list[sp.Expr | None], covariance: list[sp.Expr | None]) -> bool:
    """Linear growth: degree 1 of the drift, 2 of the covariance."""
    return all(d is not None and d <= 1 for d in drift) and all(d is not None and d <= 2 for d in covariance)


def degree(expr: sp.Expr, states: Sequence[sp.Symbol], far: bool = True) -> sp.Expr | None:
    """A power of the size of the state that bounds an expression far out, or close to 0; None if none is seen."""
    if not expr.has(CoordinateSum, *states):
        return None if expr.has(sp.oo, sp.zoo, sp.nan) else sp.S.Zero
    if expr in states:
        return sp.S.One
    if isinstance(expr, CoordinateSum):
        return degree(expr.body, (*states, *expr.bound_symbols), far)
    most = sp.Max if far else sp.Min
    if isinstance(expr, SoftmaxMean):  # shares add up to 1
        entries = [degree(entry, states, far) for entry in {*expr.form}]
        own: sp.Expr | None = sp.S.One
        if expr.function is not None:  # the form of both rows is at most the root of both their own
            one, both, two = expr.function.variables
            size = sp.Dummy("r", real=True) * sp.sqrt(one) * sp.sqrt(two)
            own = degree(sp.expand(expr.function.expr.xreplace({both: size})), (one, two), far)
        return None if own is None or None in entries else own * most(*entries)
    if isinstance(expr, GaussianExpectation):
        function, *place = expr.args
        mean, variance = (degree(entry, states, far) for entry in place)
        if function.expr.has(*states):  # its variable is of the size of the states at most
            small = far and place[0] == 0 and variance is not None and variance <= 2
            return degree(function.expr, (*states, *function.variables), far) if small else None
        own = degree(function.expr, function.variables, far)
        if own is None or mean is None or variance is None:
            return None
        return own * (variance / 2 if place[0] == 0 else most(mean, variance / 2))
    if isinstance(expr, GaussianJointExpectation):
        return _degree_of_joint(expr, states, far)
    if isinstance(expr, sp.Add | sp.Mul | sp.Max | sp.Min | sp.Abs):
        parts = [degree(part, states, far) for part in expr.args]
        return None if None in parts else sp.Add(*parts) if expr.is_Mul else most(*parts)
    if expr.is_Pow and expr.exp.is_nonnegative and expr.exp.is_number:
        base = degree(expr.base, states, far)
        return None if base is None else base * expr.exp
    if isinstance(expr, _LINEAR_AT_ZERO) and not far:
        return degree(expr.args[0], states, far)
    if isinstance(expr, _BOUNDED):
        return sp.S.Zero
    single = len(states) == 1 and bool(states[0].is_positive)
    if expr.is_Pow and expr.exp.is_number and single and expr.base.is_polynomial(*states):
        terms = sp.Poly(expr.base, *states).terms()
        if all(coefficient.is_positive for _, coefficient in terms):  # nothing cancels
            return expr.exp * terms[0 if far else -1][0][0]
    if far and expr.is_Pow and expr.exp.is_negative and away_from_zero(expr.base, states):
        return sp.S.Zero
    if isinstance(expr, sp.Function) and len(expr.args) == 1 and len(expr.free_symbols) > 1 and far:
        x = sp.Dummy("x", real=True)
        own, inside = _degree_of_function(expr.func(x), far), degree(expr.args[0], states, far)
        return None if own is None or inside is None else own * inside
    return _degree_of_function(expr, far) if len(expr.free_symbols) == 1 and not expr.has(CoordinateSum) else None


def _degree_of_joint(expr: GaussianJointExpectation, states: Sequence[sp.Symbol], far: bool) -> sp.Expr | None:
    """Of a mean over several variables, which are of the size of the root of their variances."""
    if expr.function.expr.has(*states):
        return None
    own = degree(expr.function.expr, expr.function.variables)
    if own == 0 or not far:  # what is bounded far out is bounded
        return own if own == 0 else None
    sizes = [degree(expr.covariance[i, i], states) for i in range(expr.covariance.rows)]
    return None if own is None or None in sizes else own * sp.Max(*sizes) / 2


def _degree_of_function(expr: sp.Expr, far: bool) -> sp.Expr | None:
    if expr.has(GaussianJointExpectation):  # an analysis takes values of it to many digits
        return None
    x = sp.Dummy("x", real=True)
    try:
        a = analyse(expr.xreplace({expr.free_symbols.pop(): x}), x)
        ends = [a.growth(end) for end in (-sp.oo, sp.oo)] if a.complete and not a.poles else []
    except DerivationError:
        return None
    exponents = [g.exponent for g in ends if g.exponent is not None]
    if not ends or len(exponents) < len(ends):
        return None
    logarithms = [g.coefficient is not None and bool(g.coefficient.free_symbols) for g in ends]
    if far:
        above = [_ABOVE_LOGARITHMS if log else sp.S.Zero for log in logarithms]
        return sp.Max(0, *(sp.Add(*pair) for pair in zip(exponents, above, strict=True)))
    if any(logarithms):
        return None
    orders = [order for zero in a.zeros if zero.value == 0 for order in zero.orders]
    return None if None in orders else sp.Min(*orders) if orders else sp.S.Zero
