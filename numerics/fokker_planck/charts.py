r"""The numbers by which states are told apart on a grid.

Doubles are close to each other beside 0 and nowhere else. Where a process comes close to an end of its interval, or to a zero of its
noise, states are counted from there; where it comes close to both ends l and r, by :math:`(x - l)/(r - x)`, which tells states apart
beside both of them. The Lamperti coordinate is the same whatever states are counted by.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Shift:
    """States counted from an origin.

    Parameters
    ----------
    origin : float
    """

    origin: float = 0.0

    def state(self, y: Array) -> Array:
        """The state, a double."""
        return self.origin + y

    def number(self, x: Array) -> Array:
        """What a state is counted as."""
        return np.asarray(x - self.origin)

    def stretch(self, y: Array) -> Array:
        """The derivative of the state by its number."""
        return np.ones(np.shape(y))

    def distance(self, y: Array, end: float) -> Array:
        """Of states from the end whose number is given, with the digits that there are."""
        return np.abs(y - end)


@dataclass(frozen=True)
class Odds:
    """States between two ends, counted by the quotient of their distances from them.

    Parameters
    ----------
    left, right : float

    Examples
    --------
    >>> chart = Odds(1.0, 3.0)
    >>> y = np.array([1e-30, 1.0, 1e30])
    >>> chart.state(y), chart.distance(y, np.inf)
    (array([1., 2., 3.]), array([2.e+00, 1.e+00, 2.e-30]))
    """

    left: float
    right: float

    @property
    def _width(self) -> float:
        return self.right - self.left

    def state(self, y: Array) -> Array:
        """The state, a double, from the nearer end."""
        with np.errstate(invalid="ignore"):
            return np.asarray(np.where(y < 1, self.left + self.distance(y, 0.0), self.right - self.distance(y, np.inf)))

    def number(self, x: Array) -> Array:
        """What a state is counted as."""
        with np.errstate(divide="ignore"):
            return np.asarray(np.divide(np.asarray(x) - self.left, self.right - np.asarray(x)))

    def stretch(self, y: Array) -> Array:
        """The derivative of the state by its number."""
        return np.asarray(self._width / (1 + y) / (1 + y))

    def distance(self, y: Array, end: float) -> Array:
        """Of states from the end whose number is given, 0 or infinity."""
        if end == 0:
            with np.errstate(divide="ignore"):
                return np.asarray(self._width / (1 + 1 / np.asarray(y, dtype=float)))
        return np.asarray(self._width / (1 + y))


Chart = Shift | Odds


@dataclass(frozen=True)
class OnChart:
    """A function of states as one of their numbers.

    Examples
    --------
    >>> float(OnChart(np.square, Shift(2.0))(np.array(1.0)))
    9.0
    """

    function: Callable[[Array], Array]
    chart: Chart

    def __call__(self, y: Array) -> Array:
        """At numbers of states."""
        return np.asarray(self.function(self.chart.state(y)))
