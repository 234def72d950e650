"""What to say of a law that lies beside an end where states are not told apart."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from numerics.densities.base import Measure
from numerics.densities.plain import PointMass

_BESIDE = 64  # of the closest states beside an end: coordinates of nearer ones have few digits
_SEEN = 1e-6  # mass there that is said


def crowded(parts: tuple[Measure, ...], closest: Callable[[float], float]) -> str:
    """How much of a law lies nearer to a finite end than states are told apart; empty if next to nothing.

    Parameters
    ----------
    parts : tuple of Measure
    closest : callable
        An end to the distance from it of the closest state that is told apart.
    """
    return "; ".join(said for part in parts if not isinstance(part, PointMass) for said in _beside(part, closest))


def _beside(measure: Measure, closest: Callable[[float], float]) -> Iterator[str]:
    if not measure.mass > 0:
        return
    left, right = measure.support
    for end, inward, mass in ((left, 1, measure.cdf), (right, -1, measure.sf)):
        if np.isfinite(end) and (step := closest(end)) > 0:
            with np.errstate(all="ignore"):
                share = float(mass(np.array([end + inward * _BESIDE * step]))[0])
            if share > _SEEN:
                yield (
                    f"{share:.2g} of the law lies nearer to its end {end:.17g} than doubles resolve: what is asked of single states and "
                    "quantiles there is that of doubles beside the end"
                )
