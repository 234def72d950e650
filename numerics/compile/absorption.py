r"""The probability with which a process on an interval has been absorbed at an end, by series instead of its integral.

With :math:`u'' = V u`, :math:`\kappa = \sqrt V`, length :math:`\ell` and w the solution that is u at the end and 0 at the other, the mass is
:math:`u(\text{end})` times :math:`\mathbb{E}[e^{-VT/2}; T \le t]` of a Brownian motion that leaves at that end. At distance d from an end, that mean is

.. math:: F(d) = e^{-\kappa d}\,\Phi\Big(\frac{\kappa t - d}{\sqrt t}\Big) + e^{\kappa d}\,\Phi\Big(\frac{-\kappa t - d}{\sqrt t}\Big)

on a half-line, and with d from this end and c from the other, :math:`c + d = \ell`,

.. math:: \sum_{m \ge 0} [F(2m\ell + d) - F(2m\ell + \ell + c)]
          = \frac{\sinh\kappa c}{\sinh\kappa\ell} - \frac{2}{\ell}\sum_{m\ge1} \frac{(-1)^{m+1} k_m}{k_m^2 + V} \sin(k_m c)\,e^{-(k_m^2+V)t/2},
          \qquad k_m = \frac{m\pi}{\ell} ;

the first falls off for short times, the second for long ones.
"""

from __future__ import annotations

import mpmath
from mpmath import mp

_SHORT = 1 / mp.mpf(2)  # time over the length squared, up to which images are summed


def leaving(t: mpmath.mpf, near: mpmath.mpf, far: mpmath.mpf, potential: mpmath.mpf) -> mpmath.mpf:
    r""":math:`\mathbb{E}[e^{-VT/2}; T \le t]` over the paths that leave an interval at one end.

    Parameters
    ----------
    t : mpf
    near, far : mpf
        The distances of the start from this end and from the other.
    potential : mpf
        V, of either sign.

    Examples
    --------
    >>> one = mp.mpf(1)
    >>> mpmath.nstr(leaving(100 * one, one / 4, 3 * one / 4, mp.mpf(0)), 10)  # gambler's ruin
    '0.75'
    >>> with mp.workdps(30):
    ...     short, long = (leaving(s, one / 4, 3 * one / 4, one) for s in (one / 2 - mp.eps, one / 2 + 4 * mp.eps))
    >>> bool(abs(short - long) < 1e-27)
    True
    """
    length = near + far
    if t / length**2 < _SHORT:
        return _by_images(t, near, far, potential)
    return _by_waves(t, far, length, potential)


def _by_images(t: mpmath.mpf, near: mpmath.mpf, far: mpmath.mpf, potential: mpmath.mpf) -> mpmath.mpf:
    kappa, root, length = mp.sqrt(potential), mp.sqrt(t), near + far

    def first_passage(d: mpmath.mpf) -> mpmath.mpf:
        both = [mp.exp(s * kappa * d) * mp.erfc((d + s * kappa * t) / (root * mp.sqrt(2))) / 2 for s in (-1, 1)]
        return mp.re(both[0] + both[1])

    total, m = mp.zero, 0
    while True:
        terms = first_passage(2 * m * length + near), first_passage(2 * m * length + length + far)
        total += terms[0] - terms[1]
        if max(terms) <= mp.eps * abs(total) or m > 500:
            return total
        m += 1


def _by_waves(t: mpmath.mpf, far: mpmath.mpf, length: mpmath.mpf, potential: mpmath.mpf) -> mpmath.mpf:
    kappa = mp.sqrt(potential)
    total = mp.re(mp.sinh(kappa * far) / mp.sinh(kappa * length)) if potential != 0 else far / length
    m = 1
    while True:
        k = m * mp.pi / length
        size = 2 / length * k / (k * k + potential) * mp.exp(-(k * k + potential) * t / 2)
        total += (-1) ** m * size * mp.sinpi(m * far / length)
        if abs(size) * max(m, 1) <= mp.eps * abs(total) * far / length or m > 500:
            return total
        m += 1
