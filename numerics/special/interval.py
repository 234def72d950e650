r"""The heat kernel of the unit interval with absorbing ends, in logarithms."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from derivations.special import interval_kernel as in_many_digits

Array = NDArray[np.float64]

_SWITCH = 0.2  # scaled time at which the two series are equally good


def log_interval_kernel(
    tau: ArrayLike,
    a: ArrayLike,
    b: ArrayLike,
    a_left: ArrayLike | None = None,
    b_left: ArrayLike | None = None,
    gap: ArrayLike | None = None,
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
    gap : array_like, optional
        a − b, where it is.

    Examples
    --------
    >>> print(log_interval_kernel([1e-6, 1.0], 0.1, 0.9))
    [-3.19994011e+05 -6.590...e+00]
    """
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    a_left = 1 - a if a_left is None else np.asarray(a_left, dtype=float)
    b_left = 1 - b if b_left is None else np.asarray(b_left, dtype=float)
    gap = a - b if gap is None else np.asarray(gap, dtype=float)
    tau, a, b, a_left, b_left, gap = np.broadcast_arrays(np.asarray(tau, dtype=float), a, b, a_left, b_left, gap)
    result = np.full(tau.shape, -np.inf)
    with np.errstate(all="ignore"):
        inside = (a > 0) & (a_left > 0) & (b > 0) & (b_left > 0)
        for some, rule in ((inside & (tau < _SWITCH), _log_images), (inside & (tau >= _SWITCH), _log_waves)):
            if some.any():
                every = some.all()
                given = (v if every else v[some] for v in (tau, a, b, a_left, b_left, gap))
                value = rule(*given)
                if every:
                    result = value
                else:
                    result[some] = value
        result = np.where(np.isnan(tau + a + b), np.nan, result)
    return result[()]


def _log_images(tau: Array, a: Array, b: Array, a_left: Array, b_left: Array, gap: Array) -> Array:
    turn = a > 0.5
    a, a_left = np.where(turn, a_left, a), np.where(turn, a, a_left)
    b, b_left = np.where(turn, b_left, b), np.where(turn, b, b_left)
    same = b <= 0.5
    other = np.where(same, b, b_left)  # b or b'
    low, high = np.minimum(a, other), np.maximum(a, other)
    flat = -np.expm1(-2 * a * other / tau)  # 2 e^{-C} sinh C
    # even: the central pair, e^{-(a-b)²/2τ} (1 - e^{-2ab/τ}); odd: m = 1 with the same exponent
    total = np.where(same, flat, 0.0)
    for j in (1, 2):
        m = np.where(same, 2.0 * j, 2.0 * j - 1)
        big_a, big_b = m * a / tau, m * other / tau
        sines = np.expm1(-2 * big_a) * np.expm1(-2 * big_b)  # 4 e^{-A-B} sinh A sinh B
        cosine = flat * (1 + np.exp(-2 * np.abs(big_a - big_b)))  # 4 e^{-C-|A-B|} sinh C cosh(A - B)
        # exponents of the two products relative to the leading one, as products in which nothing cancels
        first = np.where(same, -(m - 2 * a) * (m - 2 * other), (m - 1) * (2 * (a + other) - m - 1)) / (2 * tau)
        second = np.where(same, -m * (m - 2 * (high - low)), (2 * high - m - 1) * (m - 1 + 2 * low)) / (2 * tau)
        product, ratio = np.exp(first) * sines, np.exp(second) * cosine
        total = total + np.where(same, ratio - product, product - ratio)
    return -np.square(gap) / (2 * tau) + np.log(total) - np.log(2 * np.pi * tau) / 2


def _log_waves(tau: Array, a: Array, b: Array, a_left: Array, b_left: Array, gap: Array) -> Array:
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
    """The heat kernel of (0, 1) with absorbing ends, or its derivative of an order in a; derivatives one number at a time.

    Examples
    --------
    >>> print(interval_kernel(0, 1.0, [0.25, 0.5], 0.5).round(12))
    [0.01017086 0.01438377]
    >>> print(interval_kernel(1, 1.0, [0.25, 0.5], 0.5).round(7) + 0.0)
    [0.0319527 0.       ]
    """
    if np.all(np.asarray(order) == 0):
        return np.exp(log_interval_kernel(tau, a, b))
    result: Array = np.vectorize(lambda *at: float(in_many_digits(int(at[0]), *map(float, at[1:]))), otypes=[float])(
        order, tau, a, b
    )
    return result[()]
