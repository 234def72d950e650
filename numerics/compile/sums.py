r"""Functions of a whole layer's state that depend on it through sums over the neurons."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import sympy as sp

from derivations.sums import CoordinateSum
from numerics.backends import Backend, find_backend
from numerics.compile.centred_sums import centred_sums
from numerics.compile.expression import CompiledFunction, compile_expression

Factors = tuple[int, ...]


@dataclass(frozen=True)
class SummedFunction:
    r"""A function :math:`F(x_i, \sum_j g_1(x_j), \sum_j g_2(x_j), \dots; \theta)` of a layer's state.

    The sums cost O(n) once and are shared by all neurons. A summand that is a product of functions of single
    inputs, such as :math:`\varphi(x_j^\alpha)\varphi(x_j^\beta)`, is contracted without forming the product, each
    of the functions being computed once. Build one with :func:`compile_sums`.

    Parameters
    ----------
    neuron : tuple of Symbol
        A generic neuron's state, m symbols.
    expression : Expr or Matrix
        In ``neuron``, in sums over the neurons, and in ``parameters``.
    parameters : tuple of Symbol
        Further arguments, such as time.
    backend : Backend
    """

    neuron: tuple[sp.Symbol, ...]
    expression: Any
    parameters: tuple[sp.Symbol, ...]
    backend: Backend
    per_neuron: bool = field(init=False)
    _inside: SummedFunction | None = field(init=False, repr=False, compare=False)
    _factors: CompiledFunction = field(init=False, repr=False, compare=False)
    _sums: tuple[Factors, ...] = field(init=False, repr=False, compare=False)
    _outer: CompiledFunction = field(init=False, repr=False, compare=False)
    _apart: CompiledFunction | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        expression, neuron, columns = centred_sums(self.expression, self.neuron)
        sums = sorted(expression.atoms(CoordinateSum), key=sp.default_sort_key)
        # a sum inside another one is a number of the layer, computed before
        inside = sorted(set().union(*(s.body.atoms(CoordinateSum) for s in sums)), key=sp.default_sort_key)
        names = {s: sp.Dummy(f"i{k}", real=True) for k, s in enumerate(inside)}
        parameters = (*self.parameters, *names.values())
        summands = {s: s.at(neuron).xreplace(names) for s in sums}
        sums = [s for s in sums if s not in names]
        factors: dict[sp.Expr, int] = {}
        layout = tuple(
            tuple(factors.setdefault(factor, len(factors)) for factor in _separate(summands[s], neuron)) for s in sums
        )
        stand_ins = [sp.Dummy(f"s{k}", real=True) for k in range(len(sums))]
        opened = expression.xreplace(dict(zip(sums, stand_ins, strict=True)) | names)
        set_ = object.__setattr__
        set_(self, "per_neuron", bool(opened.free_symbols & set(neuron)))
        set_(self, "_sums", layout)
        apart = compile_expression((*self.neuron, *self.parameters), columns, self.backend) if columns else None
        set_(self, "_apart", apart)
        rows = sp.ImmutableMatrix(inside)
        set_(self, "_inside", SummedFunction(neuron, rows, self.parameters, self.backend) if inside else None)
        set_(
            self,
            "_factors",
            compile_expression((*neuron, *parameters), tuple(factors), self.backend),
        )
        set_(
            self,
            "_outer",
            compile_expression((*neuron, *stand_ins, *parameters), opened, self.backend),
        )

    def __call__(self, state: np.ndarray, *parameters: float) -> Any:
        """Evaluate on states of shape (..., n, m).

        Returns
        -------
        ndarray
            Of shape (...,) followed by the matrix's shape for a function of sums alone; of shape
            (..., n) followed by it, for one that also depends on the neuron's own state.
        """
        columns = [state[..., a] for a in range(state.shape[-1])]
        if self._apart is not None:
            columns += [v - v.mean(axis=-1, keepdims=True) for v in self._apart(*columns, *parameters)]
        numbers = self._numbers(np.stack(columns, axis=-1), *parameters)
        wide = [v[..., np.newaxis] for v in numbers]
        factors = self._factors(*columns, *parameters, *wide) if self._sums else ()
        sums = [_contract([factors[k] for k in layout]) for layout in self._sums]
        if self.per_neuron:
            return self._outer(*columns, *(s[..., np.newaxis] for s in sums), *parameters, *wide)
        shape = state.shape[:-2]
        zeros = [np.zeros(shape)] * len(columns)  # the outer function ignores them, but takes their shape
        return self._outer(*zeros, *sums, *parameters, *numbers)

    def _numbers(self, state: np.ndarray, *parameters: float) -> list[np.ndarray]:
        """The sums inside others."""
        return [] if self._inside is None else list(np.moveaxis(self._inside(state, *parameters)[..., 0], -1, 0))

    def __reduce__(self) -> tuple[Any, ...]:
        return compile_sums, (self.neuron, self.expression, self.parameters, self.backend.name)


def compile_sums(
    neuron: Iterable[sp.Symbol],
    expression: sp.Expr | sp.MatrixBase | Sequence[Any],
    parameters: Iterable[sp.Symbol] = (),
    backend: Backend | str = "numpy",
) -> SummedFunction:
    r"""A function of states of shape (..., n, m) from an expression that holds ``CoordinateSum`` s.

    Parameters
    ----------
    neuron : iterable of Symbol
        The m symbols of a generic neuron's state.
    expression : Expr or Matrix
    parameters : iterable of Symbol
        Symbols that become further arguments of the function, in this order.
    backend : Backend or str

    Raises
    ------
    ValueError
        If other symbols are left, a symbolic width among them, or a part cannot be computed.

    Examples
    --------
    >>> from derivations.sums import coordinate_sum
    >>> x = sp.Symbol("x", real=True)
    >>> norm = compile_sums((x,), coordinate_sum(x**2, (x,), sp.Integer(2)) / 2)
    >>> norm(np.array([[[3.0], [4.0]]]))
    array([12.5])
    """
    kept = expression.as_immutable() if isinstance(expression, sp.MatrixBase) else sp.sympify(expression)
    return SummedFunction(tuple(neuron), kept, tuple(parameters), find_backend(backend))


def _separate(body: sp.Expr, neuron: tuple[sp.Symbol, ...]) -> list[sp.Expr]:
    """A summand as a product of at most one factor for each input, or the summand itself."""
    factors = []
    rest = body
    for x in neuron:
        rest, own = rest.as_independent(x, as_Add=False)
        if own.free_symbols & (set(neuron) - {x}):
            return [body]
        if own != 1:
            factors.append(own)
    return [factors[0] * rest, *factors[1:]] if factors else [body]


def _contract(factors: list[np.ndarray]) -> np.ndarray:
    """Sum over the last axis of a product."""
    if len(factors) == 1:
        return factors[0].sum(axis=-1)
    *rest, last = factors
    return np.vecdot(np.prod(rest, axis=0) if len(rest) > 1 else rest[0], last)
