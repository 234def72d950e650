r"""The semigroup :math:`e^{tQ}` of a birth–death chain, applied to a vector: at once by a contour integral, or in steps.

Rates of a birth–death chain are reversible, so the eigenvalues of Q are real and at most 0, and on any contour around them

.. math:: e^{tQ} p = \frac{1}{2\pi i}\int e^{z} (z - tQ)^{-1} p\,\mathrm{d}z .

On Talbot's contour, with the constants of Weideman (*SIAM J. Numer. Anal.* 44, 2006), the midpoint rule with N nodes is off by about
:math:`3.9^{-N}`; each node is one tridiagonal system, and stiffness costs nothing. Where the drift carries the process over many
standard deviations, resolvents are large in total variation far from the eigenvalues, and rounding with them: there the time is
stepped, by Padé's (2, 3) approximant, whose poles stay away from there.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.lapack import dgtsv, zgtsv

Array = NDArray[np.float64]

_POINTS = 24  # 3.9⁻²⁴ = 7e-15
_FAST = 1e8  # jumps in the time, from which on their rounding is seen


def _contour(points: int) -> tuple[NDArray[np.complex128], NDArray[np.complex128]]:
    r"""Nodes z in the upper half-plane and weights :math:`e^z z'(\theta)/(iN)`, doubled for their conjugates."""
    theta = (2 * np.arange(points // 2) + 1) * np.pi / points
    angle = 0.6407 * theta
    z = points * (0.5017 * theta / np.tan(angle) - 0.6122 + 0.2645j * theta)
    slope = points * (0.5017 / np.tan(angle) - 0.5017 * angle / np.sin(angle) ** 2 + 0.2645j)
    return z, 2 * np.exp(z) * slope / (1j * points)


_NODES, _WEIGHTS = _contour(_POINTS)


def propagated(up: Array, down: Array, start: Array, time: float) -> Array:
    """Probabilities after a time; ``nan`` where resolvents leave the range of doubles, which those of shorter times may not.

    Parameters
    ----------
    up, down : array
        Rates of jumps to the next and to the last state.
    start : array
        Probabilities at time 0.
    time : float

    Examples
    --------
    >>> up, down = np.array([2.0, 0.0]), np.array([0.0, 1.0])  # two states: P(second) = 2/3 (1 − e^{−3t})
    >>> float(propagated(up, down, np.array([1.0, 0.0]), 0.5)[1]), 2 / 3 * (1 - float(np.exp(-1.5)))
    (0.51791..., 0.51791...)
    """
    above, below = -time * down[1:].astype(complex), -time * up[:-1].astype(complex)
    fast = time * float(np.max(up + down)) > _FAST
    total = np.zeros(len(start))
    for node, weight in zip(_NODES, _WEIGHTS, strict=True):
        diagonal = node + time * (up + down)
        *_, solved, failed = zgtsv(below, diagonal, above, start.astype(complex))
        if failed or not np.isfinite(solved).all():
            return np.full(len(start), np.nan)
        if fast:  # rounding of the diagonal loses probability, which the residual by fluxes sees
            flux = np.concatenate([[0.0], above * solved[1:] - below * solved[:-1], [0.0]])
            solved = solved + zgtsv(below, diagonal, above, start - node * solved - np.diff(flux))[3]
        total += (weight * solved).real
    return total


#: Padé's (2, 3) approximant of the exponential, Radau IIA's: order 5, L-stable; as Σ c/(z − r) over its poles.
_POLES = np.roots([-1 / 60, 3 / 20, -3 / 5, 1.0])
_POLES = _POLES[_POLES.imag > -1e-9]
_RESIDUES = [(1 + 2 * r / 5 + r * r / 20) / (-3 * r * r / 60 + 6 * r / 20 - 3 / 5) for r in _POLES]
_ORDER = 5


def stepped(up: Array, down: Array, p: Array, time: float, tolerance: float, step: float) -> Array:
    """Probabilities after a time, in steps.

    A step is taken at once and in two halves; their distance in total variation decides the next step.

    Parameters
    ----------
    up, down, p : array
        As for :func:`propagated`.
    time : float
    tolerance : float
        Bound on the error in total variation over the whole time.
    step : float
        The first one.
    """
    done = 0.0
    while time - done > 1e-14 * time:
        step = min(step, time - done)
        once = _step(up, down, p, step)
        twice = _step(up, down, _step(up, down, p, step / 2), step / 2)
        off = 0.5 * float(np.abs(once - twice).sum())
        allowed = tolerance * max(step / time, 0.02)
        if off <= allowed:
            p, done = twice, done + step
        elif not np.isfinite(off) or step < 1e-13 * time:
            raise ValueError(
                f"the steps in time became smaller than {step:.1g}: the coefficients are too steep for this grid; "
                "restrict the domain, or raise tol"
            )
        step *= float(np.clip(0.9 * (allowed / max(off, 1e-300)) ** (1 / (_ORDER + 1)), 0.2, 4.0))
    return p


def _step(up: Array, down: Array, p: Array, duration: float) -> Array:
    above, below, diagonal = duration * down[1:], duration * up[:-1], -duration * (up + down)
    total = np.zeros(len(up))
    for pole, residue in zip(_POLES, _RESIDUES, strict=True):
        if abs(pole.imag) < 1e-9:
            total += residue.real * dgtsv(below, diagonal - pole.real, above, p)[3]
        else:  # poles come in conjugate pairs
            total += 2 * (residue * zgtsv(below, diagonal - pole, above, p)[3]).real
    return total * (p.sum() / total.sum())
