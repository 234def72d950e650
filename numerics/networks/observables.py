r"""What is recorded of networks, each with what must be carried from layer to layer for it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import sympy as sp
from numpy.typing import ArrayLike

from derivations.architectures import Recipe
from derivations.errors import unknown
from derivations.language import Program, Weights
from derivations.language.statements import Mask, Matrix
from derivations.symbols import state
from numerics.compile.differences import Differences, Pair
from numerics.compile.programs import (
    PLAIN,
    Array,
    CompiledProgram,
    Draw,
    Rules,
    Trace,
    Values,
    compiled_program,
    filtered,
    matrix_applied,
)
from numerics.compile.tangents import Dual, Tangents, unit_directions
from numerics.networks.drawings import AllWeights, Drawing, InLaw
from numerics.networks.initial import Start

Record = Callable[[Array], ArrayLike]


@dataclass
class Carried:
    """A block of networks on its way: the states in the form of the rules, and the layer that they come from."""

    x: Any
    layer: CompiledProgram | None = None
    values: Values | None = None
    size: float = 0.0
    product: Array | None = None


@dataclass(frozen=True)
class Observable(ABC):
    """Interface: something to record."""

    program: Program
    inputs: int
    positions: int

    #: Whether networks run as plain states up to the layers that are kept, as machine code runs them.
    plain = False
    #: How many layers before a kept one must be run by the rules.
    looks_back = 0
    #: Whether a value that is no number says that the network left the range of numbers.
    explodes = True

    @property
    def rules(self) -> Rules:
        """The form of the values that go through a layer."""
        return PLAIN

    @property
    def columns(self) -> int:
        """Numbers for each neuron, which decide how many samples make a block."""
        return self.inputs * self.positions

    def drawing(self, drawing: Drawing) -> Drawing:
        """How the layers' matrices are drawn, where a way is asked for."""
        return drawing

    @abstractmethod
    def start(self, start: Start, first: int, count: int, width: int, drawing: Drawing, rng: np.random.Generator) -> Carried:
        """Samples ``first`` … at layer 0."""

    def advance(
        self, carried: Carried, layer: CompiledProgram, size: float, draw: Draw, rng: np.random.Generator, trace: Trace | None
    ) -> Carried:
        """One layer on."""
        x, values = layer.advance(carried.x, size, draw, rng, self.rules, trace)
        return Carried(x, layer, values, size, carried.product)

    @abstractmethod
    def value(self, carried: Carried) -> Array:
        """What is kept, the first axis over the samples."""

    def states(self, carried: Carried) -> Array:
        """The states, finite as long as the network is in the range of numbers."""
        states: Array = carried.x
        return states


@dataclass(frozen=True)
class States(Observable):
    """The states, or a function of them."""

    function: Record | None = None
    plain = True

    @property
    def explodes(self) -> bool:  # type: ignore[override]
        """A user's own function may mean what it likes by nan."""
        return self.function is None

    def start(self, start: Start, first: int, count: int, width: int, drawing: Drawing, rng: np.random.Generator) -> Carried:
        """Plain states."""
        return Carried(start.block(drawing, first, count, width, rng))

    def value(self, carried: Carried) -> Array:
        """A copy, or what the function makes of them."""
        return np.array(self.function(carried.x) if self.function else carried.x, dtype=float)


@dataclass(frozen=True)
class Gram(States):
    r"""The Gram matrix of the coordinates, :math:`X^\top X/n`."""

    def value(self, carried: Carried) -> Array:
        """Shape (samples, coordinates, coordinates)."""
        return gram(carried.x / np.sqrt(carried.x.shape[1]))


@dataclass(frozen=True)
class ConditionalGram(States):
    r"""The mean of :math:`X^\top X/n` given the layer before, where what comes out of one matrix is the new state."""

    looks_back = 1

    def start(self, start: Start, first: int, count: int, width: int, drawing: Drawing, rng: np.random.Generator) -> Carried:
        """With the rows of its mean."""
        made = super().start(start, first, count, width, drawing, rng)
        made.product = block_of(start.rows_of_covariance(width), first, count)
        return made

    def value(self, carried: Carried) -> Array:
        """Shape (samples, coordinates, coordinates)."""
        if carried.layer is None:
            assert carried.product is not None
            return gram(carried.product)
        return gram(conditional_rows(carried, PLAIN))


