r"""The program that a layer's expression stands for: statements in order, each with the neurons that it reads and makes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeAlias

import sympy as sp

from derivations.language.filters import Tap
from derivations.language.nodes import PositionMatrix
from derivations.language.weights import Weights
from derivations.symbols import width


@dataclass(frozen=True)
class Neurons:
    """A layer of neurons inside a block: which one, and how many there are; the state's is number 0.

    ``said`` is the number in terms of ``symbols.width``, so that infinitely many of two layers can still be compared.
    """

    index: int
    size: sp.Expr
    said: sp.Expr = width

    @property
    def is_few(self) -> bool:
        """Whether there are as many however wide the network is: a number of them, or a parameter."""
        return bool(self.size.is_Integer) or not self.said.has(width)


@dataclass(frozen=True)
class Matrix:
    r"""The statement :math:`u = A b`: ``symbol`` is one neuron's value of ``target``, ``body`` one of ``source``."""

    symbol: sp.Symbol
    weights: Weights
    body: sp.Expr
    source: Neurons
    target: Neurons


@dataclass(frozen=True)
class Back:
    r"""The statement :math:`w = A^\top b`: ``body`` is one neuron's value of ``source``, which the matrix puts out."""

    symbol: sp.Symbol
    weights: Weights
    body: sp.Expr
    source: Neurons
    target: Neurons


@dataclass(frozen=True)
class Mean:
    r"""The statement :math:`s = \langle b \rangle`, an average over the neurons ``over``, or :math:`\sqrt k` times it.

    Parameters
    ----------
    symbol : Symbol
    body : Expr
        Where it holds symbols of another position, the average is one number for each pair of positions.
    over : Neurons
    power : Rational
        By which power of their number the sum is divided, 1 or 1/2.
    pair : bool
        Whether there is one for each pair of positions.
    angles : Matrix, shape (F, p), optional
        Of scores, whose body is what this position has times what the other one has: pairs of neurons are turned by these angles before, as many
        pairs by each row, (R^α b)·(R^β c) in place of b·c.
    """

    symbol: sp.Symbol
    body: sp.Expr
    over: Neurons
    power: sp.Expr = sp.S.One
    pair: bool = False
    angles: sp.ImmutableMatrix | None = None

    @property
    def root(self) -> sp.Expr:
        """What makes an average the sum over a power of the number of neurons."""
        return self.over.size ** (1 - self.power)

    def sides(self, others: Mapping[sp.Symbol, sp.Symbol]) -> tuple[sp.Expr, sp.Expr]:
        """The factors of this position's neurons, and of another one's as they are there; ``others`` is from symbols there to those here."""
        apart = [f for f in sp.Mul.make_args(self.body) if f.free_symbols and f.free_symbols <= others.keys()]
        there = sp.Mul(*apart)
        return self.body / there, there.xreplace(dict(others))


@dataclass(frozen=True)
class Mix:
    r"""The statement :math:`m^\alpha = \sum_\beta b^{\alpha\beta}`, a sum over positions; a neuron's value of ``over``, or one for all."""

    symbol: sp.Symbol
    body: sp.Expr
    over: Neurons | None


@dataclass(frozen=True)
class Shares:
    r"""The statement :math:`a_{\alpha\beta} = m_{\alpha\beta}e^{b_{\alpha\beta}}/\sum_\delta m_{\alpha\delta}e^{b_{\alpha\delta}}`, a softmax."""

    symbol: sp.Symbol
    body: sp.Expr
    mask: sp.Expr


@dataclass(frozen=True)
class Between:
    r"""The statement :math:`c_{\alpha\beta}`: given numbers for pairs of positions."""

    symbol: sp.Symbol
    matrix: PositionMatrix

    def entries(self, positions: int) -> list[sp.Expr]:
        """All numbers, row by row."""
        return [self.matrix.entry(a, b) for a in range(positions) for b in range(positions)]

    def is_symmetric(self, positions: int) -> bool:
        """Whether the numbers are the same for all positions, and for all pairs of different ones."""
        every = [(a, b) for a in range(positions) for b in range(positions)]
        return all(len({self.matrix.entry(a, b) for a, b in every if (a == b) == same}) <= 1 for same in (True, False))


@dataclass(frozen=True)
class Mask:
    """The statement that draws an i.i.d. factor for each neuron of ``over``, or one for all if that is None.

    ``each`` is how many coordinates side by side have the same one: a branch is dropped for all positions of an input.
    """

    symbol: sp.Symbol
    keep: sp.Expr
    shared: bool
    over: Neurons | None
    each: int = 1


Statement: TypeAlias = Matrix | Back | Mean | Mask | Mix | Shares | Between


