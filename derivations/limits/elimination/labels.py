r"""Formulas over any number of inputs from those over a few: inputs of a dense network are exchangeable.

An entry with inputs a, b, … is the entry of the first inputs with the same pattern of equal ones, under other labels. So a
dense network is expanded for two inputs for its drift and for four for the covariance of a Gram matrix, whatever their number.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import sympy as sp

from derivations.sums import CoordinateSum


def by_pattern(
    entry: Callable[..., sp.Expr], renamed: Callable[[sp.Expr, tuple[int, ...]], sp.Expr], always: bool = False
) -> Callable[..., sp.Expr]:
    """An entry for any inputs from the entries for the first ones.

    Parameters
    ----------
    entry : callable
        From labels 0, 1, … to a formula; asked once for each pattern of equal labels.
    renamed : callable
        The formula with input i called ``labels[i]``.
    always : bool
        Whether the first inputs have other names among all than alone.

    Examples
    --------
    >>> K = sp.IndexedBase("K")
    >>> rename = lambda expr, labels: expr.xreplace({K[i]: K[a] for i, a in enumerate(labels)})
    >>> by_pattern(lambda a, b: K[a] * K[b] + a - b, rename)(5, 5)
    K[5]**2
    """
    known: dict[tuple[int, ...], sp.Expr] = {}

    def value(*labels: int) -> sp.Expr:
        different = tuple(dict.fromkeys(labels))
        pattern = tuple(different.index(a) for a in labels)
        if pattern not in known:
            known[pattern] = entry(*pattern)
        same = not always and different == tuple(range(len(different)))
        return known[pattern] if same else renamed(known[pattern], different)

    return value


def neuron_labels(
    few: Sequence[Sequence[sp.Symbol]], many: Sequence[Sequence[sp.Symbol]]
) -> Callable[[sp.Expr, tuple[int, ...]], sp.Expr]:
    """Renames the coordinates of neurons, in sums over a layer too.

    Parameters
    ----------
    few, many : sequences of rows of symbols
        The coordinates of each neuron that may occur, for the first inputs and for all.
    """
    width = len(many[0])

    def renamed(expr: sp.Expr, labels: tuple[int, ...]) -> sp.Expr:
        rule: dict[sp.Basic, sp.Basic] = {
            row[i]: wide[a] for row, wide in zip(few, many, strict=True) for i, a in enumerate(labels)
        }
        bound = sp.symbols(f"b:{width}", cls=sp.Dummy, real=True)
        for node in expr.atoms(CoordinateSum):
            own = dict(zip(node.bound_symbols, (bound[a] for a in labels), strict=False))
            rule[node] = CoordinateSum(node.body.xreplace(own), sp.Tuple(*bound), node.width)
        return expr.xreplace(rule)

    return renamed


def matrix_labels(*pairs: tuple[sp.Matrix, sp.Matrix]) -> Callable[[sp.Expr, tuple[int, ...]], sp.Expr]:
    """Renames the entries of symmetric matrices, or of columns, of symbols."""

    def renamed(expr: sp.Expr, labels: tuple[int, ...]) -> sp.Expr:
        rule = {}
        for few, many in pairs:
            for i, a in enumerate(labels):
                if few.cols == 1 < few.rows or many.cols == 1 < many.rows:
                    rule[few[i]] = many[a]
                else:
                    rule |= {few[i, j]: many[a, b] for j, b in enumerate(labels)}
        return expr.xreplace(rule)

    return renamed


def permuted(
    renamed: Callable[[sp.Expr, tuple[int, ...]], sp.Expr], size: int
) -> Callable[[sp.Expr, tuple[int, ...]], sp.Expr]:
    """Renames all of the first coordinates, of which the labels say some: the others follow in order.

    Sums over positions hold every position, also those that an entry is not about.
    """

    def all_renamed(expr: sp.Expr, labels: tuple[int, ...]) -> sp.Expr:
        rest = [a for a in range(size) if a not in labels]
        return renamed(expr, (*labels, *rest[: size - len(labels)]))

    return all_renamed