@dataclass(frozen=True)
class Gap(Observable):
    r""":math:`1 - \rho` of each pair of inputs, carried as differences from the first."""

    conditional: bool = False
    explodes = False

    @property
    def rules(self) -> Differences:
        """Differences from the first input."""
        return Differences(self.inputs, self.positions)

    def drawing(self, drawing: Drawing) -> Drawing:
        """In law by factors that keep the digits of small differences."""
        return replace(drawing, precise=True) if isinstance(drawing, InLaw) else drawing

    def start(self, start: Start, first: int, count: int, width: int, drawing: Drawing, rng: np.random.Generator) -> Carried:
        """The start is in differences already."""
        both = start.block(drawing, first, count, width, rng)
        before = block_of(start.rows_of_covariance(width), first, count) if self.conditional else None
        return Carried(self.rules.form(both), product=before)

    def value(self, carried: Carried) -> Array:
        """Shape (samples, inputs, inputs)."""
        if not self.conditional:
            pair: Pair = carried.x
        elif carried.layer is None:
            assert carried.product is not None
            pair = self.rules.form(carried.product)
        else:
            pair = conditional_rows(carried, self.rules)
        return gaps(pair, self.inputs)

    def states(self, carried: Carried) -> Array:
        """Both parts."""
        return self.rules.columns(carried.x)


@dataclass(frozen=True)
class Jacobian(Observable):
    r""":math:`\partial X_\ell/\partial X_0` of each input, a product of the layers' derivatives with all weights drawn.

    Parameters
    ----------
    with_states : bool
        Whether the states stand before it, as a first column.
    """

    with_states: bool = False

    @property
    def neurons(self) -> int:
        """Coordinates of one input: neurons times positions."""
        return int(self.program.neurons.size) * self.positions

    @property
    def rules(self) -> Tangents:
        """Derivatives along the state's own coordinates."""
        return Tangents(self.inputs, self.positions, self.neurons)

    @property
    def columns(self) -> int:
        """Derivatives along all directions."""
        return self.inputs * self.positions * self.rules.directions

    def drawing(self, drawing: Drawing) -> Drawing:
        """All weights."""
        return AllWeights()

    def start(self, start: Start, first: int, count: int, width: int, drawing: Drawing, rng: np.random.Generator) -> Carried:
        """The identity."""
        x = start.block(drawing, first, count, width, rng)
        return Carried(x, product=np.broadcast_to(np.eye(self.neurons), (count, self.inputs, self.neurons, self.neurons)))

    def advance(
        self, carried: Carried, layer: CompiledProgram, size: float, draw: Draw, rng: np.random.Generator, trace: Trace | None
    ) -> Carried:
        """The derivative of the layer times that of the layers before."""
        end = self._layer(carried.x, layer, size, draw, rng, trace)
        return Carried(end.value, product=self._own(end) @ carried.product)

    def _layer(
        self, x: Array, layer: CompiledProgram, size: float, draw: Draw, rng: np.random.Generator, trace: Trace | None
    ) -> Dual:
        rules = self.rules
        unit = unit_directions(x.shape[1], self.inputs, self.positions, rules.directions)
        end, _ = layer.advance(Dual(x, np.broadcast_to(unit, (len(x), *unit.shape))), size, draw, rng, rules, trace)
        full = (*end.value.shape, rules.directions)
        return Dual(end.value, np.zeros(full) if end.along is None else np.broadcast_to(end.along, full))

    def _own(self, end: Dual) -> Array:
        """Derivatives along the state's own coordinates, shape (samples, inputs, neurons, neurons)."""
        return self._by_input(end.along, slice(0, self.neurons))

    def _by_input(self, along: Array | None, directions: slice) -> Array:
        assert along is not None
        count, n = along.shape[:2]
        parts = along[..., directions].reshape(count, n, self.inputs, self.positions, -1)
        return parts.transpose(0, 2, 1, 3, 4).reshape(count, self.inputs, n * self.positions, -1)

    def value(self, carried: Carried) -> Array:
        """Shape (samples, inputs, N, N) with N neurons times positions; rows are neurons first, then positions."""
        assert carried.product is not None
        if not self.with_states:
            return carried.product
        states = self._by_input(carried.x[..., None], slice(0, 1))
        return np.concatenate([states, carried.product], axis=3)


