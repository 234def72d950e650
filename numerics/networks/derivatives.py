r"""Derivatives of networks by explicit products, layer by layer, with all weights drawn: Jacobians and tangent kernels."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from derivations.language import Program, Weights
from derivations.language.entries import Correlated
from derivations.language.statements import Back, Between, Mask, Matrix
from numerics.compile.programs import PLAIN, Array, CompiledProgram, Draw, Trace, Values, filtered
from numerics.compile.tangents import Dual, Tangents, unit_directions
from numerics.networks.drawings import AllWeights, Drawing
from numerics.networks.initial import Start
from numerics.networks.observables import Carried, Observable, gram


@dataclass(frozen=True)
class Jacobian(Observable):
    r""":math:`\partial X_\ell/\partial X_0` of each input, a product of the layers' derivatives with all weights drawn.

    Parameters
    ----------
    with_states : bool
        Whether the states stand before it, as a first column.
    """

    with_states: bool = False

    #: How many numbers are kept of a network, where that is not the Jacobian.
    kept = 0

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

    def start(
        self, start: Start, first: int, count: int, width: int, drawing: Drawing, rng: np.random.Generator
    ) -> Carried:
        """The identity."""
        x = start.block(drawing, first, count, width, rng)
        return Carried(
            x, product=np.broadcast_to(np.eye(self.neurons), (count, self.inputs, self.neurons, self.neurons))
        )

    def advance(
        self,
        carried: Carried,
        layer: CompiledProgram,
        size: float,
        draw: Draw,
        rng: np.random.Generator,
        trace: Trace | None,
    ) -> Carried:
        """The derivative of the layer times that of the layers before."""
        x, along, _ = self._layer(carried.x, layer, size, draw, rng, trace)
        return Carried(x, product=self._own(along) @ self._product(carried))

    @staticmethod
    def _product(carried: Carried) -> Array:
        assert carried.product is not None
        return carried.product

    def _layer(
        self, x: Array, layer: CompiledProgram, size: float, draw: Draw, rng: np.random.Generator, trace: Trace | None
    ) -> tuple[Array, Array, Values]:
        """The states after a layer, their derivatives along all directions, and the values of the statements."""
        rules = self.rules
        unit = unit_directions(x.shape[1], self.inputs, self.positions, rules.directions)
        begin = Dual(x, np.broadcast_to(unit, (len(x), *unit.shape)))
        end, values = layer.advance(begin, size, draw, rng, rules, trace)
        along = np.zeros(()) if end.along is None else end.along
        plain = {s: v.value for s, v in values.items()}
        return end.value, np.broadcast_to(along, (*end.value.shape, rules.directions)), plain

    def _own(self, along: Array) -> Array:
        """Derivatives along the state's own coordinates, shape (samples, inputs, neurons, neurons)."""
        return self._by_input(along, slice(0, self.neurons))

    def _by_input(self, along: Array, directions: slice) -> Array:
        count, n = along.shape[:2]
        parts = along[..., directions].reshape(count, n, self.inputs, self.positions, -1)
        return parts.transpose(0, 2, 1, 3, 4).reshape(count, self.inputs, n * self.positions, -1)

    def value(self, carried: Carried) -> Array:
        """Shape (samples, inputs, N, N) with N neurons times positions; rows are neurons first, then positions."""
        product = self._product(carried)
        if not self.with_states:
            return product
        return np.concatenate([self._by_input(carried.x[..., None], slice(0, 1)), product], axis=3)


@dataclass(frozen=True)
class TangentGram(Jacobian):
    r"""Squared norms and product of the state and one tangent of one input, :math:`(x, v)^\top(x, v)/n`, from a Gaussian start.

    Parameters
    ----------
    second : tuple of tuple of float
        The second moments of state and tangent at the start.
    exact : bool
        Whether the start has them exactly, or its neurons in the mean.
    """

    second: tuple[tuple[float, ...], ...] = ((1.0, 0.0), (0.0, 1.0))
    exact: bool = False

    kept = 4

    @property
    def rules(self) -> Tangents:
        """The derivative along one direction."""
        return Tangents(self.inputs, self.positions, 1)

    def start(
        self, start: Start, first: int, count: int, width: int, drawing: Drawing, rng: np.random.Generator
    ) -> Carried:
        """State and tangent."""
        rows = rng.standard_normal((count, width, 2))
        if self.exact:
            roots = np.linalg.cholesky(gram(rows) / width)
            rows = np.linalg.solve(roots, rows.swapaxes(1, 2)).swapaxes(1, 2)
        rows = rows @ np.linalg.cholesky(np.array(self.second)).T
        return Carried(np.ascontiguousarray(rows[..., :1]), product=np.ascontiguousarray(rows[..., 1:]))

    def advance(
        self,
        carried: Carried,
        layer: CompiledProgram,
        size: float,
        draw: Draw,
        rng: np.random.Generator,
        trace: Trace | None,
    ) -> Carried:
        """The derivative of the layer along the tangent."""
        v = self._product(carried)
        end, _ = layer.advance(Dual(carried.x, v[..., None]), size, draw, rng, self.rules, trace)
        along = np.zeros((*end.value.shape, 1)) if end.along is None else end.along
        return Carried(end.value, product=np.broadcast_to(along[..., 0], v.shape))

    def value(self, carried: Carried) -> Array:
        """Shape (samples, 2, 2)."""
        rows = np.concatenate([carried.x, self._product(carried)], axis=2)
        return gram(rows) / rows.shape[1]


