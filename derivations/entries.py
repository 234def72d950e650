"""Covariance matrices by their entries, which are made when they are read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import sympy as sp


def is_to_rebuild(formula: sp.Basic) -> bool:
    """Whether a number stands before a sum in it, which SymPy multiplies out whenever it puts the formula together, as on the way through a pickle."""
    return any(map(_is_factored, formula.atoms(sp.Mul)))


def rebuilt_entry(entry: sp.Expr) -> sp.Expr:
    """The same, put together anew where it is to be."""
    if not is_to_rebuild(entry):
        return entry
    return entry.replace(_is_factored, lambda product: product.func(*product.args))


def _is_factored(product: sp.Basic) -> bool:
    return (
        isinstance(product, sp.Mul) and len(product.args) == 2 and product.args[0].is_Number and product.args[1].is_Add
    )


@dataclass(frozen=True)
class LazyCovariance:
    """A covariance matrix by its entries, for many states: made when it is read.

    Parameters
    ----------
    entry : callable
        From positions i ≥ j of states to the formula; trusted to be a covariance.
    generic : sequence of pairs of int
        Positions of entries that say all, the others being the same under other names; by default none does.
    """

    entry: Callable[[int, int], sp.Expr]
    generic: Sequence[tuple[int, int]] = ()

    def matrix(self, size: int) -> sp.ImmutableMatrix:
        """All entries."""
        table = {(i, j): rebuilt_entry(self.entry(i, j)) for i in range(size) for j in range(i + 1)}
        return sp.ImmutableMatrix(size, size, lambda i, j: table[max(i, j), min(i, j)])


@dataclass(frozen=True)
class LazyMatrix:
    """A matrix by its entries, which is made when it is read.

    Parameters
    ----------
    entry : callable
        From a row and a column to the formula.
    columns : int, optional
        How many; by default as many as rows.
    """

    entry: Callable[[int, int], sp.Expr]
    columns: int | None = None

    def matrix(self, size: int) -> sp.ImmutableMatrix:
        """All entries."""
        return sp.ImmutableMatrix(size, self.columns or size, self.entry)


class CovarianceField:
    """A field that holds a matrix, or its entries as a function, from which the matrix is made when it is first read.

    ``rows`` names the field with the states that it is over; ``needed`` says that the field has no default.
    """

    def __init__(self, rows: str, needed: bool = False) -> None:
        self.rows, self.needed = rows, needed

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None:
            if self.needed:
                raise AttributeError(self.name)
            return None
        held = instance.__dict__[self.name]
        if not isinstance(held, LazyCovariance | LazyMatrix):
            return held
        instance.__dict__[self.name] = matrix = held.matrix(len(getattr(instance, self.rows)))
        return matrix

    def __set__(self, instance: Any, value: Any) -> None:
        instance.__dict__[self.name] = value


def entry_of(held: LazyCovariance | sp.ImmutableMatrix, i: int, j: int) -> sp.Expr:
    """One entry of a covariance."""
    return rebuilt_entry(held.entry(max(i, j), min(i, j))) if isinstance(held, LazyCovariance) else held[i, j]
