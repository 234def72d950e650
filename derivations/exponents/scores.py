r"""Attention's scores: by which power of the number of keys they are divided, and what is left of the softmax.

A score is a sum over k neurons of a query times a key. Over :math:`\sqrt k` it is Gaussian at infinite width; over a higher power of k it
vanishes, and every position attends to all others alike. Over a lower power scores grow, and attention goes to the largest one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import sympy as sp

from derivations.errors import DerivationError
from derivations.exponents.family import Family
from derivations.exponents.terms import Powers, terms
from derivations.language import Program
from derivations.language.statements import Mean, Shares

#: Scores are divided by the number of keys to the power s.
score_exponent = sp.Symbol("s", real=True)


@dataclass(frozen=True)
class ScoreRegime:
    """What attention does for some powers of the number of keys.

    Parameters
    ----------
    condition : Relational
        On ``score_exponent``.
    attention : str
        In words.
    drift : dict or None
        From powers of the sizes to the mean change of the Gram matrix's entries; None where it is not derived.
    """

    condition: sp.Rel
    attention: str
    drift: dict[Powers, tuple[sp.Expr, ...]] | None


def score_regimes(found: Family) -> tuple[ScoreRegime, ...]:
    """The regimes of the scores of a network at infinite width; none for a network without a softmax of sums over neurons.

    Raises
    ------
    NotClosed
        If one layer's moments are not closed.
    """
    if found.order != "width" or not _scores(found.program):
        return ()
    half = sp.S.Half
    gaussian = replace(found, program=_scaled(found.program, sp.S.One))
    uniform = replace(found, program=_scaled(found.program, sp.S.Zero))
    return (
        ScoreRegime(sp.Eq(score_exponent, half), "a softmax of Gaussian scores", terms(gaussian).drift),
        ScoreRegime(
            sp.StrictGreaterThan(score_exponent, half, evaluate=False),
            "scores vanish, and attention is uniform",
            terms(uniform).drift,
        ),
        ScoreRegime(
            sp.StrictLessThan(score_exponent, half, evaluate=False),
            "scores grow with the number of keys, and attention goes to the largest one",
            None,
        ),
    )


def _scores(program: Program) -> set[sp.Symbol]:
    """Sums over neurons, one for each pair of positions, that a softmax reads."""
    read: set[sp.Symbol] = set().union(
        *(s.body.free_symbols for s in program.statements if isinstance(s, Shares)), set()
    )
    return {s.symbol for s in program.statements if isinstance(s, Mean) and s.pair and s.symbol in read}


def _scaled(program: Program, size: sp.Expr) -> Program:
    """Scores over the root of the number of keys, times a size."""
    scores = _scores(program)
    rule = {s: size * s for s in scores}
    statements = []
    for s in program.statements:
        if isinstance(s, Mean) and s.symbol in scores:
            s = replace(s, power=sp.S.Half)
        elif isinstance(s, Shares):
            if any(s.body.coeff(score) == 0 for score in s.body.free_symbols & scores):
                raise DerivationError(f"scores enter the softmax in another way than by a factor, as {s.body}")
            s = replace(s, body=s.body.xreplace(rule))
        statements.append(s)
    return replace(program, statements=tuple(statements))
