"""Kernels whose means come from points: those of two independent sets must agree to the tolerance that was asked for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def largest_difference(found: Sequence[Array], other: Sequence[Array]) -> float:
    """Of two sets of matrices, relative to the largest entry of each."""
    return max(
        (float(np.max(np.abs(a - b)) / np.max(np.abs(a))) for a, b in zip(found, other, strict=True) if a.any()),
        default=0.0,
    )


def require_agreement(off: float, tolerance: float, of: str, margin: float = 1.0) -> None:
    """Require that two sets of points, which differ by so much of the largest entry, agree to the tolerance.

    Parameters
    ----------
    off : float
    tolerance : float
    of : str
        What the means are over.
    margin : float
        By how much the difference may fall on the way.

    Raises
    ------
    ValueError
        If they do not.
    """
    if off > 2 * margin * tolerance:
        raise ValueError(
            f"means over {of} are known to about {off / 2:.0e} of the largest entry here, less "
            f"than tolerance={tolerance:g} asks for; give a tolerance of that size, such as {10 ** np.ceil(np.log10(off)):g}"
        )
