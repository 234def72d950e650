r"""One layer of finite networks, run statement by statement from its program; knows no theory.

There is one traversal of the statements. What a value is, and so how a body is evaluated and a matrix applied, is said by
:class:`Rules`: plain numbers here, differences between inputs (``differences``), derivatives (``tangents``). How a matrix is drawn
is a function that is handed in.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
import sympy as sp
from numpy.typing import NDArray

from derivations.language import Program, Weights
from derivations.language.entries import Gaussian, MatrixLaw
from derivations.language.statements import Back, Between, Mask, Matrix, Mean, Mix, Shares
from derivations.symbols import state, step, time
from numerics.compile.expression import CompiledFunction, compile_expression
from numerics.compile.positions import pair_values

Array = NDArray[np.float64]
#: The number that a symbol stands for, for each sample, neuron and coordinate; in the form that the rules work with.
Values: TypeAlias = dict[sp.Symbol, Any]
#: A drawn matrix: takes features, shape (samples, k, columns), and for each column how much of the bias it gets (None: all of it).
Apply: TypeAlias = Callable[[Array, Array | None], Array]
#: What a formula of the layer was evaluated at, and what came out: for people who ask where it had no value.
Trace: TypeAlias = list[tuple[sp.Expr, dict[sp.Symbol, Any], Array]]
#: A statement about pairs of positions.
Paired: TypeAlias = Mean | Mix | Shares | Between

_GAUSSIAN = Gaussian()
_NAMES = ("variance", "mean", "bias_variance", "bias_mean")


@dataclass(frozen=True)
class MatrixNumbers:
    """One matrix as numbers: its law, its shape, and how many times the layer applies it."""

    variance: float
    mean: float
    bias_variance: float
    bias_mean: float
    rows: int
    columns: int
    applications: int
    law: MatrixLaw = _GAUSSIAN
    whole: bool = False  # whether the matrix itself is needed, for its transpose

    @property
    def transposed(self) -> MatrixNumbers:
        """Of the transpose, in the same units; without biases."""
        mean = self.mean * self.rows / self.columns
        return replace(self, mean=mean, bias_variance=0.0, bias_mean=0.0, rows=self.columns, columns=self.rows)


#: Draws the centred part of a matrix and of its biases, fresh for each sample: (numbers, samples, rng).
Draw: TypeAlias = Callable[[MatrixNumbers, int, np.random.Generator], Apply]


class Rules(ABC):
    """Interface: how values of one form go through the statements of a layer.

    A value's *columns* are an array of shape (samples, neurons or 1, columns), in which it is linear.
    """

    #: How much of a bias each column gets; None for all of it.
    biased: Array | None = None

    @abstractmethod
    def columns(self, value: Any) -> Array:
        """All numbers of a value, side by side."""

    def samples(self, value: Any) -> int:
        """How many networks it is of."""
        return len(self.columns(value))

    @abstractmethod
    def form(self, columns: Array) -> Any:
        """The value of such columns."""

    @abstractmethod
    def evaluated(self, expr: sp.Expr, values: Values, size: float, rows: int, trace: Trace | None = None) -> Any:
        r"""A formula at each of some neurons, :math:`\varepsilon` = ``size``."""

    @abstractmethod
    def features(self, weights: Weights, value: Any) -> Array:
        """The columns of what the weights multiply."""

    @abstractmethod
    def masked(self, statement: Mask, like: Any, rng: np.random.Generator) -> Any:
        """A mask, drawn."""

    @abstractmethod
    def paired(self, statement: Paired, values: Values, size: float, program: Program, trace: Trace | None) -> Any:
        """What a statement about pairs of positions makes."""

    def averaged(self, value: Any, factor: float = 1.0) -> Any:
        """The average over the neurons, times a number."""
        return self.form(self.columns(value).mean(axis=1, keepdims=True) * factor)

    def applied(self, apply: Apply | None, value: Any, statement: Matrix | Back, numbers: MatrixNumbers) -> Any:
        """What a matrix makes of a value; None stands for the mean of the matrix alone."""
        return self.form(matrix_applied(apply, self.features(statement.weights, value), self.biased, numbers))


@dataclass(frozen=True)
class Plain(Rules):
    """Values are arrays of shape (samples, neurons or 1, coordinates or 1), NumPy's or those of another backend."""

    backend: str = "numpy"

    def columns(self, value: Array) -> Array:
        """The value itself."""
        return value

    def form(self, columns: Array) -> Array:
        """The columns themselves."""
        return columns

    def evaluated(self, expr: sp.Expr, values: Values, size: float, rows: int, trace: Trace | None = None) -> Array:
        """The formula's array function, at the values of its symbols."""
        samples, _, columns = values[state].shape
        return evaluated(expr, values, size, (samples, rows, columns), trace, self.backend)

    def features(self, weights: Weights, value: Array) -> Array:
        """Through the filter."""
        return filtered(weights, value)

    def masked(self, statement: Mask, like: Array, rng: np.random.Generator) -> Array:
        """One number for each neuron, or for all, and for each coordinate, or for all."""
        return drawn_mask(statement, len(like), like.shape[2], rng)

    def paired(self, statement: Paired, values: Values, size: float, program: Program, trace: Trace | None) -> Array:
        """Shape (samples, neurons or 1, coordinates), or for each pair (samples, 1, inputs, positions, positions)."""
        return pair_values(
            statement, values, program, lambda expr, at, shape: evaluated(expr, at, size, shape, trace, self.backend)
        )


