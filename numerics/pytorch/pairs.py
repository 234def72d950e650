r"""Dropout of attention's shares: an i.i.d. factor for each pair of positions of an input and a head.

Factors of one position each are known to the language. Those of pairs are p families of them, where p is the number of positions: the pair
(:math:`\alpha`, :math:`\beta`) has the factor of :math:`\alpha` in the family :math:`\beta - \alpha` modulo p, so that each pair has one of its own.
"""

from __future__ import annotations

import sympy as sp

from derivations import position_matrix
from derivations.language.nodes import Factor
from numerics.pytorch.reader import Reader
from numerics.pytorch.values import Value, number


def pairs_dropped(reader: Reader, shares: Value, p: float, name: str) -> Value:
    """Numbers for pairs of positions, each kept with probability 1 - p and divided by it; every head has factors of its own."""
    if not p:
        return shares
    keep, size = 1 - number(p), reader.places

    def thinned(expr: sp.Expr) -> sp.Expr:
        stem = reader.factor(name)
        reader.remark(
            f"{stem} is 1 with probability {keep} and else 0, one for each pair of positions of an input; shares that are kept are divided by {keep}"
        )
        kept = (_apart(size, k) * _of_position(f"{stem}_{k}", keep) for k in range(size))
        return expr * sp.Add(*kept) / keep

    return shares.map(thinned)


def _apart(size: int, distance: int) -> sp.Expr:
    """1 for pairs of positions that are so far apart, counted on a circle."""
    entries = [[int((b - a) % size == distance) for b in range(size)] for a in range(size)]
    return position_matrix(entries)


def _of_position(name: str, keep: sp.Expr) -> Factor:
    """A factor of each position of an input, which all neurons see."""
    return Factor(sp.Symbol(name), keep, sp.false, sp.true, sp.false)
