"""Neurons that are not alike, as behind weights with covariances of rows or columns: all of them, written out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

import sympy as sp

from derivations.binding import Binding
from derivations.diffusion import Diffusion
from derivations.entries import LazyCovariance
from derivations.language import Program
from derivations.language.statements import Matrix
from derivations.limits.elimination.averages import LayerAverage
from derivations.limits.elimination.heads import heads
from derivations.limits.elimination.held import released
from derivations.limits.elimination.labels import Exchange
from derivations.limits.elimination.moments import LayerMoments
from derivations.limits.gram import upper
from derivations.symbols import neuron_symbols, state


def is_unlike(program: Program) -> bool:
    """Whether a matrix tells neurons apart."""
    return any(isinstance(s, Matrix) and s.weights.is_correlated for s in program.statements)


@dataclass(frozen=True)
class UnlikeNeurons:
    """A layer's moments with what is 1 for one neuron only put in neuron by neuron.

    Parameters
    ----------
    layer : LayerMoments
    own : mapping from symbols to sequences, optional
        Numbers that each neuron has.
    """

    layer: LayerMoments
    own: Mapping[sp.Symbol, Sequence[sp.Expr]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.layer.at_rest()

    @property
    def coordinates(self) -> int:
        """Numbers that a neuron has: its states, and its entries of tangents."""
        return len(self.layer.states)

    @property
    def count(self) -> int:
        """How many neurons there are."""
        return int(self.layer.program.neurons.size)

    @property
    def states(self) -> tuple[sp.Symbol, ...]:
        """Of all neurons."""
        return neuron_symbols(state, self.count, self.coordinates)

    def at(self, moment: sp.Expr, i: int, j: int, rule: Mapping[sp.Symbol, sp.Expr] | None = None) -> sp.Expr:
        """A moment of the neurons i and j with all averages written out, and numbers in the place of some of :attr:`states`."""
        layer, m = self.layer, self.coordinates
        states = [(rule or {}).get(x, x) for x in self.states]

        def neuron(i: int, symbols: tuple[sp.Symbol, ...], places: tuple[sp.Symbol, ...]) -> dict[sp.Symbol, sp.Expr]:
            return dict(zip(symbols, states[i * m : (i + 1) * m], strict=True)) | _one_of(places, i)

        expr = released(moment).xreplace({symbol: numbers[i] for symbol, numbers in self.own.items()})
        while nodes := sorted(expr.atoms(LayerAverage), key=lambda v: len(v.atoms(LayerAverage))):
            node, count = nodes[0], int(layer.expansion.sizes[nodes[0].layer])
            places = layer.expansion.places.get(node.layer, ())
            rows = [neuron(k, layer.states, places) if node.layer == 0 else _one_of(places, k) for k in range(count)]
            expr = expr.xreplace({node: sp.Add(*(node.body.xreplace(row) for row in rows)) / count})
        here, there = neuron(i, layer.states, layer.places), neuron(j, layer.other, layer.other_places)
        return sp.expand(expr.xreplace(here | there))

    def drift(self, i: int, a: int, rule: Mapping[sp.Symbol, sp.Expr] | None = None) -> sp.Expr:
        """Of a neuron's coordinate."""
        return self.at(self.layer.drift(a), i, i, rule)

    def covariance(self, i: int, a: int, j: int, b: int, rule: Mapping[sp.Symbol, sp.Expr] | None = None) -> sp.Expr:
        """Of coordinates of two neurons, or of one."""
        moment = self.layer.covariance(*sorted((a, b))) if i == j else self.layer.between(a, b)
        return self.at(moment, i, j, rule)

    @property
    def limit(self) -> Diffusion:
        """Of all neurons."""
        layer, m = self.layer, self.coordinates

        @cache
        def entry(row: int, column: int) -> sp.Expr:
            return _in_lowest_terms(self.covariance(*divmod(column, m), *divmod(row, m)))

        drift = [_in_lowest_terms(self.drift(i, a)) for i in range(self.count) for a in range(m)]
        p = layer.inputs  # of tangents one stands for all
        for a, b in (*upper(p), (p, p)) if layer.directions else patterns(layer, m):
            layer.covariance(a, b), layer.between(a, b)  # what has no closed form is refused here
        domain = range_of(layer, self.states)
        return Diffusion(self.states, sp.ImmutableMatrix(drift), LazyCovariance(entry), domain)


def range_of(layer: LayerMoments, states: Sequence[sp.Symbol]) -> sp.Set:
    """The states of all neurons that a layer puts out: where averages that every layer fixes have their values."""
    n = int(layer.program.neurons.size)
    m = len(states) // n
    conditions = [
        sp.Eq(sp.Add(*(x**power for x in states[a::m])) / n, value)
        for a in range(m // (1 + layer.directions))  # tangents keep no norm
        for power, value in layer.fixed_powers.items()
    ]
    whole = sp.S.Reals ** len(states)
    return sp.ConditionSet(sp.Tuple(*states), sp.And(*conditions), whole) if conditions else sp.S.Reals


def _in_lowest_terms(entry: sp.Expr) -> sp.Expr:
    """Sums with denominators outside of means, if these are polynomials: others, as of SiLU, would be multiplied out over all neurons."""
    walk, below = sp.preorder_traversal(entry), list[sp.Expr]()
    for part in walk:
        if isinstance(part, Binding):
            walk.skip()
        elif part.is_Pow and not part.exp.is_nonnegative:
            below.append(part.base)
    return sp.cancel(entry) if below and not any(base.has(sp.Function) for base in below) else entry


def patterns(layer: LayerMoments, coordinates: int) -> Sequence[tuple[int, ...]]:
    """Pairs of coordinates of which all others are the same under other names."""
    if layer.directions or heads(layer.program):
        return upper(coordinates)
    return Exchange.of(layer.program).different(upper(coordinates))


def _one_of(places: tuple[sp.Symbol, ...], k: int) -> dict[sp.Symbol, sp.Expr]:
    return {e: sp.Integer(q == k) for q, e in enumerate(places)}
