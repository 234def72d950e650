"""Tables of a number for each position and neuron: one symbol each while a block is read."""

from __future__ import annotations

import numpy as np
import sympy as sp
from numpy.typing import NDArray

Array = NDArray[np.float64]


class Woven(sp.Function):
    """Neurons of two runs in turn, as ``torch.stack((a, b), -1).flatten(-2)`` puts them: the first one's are the even ones."""

    nargs = 2
    is_extended_real = True


class Tables:
    """The tables of a block, each with its symbol; equal ones have one."""

    def __init__(self) -> None:
        self.numbers: dict[sp.Symbol, Array] = {}
        self._names: dict[tuple[int, bytes], sp.Symbol] = {}

    def symbol(self, numbers: Array) -> sp.Symbol:
        """Of a table, shape (positions, neurons)."""
        key = numbers.shape[1], numbers.tobytes()
        if key not in self._names:
            self._names[key] = sp.Dummy("t", real=True)
            self.numbers[self._names[key]] = numbers
        return self._names[key]

    def within(self, expr: sp.Expr) -> set[sp.Symbol]:
        """The tables in a formula."""
        return expr.free_symbols & self.numbers.keys()

    def cut(self, expr: sp.Expr, start: int, stop: int) -> sp.Expr:
        """A formula of a run of the neurons, with that part of its tables."""
        return expr.xreplace({s: self.symbol(self.numbers[s][:, start:stop]) for s in self.within(expr)})

    def strided(self, expr: sp.Expr, start: int) -> sp.Expr:
        """A formula of every second of the neurons, with that part of its tables."""
        rule = {s: self.symbol(np.ascontiguousarray(self.numbers[s][:, start::2])) for s in self.within(expr)}
        return expr.xreplace(rule)

    def require_none(self, expr: sp.Expr) -> None:
        """Refuse tables, and neurons in turn, that stand elsewhere than in scores.

        Raises
        ------
        ValueError
            If one is left.
        """
        if expr.has(Woven):
            raise ValueError(
                "neurons of two tensors are put in turn, by stack and flatten; this is known of queries and keys that are turned, as by rotary positions"
            )
        if self.within(expr):
            raise ValueError(
                "a tensor is multiplied by numbers that differ between positions; known are those that turn pairs of neurons of queries and keys, as "
                "rotary positions do"
            )
