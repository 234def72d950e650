r"""Fast, vectorised double-precision twins of the nodes in ``derivations.special``.

Each takes anything that NumPy can turn into a float array, gives no warnings, and passes ``nan`` through.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.polynomial import Chebyshev, Polynomial
from numpy.typing import ArrayLike, NDArray
from scipy import special

__all__ = [
    "erfi_inv",
    "interval_kernel",
    "log_interval_kernel",
    "log_normal_cdf",
    "log_scaled_bessel_i",
    "scaled_bessel_i",
]

Array = NDArray[np.float64]

_HALF_ROOT_PI = np.sqrt(np.pi) / 2
_LARGEST = np.finfo(float).max
_BLOCK = 1 << 14  # elements at a time, so that the intermediate arrays stay in the cache
_SERIES_BELOW = 0.25  # in √π x / 2; from there on SciPy's Dawson function is good to its last bits
_BESSEL_ASYMPTOTIC = 1e8  # where ive is still right and the next term of the series is below rounding


def erfi_inv(x: ArrayLike) -> Array:
    r"""The real y with :math:`\operatorname{erfi} y = x`, over the whole double range.

    Relative error below 1e-15: a guess good to about 1e-5, then one step of order four.

    *Derivation.* With :math:`g = \operatorname{erfi}^{-1}`, :math:`g' = \tfrac{\sqrt\pi}{2} e^{-g^2}`, hence
    :math:`g^{(n)} = p_n(g)\, g'^n` with :math:`p_1 = 1`, :math:`p_{n+1} = p_n' - 2 n y\, p_n`. From a guess
    y, with D Dawson's function, the Newton step is

    .. math:: w = \tfrac{\sqrt\pi}{2} e^{-y^2} (x - \operatorname{erfi} y) = \tfrac{\sqrt\pi}{2} x e^{-y^2} - D(y),

    in which nothing overflows (:math:`y < 27`) and an error :math:`\epsilon` in :math:`y^2`, multiplied by
    :math:`D(y) \approx 1/(2y)`, is one of :math:`\epsilon` in y; Taylor's formula adds the terms
    :math:`p_n(y)\, w^n / n!` up to n = 4. Below :math:`\sqrt\pi x/2 = 1/4` the Taylor series at 0 is used.

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
    scaled = _HALF_ROOT_PI * size
    y = _guess(size)
    y2 = y * y
    w = scaled * np.exp(-y2) - special.dawsn(y)
    # p_2 = -2y, p_3 = 8y² - 2, p_4 = 28y - 48y³
    yw = y * w
    y += w * (1 - yw + w * w * ((4 * y2 - 1) / 3 + yw * (7 - 12 * y2) / 6))
    small = scaled < _SERIES_BELOW
    if small.any():
        near = scaled[small]
        y[small] = near * _series()(near * near)
    y[np.isinf(x)] = np.inf
    return np.copysign(y, x)


def _coordinate(log_size: Array) -> Array:
    """Given log x, √(½ log(1 + (x/2)²)): about x/√8 near 0 and √(log x) far out, as y is up to a factor."""
    return np.sqrt(np.logaddexp(0, 2 * (log_size - np.log(2))) / 2)


def _guess(size: Array) -> Array:
    s = np.sqrt(np.log(np.hypot(1, size / 2)))
    first, *rest = _guess_polynomial().coef[::-1]
    u = s / (s + 2)
    ratio = np.full_like(u, first)
    for coefficient in rest:
        ratio *= u
        ratio += coefficient
    return s * ratio


@cache
def _guess_polynomial() -> Polynomial:
    """y/s as a polynomial in s/(s + 2), fitted to exact points: for x = erfi y, log x = y² + log(2 D(y) / √π)."""
    y = np.linspace(0, 27, 4001)[1:]
    s = _coordinate(y * y + np.log(special.dawsn(y) / _HALF_ROOT_PI))
    # the step of order four leaves (δ y²)⁵ / y² of a relative error δ: the fit must be better where y is large
    fit = Chebyshev.fit(s / (s + 2), y / s, 12, domain=[0, 1], w=1 + y**1.6)
    return fit.convert(kind=Polynomial)


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


