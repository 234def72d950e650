r"""One layer of infinite width, forward and back: its statements and their adjoint, on fields."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from derivations.dynamics import TrainingLimit
from derivations.dynamics.adjoint import ratio
from derivations.language.statements import Matrix, Mean
from derivations.language.statements import Neurons as Said
from derivations.symbols import state, step
from numerics.compile.programs import arguments_of, compiled_formula
from numerics.dynamics.matrices import matrix_between
from numerics.dynamics.neurons import Neurons

Array = NDArray[np.float64]
#: By symbol.
Values: TypeAlias = dict[Any, Array]


class Met(NamedTuple):
    """Coordinates of what a matrix was applied to at each step, and of the gradient in what it made."""

    forward: list[Array]
    gradient: list[Array]


class Layer:
    r"""One layer with its matrices, and the coordinates of what these met at each step of training.

    Parameters
    ----------
    limit : TrainingLimit
    neurons : dict
        Those of the state, and of what matrices put out inside.
    size : float
        :math:`\varepsilon`.
    """

    def __init__(self, limit: TrainingLimit, neurons: dict[Said, Neurons], size: float) -> None:
        self.limit, self.neurons, self.size, self.values = limit, neurons, size, Values()
        self.matrices = {
            s: matrix_between(
                neurons[s.source],
                neurons[s.target],
                float(s.weights.variance) ** 0.5,
                float(ratio(s.target, s.source)),
            )
            for s in limit.adjoint.matrices
        }
        self.met = {s.weights.name: Met([], []) for s in limit.adjoint.matrices}
        self.biases = {
            s: float(s.weights.bias_variance) ** 0.5 * neurons[s.target].fresh()
            for s in limit.adjoint.matrices
            if s.weights.bias_variance != 0
        }
        self._moving = {s: np.zeros_like(bias) for s, bias in self.biases.items()}
        #: The gradient of the outputs at the last step in each bias.
        self.pushed = dict[Matrix, Array]()

    def forward(self, x: Array) -> Array:
        """The new state, shape (m, neurons)."""
        self.values = {state: x}
        for s in self.limit.adjoint.statements:
            if isinstance(s, Mean):
                self.values[s.symbol] = self._at(s.body, s.over, self.values).mean(axis=-1, keepdims=True)
                continue
            value, met = self.matrices[s].apply(self._at(s.body, s.source, self.values))
            aligned = self.neurons[s.target].aligned
            self.values[s.symbol] = value if s not in self.biases else aligned(value) + aligned(self.biases[s])
            self.met[s.weights.name].forward.append(met)
        program = self.limit.adjoint.program
        return self._at(program.update, program.neurons, self.values)

    def backward(self, g: Array) -> Array:
        """The gradient in the old state, from that in the new one."""
        adjoint = self.limit.adjoint
        values = {**self.values, adjoint.new: g}
        for s in reversed(adjoint.statements):
            if isinstance(s, Mean):
                parts = [
                    (float(ratio(p.over, s.over)), self._at(p.formula, p.over, values)) for p in adjoint.parts(s.symbol)
                ]
                passed = sum((r * field.mean(axis=-1, keepdims=True) for r, field in parts), np.zeros((len(g), 1)))
            else:
                pushed = self._at(adjoint.formula(s.symbol), s.target, values)
                if s in self.biases:
                    self.pushed[s] = pushed
                passed, met = self.matrices[s].transposed(pushed)
                self.met[s.weights.name].gradient.append(met)
            values[adjoint.passed[s]] = passed
        return self._at(adjoint.formula(state), adjoint.program.neurons, values)

    def gradients(self) -> Iterator[tuple[Matrix, Array, Array]]:
        """Each matrix's gradient of the outputs at the last step: coordinates of that in what it makes, and of what it read."""
        for s in self.matrices:
            met = self.met[s.weights.name]
            yield s, met.gradient[-1], met.forward[-1]

    def learn(self, s: Matrix, amount: Array, momentum: float) -> None:
        """Move the biases of a matrix by so much of each input's gradient, in units of their deviation, and so much of the last change."""
        aligned = self.neurons[s.target].aligned
        self._moving[s] = momentum * aligned(self._moving[s]) + float(s.weights.bias_variance) * amount @ aligned(
            self.pushed[s]
        )
        self.biases[s] = aligned(self.biases[s]) + self._moving[s]

    def _at(self, expr: Any, over: Said, values: Values) -> Array:
        """A formula at each neuron of a layer, shape (m, neurons)."""
        like = self.neurons[over].aligned(np.zeros((len(values[state]), 0)))
        arguments = arguments_of(expr)
        at = [self.size if a == step else self._long(values[a], over) for a in arguments]
        return np.asarray(compiled_formula(expr, arguments)(*at)) + like

    def _long(self, value: Array, over: Said) -> Array:
        return value if value.shape[-1] == 1 else self.neurons[over].aligned(value)
