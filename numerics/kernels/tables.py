r"""What is made of a neuron, as Chebyshev series in the logarithm of its deviation, octave by octave, with their errors measured.

A Gaussian mean of a fixed function over :math:`N(M, \sigma^2)` is analytic in :math:`\log\sigma`, with kinks too. So neurons of one mean share a
few quadratures at Chebyshev points of each octave of deviations that they visit, at all depths of a flow. Between these points the series is
compared with quadratures of its own before it is used; where it does not meet them, each neuron has its own.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.polynomial import chebyshev
from numpy.typing import NDArray

from numerics.kernels.panels import Panels

Array = NDArray[np.float64]
#: From means and deviations to values, shape (neurons, columns), and the size that they are relative to, shape (neurons,).
Made: TypeAlias = Callable[[Array, Array], tuple[Array, Array]]

_SIZES = (16, 32, 64, 128)
_ERROR = 1e-13  # of the size
_ROUNDED = 1e-11  # so little beside a series that has ended is what rounding leaves, which more terms do not take away
#: Last terms of so many that do not vanish in the most: beside kinks they fall as r^count, so that their squares are those of twice as many. What
#: falls faster has a hundred times this left.
_HOPELESS = {32: 1e-2, 64: 1e-6}
_MOST = 1024  # tables that are kept


class Table(NamedTuple):
    """Series of values by their size, a column each, and of the logarithm of the size by a unit."""

    values: Array
    size: Array
    unit: float


def interpolated(
    panels: Panels, what: str, mean: Array, deviation: Array, made: Made, without: Made | None = None
) -> tuple[Array, Array] | None:
    """Values of neurons by their size, shape (columns, neurons), and their sizes; None where neurons have means of their own.

    Where a series has not thirteen digits, each neuron's are made, or what ``without`` gives.

    Parameters
    ----------
    what : str
        The name that tables are kept under.
    mean, deviation : array, shape (neurons,)
        Of one mean.
    """
    if np.any(mean != mean[0]):
        return None
    place = np.log2(deviation) + 0.5
    octave = octaves(deviation)
    values, sizes = None, np.empty(len(mean))
    for k in np.unique(octave):
        some = octave == k
        every = bool(some.all())
        table = _kept(panels, what, float(mean[0]), float(k), made)
        if table is None:
            each, size = (without or made)(mean[some], deviation[some])
            found = np.divide(each.T, size, out=np.zeros(each.T.shape), where=size > 0)
        else:
            at = chebyshev.chebvander(2 * (place if every else place[some]) - 2 * k - 1, len(table.size) - 1).T
            found, size = table.values.T @ at, table.unit * np.exp(table.size @ at)
        if values is None:
            values = found if every else np.empty((len(found), len(mean)))
        if not every:
            values[:, some] = found
        sizes[some] = size
    assert values is not None
    return values, sizes


def octaves(deviation: Array) -> Array:
    """In which octave each deviation lies, by the logarithm of its middle."""
    found: Array = np.floor(np.log2(deviation) + 0.5)
    return found


def _kept(panels: Panels, what: str, mean: float, octave: float, made: Made) -> Table | None:
    key = (what, mean, octave)
    if key not in panels.tables:
        while len(panels.tables) >= _MOST:
            panels.tables.pop(next(iter(panels.tables)), None)
        panels.tables[key] = _table(mean, octave, made)
    found: Table | None = panels.tables[key]
    return found


def _table(mean: float, octave: float, made: Made) -> Table | None:
    def at(points: Array, unit: float = 0.0) -> tuple[Array, Array, float]:
        with np.errstate(all="ignore"):
            values, size = made(np.full(len(points), mean), 2.0 ** (octave - 0.5 + (points + 1) / 2))
            unit = unit or float(size[-1])
            return values / size[:, None], np.log(size / unit), unit

    try:
        for count in _SIZES:
            points, to_series = chebyshev_points(count)
            values, size, unit = at(points)
            if not (np.all(np.isfinite(values)) and np.all(np.isfinite(size))):
                return None
            table = Table(to_series @ values, to_series @ size, unit)
            last = _last(table)
            if last > _HOPELESS.get(count, np.inf):
                return None
            if last > _ERROR:
                continue
            between = np.concatenate([[-1.0], (points[1:] + points[:-1]) / 2, [1.0]])
            values, size, _ = at(between, unit)
            vander = chebyshev.chebvander(between, count - 1)
            off = max(np.abs(vander @ table.values - values).max(), np.abs(vander @ table.size - size).max())
            if off <= _ERROR:
                return table
            if off <= _ROUNDED:
                return None
    except ValueError:  # beyond what the function can be followed to: the neurons asked for may lie nearer
        return None
    return None


def _last(table: Table) -> float:
    """The size of the last terms."""
    return float(max(np.abs(table.values[-2:]).max(), np.abs(table.size[-2:]).max()))


@cache
def chebyshev_points(count: int) -> tuple[Array, Array]:
    """Chebyshev points, and the matrix from values there to a series."""
    points: Any = chebyshev.chebpts1(count)
    to_series = chebyshev.chebvander(points, count - 1).T * (2.0 / count)
    to_series[0] /= 2
    return points, to_series
