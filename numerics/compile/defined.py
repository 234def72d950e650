"""Whether a formula has a value at a state: seen from its form, or computed with fifty digits and no bounds on numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import sympy as sp

from derivations.diffusion import Diffusion, NeuronDiffusion
from derivations.language import Program
from derivations.language.statements import Between, Mask
from derivations.sums import CoordinateSum
from derivations.symbols import step
from numerics.compile.expression import compile_expression

#: Functions that have a value at every real number.
_EVERYWHERE = (
    *(
        sp.exp,
        sp.sin,
        sp.cos,
        sp.tanh,
        sp.sinh,
        sp.cosh,
        sp.erf,
        sp.erfc,
        sp.atan,
        sp.asinh,
        sp.Abs,
        sp.sign,
        sp.Max,
        sp.Min,
    ),
    *(sp.Piecewise, sp.Heaviside),
)


@lru_cache(maxsize=4096)
def defined_everywhere(expr: sp.Expr) -> bool:
    """Whether a formula is seen to have a value at all real numbers; False says only that it is not seen.

    Examples
    --------
    >>> x = sp.Symbol("x", real=True)
    >>> [defined_everywhere(f) for f in (x**2, 1 / (1 + sp.exp(-x)), sp.sqrt(1 + x**2), sp.log(x), x ** sp.Rational(1, 3), 1 / x)]
    [True, True, True, False, False, False]
    """
    for node in sp.preorder_traversal(expr):
        if isinstance(node, sp.Pow):
            whole = node.exp.is_Integer and node.exp.is_nonnegative
            fine = whole or node.base.is_positive or (node.exp.is_positive and node.base.is_nonnegative)
            if not fine:
                return False
        elif isinstance(node, sp.log):
            if not node.args[0].is_positive:
                return False
        elif isinstance(node, sp.Function) and not isinstance(node, _EVERYWHERE):
            return False
    return True


def has_value(expr: sp.Expr, symbols: Sequence[sp.Symbol], point: Sequence[float]) -> bool:
    """Whether a formula has a real value at a point, however large it is."""
    function = _to_fifty_digits(expr, tuple(symbols))
    try:
        value = function(*map(float, point))
        number = sp.sympify(value)
        return bool(number.is_real) and number is not sp.nan
    except OverflowError:
        return True
    except (ZeroDivisionError, ValueError, TypeError, ArithmeticError):
        return False


@lru_cache(maxsize=64)
def _to_fifty_digits(expr: sp.Expr, symbols: tuple[sp.Symbol, ...]) -> Callable[..., Any]:
    return compile_expression(symbols, expr, backend="mpmath")


def undefined_entry(entries: Sequence[sp.Expr], symbols: Sequence[sp.Symbol], point: Sequence[float]) -> sp.Expr | None:
    """The first formula that has no value at a point."""
    return next((e for e in entries if not defined_everywhere(e) and not has_value(e, symbols, point)), None)


def formulas(limit: Diffusion | NeuronDiffusion) -> dict[str, tuple[sp.Expr, ...]]:
    """What is evaluated at each state, or at each neuron's, by name."""
    if isinstance(limit, NeuronDiffusion):
        both = sp.Tuple(*limit.neuron_drift, *limit.neuron_covariance)
        return {"summand": tuple(s.at(limit.neuron) for s in both.atoms(CoordinateSum))}
    return {"drift": tuple(limit.drift), "covariance": tuple(limit.covariance)}


def everywhere_in(program: Program) -> bool:
    """Whether every formula of a layer has a value wherever its numbers are finite."""
    bodies = [s.body for s in program.statements if not isinstance(s, Mask | Between)]
    return all(defined_everywhere(possibly_zero(body)) for body in (*bodies, program.update))


def possibly_zero(expr: sp.Expr) -> sp.Expr:
    """A layer's formula with averages that may be 0, though almost surely they are positive: a layer may be dead."""
    return expr.xreplace(
        {s: sp.Dummy(s.name, nonnegative=True) for s in expr.free_symbols if s.is_positive and s != step}
    )
