r"""Steps on the cone of Gram matrices that cannot leave it."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from derivations.diffusion import Limit
from derivations.errors import kind_of
from derivations.limits import GramDiffusion
from numerics.compile import compile_expression
from numerics.linalg import semidefinite_factor
from numerics.schemes.base import Advance, Array, Scheme


@dataclass(frozen=True)
class Congruence(Scheme):
    r"""A step on the cone of Gram matrices, :math:`V' = L(1 + \tfrac12 S)^2L^\top` with Cholesky's :math:`V = LL^\top`.

    S is symmetric, :math:`S = \sqrt{\lambda h}\,N + h\,(L^{-1} b L^{-\top} - \tfrac14 \lambda (m+1))`, with independent entries of N, of
    variance 2 on the diagonal and 1 off it. A congruence of a square is positive semi-definite whatever N is.
    *Derivation.* :math:`LNL^\top` has the covariance of the limit (:class:`derivations.limits.GramDiffusion`), and
    :math:`\mathbb{E}N^2 = m + 1`, so :math:`\mathbb{E}(1 + \tfrac12S)^2 = 1 + h\,L^{-1}bL^{-\top} + O(h^2)`.
    The factor is carried from step to step (rotated back to a triangle), so a small angle between inputs keeps its
    relative precision.
    """

    name: str = "congruence"
    strong_order: Fraction = Fraction(1, 2)
    weak_order: Fraction = Fraction(1)

    def prepare(self, limit: Limit) -> Advance:
        """Compile the drift in the coordinates of the factor."""
        if not isinstance(limit, GramDiffusion):
            raise ValueError(
                "the scheme steps diffusions of Gram matrices, as joint_limit(ShapedMLP(...)) gives, "
                f"got {kind_of(limit)}; leave scheme out"
            )
        if not limit.is_of_products:
            raise ValueError(
                "the scheme congruence steps Gram matrices whose covariance is that of products of Gaussians, and this one has another; "
                "take gram_euler"
            )
        m, pairs = limit.inputs, [(a, b) for a in range(limit.inputs) for b in range(a, limit.inputs)]
        lower, relative = limit.relative_drift
        arguments = (*(lower[b, a] for a, b in pairs), limit.time)
        drift = compile_expression(arguments, tuple(relative[b, a] for a, b in pairs))
        strength = float(limit.strength)

        def advance(x: Array, time: float, duration: float, steps: int, rng: np.random.Generator) -> Array:
            h, factor = duration / steps, semidefinite_factor(_symmetric(x, m))
            rows: list[list[Any]] = [[np.ascontiguousarray(factor[:, a, b]) for b in range(m)] for a in range(m)]
            noise = np.empty((len(pairs), len(x)))
            scales = [np.sqrt(strength * h * (2.0 if a == b else 1.0)) / 2 for a, b in pairs]
            for step in range(steps):
                rng.standard_normal(out=noise)
                velocities = drift(*(rows[b][a] for a, b in pairs), time + step * h)
                half: dict[tuple[int, int], Array] = {}  # 1 + S/2
                for (a, b), scale, velocity, xi in zip(pairs, scales, velocities, noise, strict=True):
                    xi *= scale
                    xi += velocity * (h / 2)
                    if a == b:
                        xi += 1.0 - strength * (m + 1) * h / 8
                    half[a, b] = half[b, a] = xi
                rows = _triangle(
                    [[sum(rows[a][k] * half[k, b] for k in range(a + 1)) for b in range(m)] for a in range(m)]
                )
            ends = [sum(rows[a][k] * rows[b][k] for k in range(min(a, b) + 1)) for a, b in pairs]
            return np.stack(ends, axis=1)

        return advance


def _symmetric(x: Array, m: int) -> Array:
    full = np.empty((len(x), m, m))
    for column, (a, b) in enumerate((i, j) for i in range(m) for j in range(i, m)):
        full[:, a, b] = full[:, b, a] = x[:, column]
    return full


def _triangle(rows: list[list[Any]]) -> list[list[Any]]:
    """Rotate columns until nothing is left above the diagonal: another factor of the same matrix, without subtractions."""
    m = len(rows)
    for i in range(m):
        for j in range(i + 1, m):
            length = np.hypot(rows[i][i], rows[i][j])
            safe = np.where(length > 0, length, 1.0)
            c, s = rows[i][i] / safe, rows[i][j] / safe
            rows[i][i] = length
            for k in range(i + 1, m):
                rows[k][i], rows[k][j] = c * rows[k][i] + s * rows[k][j], c * rows[k][j] - s * rows[k][i]
        sign = np.where(rows[i][i] < 0, -1.0, 1.0)
        for k in range(i, m):
            rows[k][i] = rows[k][i] * sign
    return rows
