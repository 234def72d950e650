"""Numba: machine code for one point at a time, kinks by branches; the heart of jit kernels. Extra ``fast``."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache, reduce, wraps
from importlib.util import find_spec
from typing import Any

import numpy as np
import sympy as sp
from sympy.printing.pycode import PythonCodePrinter

from derivations.piecewise import IsolatedRoot
from numerics.backends.angles import small_angles
from numerics.backends.base import Backend, Function, strict_settings
from numerics.backends.cancelling import cancelling_sums, exponential_tails
from numerics.backends.correlations import correlation_angles
from numerics.backends.exponentials import bounded_logarithms, bounded_quotients, logistic_powers
from numerics.backends.numpy import safe
from numerics.backends.rewrites import logistic_quotients, stable_logarithms

#: How every kernel is compiled: no bounds checks, IEEE division, and other threads run meanwhile.
OPTIONS: dict[str, Any] = {"error_model": "numpy", "nogil": True}
_TWINS = {
    "ErfiInv": "erfi_inv",
    "ScaledBesselI": "scaled_bessel_i",
    "LogNormalCdf": "log_normal_cdf",
    "ErrorTail": "erfc",
    "ExponentialTail": "error_tail",
    "LogCosh": "log_cosh",
    "Logistic": "logistic",
    "erfi": "erfi",
    "erfinv": "erfinv",
    "erfcinv": "erfcinv",
    "logaddexp": "logaddexp",
    "besseli": "iv",
    "besselk": "kv",
    "besselj": "jv",
    "bessely": "yv",
}
_MATH = (
    *("acos", "acosh", "asin", "asinh", "atan", "atan2", "atanh", "cos", "cosh", "sin", "sinh", "tan", "tanh"),
    *("exp", "expm1", "log", "log1p", "sqrt", "erf", "erfc", "gamma", "lgamma", "floor", "ceil", "copysign", "hypot"),
    *("pi", "e", "inf", "nan"),
)


class NumbaWriter(PythonCodePrinter):
    """Prints the formulas of this project for one point: a kink is a conditional expression, of which one branch runs."""

    printmethod = None  # a target's own table of functions, not the nodes' hooks for lambdify

    def _print_Max(self, node: sp.Expr) -> str:
        return reduce(lambda left, right: f"max({left}, {right})", map(self._print, node.args))

    def _print_Min(self, node: sp.Expr) -> str:
        return reduce(lambda left, right: f"min({left}, {right})", map(self._print, node.args))

    def _print_Apart(self, node: sp.Expr) -> str:
        first, second = map(self._print, node.args)
        return f"(({first}) - ({second}))"

    def _print_Where(self, node: sp.Expr) -> str:
        condition, inside, outside = map(self._print, node.args)
        return f"(({inside}) if ({condition}) else ({outside}))"

    def _print_Heaviside(self, node: sp.Expr) -> str:
        return str(self._print(node.rewrite(sp.Piecewise)))

    def _print_Integer(self, node: sp.Expr) -> str:
        return f"{int(node)}.0"  # one number type throughout, so that branches agree

    def _print_Float(self, node: sp.Expr) -> str:
        return repr(float(node))

    def _print_Rational(self, node: sp.Expr) -> str:
        return f"{node.p}.0/{node.q}.0"

    def _print_Pow(self, node: sp.Expr, **settings: Any) -> str:
        if node.exp.is_Integer:  # a whole power is products
            base = self.parenthesize(node.base, sp.printing.precedence.PRECEDENCE["Pow"] + 1)
            power = base if abs(node.exp) == 1 else f"{base}**{abs(int(node.exp))}"
            return power if node.exp > 0 else f"(1.0/{power})"
        return str(super()._print_Pow(node, **settings))

    def _print_Infinity(self, node: sp.Expr) -> str:
        return "inf"

    def _print_NegativeInfinity(self, node: sp.Expr) -> str:
        return "(-inf)"

    def _print_IsolatedRoot(self, node: IsolatedRoot) -> str:
        return node._pythoncode(self)

    def _print_NaN(self, node: sp.Expr) -> str:
        return "nan"

    def _print_Integral(self, node: sp.Expr) -> str:
        return str(self._print_not_supported(node))


def printer() -> NumbaWriter:
    """A fresh printer, which refuses what has no scalar function."""
    return NumbaWriter(strict_settings(_TWINS))


@cache
def names() -> dict[str, Any]:
    """What printed code may use; loads Numba."""
    from numerics.special import scalar

    twins = {name: getattr(scalar, name) for name in _TWINS.values() if name != "erfc"}
    return {name: getattr(math, name) for name in _MATH} | twins | {"tanh": scalar.tanh}


def _wrap(function: Function) -> Callable[..., tuple[np.ndarray, ...]]:
    """Arrays in, one array per expression out, computed point by point."""
    import numba

    compiled = numba.njit(**OPTIONS)(function)
    drivers: dict[int, Function] = {}  # by the number of arguments

    @wraps(function)
    def on_arrays(*arguments: Any) -> tuple[np.ndarray, ...]:
        arrays = [np.asarray(argument, dtype=float) for argument in arguments]
        shape = np.broadcast_shapes(*(array.shape for array in arrays))
        flat = [np.array(np.broadcast_to(array, shape)).ravel() for array in arrays]
        if len(arrays) not in drivers:
            drivers[len(arrays)] = _driver(compiled, len(arrays))
        values = drivers[len(arrays)](int(np.prod(shape)), *flat)
        return tuple(column.reshape(shape)[()] for column in values)

    return on_arrays


def _driver(function: Function, arity: int) -> Function:
    """The loop over points, written out for a number of arguments and values."""
    import numba

    size = len(function(*(1.0,) * arity))
    at = ", ".join(f"a{k}[i]" for k in range(arity))
    lines = [
        f"def loop(count{''.join(f', a{k}' for k in range(arity))}):",
        f"    columns = np.empty(({size}, count))",
        "    for i in range(count):",
        f"        values = function({at})",
        *(f"        columns[{k}, i] = values[{k}]" for k in range(size)),
        "    return columns",
    ]
    scope: dict[str, Any] = {"function": function, "np": np}
    exec(compile("\n".join(lines), "<loop over points>", "exec"), scope)
    return numba.njit(**OPTIONS)(scope["loop"])


def is_available() -> bool:
    """Whether Numba can be imported, found without importing it."""
    return find_spec("numba") is not None


NUMBA = Backend(
    "numba",
    printer,
    names,
    (
        correlation_angles,
        small_angles,
        safe,
        bounded_quotients,
        bounded_logarithms,
        cancelling_sums,
        exponential_tails,
        stable_logarithms,
        logistic_quotients,
        logistic_powers,
    ),
    _wrap,
    1e-13,
)
