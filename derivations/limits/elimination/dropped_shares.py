r"""Shares of attention that are dropped: a factor of its own for each pair of positions.

A factor of each position is one of the language; p of them, each beside numbers that are 1 for one other position, are factors of pairs. Given the
shares, what a head puts out has the covariance :math:`a_\alpha^\top S^v a_\gamma` in the mean over the factors, and for
:math:`\alpha = \gamma` more by :math:`(1/\text{keep} - 1)\sum_\beta a_{\alpha\beta}^2 S^v_{\beta\beta}`.
"""

from __future__ import annotations

from collections.abc import Mapping

import sympy as sp

from derivations.language.statements import Between, Mask, Statement


def dropped_shares(
    factor: sp.Expr, made: Mapping[sp.Symbol, Statement], p: int
) -> tuple[tuple[Mask, ...], sp.Expr] | None:
    """What drops shares beside a head's values: the factors, and a factor's variance over its squared mean.

    None where a formula is no factor of mean 1 for each pair of positions.
    """
    if factor == 1:
        return (), sp.S.Zero
    coins = tuple(s for s in made.values() if isinstance(s, Mask) and factor.has(s.symbol))
    keeps = {coin.keep for coin in coins}
    if len(keeps) != 1 or any(coin.shared or coin.over is not None or coin.each != 1 for coin in coins):
        return None
    (keep,) = keeps
    left, tables = sp.expand(factor), []
    for coin in coins:
        tables.append(numbers(sp.expand(left.coeff(coin.symbol) * keep), made, p))
        left = sp.expand(left - left.coeff(coin.symbol) * coin.symbol)
    if left != 0 or None in tables:
        return None
    pairs = [(a, b) for a in range(p) for b in range(p)]
    own = {pair: [table[pair] for table in tables if table is not None and table[pair] != 0] for pair in pairs}
    alone = all(sum(table[a, b] != 0 for b in range(p)) <= 1 for table in tables if table is not None for a in range(p))
    return (coins, 1 / keep - 1) if alone and all(found == [1] for found in own.values()) else None


def numbers(mask: sp.Expr, made: Mapping[sp.Symbol, Statement], p: int) -> sp.ImmutableMatrix | None:
    """A formula of given numbers for pairs of positions, as a table; None for another one."""
    tables = [made.get(s) for s in sorted(mask.free_symbols, key=sp.default_sort_key)]
    if not all(isinstance(table, Between) for table in tables):
        return None

    def entry(a: int, b: int) -> sp.Expr:
        return mask.xreplace({t.symbol: t.matrix.entry(a, b) for t in tables if isinstance(t, Between)})

    return sp.ImmutableMatrix(p, p, entry)
