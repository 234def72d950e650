r"""Kernels of any recipe: the derived flow of a generic pair of inputs, compiled and integrated for each pair.

What the flow holds (:mod:`derivations.kernels.generic_pair`) is a closed form where one is known and rounding does not spoil it, else a
quadrature with an error (``means``). What depends on one input alone is evaluated once for each input, and their flows are
integrated first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from derivations.architectures import Recipe
from derivations.kernels.generic_pair import pair_flow
from derivations.kernels.means import MEAN, VARIANCE
from derivations.symbols import time
from numerics import quadrature
from numerics.compile import compile_expression
from numerics.kernels.hermite import coefficients
from numerics.kernels.means import LEAST, CompiledMeans, compile_means
from numerics.kernels.panels import panels_of
from numerics.kernels.rates import integrate

Array = NDArray[np.float64]

_TOLERANCE = 1e-12


@dataclass(frozen=True)
class DerivedFlow:
    """The flow of a pair of inputs as functions of arrays; make it with :func:`derived_flow`."""

    states: tuple[int, ...]  # which of M, K, Θ an input has
    fixed: float | None
    tangent: bool
    repeats: bool  # whether an input given twice is as one input
    own: tuple[tuple[CompiledMeans, Callable[..., Any], Callable[..., Any]], ...]
    own_rates: Callable[..., Any]
    pairs: tuple[tuple[CompiledMeans, CompiledMeans, Callable[..., Any], Callable[..., Any]], ...]
    pair_rates: Callable[..., Any]

    def means(self, t: float, states: Array) -> list[Array]:
        """The states of all inputs, shape (states, inputs), and the means over one neuron."""
        values, zero = list(states), np.zeros(states.shape[1])
        for means, at, spread in self.own:
            values.append(means.first(at(t, *values) + zero, np.maximum(spread(t, *values) + zero, 0.0)))
        return values

    def velocity_alone(self, t: float, states: Array) -> Array:
        """Rates of M, K and Θ of each input."""
        speed = np.empty_like(states)
        for row, rate in zip(speed, self.own_rates(t, *self.means(t, states)), strict=True):
            row[:] = rate
        return speed

    def velocity(self, t: float, states: Array, rows: slice, columns: slice, kernels: Array) -> Array:
        """Rates of K and Θ of a block of pairs, given the states of all inputs."""
        values = self.means(t, states)
        sides = [v[rows, None] for v in values], [v[columns] for v in values]
        given = [t, *sides[0], *sides[1], *kernels]
        zero = np.zeros(states.shape[1])
        speed = np.empty_like(kernels)
        with np.errstate(divide="ignore", invalid="ignore"):  # what is not finite is refused by the integration
            for left, right, laws, covariance in self.pairs:
                law = [zero + entry for entry in laws(t, *values)]
                between = np.broadcast_to(covariance(*given), kernels[0].shape)
                given.append(_pair_means(left, right, law, rows, columns, between))
            for row, rate in zip(speed, self.pair_rates(*given), strict=True):
                row[:] = rate
        return speed

    def trusted(self, t: float, states: Array) -> DerivedFlow:
        """With closed means only where rounding does not spoil them at these states."""
        values, zero, own, pairs = list(states), np.zeros(states.shape[1]), [], []
        for means, at, spread in self.own:
            variance = np.maximum(spread(t, *values) + zero, 0.0)
            own.append((means.trusted(variance), at, spread))
            values.append(means.first(at(t, *values) + zero, variance))
        for left, right, laws, covariance in self.pairs:
            _, first, _, second = (np.maximum(zero + entry, 0.0) for entry in laws(t, *values))
            kept = left.trusted(first), right.trusted(second)
            pairs.append((kept[0], kept[0] if left is right else kept[1], laws, covariance))
        return replace(self, own=tuple(own), pairs=tuple(pairs))


def _pair_means(
    left: CompiledMeans, right: CompiledMeans, law: Sequence[Array], rows: slice, columns: slice, covariance: Array
) -> Array:
    """E f(U) g(V) for a block of pairs; the law has mean and variance of U and of V for all inputs."""
    first_mean, second_mean, shape = law[0], law[2], covariance.shape
    first, second = np.maximum(law[1], 0.0), np.maximum(law[3], 0.0)
    if left is right:
        return left.pairs(first_mean, first)(rows, columns, covariance)
    deviations = [np.sqrt(np.maximum(v, LEAST)) for v in (first, second)]
    found = [
        coefficients(m.panels, at, d)
        for m, at, d in zip((left, right), (first_mean, second_mean), deviations, strict=True)
    ]
    rho = np.clip(covariance / (deviations[0][rows, None] * deviations[1][columns]), -1.0, 1.0)
    total, power = np.zeros(shape), np.ones(shape)
    for n in range(min(found[0].last, found[1].last) + 1):
        total += power * found[0].terms[rows, n, None] * found[1].terms[columns, n]
        power = power * rho
    beyond = np.abs(rho) ** found[0].terms.shape[1] * np.sqrt(found[0].tails[rows, None] * found[1].tails[columns])
    far = beyond > _TOLERANCE * np.sqrt(found[0].scale[rows, None] * found[1].scale[columns])
    for i, j in zip(*np.nonzero(far), strict=True):
        a, b = np.arange(len(first))[rows][i], np.arange(len(first))[columns][j]
        block = [[first[a], covariance[i, j]], [covariance[i, j], second[b]]]
        kinks = [
            [c.at - m for c in side.panels.corners] for side, m in ((left, first_mean[a]), (right, second_mean[b]))
        ]
        shifted = _shifted(left, first_mean[a]), _shifted(right, second_mean[b])
        total[i, j] = quadrature.expect_pair(*shifted, block, *kinks)
    return total


def _shifted(means: CompiledMeans, by: float) -> Callable[[Array], Array]:
    return lambda z: means.function(z + by)


def derived_flow(architecture: Recipe, tangent: bool) -> DerivedFlow:
    """Compile the flow of a generic pair of inputs; refused as by :func:`~derivations.kernels.generic_pair.pair_flow`."""
    flow = pair_flow(architecture, tangent)
    count, names = len(flow.states), [p.name for p in flow.pairs]
    own, pairs = [], []
    for k, o in enumerate(flow.own):
        closed = None if o.closed is None else compile_expression((MEAN, VARIANCE), o.closed)
        known = (time, *flow.first[: count + k])
        means = CompiledMeans(panels_of(o.activation), closed, None, None, None)
        own.append((means, compile_expression(known, o.mean), compile_expression(known, o.variance)))
    sides = (time, *flow.first, *flow.second, *flow.both)
    for k, p in enumerate(flow.pairs):
        laws = compile_expression((time, *flow.first), [entry for law in p.laws for entry in law])
        left, right = map(compile_means, p.activations)  # kept: equal ones are one object
        pairs.append((left, right, laws, compile_expression((*sides, *names[:k]), p.covariance)))
    return DerivedFlow(
        flow.states,
        None if flow.fixed is None else float(flow.fixed),
        tangent,
        flow.repeats,
        tuple(own),
        compile_expression((time, *flow.first), list(flow.own_rates)),
        tuple(pairs),
        compile_expression((*sides, *names), list(flow.pair_rates)),
    )


def _alone(flow: DerivedFlow, start: Array, t: float, tolerance: float) -> Callable[[float], Array]:
    """The states of each input as functions of depth."""
    if not start.size:
        return lambda _: start
    shape = start.shape

    def velocity(s: float, y: Array) -> Array:
        return flow.velocity_alone(s, y.reshape(shape)).ravel()

    scale = np.maximum(np.abs(start.ravel()), np.abs(velocity(0.0, start.ravel())) * t)
    solution = integrate(velocity, start.ravel(), t, tolerance / 10, scale, dense=True)
    return lambda s: solution.sol(s).reshape(shape)


def solve_derived(
    flow: DerivedFlow, start: Array, own: Array, t: float, tolerance: float, split: int | None, block: int
) -> list[Array]:
    """K, and Θ where it is followed, between all inputs, or between the first ones and the rest.

    Parameters
    ----------
    start : array, shape (inputs, inputs), or (split, inputs - split)
        Inner products of the inputs over their dimension.
    own : array, shape (inputs,)
        Those of each input with itself.
    block : int
        Pairs integrated together.
    """
    total = len(own)
    rows_of = slice(None) if split is None else slice(split)
    columns_of = slice(None) if split is None else slice(split, None)
    if (
        flow.fixed is not None and t > 0
    ):  # a norm at the end of a layer: after the first one all inputs are on its sphere
        if np.any(own == 0.0):
            raise ValueError("an input of norm 0 has no direction for the norm at the end of a layer; leave it out")
        size = np.sqrt(own / flow.fixed)
        start, own = start / np.outer(size[rows_of], size[columns_of]), np.full(total, flow.fixed)
    parts = 1 + flow.tangent
    if t == 0.0:
        return [start.copy() for _ in range(parts)]
    begin = np.array([np.zeros(total) if k == 0 else own for k in flow.states]).reshape(len(flow.states), total)
    flow = flow.trusted(0.0, begin)
    alone = _alone(flow, begin, t, tolerance)
    checked = flow.trusted(t, alone(t))
    if checked != flow:
        flow, alone = checked, _alone(checked, begin, t, tolerance)
    ends = dict(zip(flow.states, alone(t), strict=True))
    last = [ends.get(1, own), ends.get(2, own)][:parts]
    found = [np.empty(start.shape) for _ in range(parts)]
    height = max(1, block // max(1, start.shape[1]))
    for top in range(0, len(start), height):
        rows = slice(top, min(top + height, len(start)))
        columns = slice(top, None) if split is None else columns_of
        wanted = start[rows, top:] if split is None else start[rows]
        same = np.maximum(np.abs(wanted - own[rows, None]), np.abs(wanted - own[columns])) <= 1e-13 * own[rows, None]
        same &= flow.repeats
        wanted = np.where(same, 0.0, wanted)

        def velocity(
            s: float, y: Array, rows: slice = rows, columns: slice = columns, shape: Any = wanted.shape
        ) -> Array:
            kernels = y.reshape(parts, *shape)
            return flow.velocity(s, alone(s), rows, columns, kernels).ravel()

        sizes = [np.sqrt(np.outer(np.maximum(own, e)[rows], np.maximum(own, e)[columns])).ravel() for e in last]
        both = np.concatenate([wanted.ravel()] * parts)
        solved = integrate(velocity, both, t, tolerance, np.concatenate(sizes)).y[:, -1].reshape(parts, *wanted.shape)
        for matrix, values, end in zip(found, solved, last, strict=True):
            values[same] = np.broadcast_to(end[rows, None], values.shape)[same]
            if split is None:
                matrix[rows, top:] = values
                matrix[top:, rows] = values.T
            else:
                matrix[rows] = values
    if split is None:
        for matrix, end in zip(found, last, strict=True):
            lower = np.tril_indices(total, -1)
            matrix[lower] = matrix.T[lower]
            np.fill_diagonal(matrix, end)
    return found