@dataclass(frozen=True)
class Program:
    r"""One layer as statements and an update, both functions of one neuron's numbers.

    Parameters
    ----------
    statements : tuple of Statement
        In an order in which each reads only earlier ones.
    update : Expr
        The new state in ``symbols.state``, ``symbols.step`` and the statements' symbols.
    neurons : Neurons
        The state's.
    positions : int
        How many positions an input has; a neuron's coordinates are inputs × positions, inputs first.
    others : tuple of pairs of Symbol
        For a symbol at another position, the symbol.
    generic : bool
        Whether one generic position of each input stands for all, and what filters read is left as averages over them.
    """

    statements: tuple[Statement, ...]
    update: sp.Expr
    neurons: Neurons
    positions: int = 1
    others: tuple[tuple[sp.Symbol, sp.Symbol], ...] = ()
    generic: bool = False

    @property
    def filters(self) -> tuple[Weights, ...]:
        """The matrices that read other positions, each once."""
        matrices = (s.weights for s in self.statements if isinstance(s, Matrix))
        return tuple(dict.fromkeys(w for w in matrices if w.taps))

    def without_unread(self) -> Program:
        """The program without statements that neither the update nor a statement that it needs reads."""
        at_all, turned = dict(self.others), {s.weights for s in self.statements if isinstance(s, Back)}
        needed, kept = set(self.update.free_symbols), list[Statement]()
        for s in reversed(self.statements):
            needed |= {at_all[twin] for twin in needed & at_all.keys()}
            if s.symbol in needed or (isinstance(s, Matrix) and s.weights in turned):
                kept.append(s)
                needed |= read_symbols(s)
        return replace(self, statements=tuple(reversed(kept)))

    def at_one_position(self) -> Program:
        """The program at a generic position of each input, for programs whose positions meet in filters only."""
        statements = tuple(replace(s, each=1) if isinstance(s, Mask) else s for s in self.statements)
        return replace(self, statements=statements, positions=1, generic=True)

    def xreplace(self, rule: Mapping[sp.Expr, sp.Expr]) -> Program:
        """The program with other symbols, or formulas in their place, in the update, in what statements read and in the matrices' laws."""
        weights: dict[Weights, Weights] = {}

        def changed(statement: Statement) -> Statement:
            words = {
                word: getattr(statement, word).xreplace(rule)
                for word in ("body", "mask", "keep", "angles")
                if getattr(statement, word, None) is not None
            }
            if isinstance(statement, Matrix | Back):
                words["weights"] = weights.setdefault(statement.weights, statement.weights.xreplace(rule))
            return replace(statement, **words)

        return replace(self, statements=tuple(map(changed, self.statements)), update=self.update.xreplace(rule))

    @property
    def has_positions(self) -> bool:
        """Whether states are over positions, so that coordinates are not exchangeable."""
        if self.generic:
            return False
        return self.positions > 1 or any(isinstance(s, Matrix) and bool(s.weights.taps) for s in self.statements)

    @property
    def has_pairs(self) -> bool:
        """Whether a statement is about pairs of positions."""
        return any(isinstance(s, Mix | Shares | Between) or (isinstance(s, Mean) and s.pair) for s in self.statements)

    @property
    def orders_positions(self) -> bool:
        """Whether formulas are not the same for any order of the positions."""
        return self.turns_positions or any(
            (isinstance(s, Between) and not s.is_symmetric(self.positions))
            or (isinstance(s, Matrix) and any(tap != tuple(range(self.positions)) for tap in s.weights.taps))
            for s in self.statements
        )

    @property
    def turns_positions(self) -> bool:
        """Whether scores turn neurons by their positions."""
        return any(isinstance(s, Mean) and s.angles is not None for s in self.statements)

    @cached_property
    def position_symmetries(self) -> tuple[tuple[int, ...], ...]:
        r"""Renamings :math:`\sigma` of the positions under which a layer with filters stays the same, the identity first.

        Shifts, where a filter reads on at the other end, and reflections: weights of a filter have one law, so that its
        weights in reverse order are as good. Filters that join all positions leave one :math:`\sigma` at most for each image of the first.
        """
        kept = tuple(range(self.positions))
        taps = [w.taps for w in self.filters]
        between = [s for s in self.statements if isinstance(s, Between)]
        found = {kept: None}
        if self.turns_positions:
            return tuple(found)
        for reverse in (False, True):
            turned = [own[::-1] if reverse else own for own in taps]
            pairs = [
                (tap, image)
                for own, images in zip(taps, turned, strict=True)
                for tap, image in zip(own, images, strict=True)
            ]
            for first in kept:
                moved = _extended({0: first}, pairs)
                if moved is None or len(moved) < self.positions:
                    continue
                order = tuple(moved[a] for a in kept)
                if all(
                    s.matrix.entry(a, b) == s.matrix.entry(order[a], order[b])
                    for s in between
                    for a in kept
                    for b in kept
                ):
                    found[order] = None
        return tuple(found)


def _extended(moved: dict[int, int], pairs: list[tuple[Tap, Tap]]) -> dict[int, int] | None:
    """A renaming of positions carried on along filters, each tap into its image; None where they do not agree."""
    waiting = list(moved)
    while waiting:
        here = waiting.pop()
        for tap, image in pairs:
            read, there = tap[here], image[moved[here]]
            if (read is None) != (there is None):
                return None
            if read is None or there is None:
                continue
            if read not in moved:
                moved[read] = there
                waiting.append(read)
            elif moved[read] != there:
                return None
    return moved if len(set(moved.values())) == len(moved) else None


def read_symbols(statement: Statement) -> set[sp.Symbol]:
    """The symbols that a statement reads, of earlier ones and of the state."""
    bodies = [
        getattr(statement, name) for name in ("body", "mask") if isinstance(getattr(statement, name, None), sp.Expr)
    ]
    found: set[sp.Symbol] = set().union(*(body.free_symbols for body in bodies)) if bodies else set()
    return found
