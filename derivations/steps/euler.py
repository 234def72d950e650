r"""The weak Euler step, whose increments take two values."""

from __future__ import annotations

import sympy as sp

from derivations.calculus.noise import noise_factor
from derivations.diffusion import Limit
from derivations.steps.base import Step, signs, size, written_out


def two_point_step(limit: Limit) -> Step:
    r""":math:`x' = x + b\,h + \sigma\sqrt h\,\varepsilon` with independent signs: weak order 1, no strong one.

    *Derivation.* A weak scheme of order 1 needs the increments' moments up to the third with an error of order
    :math:`h^2`: :math:`\mathbb{E}\varepsilon = \mathbb{E}\varepsilon^3 = 0` and :math:`\mathbb{E}\varepsilon^2 = 1` are the normal's.

    Parameters
    ----------
    limit : Diffusion or NeuronDiffusion

    Examples
    --------
    >>> from derivations.diffusion import Diffusion
    >>> x = sp.Symbol("x", real=True)
    >>> two_point_step(Diffusion((x,), [-x], [[4]])).update
    (2*epsilon_1*sqrt(h) - h*x + x,)

    References
    ----------
    P. E. Kloeden and E. Platen, *Numerical Solution of Stochastic Differential Equations* (1992), 14.1.
    """
    process = written_out(limit)
    factor = noise_factor(process)
    flips = signs(factor.cols)
    noise = factor * sp.Matrix(flips)
    update = tuple(
        x + b * size + sp.sqrt(size) * w for x, b, w in zip(process.states, process.drift, noise, strict=True)
    )
    return Step(process.states, process.time, size, (), flips, update)