PLAIN = Plain()


@dataclass(frozen=True)
class CompiledProgram:
    r"""A program whose numbers are known: :meth:`advance` moves states of shape (samples, n, m) through one layer.

    Parameters
    ----------
    program : Program
        Its numbers of neurons and variances are numbers.
    """

    program: Program
    numbers: dict[Weights, MatrixNumbers] = field(repr=False, compare=False)

    def at(self, now: float) -> CompiledProgram:
        """The same with variances and means that depend on the limit's time as they are at one time.

        Raises
        ------
        ValueError
            If a variance is negative or no finite number then.
        """
        moving = [w for w in self.numbers if any(getattr(w, name).has(time) for name in _NAMES)]
        if not moving:
            return self
        numbers = dict(self.numbers)
        for w in moving:
            there: dict[str, Any] = {name: float(compiled_formula(getattr(w, name), (time,))(now)) for name in _NAMES}
            for name, value in there.items():
                if not np.isfinite(value) or (name.endswith("variance") and value < 0):
                    raise ValueError(
                        f"the {name} {getattr(w, name)} of {w.name} is {value:g} at {time} = {now:.4g}, expected a finite number"
                        + (" ≥ 0" if name.endswith("variance") else "")
                    )
            numbers[w] = replace(numbers[w], **there)
        return replace(self, numbers=numbers)

    def advance(
        self,
        x: Any,
        size: float,
        draw: Draw,
        rng: np.random.Generator,
        rules: Rules = PLAIN,
        trace: Trace | None = None,
    ) -> tuple[Any, Values]:
        r"""The states after one layer with fresh weights, :math:`\varepsilon` = ``size``, and the values of all statements.

        ``trace`` notes all evaluations.
        """
        values: Values = {state: x}
        drawn: dict[Weights, Apply | None] = {}
        for statement in self.program.statements:
            if isinstance(statement, Mask):
                values[statement.symbol] = rules.masked(statement, x, rng)
                continue
            if isinstance(statement, Mix | Shares | Between) or (isinstance(statement, Mean) and statement.pair):
                values[statement.symbol] = rules.paired(statement, values, size, self.program, trace)
                continue
            neurons = statement.source if isinstance(statement, Matrix | Back) else statement.over
            body = rules.evaluated(statement.body, values, size, int(neurons.size), trace)
            if isinstance(statement, Mean):
                values[statement.symbol] = rules.averaged(body, float(statement.root))
                continue
            weights = statement.weights
            numbers = self.numbers[weights]
            if weights not in drawn:
                drawn[weights] = None if weights.is_mean else draw(numbers, rules.samples(x), rng)
            if isinstance(statement, Back):
                back = None if weights.is_mean else drawn[weights].transposed  # type: ignore[union-attr]
                values[statement.symbol] = rules.applied(back, body, statement, numbers.transposed)
                continue
            values[statement.symbol] = rules.applied(drawn[weights], body, statement, numbers)
        return rules.evaluated(self.program.update, values, size, int(self.program.neurons.size), trace), values

    @property
    def matrices(self) -> tuple[MatrixNumbers, ...]:
        """Those that are drawn; columns are a filter's weights side by side."""
        return tuple(numbers for weights, numbers in self.numbers.items() if not weights.is_mean)


def evaluated(
    expr: sp.Expr,
    values: Values,
    size: float,
    shape: tuple[int, ...],
    trace: Trace | None = None,
    backend: str = "numpy",
) -> Array:
    """A formula at arrays, brought to a shape."""
    if expr in values:
        return _shaped(values[expr], shape)
    arguments = {s: size if s == step else values[s] for s in arguments_of(expr)}
    value = compiled_formula(expr, tuple(arguments), backend)(*arguments.values())
    value = np.asarray(value) if backend == "numpy" else value
    if trace is not None:
        trace.append((expr, arguments, value))
    return _shaped(value, shape)


def _shaped(value: Array, shape: tuple[int, ...]) -> Array:
    broadcast: Array = value if value.shape == shape else value.__array_namespace__().broadcast_to(value, shape)
    return broadcast