@dataclass(frozen=True)
class TangentKernel(Jacobian):
    r"""The empirical tangent kernel, averaged over the neurons of a layer; every weight and bias is a parameter of unit variance."""

    _places: dict[Matrix, int] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        place = self.neurons
        for statement in self.program.statements:
            if isinstance(statement, Matrix) and not statement.weights.is_mean:
                self._places[statement] = place
                place += int(statement.target.size) * self.positions

    @property
    def rules(self) -> Tangents:
        """Derivatives along the state's own coordinates, and along what each matrix puts out."""
        moved = sum(int(s.target.size) * self.positions for s in self._places)
        return Tangents(self.inputs, self.positions, self.neurons + moved, self._places)

    def start(self, start: Start, first: int, count: int, width: int, drawing: Drawing, rng: np.random.Generator) -> Carried:
        """By the first layer's weights where there are some; a fixed start has no parameters."""
        x = start.block(drawing, first, count, width, rng)
        m, p, n = self.inputs, self.positions, self.neurons
        theta = np.zeros((m, m, width, p, width, p))
        if start.rows is not None:
            own = (start.rows @ start.rows.T * (start.variance / start.rows.shape[1])).reshape(m, p, m, p)
            i = np.arange(width)
            theta[:, :, i, :, i, :] = own.transpose(0, 2, 1, 3)
        return Carried(x, product=np.broadcast_to(theta.reshape(m, m, n, n), (count, m, m, n, n)))

    def advance(
        self, carried: Carried, layer: CompiledProgram, size: float, draw: Draw, rng: np.random.Generator, trace: Trace | None
    ) -> Carried:
        r""":math:`\Theta' = A\Theta A^\top` plus what the layer's own parameters add."""
        rules, x = self.rules, carried.x
        unit = unit_directions(x.shape[1], self.inputs, self.positions, rules.directions)
        end, values = layer.advance(Dual(x, np.broadcast_to(unit, (len(x), *unit.shape))), size, draw, rng, rules, trace)
        a = self._own(end)
        theta = a[:, :, None] @ carried.product @ a.swapaxes(2, 3)[:, None]
        plain = {s: v.value for s, v in values.items()}
        for weights, read in self._applications().items():
            features = [
                filtered(weights, PLAIN.evaluated(s.body, plain, size, int(s.source.size))) for s in read
            ]
            numbers = layer.numbers[weights]
            shares = np.concatenate(features, axis=2)
            own = gram(shares * np.sqrt(numbers.variance / numbers.columns)) + numbers.bias_variance
            reached = [self._reached(end, s) for s in read]
            theta = theta + self._added(reached, own)
        return Carried(end.value, product=theta)

    def _applications(self) -> dict[Weights, list[Matrix]]:
        found: dict[Weights, list[Matrix]] = {}
        for statement in self._places:
            found.setdefault(statement.weights, []).append(statement)
        return found

    def _reached(self, end: Dual, statement: Matrix) -> Array:
        """Derivatives of the new state in what a matrix puts out, shape (samples, inputs, N, rows, positions)."""
        rows = int(statement.target.size)
        place = self._places[statement]
        by = self._by_input(end.along, slice(place, place + rows * self.positions))
        return by.reshape(*by.shape[:3], rows, self.positions)

    def _added(self, reached: list[Array], own: Array) -> Array:
        """The sum over one matrix's parameters: they meet in the same row, and there by what they multiply."""
        m, p = self.inputs, self.positions
        share = own.reshape(len(own), len(reached), m, p, len(reached), m, p)
        total: Any = 0.0
        for s, left in enumerate(reached):
            for r, right in enumerate(reached):
                total = total + np.einsum(
                    "zaikp,zapbq,zbjkq->zabij", left, share[:, s, :, :, r], right, optimize=True
                )
        return np.asarray(total)

    def value(self, carried: Carried) -> Array:
        """Shape (samples, coordinates, coordinates)."""
        m, p = self.inputs, self.positions
        assert carried.product is not None
        theta = carried.product.reshape(len(carried.product), m, m, -1, p, self.neurons // p, p)
        kernel: Array = np.einsum("zabipiq->zapbq", theta) / theta.shape[3]
        return kernel.reshape(len(kernel), m * p, m * p)


# --- what Gram matrices and gaps are made of ---


def gram(rows: Array) -> Array:
    """Sums of products over the rows."""
    product: Array = np.matmul(rows.swapaxes(-1, -2), rows)
    return product


def block_of(rows: Array, first: int, count: int) -> Array:
    """The rows of some samples."""
    return rows[first : first + count] if len(rows) > 1 else np.broadcast_to(rows, (count, *rows.shape[1:]))


def output_matrix(program: Program) -> Matrix:
    """The statement whose matrix puts out the new state.

    Raises
    ------
    ValueError
        If the update is anything else, with what it reads besides.
    """
    drawn = {s.symbol: s for s in program.statements if isinstance(s, Matrix) and not s.weights.is_mean}
    found = [s for symbol, s in drawn.items() if symbol in program.update.free_symbols]
    masks = {s.symbol for s in program.statements if isinstance(s, Mask)}
    neurons = {state, *drawn, *masks}
    if len(found) == 1:
        (last,) = found
        coefficient = sp.diff(program.update, last.symbol)
        rest = program.update.subs(last.symbol, 0)
        if not (coefficient.free_symbols | rest.free_symbols) & neurons:
            return last
    raise ValueError(
        f"given the layer before, the Gram matrix has a mean by itself where the new state is the output of one matrix, got the "
        f'update {program.update}; use record="gram" or "gap", which are of the states themselves'
    )


def conditional_rows(carried: Carried, rules: Rules) -> Any:
    """Rows whose Gram matrix is the mean of the new states' given the layer before: features, bias and mean of its matrix."""
    layer, values = carried.layer, carried.values
    assert layer is not None and values is not None
    last = output_matrix(layer.program)
    numbers, update, u = layer.numbers[last.weights], layer.program.update, last.symbol
    features = rules.features(
        last.weights, rules.evaluated(last.body, values, carried.size, int(last.source.size))
    )
    biased = np.ones(features.shape[2]) if rules.biased is None else rules.biased
    bias = np.broadcast_to(np.sqrt(numbers.bias_variance) * biased, (len(features), 1, len(biased)))
    centred = np.concatenate([features * np.sqrt(numbers.variance / numbers.columns), bias], axis=1)
    mean = matrix_applied(None, features, rules.biased, numbers)[:, :1]
    here = {s: rules.form(rules.columns(v)[:, :1]) for s, v in values.items()} | {u: rules.form(mean)}
    scaled = sp.diff(update, u) * u
    rows = [
        rules.evaluated(scaled, here | {u: rules.form(centred)}, carried.size, centred.shape[1]),
        rules.evaluated(update, here, carried.size, 1),
    ]
    return rules.form(np.concatenate([rules.columns(part) for part in rows], axis=1))


def gaps(rows: Pair, inputs: int) -> Array:
    r""":math:`1 - \rho` of each pair of inputs, shape (samples, m, m): nan where a length is 0.

    With d what one vector differs by from the other, v, and o its part orthogonal to v, :math:`\sin^2 = |o|^2/|v + d|^2`, and
    :math:`1 - \cos = \sin^2/(1 + \cos)` has no cancellation.
    """
    count = len(rows.first)
    first = rows.first.reshape(count, -1)
    rest = rows.rest.reshape(count, rows.first.shape[1], inputs - 1, -1).swapaxes(1, 2).reshape(count, inputs - 1, -1)
    size = np.max(np.abs(first), axis=1)
    size = np.where(size > 0, size, 1.0)[:, None]
    first, moves = first / size, [np.zeros_like(first), *np.moveaxis(rest / size[:, None], 1, 0)]
    out = np.zeros((count, inputs, inputs))
    for a in range(inputs):
        v = first + moves[a]
        square = np.einsum("bi,bi->b", v, v)
        for b in range(a + 1, inputs):
            d = moves[b] - moves[a]
            cross = np.einsum("bi,bi->b", v, d)
            apart = d - (cross / square)[:, None] * v
            other = np.einsum("bi,bi->b", v + d, v + d)
            sine2 = np.einsum("bi,bi->b", apart, apart) / other
            cosine = (square + cross) / np.sqrt(square * other)
            out[:, a, b] = out[:, b, a] = np.where(cosine > 0, sine2 / (1 + np.abs(cosine)), 1 - cosine)
    return out


# --- names ---


def observable(record: str | Record, architecture: Recipe, program: Program) -> Observable:
    """What a user asked to record: a word, or a function of the states.

    Raises
    ------
    ValueError
        For an unknown word, or an observable that the recipe has not.
    """
    compiled_program(program)  # refuses what is no number
    if not callable(record) and record not in RECORDS:
        raise ValueError(unknown("record", str(record), RECORDS))
    if not callable(record) and record.endswith("gap") and architecture.inputs < 2:
        raise ValueError(f"a gap is between inputs, got inputs={architecture.inputs}; set inputs=2 in the architecture")
    at = (program, architecture.inputs, architecture.coordinates // architecture.inputs)
    seen = States(*at, function=record) if callable(record) else RECORDS[record](*at)
    if isinstance(seen, ConditionalGram) or (isinstance(seen, Gap) and seen.conditional):
        output_matrix(program)
    return seen


#: What ``record`` may name.
RECORDS: dict[str, Callable[..., Observable]] = {
    "state": States,
    "gram": Gram,
    "conditional gram": ConditionalGram,
    "gap": Gap,
    "conditional gap": lambda *at: Gap(*at, conditional=True),
    "jacobian": Jacobian,
    "tangent kernel": TangentKernel,
}
