r"""One layer of finite networks, run statement by statement from its program; knows no theory.

What a matrix puts out is drawn by a function that is handed in; a matrix that a layer applies more than once, or that is not Gaussian,
is drawn itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
import sympy as sp
from numpy.typing import NDArray

from derivations.language import Program, Weights
from derivations.language.statements import Mask, Matrix, Mean, Statement
from derivations.symbols import state, step, time
from numerics.compile.expression import compile_expression
from numerics.compile.matrices import draw_matrices

Array = NDArray[np.float64]
Values: TypeAlias = dict[sp.Symbol, Array]


_NAMES = ("variance", "mean", "bias_variance", "bias_mean")
#: Draws W f + b for features f, with fresh weights: (f, variance of W times its columns, variance of b, rng, where to).
Draw: TypeAlias = Callable[[Array, float, float, np.random.Generator, Array], None]
#: What a formula of the layer was evaluated at, and what came out: for people who ask where it had no value.
Trace: TypeAlias = list[tuple[sp.Expr, dict[sp.Symbol, Any], Array]]


@dataclass(frozen=True)
class Size:
    """Numbers of one matrix."""

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
    """

    program: Program
    bodies: dict[Statement, Callable[..., Array]] = field(repr=False, compare=False)
    update: Callable[..., Array] = field(repr=False, compare=False)
    sizes: dict[Weights, Size] = field(repr=False, compare=False)
    applications: dict[Weights, int] = field(repr=False, compare=False)

    def at(self, now: float) -> CompiledProgram:
        """The same with variances and means that depend on the limit's time as they are at one time.

        Raises
        ------
        ValueError
            If a variance is negative or no finite number then.
        """
        moving = [w for w in self.sizes if any(getattr(w, name).has(time) for name in _NAMES)]
        if not moving:
            return self
        sizes = dict(self.sizes)
        for w in moving:
            numbers = [float(compile_expression((time,), getattr(w, name))(now)) for name in _NAMES]
            for name, value in zip(_NAMES, numbers, strict=True):
                if not np.isfinite(value) or (name.endswith("variance") and value < 0):
                    raise ValueError(
                        f"the {name} {getattr(w, name)} of {w.name} is {value:g} at {time} = {now:.4g}, expected a finite number"
                        + (" ≥ 0" if name.endswith("variance") else "")
                    )
            variance, mean, bias_variance, bias_mean = numbers
            sizes[w] = Size(variance, mean, bias_variance, bias_mean, sizes[w].out)
        return replace(self, sizes=sizes)

    def advance(self, x: Array, size: float, draw: Draw, rng: np.random.Generator, trace: Trace | None = None) -> Array:
        r"""The states after one layer with fresh weights, :math:`\varepsilon` = ``size``; ``trace`` notes all evaluations."""
        values: Values = {state: x}
        drawn: dict[Weights, tuple[Array, Array]] = {}
        samples, _, m = x.shape
        for statement in self.program.statements:
            if isinstance(statement, Mask):
                values[statement.symbol] = _mask(statement, x, rng)
                continue
            neurons = statement.source if isinstance(statement, Matrix) else statement.over
            body = self._evaluated(self.bodies[statement], statement.body, values, size, trace)
            body = np.broadcast_to(body, (samples, int(neurons.size), m))
            if isinstance(statement, Mean):
                values[statement.symbol] = body.mean(axis=1, keepdims=True)
            else:
                values[statement.symbol] = self._applied(statement.weights, body, drawn, draw, rng)
        after = self._evaluated(self.update, self.program.update, values, size, trace)
        return after if after.shape == x.shape else np.broadcast_to(after, x.shape)

    @staticmethod
    def _evaluated(
        function: Callable[..., Array], expr: sp.Expr, values: Values, size: float, trace: Trace | None
    ) -> Array:
        arguments = {s: size if s == step else values[s] for s in _arguments(expr)}
        value = np.asarray(function(*arguments.values()))
        if trace is not None:
            trace.append((expr, arguments, value))
        return value

    def _applied(
        self,
        weights: Weights,
        body: Array,
        drawn: dict[Weights, tuple[Array, Array]],
        draw: Draw,
        rng: np.random.Generator,
    ) -> Array:
        """What the matrix puts out; one that is applied again is the same matrix."""
        numbers, features = self.sizes[weights], self._features(weights, body)
        shift = numbers.bias_mean + (numbers.mean * features.mean(axis=1, keepdims=True) if numbers.mean else 0.0)
        samples, fan_in, m = features.shape
        if weights.is_mean:
            return np.broadcast_to(shift, (samples, numbers.out, m))
        if not self.draws_whole(weights):
            out = np.empty((samples, numbers.out, m))
            draw(features, numbers.variance, numbers.bias_variance, rng, out)
        else:
            if weights not in drawn:
                matrix = draw_matrices(weights.law, samples, numbers.out, fan_in, rng) * np.sqrt(numbers.variance)
                bias = np.sqrt(numbers.bias_variance) * rng.standard_normal((samples, numbers.out, 1))
                drawn[weights] = matrix, bias
            matrix, bias = drawn[weights]
            out = matrix @ features + bias
        return out + shift if weights.mean != 0 or weights.bias_mean != 0 else out

    @staticmethod
    def _features(weights: Weights, body: Array) -> Array:
        """What the weights multiply, one row a neuron, or a neuron and weight of a filter; beyond a border stands 0."""
        if not weights.taps:
            return body
        bordered = np.concatenate([body, np.zeros((*body.shape[:-1], 1))], axis=-1)
        return np.concatenate([bordered[..., [-1 if a is None else a for a in tap]] for tap in weights.taps], axis=1)

    def draws_whole(self, weights: Weights) -> bool:
        """Whether the matrix itself is drawn, whatever function is handed in."""
        return self.applications[weights] > 1 or not weights.is_gaussian

    @property
    def matrices(self) -> tuple[tuple[int, int, bool], ...]:
        """Rows and columns of each matrix, filters' weights side by side, and whether it is drawn itself in any case."""
        found = {s.weights: s for s in self.program.statements if isinstance(s, Matrix) and not s.weights.is_mean}
        return tuple(
            (int(s.target.size), int(s.source.size) * max(1, len(w.taps)), self.draws_whole(w))
            for w, s in found.items()
        )


def _mask(statement: Mask, x: Array, rng: np.random.Generator) -> Array:
    rows = 1 if statement.over is None else int(statement.over.size)
    columns = 1 if statement.shared else x.shape[2]
    return (rng.random((len(x), rows, columns)) < float(statement.keep)).astype(float)


def _arguments(expr: sp.Expr) -> tuple[sp.Symbol, ...]:
    return tuple(sorted(expr.free_symbols, key=sp.default_sort_key))


@lru_cache(maxsize=64)
def compiled_program(program: Program) -> CompiledProgram:
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
            half = {time: sp.S.Half}  # what depends on time is put in layer by layer
            numbers = [_number(getattr(w, name).xreplace(half), f"{name} of {w.name}") for name in _NAMES]
            variance, mean, bias_variance, bias_mean = numbers
            out = int(_number(statement.target.size, f"out of {w.name}"))
            sizes[w] = Size(variance, mean, bias_variance, bias_mean, out)
    _numbers_only(program.update, known)
    update = compile_expression(_arguments(program.update), program.update)
    applied = [s.weights for s in program.statements if isinstance(s, Matrix)]
    return CompiledProgram(program, bodies, update, sizes, {w: applied.count(w) for w in sizes})


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