@dataclass(frozen=True)
class TangentKernel(Jacobian):
    r"""The empirical tangent kernel, averaged over the neurons of a layer; every weight and bias is a parameter of unit variance."""

    kept = 1

    _places: dict[Matrix, tuple[int, bool]] = field(default_factory=dict, repr=False, compare=False)
    _directions: int = field(default=0, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Lay out the directions: those of the state, then of what each matrix puts out.

        Raises
        ------
        ValueError
            For a layer in which a weight moves more than what its matrix puts out, or weights move together.
        """
        for s in self.program.statements:
            if isinstance(s, Back):
                raise ValueError(f"tangent kernels are simulated without transposes, got {s.weights.name}.T")
        place, applied = self.neurons, Counter(s.weights for s in self.program.statements if isinstance(s, Matrix))
        for statement in self.program.statements:
            if isinstance(statement, Matrix) and not statement.weights.is_mean:
                if isinstance(statement.weights.law, Correlated):
                    raise ValueError(
                        f"the entries of {statement.weights.name} are correlated, so that they are no parameters of their own variance, over "
                        "which a tangent kernel is a sum; record the state, its Gram matrix or its Jacobian"
                    )
                # what is read neuron by neuron to the end moves that neuron alone
                together = applied[statement.weights] == 1 and not _spreads(self.program, statement)
                self._places[statement] = place, together
                place += (1 if together else int(statement.target.size)) * self.positions
        object.__setattr__(self, "_directions", place)

    @property
    def rules(self) -> Tangents:
        """Derivatives along the state's own coordinates, and along what each matrix puts out."""
        return Tangents(self.inputs, self.positions, self._directions, self._places)

    def start(
        self, start: Start, first: int, count: int, width: int, drawing: Drawing, rng: np.random.Generator
    ) -> Carried:
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
        self,
        carried: Carried,
        layer: CompiledProgram,
        size: float,
        draw: Draw,
        rng: np.random.Generator,
        trace: Trace | None,
    ) -> Carried:
        r""":math:`\Theta' = A\Theta A^\top` plus what the layer's own parameters add."""
        x, along, values = self._layer(carried.x, layer, size, draw, rng, trace)
        a = self._own(along)
        theta = a[:, :, None] @ self._product(carried) @ a.swapaxes(2, 3)[:, None]
        for weights, read in self._applications().items():
            numbers = layer.numbers[weights]
            features = [filtered(weights, PLAIN.evaluated(s.body, values, size, int(s.source.size))) for s in read]
            scale = np.sqrt(numbers.variance / numbers.columns)
            own = gram(np.concatenate(features, axis=2) * scale) + numbers.bias_variance
            if self._places[read[0]][1]:
                theta = theta + self._added_alone(along, read[0], own)
            else:
                theta = theta + self._added([self._reached(along, s) for s in read], own)
        return Carried(x, product=theta)

    def _applications(self) -> dict[Weights, list[Matrix]]:
        found: dict[Weights, list[Matrix]] = {}
        for statement in self._places:
            found.setdefault(statement.weights, []).append(statement)
        return found

    def _reached(self, along: Array, statement: Matrix) -> Array:
        """Derivatives of the new state in what a matrix puts out, shape (samples, inputs, N, rows, positions)."""
        rows, (place, _) = int(statement.target.size), self._places[statement]
        by = self._by_input(along, slice(place, place + rows * self.positions))
        return by.reshape(*by.shape[:3], rows, self.positions)

    def _added(self, reached: list[Array], own: Array) -> Array:
        """The sum over one matrix's parameters: they meet in the same row, and there by what they multiply."""
        m, p, n = self.inputs, self.positions, self.neurons
        share = own.reshape(len(own), len(reached), m, p, len(reached), m, p)
        total: Any = 0.0
        for s, left in enumerate(reached):
            for r, right in enumerate(reached):
                mixed = np.einsum("zaikp,zapbq->zabikq", left, share[:, s, :, :, r])
                flat = right.reshape(len(own), 1, m, n, -1).swapaxes(3, 4)
                total = total + mixed.reshape(len(own), m, m, n, -1) @ flat
        return np.asarray(total)

    def _added_alone(self, along: Array, statement: Matrix, own: Array) -> Array:
        """The same where each of the matrix's rows moves one neuron."""
        m, p, (place, _) = self.inputs, self.positions, self._places[statement]
        by = along[..., place : place + p].reshape(len(along), -1, m, p, p)  # neuron, input, position, moved position
        diagonal = np.einsum("ziapr,zarbs,zibqs->izabpq", by, own.reshape(len(own), m, p, m, p), by)
        added = np.zeros((len(own), m, m, len(diagonal), p, len(diagonal), p))
        i = np.arange(len(diagonal))
        added[:, :, :, i, :, i, :] = diagonal
        return added.reshape(len(own), m, m, self.neurons, self.neurons)

    def value(self, carried: Carried) -> Array:
        """Shape (samples, coordinates, coordinates)."""
        m, p = self.inputs, self.positions
        product = self._product(carried)
        theta = product.reshape(len(product), m, m, -1, p, self.neurons // p, p)
        kernel: Array = np.einsum("zabipiq->zapbq", theta) / theta.shape[3]
        return kernel.reshape(len(kernel), m * p, m * p)


def _spreads(program: Program, source: Matrix) -> bool:
    """Whether what a matrix puts out reaches other neurons than its own: through another matrix or an average."""
    seen = {source.symbol, *(twin for twin, symbol in program.others if symbol == source.symbol)}
    return any(seen & s.body.free_symbols for s in program.statements if not isinstance(s, Mask | Between))
