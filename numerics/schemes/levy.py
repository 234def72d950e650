r"""Lévy's areas: what increments do not say of Brownian motions, drawn given them.

For independent Brownian motions over a step h, with :math:`\xi = \Delta B/\sqrt h`,

.. math:: I_{jk} = \int_0^h B^j\,\mathrm{d}B^k = \tfrac12 h(\xi_j\xi_k - \delta_{jk}) + A_{jk}, \qquad A_{jk} = -A_{kj},

.. math:: A_{jk} = \frac{h}{2\pi} \sum_{r \ge 1} \frac1r \Big(\zeta_{jr}\big(\sqrt2\,\xi_k + \eta_{kr}\big)
          - \zeta_{kr}\big(\sqrt2\,\xi_j + \eta_{jr}\big)\Big)

with :math:`\zeta, \eta` standard normal: Fourier's series of the bridge (Lévy; Kloeden and Platen 5.8).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def areas(normals: Array, h: float, terms: int, rng: np.random.Generator) -> Array:
    r"""Areas given standard normal increments, from a number of terms and a Gaussian for what they leave.

    The terms beyond p leave, given :math:`\xi`, a variance :math:`\frac{h^2}{2\pi^2}\sum_{r>p} r^{-2}\,(1 + \xi_j^2 + \xi_k^2)` for each
    pair, which is drawn with the right size, so that second moments are exact whatever p is.

    Parameters
    ----------
    normals : array, shape (k, paths)
    h : float
    terms : int
        p; a strong order of 1 needs p of order 1/h.
    rng : Generator

    Returns
    -------
    array, shape (k, k, paths)
    """
    k, paths = normals.shape
    area = np.zeros((k, k, paths))
    if k == 1:
        return area
    for r in range(1, terms + 1):
        zeta, eta = rng.standard_normal((k, paths)), rng.standard_normal((k, paths))
        shifted = (np.sqrt(2.0) * normals + eta) / r
        area += zeta[:, None] * shifted[None, :]
    area = (area - area.swapaxes(0, 1)) * (h / (2 * np.pi))
    left = np.pi**2 / 6 - sum(1 / r**2 for r in range(1, terms + 1))
    for a in range(k):
        for b in range(a):
            size = np.sqrt(left / (2 * np.pi**2) * (1 + normals[a] ** 2 + normals[b] ** 2)) * h
            rest = size * rng.standard_normal(paths)
            area[a, b] += rest
            area[b, a] -= rest
    return area
