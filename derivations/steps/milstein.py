r"""Milstein's step, of strong order 1 from increments alone where the noise commutes."""

from __future__ import annotations

import sympy as sp

from derivations.calculus.noise import NoiseKind, along, classify_noise
from derivations.diffusion import Limit
from derivations.steps.base import Step, normals, size, written_out


def milstein_step(limit: Limit) -> Step:
    r""":math:`x' = x + b\,h + \sigma\,\Delta + \tfrac12\sum_{jk} L^j\sigma^k (\Delta^j\Delta^k - \delta_{jk}h)`, :math:`\Delta = \sqrt h\,\xi`.

    *Derivation.* Itô–Taylor to the terms of size h: :math:`\sum_{jk} L^j\sigma^k I_{jk}`, and for commutative noise the
    weights are symmetric, so only :math:`I_{jk} + I_{kj} = \Delta^j\Delta^k - \delta_{jk}h` enters. For diagonal noise
    :math:`L^k\sigma_{kk} = \sigma_{kk}\sigma_{kk}' = \tfrac12 a_{kk}'`, which has no root and is smooth where the noise vanishes.

    Parameters
    ----------
    limit : Diffusion or NeuronDiffusion

    Raises
    ------
    DerivationError
        If the noise is not proved commutative; the bracket that does not vanish is named.

    Examples
    --------
    >>> from derivations.diffusion import Diffusion
    >>> x = sp.Symbol("x", positive=True)
    >>> milstein_step(Diffusion((x,), [0], [[x**2]])).update
    (sqrt(h)*x*xi_1 + h*x*(xi_1**2 - 1)/2 + x,)

    References
    ----------
    P. E. Kloeden and E. Platen, *Numerical Solution of Stochastic Differential Equations* (1992), 10.3.
    """
    process = written_out(limit)
    noise = classify_noise(process)
    noise.require_commutative("Milstein's scheme")
    states, factor = process.states, noise.factor
    xi = normals(factor.cols)
    update = []
    for k, x in enumerate(states):
        moved = x + process.drift[k] * size
        moved += sp.sqrt(size) * sp.Add(*(factor[k, j] * g for j, g in enumerate(xi)))
        if noise.kind is NoiseKind.DIAGONAL:
            moved += size * sp.diff(process.covariance[k, k], x) * (xi[k] ** 2 - 1) / 4
        elif noise.kind is NoiseKind.COMMUTATIVE:
            for j in range(len(xi)):
                slope = [along(states, factor[:, i], factor[k, j]) for i in range(len(xi))]
                terms = (s * (xi[i] * xi[j] - sp.Integer(i == j)) for i, s in enumerate(slope))
                moved += size * sp.Add(*terms) / 2
        update.append(moved)
    return Step(states, process.time, size, xi, (), tuple(update))
