r"""Intervals that hold the values of a formula, and of its Taylor coefficients, over an interval of arguments.

Ends are rounded outward by mpmath's interval arithmetic; a monotone function is taken at the two ends. So
:math:`0 \notin F([a, b])` proves that f has no zero in [a, b], and :math:`0 \notin F'([a, b])` that it has at most one.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import sympy as sp
from mpmath import libmp

from derivations.piecewise.jets import (
    ONE,
    PRECISION,
    ZERO,
    Jet,
    Raw,
    Unsupported,
    absolute,
    constant_value,
    exponential,
    function_value,
    integrated,
    inverted,
    log1p,
    logarithm,
    plus,
    power,
    product,
    scaled,
    sine_cosine,
    times,
)


class Spent(ValueError):
    """The budget of operations is used up."""


class Budget:
    """How many interval operations a search may still make; the same formula always spends the same."""

    def __init__(self, operations: int) -> None:
        self.left = operations

    def spend(self, operations: int) -> None:
        """Count operations down.

        Raises
        ------
        Spent
            If there are no more.
        """
        self.left -= operations
        if self.left < 0:
            raise Spent("the budget of interval operations is used up")


@lru_cache(maxsize=4096)
def _with_tails(total: sp.Add) -> sp.Expr:
    """A sum with B T ± B written as B (T ± 1) for every erf or tanh T: far out these terms cancel, as those of x Φ(x) do.

    Examples
    --------
    >>> x = sp.Symbol("x", real=True)
    >>> _with_tails(x * sp.erf(x) / 2 + x / 2 - 3)
    x*(erf(x) + 1)/2 - 3
    """
    left = list(total.args)
    paired = []
    for term in total.args:
        nodes = [f for f in sp.Mul.make_args(term) if isinstance(f, sp.erf | sp.tanh)]
        for node in nodes if term in left else ():
            rest = term / node
            if not rest.is_number and (sign := next((s for s in (1, -1) if s * rest in left), 0)):
                left.remove(term)
                left.remove(sign * rest)
                paired.append(rest * (node + sign))
                break
    return sp.Add(*left, *paired) if paired else total


class IntervalFunction:
    """Taylor coefficients of a formula over intervals, node by node, each node once.

    Examples
    --------
    >>> from derivations.piecewise.jets import contains_zero, raw
    >>> x = sp.Symbol("x", real=True)
    >>> f = IntervalFunction(x**2 + 1, x)
    >>> contains_zero(f.jet(raw(-1, 2), 0)[0])
    False
    """

    def __init__(self, expr: sp.Expr, variable: sp.Symbol, budget: Budget | None = None) -> None:
        self.variable, self.expr = variable, expr
        self.budget = budget or Budget(10**9)
        self._rules: dict[tuple[Any, int], sp.Expr] = {}
        self._constants: dict[sp.Expr, Raw] = {}
        self._memo: dict[sp.Expr, Jet] = {}

    def jet(self, over: Raw, order: int) -> Jet:
        """Intervals of the coefficients 0, …, order over an interval of arguments."""
        self._memo = {}
        argument = [over, (libmp.fone, libmp.fone)] + [ZERO] * order
        self._argument = argument
        return self._series(self.expr, order)

    def _series(self, expr: sp.Expr, n: int) -> Jet:
        known = self._memo.get(expr)
        if known is not None and len(known) > n:
            return known[: n + 1]
        found = self._work(expr, n)
        self._memo[expr] = found
        return found

    def _work(self, expr: sp.Expr, n: int) -> Jet:
        if expr == self.variable:
            return self._argument[: n + 1]
        if not expr.has(self.variable):
            if expr not in self._constants:
                self._constants[expr] = constant_value(expr)
            return [self._constants[expr]] + [ZERO] * n
        self.budget.spend((n + 1) ** 2)
        if expr.is_Add:
            expr = _with_tails(expr)
            if not expr.is_Add:
                return self._series(expr, n)
            parts = [self._series(a, n) for a in expr.args]
            total = parts[0]
            for part in parts[1:]:
                total = [libmp.mpi_add(p, q, PRECISION) for p, q in zip(total, part, strict=True)]
            tail = self._tail(expr)
            return total if tail is None else [tail, *total[1:]]
        if expr.is_Mul:
            value = self._series(expr.args[0], n)
            for a in expr.args[1:]:
                value = product(value, self._series(a, n))
            return value
        if isinstance(expr, sp.exp):
            return exponential(self._series(expr.args[0], n))
        if expr.is_Pow:
            base, exponent = expr.args
            if exponent.has(self.variable):
                return self._series(sp.exp(exponent * sp.log(base), evaluate=False), n)
            return power(self._series(base, n), exponent)
        if isinstance(expr, sp.log):
            constant, rest = expr.args[0].as_coeff_Add()
            if constant == 1:  # what is smaller than the rounding of 1 + u is kept
                inner = self._series(rest, n)
                return logarithm([plus(ONE, inner[0]), *inner[1:]], log1p(inner[0]))
            return logarithm(self._series(expr.args[0], n))
        if isinstance(expr, sp.sin | sp.cos):
            sine, cosine = sine_cosine(self._series(expr.args[0], n))
            return sine if isinstance(expr, sp.sin) else cosine
        if isinstance(expr, sp.Abs):
            return absolute(self._series(expr.args[0], n))
        if isinstance(expr, sp.Function) and len(expr.args) == 1:
            return self._function(expr, n)
        raise Unsupported(f"intervals are not known for {expr.func.__name__}")

    def _tail(self, expr: sp.Add) -> Raw | None:
        """The values of c (1 ± erf u) and c (1 ± tanh u), without the rounding of the sum."""
        constant, term = expr.as_coeff_Add()
        coefficient, function = term.as_coeff_Mul()
        if not isinstance(function, sp.erf | sp.tanh) or constant == 0 or abs(coefficient) != abs(constant):
            return None
        (u,) = self._series(function.args[0], 0)
        against = u if coefficient != constant else libmp.mpi_neg(u, PRECISION)
        if isinstance(function, sp.erf):
            value = function_value(sp.erfc, against)
        else:  # 1 + tanh u = 2/(1 + e^{−2u})
            value = scaled(inverted(plus(ONE, exponential([scaled(against, 2, 1)])[0])), 2, 1)
        return times(value, constant_value(constant))

    def _function(self, expr: sp.Expr, n: int) -> Jet:
        """f(u) with the coefficients from f(u)′ = f′(u) u′, f′ as SymPy writes it."""
        (inner,) = expr.args
        u = self._series(inner, n)
        found = [function_value(expr.func, u[0])]
        if n == 0:
            return found
        slope = self._series(expr.fdiff(), n - 1)
        return found + integrated(slope, u)
