r"""Strong order 1 for any noise, without derivatives."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from derivations.calculus.noise import noise_factor
from derivations.diffusion import Limit
from derivations.errors import DerivationError
from derivations.steps.base import written_out
from derivations.steps.domain import continued
from numerics.compile import compile_expression
from numerics.schemes.base import Advance, Array, Scheme, kept_inside, require_no_surface
from numerics.schemes.levy import areas


@dataclass(frozen=True)
class DerivativeFree(Scheme):
    r"""Platen's explicit scheme with Lévy's areas.

    .. math:: x' = x + b h + \sum_j \sigma^j \Delta^j + \frac{1}{\sqrt h} \sum_{jk} \big(\sigma^k(\Upsilon_j) - \sigma^k(x)\big) I_{jk},
              \qquad \Upsilon_j = x + b h + \sigma^j \sqrt h .

    *Derivation.* :math:`\sigma^k(\Upsilon_j) - \sigma^k(x) = \sqrt h\,L^j\sigma^k + O(h)`: Milstein's scheme for any noise, whose
    error stays of order 1 where the areas :math:`I_{jk}` have mean square errors of order :math:`h^3`. The
    series for them takes :math:`\lceil c/h \rceil` terms.

    Parameters
    ----------
    terms : float
        c.

    References
    ----------
    P. E. Kloeden and E. Platen, *Numerical Solution of Stochastic Differential Equations* (1992), 11.1.
    """

    name: str = "derivative_free"
    strong_order: Fraction = Fraction(1)
    weak_order: Fraction = Fraction(1)
    terms: float = 1.0

    def prepare(self, limit: Limit) -> Advance:
        """Compile drift and factor."""
        require_no_surface(limit, self.name)
        try:
            beyond = continued(limit)
            process = written_out(limit) if beyond is None else beyond.process
            factor = noise_factor(process)
        except DerivationError as error:
            raise ValueError(f"the scheme {self.name} does not apply: {error}") from error
        arguments = (*process.states, process.time)
        drift = compile_expression(arguments, tuple(process.drift))
        columns = compile_expression(arguments, tuple(factor))
        size, count = factor.shape

        def noise(x: Array, time: float) -> Array:
            with np.errstate(divide="ignore", invalid="ignore"):  # of branches that are not taken
                return np.stack(columns(*x, time)).reshape(size, count, -1)

        def advance(x: Array, time: float, duration: float, steps: int, rng: np.random.Generator) -> Array:
            shape, h = x.shape, duration / steps
            root, series = np.sqrt(h), int(np.ceil(self.terms / h))
            y = np.ascontiguousarray(x.reshape(len(x), -1).T)
            for step in range(steps):
                now = time + step * h
                xi = rng.standard_normal((count, y.shape[1]))
                integrals = h * (xi[:, None] * xi[None, :] - np.eye(count)[..., None]) / 2 + areas(xi, h, series, rng)
                here, moved = noise(y, now), y + np.stack(drift(*y, now)) * h
                after = moved + root * np.einsum("ikp,kp->ip", here, xi)
                for j in range(count):
                    change = noise(moved + here[:, j] * root, now) - here
                    after += np.einsum("ikp,kp->ip", change, integrals[j]) / root
                y = after
            return y.T.reshape(shape)

        return kept_inside(limit, beyond, advance)
