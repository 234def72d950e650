"""Kernels of inputs whose positions are coupled: the flow of all positions of an input, then that of pairs of inputs."""

from __future__ import annotations

from functools import lru_cache
from time import process_time
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from derivations.architectures import Recipe
from derivations.kernels.coupled import CoupledFlow, coupled_flow
from derivations.symbols import time
from numerics.compile.points import compile_at_points, has_points
from numerics.kernels.agreement import largest_difference, require_agreement
from numerics.kernels.integration import integrate
from numerics.kernels.tiles import empty

Array = NDArray[np.float64]
_BLOCK = 1 << 13  # numbers integrated together
_STATES = 1000  # and pairs of inputs whose means over a softmax are taken together
_FEW = 10  # pairs whose time is not asked for
_EVALUATIONS = 40  # of the rates of a pair, at least: three steps
_LONGEST = 3600.0  # seconds
_SURELY = 10.0  # by how much the difference of two sets of points may fall on the way


class Coupled(NamedTuple):
    """The flow, compiled."""

    flow: CoupledFlow
    own: Any
    pairs: Any


@lru_cache(maxsize=16)
def _derived(architecture: Recipe, tangent: bool) -> CoupledFlow:
    return coupled_flow(architecture, tangent)


@lru_cache(maxsize=16)
def _compiled(architecture: Recipe, tangent: bool, points: int) -> Coupled:
    flow = _derived(architecture, tangent)
    own = compile_at_points((time, *flow.first), list(flow.own_rates), points)
    known = (time, *flow.first, *flow.second, *flow.both)
    return Coupled(flow, own, compile_at_points(known, list(flow.pair_rates), points))


def solve_coupled(
    architecture: Recipe, tangent: bool, features: Array, split: int | None, t: float, tolerance: float, pool: bool
) -> list[Array]:
    """K, and Θ where it is followed, of a readout that averages over positions, or has weights for each.

    Means over a softmax come from points: two sets of them must agree to the tolerance.

    Parameters
    ----------
    features : array, shape (inputs * positions, dim)

    Raises
    ------
    ValueError
        If they do not, or if it would take more than an hour.
    """
    flow = _derived(architecture, tangent)
    given = features, split, t, tolerance, pool
    if has_points(flow.pair_rates):
        _require_time(_compiled(architecture, tangent, 0), features, split, t)
    spread = has_points((*flow.own_rates, *flow.pair_rates))
    if spread:
        off = _off_at_start(architecture, tangent, features, t)
        require_agreement(off, tolerance, _scores(flow.positions), _SURELY)
    found = _solved(_compiled(architecture, tangent, 0), *given)
    if not spread:
        return found
    other = _solved(_compiled(architecture, tangent, 1), *given)
    off = largest_difference(found, other)
    require_agreement(off, tolerance, _scores(flow.positions))
    return [(a + b) / 2 for a, b in zip(found, other, strict=True)]


def _scores(positions: int) -> str:
    return f"the scores of a softmax of {positions} positions"


def _off_at_start(architecture: Recipe, tangent: bool, features: Array, t: float) -> float:
    """By how much of the largest entry two sets of points would differ in the end if inputs moved as they start."""
    said = [_compiled(architecture, tangent, points) for points in (0, 1)]
    start, _ = _alone(features, said[0].flow)
    one, other = (np.array([np.ravel(v) for v in s.own(0.0, *start)]) for s in said)
    return float(t * np.abs(one - other).max() / (np.abs(start) + t * np.abs(one)).max())


def _require_time(said: Coupled, features: Array, split: int | None, t: float) -> None:
    """Refuse inputs whose pairs would take too long, by how long one takes."""
    count = len(features) // said.flow.positions
    pairs = count * (count + 1) // 2 if split is None else split * (count - split)
    if t == 0.0 or pairs <= _FEW:
        return
    size = said.flow.positions
    one, other = features[:size], features[size : 2 * size]
    gram = [a @ b.T / features.shape[1] for a, b in ((one, one), (other, other), (one, other))]
    upper, parts = np.triu_indices(size), len(said.flow.both) // size**2
    start = process_time()
    said.pairs(0.0, *[*gram[0][upper]] * parts, *[*gram[1][upper]] * parts, *[*gram[2].ravel()] * parts)
    seconds = 2 * _EVALUATIONS * pairs * (process_time() - start)
    if seconds > _LONGEST:
        raise ValueError(
            f"the kernels of {pairs} pairs of inputs through a softmax of {size} positions would take about {seconds / 3600:.1g} hours; "
            f"about {max(1, int(pairs * _LONGEST / seconds))} pairs take one, so give fewer inputs, or fewer positions"
        )


