r"""Scores that are sums over the root of the number of keys, where the width is a power of the depth: averages times a number that stays.

A size s times such a sum is :math:`S = s\sqrt n` times an average. S is kept as it is, since a softmax enters the 1/n rule by its slopes at equal scores,
where it is a polynomial in S; :math:`S^k/n` is then the monomial :math:`s^k n^{k/2 - 1}`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import sympy as sp

from derivations.errors import NotClosed
from derivations.language import Program
from derivations.language.statements import Mean, Shares


def as_averages(plain: Program, sizes: Mapping[sp.Symbol, object]) -> tuple[Program, dict[sp.Symbol, sp.Symbol]]:
    """The layer with averages in the place of such scores, and the numbers S by the sizes that they hold; as it is where there are none.

    Raises
    ------
    NotClosed
        If scores are not one size times a sum, or that size stands elsewhere too.
    """
    sums = {s.symbol: s for s in plain.statements if isinstance(s, Mean) and s.power != 1}
    if not sums:
        return plain, {}
    why = NotClosed(
        "where the width is a power of the depth, a sum over the root of the number of neurons is followed as the score of a softmax, times one small "
        "parameter that stands there only; use average, or width=oo"
    )
    finite: dict[sp.Symbol, sp.Symbol] = {}
    statements = []
    for s in plain.statements:
        if s.symbol in sums and isinstance(s, Mean):
            s = replace(s, power=sp.S.One)
        elif isinstance(s, Shares) and s.body.free_symbols & sums.keys():
            (score, *more), inside = s.body.free_symbols & sums.keys(), s.body.free_symbols & sizes.keys()
            if more or len(inside) != 1 or sp.diff(s.body, score, *inside).free_symbols & {score, *inside}:
                raise why
            (size,) = inside
            number = finite.setdefault(size, sp.Dummy(f"S_{size.name}", positive=True))
            root = sp.sqrt(sp.cancel(sums[score].over.size / plain.neurons.size))
            s = replace(s, body=s.body.xreplace({size: number, score: root * score}))
        statements.append(s)
    made = replace(plain, statements=tuple(statements))
    if not finite or any(made.xreplace({size: sp.Dummy(positive=True)}) != made for size in finite):
        raise why
    return made, {number: size for size, number in finite.items()}