def log_scaled_bessel_i(order: float, z: ArrayLike) -> Array:
    r""":math:`\log(e^{-z} I_\nu(z))` for one order :math:`\nu > -1`, also where the function itself underflows.

    The power series :math:`I_\nu(z) = \frac{(z/2)^\nu}{\Gamma(\nu+1)} \sum_j \frac{(z^2/4)^j}{j!\,(\nu+1)_j}` for
    :math:`z^2 \le 4(\nu + 2)`, Hankel's expansion for :math:`z \ge 30 + 3\nu^2`, and ``scipy.special.ive`` between.

    Examples
    --------
    >>> print(log_scaled_bessel_i(200.0, [1e-3, 1.0, 1e12]))
    [-2383.4... -1002.8...   -14.7...]
    """
    z = np.asarray(z, dtype=float)
    flat = z.ravel()
    result = np.full(flat.shape, np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        near = flat * flat <= 4 * (order + 2)
        far = flat >= 30 + 3 * order * order
        if near.any():
            x = flat[near]
            quarter = x * x / 4
            term = total = np.ones_like(x)
            for j in range(1, 26):
                term = term * quarter / (j * (order + j))
                total = total + term
            power = order * np.log(x / 2) if order else 0.0
            result[near] = power - special.gammaln(order + 1) + np.log(total) - x
        if far.any():
            x, mu = flat[far], 4 * order * order
            term = total = np.ones_like(x)
            for k in range(1, 25):
                term = term * ((2 * k - 1) ** 2 - mu) / (8 * k) / x
                total = total + term
            result[far] = np.log(total) - np.log(2 * np.pi * x) / 2
        middle = ~(near | far) & (flat > 0)
        if middle.any():
            result[middle] = np.log(special.ive(order, flat[middle]))
    return result.reshape(z.shape)[()]


_SWITCH = 0.2  # scaled time at which the two series are equally good


def log_interval_kernel(
    tau: ArrayLike, a: ArrayLike, b: ArrayLike, a_left: ArrayLike | None = None, b_left: ArrayLike | None = None
) -> Array:
    r"""Logarithm of the heat kernel of (0, 1) with absorbing ends, without cancellation anywhere.

    *Images, small times.* Up to the reflection :math:`a, b \to 1 - a, 1 - b` let a be at most 1/2. If b is too, the images at even
    distances are grouped by fours: with :math:`A = 2ja/\tau, B = 2jb/\tau, C = ab/\tau`,

    .. math:: 4\bigl[\sinh C\cosh(A - B) - e^{-C}\sinh A\sinh B\bigr] e^{-(4j^2 + a^2 + b^2)/2\tau};

    if not, those at odd distances m from each other, with :math:`b' = 1 - b`, :math:`A = ma/\tau, B = mb'/\tau, C = ab'/\tau`,

    .. math:: 4\bigl[e^{-C}\sinh A\sinh B - \sinh C\cosh(A - B)\bigr] e^{-(m^2 + a^2 + b'^2)/2\tau},

    both over :math:`\sqrt{2\pi\tau}`. What vanishes at an end is a factor. *Eigenfunctions, large times*:
    :math:`\sin(\pi a)\sin(\pi b)` taken out, the quotients are Chebyshev polynomials, by their recurrence.

    Parameters
    ----------
    tau : array_like
        Scaled time, positive.
    a, b : array_like
        Points of (0, 1).
    a_left, b_left : array_like, optional
        1 − a and 1 − b, where they are known to more digits.

    Examples
    --------
    >>> print(log_interval_kernel([1e-6, 1.0], 0.1, 0.9))
    [-3.19994011e+05 -6.590...e+00]
    """
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    a_left = 1 - a if a_left is None else np.asarray(a_left, dtype=float)
    b_left = 1 - b if b_left is None else np.asarray(b_left, dtype=float)
    tau, a, b, a_left, b_left = np.broadcast_arrays(np.asarray(tau, dtype=float), a, b, a_left, b_left)
    result = np.full(tau.shape, -np.inf)
    with np.errstate(all="ignore"):
        inside = (a > 0) & (a_left > 0) & (b > 0) & (b_left > 0)
        for some, rule in ((inside & (tau < _SWITCH), _log_images), (inside & (tau >= _SWITCH), _log_waves)):
            if some.any():
                every = some.all()
                given = (v if every else v[some] for v in (tau, a, b, a_left, b_left))
                value = rule(*given)
                if every:
                    result = value
                else:
                    result[some] = value
        result = np.where(np.isnan(tau + a + b), np.nan, result)
    return result[()]


def _log_images(tau: Array, a: Array, b: Array, a_left: Array, b_left: Array) -> Array:
    turn = a > 0.5
    a, a_left = np.where(turn, a_left, a), np.where(turn, a, a_left)
    b, b_left = np.where(turn, b_left, b), np.where(turn, b, b_left)
    same = b <= 0.5
    other = np.where(same, b, b_left)  # b or b'
    c = a * other / tau
    flat = -np.expm1(-2 * c)  # 2 e^{-C} sinh C
    # even: the central pair, e^{-(a-b)²/2τ} (1 - e^{-2ab/τ}); odd: m = 1 with exponent -(b - a)²/2τ
    exponent = -np.square(np.where(same, a - b, b_left + a - 1)) / (2 * tau)
    total = np.where(same, flat, 0.0)
    for j in (1, 2):
        m = np.where(same, 2.0 * j, 2.0 * j - 1)
        big_a, big_b = m * a / tau, m * other / tau
        sines = np.expm1(-2 * big_a) * np.expm1(-2 * big_b)  # 4 e^{-A-B} sinh A sinh B
        gap = np.abs(big_a - big_b)
        cosine = flat * (1 + np.exp(-2 * gap))  # 4 e^{-C-|A-B|} sinh C cosh(A - B)
        # exponents of the two products relative to the leading one
        base = -(m * m + a * a + other * other) / (2 * tau) - exponent
        first, second = np.exp(base + big_a + big_b - c) * sines, np.exp(base + gap + c) * cosine
        total = total + np.where(same, second - first, first - second)
    return exponent + np.log(total) - np.log(2 * np.pi * tau) / 2


def _log_waves(tau: Array, a: Array, b: Array, a_left: Array, b_left: Array) -> Array:
    near_a, near_b = np.minimum(a, a_left), np.minimum(b, b_left)
    cos_a, cos_b = np.cos(np.pi * a), np.cos(np.pi * b)
    u, last_u, v, last_v = np.ones_like(a), np.zeros_like(a), np.ones_like(b), np.zeros_like(b)
    total = np.ones_like(a)
    for m in range(2, 9):
        u, last_u = 2 * cos_a * u - last_u, u  # sin(mπa)/sin(πa)
        v, last_v = 2 * cos_b * v - last_v, v
        total = total + u * v * np.exp(-(m * m - 1) * np.pi**2 * tau / 2)
    waves = 2 * np.sin(np.pi * near_a) * np.sin(np.pi * near_b)
    return np.log(waves) + np.log(total) - np.pi**2 * tau / 2


def interval_kernel(order: float, tau: ArrayLike, a: ArrayLike, b: ArrayLike) -> Array:
    """The heat kernel of (0, 1) with absorbing ends; only itself, not its derivatives, in double precision.

    Examples
    --------
    >>> print(interval_kernel(0, 1.0, [0.25, 0.5], 0.5).round(12))
    [0.01017086 0.01438377]
    """
    if np.any(np.asarray(order) != 0):
        raise ValueError("derivatives of the interval's kernel are compiled for mpmath only")
    return np.exp(log_interval_kernel(tau, a, b))
