r"""What is recorded of networks, each with what must be carried from layer to layer for it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from derivations.language import Program
from numerics.compile.programs import PLAIN, Array, CompiledProgram, Draw, Rules, Trace, Values
from numerics.networks.drawings import Drawing
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
    #: Whether all numbers of all neurons are kept.
    keeps_states = False
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
    def start(
        self, start: Start, first: int, count: int, width: int, drawing: Drawing, rng: np.random.Generator
    ) -> Carried:
        """Samples ``first`` … at layer 0."""

    def advance(
        self,
        carried: Carried,
        layer: CompiledProgram,
        size: float,
        draw: Draw,
        rng: np.random.Generator,
        trace: Trace | None,
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
    def keeps_states(self) -> bool:  # type: ignore[override]
        """Unless a function makes something else of them."""
        return self.function is None

    @property
    def explodes(self) -> bool:  # type: ignore[override]
        """A user's own function may mean what it likes by nan."""
        return self.function is None

    def start(
        self, start: Start, first: int, count: int, width: int, drawing: Drawing, rng: np.random.Generator
    ) -> Carried:
        """Plain states."""
        return Carried(start.block(drawing, first, count, width, rng))

    def value(self, carried: Carried) -> Array:
        """A copy, or what the function makes of them."""
        return np.array(self.function(carried.x) if self.function else carried.x, dtype=float)


def gram(rows: Array) -> Array:
    """Sums of products over the rows."""
    product: Array = np.matmul(rows.swapaxes(-1, -2), rows)
    return product


def block_of(rows: Array, first: int, count: int) -> Array:
    """The rows of some samples."""
    return rows[first : first + count] if len(rows) > 1 else np.broadcast_to(rows, (count, *rows.shape[1:]))
