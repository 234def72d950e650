"""NumPy and SciPy: double precision on whole arrays; the default."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from functools import cache, reduce, wraps
from typing import Any

import numpy as np
import sympy as sp
from scipy import special as scipy_special
from sympy.printing.numpy import SciPyPrinter

from derivations.constants import with_digits
from derivations.piecewise import IsolatedRoot
from derivations.special import Weber
from derivations.special.numeric import Numeric
from numerics import special
from numerics.backends.angles import small_angles
from numerics.backends.base import Backend, Function, real_numbers, strict_settings
from numerics.backends.cancelling import cancelling_sums, exponential_tails
from numerics.backends.correlations import correlation_angles
from numerics.backends.ends import safe_ends
from numerics.backends.exponentials import bounded_logarithms, bounded_quotients, logistic_powers
from numerics.backends.extended import extended_names
from numerics.backends.kinks import guarded_branches
from numerics.backends.many_digits import DIGITS
from numerics.backends.rewrites import differences_of_several, logistic_quotients, stable_logarithms
from numerics.backends.sides import X

_TWINS = {
    **{node.__name__: node.array_name for node in Numeric.__subclasses__()},
    "ErrorTail": "erfc",
    "ExponentialTail": "error_tail",
    "LogCosh": "log_cosh",
    "Logistic": "logistic",
    "erfi": "erfi",
    "erfinv": "erfinv",
    "erfcinv": "erfcinv",
}


_DOUBLE = np.dtype(float)
#: Whole numbers up to here are doubles.
_EXACT = 2**53
_LARGEST = 10**300


class NumPyWriter(SciPyPrinter):
    """Prints the formulas of this project, kinks by ``where``; refuses what has no array function."""

    def __init__(self, settings: dict[str, Any]) -> None:
        super().__init__(settings)
        self.printmethod = None  # a target's own table of functions, not the nodes' hooks for lambdify

    def _print_IsolatedRoot(self, node: IsolatedRoot) -> str:
        return node._pythoncode(self)

    def _print_Apart(self, node: sp.Expr) -> str:
        first, second = map(self._print, node.args)
        return f"(({first}) - ({second}))"

    def _print_Where(self, node: sp.Expr) -> str:
        condition, inside, outside = (self._print(arg) for arg in node.args)
        return f"where({condition}, {inside}, {outside})"

    def _print_GaussianMean(self, node: Any) -> str:
        return str(node._numpycode(self))

    def _print_SoftmaxShare(self, node: Any) -> str:
        return str(self._print(node.explicit()))

    def _print_Max(self, node: sp.Expr) -> str:
        return self._chain("maximum", node)

    def _print_Min(self, node: sp.Expr) -> str:
        return self._chain("minimum", node)

    def _print_log1p(self, node: sp.Expr) -> str:
        return f"log1p({self._print(node.args[0])})"

    def _print_expm1(self, node: sp.Expr) -> str:
        return f"expm1({self._print(node.args[0])})"

    def _print_logaddexp(self, node: sp.Expr) -> str:
        return f"logaddexp({', '.join(map(self._print, node.args))})"

    def _print_log(self, node: sp.Expr) -> str:
        inner = node.args[0]
        if isinstance(inner, Weber) and inner.args[0] == 0:  # which itself overflows
            return f"log_weber({', '.join(map(self._print, inner.args[1:]))})"
        return f"log({self._print(inner)})"

    def _print_And(self, node: sp.Expr) -> str:
        return "(" + " & ".join(f"({self._print(arg)})" for arg in node.args) + ")"

    def _print_Or(self, node: sp.Expr) -> str:
        return "(" + " | ".join(f"({self._print(arg)})" for arg in node.args) + ")"

    def _print_Not(self, node: sp.Expr) -> str:
        return f"logical_not({self._print(node.args[0])})"

    def _print_ITE(self, node: sp.Expr) -> str:
        # SymPy's own choice among numbers would make numbers of truth values
        condition, inside, outside = (f"({self._print(arg)})" for arg in node.args)
        return f"(({condition} & {inside}) | (logical_not{condition} & {outside}))"

    def _print_Integral(self, node: sp.Expr) -> str:
        return str(self._print_not_supported(node))

    def _print_Float(self, node: sp.Expr) -> str:
        return repr(float(node))

    def _print_Integer(self, node: sp.Expr) -> str:
        # beyond 64 bits NumPy would compute with objects
        return repr(float(int(node))) if _EXACT < abs(int(node)) < _LARGEST else str(int(node))

    def _print_Rational(self, node: sp.Expr) -> str:
        value = Fraction(int(node.p), int(node.q))
        if max(abs(node.p), node.q) <= _EXACT or not 1 / _LARGEST < abs(value) < _LARGEST:
            return f"{node.p}/{node.q}"
        return repr(float(value))

    def _print_Pow(self, node: sp.Expr, **settings: Any) -> str:
        # NumPy's power is ten times as slow as a product of two or three
        if node.base.is_Symbol and abs(node.exp) in (1, 2, 3):
            one = self._print(node.base) if node.exp > 0 else f"(1.0/{self._print(node.base)})"
            return "(" + "*".join([one] * int(abs(node.exp))) + ")"
        return str(super()._print_Pow(node, **settings))

    def _chain(self, function: str, node: sp.Expr) -> str:
        return reduce(lambda left, right: f"{function}({left}, {right})", map(self._print, node.args))


def _printer() -> NumPyWriter:
    return NumPyWriter(strict_settings(_TWINS))


def _wrap(function: Function) -> Callable[..., tuple[np.ndarray, ...]]:
    """Arrays in, one array per expression out, all of the arguments' common shape."""

    @wraps(function)
    def on_arrays(*arguments: Any) -> tuple[np.ndarray, ...]:
        arrays = [np.asarray(argument, dtype=float) for argument in arguments]
        shapes = {array.shape for array in arrays} - {()}
        shape = shapes.pop() if len(shapes) == 1 else np.broadcast_shapes(*shapes)
        # beyond the double range a value is infinite, which is what rounding to double means
        with np.errstate(over="ignore", under="ignore"):
            values = function(*arrays)
        return tuple(_shaped(value, shape, arrays) for value in values)

    return on_arrays