def matrix_applied(apply: Apply | None, features: Array, biased: Array | None, numbers: MatrixNumbers) -> Array:
    r""":math:`W f + b` with means: ``biased`` says for each column how much of b it gets, as in ``Apply``."""
    ones = 1.0 if biased is None else biased
    shift: Any = numbers.bias_mean * ones if numbers.bias_mean else 0.0
    if numbers.mean:
        shift = shift + numbers.mean * features.mean(axis=1, keepdims=True)
    if apply is None:
        xp = features.__array_namespace__()
        shifted: Array = xp.broadcast_to(xp.asarray(shift), (len(features), numbers.rows, features.shape[2]))
        return shifted
    out = apply(features, biased)
    return out + shift if numbers.mean or numbers.bias_mean else out


def filtered(weights: Weights, body: Array) -> Array:
    """What the weights multiply, one row a neuron, or a neuron and weight of a filter; beyond a border stands 0.

    Parameters
    ----------
    body : array, shape (samples, k, coordinates, ...)
        Coordinates are inputs times positions, inputs first.
    """
    if not weights.taps:
        return body
    xp = body.__array_namespace__()
    bordered = xp.concatenate([body, xp.zeros((*body.shape[:2], 1, *body.shape[3:]))], axis=2)
    read: Array = xp.concatenate([bordered[:, :, tap] for tap in _places(weights, body.shape[2])], axis=1)
    return read


@lru_cache(maxsize=256)
def _places(weights: Weights, columns: int) -> NDArray[np.intp]:
    """What each weight of a filter reads for every coordinate, -1 beyond a border; read off SymPy's numbers once, not at each layer."""
    return np.transpose([[-1 if a is None else a for a in weights.reads(c)] for c in range(columns)])


def drawn_mask(statement: Mask, samples: int, columns: int, rng: np.random.Generator) -> Array:
    """Zeros and ones, shape (samples, neurons or 1, columns or 1)."""
    rows = 1 if statement.over is None else int(statement.over.size)
    each = 1 if statement.shared else statement.each
    kept = (rng.random((samples, rows, 1 if statement.shared else columns // each)) < float(statement.keep)).astype(
        float
    )
    return kept if each == 1 else np.repeat(kept, each, axis=2)


@lru_cache(maxsize=1024)
def arguments_of(expr: sp.Expr) -> tuple[sp.Symbol, ...]:
    """The symbols of a formula, in an order."""
    return tuple(sorted(expr.free_symbols, key=sp.default_sort_key))


@lru_cache(maxsize=1024)
def compiled_formula(expr: sp.Expr, arguments: tuple[sp.Symbol, ...], backend: str = "numpy") -> CompiledFunction:
    """A formula as a function of arrays, compiled once."""
    return compile_expression(arguments, expr, backend)


@lru_cache(maxsize=64)
def compiled_program(program: Program) -> CompiledProgram:
    """Compile a program once.

    Raises
    ------
    ValueError
        If a variance, a mean, a probability or a number of neurons is no number.
    """
    numbers: dict[Weights, MatrixNumbers] = {}
    known = {state, step, *(s.symbol for s in program.statements), *(twin for twin, _ in program.others)}
    applied = Counter(s.weights for s in program.statements if isinstance(s, Matrix))
    for statement in program.statements:
        if isinstance(statement, Mask):
            _number(statement.keep, "keep")
            continue
        if isinstance(statement, Between):
            for entry in statement.entries(program.positions):
                _number(entry, "a matrix over positions")
            continue
        if isinstance(statement, Shares):
            _compiled(statement.mask, known)
        _compiled(statement.body, known)
        if isinstance(statement, Matrix | Back):
            w = statement.weights
            law = {name: _number(getattr(w, name), f"{name} of {w.name}", {time}) for name in _NAMES}
            reads, out = statement.source, statement.target
            if isinstance(statement, Back):
                reads, out = out, reads
            rows = int(_number(out.size, f"out of {w.name}"))
            columns = int(_number(reads.size, f"what {w.name} reads")) * max(1, len(w.taps))
            whole = any(isinstance(s, Back) and s.weights == w for s in program.statements)
            numbers[w] = MatrixNumbers(
                **law, rows=rows, columns=columns, applications=applied[w], law=w.law, whole=whole
            )
    _compiled(program.update, known)
    return CompiledProgram(program, numbers)


def _compiled(expr: sp.Expr, known: set[sp.Symbol]) -> None:
    free = sorted(map(str, expr.free_symbols - known))
    if free:
        raise ValueError(
            f"expected numbers in the layer, got {expr} with {', '.join(free)}; substitute values for these"
        )
    compiled_formula(expr, arguments_of(expr))


def _number(value: sp.Expr, name: str, later: Collection[sp.Symbol] = ()) -> float:
    """As a float; nan for what depends on symbols that get their values later, layer by layer."""
    if free := value.free_symbols.difference(later):
        raise ValueError(
            f"expected a number for {name}, got {value}; substitute values for {', '.join(sorted(map(str, free)))}"
        )
    return float("nan") if value.free_symbols else float(value)
