r"""Gaussian means of an activation, for arrays of neurons and of pairs of them.

Closed forms are compiled, and used where they agree with the integrals at the neurons asked for. Where there is none, a mean is an
integral over panels on which polynomials follow the function (``panels``), and a mean over a pair its series in the correlation,
:math:`\mathbb{E} f(U) f(V) = \sum_n f_n(U) f_n(V)\,\rho^n` with normalised Hermite coefficients, which needs one quadrature per
neuron instead of one per pair (``series``), and that quadrature is shared by neurons of one mean (``tables``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.polynomial import chebyshev
from numpy.typing import NDArray

from derivations.activations import Activation
from derivations.kernels.means import MEAN, PAIR, VARIANCE, means_of
from numerics.compile import CompiledFunction, compile_expression
from numerics.kernels.conditioning import Pair, pair_means
from numerics.kernels.panels import Panels, panels_of
from numerics.kernels.series import TOLERANCE, Side, block_means, listed_means
from numerics.kernels.tables import chebyshev_points, interpolated

Array = NDArray[np.float64]
#: From a block of correlated pairs, (rows, columns, covariances), to the mean of the product.
PairMean = Callable[[slice, slice, Array], Array]

#: The largest correlation that closed forms see: at 1 itself rounding would take roots of negative numbers.
BELOW_ONE = 1.0 - 2.0**-51
#: The least variance that they see: at 0 itself they divide 0 by 0.
LEAST = 1e-150
#: How far a closed form may be from the integral before rounding has spoilt it.
_SPOILT = 1e-11
#: Terms of a series in the correlation beyond which one in its angle is shorter, and at how many angles that is taken.
_LONG, _ANGLES = 60, (64, 128, 256)
#: Pairs that are integrated one by one: fewer than the series has angles, and mostly far from the correlation 1 that it reaches.
_SINGLE = 8


def stretched(variance: Array) -> Array:
    """By what deviations below the least one are multiplied to be it; a neuron without one has the correlation 0 with all others."""
    return np.sqrt(np.divide(LEAST, variance, out=np.zeros_like(variance), where=variance > 0).clip(1.0)) * (
        variance > 0
    )


@dataclass(frozen=True)
class CompiledMeans:
    """The means of one function; make it with :func:`compile_means`.

    Parameters
    ----------
    panels : Panels
    closed_first, closed_square : callable, optional
        From mean and variance.
    closed_centred : callable, optional
        From the variance of a centred neuron to E f².
    closed_product : callable, optional
        From both variances and the covariance of a centred pair.
    inside : callable, optional
        As ``closed_first``, for the integrals of single pairs.
    """

    panels: Panels
    closed_first: Callable[..., Array] | None = None
    closed_square: Callable[..., Array] | None = None
    closed_centred: Callable[..., Array] | None = None
    closed_product: CompiledFunction | None = None
    inside: Callable[..., Array] | None = None
    tolerance: float = TOLERANCE

    @property
    def function(self) -> Callable[[Array], Array]:
        """The function itself."""
        return self.panels.function

    @property
    def bare(self) -> CompiledMeans:
        """Without closed forms."""
        return CompiledMeans(self.panels, tolerance=self.tolerance)

    @cached_property
    def order(self) -> float:
        """The power of the distance with which the function starts at 0; where it vanishes on both sides, infinite."""
        near = np.array([[-1.0], [1.0]]) * np.sqrt(LEAST) * np.array([1.0, 2.0])
        with np.errstate(all="ignore"):
            size = np.log2(np.abs(self.function(near)))
        size = size[np.isfinite(size).all(axis=1)]
        found = np.min(size[:, 1] - size[:, 0], initial=np.inf)
        return float(found)

    def shrunk(self, mean: Array, variance: Array) -> Array:
        """What is left of the function's size at neurons whose variance is below the least one that means are taken at."""
        if variance.min() >= LEAST:
            return np.ones_like(variance)
        left = np.where(mean == 0.0, np.minimum(variance / LEAST, 1.0), 1.0)
        return left ** (self.order / 2) if np.any(left < 1.0) else np.ones_like(left)

    def first(self, mean: Array, variance: Array) -> Array:
        """E f of each neuron."""
        return self.shrunk(mean, variance) * self._first(mean, variance)

    def square(self, mean: Array, variance: Array) -> Array:
        """E f² of each neuron."""
        return self.shrunk(mean, variance) ** 2 * self._square(mean, variance)

    def pairs(self, mean: Array, variance: Array) -> PairMean:
        """The means of products, for pairs of the given neurons."""
        if variance.min() >= LEAST:
            return self._pairs(mean, variance)
        size, stretch = self.shrunk(mean, variance), stretched(variance)
        whole = self._pairs(mean, np.maximum(variance, LEAST))

        def product(rows: slice, columns: slice, covariance: Array) -> Array:
            found = whole(rows, columns, covariance * stretch[rows, None] * stretch[columns])
            return found * size[rows, None] * size[columns]

        return product

    def _first(self, mean: Array, variance: Array) -> Array:
        if self.closed_first is not None:
            return self.closed_first(mean, np.maximum(variance, LEAST))
        return self._integrated(mean, variance, 1)

    def _square(self, mean: Array, variance: Array) -> Array:
        if self.closed_centred is not None and not mean.any():
            return self.closed_centred(np.maximum(variance, LEAST))
        if self.closed_square is not None:
            return self.closed_square(mean, np.maximum(variance, LEAST))
        return self._integrated(mean, variance, 2)

    def _pairs(self, mean: Array, variance: Array) -> PairMean:
        if self.closed_product is not None and not mean.any():
            variance = np.maximum(variance, LEAST)  # an input of norm 0 has the correlation 0 with all others
            closed, deviation = self.closed_product, np.sqrt(variance)
            squares = self.square(mean, variance) if self.panels.corners else variance

            def product(rows: slice, columns: slice, covariance: Array) -> Array:
                most = deviation[rows, None] * deviation[columns]
                limit = most * BELOW_ONE
                inside = np.clip(covariance, -limit, limit)
                found = closed(variance[rows, None], inside, variance[columns])
                if not self.panels.corners:
                    return found
                on_line = np.abs(covariance) >= limit
                if on_line.any():  # with a kink the formula bends like a root at correlation 1
                    found = np.broadcast_to(found, on_line.shape).copy()
                    alike = np.abs(deviation[rows, None] - deviation[columns]) <= 1e-14 * deviation[rows, None]
                    alike &= on_line & (covariance > 0)
                    found[alike] = np.broadcast_to(squares[rows, None], alike.shape)[alike]
                    on_line &= ~alike
                    found[on_line] = self._one_by_one(mean, deviation, rows, columns, np.sign(covariance), on_line)
                return found

            return product
        return self._series(mean, variance)

    def trusted(self, variance: Array) -> CompiledMeans:
        """Without the closed forms that rounding spoils at the least or largest of the variances of centred neurons."""
        ends = np.maximum(np.array([variance.min(), variance.max()]), LEAST)
        none, kept = np.zeros(2), self
        bare = self.bare
        if replace(self, inside=None) == bare:
            return self
        try:
            square = bare.square(none, ends)
        except ValueError:
            return self  # no integral to compare with
        size = np.sqrt(square)

        def spoilt(closed: Array, integral: Array, scale: Array) -> bool:
            return not bool(np.all(np.abs(closed - integral) <= _SPOILT * scale))

        with np.errstate(all="ignore"):
            if self.closed_first is not None and spoilt(self.first(none, ends), bare.first(none, ends), size):
                kept = replace(kept, closed_first=None)
            if (
                self.panels.corners
                and self.closed_product is not None
                and spoilt(self.square(none, ends), square, square)
            ):
                kept = replace(kept, closed_centred=None, closed_square=None)
            if self.closed_product is not None:
                half = np.sqrt(np.outer(ends, ends)) / 2
                found = [m.pairs(none, ends)(slice(None), slice(None), half) for m in (self, bare)]
                if spoilt(found[0], found[1], np.outer(size, size)):
                    kept = replace(kept, closed_product=None)
        return kept

    def _integrated(self, mean: Array, variance: Array, power: int) -> Array:
        deviation = self.panels.widened(mean, np.sqrt(np.maximum(variance, LEAST)))

        def integrated(mean: Array, deviation: Array) -> Array:
            nodes = self.panels.nodes(mean, deviation, self.panels.reach(mean, deviation))
            return nodes.mean(nodes.value**power, len(mean))

        def with_size(mean: Array, deviation: Array) -> tuple[Array, Array]:
            nodes = self.panels.nodes(mean, deviation, self.panels.reach(mean, deviation))
            size = nodes.mean(nodes.value**2, len(mean))
            return nodes.mean(nodes.value, len(mean))[:, None], np.sqrt(size)

        found: Array
        has_square = all(corner.exponent > -0.5 for corner in self.panels.corners)
        if has_square and np.any(deviation != deviation[0]):
            table = interpolated(self.panels, "mean", mean, deviation, with_size)
            if table is not None:
                return table[0][0] * table[1] if power == 1 else table[1] ** 2
        found, owner = self.panels.for_few(f"mean {power}", mean, deviation, integrated)
        return found if owner is None else found[owner]

    def _series(self, mean: Array, variance: Array) -> PairMean:
        deviation = np.sqrt(np.maximum(variance, LEAST))
        side = Side.of(self.panels, mean, deviation)
        long = side.found.alike and side.found.last(side.found) > _LONG
        inside = self._inside(deviation)

        def looked_up(covariance: Array) -> Array | None:
            """A block from the series in the angle, which takes as many integrals as a block of some size."""
            many = long and covariance.size > _SINGLE
            series = self._of_angles(side, mean[:1], deviation[:1]) if many else None
            if series is None:
                return None
            angle = np.arccos(np.clip(covariance / deviation[0] ** 2, -1.0, 1.0))
            return np.asarray(chebyshev.chebval(angle * (2 / np.pi) - 1, series))

        def product(rows: slice, columns: slice, covariance: Array) -> Array:
            found = looked_up(covariance)
            if found is not None:
                return found
            most = deviation[rows, None] * deviation[columns]
            rho = np.clip(covariance / most, -1.0, 1.0)
            every = np.arange(len(variance))
            diagonal = every[rows][:, None] == every[columns]  # which is not taken from here
            return block_means(side, side, rows, columns, rho, diagonal, inside)

        return product

    def _of_angles(self, side: Side, mean: Array, deviation: Array) -> Array | None:
        """The pair mean of neurons that are all alike, as a Chebyshev series in the angle of their correlation: shorter than that of a kink."""
        kept, key = self.panels.kept, b"angles" + mean.tobytes() + deviation.tobytes()
        if key not in kept:
            every = (self._angles(side, deviation, size) for size in _ANGLES)
            kept[key] = next((series for series in every if series is not None), None)
        series: Array | None = kept[key]
        return series

    def _angles(self, side: Side, deviation: Array, size: int) -> Array | None:
        points, to_series = chebyshev_points(size)
        rho, alike = np.cos((points + 1) * (np.pi / 2)), np.zeros(size, dtype=np.intp)
        values = listed_means(side, side, alike, alike, rho, self._inside(deviation))
        series = to_series @ values
        scale = float(side.found.scale[0])
        large = np.flatnonzero(np.abs(series) > self.tolerance / 100 * scale)
        if np.abs(series[-4:]).max() > self.tolerance / 10 * scale:
            return None
        return np.asarray(series[: large[-1] + 1] if len(large) else series[:1], dtype=float)

    def _one_by_one(
        self, mean: Array, deviation: Array, rows: slice, columns: slice, rho: Array, some: NDArray[np.bool_]
    ) -> Array:
        """The means of some pairs of a block, each by an integral of its own."""
        every = np.arange(len(mean))
        i, j = np.nonzero(some)
        i, j = every[rows][i], every[columns][j]
        pair = Pair(mean[i], deviation[i], mean[j], deviation[j], rho[some])
        return pair_means(self.panels, self.panels, pair, self._inside(deviation))

    def _inside(self, deviation: Array) -> Callable[..., Array] | None:
        """The closed mean of one neuron, where rounding does not spoil it."""
        known = replace(self.bare, closed_first=self.inside)
        return known.trusted(np.array([deviation.min() ** 2, deviation.max() ** 2])).closed_first


@lru_cache(maxsize=64)
def compile_means(function: Activation) -> CompiledMeans:
    """Compile what is closed; the rest stays numerical."""
    means = means_of(function)
    panels, product = panels_of(function), means.product
    inside = None if means.first is None else _when_called((MEAN, VARIANCE), means.first)
    if product is None:  # the rest is asked for beside it only
        return CompiledMeans(panels, inside=inside)
    centred = means.centred_square
    return CompiledMeans(
        panels,
        closed_square=None if means.square is None else _when_called((MEAN, VARIANCE), means.square),
        closed_centred=None if centred is None else _when_called((VARIANCE,), centred),
        closed_product=compile_expression(PAIR, product),
        inside=inside,
    )


def _when_called(arguments: tuple[Any, ...], expression: Any) -> Callable[..., Array]:
    """Compiled at the first call: few flows need it."""
    compiled = cache(lambda: compile_expression(arguments, expression))

    def evaluated(*values: Array) -> Array:
        found: Array = compiled()(*values)
        return found

    return evaluated
