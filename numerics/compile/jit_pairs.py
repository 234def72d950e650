r"""The flows of kernels over pairs as one machine-code loop, printed from the closed means that the array code compiles.

The kernel takes ``(left, right, kernels, limit, noise, own, weight_variance, bias_variance, speed)``: the variances of rows and
of columns, K and perhaps Θ stacked, the largest correlation that the means may see, the numbers p, c, :math:`\sigma_w^2` and
:math:`\sigma_b^2` of the flow, and where the rates of change go. They are the array code's, pair by pair, without its temporaries.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import sympy as sp

from derivations.kernels.means import PAIR
from numerics.compile.jit import Kernel, compiled_kernel, printed_function, warmed


def pair_source(products: tuple[sp.Expr, ...]) -> str:
    r"""The source of :math:`\dot K = pG + 2cK` and, with two means, :math:`\dot\Theta = p(G + \sigma_w^2\,\mathbb{E}[\psi'\psi']\Theta) + 2c\Theta`.

    Parameters
    ----------
    products : one or two Expr
        The means of :math:`\psi\psi` and of :math:`\psi'\psi'` over a centred pair, in ``PAIR``.
    """
    tangent = "speed[1, i, j] = noise*(gram + weight_variance*mean[1]*kernels[1, i, j]) + 2.0*own*kernels[1, i, j]"
    return (
        printed_function("means", PAIR, products)
        + f"""


def kernel(left, right, kernels, limit, noise, own, weight_variance, bias_variance, speed):
    for i in range(left.size):
        for j in range(right.size):
            most = sqrt(left[i])*sqrt(right[j])*limit
            mean = means(left[i], min(max(kernels[0, i, j], -most), most), right[j])
            gram = bias_variance + weight_variance*mean[0]
            speed[0, i, j] = noise*gram + 2.0*own*kernels[0, i, j]
            {tangent if len(products) > 1 else ""}
"""
    )


@lru_cache(maxsize=64)
def pair_kernel(products: tuple[sp.Expr, ...]) -> Kernel:
    """The compiled kernel, one for an activation: parameters of the network are among its arguments."""
    none, no_pairs = np.empty(0), np.empty((len(products), 0, 0))
    return warmed(compiled_kernel(pair_source(products)), none, none, no_pairs, 1.0, 0.0, 0.0, 0.0, 0.0, no_pairs)
