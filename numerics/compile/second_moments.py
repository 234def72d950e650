"""States of a kernel flow as second moments: kept those of Gaussian neurons while they are integrated, and equal inputs kept equal.

Rounding takes a covariance of parallel inputs out of the cone of covariances, where roots in the rates are no numbers; and where a rate bends
like a root at correlation 1, as that of a step does, equal inputs would drift apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import combinations, combinations_with_replacement

import numpy as np
import sympy as sp
from numpy.typing import NDArray

from derivations.limits.width import KernelFlow

Array = NDArray[np.float64]
Places = NDArray[np.intp]
Velocity = Callable[[float, Array], Array]

_LEAST = 1e-150  # variance, where a closed form divides 0 by 0 at 0 itself
_PARALLEL = (
    1.0 - 2.0**-45
)  # correlations beyond are 1: rounding of a covariance is 2^-53 of it, and some steps' worth more
_BEYOND = 1.0 + 2.0**-51  # just outside, so that the determinant is at most 0 however it is rounded
_EQUAL = 1e-14
_INVARIANT = 1e-9
#: An eigenvalue of a covariance below 0 by more than this share is no rounding.
_OUTSIDE = 1e-9


class SecondMoments:
    """The places of means and second moments among the states of a flow, and after them the numbers that every layer fixes.

    Parameters
    ----------
    flow : KernelFlow
    """

    def __init__(self, flow: KernelFlow) -> None:
        place: dict[sp.Basic, int] = {s: k for k, s in enumerate(flow.states)}
        self.size, self.inputs = len(place), flow.second[0].rows
        self.fixed = sorted(
            {entry for entry in flow.second[0].diagonal() if entry not in place}, key=sp.default_sort_key
        )
        place |= {entry: self.size + k for k, entry in enumerate(self.fixed)}
        self.means = [place[m] for m in flow.means]
        self.places = [np.array([place[e] for e in matrix]).reshape(matrix.shape) for matrix in flow.second]

    def with_fixed(self, x: Array) -> Array:
        """States, and then the numbers that are fixed."""
        return np.concatenate([x, np.array([float(value) for value in self.fixed])])

    def require(self, start: Array) -> None:
        """Refuse a start that no random variables have as their moments."""
        y = self.with_fixed(start)
        mean = y[self.means] if self.means else np.zeros(self.inputs)
        values = np.linalg.eigvalsh(y[self.places[0]] - np.outer(mean, mean))
        if values[0] < -_OUTSIDE * max(values[-1], np.abs(values[0])):
            raise ValueError(
                f"the start {', '.join(f'{value:g}' for value in start)} holds no second moments: what should be a covariance matrix has the "
                f"eigenvalue {values[0]:.3g}; give moments of random variables, |K_12| at most the root of K_11 K_22"
            )

    def inside(self, x: Array, least: float = 0.0) -> Array:
        """The states as second moments of Gaussian neurons of some least variance: those within rounding of the border are on it."""
        y, places = self.with_fixed(x), self.places[0]
        mean = y[self.means] if self.means else np.zeros(self.inputs)
        own = np.diag(places)
        variance = np.maximum(y[own] - mean**2, least)
        y[own] = variance + mean**2
        rows, columns = np.triu_indices(self.inputs, 1)
        most = np.sqrt(variance[rows]) * np.sqrt(variance[columns])
        across, product = places[rows, columns], mean[rows] * mean[columns]
        alike = variance[rows] == variance[columns]
        fixed = alike & (own[rows] >= self.size) & (own[columns] >= self.size)  # formulas hold correlations instead
        beyond = np.where(fixed, variance[rows], most * _BEYOND)
        covariance = y[across] - product
        parallel = np.abs(covariance) >= most * _PARALLEL
        y[across[parallel]] = (np.copysign(beyond, covariance) + product)[parallel]
        return y[: self.size]

    def leaves_zero(self, x: Array, speed: Array) -> bool:
        """Whether an input whose neurons are all 0 moves."""
        own = np.diag(self.places[0])
        own = own[own < self.size]
        return bool(np.any((x[own] <= 0.0) & (speed[own] != 0.0)))

    def twins(self, start: Array, velocity: Velocity) -> Places:
        """For each state, and each fixed number, the one that it stays equal to, itself by default.

        Inputs that start equal are merged where the equations keep them equal, which is seen at states in general position.
        """
        y, merged = self.with_fixed(start), list(range(self.inputs))
        found = self._merged(merged)
        for a, b in combinations(range(self.inputs), 2):
            if merged[a] == a and merged[b] == b and self._alike(y, a, b):
                tried = [a if m == b else m for m in merged]
                moved = self._merged(tried)
                if all(self._kept(velocity(s, z[moved][: self.size]), moved) for s, z in self._general()):
                    found, merged = moved, tried
        return found

    def _alike(self, y: Array, a: int, b: int) -> bool:
        if self.means and y[self.means[a]] != y[self.means[b]]:
            return False
        three = np.array([[p[a, a], p[a, b], p[b, b]] for p in self.places])
        return bool(np.all(np.ptp(y[three], axis=1) <= _EQUAL * np.abs(y[three[:, 0]])))

    def _merged(self, merged: list[int]) -> Places:
        found = np.arange(self.size + len(self.fixed))
        for a, place in enumerate(self.means):
            found[place] = self.means[merged[a]]
        for places in self.places:
            for a, b in combinations_with_replacement(range(self.inputs), 2):
                found[places[a, b]] = places[merged[a], merged[b]]
        return found

    def _general(self) -> Iterator[tuple[float, Array]]:
        """Covariances without any symmetry, at two times."""
        rng = np.random.default_rng(0)
        for s in (0.0, 0.37):
            y = self.with_fixed(np.zeros(self.size))
            y[self.means] = rng.uniform(-0.1, 0.1, len(self.means))
            for places in self.places:
                factor = rng.uniform(0.3, 1.0, (self.inputs, self.inputs)) + np.eye(self.inputs)
                second, own = factor @ factor.T, np.diag(places)
                sizes = np.where(own < self.size, np.diag(second), y[own])
                scale = np.sqrt(sizes / np.diag(second))
                y[places] = second * scale[:, None] * scale
            yield s, y

    def _kept(self, speed: Array, moved: Places) -> bool:
        every = np.concatenate([speed, np.zeros(len(self.fixed))])
        off = np.abs(every - every[moved])
        return bool(np.all(off <= _INVARIANT * max(1.0, float(np.max(np.abs(speed), initial=0.0)))))


def kept_covariances(flow: KernelFlow, start: Array, velocity: Velocity) -> tuple[Velocity, Array]:
    """The rates of change at states that are second moments, inputs that start equal and stay so being one input; and the start."""
    moments = SecondMoments(flow)
    moments.require(start)

    def safe(t: float, x: Array) -> Array:
        with np.errstate(divide="ignore", invalid="ignore"):
            speed = velocity(t, moments.inside(x))
            if np.all(np.isfinite(speed)):
                return speed
            if moments.leaves_zero(x, speed):
                return speed  # what is read of an input of norm 0 has no value, as behind a norm
            return np.where(np.isfinite(speed), speed, velocity(t, moments.inside(x, _LEAST)))

    moved = moments.twins(start, safe)
    if np.all(moved == np.arange(len(moved))):
        return safe, start

    def merged(t: float, x: Array) -> Array:
        speed = safe(t, moments.with_fixed(x)[moved][: moments.size])
        return np.concatenate([speed, np.zeros(len(moments.fixed))])[moved][: moments.size]

    return merged, moments.with_fixed(start)[moved][: moments.size]
