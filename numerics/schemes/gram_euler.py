r"""Euler–Maruyama steps of neurons, taken in law on their Gram matrix."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from derivations.diffusion import Limit
from derivations.limits import GramDiffusion
from derivations.limits.gram import upper
from numerics.compile import compile_expression
from numerics.linalg import semidefinite_factor
from numerics.schemes.base import Advance, Array, Scheme


@dataclass(frozen=True)
class GramEuler(Scheme):
    r"""A step of a network's Gram matrix at finite width, :math:`V' = MM^\top + h\,(b - mG)`, :math:`M = L + \sqrt h\,R\,\Gamma^\top`.

    Here :math:`V = LL^\top`, :math:`G = RR^\top`, :math:`\Gamma` has m × m independent standard normal entries, and the covariance of the
    limit is that of neurons with independent noises of covariance nG,

    .. math:: V_{\alpha\gamma}G_{\beta\delta} + V_{\alpha\delta}G_{\beta\gamma} + V_{\beta\gamma}G_{\alpha\delta}
              + V_{\beta\delta}G_{\alpha\gamma} ;

    G is read off it.
    *Derivation.* :math:`\mathbb{E}MM^\top = V + hmG`, and the noise of :math:`MM^\top` is :math:`\sqrt h\,(L\Gamma R^\top + R\Gamma^\top L^\top)` to first
    order. For n ≥ m neurons this is the Gram matrix of :math:`X + \sqrt h\,\xi R^\top` but for the noise of the n − m directions
    that no input has, whose mean is in b: it stays on the cone where :math:`b \succeq mG`.

    Where that fails, the step is projected back to the cone.
    """

    name: str = "gram_euler"
    strong_order: Fraction = Fraction(1, 2)
    weak_order: Fraction = Fraction(1)

    def prepare(self, limit: Limit) -> Advance:
        """Compile the coefficients, and what G is."""
        if not isinstance(limit, GramDiffusion) or len(limit.states) != len(upper(limit.inputs)):
            raise ValueError(
                "the scheme steps Gram matrices of a finite number of neurons, as derive(...).gram gives, "
                f"got a {type(limit).__name__} in {', '.join(map(str, limit.states))}"
            )
        m, pairs = limit.inputs, upper(limit.inputs)
        index = {pair: k for k, pair in enumerate(pairs)}
        at = lambda a, b: index[min(a, b), max(a, b)]  # noqa: E731
        arguments = (*limit.states, limit.time)
        drift = compile_expression(arguments, tuple(limit.drift))
        # of each diagonal entry with itself and with the others of its row: all of G
        wanted = [(at(a, a), at(a, b)) for a, b in pairs]
        rates = compile_expression(arguments, tuple(limit.covariance[p, q] for p, q in wanted))

        def advance(x: Array, time: float, duration: float, steps: int, rng: np.random.Generator) -> Array:
            h, count = duration / steps, len(x)
            v = np.empty((count, m, m))
            for k, (a, b) in enumerate(pairs):
                v[:, a, b] = v[:, b, a] = x[:, k]
            lower = semidefinite_factor(v)
            for step in range(steps):
                v = lower @ lower.swapaxes(1, 2)
                states = [_inside(v, a, b) for a, b in pairs]
                now = time + step * h
                own, velocity = rates(*states, now), drift(*states, now)
                g, rest = np.empty((2, count, m, m))
                for k, (a, b) in enumerate(pairs):
                    norm = states[at(a, a)]
                    g_aa = own[at(a, a)] / (4 * norm)
                    g[:, a, b] = g[:, b, a] = g_aa if a == b else (own[k] / 2 - states[k] * g_aa) / norm
                    rest[:, a, b] = rest[:, b, a] = velocity[k]
                gamma = rng.standard_normal((count, m, m))
                moved = lower + np.sqrt(h) * (semidefinite_factor(g) @ gamma)
                lower = semidefinite_factor(moved @ moved.swapaxes(1, 2) + h * (rest - m * g))
            v = lower @ lower.swapaxes(1, 2)
            return np.stack([v[:, a, b] for a, b in pairs], axis=1)

        return advance


#: Of a squared norm: at 0 itself angles have no value.
_LEAST = 1e-100


def _inside(v: Array, a: int, b: int) -> Array:
    """An entry within the bounds of Cauchy and Schwarz, which rounding may break."""
    if a == b:
        return np.maximum(v[:, a, a], _LEAST)
    bound = np.sqrt(v[:, a, a] * v[:, b, b]) * (1.0 - 2.0**-50)
    return np.clip(v[:, a, b], -bound, bound)
