"""A density as polynomials on panels, for many points at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PPoly

from numerics.densities.base import Array, Function

Flags = NDArray[np.bool_]

#: From so many points on a table is quicker than the density itself.
MANY = 20_000
_DEGREE = 7
_CLOSE = 1e-8  # relative, of the polynomials to the density
_SEEN = 1e-13  # of the largest density: what rounding leaves of it on a grid
_NARROWEST = 1e-35  # a panel whose width has a seventh power in the range of doubles
_HALVINGS, _PANELS = 14, 4000
_NODES = (1 - np.cos((2 * np.arange(_DEGREE + 1) + 1) * np.pi / (2 * _DEGREE + 2))) / 2
_BETWEEN = (1 - np.cos((np.arange(_DEGREE) + 1) * np.pi / (_DEGREE + 1))) / 2
_POWERS = np.arange(_DEGREE, -1, -1)
_TO_POWERS = np.linalg.inv(_NODES[:, None] ** _POWERS)


@dataclass(frozen=True)
class Table:
    r"""A density and its integral on panels: polynomials where these are close to it, the density itself where not.

    The integral is that of the polynomials, so that it increases wherever the density is positive.

    Parameters
    ----------
    density, below : PPoly
        The density, and the probability from the first edge on.
    hard : array of bool
        The panels on which no polynomial is close.
    exact : tuple of callable
        The density and the probability from the first edge on, themselves.

    Examples
    --------
    >>> from scipy.stats import norm
    >>> table = Table.fitted(norm.pdf, norm.cdf, np.array([-6.0, 0.0, 6.0]))
    >>> x = np.linspace(-5, 5, 1001)
    >>> float(abs(table.pdf(x) - norm.pdf(x)).max()) < 1e-8, float(abs(table.cdf(x) - norm.cdf(x)).max()) < 1e-8
    (True, True)
    """

    density: PPoly
    below: PPoly
    hard: Flags
    exact: tuple[Function, Function]

    @classmethod
    def fitted(cls, pdf: Function, cdf: Function, edges: Array) -> Table:
        """With panels between the edges, which are halved until polynomials are close.

        Parameters
        ----------
        pdf, cdf : callable
        edges : array
            Increasing; between them the density is smooth.
        """
        left, right = edges[:-1], edges[1:]
        done: list[tuple[Array, Array, Array, Flags]] = []
        largest, count = 0.0, 0
        for halving in range(_HALVINGS + 1):
            width = right - left
            values = pdf(left[:, None] + width[:, None] * np.concatenate([_NODES, _BETWEEN]))
            fitted, between = values[:, : _DEGREE + 1], values[:, _DEGREE + 1 :]
            largest = max(largest, float(np.max(values, initial=0.0, where=np.isfinite(values))))
            powers = fitted @ _TO_POWERS.T
            off = np.abs(powers @ (_BETWEEN[:, None] ** _POWERS).T - between)
            close = (off <= _CLOSE * np.abs(between) + _SEEN * largest).all(1) & (width > _NARROWEST)
            count += len(left)
            last = halving == _HALVINGS or count > _PANELS
            split = ~close & (not last) & (width > 4 * np.spacing(np.maximum(np.abs(left), np.abs(right))))
            kept = ~split
            done.append((left[kept], right[kept], powers[kept], ~close[kept]))
            middle = (left + right)[split] / 2
            left, right = np.concatenate([left[split], middle]), np.concatenate([middle, right[split]])
            if not len(left):
                break
        starts, ends, powers = (np.concatenate([part[k] for part in done]) for k in range(3))
        hard = np.concatenate([part[3] for part in done])
        order = np.argsort(starts)
        return cls._joined(np.append(starts[order], ends.max()), powers[order], hard[order], (pdf, cdf))

    @classmethod
    def _joined(cls, edges: Array, powers: Array, hard: Flags, exact: tuple[Function, Function]) -> Table:
        width = np.maximum(np.diff(edges), _NARROWEST)[:, None]
        powers = np.where(hard[:, None], 0.0, powers)
        integrals = powers / (_POWERS + 1) * width
        gained = integrals.sum(1)
        if hard.any():
            gained[hard] = exact[1](edges[1:][hard]) - exact[1](edges[:-1][hard])
        start = np.concatenate([[0.0], np.cumsum(gained)[:-1]])
        scaled = np.concatenate([integrals / width ** (_POWERS + 1), start[:, None]], axis=1)
        density = PPoly((powers / width**_POWERS).T, edges, extrapolate=False)
        return cls(density, PPoly(scaled.T, edges, extrapolate=False), hard, exact)

    def pdf(self, x: Array) -> Array:
        """Density; 0 outside the panels."""
        values = np.maximum(self.density(x), 0.0)
        self._replace(values, x, lambda points, k: self.exact[0](points))
        values[np.isnan(values) & ~np.isnan(x)] = 0.0
        return values

    def cdf(self, x: Array) -> Array:
        """Probability up to x, from the first edge on."""
        edges = self.below.x
        values = np.asarray(self.below(np.clip(x, edges[0], edges[-1])))
        self._replace(values, x, self._within)
        return values

    def _within(self, points: Array, k: Array) -> Array:
        edges = self.below.x[k]
        return np.asarray(self.below.c[-1][k] + self.exact[1](points) - self.exact[1](edges))

    def _replace(self, values: Array, x: Array, value: Callable[[Array, Array], Array]) -> None:
        """On the hard panels, by what is not tabulated."""
        edges = self.below.x
        for k in np.flatnonzero(self.hard):
            here = (x >= edges[k]) & (x < edges[k + 1])
            if here.any():
                values[here] = value(x[here], np.full(int(here.sum()), k))
