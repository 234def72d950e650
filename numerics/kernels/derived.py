"""The derived flow of a generic pair of inputs as functions of arrays: closed means where rounding does not spoil them, else quadratures.

What the flow holds is said in :mod:`derivations.kernels.generic_pair`. Values of one input stand in one array a symbol, with an
entry for each coordinate: an input, or an input and a position. Those of pairs are matrices over coordinates.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from derivations.architectures import Recipe
from derivations.kernels.generic_pair import PairFlow, pair_flow
from derivations.kernels.lowering import OwnMean, PairMean
from derivations.kernels.means import MEAN, VARIANCE
from derivations.symbols import time
from numerics.compile.jit import Kernel
from numerics.compile.jit_pairs import pair_kernel
from numerics.compile.points import compile_at_points, has_points
from numerics.kernels.means import BELOW_ONE, LEAST, CompiledMeans, compile_means, stretched
from numerics.kernels.panels import panels_of
from numerics.kernels.series import Side, block_means

Array = NDArray[np.float64]
Formula: TypeAlias = Callable[..., Any]


@dataclass(frozen=True)
class Read:
    """What a filter's weights read, position by position of an input; -1 beyond a border."""

    places: NDArray[np.intp]  # (weights, positions)

    def own(self, values: Array) -> Array:
        """The average over a filter for each coordinate."""
        size = self.places.shape[1]
        bordered = np.pad(values.reshape(-1, size), ((0, 0), (0, 1)))
        found: Array = bordered[:, self.places].mean(axis=1).ravel()
        return found

    def pairs(self, values: Array) -> Array:
        """The average over a filter for each pair of coordinates."""
        size = self.places.shape[1]
        blocks = values.reshape(len(values) // size, size, -1, size)
        bordered = np.pad(blocks, ((0, 0), (0, 1), (0, 0), (0, 1)))
        total = np.zeros_like(blocks)
        for read in self.places:
            total += bordered[:, read][:, :, :, read]
        return (total / len(self.places)).reshape(values.shape)


@dataclass(frozen=True)
class OneMean:
    """A mean over one neuron, from its mean and variance."""

    means: CompiledMeans
    mean: Formula
    variance: Formula


@dataclass(frozen=True)
class OneFilter:
    """What a filter reads of one input."""

    read: Read
    inside: Formula


@dataclass(frozen=True)
class TwoLaw:
    """The joint law of a pair of neurons: mean and variance of both, and their covariance."""

    own: tuple[Formula, ...]
    covariance: Formula
    known: int  # how many values the covariance is a formula of


@dataclass(frozen=True)
class TwoMeans:
    """A mean of a product over a pair of neurons; those with one law stand side by side."""

    left: CompiledMeans
    right: CompiledMeans
    law: TwoLaw


@dataclass(frozen=True)
class TwoFilter:
    """What a filter reads of a pair of inputs; ``own`` is the place of the same part among the steps for one input."""

    read: Read
    inside: Formula
    own: int | None


@dataclass(frozen=True)
class Block:
    """Some coordinates with some others; ``diagonal`` says where both are the same one, if they can be."""

    rows: slice
    columns: slice
    diagonal: tuple[NDArray[np.intp], ...] | None = None


@dataclass(frozen=True)
class DerivedFlow:
    """The flow of a pair of inputs as functions of arrays; make it with :func:`derived_flow`."""

    flow: PairFlow
    tangent: bool
    own: tuple[OneMean | OneFilter, ...]
    own_rates: Formula
    pairs: tuple[TwoMeans | TwoFilter, ...]
    pair_rates: Formula

    @property
    def positions(self) -> int:
        """How many coordinates an input has where filters read them."""
        return len(self.flow.filters[0][0]) if self.flow.filters else 1

    @property
    def from_points(self) -> bool:
        """Whether means over points occur in it."""
        return has_points((*self.flow.own_rates, *self.flow.pair_rates))

    def values(self, t: float, states: Array, for_pairs: bool = False) -> tuple[list[Array], list[Array]]:
        """The states of all coordinates and what is found from one alone; and what filters read of it."""
        values, read, zero = list(states), [], np.zeros(states.shape[1])
        for k, step in enumerate(self.own):
            if for_pairs and k not in self.flow.needed:
                values.append(zero)
                read.append(zero)
                continue
            if isinstance(step, OneFilter):
                inside = step.inside(t, *values) + zero
                values.append(step.read.own(inside))
            else:
                variance = np.maximum(step.variance(t, *values) + zero, 0.0)
                inside = step.means.first(step.mean(t, *values) + zero, variance)
                values.append(inside)
            read.append(inside)
        return values, read

    def velocity_alone(self, t: float, states: Array) -> Array:
        """Rates of M, K and Θ of each coordinate."""
        speed = np.empty_like(states)
        for row, rate in zip(speed, self.own_rates(t, *self.values(t, states)[0]), strict=True):
            row[:] = rate
        return speed

    def velocity(self, t: float, states: Array, block: Block, kernels: Array, jit: Kernel | None = None) -> Array:
        """Rates of K and Θ of a block of pairs, given the states of all coordinates."""
        values, read = self.values(t, states, for_pairs=True)
        rows, columns = block.rows, block.columns
        speed = np.empty_like(kernels)
        if jit is not None:
            left, right = (np.ascontiguousarray([v[side] for v in values]) for side in (rows, columns))
            jit(t, left, right, kernels, BELOW_ONE, LEAST, speed)
            return speed
        given = [t, *(v[rows, None] for v in values), *(v[columns] for v in values), *kernels]
        zero, met = np.zeros(states.shape[1]), None
        with np.errstate(divide="ignore", invalid="ignore"):  # what is not finite is refused by the integration
            for step in self.pairs:
                if isinstance(step, TwoFilter):
                    inside = np.array(np.broadcast_to(step.inside(*given), kernels[0].shape))
                    if block.diagonal is not None and step.own is not None:
                        inside[block.diagonal] = read[step.own][rows][block.diagonal[0]]
                    given.append(step.read.pairs(inside))
                    continue
                if step.law is not met:
                    met, law = step.law, [zero + entry(t, *values) for entry in step.law.own]
                    between = np.broadcast_to(step.law.covariance(*given[: step.law.known]), kernels[0].shape)
                given.append(_pair_means(step.left, step.right, law, rows, columns, between))
            for row, rate in zip(speed, self.pair_rates(*given), strict=True):
                row[:] = rate
        return speed

    def trusted(self, t: float, states: Array) -> DerivedFlow:
        """With closed means only where rounding does not spoil them at these states."""
        values, zero = list(states), np.zeros(states.shape[1])
        own: list[OneMean | OneFilter] = []
        pairs: list[TwoMeans | TwoFilter] = []
        for step in self.own:
            if isinstance(step, OneFilter):
                own.append(step)
                values.append(step.read.own(step.inside(t, *values) + zero))
                continue
            variance = np.maximum(step.variance(t, *values) + zero, 0.0)
            own.append(replace(step, means=step.means.trusted(variance)))
            values.append(step.means.first(step.mean(t, *values) + zero, variance))
        for two in self.pairs:
            if isinstance(two, TwoFilter):
                pairs.append(two)
                continue
            _, first, _, second = (np.maximum(zero + entry(t, *values), 0.0) for entry in two.law.own)
            left = two.left.trusted(first)
            pairs.append(replace(two, left=left, right=left if two.left is two.right else two.right.trusted(second)))
        return replace(self, own=tuple(own), pairs=tuple(pairs))

    def jit(self) -> Kernel:
        """The flow of pairs as machine code.

        Raises
        ------
        ValueError
            If the means move, or one over pairs has no closed form: the array code integrates these.
        """
        if self.flow.moving:
            raise ValueError('no machine-code kernel for pairs whose means move; use backend="auto"')
        products: list[Any] = []
        for step in self.pairs:
            if isinstance(step, TwoFilter):
                raise ValueError(
                    'no machine-code kernel for flows that are not integrated pair by pair; use backend="auto"'
                )
            closed = step.left.closed_product
            products.append(None if closed is None or step.left is not step.right else closed.expression)
        if any(product is None for product in products) or not self.flow.centred:
            raise ValueError('no machine-code kernel where a mean over pairs has no closed form; use backend="auto"')
        return pair_kernel(self.flow, tuple(products))


def _pair_means(
    left: CompiledMeans, right: CompiledMeans, law: Sequence[Array], rows: slice, columns: slice, covariance: Array
) -> Array:
    """E f(U) g(V) for a block of pairs; the law has mean and variance of U and of V for all coordinates."""
    first_mean, second_mean, shape = law[0], law[2], covariance.shape
    first, second = np.maximum(law[1], 0.0), np.maximum(law[3], 0.0)
    if left is right:
        return left.pairs(first_mean, first)(rows, columns, covariance)
    deviations = [np.sqrt(np.maximum(v, LEAST)) for v in (first, second)]
    stretch = [stretched(v) if v.min() < LEAST else np.ones_like(v) for v in (first, second)]
    between = covariance * stretch[0][rows, None] * stretch[1][columns]
    rho = np.broadcast_to(np.clip(between / (deviations[0][rows, None] * deviations[1][columns]), -1.0, 1.0), shape)
    sides = [
        Side.of(f.panels, mean, d)
        for f, mean, d in zip((left, right), (first_mean, second_mean), deviations, strict=True)
    ]
    total = block_means(sides[0], sides[1], rows, columns, rho)
    left_size, right_size = left.shrunk(first_mean, first), right.shrunk(second_mean, second)
    scaled: Array = total * left_size[rows, None] * right_size[columns]
    return scaled


@lru_cache(maxsize=32)
def derived_flow(architecture: Recipe, tangent: bool, points: int = 0) -> DerivedFlow:
    """Compile the flow of a generic pair of inputs; refused as by :func:`~derivations.kernels.generic_pair.pair_flow`."""
    compiled = partial(compile_at_points, points=points)
    flow = pair_flow(architecture, tangent)
    count = len(flow.states)
    reads = [Read(np.array([[-1 if a is None else a for a in tap] for tap in taps])) for taps in flow.filters]
    own: list[OneMean | OneFilter] = []
    pairs: list[TwoMeans | TwoFilter] = []
    for k, o in enumerate(flow.own):
        known = (time, *flow.first[: count + k])
        if isinstance(o, OwnMean):
            closed = None if o.closed is None else compiled((MEAN, VARIANCE), o.closed)
            means = CompiledMeans(panels_of(o.activation), closed_first=closed)
            own.append(OneMean(means, _formula(compiled, known, o.mean), _formula(compiled, known, o.variance)))
        else:
            own.append(OneFilter(reads[o.filter], compiled(known, o.inside)))
    parts = {(o.filter, o.tag): k for k, o in enumerate(flow.own) if not isinstance(o, OwnMean)}
    sides = (time, *flow.first, *flow.second, *flow.both)
    names = [p.name for p in flow.pairs]
    laws: dict[Any, TwoLaw] = {}
    for k, p in enumerate(flow.pairs):
        here = (*sides, *names[:k])
        if isinstance(p, PairMean):
            if (p.laws, p.covariance) not in laws:
                entries = tuple(_formula(compiled, (time, *flow.first), entry) for law in p.laws for entry in law)
                laws[p.laws, p.covariance] = TwoLaw(entries, _formula(compiled, here, p.covariance), len(here))
            left, right = map(compile_means, p.activations)  # kept: equal ones are one object
            pairs.append(TwoMeans(left, right, laws[p.laws, p.covariance]))
        else:
            inside = compiled(here, p.inside)
            pairs.append(TwoFilter(reads[p.filter], inside, parts.get((p.filter, p.tag))))
    return DerivedFlow(
        flow,
        tangent,
        tuple(own),
        compiled((time, *flow.first), list(flow.own_rates)),
        tuple(pairs),
        compiled((*sides, *names), list(flow.pair_rates)),
    )


def _formula(compiled: Callable[..., Formula], known: Sequence[Any], expr: Any) -> Formula:
    """A formula as a function of arrays; a symbol is picked out, and a number is said."""
    if expr in known:
        place = known.index(expr)
        return lambda *values: values[place]
    if expr.is_number:
        number = float(expr)
        return lambda *_: number
    return compiled(known, expr)
