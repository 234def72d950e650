r"""The inverse of the Lamperti coordinate as polynomials between knots.

On a panel of the table the integrands of z and E are polynomials up to rounding, as Gauss's rule has settled there. So their inverse
:math:`x(z)`, and E beside it, are smooth, and between few knots a Chebyshev interpolant holds to rounding. Where it does not, as beside a
power that a process crosses, the caller solves for each point.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_POINTS = 18
_TOLERANCE = 1e-13  # relative, of z and E; of Newton's solution rounding leaves as much
_HALVINGS = 6  # of a panel, on which x(z) may be a logarithm
_HELPS = 8.0  # a halving that divides the error by less does not: what is left is rounding
_NODES = np.cos(np.pi * (np.arange(_POINTS) + 0.5) / _POINTS)
_TO_COEFFICIENTS = np.cos(np.outer(np.arange(_POINTS), np.arccos(_NODES))) * 2 / _POINTS
_TO_COEFFICIENTS[0] /= 2
_CHECKED = np.array([-0.993, -0.41, 0.27, 0.964])  # between the nodes


@dataclass(frozen=True)
class Inverse:
    """State and energy as functions of z between knots, and where they hold.

    Parameters
    ----------
    knots : array
        Values of z.
    states, energies : array
        Chebyshev coefficients, those between two knots in a column.
    holds : array of bool
        Between which knots.
    """

    knots: Array
    states: Array
    energies: Array
    holds: NDArray[np.bool_]

    @classmethod
    def fitted(
        cls,
        edges: Array,
        within: tuple[float, float],
        solved: Callable[[Array], tuple[Array, Array]],
        noise: Callable[[Array], Array],
        unit: float,
    ) -> Inverse:
        r"""Through solved points; a panel is cut in two where one polynomial does not hold.

        Parameters
        ----------
        edges : array
            Values of z at the edges of panels.
        within : tuple of float
            Panels beyond these values of z are left out.
        solved : callable
            Values of z to states and energies.
        noise : callable
            States to the noise.
        unit : float
            Added to :math:`|z|` in what errors of it are compared with.

        Examples
        --------
        >>> sinh = lambda z: (np.sinh(z), 0 * z)
        >>> found = Inverse.fitted(np.array([0.0, 8.0]), (0.0, 8.0), sinh, lambda x: np.sqrt(1 + x**2), 1.0)
        >>> len(found.knots), bool(found.holds.all()), round(float(found(np.array([3.0]))[0][0]), 10)
        (3, True, 10.0178749274)
        """
        near = (edges[1:] > within[0]) & (edges[:-1] < within[1]) & (edges[1:] > edges[:-1])
        beyond = np.zeros((_POINTS, np.count_nonzero(~near)))
        done = [(edges[:-1][~near], beyond, beyond, np.zeros(beyond.shape[1], dtype=bool))]
        pending, before = np.stack([edges[:-1][near], edges[1:][near]]), np.full(np.count_nonzero(near), np.inf)
        for left in reversed(range(_HALVINGS + 1)):
            states, energies, off = _fitted(pending, solved, noise, unit)
            again = (off > 1) & (off < before / _HELPS) & (left > 0)
            done.append((pending[0][~again], states[:, ~again], energies[:, ~again], off[~again] <= 1))
            low, high = pending[:, again]
            if not len(low):
                break
            middle = (low + high) / 2
            pending = np.concatenate([np.stack([low, middle]), np.stack([middle, high])], axis=1)
            before = np.tile(off[again], 2)
        starts = np.concatenate([part[0] for part in done])
        order = np.argsort(starts)
        knots = np.append(starts[order], edges[-1])
        states, energies = (np.concatenate([part[k] for part in done], axis=1)[:, order] for k in (1, 2))
        return cls(knots, states, energies, np.concatenate([part[3] for part in done])[order])

    def __call__(self, z: Array) -> tuple[Array, Array, NDArray[np.bool_]]:
        """State and energy at values of z between the first and the last knot, and whether they hold."""
        k = np.clip(np.searchsorted(self.knots, z, side="right") - 1, 0, len(self.knots) - 2)
        low, high = self.knots[k], self.knots[k + 1]
        s = np.divide(2 * z - low - high, high - low, out=np.zeros(len(z)), where=high > low)
        return _series(self.states[:, k], s), _series(self.energies[:, k], s), self.holds[k]


def _fitted(
    intervals: Array,
    solved: Callable[[Array], tuple[Array, Array]],
    noise: Callable[[Array], Array],
    unit: float,
) -> tuple[Array, Array, Array]:
    """Coefficients of states and energies on intervals, and how far they are off between their nodes, in units of the tolerance."""
    low, high = intervals[:, :, None]
    at = np.concatenate([_NODES, _CHECKED])
    z = np.clip((low + high) / 2 + (high - low) / 2 * at, low, high)
    x, energy = (v.reshape(z.shape) for v in solved(z.ravel()))
    states, energies = (_TO_COEFFICIENTS @ v[:, :_POINTS].T for v in (x, energy))
    there = np.broadcast_to(_CHECKED[:, None], (len(_CHECKED), z.shape[0]))
    tested, x, energy = (v[:, _POINTS:].T for v in (z, x, energy))
    with np.errstate(all="ignore"):
        off = np.abs(_series(states[:, None], there) - x) / noise(x) / (unit + np.abs(tested))
        tilted = np.abs(_series(energies[:, None], there) - energy) / (1 + np.abs(energy))
    worst = np.nan_to_num(np.maximum(off, tilted).max(0, initial=0.0), nan=np.inf)
    return states, energies, worst / _TOLERANCE


def _series(coefficients: Array, s: Array) -> Array:
    """Chebyshev's series by Clenshaw's recurrence."""
    last, before = np.zeros(s.shape), np.zeros(s.shape)
    for row in coefficients[:0:-1]:
        last, before = row + 2 * s * last - before, last
    return coefficients[0] + s * last - before
