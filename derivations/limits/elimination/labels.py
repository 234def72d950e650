r"""Formulas over any number of inputs from those over a few: inputs of a dense network are exchangeable.

An entry with inputs a, b, … is the entry of the first inputs with the same pattern of equal ones, under other labels. So a
network is expanded for two inputs for its drift and for four for the covariance of a Gram matrix, whatever their number. Positions of an input
may change places too, those of all inputs together, where the network gives them no order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cmp_to_key, lru_cache
from typing import TypeVar

import sympy as sp

from derivations.gaussian import SoftmaxMean
from derivations.language import Program
from derivations.limits.elimination.averages import LayerAverage, layer_average
from derivations.sums import CoordinateSum, coordinates


@dataclass(frozen=True)
class Exchange:
    """Which coordinates of a neuron, inputs × positions, may change places in formulas.

    Parameters
    ----------
    positions : int
        Of each input.
    unordered : bool
        Whether they may change places, those of all inputs together; inputs always may.
    symmetries : tuple of orders
        Renamings of the positions that may be made besides, as a filter over a ring allows shifts; each is the list of images.

    Examples
    --------
    >>> Exchange(positions=3).generic(7, 4), Exchange(positions=3, unordered=True).generic(7, 4)
    (((1, 4), (6, 7, 8, 3, 4, 5)), ((0, 3), (7, 6, 8, 4, 3, 5)))

    On a ring, with shifts:

    >>> Exchange(positions=3, symmetries=((0, 1, 2), (1, 2, 0), (2, 0, 1))).generic(1, 2)
    ((0, 1), (1, 2, 0))
    """

    positions: int = 1
    unordered: bool = False
    symmetries: tuple[tuple[int, ...], ...] = ()

    @classmethod
    def of(cls, program: Program) -> Exchange:
        """Of a network."""
        if program.positions == 1 or not program.orders_positions:
            return cls(program.positions, True)
        return cls(program.positions, False, program.position_symmetries)

    def generic(self, *labels: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The labels among the first inputs and positions, and the coordinates that the first ones stand for."""
        p = self.positions
        inputs = tuple(dict.fromkeys(c // p for c in labels))
        first = tuple(dict.fromkeys(c % p for c in labels)) if self.unordered else ()
        orders = self.symmetries or ((*first, *(q for q in range(p) if q not in first)),)
        named = [(inputs.index(c // p) * p, c % p) for c in labels]
        pattern, places = min((tuple([i + at[q] for i, q in named]), order) for order, at in _images(orders))
        return pattern, tuple(i * p + q for i in inputs for q in places)

    def few(self, coordinates: int, inputs: int) -> int:
        """Of how many coordinates the formulas say all, if each is about so many inputs."""
        return min(coordinates, inputs * self.positions)

    def different(self, labels: Iterable[tuple[int, ...]]) -> list[tuple[int, ...]]:
        """Of labels, the first of each pattern."""
        found: dict[tuple[int, ...], tuple[int, ...]] = {}
        for some in labels:
            found.setdefault(self.generic(*some)[0], some)
        return list(found.values())


@lru_cache(maxsize=1000)
def _images(orders: tuple[tuple[int, ...], ...]) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Orders of the positions, each with the place that it gives a position."""
    return [(order, tuple(order.index(q) for q in range(len(order)))) for order in orders]


def one_order(*labels: int) -> tuple[tuple[int, ...], ...]:
    """Labels of which no others give the same entry."""
    return (labels,)


def symmetric_pairs(a: int, b: int, c: int, d: int) -> tuple[tuple[int, ...], ...]:
    """Labels with the same covariance of entries (a, b) and (c, d) of a symmetric matrix."""
    halves = [((*p, *q), (*q, *p)) for p in ((a, b), (b, a)) for q in ((c, d), (d, c))]
    return tuple(labels for both in halves for labels in both)


#: What is asked of labels: a formula, or several with their keys.
Entry = TypeVar("Entry")
#: Inputs change places, without positions.
INPUTS = Exchange()


def by_pattern(
    entry: Callable[..., Entry],
    renamed: Callable[[Entry, tuple[int, ...]], Entry],
    exchange: Exchange = INPUTS,
    always: bool = False,
    alike: Callable[..., tuple[tuple[int, ...], ...]] = one_order,
) -> Callable[..., Entry]:
    """An entry for any coordinates from the entries for the first ones.

    Parameters
    ----------
    entry : callable
        From labels 0, 1, … to a formula; asked once for each pattern of equal labels.
    renamed : callable
        The formula with coordinate i called ``labels[i]``.
    exchange : Exchange
    always : bool
        Whether the first coordinates have other names among all than alone.
    alike : callable
        From labels to all those with the same entry, so that fewer patterns are asked for.

    Examples
    --------
    >>> K = sp.IndexedBase("K")
    >>> rename = lambda expr, labels: expr.xreplace({K[i]: K[a] for i, a in enumerate(labels)})
    >>> by_pattern(lambda a, b: K[a] * K[b] + a - b, rename)(5, 5)
    K[5]**2
    """
    known: dict[tuple[int, ...], Entry] = {}

    def value(*labels: int) -> Entry:
        pattern, coordinates = generic_labels(alike(*labels), exchange)
        if pattern not in known:
            known[pattern] = entry(*pattern)
        same = not always and coordinates == tuple(range(len(coordinates)))
        return known[pattern] if same else renamed(known[pattern], coordinates)

    return value


def generic_labels(alike: Sequence[tuple[int, ...]], exchange: Exchange) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Of labels with the same entry: the first pattern, and the coordinates that the first ones stand for."""
    return min(exchange.generic(*labels) for labels in alike)


def relabelled(expr: sp.Basic, rule: Mapping[sp.Basic, sp.Basic]) -> sp.Basic:
    """An expression with symbols in the place of others of the same signs, without asking again what could be simplified.

    Examples
    --------
    >>> a, b, c = sp.symbols("a b c", positive=True)
    >>> relabelled(a * sp.sqrt(b + 1), {a: c}) == c * sp.sqrt(b + 1)
    True
    """
    made: dict[sp.Basic, sp.Basic] = dict(rule)

    def at(node: sp.Basic) -> sp.Basic:
        found = made.get(node)
        if found is None:
            found = made[node] = _with(node, [at(arg) for arg in node.args]) if node.args else node
        return found

    return at(expr)


def _with(node: sp.Basic, args: list[sp.Basic]) -> sp.Basic:
    if all(new is old for new, old in zip(args, node.args, strict=True)):
        return node
    if isinstance(node, sp.Add | sp.Mul):
        first, rest = (args[:1], args[1:]) if args[0].is_Number else ([], args)
        rest.sort(key=cmp_to_key(sp.Basic.compare))
        return node._from_args([*first, *rest], is_commutative=True)
    if isinstance(node, sp.Pow):
        return sp.Pow(*args, evaluate=False)
    return node.func(*args, evaluate=False) if isinstance(node, sp.Function) else node.func(*args)


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
        inside: dict[sp.Basic, sp.Basic] = {}
        # a sum inside another one comes first
        for node in sorted(expr.atoms(CoordinateSum), key=lambda node: len(node.atoms(CoordinateSum))):
            bound = coordinates(width, node.free_symbols)
            own = dict(zip(node.bound_symbols, (bound[a] for a in labels), strict=False))
            inside[node] = CoordinateSum(relabelled(node.body, inside | own), sp.Tuple(*bound), node.width)
        return relabelled(expr, rule | inside)

    return renamed


def state_labels(
    few: Sequence[Sequence[sp.Symbol]], many: Sequence[Sequence[sp.Symbol]]
) -> Callable[[sp.Expr, tuple[int, ...]], sp.Expr]:
    """Renames the coordinates of neurons, in averages over the state too; arguments as of :func:`neuron_labels`."""

    def renamed(expr: sp.Expr, labels: tuple[int, ...]) -> sp.Expr:
        rule: dict[sp.Basic, sp.Basic] = {
            row[i]: wide[a] for row, wide in zip(few, many, strict=True) for i, a in enumerate(labels)
        }
        inside: dict[sp.Basic, sp.Basic] = {}
        for node in sorted(expr.atoms(LayerAverage), key=lambda node: len(node.atoms(LayerAverage))):
            bound = {rule.get(v, v): None for v in node.bound_symbols}
            ordered = [*(v for v in many[0] if v in bound), *(v for v in bound if v not in many[0])]
            inside[node] = layer_average(node.body.xreplace(rule | inside), ordered, node.layer)
        return expr.xreplace(rule | inside)

    return renamed


def matrix_labels(*pairs: tuple[sp.Matrix, sp.Matrix]) -> Callable[[sp.Expr, tuple[int, ...]], sp.Expr]:
    """Renames the entries of symmetric matrices, or of columns, of symbols."""
    rows = [
        (few.tolist(), many.tolist(), few.cols == 1 < few.rows or many.cols == 1 < many.rows) for few, many in pairs
    ]
    places: dict[sp.Expr, list[tuple[sp.Symbol, int, int, int]]] = {}

    def where(expr: sp.Expr) -> list[tuple[sp.Symbol, int, int, int]]:
        """The symbols of an expression that are entries, and where they stand."""
        if expr not in places:
            free = expr.free_symbols
            places[expr] = [
                (few[i][j], k, i, j)
                for k, (few, _, column) in enumerate(rows)
                for i in range(len(few))
                for j in range(1 if column else i + 1)
                if few[i][j] in free
            ]
        return places[expr]

    def renamed(expr: sp.Expr, labels: tuple[int, ...]) -> sp.Expr:
        rule = {}
        for symbol, k, i, j in where(expr):
            _, many, column = rows[k]
            rule[symbol] = many[labels[i]][0 if column else labels[j]]
        return relabelled(expr, rule)

    return renamed


def softmax_labels(
    renamed: Callable[[sp.Expr, tuple[int, ...]], sp.Expr],
) -> Callable[[sp.Expr, tuple[int, ...]], sp.Expr]:
    """Renames the rows of means over the scores of a softmax; their matrices are over all coordinates, so that all are taken from the same scores."""

    def rows_renamed(expr: sp.Expr, labels: tuple[int, ...]) -> sp.Expr:
        rule, back = {}, {}
        for node in expr.atoms(SoftmaxMean):
            one, two = (labels[r] for r in node.rows)
            rows = (one, two) if node.function is not None else (max(one, two), min(one, two))
            rule[node] = sp.Dummy("E", real=True)
            back[rule[node]] = node.with_tables(node.form, node.queries, node.keys, *node.tables, rows=rows)
        return renamed(expr.xreplace(rule), labels).xreplace(back) if rule else renamed(expr, labels)

    return rows_renamed


def permuted(
    renamed: Callable[[Entry, tuple[int, ...]], Entry], size: int
) -> Callable[[Entry, tuple[int, ...]], Entry]:
    """Renames all of the first coordinates, of which the labels say some: the others follow in order."""

    def all_renamed(expr: Entry, labels: tuple[int, ...]) -> Entry:
        rest = [a for a in range(size) if a not in labels]
        return renamed(expr, (*labels, *rest[: size - len(labels)]))

    return all_renamed
