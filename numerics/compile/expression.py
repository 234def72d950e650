"""Expressions as functions of numbers and arrays."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache, partial
from types import FunctionType
from typing import Any

import numpy as np
import sympy as sp
from sympy.printing.codeprinter import PrintMethodNotImplementedError

from derivations.errors import shown
from derivations.gaussian import SoftmaxMean
from derivations.gaussian.node import GaussianMean
from derivations.sums import CoordinateSum
from numerics.backends import Backend, find_backend
from numerics.backends.base import Function
from numerics.backends.centred import centred
from numerics.backends.extended import in_doubles_first, may_leave_doubles
from numerics.compile.softmax_means import GroupedMeans


@dataclass(frozen=True)
class CompiledFunction:
    """A function of positional arguments made from an expression, a matrix, or a sequence of them.

    Pickles by its expressions and is compiled anew where it arrives, so that it can be sent to other processes.
    Build one with :func:`compile_expression`.

    Parameters
    ----------
    arguments : tuple of Symbol
    expression : Expr, Matrix or tuple of them
    backend : Backend
    points : int
    """

    arguments: tuple[sp.Symbol, ...]
    expression: Any
    backend: Backend
    points: int = 0
    _function: Function = field(init=False, repr=False, compare=False)
    _flat: bool = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _check_arguments(self.arguments)
        object.__setattr__(
            self, "_function", _compile(self.arguments, tuple(_entries(self.expression)), self.backend, self.points)
        )
        flat = isinstance(self.expression, tuple) and not any(
            isinstance(part, tuple | sp.MatrixBase) for part in self.expression
        )
        object.__setattr__(self, "_flat", flat)

    def __call__(self, *values: Any) -> Any:
        """Evaluate at numbers or arrays that broadcast against each other; matrices add their two axes at the end."""
        if len(values) != len(self.arguments):
            raise TypeError(f"expected {len(self.arguments)} arguments {self.arguments}, got {len(values)}")
        try:
            found = self._function(*values)
            return tuple(found) if self._flat else _assemble(self.expression, iter(found))
        except TypeError as error:
            if type(error).__name__ != "TracerArrayConversionError":  # JAX's, which may not be installed
                raise
            raise TypeError(
                f"what is compiled for {self.backend.name} takes numbers, and JAX traced an argument here (jit, grad or vmap); compile it with "
                'backend="jax"'
            ) from None

    def __reduce__(self) -> tuple[Any, ...]:
        return compile_expression, (self.arguments, self.expression, self.backend.name, self.points)


def compile_expression(
    arguments: Iterable[sp.Symbol] | sp.Symbol,
    expression: sp.Expr | sp.MatrixBase | Sequence[Any],
    backend: Backend | str = "numpy",
    points: int = 0,
) -> CompiledFunction:
    """A function whose arguments are, in this order, the values of the given symbols.

    Each argument is replaced by a fresh real dummy as an object, never as text, so that symbols may be called
    anything; common subexpressions are computed once; where a formula has kinks every branch is kept inside the
    region in which it holds. Arrays broadcast, and a constant comes out with the arguments' common shape.

    What leaves the range of doubles on the way to a number that is one costs no accuracy: parts of one variable are mended
    where they are compiled, and of ``"numpy"`` formulas of several variables are computed again with longer exponents where the
    processor says that something overflowed or underflowed. The other targets compute those as they are written.

    Parameters
    ----------
    arguments : Symbol or iterable of Symbol
        Every free symbol of the expression, in the order of the function's arguments; further ones are ignored.
    expression : Expr, Matrix or sequence of them
        A matrix of shape (r, c) evaluates to an array of shape (..., r, c), a sequence to a tuple.
    backend : Backend or str
        ``"numpy"`` for arrays of doubles, ``"mpmath"`` for fifty digits, ``"numba"`` (extra ``fast``) for machine code,
        ``"jax"`` and ``"torch"`` (extras of these names) for arrays with derivatives.
    points : int
        Which of the independent sets of points means over a softmax are taken from; how far two sets are apart is their error.

    Raises
    ------
    ValueError
        If the expression has symbols that are not arguments, or parts that the backend cannot compute.

    Examples
    --------
    >>> x, y = sp.symbols("x y", real=True)
    >>> compile_expression((x, y), sp.Piecewise((sp.log(x), x > 0), (y, True)))([-1.0, 1.0], 7.0)
    array([7., 0.])
    >>> compile_expression((x,), sp.Matrix([[1, x]]))([2.0, 3.0])
    array([[[1., 2.]],
           [[1., 3.]]])
    """
    if isinstance(points, bool) or not isinstance(points, int) or points < 0:
        raise ValueError(f"points must be a whole number, at least 0, got {shown(points)}")
    if not isinstance(arguments, sp.Symbol | Iterable):
        raise ValueError(f"arguments must be symbols, got {shown(arguments)}")
    symbols = (arguments,) if isinstance(arguments, sp.Symbol) else tuple(arguments)
    kept = tuple(map(_kept, expression)) if isinstance(expression, list | tuple | sp.Tuple) else _kept(expression)
    return CompiledFunction(symbols, kept, find_backend(backend), points)


def _kept(expression: Any) -> sp.Basic:
    try:
        value = sp.sympify(expression, strict=True)
    except (sp.SympifyError, TypeError) as error:
        raise ValueError(
            f"what is compiled must be an expression or a matrix of them, got {shown(expression)}"
        ) from error
    return value.as_immutable() if isinstance(value, sp.MatrixBase) else value


def _entries(expression: Any) -> list[sp.Expr]:
    """All scalar expressions, in the order in which :func:`_assemble` takes their values."""
    if isinstance(expression, tuple):
        return [entry for part in expression for entry in _entries(part)]
    return list(expression) if isinstance(expression, sp.MatrixBase) else [expression]


def _assemble(expression: Any, values: Any) -> Any:
    if isinstance(expression, tuple):
        return tuple(_assemble(part, values) for part in expression)
    if isinstance(expression, sp.MatrixBase):
        entries = [np.asarray(next(values)) for _ in range(len(expression))]
        stacked = np.stack(entries, axis=-1) if entries else np.empty(0)
        return stacked.reshape(*stacked.shape[:-1], *expression.shape)
    return next(values)


@lru_cache(maxsize=128)  # paths, laws and checks of one limit compile it each for themselves
def _compile(arguments: tuple[sp.Symbol, ...], entries: tuple[sp.Expr, ...], backend: Backend, points: int) -> Function:
    for entry in entries:
        _check_symbols(entry, arguments)
    means = sorted(set().union(*(entry.atoms(SoftmaxMean) for entry in entries)), key=sp.default_sort_key)
    if means and backend.name not in ("numpy", "mpmath"):
        raise ValueError(
            f"the {backend.name} backend has no means over a softmax, of which this takes some at every state; use the numpy backend, as "
            "to_sympy_lambda does"
        )
    if means and backend.name == "numpy":  # over the same scores, all at once
        names = {node: sp.Dummy(f"e{k}", real=True) for k, node in enumerate(means)}
        every = tuple(entry.xreplace(names) for entry in entries)
        inner = _compile((*arguments, *names.values()), every, backend, points)
        grouped = GroupedMeans(means, arguments, points)
        return lambda *values: inner(*values, *grouped(*values))
    if backend.name == "numpy" and len(once := tuple(dict.fromkeys(entries))) < len(entries):
        return _repeated(_compile(arguments, once, backend, points), [once.index(entry) for entry in entries])
    dummies = [_dummy(index) for index in range(len(arguments))]
    fresh = dict(zip(arguments, dummies, strict=True))
    try:
        plain, apart = centred([entry.xreplace(fresh) for entry in entries], partial(_rewritten, backend=backend))
        written = tuple(_rewritten(entry, backend).xreplace(apart) for entry in plain)
        # what a node with bound variables holds is no number that could be shared
        bound = any(entry.has(sp.Lambda) for entry in written)

        function = sp.lambdify(
            dummies,
            written,
            modules=[dict(backend.modules())],
            printer=backend.printer(),
            cse=backend.shares and not bound,
            docstring_limit=0,
        )
        if backend.extended is not None and not bound and any(map(may_leave_doubles, written)):
            code, names = function.__code__, function.__globals__ | backend.extended()
            function = in_doubles_first(function, FunctionType(code, names))
        return backend.wrap(function)
    except (PrintMethodNotImplementedError, KeyError) as error:
        raise ValueError(
            f"the {backend.name} backend cannot compute {_shortened(entries)}: {str(error).splitlines()[0]}; "
            f"give an expression in elementary functions, or use the {'numpy' if backend.name == 'mpmath' else 'mpmath'} backend"
        ) from error


def _repeated(function: Function, places: Sequence[int]) -> Function:
    """A function with some of its values more than once, as a covariance has them, each an array of its own."""
    copied = [place in places[:k] for k, place in enumerate(places)]

    def call(*values: Any) -> tuple[Any, ...]:
        found = function(*values)
        return tuple(
            found[place].copy() if again else found[place] for place, again in zip(places, copied, strict=True)
        )

    return call


@cache
def _dummy(index: int) -> sp.Dummy:
    """Of an argument, the same each time: what is rewritten once is known in the next formula."""
    return sp.Dummy(f"a{index}", real=True)


def _rewritten(entry: sp.Expr, backend: Backend) -> sp.Expr:
    """What stands around Gaussian means; they travel as text, and are rewritten where they are evaluated."""
    if not entry.has(GaussianMean):
        return backend.rewrite(entry)
    means = {node: sp.Dummy("e", real=True) for node in _outermost(entry)}
    return backend.rewrite(entry.xreplace(means)).xreplace({name: node for node, name in means.items()})


def _outermost(expr: sp.Basic) -> Iterator[GaussianMean]:
    if isinstance(expr, GaussianMean):
        yield expr
        return
    for argument in expr.args:
        yield from _outermost(argument)


def _check_arguments(arguments: tuple[sp.Symbol, ...]) -> None:
    wrong = [argument for argument in arguments if not isinstance(argument, sp.Symbol)]
    if wrong or len(set(arguments)) < len(arguments):
        raise ValueError(f"expected different symbols as arguments, got {arguments}")


def _check_symbols(entry: sp.Expr, arguments: tuple[sp.Symbol, ...]) -> None:
    if entry.atoms(CoordinateSum):
        raise ValueError(f"{entry} holds sums over the neurons of a layer; compile it with compile_sums")
    stray = sorted(entry.free_symbols - set(arguments), key=str)
    if stray:
        raise ValueError(
            f"expected an expression in {', '.join(map(str, arguments)) or 'no symbols'}, got {_shortened([entry])} with the "
            f"free symbols {', '.join(map(str, stray))}; substitute numbers for them, or list them as arguments"
        )


def _shortened(entries: Sequence[sp.Expr]) -> str:
    text = ", ".join(map(str, entries))
    return text if len(text) <= 200 else text[:197] + "..."
