"""Flows integrated with a clear word where they leave the numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import DOP853, solve_ivp

Array = NDArray[np.float64]

_LEAST_SCALE = 1e-305
_BELOW = 10.0  # times that errors are smaller than their estimates, at least, which are of a lower order; 50 to 3000 on kernels


class _EachToTolerance(DOP853):
    """Steps by the worst of the numbers: a mean square over all of them would let one of a million be a thousand times less exact."""

    def _estimate_error_norm(self, K: Array, h: float, scale: Array) -> float:
        """Of orders 5 and 3 combined as in the method itself, number by number."""
        fifth, third = (np.abs(np.dot(K.T, weights) / scale) for weights in (self.E5, self.E3))
        both = np.hypot(fifth, 0.1 * third)
        each = np.divide(fifth, both, out=np.zeros_like(fifth), where=both > 0) * fifth
        return float(np.abs(h) * np.max(each, initial=0.0) / _BELOW)


def integrate(
    velocity: Callable[[float, Array], Array],
    start: Array,
    t: float,
    tolerance: float,
    scale: Array,
    dense: bool = False,
) -> Any:
    """DOP853 with a clear word where the solution leaves the numbers.

    Parameters
    ----------
    scale : array
        The size of each number, of which its error is a fraction.

    Raises
    ------
    ValueError
        If the kernel explodes before t, or does not start.
    """
    if not np.all(np.isfinite(velocity(0.0, start))):
        raise ValueError("the kernel's flow has no finite velocity at depth 0; scale the inputs")
    with np.errstate(over="ignore", invalid="ignore"):
        solution = solve_ivp(
            velocity,
            (0.0, t),
            start,
            method=_EachToTolerance,
            rtol=tolerance,
            atol=tolerance * np.maximum(scale, _LEAST_SCALE),
            dense_output=dense,
        )
    if not solution.success or not np.all(np.isfinite(solution.y[:, -1])):
        raise ValueError(
            f"the kernel explodes near depth t = {solution.t[-1]:.6g}, before the t = {t:g} asked for; "
            "choose a smaller t, smaller inputs or smaller variances (derivations.kernels.explosion_depth says where)"
        )
    return solution
