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
    if order == 0:
        with np.errstate(all="ignore"):
            even = np.exp(_log_even(g, np.abs(y)))
            return even * (1 + rho * _odd_over_even(g, y)) if rho else even
    square = y * y
    p, q = (g + 1) / 4, (g + 3) / 4
    with np.errstate(all="ignore"):
        scale = np.exp(-square / 2)
        even = hyp1f1(p, 0.5, square)
        even_slope = y * (4 * p * hyp1f1(p + 1, 1.5, square) - even)
        odd_slope = hyp1f1(q, 1.5, square) * (1 - square) + square * (4 * q / 3) * hyp1f1(q + 1, 2.5, square)
        return root * scale * (even_slope + rho * odd_slope)


def log_weber(alpha: float, gamma: float, slope: float, z: ArrayLike, scaled: bool = False) -> Array:
    r"""The logarithm of the solution, also where that overflows; for slopes with :math:`u > 0`.

    :math:`u = E + \rho O = E\,(1 + \rho r)`, and far out the quotient r is what it tends to.

    Parameters
    ----------
    alpha, gamma, slope : float
    z : array_like
    scaled : bool
        Whether :math:`\alpha z^2/2`, which outgrows the rest, is left out.

    Examples
    --------
    >>> print(log_weber(1.0, -1.0, 0.0, [0.0, 1.0, 1e3]).tolist())
    [0.0, -0.5, -500000.0]
    """
    alpha, gamma, slope = (float(np.asarray(v).flat[0]) for v in (alpha, gamma, slope))
    root, g = np.sqrt(alpha), gamma / alpha
    y = root * np.asarray(z, dtype=float)
    even = _log_even(g, np.abs(y), scaled)
    if slope == 0:
        return even
    with np.errstate(all="ignore"):
        return even + np.log1p(slope / root * _odd_over_even(g, y))


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


def _odd_over_even(g: float, y: Array) -> Array:
    """The quotient r, which far out is what it tends to."""
    near = np.clip(y, -_END, _END)
    return near * hyp1f1((g + 3) / 4, 1.5, near * near) / hyp1f1((g + 1) / 4, 0.5, near * near)


def _log_even(g: float, y: Array, scaled: bool = False) -> Array:
    coefficients = _log_table(g)
    s = np.minimum(y, _END - _SPACING) / _SPACING
    cell = np.where(np.isnan(s), 0.0, s).astype(np.intp)
    inside = _quintic(coefficients[cell], s - cell)
    # beyond the table: E ~ e^{y²/2} y^{(g-1)/2} for g > -1, and e^{-y²/2} for g = -1
    power, sign = ((g - 1) / 2, 1.0) if g > -1 else (0.0, -1.0)
    with np.errstate(over="ignore", invalid="ignore"):
        square, edge = np.square(y) / 2, _END**2 / 2
        half = 0.0 if scaled else square
        last = _log_kummer(g, np.array([_END]))[0] - sign * edge + power * np.log(np.maximum(y, _END) / _END)
        beyond = last + (half if sign > 0 else half - 2 * square)
        return np.where(~(y >= _END - _SPACING), inside - (square if scaled else 0.0), beyond)


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
