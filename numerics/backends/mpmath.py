"""mpmath: fifty digits, one number at a time; the reference that other targets are measured against."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, wraps
from typing import Any

import mpmath
import numpy as np
import sympy as sp

from derivations import special
from derivations.constants import opened
from derivations.evaluation import BOUNDED, BoundedPrinter
from derivations.gaussian.corners import DISTANCE, Corner, corners
from derivations.gaussian.integrate import Singular, normal_mean
from derivations.piecewise import IsolatedRoot, breakpoints
from derivations.special.numeric import Numeric
from numerics.backends.base import Backend, Function, strict_settings
from numerics.backends.cancelling import cancelling_sums
from numerics.backends.limits import exact_limits
from numerics.backends.rewrites import stable_logarithms

DIGITS = 50
_GUARD = 15  # digits more inside, for formulas that cancel
_TWINS = {node.__name__: node.exact_name for node in Numeric.__subclasses__()}
_CANCELLED = {"expm1": "expm1", "log1p": "log1p", "logaddexp": "logaddexp", "ErrorTail": "erfc"}
EXACT_NAMES = {**_TWINS, **_CANCELLED, "erfi": "erfi", "erfinv": "erfinv", "expint": "expint", "atan2": "atan2"}


class MpmathWriter(BoundedPrinter):
    """Prints the formulas of this project, kinks as conditional expressions, of which one branch is computed."""

    printmethod = None  # a target's own table of functions, not the nodes' hooks for lambdify

    def _print_Max(self, node: sp.Expr) -> str:
        return f"max({', '.join(map(self._print, node.args))})"

    def _print_Min(self, node: sp.Expr) -> str:
        return f"min({', '.join(map(self._print, node.args))})"

    def _print_Infinity(self, node: sp.Expr) -> str:
        return "inf"

    def _print_NegativeInfinity(self, node: sp.Expr) -> str:
        return "ninf"

    def _print_IsolatedRoot(self, node: IsolatedRoot) -> str:
        return node._mpmathcode(self)

    def _print_NaN(self, node: sp.Expr) -> str:
        return "nan"

    def _print_Heaviside(self, node: sp.Expr) -> str:
        inner, at_zero = map(self._print, node.args)
        return f"(lambda u: 1 if u > 0 else 0 if u < 0 else {at_zero} if u == 0 else nan)({inner})"

    def _print_GaussianExpectation(self, node: sp.Expr) -> str:
        function, mean, variance = node.args
        body = f"lambda {self._print(function.variables[0])}: {self._print(function.expr)}"
        variable, f = function.variables[0], function.expr
        kinks = ", ".join(map(self._print, breakpoints(f, variable)))
        rough = [c for c in corners(f, variable) if not c.smooth] if f.free_symbols <= {variable} else []
        singular = ", ".join(map(self._singular, rough))
        return f"gaussian_mean({body}, {self._print(mean)}, {self._print(variance)}, [{kinks}], [{singular}])"

    def _singular(self, corner: Corner) -> str:
        d = self._print(DISTANCE)
        sides = (f"lambda {d}: {self._print(side.formula)}" for side in (corner.left, corner.right))
        return f"Singular({self._print(corner.point)}, {corner.power}, {', '.join(sides)})"

    def _print_Apart(self, node: sp.Expr) -> str:
        first, second = map(self._print, node.args)
        return f"(({first}) - ({second}))"

    def _print_Where(self, node: sp.Expr) -> str:
        condition, inside, outside = map(self._print, node.args)
        return f"(({inside}) if ({condition}) else ({outside}))"

    def _print_Integral(self, node: sp.Expr) -> str:
        return str(self._print_not_supported(node))


_PROBES = 17  # at distances that grow by √2, up to about two thousand standard deviations


def gaussian_mean(
    function: Function,
    mean: mpmath.mpf,
    variance: mpmath.mpf,
    kinks: Sequence[mpmath.mpf] = (),
    singular: Sequence[Singular] = (),
) -> mpmath.mpf:
    r""":math:`\mathbb{E} f(Z)`, :math:`Z \sim N(m, s)`, also for an analytic f that grows almost as fast as the density falls.

    Without kinks by the trapezoidal rule, which for a function analytic in a strip squares its error whenever the
    step is halved; each half-line is followed until the terms vanish. With kinks or singular points as
    :func:`derivations.gaussian.integrate.normal_mean` has it.

    Examples
    --------
    >>> mpmath.nstr(gaussian_mean(lambda z: mpmath.exp(0.49 * z**2), 0, mpmath.mpf(1)) ** 2, 12)
    '50.0'
    """
    if kinks or singular:
        return normal_mean(function, mean, mpmath.sqrt(variance), kinks, singular)
    sd = mpmath.sqrt(variance)
    edge = 4 * mpmath.sqrt(mpmath.mp.prec)

    def term(g: mpmath.mpf) -> mpmath.mpf:
        return function(mean + sd * g) * mpmath.npdf(g)

    far = [edge / 8 * mpmath.mpf(2) ** (mpmath.mpf(k) / 2) for k in range(_PROBES)]
    for sign in (1, -1):  # a function that grows almost as fast as the density falls has its mass far out
        sizes = [abs(term(sign * g)) for g in (0, *far)]
        if sizes[-1] > max(sizes) * mpmath.eps / 8:
            raise ValueError(
                f"the function grows almost as fast as the density falls: most of its Gaussian mean lies beyond {int(far[-1] / 4)} standard "
                "deviations, or there is none; a moment becomes infinite about here, take a smaller time"
            )

    def one_side(step: mpmath.mpf, sign: int, first: int, stride: int) -> mpmath.mpf:
        total, k, largest = mpmath.mpf(0), first, mpmath.mpf(0)
        while True:
            value = term(sign * k * step)
            total += value
            largest = max(largest, abs(value))
            if (k * step > edge / 8 and abs(value) <= largest * mpmath.eps / 8) or k * step > far[-1]:
                return total
            k += stride

    step = mpmath.mpf(1) / 2
    total = term(mpmath.mpf(0)) + one_side(step, 1, 1, 1) + one_side(step, -1, 1, 1)
    value = step * total
    for _ in range(8):
        step /= 2
        total += one_side(step, 1, 1, 2) + one_side(step, -1, 1, 2)
        value, last = step * total, value
        if abs(value - last) <= abs(value) * mpmath.sqrt(mpmath.eps):  # the error squares with each halving
            return value
    return value


def logaddexp(u: mpmath.mpf, v: mpmath.mpf) -> mpmath.mpf:
    """The logarithm of the sum of two exponentials.

    Examples
    --------
    >>> mpmath.nstr(logaddexp(mpmath.mpf(-800), mpmath.mpf(0)), 5)
    '3.6679e-348'
    """
    return max(u, v) + mpmath.log1p(BOUNDED["exp"](-abs(u - v)))


def _printer() -> MpmathWriter:
    return MpmathWriter(strict_settings(EXACT_NAMES))


def _wrap(function: Function) -> Callable[..., tuple[Any, ...]]:
    """Numbers or arrays in, per expression an ``mpf`` or an object array of them out, at 50 digits."""

    def at_fifty_digits(*arguments: Any) -> tuple[Any, ...]:
        with mpmath.workdps(DIGITS + _GUARD):
            values = function(*(mpmath.mpmathify(_plain(argument)) for argument in arguments))
            numbers = [mpmath.mpmathify(value) for value in values]
        with mpmath.workdps(DIGITS):
            return tuple(+number for number in numbers)

    @wraps(function)
    def on_arrays(*arguments: Any) -> tuple[Any, ...]:
        arrays = np.broadcast_arrays(*(np.asarray(argument, dtype=object) for argument in arguments))
        if not arrays:
            return at_fifty_digits()
        if arrays[0].ndim == 0:
            return at_fifty_digits(*(array[()] for array in arrays))
        rows = [at_fifty_digits(*point) for point in zip(*(array.ravel() for array in arrays), strict=True)]
        columns = zip(*rows, strict=True)
        return tuple(_object_array(column, arrays[0].shape) for column in columns)

    return on_arrays


def _plain(number: Any) -> Any:
    """A number that mpmath takes exactly: NumPy's floats and Python's are binary fractions."""
    if isinstance(number, np.generic):
        number = number.item()
    return sp.Rational(number)._to_mpmath(mpmath.mp.prec) if isinstance(number, sp.Rational) else number


def _object_array(values: tuple[Any, ...], shape: tuple[int, ...]) -> np.ndarray:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array.reshape(shape)


@cache
def _modules() -> dict[str, Any]:
    names = {name: getattr(mpmath, name) for name in dir(mpmath.mp) if hasattr(mpmath, name) and name[0] != "_"}
    names |= {name: getattr(special, name) for name in _TWINS.values()}
    return names | {
        **BOUNDED,
        "logaddexp": logaddexp,
        "gaussian_mean": gaussian_mean,
        "Singular": Singular,
        "max": max,
        "min": min,
        "abs": abs,
        "ninf": mpmath.ninf,
    }


# no common subexpressions: a part of what is averaged must not be moved out of its average
_REWRITES = (opened, exact_limits, cancelling_sums, stable_logarithms)  # 1 + erf(-30) has no digits left of fifty
MPMATH = Backend("mpmath", _printer, _modules, _REWRITES, _wrap, 1e-45, shares=False)
