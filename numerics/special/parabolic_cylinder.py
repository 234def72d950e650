r"""Parabolic cylinder functions and the coordinate that they make, for one equation and many arguments.

All is scaled to :math:`u'' = (y^2 + g) u`, :math:`y = \sqrt\alpha z`, :math:`g = \gamma/\alpha \ge -1`, and read off tables of the even
solution E and of odd over even, :math:`r = \int_0^y E^{-2}`, by quintic interpolation: values from Kummer's function,
slopes from :math:`w = E'/E`, :math:`w' = y^2 + g - w^2` and :math:`r' = E^{-2}`.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import hyp1f1

Array = NDArray[np.float64]

_SPACING = 1 / 128
_END = 26.0  # Kummer's function overflows beyond


def weber(order: float, alpha: float, gamma: float, slope: float, z: ArrayLike) -> Array:
    r"""The solution of :math:`u'' = (\alpha^2z^2 + \gamma)u` with :math:`u(0) = 1,\ u'(0) = \rho`, or (order 1) its derivative.

    Examples
    --------
    >>> print(weber(0, 1.0, -1.0, 0.0, [0.0, 1.0]).round(10).tolist())
    [1.0, 0.6065306597]
    """
    order, alpha, gamma, slope = (float(np.asarray(v).flat[0]) for v in (order, alpha, gamma, slope))
    root = np.sqrt(alpha)
    y = root * np.asarray(z, dtype=float)
    g, rho = gamma / alpha, slope / root
    if order == 0 and slope == 0:
        return np.exp(_log_even(g, np.abs(y)))
    square = y * y
    p, q = (g + 1) / 4, (g + 3) / 4
    with np.errstate(all="ignore"):
        scale = np.exp(-square / 2)
        even, odd = hyp1f1(p, 0.5, square), y * hyp1f1(q, 1.5, square)
        if order == 0:
            return scale * (even + rho * odd)
        even_slope = y * (4 * p * hyp1f1(p + 1, 1.5, square) - even)
        odd_slope = hyp1f1(q, 1.5, square) * (1 - square) + square * (4 * q / 3) * hyp1f1(q + 1, 2.5, square)
        return root * scale * (even_slope + rho * odd_slope)


def weber_coordinate(alpha: float, gamma: float, x: ArrayLike) -> Array:
    r"""The z at which the odd solution is x times the even one; ``nan`` beyond what the quotient covers.

    Examples
    --------
    >>> print(weber_coordinate(1.0, 1.0, np.sqrt(np.pi) / 2 * np.array([0.0, 0.8427007929497149])))
    [0. 1.]
    """
    alpha, gamma = (float(np.asarray(v).flat[0]) for v in (alpha, gamma))
    root = np.sqrt(alpha)
    x = np.asarray(x, dtype=float)
    _y, ratio, coefficients = _inverse_table(gamma / alpha)
    size = root * np.abs(x)
    cell = np.clip(np.searchsorted(ratio, size, side="right") - 1, 0, ratio.size - 2)
    value = _quintic(coefficients[cell], (size - ratio[cell]) / (ratio[cell + 1] - ratio[cell]))
    value = np.where(size > ratio[-1], np.nan, value)
    return np.copysign(value / root, x)[()]


def _log_even(g: float, y: Array) -> Array:
    coefficients = _log_table(g)
    s = np.minimum(y, _END - _SPACING) / _SPACING
    cell = s.astype(np.intp)
    inside = _quintic(coefficients[cell], s - cell)
    # beyond the table: E ~ e^{y²/2} y^{(g-1)/2}
    beyond = (np.square(y) - _END**2) / 2 + (g - 1) / 2 * np.log(np.maximum(y, _END) / _END)
    return np.where(y < _END - _SPACING, inside, _log_kummer(g, np.array([_END]))[0] + beyond)


def _log_kummer(g: float, y: Array) -> Array:
    return np.log(hyp1f1((g + 1) / 4, 0.5, y * y)) - y * y / 2


def _slope(g: float, y: Array) -> Array:
    p, square = (g + 1) / 4, y * y
    return y * (4 * p * hyp1f1(p + 1, 1.5, square) / hyp1f1(p, 0.5, square) - 1)


@cache
def _log_table(g: float) -> Array:
    y = np.arange(0, _END + _SPACING / 2, _SPACING)
    w = _slope(g, y)
    return _coefficients(_log_kummer(g, y), w * _SPACING, (y * y + g - w * w) * _SPACING**2)


@cache
def _inverse_table(g: float) -> tuple[Array, Array, Array]:
    """Y as a function of r between the nodes r(y): y' = E², y'' = 2 E⁴ w."""
    y = np.arange(0, 6.5, _SPACING)
    r = y * hyp1f1((g + 3) / 4, 1.5, y * y) / hyp1f1((g + 1) / 4, 0.5, y * y)
    growing = np.concatenate([[True], np.diff(np.maximum.accumulate(r)) > 0])
    y, r = y[growing], r[growing]
    even, w, h = np.exp(_log_kummer(g, y)), _slope(g, y), np.diff(r)
    first, second = even**2, 2 * even**4 * w
    left = (y[:-1], first[:-1] * h, second[:-1] * h**2)
    right = (y[1:], first[1:] * h, second[1:] * h**2)
    return y, r, _between(left, right)


def _coefficients(f: Array, d: Array, c: Array) -> Array:
    return _between((f[:-1], d[:-1], c[:-1]), (f[1:], d[1:], c[1:]))


def _between(left: tuple[Array, Array, Array], right: tuple[Array, Array, Array]) -> Array:
    """Coefficients of the quintics with given values, first and second derivatives at 0 and 1."""
    (f0, d0, c0), (f1, d1, c1) = left, right
    rise, bend, turn = f1 - f0 - d0 - c0 / 2, d1 - d0 - c0, c1 - c0
    return np.stack(
        (f0, d0, c0 / 2, 10 * rise - 4 * bend + turn / 2, -15 * rise + 7 * bend - turn, 6 * rise - 3 * bend + turn / 2),
        axis=1,
    )


def _quintic(rows: Array, s: Array) -> Array:
    value = rows[..., 5]
    for k in range(4, -1, -1):
        value = value * s + rows[..., k]
    return value
