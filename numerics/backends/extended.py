r"""Formulas of several variables with more exponents than a double has, where a double overflowed or underflowed on the way.

:math:`\sqrt{x^2+y^2}` is a double wherever x and y are, but :math:`x^2` is none at :math:`10^{200}`. A formula is computed in doubles
first. Only where the processor says that something overflowed, underflowed or was undefined, it is computed again, in numbers
:math:`m\,2^e` with m and e of their own. The same printed code runs on them; a function that is not known here keeps what doubles gave.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from functools import wraps
from typing import Any

import numpy as np
import sympy as sp
from scipy import special

from numerics.backends.variables import variables

Array = Any

_ZERO = -1e300  # the exponent of 0: below all others
_LN2 = (0.693147180369123816490, 1.90821492927058770002e-10)  # in two parts, of which the first has few digits
_BLOCK = 4096  # points that are computed again together
_SLOPES = 2.0**-60  # where an odd function is a multiple of its argument


class Extended:
    """Arrays of numbers m 2^e with m and e as doubles: the size of a number is no limit, its digits are those of a double.

    Parameters
    ----------
    m, e : ndarray
        Between 1/2 and 1 in size, or 0, infinite or nan; whole.
    """

    __array_ufunc__ = None  # NumPy's operators leave it to ours
    __slots__ = ("e", "m")
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, m: Array, e: Array = 0.0) -> None:
        self.m, shift = np.frexp(np.asarray(m, dtype=float))
        self.e = np.where(self.m == 0, _ZERO, shift + e)

    def double(self) -> Array:
        """The nearest doubles, infinite or 0 outside their range."""
        return np.ldexp(self.m, np.clip(self.e, -3000, 3000).astype(int))

    def lost(self) -> Array:
        """Where a double is infinite, 0 or has lost digits, and the number has not."""
        return np.isfinite(self.m) & (self.m != 0) & ((self.e > 1023) | (self.e < -1021))

    def __mul__(self, other: Any) -> Extended:
        other = _extended(other)
        return Extended(self.m * other.m, self.e + other.e)

    def __add__(self, other: Any) -> Extended:
        other = _extended(other)
        e = np.maximum(self.e, other.e)
        left, right = (np.ldexp(part.m, np.clip(part.e - e, -3000, 0).astype(int)) for part in (self, other))
        return Extended(left + right, e)

    def __neg__(self) -> Extended:
        return Extended(-self.m, self.e)

    def __abs__(self) -> Extended:
        return Extended(abs(self.m), self.e)

    def __sub__(self, other: Any) -> Extended:
        return self + -_extended(other)

    def __rsub__(self, other: Any) -> Extended:
        return other + -self

    def __truediv__(self, other: Any) -> Extended:
        other = _extended(other)
        return Extended(self.m / other.m, self.e - other.e)

    def __rtruediv__(self, other: Any) -> Extended:
        return _extended(other) / self

    def __rpow__(self, other: Any) -> Extended:
        return _extended(other) ** self

    def __pow__(self, power: Any) -> Extended:
        if isinstance(power, Extended):
            return _exp(power * _log(self))
        exact = Fraction(power).limit_denominator(1000)
        exact = exact if abs(exact - Fraction(power)) < 1e-15 * abs(exact) else Fraction(power)
        whole, rest = divmod(exact.numerator, exact.denominator)
        result = _whole_power(self, whole)
        if rest:
            over, under = np.divmod(self.e * rest, exact.denominator)
            share = rest / exact.denominator
            root = Extended(self.m**share * np.exp2(under / exact.denominator), over)
            result = result * _where(self.m == 0, Extended(0.0), root)
        return result

    __radd__, __rmul__ = __add__, __mul__

    def _compared(self, other: Any) -> Array:
        other = _extended(other)
        return np.where(self.m == other.m, np.sign(self.m) * (self.e - other.e), (self - other).m)

    def __lt__(self, other: Any) -> Array:
        return self._compared(other) < 0

    def __le__(self, other: Any) -> Array:
        return self._compared(other) <= 0

    def __gt__(self, other: Any) -> Array:
        return self._compared(other) > 0

    def __ge__(self, other: Any) -> Array:
        return self._compared(other) >= 0


def _extended(value: Any) -> Extended:
    return value if isinstance(value, Extended) else Extended(value)


def _whole_power(base: Extended, power: int) -> Extended:
    result, factor = Extended(np.ones_like(base.m)), base if power >= 0 else 1.0 / base
    for bit in reversed(bin(abs(power))[2:]):
        result = result * factor if bit == "1" else result
        factor = factor * factor
    return result


def _where(condition: Any, inside: Any, outside: Any) -> Extended:
    inside, outside = _extended(inside), _extended(outside)
    return Extended(np.where(condition, inside.m, outside.m), np.where(condition, inside.e, outside.e))


def _exp(u: Extended) -> Extended:
    exponent = u.double()
    k = np.where(np.isfinite(exponent), np.round(exponent / sum(_LN2)), 0.0)
    rest = (exponent - k * _LN2[0]) - k * _LN2[1]
    return Extended(
        np.exp(np.where(k == 0, rest, np.clip(rest, -0.5, 0.5))), k
    )  # of whose digits none are known far out


def _log(u: Extended) -> Extended:
    far = u.lost()
    return Extended(np.where(far, np.log(u.m) + u.e * sum(_LN2), np.log(np.where(far, 1.0, u.double()))))


def _log1p(u: Extended) -> Extended:
    return _where(abs(u) < _SLOPES, u, _where(u > 1 / _SLOPES, _log(u), np.log1p(u.double())))


def _expm1(u: Extended) -> Extended:
    return _where(
        abs(u) < _SLOPES, u, _where(u > 1 / _SLOPES, _exp(u), _where(u > 40.0, _exp(u), np.expm1(u.double())))
    )


def _logaddexp(u: Any, v: Any) -> Extended:
    u, v = _extended(u), _extended(v)
    first, second = _where(u > v, u, v), _where(u > v, v, u)
    return first + _log1p(
        _exp(_where(first.m == second.m, _where(first.e == second.e, 0.0, second - first), second - first))
    )


def _atan2(u: Any, v: Any) -> Extended:
    u, v = _extended(u), _extended(v)
    ratio = u / v
    e = np.maximum(u.e, v.e)
    left, right = (np.ldexp(part.m, np.clip(part.e - e, -3000, 0).astype(int)) for part in (u, v))
    return _where((v > 0.0) & (abs(ratio) < _SLOPES), ratio, np.arctan2(left, right))


def _asinh(u: Extended) -> Extended:
    size = abs(u)
    return _where(size > 1 / _SLOPES, np.sign(u.m) * _log(2.0 * size), _odd(np.arcsinh)(u))


def _sinh(u: Extended) -> Extended:
    return _where(abs(u) < 1.0, _odd(np.sinh)(u), (_exp(u) - _exp(-u)) / 2.0)


def _log_cosh(u: Extended) -> Extended:
    size = abs(u)
    near = u.double()
    middle = size + np.log1p(np.exp(-2 * abs(near))) - np.log(2.0)
    return _where(size < _SLOPES, u * u / 2.0, _where(size < 0.5, np.log1p(2 * np.sinh(near / 2) ** 2), middle))


def _erfc(u: Extended) -> Extended:
    value = u.double()
    return _where(u > 5.0, special.erfcx(np.maximum(value, 0.0)) * _exp(-(u * u)), special.erfc(value))


def _erfi(u: Extended) -> Extended:
    return _where(abs(u) < 1.0, _odd(special.erfi)(u), special.dawsn(u.double()) * _exp(u * u) * (2 / np.sqrt(np.pi)))


def _odd(function: Callable[[Array], Array]) -> Callable[[Extended], Extended]:
    """A function that is its slope times its argument close to 0."""
    slope = float(function(_SLOPES)) / _SLOPES
    return lambda u: _where(abs(u) < _SLOPES, u * slope, function(u.double()))


def _plain(function: Callable[..., Array]) -> Callable[..., Any]:
    """A function of doubles: not known where a double does not hold its argument."""

    @wraps(function)
    def call(*values: Any) -> Any:
        if not any(isinstance(value, Extended) for value in values):
            return function(*values)
        parts = [_extended(value) for value in values]
        lost = np.logical_or.reduce(np.broadcast_arrays(*(part.lost() for part in parts)))
        return Extended(np.where(lost, np.nan, function(*(part.double() for part in parts))))

    return call


def _of_numbers(function: Callable[..., Extended], plain: Callable[..., Any]) -> Callable[..., Any]:
    def call(*values: Any) -> Any:
        return function(*values) if any(isinstance(value, Extended) for value in values) else plain(*values)

    return call


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "sqrt": lambda u: u**0.5,
    "exp": _exp,
    "log": _log,
    "log1p": _log1p,
    "expm1": _expm1,
    "logaddexp": _logaddexp,
    "logistic": lambda u: 1.0 / (1.0 + _exp(-u)),
    "arctan2": _atan2,
    "arcsinh": _asinh,
    "sinh": _sinh,
    "cosh": lambda u: (_exp(u) + _exp(-u)) / 2.0,
    "log_cosh": _log_cosh,
    "erfc": _erfc,
    "erfi": _erfi,
    "error_tail": lambda exponent, u, rest: _exp(exponent) * _erfc(u),
    **{name: _odd(getattr(np, name)) for name in ("tanh", "arctan", "sin", "tan", "arcsin", "arctanh")},
    "erf": _odd(special.erf),
    "abs": abs,
    "sign": lambda u: Extended(np.sign(u.m)),
    "maximum": lambda u, v: _where(_extended(u) > v, u, v),
    "minimum": lambda u, v: _where(_extended(u) > v, v, u),
    "where": _where,
    "greater": lambda u, v: _extended(u) > v,
    "greater_equal": lambda u, v: _extended(u) >= v,
    "less": lambda u, v: _extended(u) < v,
    "less_equal": lambda u, v: _extended(u) <= v,
    "equal": lambda u, v: _extended(u)._compared(v) == 0,
    "not_equal": lambda u, v: _extended(u)._compared(v) != 0,
}


def extended_names(names: Mapping[str, Any]) -> dict[str, Any]:
    """What the names of printed code stand for on these numbers."""
    found = {name: _plain(value) if callable(value) else value for name, value in names.items()}
    return found | {name: _of_numbers(function, names[name]) for name, function in _FUNCTIONS.items() if name in names}


def may_leave_doubles(expr: sp.Expr) -> bool:
    """Whether a formula of several variables may overflow or underflow on the way to a number that is a double.

    A part of one variable is mended by itself; sums of products of two variables leave the range only with their value.

    Examples
    --------
    >>> x, y = sp.symbols("x y", real=True)
    >>> [may_leave_doubles(f) for f in (sp.exp(x) + 2 * x * y, sp.sqrt(x**2 + y**2), x**2 * y)]
    [False, True, True]
    """
    if len(variables(expr)) <= 1:
        return False
    if expr.is_Add:
        return any(map(may_leave_doubles, expr.args))
    parts = [part for part in expr.args if not part.is_number]
    return not (expr.is_Mul and len(parts) == 2 and all(part.is_Symbol for part in parts))


def in_doubles_first(
    function: Callable[..., tuple[Any, ...]], again: Callable[..., tuple[Any, ...]]
) -> Callable[..., tuple[Any, ...]]:
    """A function of arrays, computed again by the second in blocks of points in which an operation left the range of doubles.

    Parameters
    ----------
    function : callable
        From arrays of doubles to a tuple of values.
    again : callable
        The same function of :class:`Extended`.
    """

    def call(*arrays: np.ndarray) -> tuple[Any, ...]:
        values, kinds = _watched(function, arrays)
        if not kinds:
            return values
        shape = np.broadcast_shapes(*(array.shape for array in arrays))
        flat = [np.broadcast_to(array, shape).ravel() for array in arrays]
        results = [np.array(np.broadcast_to(value, shape), dtype=float).ravel() for value in values]
        # states that have exploded are infinite already, and longer exponents do not change what comes of them
        finite = np.flatnonzero(np.logical_and.reduce([np.isfinite(array) for array in flat]))
        for start in range(0, finite.size, _BLOCK):
            block = finite[start : start + _BLOCK]
            points = [array[block] for array in flat]
            if finite.size == flat[0].size <= _BLOCK or _watched(function, points)[1]:
                _mend(results, block, again, points)
        if kinds & {"invalid value", "divide by zero"} and not all(np.isfinite(result).all() for result in results):
            function(*arrays)  # which warns, as NumPy does
        return tuple(result.reshape(shape) for result in results)

    return call


def _mend(
    results: list[np.ndarray], block: np.ndarray, again: Callable[..., tuple[Any, ...]], points: list[np.ndarray]
) -> None:
    """Put what is known with longer exponents in place of what doubles gave at some places."""
    with np.errstate(all="ignore"):
        for result, value in zip(results, again(*map(Extended, points)), strict=True):
            known = np.broadcast_to(_extended(value).double(), block.shape)
            result[block] = np.where(np.isnan(known), result[block], known)


def _watched(function: Callable[..., Any], arrays: Sequence[np.ndarray]) -> tuple[Any, set[str]]:
    """The values, and which exceptions the processor has seen."""
    kinds: set[str] = set()
    with np.errstate(all="call", call=lambda kind, _: kinds.add(kind)):
        values = function(*arrays)
    return values, kinds
