r"""The forward equation as a birth–death chain on a grid, and its law after a time.

With the densities of scale s and speed m, the flux of probability is :math:`J = -\partial g/\partial S` for
:math:`p = m g`. Between neighbouring nodes g is taken linear in S, the exponential fitting of Scharfetter and
Gummel, and :math:`P_i = M_i g_i` is the probability of cell i, so

.. math:: \dot P_i = J_{i-1/2} - J_{i+1/2}, \qquad J_{i+1/2} = \frac{P_i/M_i - P_{i+1}/M_{i+1}}{S_{i+1} - S_i} .

That is the forward equation of a continuous-time Markov chain that jumps to neighbours with positive rates: probability is
conserved and stays positive, and m is stationary, on every grid. In the Lamperti coordinate
:math:`\mathrm{d}S = e^{-E}\varphi\,\mathrm{d}z` and :math:`m\,\mathrm{d}x = 2 e^{E}/\varphi\,\mathrm{d}z`; both are
integrated by Gauss's rule, so that ends at which one of them is singular cost nothing. Second order in the width of the cells is what remains.

A start in a point is all probability in one node. The chain's even cumulants are off by terms of relative order
:math:`h^2/t` and nothing else, so that the order stays two for every t > 0 although the start is no function.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike
from scipy.interpolate import PchipInterpolator

from numerics.fokker_planck.coefficients import Array
from numerics.fokker_planck.coordinate import CUSP, Coordinate, rule
from numerics.fokker_planck.semigroup import propagated, stepped

_HALVINGS = 5  # of the time that is taken at once
_ROUNDING = 1e-12  # of a sum over states
_APART = 3.0  # cells at least between the start, ends and crossings
_CLOSEST = 1e-8  # of these, as a share of the grid
_GROWTH = 0.15  # by which cells grow from one to the next, away from places that are close to each other
_STEEP = 4.0  # change of log m over half a cell
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(5)


@dataclass(frozen=True)
class Grid:
    r"""Cells in the Lamperti coordinate, the start a node and both ends faces.

    They are equal cells under a smooth map :math:`z = h\xi + c\xi^2`; with knots, such as crossings, which are faces, too, under a
    monotone piecewise cubic one. Refining cuts each cell in three, so that nodes stay nodes and faces stay faces.

    Parameters
    ----------
    left, right : float
        z at the ends.
    before, after : int
        Cells left and right of the start's own on the coarsest grid.
    level : int
        How many times each cell was cut in three.
    knots : tuple of tuple
        z at faces of the coarsest grid, and how many of its cells from the start's middle they are, a half-integer.
    middle : float
        z at the start; 0 where there are no knots.
    """

    left: float
    right: float
    before: int
    after: int
    level: int = 0
    knots: tuple[tuple[float, float], ...] = ()
    middle: float = 0.0

    @cached_property
    def _map(self) -> tuple[float, float, float, float]:
        a, b = self.before + 0.5, self.after + 0.5
        left, right = self.left - self.middle, self.right - self.middle
        c = (left / a + right / b) / (a + b)
        return right / b - c * b, c, a, b

    @classmethod
    def of(
        cls,
        left: float,
        right: float,
        cells: int,
        crossings: Sequence[tuple[float, tuple[float, float]]] = (),
        middle: float = 0.0,
    ) -> Grid:
        """About so many cells, smaller where the start, an end or a crossing are close to each other."""
        width, least = (right - left) / cells, _CLOSEST * (right - left)
        # at a jump the start is its own place
        faces = sorted(z for z, powers in crossings if left < z < right and (any(powers) or abs(z - middle) > least))
        places = np.array(sorted([left, *faces, middle, right]))
        gaps = np.diff(places)
        if not gaps.min() > least:  # both may be 0 where the start's own rounding is more than its noise
            k = int(np.argmin(gaps))
            raise ValueError(
                f"the start, the ends of the interval and the points at which the noise jumps or vanishes come too close: {gaps[k]:.2g} of "
                f"{right - left:.2g} in the Lamperti coordinate; start farther away, or at that point"
            )
        if not faces and _APART * gaps.min() >= width:
            needed = int(max(cells, np.ceil(_APART * (right - left) / gaps.min())))
            width = (right - left) / needed
            before, after = (max(1, round(side / width - 0.5)) for side in (middle - left, right - middle))
            return cls(left, right, before, after, 0, (), middle)
        knots = graded(places, middle, width)
        before, after = (round(abs(knots[k][1]) - 0.5) for k in (0, -1))
        return cls(left, right, before, after, 0, tuple(knots[1:-1]), middle)

    def refined(self) -> Grid:
        """Each cell cut in three."""
        return replace(self, level=self.level + 1)

    @property
    def size(self) -> int:
        """Number of cells."""
        return int((self.before + self.after + 1) * 3**self.level)

    def _at(self, offset: float, count: int) -> tuple[Array, Array]:
        """Points z and the width of a cell there, at ``count`` points that begin ``offset`` cells from the left end."""
        h, c, a, _ = self._map
        xi = -a + (np.arange(count) + offset) / 3**self.level
        if self.knots:
            map_ = self._monotone
            return map_(xi), map_(xi, 1) / 3**self.level
        return self.middle + h * xi + c * xi**2, (h + 2 * c * xi) / 3**self.level

    @cached_property
    def _monotone(self) -> PchipInterpolator:
        _, _, a, b = self._map
        knots = sorted([(-a, self.left), (0.0, self.middle), (b, self.right), *((face, z) for z, face in self.knots)])
        return PchipInterpolator(*zip(*knots, strict=True))

    @cached_property
    def nodes(self) -> tuple[Array, Array]:
        """Centres of the cells and their widths."""
        return self._at(0.5, self.size)

    @cached_property
    def faces(self) -> tuple[Array, Array]:
        """Inner faces, and the distances of the nodes beside them."""
        return self._at(1.0, self.size - 1)

    @property
    def start(self) -> int:
        """The cell that holds the start."""
        return int(3**self.level * self.before + (3**self.level - 1) // 2)


def graded(places: Array, middle: float, width: float) -> list[tuple[float, float]]:
    """Faces of cells of about this width, narrower where places are close: z and how many cells from the middle of the start's.

    Parameters
    ----------
    places : array
        The ends, crossings and the start, increasing; all but the start are faces.
    middle : float
        The start, the middle of a cell.
    width : float

    Examples
    --------
    >>> faces = graded(np.array([0.0, 0.3, 0.4, 0.9]), 0.3, 0.1)
    >>> [(round(z, 2), face) for z, face in faces if abs(face) < 1], faces[-1]
    ([(0.28, -0.5), (0.31, 0.5)], (0.9, 11.5))
    """
    spans = [(a, b) for a, b in pairwise(places) if b - a < _APART * width]
    steps = np.geomspace(1e-3 * np.diff(places).min(), places[-1] - places[0], 600)
    z = np.concatenate([places, *(place + sign * steps for place in places for sign in (-1, 1))])
    z = np.unique(z.clip(places[0], places[-1]))
    narrow = [(b - a) / _APART + _GROWTH * np.maximum(np.maximum(a - z, z - b), 0.0) for a, b in spans]
    widths = np.minimum.reduce([np.full(len(z), width), *narrow])
    count = np.concatenate([[0.0], np.cumsum(np.diff(z) * (1 / widths[1:] + 1 / widths[:-1]) / 2)])
    at = count[np.searchsorted(z, places)]
    whole = np.maximum(np.round(np.diff(at)), 2.0) + np.where(
        (places[1:] == middle) | (places[:-1] == middle), 0.5, 0.0
    )
    cells = np.concatenate([[0.0], np.cumsum(whole)])
    cells -= cells[np.searchsorted(places, middle)]
    faces = np.arange(cells[0], cells[-1] + 0.5)
    inner = np.interp(np.interp(faces, cells, at), count, z)
    exact = dict(zip(cells, places, strict=True))
    return [(float(exact.get(face, point)), float(face)) for face, point in zip(faces, inner, strict=True)]


@dataclass(frozen=True)
class Chain:
    """The chain on a grid; its first and last states are the ends, which collect.

    Parameters
    ----------
    coordinate : Coordinate
    grid : Grid
    absorbing : tuple of bool
        Whether the ends take what reaches them, or reflect it.
    sticky : tuple of bool
        Whether an end that takes gives back, too: its mass in the speed measure is finite, one over the inward drift there times s.
    """

    coordinate: Coordinate
    grid: Grid
    absorbing: tuple[bool, bool]
    sticky: tuple[bool, bool] = (False, False)

    @cached_property
    def _halves(self) -> tuple[Array, Array, Array, Array]:
        r"""Integrals over the cells, in units of the energy at their nodes.

        The energies :math:`E_i`; :math:`\int 2e^{E-E_i}/\varphi` over each cell; :math:`\int e^{E_i-E}\varphi` over its
        halves; the density of speed per z at the nodes.
        """
        z, _ = self.grid.nodes
        faces = np.concatenate([[self.grid.left], self.grid.faces[0], [self.grid.right]])
        at, here = self.coordinate.backward(z)
        phi, tilt, weights = self._at_nodes(z, faces, here, 1)
        density = 2 / self.coordinate.coefficients.scale(at)
        # a cell across which m changes by orders of magnitude is not resolved: with its mass lumped at the node, and an
        # energy taken linear, the chain is upwind there, and carries probability along at the speed of the drift
        outer = np.stack([tilt[:, 0, 0], tilt[:, 1, -1]], axis=1)
        steep = np.abs(outer) > _STEEP
        sides = np.stack([z - faces[:-1], faces[1:] - z], axis=1)
        linear = sides * (2 / density)[:, None] * _mean_exp(-outer)
        speed = np.where(steep.any(1), density * self.grid.nodes[1], (weights * 2 * _exp(tilt) / phi).sum((1, 2)))
        if self.coordinate.crossings:
            phi, tilt, weights = self._at_nodes(z, faces, here, -1)
        scale = np.where(steep, linear, (weights * _exp(-tilt) * phi).sum(2))
        return here, speed, scale, density

    def _at_nodes(self, z: Array, faces: Array, here: Array, sign: int) -> tuple[Array, Array, Array]:
        """Noise, energy above that of the node, and weights, in both halves of each cell; beside a crossing for the noise's power."""
        powers, faces = (
            [(self.grid.middle, (CUSP, CUSP))] if self.grid.middle in self.coordinate.cusps else [],
            faces.copy(),
        )
        for place, (left, right) in self.coordinate.crossings:
            face = int(np.argmin(np.abs(faces - place)))
            cusp = place in self.coordinate.cusps
            if 0 < face < len(faces) - 1 and (left or right or cusp):
                faces[face] = place  # but for rounding
                powers.append((place, (CUSP, CUSP) if cusp else (sign * left, sign * right)))
        a, b = np.stack([faces[:-1], z], axis=1), np.stack([z, faces[1:]], axis=1)
        nodes, weights = rule(a.ravel(), b.ravel(), powers, _NODES, _WEIGHTS)
        x, energy = self.coordinate.backward(nodes.ravel())
        shape = (len(z), 2, len(_NODES))
        phi = self.coordinate.coefficients.scale(x).reshape(shape)
        return phi, energy.reshape(shape) - here[:, None, None], weights.reshape(shape)

    @cached_property
    def rates(self) -> tuple[Array, Array]:
        """Of jumps up and down, over all states; the ends' own are 0."""
        energy, speed, (left, right), _ = (v.T if v.ndim == 2 else v for v in self._halves)
        n = len(energy)
        rise = np.diff(energy)
        up, down = np.zeros(n + 2), np.zeros(n + 2)
        # S between nodes i and i + 1, in the scale of the node that is left: ∫ e^{E_i − E} φ
        up[1:n] = 1 / (speed[:-1] * (right[:-1] + left[1:] * _exp(-rise)))
        down[2 : n + 1] = 1 / (speed[1:] * (left[1:] + right[:-1] * _exp(rise)))
        if self.absorbing[0]:
            down[1] = 1 / (speed[0] * left[0])
        if self.absorbing[1]:
            up[n] = 1 / (speed[-1] * right[-1])
        if self.sticky[0]:
            up[0] = self._push(self.grid.left, energy[0]) / left[0]
        if self.sticky[1]:
            down[n + 1] = -self._push(self.grid.right, energy[-1]) / right[-1]
        return up, down

    def _push(self, end: float, energy: float) -> float:
        """The drift at an end over the scale density there, in units of that of the node beside it."""
        x, there = self.coordinate.backward(np.array([end]))
        return float(self.coordinate.coefficients.drift(x)[0] * np.exp(energy - there[0]))

    def density(self, probabilities: Array) -> Array:
        r"""The density per unit of z at the nodes, :math:`m_i P_i/M_i`."""
        _, speed, _, at = self._halves
        return np.maximum(probabilities[1:-1], 0.0) / speed * at

    def start(self, density: Callable[[Array], ArrayLike] | None) -> Array:
        """All probability in the start's cell, or a density over states integrated over the cells."""
        p = np.zeros(self.grid.size + 2)
        if density is None:
            p[self.grid.start + 1] = 1.0
            return p
        z, w = self.grid.nodes
        x, _ = self.coordinate.backward((z[:, None] + w[:, None] / 2 * _NODES).ravel())
        c = self.coordinate.coefficients
        values = np.asarray(density(c.chart.state(x)), dtype=float) * c.scale(x)
        p[1:-1] = (values.reshape(len(z), -1) * _WEIGHTS).sum(-1) * w / 2
        if np.any(p < 0) or p.sum() > 1.01:
            raise ValueError(
                f"the start must be a density of mass 1 on the interval, got mass {p.sum():.4g} and values from {p.min():.3g}"
            )
        return p

    def run(self, p: Array, t: float, tolerance: float) -> Array:
        """Probabilities of all states after a time t: by as few parts of the time as agree with twice as many, else in steps."""
        up, down = self.rates
        if not np.isfinite([up, down]).all():
            raise ValueError("the rates of the chain are not finite: the coefficients are too steep for this grid")
        found = propagated(up, down, p, t)
        for halvings in range(1, _HALVINGS + 1):
            before, found = found, p
            for _ in range(2**halvings):
                found = propagated(up, down, found, t / 2**halvings)
            if 0.5 * float(np.abs(found - before).sum()) <= max(tolerance, _ROUNDING):
                break
        else:
            fastest = float(up[self.grid.start + 1] + down[self.grid.start + 1])
            found = stepped(up, down, p, t, tolerance, min(t, 1 / fastest))
        # the columns of Q add up to 0, so the sum is kept but for rounding
        return found * (p.sum() / found.sum())


def _exp(value: Array) -> Array:
    """The exponential, cut off where a cell is so wide for its drift that what is in it leaves at once."""
    return np.exp(np.minimum(value, 30.0))


def _mean_exp(value: Array) -> Array:
    r"""The mean :math:`(e^v - 1)/v` of the exponential between 0 and v."""
    safe = np.where(value == 0, 1.0, np.minimum(value, 30.0))
    return np.where(value == 0, 1.0, np.expm1(safe) / safe)
