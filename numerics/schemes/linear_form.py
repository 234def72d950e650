r"""Steps of the collapse of two inputs through the linear equation that has no singularity at t = 0."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from derivations.calculus.exponential import collapse_linear
from derivations.diffusion import Limit
from derivations.errors import kind_of
from derivations.limits import CollapseDiffusion
from numerics.schemes.base import Advance, Array, Scheme


@dataclass(frozen=True)
class LinearForm(Scheme):
    r"""Steps of :math:`q = (t/w)^2` through the linear equation of w, which is not singular at t = 0.

    With :math:`\mathrm{d}w = (\kappa + \mu w)\mathrm{d}t - \sigma w\,\mathrm{d}B` one step is
    :math:`w' = e^{\xi}(w + \tfrac12\kappa h) + \tfrac12\kappa h` with
    :math:`\xi = (\mu - \tfrac12\sigma^2)h - \sigma\sqrt h\,N`: the exact solution but for the trapezoidal rule in its
    integral. Whatever :math:`x_0` is, :math:`w_0 = 0`.
    """

    name: str = "linear_form"
    strong_order: Fraction = Fraction(1)
    weak_order: Fraction = Fraction(1)

    def prepare(self, limit: Limit) -> Advance:
        """Read the coefficients of w off Itô's formula."""
        if not isinstance(limit, CollapseDiffusion):
            raise ValueError(
                f"the scheme steps the limit of an unshaped perceptron, got {kind_of(limit)}; leave scheme out"
            )
        w = collapse_linear(limit)
        kappa, mu, variance = (float(c) for c in (w.source, w.growth, w.variance))

        def advance(x: Array, time: float, duration: float, steps: int, rng: np.random.Generator) -> Array:
            h = duration / steps
            value = time / np.sqrt(x[:, 0])
            noise = np.empty(len(x))
            for _ in range(steps):
                rng.standard_normal(out=noise)
                noise *= np.sqrt(variance * h)
                noise += (mu - variance / 2) * h
                value = np.exp(noise) * (value + kappa * h / 2) + kappa * h / 2
            return ((time + duration) / value[:, np.newaxis]) ** 2

        return advance
