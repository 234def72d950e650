"""States counted from finite ends other than 0, and the coefficients there with all digits of the distance.

A process whose noise vanishes in proportion to the distance from an end comes within :math:`e^{-t}` of it, and doubles beside it are
:math:`10^{-16}` apart; what is computed of them there is rounding, of which no grid converges.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from derivations.diffusion import Diffusion
from numerics.compile.beside import Beside
from numerics.densities.base import Array
from numerics.fokker_planck.charts import Chart, Odds, Shift


@dataclass(frozen=True)
class BesideEnds:
    """A function of states as one of their numbers, with its digits close to ends.

    Parameters
    ----------
    function : callable
        Of numbers of states.
    chart : Shift or Odds
    close : tuple of tuple
        The numbers of ends with the function close to them.
    elsewhere : float
        A number at which the function has a value.
    """

    function: Callable[[Array], Array]
    chart: Chart
    close: tuple[tuple[float, Beside], ...]
    elsewhere: float

    def __call__(self, y: Array) -> Array:
        """At numbers of states."""
        y = np.asarray(y, dtype=float)
        distances = [self.chart.distance(y, end) for end, _ in self.close]
        near = [d < beside.radius for d, (_, beside) in zip(distances, self.close, strict=True)]
        values = np.array(self.function(np.where(np.any(near, axis=0), self.elsewhere, y) if near else y), dtype=float)
        for d, inside, (_, beside) in zip(distances, near, self.close, strict=True):
            values[inside] = beside(d[inside])
        return values


@dataclass(frozen=True)
class Counted:
    """What states are counted by, and what is known of drift and squared noise close to the ends that they are counted from.

    Parameters
    ----------
    chart : Shift or Odds
    drift, variance : tuple of tuple
        Numbers of ends with the function close to them.
    held : tuple of float
        How far from the left and the right end this holds.
    """

    chart: Chart
    drift: tuple[tuple[float, Beside], ...] = ()
    variance: tuple[tuple[float, Beside], ...] = ()
    held: tuple[float, float] = (0.0, 0.0)


def counted_from_ends(process: Diffusion, interval: tuple[Any, Any], places: Sequence[float]) -> Counted | None:
    """From the finite ends at which the noise vanishes or explodes; None if there are none beside 0, or their digits are not known.

    Parameters
    ----------
    process : Diffusion
        Scalar, without parameters.
    interval : tuple of Expr
        On which it moves.
    places : sequence of float
        States at which a formula changes.

    Examples
    --------
    >>> import sympy as sp
    >>> x = sp.Symbol("x", real=True)
    >>> sine = Diffusion((x,), [0], [[sp.sin(x) ** 2]])
    >>> counted_from_ends(sine, (sp.S.Zero, sp.pi), ()).chart
    Odds(left=0.0, right=3.141592653589793)
    """
    ends = [float(end) for end in interval]
    found = [_close(process, interval, k, places) for k in (0, 1)]
    if not any(found):
        return None
    known = [bool(close) or end == 0 for close, end in zip(found, ends, strict=True)]
    chart: Chart = Odds(ends[0], ends[1]) if all(known) else Shift(ends[0] if found[0] else ends[1])
    drift, variance, held = [], [], [0.0, 0.0]
    for k, close in enumerate(found):
        if close is not None and known[k] and (all(known) or (isinstance(chart, Shift) and chart.origin == ends[k])):
            number = np.inf if k and isinstance(chart, Odds) else 0.0
            own, noise = close
            held[k] = min(part.radius for part in close if part is not None)
            variance.append((number, noise))
            drift += [] if own is None else [(number, own)]
    return Counted(chart, tuple(drift), tuple(variance), (held[0], held[1]))


def _close(
    process: Diffusion, interval: tuple[Any, Any], k: int, places: Sequence[float]
) -> tuple[Beside | None, Beside] | None:
    """Drift, None where it is 0, and squared noise close to an end."""
    end, other = float(interval[k]), float(interval[1 - k])
    if not np.isfinite(end) or end == 0:
        return None
    room = min((abs(place - end) for place in (*places, other)), default=np.inf)
    x, side = process.states[0], -1 if k else 1
    drift, variance = (
        Beside.fitted(expr, x, interval[k], side, room) for expr in (process.drift[0], process.covariance[0, 0])
    )
    if variance is None or variance.power == 0 or (drift is None and process.drift[0] != 0):
        return None
    return drift, variance
