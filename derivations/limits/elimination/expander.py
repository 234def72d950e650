r"""What is known while a program is expanded: the value of each statement's symbol for each input, and every random number drawn.

A coordinate is an input, or one of its tangents: coordinates m, …, 2m − 1 are those of the first direction.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import sympy as sp

from derivations.language.statements import Back, Mask, Matrix, Mean, Mix, Neurons, Program, Statement, read_symbols
from derivations.language.weights import Weights
from derivations.limits.elimination.averages import FilterAverage, LayerAverage, layer_average, reduced
from derivations.limits.elimination.draws import Coins, Fluctuations, Random
from derivations.limits.elimination.heads import heads
from derivations.limits.elimination.held import HeldMean, HeldSum, held
from derivations.limits.elimination.series import Series, taylor
from derivations.limits.slopes import slope
from derivations.symbols import input_symbols, state, step


class Expander:
    """The state of one expansion, which the rules of the statements read and extend; parameters as for ``expansion.expand``."""

    def __init__(
        self,
        program: Program,
        inputs: int,
        order: int,
        directions: int,
        parameters: bool | frozenset[Weights],
        infinite: bool,
        fixed: Mapping[sp.Expr, sp.Expr],
        name_sums: bool,
        from_zero: bool = False,
    ) -> None:
        self.program, self.inputs, self.order, self.parameters = program, inputs, order, parameters
        self.infinite, self.fixed, self.name_sums = infinite, fixed, name_sums and not infinite
        self.states = input_symbols(state, inputs * (1 + directions))
        starts = (sp.S.Zero if from_zero and c >= inputs else x for c, x in enumerate(self.states))
        self.values: list[dict[sp.Symbol, sp.Expr]] = [{state: x} for x in starts]
        self.centred = infinite and not any(map(_fluctuates, program.statements))
        made = {s.target.index for s in program.statements if isinstance(s, Matrix | Back) and s.target.size == 1}
        # what a transpose reads is told from the matrix's other numbers by its neurons
        self.single = frozenset(made) - {0} - {s.source.index for s in program.statements if isinstance(s, Back)}
        self.others = dict(program.others)
        # by direction and two coordinates of an input
        self.pairs: dict[tuple[int, int, int], dict[sp.Symbol, sp.Expr]] = {}
        self.fluctuations: dict[sp.Symbol, Fluctuations] = {}
        self.variables: dict[int, list[sp.Symbol]] = {0: list(self.states)}
        self.sizes = {0: program.neurons.size}
        self.few = {0} if program.neurons.is_few else set[int]()
        # of each matrix, application by application: what it reads for each coordinate; and all that comes out
        self.read: dict[Weights, list[list[Series]]] = {}
        self.out: dict[Weights, list[sp.Symbol]] = {}
        self.own: dict[Weights, list[sp.Symbol]] = {}  # what comes out of an independent copy, if parameters move
        self.places: dict[int, tuple[sp.Symbol, ...]] = {}  # of layers whose neurons are not alike
        self.back: dict[Back, list[sp.Symbol]] = {}  # of a transpose, what is new in it for each coordinate
        self.backs: dict[Weights, list[tuple[Back, list[Series]]]] = {}
        self.turned = {s.weights for s in program.statements if isinstance(s, Back)}
        self.biases: dict[Weights, sp.Symbol] = {}  # of matrices that are not Gaussian
        self.met: dict[object, list[sp.Expr]] = {}  # averages of products over a layer, order by order
        self._done: dict[object, Series] = {}
        self._sums: dict[sp.Expr, HeldMean] = {}
        self._names: dict[tuple[sp.Symbol, int, bool | None], sp.Symbol] = {}
        self.coins: dict[sp.Symbol, Coins] = {}
        self.origin: dict[sp.Symbol, tuple[Matrix | Back | Mask | Mix | Weights, int | None]] = {}
        found = () if directions and not infinite else heads(program)  # how shares move at finite width is written out
        wide = [h for h in found if h.is_plain or (infinite and not directions and not h.scores.over.is_few)]
        self.heads = {head.mix: head for head in wide if all(map(self.is_gaussian, head.matrices))}
        self.inside = {s.symbol for head in self.heads.values() for s in head.inside}
        self.mixed: dict[sp.Symbol, list[Random]] = {}

    def place(self, c: int) -> tuple[int, int]:
        """The direction of a coordinate, 0 for the state itself, and its input."""
        return divmod(c, self.inputs)

    def beside(self, a: int) -> range:
        """The coordinates of the same input."""
        first = a - a % self.program.positions
        return range(first, first + self.program.positions)

    def pair(self, direction: int, a: int, b: int) -> dict[sp.Symbol, sp.Expr]:
        """What symbols of pairs of positions stand for, at a pair of coordinates of one input."""
        return self.pairs.setdefault((direction, a, b), {})

    def fresh(self, name: str, coordinates: range, **assumptions: bool) -> list[sp.Symbol]:
        """A number of a generic neuron for each coordinate, called as its statement is."""
        several = len(self.states) > 1
        return [sp.Dummy(f"{name}^{c + 1}" if several else name, **assumptions) for c in coordinates]

    def belongs(self, neurons: Neurons, fresh: list[sp.Symbol]) -> None:
        """Count random numbers among those of a layer's generic neuron."""
        self.variables.setdefault(neurons.index, []).extend(fresh)
        self.sizes[neurons.index] = neurons.size
        if neurons.is_few:
            self.few.add(neurons.index)

    def is_single(self, layer: int) -> bool:
        """Whether a layer inside the block is one neuron, whose numbers are then the same wherever they are read."""
        return layer in self.single

    def drawn_in(self, layer: int) -> int | None:
        """The layer whose neurons a draw is for; None where it is the same for all."""
        return None if self.is_single(layer) else layer

    def moves(self, weights: Weights) -> bool:
        """Whether the entries of a matrix move too."""
        return self.parameters if isinstance(self.parameters, bool) else weights in self.parameters

    def is_gaussian(self, statement: Matrix) -> bool:
        """Whether finitely many neurons of what comes out are jointly Gaussian, given what is read.

        A sum of infinitely many independent numbers is so, and so are finitely many coordinates of an infinite orthogonal matrix.
        """
        layers = [statement.source, statement.target] if statement.weights.is_orthogonal else [statement.source]
        return statement.weights.is_gaussian or (self.infinite and not all(layer.is_few for layer in layers))

    def _known(self, body: sp.Expr, direction: int, a: int, b: int) -> dict[sp.Symbol, sp.Expr]:
        """What the symbols of a body stand for at a coordinate and another one of its input."""
        here, there = self.values[direction * self.inputs + a], self.values[direction * self.inputs + b]
        known = {**here, **self.pairs.get((direction, a, b), {})}
        known |= {twin: there[own] for twin, own in self.others.items() if own in there}
        return {s: known[s] for s in body.free_symbols if s in known}

    def series(self, body: sp.Expr, c: int, other: int | None = None) -> Series:
        """Taylor coefficients of a body, or of its differential, at one coordinate, and another one of the same input."""
        direction, a = self.place(c)
        b = a if other is None else other
        values = self._known(body, 0, a, b)
        if direction:
            moved = {s: value for s, value in self._known(body, direction, a, b).items() if value != 0}
            moves = {s: sp.Dummy(f"d{s.name}", real=True) for s in moved}
            body = sp.Add(*(slope(body, s) * moves[s] for s in sorted(moves, key=sp.default_sort_key)))
            values |= {moves[s]: value for s, value in moved.items()}
        return self.expanded(body, values)

    def expanded(self, body: sp.Expr, values: dict[sp.Symbol, sp.Expr]) -> Series:
        """A body with a name for each coefficient of what it holds, the same for all inputs, so that it is expanded once."""
        moving: dict[sp.Symbol, sp.Expr] = {}
        rule: dict[sp.Symbol, sp.Expr] = {}
        for symbol, value in values.items():
            series = taylor(value, self.order)
            if not any(series[1:]):
                rule[symbol] = value
                continue
            names = {k: self._name(symbol, k, c) for k, c in enumerate(series) if c != 0}
            moving[symbol] = sp.Add(*(step**k * name for k, name in names.items()))
            rule |= {name: series[k] for k, name in names.items()}
        key = body, frozenset(moving.items())
        if key not in self._done:
            self._done[key] = taylor(body.xreplace(moving), self.order)
        drawn = [v for found in self.variables.values() for v in found]
        return tuple(held(c.xreplace(rule), drawn) for c in self._done[key])

    def named(self, value: sp.Expr) -> sp.Expr:
        """A sum of averages of the state under one name, where sums are to be named; anything else as it is."""
        # whatever is drawn is a dummy
        drawn = any(isinstance(v, sp.Dummy) and not isinstance(v, HeldMean) for v in value.atoms(sp.Symbol))
        if (
            not (self.name_sums and value.is_Add)
            or drawn
            or value.free_symbols & set(self.states)
            or value.has(FilterAverage)
        ):
            return value
        if value not in self._sums:
            self._sums[value] = HeldSum.of("m", lambda: value)
        return self._sums[value]

    def _name(self, symbol: sp.Symbol, k: int, value: sp.Expr) -> sp.Symbol:
        key = symbol, k, value.is_positive
        if key not in self._names:
            sign = {"positive": True} if value.is_positive else {"real": True}
            self._names[key] = sp.Dummy(f"{symbol.name}_{k}", **sign)
        return self._names[key]

    def average(self, body: sp.Expr, layer: int) -> sp.Expr:
        """The average of a body over a layer's neurons; one neuron's number is its own average."""
        if self.is_single(layer):
            return reduced(body)
        found = self._without_odd(layer_average(body, self.variables[layer], layer), layer)
        return reduced(found.xreplace(self.fixed) if self.fixed and layer == 0 else found)

    def _without_odd(self, found: sp.Expr, layer: int) -> sp.Expr:
        """Without averages over infinitely many neurons of what changes its sign with a matrix, which are their means and so 0."""
        if not self._signed or layer in self.few:
            return found
        odd = {
            node
            for node in found.atoms(LayerAverage)
            for weights in self._signed
            if node.body.xreplace({v: -v for v in self.out.get(weights, ())}) == -node.body
        }
        return found.xreplace(dict.fromkeys(odd, sp.S.Zero))

    @cached_property
    def _signed(self) -> tuple[Weights, ...]:
        """At infinite width the centred Gaussian matrices with rows that are alike whose output is added up and averaged, and read by nothing else."""
        matrices = [s for s in self.program.statements if isinstance(s, Matrix)] if self.infinite else []
        kept = {s.weights: s for s in matrices if self.is_gaussian(s) and not s.weights.is_correlated}
        read = [
            read_symbols(s)
            for s in self.program.statements
            if not (isinstance(s, Mean) and s.power == 1 and not s.over.is_few)
        ]
        elsewhere = set().union(*read)
        shifted = {s.weights for s in matrices if s.symbol in elsewhere} | self.turned
        return tuple(w for w in kept if w not in shifted and w.mean == 0 and w.bias_mean == 0)


def _fluctuates(statement: Statement) -> bool:
    """Whether averages over infinitely many neurons depend on what is drawn here, so that those that are linear in tangents are 0 in the mean only."""
    if isinstance(statement, Matrix | Back):
        return statement.target.is_few
    return isinstance(statement, Mean) and statement.power != 1