def _shaped(value: Any, shape: tuple[int, ...], arguments: list[np.ndarray]) -> np.ndarray:
    if isinstance(value, int | float) and shape:  # a number: broadcasting takes as long as a short formula
        return np.full(shape, value, dtype=float)
    array = value if type(value) is np.ndarray and value.dtype == _DOUBLE else real_numbers(value)
    if array.shape != shape:
        return np.array(np.broadcast_to(array, shape))  # a copy that the caller may write to
    if not shape:
        return array[()]
    return array.copy() if any(array is argument for argument in arguments) else array


@cache
def _modules() -> dict[str, Any]:
    names: dict[str, Any] = {name: getattr(scipy_special, name) for name in scipy_special.__all__}
    names |= {name: getattr(np, name) for name in np.__all__}
    names |= {name: getattr(special, name) for name in special.__all__}
    return names | {"abs": np.abs}


_REWRITES = (
    bounded_quotients,
    bounded_logarithms,
    cancelling_sums,
    exponential_tails,
    stable_logarithms,
    logistic_quotients,
    guarded_branches,
)


class _Naive:
    """NumPy without a look at the ends of the double range."""

    def written(self, expr: sp.Expr) -> sp.Expr:
        return reduce(lambda form, rule: rule(form), _REWRITES, expr)

    def __call__(self, expr: sp.Expr) -> Function:
        return sp.lambdify(
            X, self.written(expr), modules=[dict(_modules())], printer=_printer(), cse=True, docstring_limit=0
        )


_NAIVE = _Naive()


def safe(expr: sp.Expr) -> sp.Expr:
    """The formula with its limits at removable points and its expansions at the ends of the double range where it needs them.

    Examples
    --------
    >>> x = sp.Symbol("x", real=True)
    >>> safe(x**2 / (1 + x**2)).args[0], safe(x**2 + 1)
    (Abs(x) > 128, x**2 + 1)
    """
    return safe_ends(with_digits(expr, DIGITS), _NAIVE)


NUMPY = Backend(
    "numpy",
    _printer,
    _modules,
    (correlation_angles, small_angles, safe, differences_of_several, *_REWRITES, logistic_powers),
    _wrap,
    1e-13,
    extended=cache(lambda: extended_names(_modules())),
)
