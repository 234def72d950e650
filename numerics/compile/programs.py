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
from derivations.language.statements import Between, Mask, Matrix, Mean, Mix, Shares, Statement
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
    bodies: dict[Any, Callable[..., Array]] = field(repr=False, compare=False)
    update: Callable[..., Array] = field(repr=False, compare=False)
    sizes: dict[Weights, Size] = field(repr=False, compare=False)
    applications: dict[Weights, int] = field(repr=False, compare=False)
    between: dict[Statement, Array] = field(repr=False, compare=False)

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
                values[statement.symbol] = _mask(statement, x, self.program.positions, rng)
            elif isinstance(statement, Between):
                values[statement.symbol] = self.between[statement]
            elif isinstance(statement, Matrix):
                body = self._evaluated(self.bodies[statement], statement.body, values, size, trace)
                body = np.broadcast_to(body, (samples, int(statement.source.size), m))
                values[statement.symbol] = self._applied(statement.weights, body, drawn, draw, rng)
            elif isinstance(statement, Mean) and not statement.pair:
                body = self._evaluated(self.bodies[statement], statement.body, values, size, trace)
                body = np.broadcast_to(body, (samples, int(statement.over.size), m))
                values[statement.symbol] = body.mean(axis=1, keepdims=True) * _root(statement)
            elif isinstance(statement, Shares):
                scores, mask = (
                    self._over_pairs(expr, self.bodies[key], 1, values, size, trace, x)
                    for expr, key in ((statement.body, statement), (statement.mask, (statement, "mask")))
                )
                values[statement.symbol] = _softmax(scores, mask)
            else:
                rows = 1 if statement.over is None else int(statement.over.size)
                body = self._over_pairs(statement.body, self.bodies[statement], rows, values, size, trace, x)
                if isinstance(statement, Mix):
                    values[statement.symbol] = body.sum(axis=-1).reshape(samples, -1, m)
                else:
                    values[statement.symbol] = body.mean(axis=1, keepdims=True) * _root(statement)
        after = self._evaluated(self.update, self.program.update, values, size, trace)
        return after if after.shape == x.shape else np.broadcast_to(after, x.shape)

    def _over_pairs(
        self,
        expr: sp.Expr,
        function: Callable[..., Array],
        rows: int,
        values: Values,
        size: float,
        trace: Trace | None,
        x: Array,
    ) -> Array:
        """A body at every pair of positions of an input, shape (samples, neurons or 1, inputs, positions, positions)."""
        p = self.program.positions
        others = dict(self.program.others)

        def at_pairs(symbol: sp.Symbol) -> Array:
            value = values[others.get(symbol, symbol)]
            if value.ndim == 5:  # one of each pair already
                return value
            grid = np.broadcast_to(value, (*value.shape[:2], x.shape[2])).reshape(*value.shape[:2], -1, p)
            return grid[..., None, :] if symbol in others else grid[..., :, None]

        known = {s: at_pairs(s) for s in expr.free_symbols if s != step}
        body = self._evaluated(function, expr, known, size, trace)
        return np.broadcast_to(body, (len(x), rows, x.shape[2] // p, p, p))

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


def _mask(statement: Mask, x: Array, positions: int, rng: np.random.Generator) -> Array:
    """One for each coordinate, for each input if a whole branch is dropped, or for all."""
    rows = 1 if statement.over is None else int(statement.over.size)
    each = positions if statement.over is None else 1
    columns = 1 if statement.shared else x.shape[2] // each
    kept = (rng.random((len(x), rows, columns)) < float(statement.keep)).astype(float)
    return kept if statement.shared or each == 1 else np.repeat(kept, each, axis=2)


def _softmax(scores: Array, mask: Array) -> Array:
    """Shares of the last axis, scores less their largest one that is not masked out."""
    top = np.max(np.where(mask > 0, scores, -np.inf), axis=-1, keepdims=True)
    weights = np.where(mask > 0, mask * np.exp(np.minimum(scores - top, 0.0)), 0.0)
    shares: Array = weights / weights.sum(axis=-1, keepdims=True)
    return shares


def _root(statement: Mean) -> float:
    """What makes an average the sum over a power of the number of neurons."""
    return float(statement.over.size) ** float(1 - statement.power)


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
    bodies: dict[Any, Callable[..., Array]] = {}
    sizes: dict[Weights, Size] = {}
    between: dict[Statement, Array] = {}
    known = {state, step, *(s.symbol for s in program.statements), *(twin for twin, _ in program.others)}
    for statement in program.statements:
        if isinstance(statement, Mask):
            _number(statement.keep, "keep")
            continue
        if isinstance(statement, Between):
            between[statement] = _entries(statement, program.positions)
            continue
        _numbers_only(statement.body, known)
        bodies[statement] = compile_expression(_arguments(statement.body), statement.body)
        if isinstance(statement, Shares):
            _numbers_only(statement.mask, known)
            bodies[statement, "mask"] = compile_expression(_arguments(statement.mask), statement.mask)
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
    return CompiledProgram(program, bodies, update, sizes, {w: applied.count(w) for w in sizes}, between)


def _entries(statement: Between, positions: int) -> Array:
    entries = [[statement.matrix.entry(a, b) for b in range(positions)] for a in range(positions)]
    return np.array([[_number(e, "a matrix over positions") for e in row] for row in entries])[None, None, None]


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
