"""The law of two states as a distribution: a density on a lattice in coordinates of unit noise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import RectBivariateSpline

from numerics import given
from numerics.fokker_planck.coefficients import Array
from numerics.fokker_planck.coordinate import Coordinate

_LEAST = -690.0  # of a logarithm


@dataclass(frozen=True)
class Chart:
    r"""Coordinates w in which the noise is the unit matrix at the start: :math:`z_i = \int \mathrm{d}x_i/\varphi_i`, and :math:`z = Lw`.

    Parameters
    ----------
    axes : pair of Coordinate
        The Lamperti coordinate of each state along the line through the start.
    root : array, shape (2, 2)
        L, lower triangular.
    """

    axes: tuple[Coordinate, Coordinate]
    root: Array

    def forward(self, x: Array, y: Array) -> tuple[Array, Array]:
        """W at states, which must be inside."""
        z = np.stack([axis.forward(v) - axis.middle for axis, v in zip(self.axes, (x, y), strict=True)])
        u, v = np.tensordot(np.linalg.inv(self.root), z, 1)
        return u, v

    def backward(self, u: Array, v: Array) -> tuple[Array, Array]:
        """States at values of w."""
        z = np.tensordot(self.root, np.stack([u, v]), 1)
        x, y = (
            axis.backward((axis.middle + part).ravel())[0].reshape(part.shape)
            for axis, part in zip(self.axes, z, strict=True)
        )
        return x, y

    def noise(self, x: Array, y: Array) -> tuple[Array, Array]:
        """The scales of the two coordinates at states."""
        one, two = (axis.coefficients.scale(v) for axis, v in zip(self.axes, (x, y), strict=True))
        return one, two

    def holds(self, x: Array, y: Array) -> NDArray[np.bool_]:
        """Which states the coordinates reach."""
        inside = [(v > axis.range[0]) & (v < axis.range[1]) for axis, v in zip(self.axes, (x, y), strict=True)]
        return inside[0] & inside[1]


@dataclass(frozen=True, eq=False)
class PlaneDistribution:
    r"""The law of two states at a time.

    Parameters
    ----------
    chart : Chart
    u, v : array
        The lattice in w.
    density : array, shape (len(u), len(v))
        Per unit of w; its sum times the area of a cell is 1.
    error : float
        Estimated, in L¹.
    steps : int
        Of the finest time grid.
    """

    chart: Chart
    u: Array = field(repr=False)
    v: Array = field(repr=False)
    density: Array = field(repr=False)
    error: float
    steps: int

    @property
    def cells(self) -> int:
        """Points of the lattice."""
        return int(self.density.size)

    @property
    def _weights(self) -> Array:
        return self.density * ((self.u[1] - self.u[0]) * (self.v[1] - self.v[0]))

    @cached_property
    def _states(self) -> tuple[Array, Array]:
        return self.chart.backward(*np.meshgrid(self.u, self.v, indexing="ij"))

    @cached_property
    def _logarithm(self) -> RectBivariateSpline:
        return RectBivariateSpline(self.u, self.v, np.log(np.maximum(self.density, np.exp(_LEAST))))

    def pdf(self, x: ArrayLike, y: ArrayLike) -> Array:
        """The joint density at states, which broadcast; 0 where there is no probability to speak of."""
        x, y = np.broadcast_arrays(np.asarray(x, dtype=float), np.asarray(y, dtype=float))
        values = np.where(np.isnan(x) | np.isnan(y), np.nan, 0.0)
        inside = self.chart.holds(x, y)
        a, b = x[inside], y[inside]
        u, v = self.chart.forward(a, b)
        near = (u >= self.u[0]) & (u <= self.u[-1]) & (v >= self.v[0]) & (v <= self.v[-1])
        found = np.zeros(a.shape)
        one, two = self.chart.noise(a[near], b[near])
        per_state = float(np.linalg.det(self.chart.root)) * one * two
        found[near] = np.exp(self._logarithm(u[near], v[near], grid=False)) / per_state
        values[inside] = found
        return values[()]

    def expectation(self, function: Callable[[Array, Array], ArrayLike]) -> float:
        r""":math:`\mathbb{E} f(X_t, Y_t)`, by the sum over the lattice, which is as good as the function is smooth.

        Parameters
        ----------
        function : callable
            Two arrays to array.
        """
        kept = self._weights > 0
        x, y = self._states
        return float(np.sum(np.asarray(function(x[kept], y[kept]), dtype=float) * self._weights[kept]))

    def mean(self) -> Array:
        """Both means."""
        return np.array([self.expectation(lambda x, y: x), self.expectation(lambda x, y: y)])

    def cov(self) -> Array:
        """The covariance matrix."""
        a, b = self.mean()
        pairs = [(lambda x, y: (x - a) ** 2), (lambda x, y: (x - a) * (y - b)), (lambda x, y: (y - b) ** 2)]
        first, both, second = map(self.expectation, pairs)
        return np.array([[first, both], [both, second]])

    def marginal(self, which: int, points: ArrayLike) -> Array:
        """The density of one state, 0 or 1, at points.

        Parameters
        ----------
        which : int
        points : array_like
        """
        if which not in (0, 1):
            raise ValueError(f"the state must be 0 or 1, got {which!r}")
        other = self._states[1 - which]
        axis = self.chart.axes[1 - which]
        low, high = axis.forward(np.array([other.min(), other.max()]))
        z = np.linspace(low, high, 4 * len(self.u))
        across = axis.backward(z)[0]
        flat = np.asarray(points, dtype=float).ravel()
        grid = (flat[:, None], across[None, :])
        values = self.pdf(*(grid if which == 0 else grid[::-1])) * axis.coefficients.scale(across)
        return (values.sum(1) * (z[1] - z[0])).reshape(np.shape(points))[()]

    @given.checked(size=given.whole, rng=given.optional(given.random_state))
    def rvs(self, size: int, rng: np.random.Generator | int | None = None) -> Array:
        """Samples, shape (size, 2): a point of the lattice by its probability, and uniform in the cell around it.

        Parameters
        ----------
        size : int
        rng : Generator or int, optional
        """
        generator = np.random.default_rng(rng)
        weights = self._weights.ravel()
        where = generator.choice(weights.size, size, p=weights / weights.sum())
        i, j = np.unravel_index(where, self.density.shape)
        shift = generator.random((2, size)) - 0.5
        x, y = self.chart.backward(
            self.u[i] + shift[0] * (self.u[1] - self.u[0]), self.v[j] + shift[1] * (self.v[1] - self.v[0])
        )
        return np.stack([x, y], axis=1)
