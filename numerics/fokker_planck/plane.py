r"""The law of two states that share noise: Gaussian steps, of which the density is known, summed on a lattice.

Over a short time h a diffusion moves by a Gaussian with mean :math:`h\,b` and covariance :math:`h\,\Sigma`. The density after a step is the
integral of the last one against that kernel (Chapman and Kolmogorov), and the sum over a lattice is that integral up to
:math:`e^{-2\pi^2\sigma^2/\delta^2}`, 1e-7 where the spacing :math:`\delta` is 1.1 widths :math:`\sigma` of the narrowest kernel. Each column of
the matrix is scaled to sum 1, so the sums are a Markov chain: probability is conserved and positive whatever the correlation of the
noise, for which finite volumes on a fixed lattice have no such scheme.

Coordinates are those of unit noise at the start (:class:`numerics.fokker_planck.plane_density.Chart`), in which ends that are not
reached, such as those of a correlation or a norm, are infinitely far. What is left is the error of the steps in time, of order h. Quartering h
halves the spacing, so that lattices are nested, and two grids are extrapolated in the logarithm of the density, which keeps it
positive; then two extrapolations; their distance is the error.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.interpolate import RectBivariateSpline
from scipy.sparse import csc_array

from derivations.calculus.intervals import crossed_jumps, crossed_zeros, kinks_inside, moving_interval
from derivations.calculus.lines import line
from derivations.diffusion import Diffusion
from numerics.compile import compile_expression
from numerics.fokker_planck.coefficients import Array, Coefficients
from numerics.fokker_planck.coordinate import Coordinate
from numerics.fokker_planck.plane_density import Chart, PlaneDistribution

_STEPS = 4  # on the coarsest lattice at first
_REACH = 8.0  # standard deviations of the law that are looked at
_FAR = 14.0  # and up to which the coordinates are known
_MARGIN = 1.1  # of the window around what the look found
_CUT = 1e-3  # share of the tolerance outside the window
_KERNEL = 5.7  # standard deviations of a step that are summed
_SPACING = 1.1  # standard deviations of the narrowest step between points
_BLURRED = 0.02  # share of the tolerance where kernels may be narrower than the lattice is made for
_NARROWEST = 0.2  # of the noise in one direction, in units of that at the start
_LEAST = 0.01  # variance of a step in one direction, in squared spacings
_SINGULAR = 1e-6  # distance of a correlation from 1
_WIDEST = 40  # points that a step may reach on either side
_ENTRIES = 1 << 20  # of the matrix that are made at once
_MOST_ENTRIES = 4e7
_SURELY = 0.7  # share of the tolerance that the next steps are chosen for
_REGULAR = 2.5  # by which a difference at least becomes smaller when steps are quartered
_PURE = 1e-3  # by which an exponent close to an end may be off
_SEEN = 1e-12  # of the largest density


@dataclass(frozen=True)
class _Lattice:
    """Points (i δ, j δ), with i and j in ranges that hold 0, the start."""

    spacing: float
    low: tuple[int, int]
    high: tuple[int, int]

    @property
    def axes(self) -> tuple[Array, Array]:
        one, two = (np.arange(a, b + 1) * self.spacing for a, b in zip(self.low, self.high, strict=True))
        return np.asarray(one, dtype=float), np.asarray(two, dtype=float)

    @property
    def shape(self) -> tuple[int, int]:
        return self.high[0] - self.low[0] + 1, self.high[1] - self.low[1] + 1

    @property
    def size(self) -> int:
        return self.shape[0] * self.shape[1]

    def refined(self) -> _Lattice:
        """Half the spacing on the same window."""
        return _Lattice(self.spacing / 2, (2 * self.low[0], 2 * self.low[1]), (2 * self.high[0], 2 * self.high[1]))

    def cut(self, p: Array, share: float) -> _Lattice:
        """To the rows and columns outside which there is no more than that share of the probability."""
        ends = []
        for axis in (0, 1):
            along = p.sum(1 - axis)
            kept = np.flatnonzero((np.cumsum(along) > share) & (np.cumsum(along[::-1])[::-1] > share))
            low, high = self.low[axis] + int(kept[0]), self.low[axis] + int(kept[-1])
            ends.append((min(low, -1), max(high, 1)))
        return _Lattice(self.spacing, (ends[0][0], ends[1][0]), (ends[0][1], ends[1][1]))


@dataclass(frozen=True)
class _Motion:
    """The diffusion in coordinates w.

    Parameters
    ----------
    chart : Chart
    coefficients : callable
        Of both states: both drifts, and the entries 11, 12, 22 of the covariance.
    slopes : pair of callable
        Of a state: the derivative of the squared noise of its axis.
    width : float
        Of the law, about, in w.
    """

    chart: Chart
    coefficients: Callable[[Array, Array], tuple[Array, ...]]
    slopes: tuple[Callable[[Array], Array], Callable[[Array], Array]]
    width: float

    def at(self, u: Array, v: Array) -> tuple[Array, Array]:
        """Drift, shape (points, 2), and covariance, shape (points, 2, 2)."""
        x, y = self.chart.backward(u, v)
        one, two, a, b, c = self.coefficients(x, y)
        f, g = self.chart.noise(x, y)
        # Itô's formula for z(x): z′ = 1/φ, z″ = -φ′/φ², (φ²)′ = 2φφ′
        drift = np.stack(
            [
                one / f - self.slopes[0](x) * a / (4 * f**3),
                two / g - self.slopes[1](y) * c / (4 * g**3),
            ],
            axis=-1,
        )
        covariance = np.stack([np.stack([a / f**2, b / (f * g)], -1), np.stack([b / (f * g), c / g**2], -1)], -1)
        inverse = np.linalg.inv(self.chart.root)
        return drift @ inverse.T, inverse @ covariance @ inverse.T


def solve_plane(process: Diffusion, x0: tuple[float, float], t: float, tol: float, points: int) -> PlaneDistribution:
    """The law of two states; see :func:`numerics.fokker_planck.solve_fokker_planck`."""
    motion = _motion(process, x0, t)
    steps, error, regular = _STEPS, float("inf"), True
    while True:
        lattice = _window(motion, t, tol, steps)
        finest = lattice.refined().refined()
        if finest.size > points or finest.size * _per_point(motion, finest, t / steps / 16) > _MOST_ENTRIES:
            reached = f"the error is about {error:.1g}, and tol = {tol:g} was asked for; " if np.isfinite(error) else ""
            reached += (
                ""
                if regular
                else "it does not fall as for smooth coefficients, because of kinks, jumps or a steep drift; "
            )
            raise ValueError(
                f"{reached}the next grid has {finest.size} points for {16 * steps} steps, more than points = {points} or than fit in memory: "
                "raise points or tol, or simulate"
            )
        density, error, regular = _three(motion, lattice, t, steps)
        if error <= tol:
            return PlaneDistribution(motion.chart, *finest.axes, density, error, 16 * steps)
        # of second order after one extrapolation
        more = error / tol / _SURELY
        steps = int(np.ceil(steps * (min(max(np.sqrt(more), 1.2), 4.0) if regular else more)))


def _three(motion: _Motion, lattice: _Lattice, t: float, steps: int) -> tuple[Array, float, bool]:
    """The density from three lattices, extrapolated twice, its error, and whether the lattices converge as they do for smooth coefficients.

    The error is the distance in L¹ from the better of two that are extrapolated once.
    """
    lattices = [lattice, lattice.refined(), lattice.refined().refined()]
    missed, densities = 0.0, []
    for level, grid in enumerate(lattices):
        p, missed = _run(motion, grid, t, steps * 4**level)
        densities.append(p / grid.spacing**2)
    edge = sum(float(part.sum()) for part in (p[:2], p[-2:], p[:, :2], p[:, -2:]))
    once = [_extrapolated(lattices[k : k + 2], densities[k : k + 2], 4) for k in (0, 1)]
    density = _extrapolated(lattices[1:], once, 16)
    area = lattices[-1].spacing ** 2
    mass = float(density.sum()) * area
    moved = [
        float(np.abs(f[::2, ::2] - c).sum()) * 4 * area * 4 ** (1 - k) for k, (c, f) in enumerate(pairwise(densities))
    ]
    # quartering the steps quarters the error, unless coefficients have kinks or jumps or are steep; then extrapolation gains nothing
    regular = moved[0] > _REGULAR * moved[1]
    off = float(np.abs(density - once[1]).sum()) * area if regular else 2 * moved[1]
    return density / mass, off + abs(mass - 1) + missed + edge, regular


def _motion(process: Diffusion, x0: tuple[float, float], t: float) -> _Motion:
    """Coordinates around the start, and the coefficients in them."""
    states, axes, slopes = process.states, [], []
    for k, x in enumerate(states):
        along = line(process, k, x0)
        variance = compile_expression((x,), along.covariance[0, 0])
        if not variance(np.array([x0[k]]))[0] > 0:
            raise ValueError(f"the state {x} has no noise at the start {x} = {x0[k]:g}; follow the other state alone")
        left, right = (float(end) for end in moving_interval(along, x0[k]))
        if places := [*crossed_zeros(along, x0[k]), *crossed_jumps(along, x0[k])]:
            raise ValueError(
                f"the noise of {x} vanishes or jumps at {x} = {float(places[0]):g}, where the process crosses; that is solved for one state "
                "only: simulate"
            )
        kinks = tuple(float(p) for p in kinks_inside(along, x0[k]) if left < float(p) < right)
        coefficients = Coefficients(np.zeros_like, variance, left, right, kinks)
        axis = Coordinate(coefficients, x0[k], (_FAR * np.sqrt(t), _FAR * np.sqrt(t)))
        for side, end in zip(axis.sides, (left, right), strict=True):
            if np.isfinite(side.length) and not _is_far(variance, float(side.edges[-1]), end):
                raise ValueError(
                    f"the end {x} = {end:g} is at the distance {side.length:.3g} in the coordinate of unit noise, where the process may come to "
                    "it, which is not known for two states; take states whose ends are infinitely far, as a logarithm's, or simulate"
                )
        axes.append(axis)
        slopes.append(compile_expression((x,), along.covariance[0, 0].diff(x)))
    entries = [process.covariance[i, j] for i, j in ((0, 0), (0, 1), (1, 1))]
    compiled = compile_expression(states, [*process.drift, *entries])
    *_, a, b, c = (float(value[0]) for value in compiled(*(np.array([value]) for value in x0)))
    correlation = b / np.sqrt(a * c)
    if not abs(correlation) < 1 - _SINGULAR:
        raise ValueError(
            f"one Brownian motion drives both states at the start ({x0[0]:g}, {x0[1]:g}), so that there is no density on a grid; simulate, or "
            "solve for one state"
        )
    root = np.linalg.cholesky(np.array([[1, correlation], [correlation, 1]]))
    return _Motion(Chart((axes[0], axes[1]), root), compiled, (slopes[0], slopes[1]), np.sqrt(t))


def _is_far(variance: Callable[[Array], Array], last: float, end: float) -> bool:
    """Whether an end is infinitely far although doubles do not resolve states from it: the noise vanishes with the distance, or faster."""
    if not np.isfinite(end):
        return False
    near, further = variance(end + (last - end) * np.array([1.0, 2.0]))
    return bool(np.log2(further / near) > 2 - _PURE)


def _window(motion: _Motion, t: float, tol: float, steps: int) -> _Lattice:
    """The coarsest lattice, from a look at where probability goes and how narrow the kernels are there."""
    h = t / _STEPS
    wide = int(np.ceil(_REACH * np.sqrt(t / h)))
    first = _Lattice(float(np.sqrt(h)), (-wide, -wide), (wide, wide))
    p, _ = _run(motion, first, t, _STEPS)
    *_, covariance = motion.at(*(part.ravel() for part in np.meshgrid(*first.axes, indexing="ij")))
    narrow = np.linalg.eigvalsh(np.where(np.isfinite(covariance), covariance, 0.0))[:, 0]
    order = np.argsort(narrow)
    share = np.cumsum(p.ravel()[order])
    least = float(np.sqrt(max(narrow[order][np.searchsorted(share, _BLURRED * tol)], 0.0)))
    if least < _NARROWEST:
        raise ValueError(
            f"the two states move almost together where the process comes: their noise is {least:.2g} of that at the start in one direction; "
            "take their difference, or its logarithm, as a state, or simulate"
        )
    ends = first.cut(p, _CUT * tol)
    spacing = float(_SPACING * np.sqrt(t / steps) * min(least, 1.0))
    low, high = (
        tuple(int(np.ceil(_MARGIN * abs(i) * first.spacing / spacing)) for i in pair) for pair in (ends.low, ends.high)
    )
    return _Lattice(spacing, (-low[0], -low[1]), (high[0], high[1]))


def _per_point(motion: _Motion, lattice: _Lattice, h: float) -> int:
    return int(np.pi * (_KERNEL * np.sqrt(h) / lattice.spacing) ** 2)


def _run(motion: _Motion, lattice: _Lattice, t: float, steps: int) -> tuple[Array, float]:
    """Probabilities at the points after so many steps, and how much of them the sums missed."""
    kernel, off = _kernel(motion, lattice, t / steps)
    p = np.zeros(lattice.size)
    p[-lattice.low[0] * lattice.shape[1] - lattice.low[1]] = 1.0
    missed = 0.0
    for _ in range(steps):
        missed += float(off @ p)
        p = kernel @ p
    return p.reshape(lattice.shape), missed


def _kernel(motion: _Motion, lattice: _Lattice, h: float) -> tuple[csc_array, Array]:
    """The matrix of one step, a column for each point it starts from, and how far the sum of each column was from 1."""
    u, v = (part.ravel() for part in np.meshgrid(*lattice.axes, indexing="ij"))
    drift, covariance = motion.at(u, v)
    step = h * drift
    # beyond the width of the law a drift is cut off, smoothly, by less than the error of a step elsewhere
    step /= np.sqrt(1 + (step**2).sum(1, keepdims=True) / motion.width**2)
    aim = np.stack([u, v], axis=1) / lattice.spacing + step / lattice.spacing
    spread = covariance * h / lattice.spacing**2
    # where the lattice cannot see the kernel, all of it counts as missed
    unseen = ~(np.isfinite(aim).all(1) & np.isfinite(spread).all((1, 2)))
    aim[unseen], spread[unseen] = 0.0, np.eye(2)
    blurred = np.linalg.eigvalsh(spread)[:, 0] < _LEAST
    spread[blurred] += _LEAST * np.eye(2)
    unseen |= blurred
    inverse, size = np.linalg.inv(spread), 2 * np.pi * np.sqrt(np.linalg.det(spread))
    reach = int(min(np.ceil(_KERNEL * np.sqrt(np.diagonal(spread, axis1=1, axis2=2).max())) + 1, _WIDEST))
    a, b = (part.ravel() for part in np.meshgrid(*(np.arange(-reach, reach + 1),) * 2, indexing="ij"))
    rows, values, counts, off = [], [], [], []
    block = max(1, _ENTRIES // a.size)
    for first in range(0, lattice.size, block):
        here = slice(first, first + block)
        near = np.round(aim[here]).astype(int)
        i, j = near[:, :1] + a, near[:, 1:] + b
        x, y = i - aim[here, :1], j - aim[here, 1:]
        k = inverse[here]
        q = k[:, 0, 0, None] * x * x + 2 * k[:, 0, 1, None] * x * y + k[:, 1, 1, None] * y * y
        weight = np.where(q < _KERNEL**2, np.exp(-q / 2), 0.0)
        off.append(np.where(unseen[here], 1.0, np.abs(weight.sum(1) / size[here] - 1)))
        inside = (
            (weight > 0)
            & (i >= lattice.low[0])
            & (i <= lattice.high[0])
            & (j >= lattice.low[1])
            & (j <= lattice.high[1])
        )
        weight = np.where(inside, weight, 0.0)
        total = weight.sum(1)
        lost = total == 0  # out of the window at once: it stays
        weight /= np.where(lost, 1.0, total)[:, None]
        target = (i - lattice.low[0]) * lattice.shape[1] + j - lattice.low[1]
        if lost.any():
            inside[lost, 0], weight[lost, 0], target[lost, 0] = True, 1.0, np.arange(lattice.size)[here][lost]
        rows.append(target[inside].astype(np.int32))
        values.append(weight[inside])
        counts.append(inside.sum(1))
    pointers = np.concatenate([[0], np.cumsum(np.concatenate(counts))])
    shape = (lattice.size, lattice.size)
    return csc_array((np.concatenate(values), np.concatenate(rows), pointers), shape=shape), np.concatenate(off)


def _extrapolated(lattices: Sequence[_Lattice], densities: Sequence[Array], factor: int) -> Array:
    """By Richardson, (factor · fine - coarse)/(factor - 1) of the logarithms; between the coarse points the correction is splined."""
    coarse, fine = densities
    here = fine[::2, ::2]
    seen = (here > _SEEN * here.max()) & (coarse > _SEEN * here.max())
    correction = np.zeros(here.shape)
    correction[seen] = np.clip(np.log(here[seen] / coarse[seen]) / (factor - 1), -1.0, 1.0)
    return np.asarray(fine * np.exp(RectBivariateSpline(*lattices[0].axes, correction)(*lattices[1].axes)))
