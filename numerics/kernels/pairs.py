"""The flow of all inputs, first each alone, then block by block of pairs, each block with its own steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from numerics.compile.jit import Kernel, uses_jit
from numerics.kernels.derived import Block, DerivedFlow
from numerics.kernels.integration import integrate
from numerics.kernels.means import LEAST
from numerics.kernels.tiles import empty, in_bands

Array = NDArray[np.float64]

#: Pairs integrated together: few enough for a core's cache, enough to hide the interpreter.
_BLOCK = 1 << 15


@dataclass(frozen=True)
class Alone:
    """The states of each coordinate as functions of depth, their sizes at the start, and how often their rates were asked for."""

    at: Callable[[float], Array]
    sizes: Array
    evaluations: int

    @classmethod
    def solve(cls, flow: DerivedFlow, start: Array, t: float, tolerance: float) -> Alone:
        """Integrate the flows of all coordinates at the same depths."""
        if not start.size or t == 0.0:
            return cls(lambda _: start, np.abs(start), 0)
        shape = start.shape

        def velocity(s: float, y: Array) -> Array:
            return flow.velocity_alone(s, y.reshape(shape)).ravel()

        moved = np.abs(velocity(0.0, start.ravel()).reshape(shape)) * t
        sizes = {k: np.maximum(a, b) for k, a, b in zip(flow.flow.states, np.abs(start), moved, strict=True)}
        if 0 in sizes:
            sizes[0] = np.maximum(sizes[0], np.sqrt(sizes[1]))
        kept = np.array([sizes[k] for k in flow.flow.states])
        scale = kept.ravel()
        if flow.flow.filters:  # dark places are reached from bright ones
            scale = np.maximum(scale, np.max(scale))
        solution = integrate(velocity, start.ravel(), t, tolerance, scale, dense=True)
        return cls(lambda s: solution.sol(s).reshape(shape), kept, solution.nfev)


@dataclass(frozen=True)
class Inputs:
    """Coordinates of all inputs, with what each is at depth 0.

    Parameters
    ----------
    features : array, shape (coordinates, dim)
    split : int or None
        How many inputs are rows; the rest are columns. None: all with all.
    positions : int
        Coordinates of an input.
    """

    features: Array
    split: int | None
    positions: int

    @property
    def norms(self) -> Array:
        """The second moment of each coordinate."""
        found: Array = np.mean(self.features**2, axis=1)
        return found

    def kernel(self, rows: slice, columns: slice) -> Array:
        """Second moments of pairs of coordinates."""
        found: Array = self.features[rows] @ self.features[columns].T / self.features.shape[1]
        return found


def solve_pairs(
    flow: DerivedFlow,
    inputs: Inputs,
    t: float,
    tolerance: float,
    workers: int = 1,
    backend: str = "numpy",
    read_out: Callable[[Array], Array] = lambda kernel: kernel,
) -> list[Array]:
    """K, and Θ where it is followed, between all inputs, or between the first ones and the rest.

    Parameters
    ----------
    read_out : callable
        From a block over coordinates to one over inputs.
    """
    own, features, size = inputs.norms, inputs.features, inputs.positions
    fixed = flow.flow.fixed
    if fixed is not None and t > 0:  # a norm at the end of a layer: after the first one all inputs are on its sphere
        if np.any(own == 0.0):
            raise ValueError("an input of norm 0 has no direction for the norm at the end of a layer; leave it out")
        features = features * np.sqrt(float(fixed) / own)[:, None]
        inputs, own = Inputs(features, inputs.split, size), np.full(len(own), float(fixed))
    begin = np.array([np.zeros(len(own)) if k == 0 else own for k in flow.flow.states]).reshape(-1, len(own))
    _require_directions(flow, begin)
    flow = flow.trusted(0.0, begin)
    alone = Alone.solve(flow, begin, t, tolerance / 10)
    checked = flow.trusted(t, alone.at(t))
    if checked != flow:
        flow, alone = checked, Alone.solve(checked, begin, t, tolerance / 10)
    parts, count = 1 + flow.tangent, len(own) // size
    height, width = (count, count) if inputs.split is None else (inputs.split, count - inputs.split)
    pairs = size**2 * (height * width if inputs.split is not None else count * (count + 1) // 2)
    work = parts * alone.evaluations * pairs
    kernel = flow.jit() if uses_jit(backend, work, flow.jit) and own.min() >= LEAST else None
    solver = _Solver(flow, inputs, own, alone, t, tolerance, kernel)
    found, step = empty(parts, height, width), max(1, _BLOCK // max(1, size**2 * width))
    return in_bands(found, inputs.split, step, workers, lambda rows, columns: map(read_out, solver(rows, columns)))


def _require_directions(flow: DerivedFlow, begin: Array) -> None:
    """Refuse an input of norm 0 where the flow divides by its norm."""
    zero = np.flatnonzero(begin[flow.flow.states.index(1)] == 0.0) if 1 in flow.flow.states else np.empty(0, dtype=int)
    if not len(zero) or flow.flow.filters:
        return
    states = np.stack([begin[:, zero[0]], begin.max(axis=1)], axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        alone = flow.velocity_alone(0.0, states)
        pair = flow.velocity(0.0, states, Block(slice(0, 1), slice(1, 2)), np.zeros((1 + flow.tangent, 1, 1)))
    if not (np.all(np.isfinite(alone)) and np.all(np.isfinite(pair))):
        raise ValueError(
            f"input {zero[0]} has norm 0, and this network divides by the norm of an input, as norms and transposes do; leave it out"
        )


@dataclass(frozen=True)
class _Solver:
    flow: DerivedFlow
    inputs: Inputs
    own: Array
    alone: Alone
    t: float
    tolerance: float
    kernel: Kernel | None

    def __call__(self, some: slice, others: slice) -> Array:
        """K and Θ between coordinates of some inputs and of others, shape (parts, rows, columns)."""
        size, parts, flow, own = self.inputs.positions, 1 + self.flow.tangent, self.flow, self.own
        rows, columns = (slice(s.start * size, None if s.stop is None else s.stop * size) for s in (some, others))
        start = self.inputs.kernel(rows, columns)
        ends = self._own(self.alone.at(self.t))
        itself = np.zeros(start.shape, dtype=bool)
        if self.inputs.split is None:
            np.fill_diagonal(itself, True)  # columns begin where rows do
        # an input with itself is no pair: at correlation 1 the means have no derivative, and ``alone`` has the answer
        same, opposite = itself, np.zeros_like(itself)
        if flow.flow.repeats and not flow.flow.filters:
            same = itself | self._alike(start, rows, columns)
            if flow.flow.odd:  # an input with its negative: minus the answer
                opposite = self._alike(-start, rows, columns) & ~same
        if self.t == 0.0:
            return np.array([start] * parts)
        apart = ~(same | opposite)
        begin = np.where(apart, start, 0.0)
        block = Block(rows, columns, np.nonzero(itself) if flow.flow.filters else None)

        def velocity(s: float, y: Array) -> Array:
            states, kernels = self.alone.at(s), y.reshape(parts, *start.shape)
            if block.diagonal is not None:
                kernels = kernels.copy()
                for kernel, values in zip(kernels, self._own(states), strict=True):
                    kernel[block.diagonal] = values[rows][block.diagonal[0]]
            speed = flow.velocity(s, states, block, kernels, self.kernel)
            if block.diagonal is not None:
                for rates in speed:
                    rates[block.diagonal] = 0.0
            return speed.ravel()

        # an explosion magnifies early errors: they are measured by what the inputs are there, not by what they become
        sizes = [np.minimum(np.maximum(own, e), s) for e, s in zip(ends, self._own(self.alone.sizes), strict=True)]
        if flow.flow.filters:
            sizes = [np.full_like(s, s.max()) for s in sizes]
        scale = [np.sqrt(s[rows, None] * s[columns]).ravel() for s in sizes]
        both = np.concatenate([begin.ravel()] * parts)
        solved: Array = integrate(velocity, both, self.t, self.tolerance, np.concatenate(scale)).y[:, -1]
        solved = solved.reshape(parts, *start.shape)
        for values, end in zip(solved, ends, strict=True):
            known = np.broadcast_to(end[rows, None], values.shape)
            values[same] = known[same]
            values[opposite] = -known[opposite]
        return solved

    def _own(self, states: Array) -> list[Array]:
        """K and Θ of each coordinate with itself."""
        said: dict[int, Any] = dict(zip(self.flow.flow.states, states, strict=True))
        return [said.get(1, self.own), said.get(2, self.own)][: 1 + self.flow.tangent]

    def _alike(self, start: Array, rows: slice, columns: slice) -> NDArray[np.bool_]:
        own = self.own
        off = np.maximum(np.abs(start - own[rows, None]), np.abs(start - own[columns]))
        return np.asarray(off <= 1e-13 * own[rows, None])
