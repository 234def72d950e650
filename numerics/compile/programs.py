r"""One layer of finite networks, run statement by statement from its program; knows no theory.

Matrices are drawn two ways: every weight, or, since rows of a Gaussian matrix given what it reads are i.i.d. Gaussian
vectors over the inputs, what comes out of them, by its covariance. The law of the states is the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
import sympy as sp
from numpy.typing import NDArray

from derivations.language import Program, Weights
from derivations.language.statements import Mask, Matrix, Mean, Statement
from derivations.symbols import state, step
from numerics.compile.expression import compile_expression
from numerics.linalg import semidefinite_factor

Array = NDArray[np.float64]
Values: TypeAlias = dict[sp.Symbol, Array]


@dataclass(frozen=True)
class Size:
    """Numbers that the statements of one layer need."""

    variance: float
    mean: float
    bias_variance: float
    bias_mean: float
    out: int


@dataclass(frozen=True)
class CompiledProgram:
    r"""A program as array functions: :meth:`advance` moves states of shape (samples, n, m) through one layer.

    Parameters
    ----------
    program : Program
        Its numbers of neurons and variances are numbers.
    inputs : int
        m.
    in_law : bool
        Whether matrices that are applied once are drawn by the covariance of what comes out.
    """

    program: Program
    inputs: int
    in_law: bool
    bodies: dict[Statement, Callable[..., Array]] = field(repr=False, compare=False)
    update: Callable[..., Array] = field(repr=False, compare=False)
    sizes: dict[Weights, Size] = field(repr=False, compare=False)

    def advance(self, x: Array, size: float, rng: np.random.Generator) -> Array:
        r"""The states after one layer with fresh weights, :math:`\varepsilon` = ``size``."""
        values: Values = {state: x}
        drawn: dict[Weights, tuple[Array, Array]] = {}
        for statement in self.program.statements:
            if isinstance(statement, Mask):
                values[statement.symbol] = self._mask(statement, x, rng)
                continue
            body = self._body(statement, values, size)
            if isinstance(statement, Mean):
                values[statement.symbol] = body.mean(axis=1, keepdims=True)
            else:
                values[statement.symbol] = self._applied(statement.weights, body, drawn, rng)
        return np.broadcast_to(self.update(*self._arguments(self.program.update, values, size)), x.shape)

    def _body(self, statement: Matrix | Mean, values: Values, size: float) -> Array:
        neurons = statement.source if isinstance(statement, Matrix) else statement.over
        samples, _, m = values[state].shape
        body = self.bodies[statement](*self._arguments(statement.body, values, size))
        return np.broadcast_to(body, (samples, int(neurons.size), m))

    @staticmethod
    def _arguments(expr: sp.Expr, values: Values, size: float) -> list[Any]:
        return [size if s == step else values[s] for s in _arguments(expr)]

    def _mask(self, statement: Mask, x: Array, rng: np.random.Generator) -> Array:
        rows = 1 if statement.over is None else int(statement.over.size)
        columns = 1 if statement.shared else x.shape[2]
        kept = rng.random((len(x), rows, columns)) < float(statement.keep)
        return kept.astype(float)

    def _applied(
        self, weights: Weights, body: Array, drawn: dict[Weights, tuple[Array, Array]], rng: np.random.Generator
    ) -> Array:
        """What the matrix puts out; one that is applied again is the same matrix."""
        numbers, features = self.sizes[weights], self._features(weights, body)
        shift = numbers.bias_mean + (numbers.mean * features.mean(axis=1, keepdims=True) if numbers.mean else 0.0)
        samples, fan_in, m = features.shape
        if weights.is_mean:
            return np.broadcast_to(shift, (samples, numbers.out, m))
        if self.in_law and self._applications(weights) == 1:
            gram = features.swapaxes(-1, -2) @ features * (numbers.variance / fan_in) + numbers.bias_variance
            normals = rng.standard_normal((samples, numbers.out, m))
            return normals @ semidefinite_factor(gram).swapaxes(-1, -2) + shift
        if weights not in drawn:
            matrix = rng.standard_normal((samples, numbers.out, fan_in)) * np.sqrt(numbers.variance / fan_in)
            bias = np.sqrt(numbers.bias_variance) * rng.standard_normal((samples, numbers.out, 1))
            drawn[weights] = matrix, bias
        matrix, bias = drawn[weights]
        return matrix @ features + bias + shift

    def _applications(self, weights: Weights) -> int:
        return sum(isinstance(s, Matrix) and s.weights == weights for s in self.program.statements)

    @staticmethod
    def _features(weights: Weights, body: Array) -> Array:
        """What the weights multiply, one row a neuron, or a neuron and weight of a filter; beyond a border stands 0."""
        if not weights.taps:
            return body
        bordered = np.concatenate([body, np.zeros((*body.shape[:-1], 1))], axis=-1)
        return np.concatenate([bordered[..., [-1 if a is None else a for a in tap]] for tap in weights.taps], axis=1)

    @property
    def entries(self) -> int:
        """Random numbers and working memory per sample and layer, which decide how many samples make a block."""
        n = int(self.program.neurons.size)
        total = n * self.inputs
        for statement in self.program.statements:
            if isinstance(statement, Matrix):
                rows, columns = (
                    int(statement.target.size),
                    int(statement.source.size) * max(1, len(statement.weights.taps)),
                )
                once = self.in_law and self._applications(statement.weights) == 1
                total = max(total, max(rows, columns) * self.inputs if once else rows * max(columns, self.inputs))
        return total


def _arguments(expr: sp.Expr) -> tuple[sp.Symbol, ...]:
    return tuple(sorted(expr.free_symbols, key=sp.default_sort_key))


@lru_cache(maxsize=64)
def compiled_program(program: Program, inputs: int, in_law: bool) -> CompiledProgram:
    """Compile a program once.

    Raises
    ------
    ValueError
        If a variance, a mean, a probability or a number of neurons is no number.
    """
    bodies: dict[Statement, Callable[..., Array]] = {}
    sizes: dict[Weights, Size] = {}
    known = {state, step, *(s.symbol for s in program.statements)}
    for statement in program.statements:
        if isinstance(statement, Mask):
            _number(statement.keep, "keep")
            continue
        _numbers_only(statement.body, known)
        bodies[statement] = compile_expression(_arguments(statement.body), statement.body)
        if isinstance(statement, Matrix):
            w = statement.weights
            names = ("variance", "mean", "bias_variance", "bias_mean")
            numbers = [_number(getattr(w, name), f"{name} of {w.name}") for name in names]
            variance, mean, bias_variance, bias_mean = numbers
            out = int(_number(statement.target.size, f"out of {w.name}"))
            sizes[w] = Size(variance, mean, bias_variance, bias_mean, out)
    _numbers_only(program.update, known)
    update = compile_expression(_arguments(program.update), program.update)
    return CompiledProgram(program, inputs, in_law, bodies, update, sizes)


def _numbers_only(expr: sp.Expr, known: set[sp.Symbol]) -> None:
    free = sorted(map(str, expr.free_symbols - known))
    if free:
        raise ValueError(
            f"expected numbers in the layer, got {expr} with {', '.join(free)}; substitute values for these"
        )


def _number(value: sp.Expr, name: str) -> float:
    if value.free_symbols:
        raise ValueError(
            f"expected a number for {name}, got {value}; substitute values for {', '.join(sorted(map(str, value.free_symbols)))}"
        )
    return float(value)
