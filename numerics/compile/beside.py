r"""A function beside a point, as one of the distance from it, with all its digits.

Beside a zero c of f a double x has lost the distance from c, and :math:`f(x)` its digits with it. There
:math:`f(c \pm d) = d^p g(d)` with a smooth g, which is a polynomial through values of many digits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import mpmath
import numpy as np
import sympy as sp
from numpy.polynomial import chebyshev
from numpy.typing import NDArray

from derivations.evaluation import in_mpmath
from derivations.gaussian.node import GaussianMean

Array = NDArray[np.float64]

_DIGITS = 60  # of the point, and of states beside it
_POINTS = 18
_TOLERANCE = 2e-15  # relative, of the polynomial between its points
_CLOSE = mpmath.mpf(10) ** -20  # a distance at which only the power is left
_PARTS = 60  # powers that are multiples of one over it are taken exactly
_SHRINKING = (3, 5, 7, 10, 13)  # powers of 1/2 of the room, tried in turn
_NODES = np.cos(np.pi * (np.arange(_POINTS) + 0.5) / _POINTS)
_CHECKED = np.array([-0.9985, -0.8, 0.02, 0.87, 0.9995])


@dataclass(frozen=True)
class Beside:
    r"""The function :math:`d^p g(d)` of a distance :math:`0 < d \le` ``radius``.

    Parameters
    ----------
    power : float
    radius : float
    coefficients : tuple of float
        Of g, in Chebyshev's polynomials on (0, ``radius``).

    Examples
    --------
    >>> x = sp.Symbol("x", real=True)
    >>> found = Beside.fitted(sp.sin(x) ** 2, x, sp.pi, -1, 1.0)
    >>> found.power, float(found(np.array([1e-50]))[0])
    (2.0, 1e-100)
    """

    power: float
    radius: float
    coefficients: tuple[float, ...]

    @classmethod
    def fitted(cls, expr: sp.Expr, variable: sp.Symbol, point: sp.Expr, side: int, room: float) -> Beside | None:
        """Of a formula on one side of a point; None where it is no power times a smooth function there, as with a logarithm.

        Parameters
        ----------
        expr, variable : Expr, Symbol
        point : Expr
            A number.
        side : int
            1 above it, −1 below.
        room : float
            A distance within which the formula has no kink.
        """
        if expr.has(GaussianMean):  # each of its values is an integral
            return None
        compiled = in_mpmath(variable, expr)
        try:
            with mpmath.workdps(_DIGITS):
                centre = sp.N(point, _DIGITS)._to_mpmath(mpmath.mp.prec)
                value: Callable[[mpmath.mpf], mpmath.mpf] = lambda d: compiled(centre + side * d)  # noqa: E731
                return cls._through(value, min(room, max(1.0, abs(float(centre)))))
        except (ValueError, ArithmeticError, TypeError):  # it has no value there
            return None

    @classmethod
    def _through(cls, value: Callable[[mpmath.mpf], mpmath.mpf], room: float) -> Beside | None:
        near, far = value(_CLOSE), value(2 * _CLOSE)
        if not (near * far > 0 and mpmath.isfinite(near) and mpmath.isfinite(far)):
            return None
        power = mpmath.log(far / near, 2)
        simple = mpmath.mpf(round(power * _PARTS)) / _PARTS
        power = simple if abs(power - simple) < 1e-12 else power
        for halvings in _SHRINKING:
            radius = room * 0.5**halvings
            distances = [mpmath.mpf(radius) * (1 + mpmath.mpf(float(s))) / 2 for s in (*_NODES, *_CHECKED)]
            smooth = np.array([float(value(d) / d**power) for d in distances])
            coefficients = chebyshev.chebfit(_NODES, smooth[:_POINTS], _POINTS - 1)
            off = np.abs(chebyshev.chebval(_CHECKED, coefficients) / smooth[_POINTS:] - 1)
            if off.max() < _TOLERANCE:
                return cls(float(power), radius, tuple(map(float, coefficients)))
        return None

    def __call__(self, distance: Array) -> Array:
        """At distances up to the radius."""
        with np.errstate(under="ignore", over="ignore", divide="ignore"):
            return np.asarray(
                distance**self.power * chebyshev.chebval(2 * distance / self.radius - 1, self.coefficients)
            )
