r"""Heads of softmax attention as one statement: given its shares, what a head puts out is Gaussian.

Where queries, keys and values come from three matrices that heads alone read, the output of neuron i at position
:math:`\alpha` is :math:`\sum_\beta a_{\alpha\beta} v_i^\beta`. Given the shares a its neurons are i.i.d. with covariance
:math:`\Phi_{\alpha\gamma} = a_\alpha^\top S^v a_\gamma` and mean :math:`\psi_\alpha = a_\alpha^\top m^v`; the means of :math:`\Phi`,
:math:`\psi` and :math:`\psi_\alpha\psi_\gamma` over the scores are :class:`~derivations.gaussian.SoftmaxMean`, for every number of keys. So nothing
is written out over pairs of positions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import sympy as sp

from derivations.affine import is_affine
from derivations.language.statements import Between, Mask, Matrix, Mean, Mix, Program, Shares, Statement, read_symbols
from derivations.limits.elimination.dropped_shares import dropped_shares, numbers
from derivations.symbols import step


@dataclass(frozen=True)
class Head:
    """The statements of one head.

    Parameters
    ----------
    queries, keys, values : Matrix
    scores : Mean
        Of each pair of positions.
    shares : Shares
    mix : Mix
        The sum over the other position.
    factor : Expr
        What the scores are multiplied by.
    mask : Matrix, shape (p, p)
    sides : tuple of two Expr
        What the scores are sums of products of: the query and the key, each linear in what its matrix puts out, as behind norms.
    norms : tuple of two tuples of Mean
        The averages over the neurons of queries, and of keys, that these hold; of other heads too, where one norm is over all.
    normed : tuple of two tuples of Matrix
        What these averages are over.
    coins : tuple of Mask
        The factors that drop shares, one for each pair of positions.
    thinned : Expr
        The variance of such a factor over its squared mean; 0 where no share is dropped.
    """

    queries: Matrix
    keys: Matrix
    values: Matrix
    scores: Mean
    shares: Shares
    mix: Mix
    factor: sp.Expr
    mask: sp.ImmutableMatrix
    sides: tuple[sp.Expr, sp.Expr]
    norms: tuple[tuple[Mean, ...], tuple[Mean, ...]]
    normed: tuple[tuple[Matrix, ...], tuple[Matrix, ...]]
    coins: tuple[Mask, ...] = ()
    thinned: sp.Expr = sp.S.Zero

    @property
    def is_plain(self) -> bool:
        """Whether queries and keys are what their matrices put out."""
        return self.sides == (self.queries.symbol, self.keys.symbol)

    @property
    def inside(self) -> tuple[Statement, ...]:
        """The statements that no other one reads."""
        return (*self.matrices, *self.norms[0], *self.norms[1], self.scores, self.shares, *self.coins)

    def slope(self, side: int, variances: Mapping[sp.Symbol, sp.Expr]) -> sp.Expr:
        """By what queries (0) or keys (1) are multiplied, where infinitely many centred neurons make averages numbers.

        ``variances`` are of what matrices put out, by their symbols.
        """
        known = dict[sp.Expr, sp.Expr]()
        for mean in self.norms[side]:
            symbol = next(m.symbol for m in self.normed[side] if mean.body.has(m.symbol))
            body = sp.Poly(mean.body.xreplace(known), symbol)
            known[mean.symbol] = body.coeff_monomial(1) + body.coeff_monomial(symbol**2) * variances[symbol]
        return sp.diff(self.sides[side].xreplace(known), (self.queries, self.keys)[side].symbol)

    @property
    def matrices(self) -> tuple[Matrix, Matrix, Matrix]:
        """Of values, queries and keys."""
        return self.values, self.queries, self.keys


def heads(program: Program) -> tuple[Head, ...]:
    """The heads of softmax attention in a program."""
    return tuple(_heads(program)) if any(isinstance(s, Shares) for s in program.statements) else ()


def _heads(program: Program) -> Iterator[Head]:
    made = {s.symbol: s for s in program.statements}
    others = dict(program.others)
    readers: dict[sp.Symbol, list[Statement | None]] = {}
    for statement in (*program.statements, None):
        symbols = program.update.free_symbols if statement is None else read_symbols(statement)
        for own in {others.get(s, s) for s in symbols}:
            readers.setdefault(own, []).append(statement)
    applied = [
        s.weights
        for s in program.statements
        if not isinstance(s, Mean | Mix | Shares | Between) and hasattr(s, "weights")
    ]

    def plain(found: Matrix) -> bool:
        """A matrix that is applied once."""
        return (
            applied.count(found.weights) == 1
            and not found.weights.is_mean
            and not found.weights.taps
            and not found.weights.is_correlated
        )

    found = []
    for mix in (s for s in program.statements if isinstance(s, Mix) and s.body.is_Mul):
        shares = next((made[s] for s in mix.body.args if isinstance(made.get(s), Shares)), None)
        value, symbol = next(((made.get(others[s]), s) for s in mix.body.args if s in others), (None, None))
        if not isinstance(shares, Shares) or not isinstance(value, Matrix) or not plain(value):
            continue
        dropped = dropped_shares(mix.body / (shares.symbol * symbol), made, program.positions)
        if dropped is None or any(readers.get(coin.symbol) != [mix] for coin in dropped[0]):
            continue
        factor, symbol = shares.body.as_independent(*made, *others, as_Add=False)
        scores = made.get(symbol)
        if not isinstance(scores, Mean) or not scores.pair:
            continue
        number, body = scores.body.as_independent(*made, *others, as_Add=False)
        factor *= number
        if factor.has(step):
            continue
        sides = replace(scores, body=body).sides(others)
        ends = [_end(side, made, program) for side in sides]
        if None in ends:
            continue
        (query, asked, *queries), (key, held, *keys) = (end for end in ends if end is not None)
        if query is key or not all(map(plain, (query, key, *queries, *keys))):
            continue
        if not all(
            side == m.symbol or all(w.weights.mean == w.weights.bias_mean == 0 for w in (m, *normed))
            for side, m, normed in zip(sides, (query, key), (queries, keys), strict=True)
        ):
            continue
        if readers.get(shares.symbol) != [mix] or readers.get(scores.symbol) != [shares]:
            continue
        if not {*asked, scores}.issuperset(readers.get(query.symbol, ())):
            continue
        mask = numbers(shares.mask, made, program.positions)
        if mask is not None:
            norms, normed = (asked, held), (tuple(queries), tuple(keys))
            found.append(Head(query, key, value, scores, shares, mix, factor, mask, sides, norms, normed, *dropped))
    while found and (others_read := [head for head in found if not _stands_apart(head, found, readers, plain)]):
        found = [head for head in found if head not in others_read]
    yield from found


def _end(side: sp.Expr, made: Mapping[sp.Symbol, Statement], program: Program) -> tuple[Any, ...] | None:
    """The matrix in whose output queries or keys are linear, averages of polynomials of degree 2 that they hold, and matrices that these are of."""
    matrices, means, open_ = set[Matrix](), set[Mean](), {*side.free_symbols}
    while open_:
        statement = made.get(open_.pop())
        if isinstance(statement, Matrix):
            matrices.add(statement)
        elif isinstance(statement, Mean) and not statement.pair and statement.power == 1:
            means.add(statement)
            open_ |= statement.body.free_symbols - {m.symbol for m in means}
        else:
            return None
    own = [m for m in matrices if side.has(m.symbol)]
    if len(own) != 1 or not is_affine(side, {own[0].symbol}):
        return None
    for mean in means:
        over = [m.symbol for m in matrices if mean.body.has(m.symbol)]
        if len(over) != 1 or not mean.body.is_polynomial(*over) or sp.degree(mean.body, over[0]) > 2:
            return None
    order = program.statements
    return (
        own[0],
        tuple(s for s in order if s in means),
        *(s for s in order if s in matrices and (means or s is own[0])),
    )


def _stands_apart(
    head: Head,
    found: list[Head],
    readers: Mapping[sp.Symbol, list[Statement | None]],
    plain: Callable[[Matrix], bool],
) -> bool:
    """Whether keys and values are read by heads alone, which then have independent centred matrices behind them where they share any.

    So the outputs of heads that share are uncorrelated. Averages over the neurons of what a head puts out are numbers.
    """
    asked, own = head.norms
    if any(s not in asked and not any(s is h.scores for h in found) for m in asked for s in readers[m.symbol]):
        return False
    keys = {s for symbol in (head.keys.symbol, *(m.symbol for m in own)) for s in readers[symbol]}.difference(own)
    values = readers[head.values.symbol]
    sharing = [other for other in found if other.scores in keys or other.mix in values]
    if len(keys) != sum(h.scores in keys for h in found) or len(values) != sum(h.mix in values for h in found):
        return False
    if len(sharing) == 1:
        return True
    behind = [[s for s in readers.get(other.mix.symbol, []) if not isinstance(s, Mean) or s.pair] for other in sharing]
    matrices = [m[0] for m in behind if len(m) == 1]
    return (
        len(matrices) == len(sharing)
        and all(isinstance(m, Matrix) and plain(m) and m.weights.mean == 0 for m in matrices)
        and all(
            m.body.as_independent(h.mix.symbol, as_Add=False)[1] == h.mix.symbol
            for m, h in zip(matrices, sharing, strict=True)
            if isinstance(m, Matrix)
        )
    )
