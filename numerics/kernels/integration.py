"""Flows integrated with a clear word where they leave the numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import solve_ivp

Array = NDArray[np.float64]

_LEAST_SCALE = 1e-305


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
            method="DOP853",
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
