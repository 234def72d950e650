"""The equation of a limit as lines: of one state by its noise, of several by their means and quadratic variations."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from itertools import combinations_with_replacement

import sympy as sp

from derivations.notation.nodes import (
    DifferentialOf,
    Juxtaposed,
    Rate,
    Variation,
    Word,
    expected,
    indexed,
    letter,
)
from derivations.notation.steps import Line, Term, differential, equation
from derivations.piecewise import Piece, join, pieces
from derivations.symbols import time

DT = DifferentialOf(time)
DB = DifferentialOf(indexed("B", (time,)))
#: Lines up to which an equation is shown as a whole.
MOST = 12
#: What an equation without states says, as where a norm of one input is fixed by every layer.
NOTHING_MOVES = (equation(Word("states that move"), Word("none"), ":"),)
_LONG = 200  # operations of a variance that is not factored any more


def flow_lines(states: Sequence[sp.Symbol], drift: Iterable[sp.Expr], at: sp.Symbol = time) -> tuple[Line, ...]:
    """The velocity of each state."""
    return tuple(equation(Rate(s, at), v) for s, v in zip(states, drift, strict=True))


def scalar_line(state: sp.Symbol, drift: sp.Expr, noise: sp.Expr, at: sp.Symbol = time) -> Line:
    """The equation of one state, by its drift and the factor of its noise, with the same letter on both sides."""
    name = indexed(state, (at,)) if "_" not in state.name else state
    rule = {state: name}
    brownian = DifferentialOf(indexed("B", (at,)))
    return differential(name, drift.xreplace(rule), noise.xreplace(rule), brownian, at)


def mean_line(state: sp.Symbol, drift: sp.Expr, given: Sequence[sp.Expr], at: sp.Symbol = time) -> Line:
    """How one state moves in the mean."""
    return Line(expected(DifferentialOf(state), *given), (Term(drift, DifferentialOf(at) if drift != 0 else None),))


def bracket_line(first: sp.Expr, second: sp.Expr, rate: sp.Expr, at: sp.Symbol = time) -> Line:
    """The quadratic variation of two states."""
    return Line(Variation(first, second, at), (Term(rate, DifferentialOf(at)),))


def neuron_lines(
    drift: sp.Matrix,
    covariance: sp.Matrix,
    neuron: tuple[sp.Symbol, ...],
    size: sp.Expr,
    root: Callable[[sp.Expr, sp.Symbol], sp.Expr],
) -> tuple[Line, ...]:
    """The equations of one neuron of so many, for one input by its noise, for several by quadratic variations."""
    above = () if size == 1 else ("i",)
    if len(neuron) == 1:
        name = indexed("X", (time,), above)
        at = {neuron[0]: name}
        brownian = DifferentialOf(indexed("B", (time,), above))
        return (differential(name, drift[0].subs(at), root(covariance[0, 0], neuron[0]).subs(at), brownian),)
    lines = []
    own = () if size == 1 else ("i",)
    at = {x: indexed("X", (time,), (*own, sp.Integer(k + 1))) for k, x in enumerate(neuron)}
    unit = DT if size == 1 else Juxtaposed(indexed("delta", ("i", "k")), DT)
    for a in range(len(neuron)):
        if drift[a] != 0:
            left = expected(DifferentialOf(indexed("X", (), (*own, sp.Integer(a + 1)))), letter("X"))
            lines.append(Line(left, (Term(drift[a].subs(at), DT),)))
    for a, b in combinations_with_replacement(range(0 if covariance.is_zero_matrix else len(neuron)), 2):
        neurons = (own, own and ("k",))
        pair = [indexed("X", (), (*at, sp.Integer(k + 1))) for at, k in zip(neurons, (a, b), strict=True)]
        lines.append(Line(Variation(*pair, time), (Term(covariance[a, b].subs(at), unit),)))
    return tuple(lines)


def shortened(lines: Sequence[Line], whole: int) -> tuple[Line, ...]:
    """The first lines of so many, and how many more there are."""
    if whole <= MOST:
        return tuple(lines)
    first = tuple(lines[: MOST - 1])
    return (*first, equation(Word("further lines"), sp.Integer(whole - len(first)), ":"))


def stem(states: Sequence[sp.Symbol]) -> tuple[sp.Expr, ...]:
    """What stands for all states: the letter that they share, or their names.

    Examples
    --------
    >>> stem(sp.symbols("V_11 V_12 V_22"))
    (V,)
    >>> stem(sp.symbols("x y"))
    (x, y)
    >>> stem(sp.symbols("x^1 x^2"))
    (x,)
    """
    letters = {re.split("[_^]", s.name)[0] for s in states}
    return (letter(letters.pop()),) if len(letters) == 1 else tuple(states)


def shown_root(variance: sp.Expr, x: sp.Symbol) -> sp.Expr:
    """A square root of a variance, whose sign the law does not see, piece by piece where it has kinks.

    Examples
    --------
    >>> x = sp.Symbol("x", real=True)
    >>> shown_root(sp.Piecewise((0, x <= 0), (x**2, True)), x)
    Piecewise((0, x <= 0), (x, True))
    >>> shown_root(4 * x**2 / 9, x)
    2*Abs(x)/3
    """
    if not variance.has(x) or sp.count_ops(variance) > _LONG:
        return sp.sqrt(variance)

    def of(piece: Piece) -> sp.Expr:
        above, below = piece.left.is_nonnegative, piece.right.is_nonpositive  # None where an end is a parameter
        side = {"positive": True} if above else {"negative": True} if below else {"real": True}
        there = sp.Dummy(x.name, **side)
        return sp.sqrt(sp.factor(piece.expr.xreplace({x: there}))).xreplace({there: x})

    return join(tuple(Piece(p.left, p.right, of(p)) for p in pieces(variance, x)), x)
