r"""Points at which the noise vanishes, explodes or jumps, and the digits of the noise beside them.

Beside a zero c of the noise at which :math:`1/\varphi^2` is integrable a grid has points much closer to c than doubles near c are to each
other, unless c = 0. So states are counted from the steepest zero, and the noise at a distance d from it is that at a double nearby,
times the power of the quotient of the distances that the noise follows there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from derivations.piecewise import Point
from numerics.densities.base import Array
from numerics.fokker_planck.charts import Chart, Shift
from numerics.fokker_planck.coefficients import Crossing

_STEEPEST = 0.47  # exponent of the noise at a zero that is crossed
_STEEPEST_OF_OTHERS = 0.35  # at other zeros than the origin, where distances are rounded
_EPSILON = float(np.finfo(float).eps)
_ROUNDED = 2.0**26  # in units of the last place: from here on distances have half of their digits
_NEAR = 2.0**14  # times that: further away rounding does not matter
_PURE = 1e-3  # by which the local exponent may differ from its limit, close to the zero


def crossing(point: Point) -> Crossing:
    """A zero, pole or jump of the squared noise, whose orders are known there.

    Raises
    ------
    ValueError
        If the exponent of the noise is too close to ½.
    """
    below, above = (float(order) / 2 for order in point.orders if order is not None)
    if max(below, above) > _STEEPEST:
        raise ValueError(
            f"the noise vanishes like |x - c|^q with q = {max(below, above):.4g} at c = {float(point):.6g}: so close to 1/2 most of "
            "the time beside c is spent closer to it than doubles resolve; simulate instead"
        )
    return Crossing(float(point), (below, above))


_APART = 2.0 ** -np.arange(14.0, 24.0)  # distances at which the growth of a coefficient is looked at
_LIPSCHITZ = 0.95  # local exponent up to which a coefficient has a cusp
_SEEN = 1e-12  # share of a coefficient by which it must change


def is_cusp(functions: Sequence[Callable[[Array], Array]], place: float) -> bool:
    """Whether a coefficient grows from a point like a power below 1 of the distance, or like a logarithm.

    Examples
    --------
    >>> is_cusp([lambda x: 1 + np.abs(x) ** 0.25], 0.0), is_cusp([lambda x: np.log(np.abs(x))], 0.0)
    (True, True)
    >>> is_cusp([lambda x: 1 + np.abs(x)], 0.0), is_cusp([lambda x: np.where(x > 0, 1.0, 4.0)], 0.0)
    (False, False)
    """
    steps = _APART * max(1.0, abs(place))
    for function in functions:
        for sign in (-1, 1):
            with np.errstate(all="ignore"):
                values = np.asarray(function(place + sign * steps), dtype=float)
                grown = np.abs(np.diff(values))
                exponents = np.log2(grown[:-1] / grown[1:])
            if (grown > _SEEN * np.abs(values).max()).all() and np.median(exponents) < _LIPSCHITZ:
                return True
    return False


def with_cusps(
    crossed: Sequence[Crossing], kinks: Sequence[float], functions: Sequence[Callable[[Array], Array]]
) -> list[Crossing]:
    """The crossings, of which jumps may be cusps, too, with those of the kinks that are cusps."""
    marked = [replace(c, is_cusp=c.is_jump and is_cusp(functions, c.place)) for c in crossed]
    places = {c.place for c in crossed}
    return marked + [Crossing(k, (0.0, 0.0), True) for k in kinks if k not in places and is_cusp(functions, k)]


def origin_of(crossings: Sequence[Crossing], start: float) -> float:
    r"""The steepest zero that is crossed, of equal ones the nearest, from which states are counted; 0 if there is none.

    Beside a zero c with :math:`\varphi \sim |x - c|^q` the time spent within a distance d is like :math:`d^{1 - 2q}`. Counted from another
    zero a state has the rounding :math:`\varepsilon = 2\cdot10^{-16}`, within which that is 2e-5 of the time for q = 0.35 and
    0.03 for q = 0.45. So one zero may be steep, from which states are counted without rounding, and others only up to 0.35.

    Raises
    ------
    ValueError
        If there are two steep ones.
    """
    steep = sorted((-max(c.orders), abs(c.place - start), c.place) for c in crossings if max(c.orders) > 0)
    if len(steep) > 1 and -steep[1][0] > _STEEPEST_OF_OTHERS:
        (first, _, place), (second, _, other) = steep[:2]
        raise ValueError(
            f"the noise vanishes like |x - c|^q with q = {-first:.4g} at c = {place:.6g} and q = {-second:.4g} at c = {other:.6g}: beside "
            f"the second the share of time within a rounding ε of a state, ε^(1 - 2q), is {_EPSILON ** (1 + 2 * steep[1][0]):.2g}, and "
            "states are counted from the first zero, so that doubles do not tell it from the second; at most one may have "
            f"q > {_STEEPEST_OF_OTHERS}: simulate instead"
        )
    return steep[0][2] if steep else 0.0


@dataclass(frozen=True)
class Resolved:
    """The squared noise as a function of the numbers of a chart, with its digits beside each crossing; where there are zeros, a shift.

    At ``changes``, states at which a formula changes, it is that from the right: a value at one point does not matter.

    Raises
    ------
    ValueError
        If the noise is no power of the distance there, as with a logarithm.

    Examples
    --------
    >>> a = Resolved(lambda x: np.abs(x - 1.0) ** 0.8, Shift(1.0), (Crossing(1.0, (0.4, 0.4)),))
    >>> float(a(np.array([1e-40]))[0] / 1e-32)
    1.0
    """

    variance: Callable[[Array], Array]
    chart: Chart
    crossings: tuple[Crossing, ...]
    changes: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        for c in self._steep:
            _refuse_logarithms(self.variance, c)

    @property
    def _steep(self) -> list[Crossing]:
        return [c for c in self.crossings if not c.is_jump]

    def __call__(self, y: Array) -> Array:
        """At numbers of states."""
        y = np.asarray(y, dtype=float)
        x, factor = np.asarray(self.chart.state(y)), np.ones(y.shape)
        if self.changes:
            x = np.where(np.isin(x, self.changes), np.nextafter(x, np.inf), x)
        for c in self._steep:
            if self.chart == Shift() and c.place == 0.0:
                continue
            away = y - self.chart.number(np.array(c.place))
            least = _ROUNDED * np.spacing(abs(c.place))
            near = np.abs(away) < _NEAR * least
            to = c.place + np.copysign(np.maximum(np.abs(away[near]), least), away[near])
            orders = np.where(away[near] < 0, 2 * c.orders[0], 2 * c.orders[1])
            x[near] = to
            with np.errstate(divide="ignore"):
                factor[near] = np.abs(away[near] / (to - c.place)) ** orders
        return np.asarray(self.variance(x)) * factor


def _refuse_logarithms(variance: Callable[[Array], Array], c: Crossing) -> None:
    """The noise twice as far from the zero must be as much larger as its exponent says, on both sides."""
    least = _ROUNDED * np.spacing(abs(c.place)) if c.place else 1e-30
    for order, sign in zip(c.orders, (-1, 1), strict=True):
        near, far = np.asarray(variance(c.place + sign * least * np.array([1.0, 2.0])))
        if not abs(np.log2(far / near) - 2 * order) < _PURE:
            raise ValueError(
                f"the squared noise is no power of the distance close to x = {c.place:.6g}, where it vanishes or explodes; simulate instead"
            )