def _solved(said: Coupled, features: Array, split: int | None, t: float, tolerance: float, pool: bool) -> list[Array]:
    size = said.flow.positions
    begin, inputs = _alone(features, said.flow)
    upper, parts, shape = np.triu_indices(size), len(said.flow.both) // size**2, begin.shape

    def alone(s: float, y: Array) -> Array:
        return np.concatenate([np.ravel(v) for v in said.own(s, *y.reshape(shape))])

    def scale(start: Array, speed: Array) -> Array:
        """The largest of an input's numbers."""
        largest = np.maximum(np.abs(start), np.abs(speed) * t).max(axis=0)
        return np.broadcast_to(np.maximum(largest, 0.0), start.shape)

    own = integrate(
        alone, begin.ravel(), t, tolerance / 10, scale(begin, alone(0.0, begin.ravel()).reshape(shape)).ravel(), True
    )
    end = own.y[:, -1].reshape(shape)
    height = len(inputs) if split is None else split
    first = 0 if split is None else split
    found = empty(parts, height, len(inputs) - first)
    sizes = np.sqrt(np.maximum(np.abs(begin), np.abs(end)).max(axis=0))
    step = max(1, min(_BLOCK // (parts * size**2), _STATES) // found[0].shape[1])
    for top in range(0, height, step):
        rows = slice(top, min(top + step, height))
        start = np.einsum("ipd,jqd->pqij", inputs[rows], inputs[first:]) / inputs.shape[2]
        both = np.concatenate([start.reshape(size**2, *start.shape[2:])] * parts)
        here = np.arange(rows.start, rows.stop) if split is None else np.arange(0)

        def fixed(kernels: Array, states: Array, here: NDArray[np.intp] = here, top: int = top) -> Array:
            """With what an input is with itself put in."""
            for k in range(parts):
                square = _square(states[k * len(upper[0]) : (k + 1) * len(upper[0])], size)
                kernels[k * size**2 : (k + 1) * size**2, here - top, here] = square[:, :, here].reshape(size**2, -1)
            return kernels

        def velocity(
            s: float, y: Array, both: Array = both, rows: slice = rows, here: Any = here, top: int = top
        ) -> Array:
            states = own.sol(s).reshape(shape)
            kernels = fixed(y.reshape(both.shape).copy(), states)
            sides = (*(v[rows, None] for v in states), *(v[None, first:] for v in states))
            speed = np.array([np.broadcast_to(v, both.shape[1:]) for v in said.pairs(s, *sides, *kernels)])
            speed[:, here - top, here] = 0.0
            return speed.ravel()

        size_of = np.broadcast_to(np.outer(sizes[rows], sizes[first:]), both.shape)
        solved = integrate(velocity, both.ravel(), t, tolerance, size_of.ravel()).y[:, -1].reshape(both.shape)
        solved = fixed(solved.copy(), end).reshape(parts, size, size, *both.shape[1:])
        for matrix, values in zip(found, solved, strict=True):
            matrix[rows] = values.mean(axis=(0, 1)) if pool else np.einsum("ppij->ij", values) / size
    if split is None:
        for matrix in found:
            matrix[:] = np.tril(matrix) + np.tril(matrix, -1).T
    return found


def _alone(features: Array, flow: CoupledFlow) -> tuple[Array, Array]:
    """What each input is with itself at the start, shape (states, inputs), and the inputs, shape (inputs, positions, dim)."""
    inputs = features.reshape(-1, flow.positions, features.shape[1])
    gram = np.einsum("ipd,iqd->ipq", inputs, inputs) / inputs.shape[2]
    upper, parts = np.triu_indices(flow.positions), len(flow.both) // flow.positions**2
    return np.concatenate([gram[:, upper[0], upper[1]].T] * parts), inputs


def _square(triangle: Array, size: int) -> Array:
    """Symmetric matrices from their upper triangles, shape (size, size, inputs)."""
    upper = np.triu_indices(size)
    found = np.empty((size, size, triangle.shape[1]))
    found[upper] = triangle
    found[upper[1], upper[0]] = triangle
    return found
