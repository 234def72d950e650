r"""Fast, vectorised double-precision twins of the nodes in ``derivations.special``.

Each takes anything that NumPy can turn into a float array, gives no warnings, and passes ``nan`` through.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.polynomial import Chebyshev, Polynomial, chebyshev
from numpy.typing import ArrayLike, NDArray
from scipy import special

Array = NDArray[np.float64]

_HALF_ROOT_PI = np.sqrt(np.pi) / 2
_LARGEST = np.finfo(float).max
_BLOCK = 1 << 14  # elements at a time, so that the intermediate arrays stay in the cache
_SERIES_BELOW = 0.25  # in √π x / 2; from there on SciPy's Dawson function is good to its last bits
_BESSEL_ASYMPTOTIC = 1e8  # where ive is still right and the next term of the series is below rounding


def erfi_inv(x: ArrayLike) -> Array:
    r"""The real y with :math:`\operatorname{erfi} y = x`, over the whole double range.

    Relative error below 1e-15: y over :math:`s = \sqrt{\tfrac12\log(1 + x^2/4)}`, which is about :math:`x/\sqrt8` near 0 and
    :math:`\sqrt{\log x}` far out, as y is up to a factor, is a smooth function of :math:`s/(s+2)`, kept as polynomials on equal cells.

    Parameters
    ----------
    x : array_like
        Real numbers.

    Returns
    -------
    ndarray
        Of the shape of ``x``; infinities and ``nan`` are kept.

    Examples
    --------
    >>> print(erfi_inv([0.0, 1e-300, 1.0, 1e300]).round(4))
    [ 0.      0.      0.7317 26.3556]
    """
    x = np.asarray(x, dtype=float)
    flat = np.ravel(x)
    result = np.empty_like(flat)
    for start in range(0, flat.size, _BLOCK):
        result[start : start + _BLOCK] = _erfi_inv_block(flat[start : start + _BLOCK])
    return result.reshape(x.shape)[()]


def _erfi_inv_block(x: Array) -> Array:
    size = np.minimum(np.abs(x), _LARGEST)
    s = _coordinate(size)
    place = s / (s + 2) * CELLS
    with np.errstate(invalid="ignore"):
        cell = place.astype(np.int64)  # of nan a number outside, which is clipped
    table = erfi_inv_table()
    cell = np.clip(cell, 0, CELLS - 1)
    place -= cell
    ratio = table[0][cell]
    for row in table[1:]:
        ratio *= place
        ratio += row[cell]
    y = np.where(size < _LINEAR_BELOW, _HALF_ROOT_PI * size, s * ratio)
    y[np.isinf(x)] = np.inf
    return np.copysign(y, x)


def _coordinate(size: Array) -> Array:
    """√(½ log(1 + (x/2)²)), in which nothing overflows."""
    half = size / 2
    most = 1e150
    far = half > most
    log = np.log1p(np.square(np.minimum(half, most)))
    if far.any():
        log[far] = 2 * np.log(half[far])
    return np.sqrt(log / 2)


#: Cells of s/(s + 2) in [0, 1); that of the largest double is 0.87.
CELLS = 256
_LINEAR_BELOW = 1e-8
_DEGREE = 7


@cache
def erfi_inv_table() -> Array:
    r"""y/s as polynomials in the place within a cell, highest power first, shape (8, cells): through y at Chebyshev's points of each.

    y solves its equation there by steps of order four. With :math:`g = \operatorname{erfi}^{-1}`,
    :math:`g' = \tfrac{\sqrt\pi}{2} e^{-g^2}`, hence :math:`g^{(n)} = p_n(g)\, g'^n` with :math:`p_1 = 1`,
    :math:`p_{n+1} = p_n' - 2 n y\, p_n`. From a guess y, with D Dawson's function, the Newton step is

    .. math:: w = \tfrac{\sqrt\pi}{2} e^{-y^2} (x - \operatorname{erfi} y) = \tfrac{\sqrt\pi}{2} x e^{-y^2} - D(y),

    in which nothing overflows (:math:`y < 27`) and an error :math:`\epsilon` in :math:`y^2`, multiplied by
    :math:`D(y) \approx 1/(2y)`, is one of :math:`\epsilon` in y; Taylor's formula adds the terms :math:`p_n(y)\, w^n / n!` up to n = 4.
    """
    nodes = (1 - np.cos(np.pi * (np.arange(_DEGREE + 1) + 0.5) / (_DEGREE + 1))) / 2
    u = np.minimum((np.arange(CELLS)[:, None] + nodes) / CELLS, 0.94)  # that of the largest double is 0.93
    s = 2 * u / (1 - u)
    near, far = np.minimum(s, 5.0), np.maximum(s, 0.1)
    z = 2 * _HALF_ROOT_PI * np.sqrt(np.expm1(2 * near**2))
    log_z = far**2 + np.log(2 * _HALF_ROOT_PI) + np.log1p(-np.exp(-2 * far**2)) / 2

    def scaled(y: Array) -> Array:
        return np.asarray(np.where(s < 5, z * np.exp(-y * y), np.exp(log_z - y * y)))

    y = np.where(s < 1, 1.8 * s, np.sqrt(s * s + 1))
    for _ in range(30):
        dawson = special.dawsn(y)
        y -= dawson * np.log(dawson / scaled(y))
    w = scaled(y) - special.dawsn(y)
    # p_2 = -2y, p_3 = 8y² - 2, p_4 = 28y - 48y³
    y2, yw = y * y, y * w
    y += w * (1 - yw + w * w * ((4 * y2 - 1) / 3 + yw * (7 - 12 * y2) / 6))
    small = z < _SERIES_BELOW
    y[small] = z[small] * _series()(z[small] ** 2)
    basis = chebyshev.chebvander(2 * nodes - 1, _DEGREE)
    powers = [Chebyshev.basis(k, domain=[0, 1]).convert(kind=Polynomial).coef for k in range(_DEGREE + 1)]
    change = np.stack([np.pad(p, (0, _DEGREE + 1 - len(p))) for p in powers], axis=1)
    return np.ascontiguousarray((change @ np.linalg.solve(basis, (y / s).T))[::-1])


@cache
def _series() -> Polynomial:
    r"""Taylor series of y/z in z², z = √π x / 2.

    g' = e^{-g²} in z. That of erf⁻¹ is :math:`\sum c_k z^{2k+1} / (2k + 1)` with
    :math:`c_k = \sum_{m<k} c_m c_{k-1-m} / ((m + 1)(2m + 1))`; erfi y = erf(iy)/i alternates its signs.
    """
    c = [1.0]
    for k in range(1, 18):
        c.append(sum(c[m] * c[k - 1 - m] / ((m + 1) * (2 * m + 1)) for m in range(k)))
    return Polynomial([(-1) ** k * value / (2 * k + 1) for k, value in enumerate(c)])


def scaled_bessel_i(order: ArrayLike, z: ArrayLike) -> Array:
    r""":math:`e^{-z} I_\nu(z)` for :math:`z \ge 0`, also where ``scipy.special.ive`` gives up.

    ``ive`` returns ``nan`` beyond about 1e9. From 1e8 on Hankel's expansion is used,

    .. math:: e^{-z} I_\nu(z) \sim \frac{1}{\sqrt{2\pi z}} \Bigl(1 - \frac{\mu - 1}{8z}
              + \frac{(\mu - 1)(\mu - 9)}{2!\,(8z)^2} - \cdots\Bigr), \qquad \mu = 4\nu^2,

    to eight terms: good to rounding for orders up to 1000; for larger orders ``ive`` is kept where it answers.

    Parameters
    ----------
    order, z : array_like
        Real order and nonnegative argument; they broadcast.

    Examples
    --------
    >>> print(scaled_bessel_i(0, [0.0, 1.0, 1e12]))
    [1.00000000e+00 4.65759608e-01 3.98942280e-07]
    """
    order, z = np.broadcast_arrays(np.asarray(order, dtype=float), np.asarray(z, dtype=float))
    value = np.array(special.ive(order, z))
    far = (z > _BESSEL_ASYMPTOTIC) & ((np.abs(order) <= 1000) | np.isnan(value)) & ~np.isnan(order)
    if far.any():
        value[far] = _hankel(order[far], z[far])
    return value[()]


def _hankel(order: Array, z: Array) -> Array:
    mu = 4 * order * order
    term = total = np.ones_like(z)
    for k in range(1, 8):
        term = -term * (mu - (2 * k - 1) ** 2) / (8 * k) / z
        total = total + term
    return total / np.sqrt(2 * np.pi) / np.sqrt(z)


def log_normal_cdf(x: ArrayLike) -> Array:
    r""":math:`\log \Phi(x)`, accurate in both tails.

    Examples
    --------
    >>> print(log_normal_cdf([-100.0, 0.0, 9.0]))
    [-5.00552421e+03 -6.93147181e-01 -1.12858841e-19]
    """
    return special.log_ndtr(np.asarray(x, dtype=float))


def logistic(x: ArrayLike) -> Array:
    r""":math:`1/(1 + e^{-x})`, also where the exponential is no double any more and the value still is.

    Examples
    --------
    >>> print(logistic([-740.0, 0.0]))
    [4.199558e-322 5.000000e-001]
    """
    x = np.asarray(x, dtype=float)
    with np.errstate(over="ignore", under="ignore"):
        grown = np.exp(-x)
        result = np.asarray(1 / (1 + grown))
        gone = np.isinf(grown)
        if gone.any():
            result[gone] = np.exp(x[gone])
    return result[()]


def log_cosh(x: ArrayLike) -> Array:
    """The logarithm of the hyperbolic cosine, which does not overflow and is accurate to the last digits everywhere.

    Examples
    --------
    >>> log_cosh([800.0, 1e-8])
    array([7.99306853e+02, 5.00000000e-17])
    """
    size = np.abs(np.asarray(x, dtype=float))
    near = np.log1p(2 * np.sinh(np.minimum(size, 1.0) / 2) ** 2)
    result: Array = np.where(size < 1, near, size - np.log(2.0) + np.log1p(np.exp(-2 * size)))
    return result


def error_tail(exponent: ArrayLike, u: ArrayLike, rest: ArrayLike) -> Array:
    r"""The product :math:`e^a \operatorname{erfc} u` from a, u and :math:`a - u^2`, where its factors are no doubles too.

    To the right of 0 it is :math:`e^{a - u^2} \operatorname{erfcx} u`, to the left :math:`2e^a` less that of -u.

    Examples
    --------
    >>> float(error_tail(1e6, 1e3, 0.0))
    0.0005641893014533876
    """
    a, x, left = (np.asarray(given, dtype=float) for given in (exponent, u, rest))
    with np.errstate(over="ignore", under="ignore"):
        beyond = np.exp(left) * special.erfcx(np.abs(x))
        result: Array = np.where(x < 0, 2 * np.exp(np.where(x < 0, a, 0.0)) - beyond, beyond)
    return result
