"""Queries and keys whose neurons are turned by their position: scores alone read them, as sums of products that keep the angles."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from math import prod

import sympy as sp

from derivations.errors import DerivationError, brief
from derivations.language.nodes import Node, Rotary

_WRITTEN = "normalised_sum(rotary(Q(x), w)*other(rotary(K(x), w)))"


class Turned:
    """The symbols of a layer that stand for turned neurons.

    Parameters
    ----------
    others : mapping
        From a symbol at another position to the symbol, as far as they are known.
    """

    def __init__(self, others: Mapping[sp.Symbol, sp.Symbol]) -> None:
        self._others = others
        self._known: dict[sp.Symbol, tuple[sp.Expr, sp.ImmutableMatrix]] = {}

    def __contains__(self, symbol: sp.Symbol) -> bool:
        return symbol in self._known

    def add(self, symbol: sp.Symbol, body: sp.Expr, angles: sp.ImmutableMatrix) -> None:
        """Note what a symbol stands for, and by which angles it is turned."""
        self._known[symbol] = body, angles

    def within(self, body: sp.Expr) -> list[sp.Symbol]:
        """The symbols of a body that are turned, those here before those at another position."""
        found = (s for s in body.free_symbols if self._others.get(s, s) in self._known)
        return sorted(found, key=lambda s: s in self._others)

    def require_none(self, body: sp.Expr, said: sp.Expr) -> None:
        """Refuse turned neurons where others stand.

        Raises
        ------
        DerivationError
            If there are any.
        """
        if self.within(body):
            raise DerivationError(
                f"{brief(said)} reads neurons that are turned by their position, which are not alike; scores alone may: {_WRITTEN}"
            )

    def before(
        self, body: sp.Expr, node: Node, neurons: Collection[sp.Symbol], there: Callable[[sp.Expr], sp.Expr]
    ) -> tuple[sp.Expr, sp.ImmutableMatrix | None]:
        """What scores are sums of before neurons are turned, and the angles; None where these do not differ.

        Parameters
        ----------
        body : Expr
        node : Node
            As it was said.
        neurons : collection of Symbol
            Symbols that differ from neuron to neuron.
        there : callable
            A body at another position.

        Raises
        ------
        DerivationError
            For what is no product of turned neurons of this position and of the other one.
        """
        ends = self.within(body)
        if not ends:
            return body, None
        factor = sp.cancel(body / sp.Mul(*ends))
        if [s in self._others for s in ends] != [False, True] or factor.free_symbols & {*ends, *neurons}:
            raise DerivationError(
                f"{brief(node)} is no sum of turned queries times turned keys of the other position; write it as {_WRITTEN}"
            )
        (query, angles), (key, others) = (self._known[self._others.get(s, s)] for s in ends)
        if angles != others:
            raise DerivationError(
                f"queries and keys in {brief(node)} are turned by different angles; give both the same frequencies"
            )
        differ = any(len(set(angles.row(f))) > 1 for f in range(angles.rows))
        return factor * query * there(key), angles if differ else None


def angles_over(node: Rotary, grid: tuple[int, ...]) -> sp.ImmutableMatrix:
    """By which angles neurons are turned at each position.

    Raises
    ------
    DerivationError
        For frequencies over a grid, or angles of another number of positions.
    """
    count = prod(grid)
    if len(grid) > 1 and isinstance(node.args[1], sp.Tuple):
        raise DerivationError(
            f"positions are a grid of {' × '.join(map(str, grid))}, where frequencies say no angles; give rotary a matrix of angles, a "
            f"column for each of the {count} positions"
        )
    angles = node.angles(count)
    if angles.cols != count:
        raise DerivationError(
            f"rotary has angles of {angles.cols} positions and the network has {count}; give a column for each"
        )
    return angles
