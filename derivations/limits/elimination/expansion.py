r"""A program over m inputs, expanded in the small parameter: the increment of a neuron and what is drawn for it.

Each statement of the program is made once for each input, and, where tangents are followed, its differential once for each
input and direction: a matrix applied to a body has as its differential the same matrix applied to the body's. A function of
earlier averages is expanded with them, so that what is left is polynomial in every average that fluctuates by powers of the small parameter.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import sympy as sp

from derivations.errors import DerivationError, NotClosed
from derivations.gaussian.turns import turned
from derivations.language.statements import Back, Between, Mask, Matrix, Mean, Mix, Program, Shares
from derivations.language.weights import Weights
from derivations.limits.elimination.averages import LayerAverage
from derivations.limits.elimination.draws import Coins, Covariances, Expansion, Fluctuations, Random
from derivations.limits.elimination.expander import Expander
from derivations.limits.elimination.held import released
from derivations.limits.elimination.matrix_rules import (
    back,
    declare_back,
    declare_matrix,
    draws,
    matrix,
    new_in_transposes,
)
from derivations.limits.elimination.position_rules import between, mix, require_apart, shares
from derivations.limits.elimination.series import Series, as_expression, taylor
from derivations.piecewise import pieces
from derivations.symbols import state

_NOTHING: Mapping[sp.Expr, sp.Expr] = MappingProxyType({})


def expand(
    program: Program,
    inputs: int,
    order: int,
    directions: int = 0,
    parameters: bool | frozenset[Weights] = False,
    infinite: bool = False,
    fixed: Mapping[sp.Expr, sp.Expr] = _NOTHING,
    name_sums: bool = False,
    from_zero: bool = False,
) -> Expansion:
    r"""Expand a program over m inputs to an order in the small parameter.

    Parameters
    ----------
    program : Program
    inputs : int
        m.
    order : int
        Of the series.
    directions : int
        How many tangents of the state are followed beside it, for each input: coordinates m, …, 2m − 1 are the first one's.
    parameters : bool or set of Weights
        Whether the layer's own weights and biases move too, or those of some matrices,
        each by an independent standard normal number in units of its
        standard deviation. Then the second moment of a tangent, given the network, is the neural tangent kernel.
    infinite : bool
        Whether numbers of neurons that are no numbers are infinite: then every matrix is as a Gaussian one. Tangents are
        independent of the neurons and centred given the network, so that averages, which are their means, do not move with them.
    fixed : mapping
        Averages of the state that are known, such as those that every layer puts out, and their values.
    name_sums : bool
        Whether sums of averages of the state that weights with means add have a name (:class:`~derivations.limits.elimination.held.HeldSum`).
    from_zero : bool
        Whether tangents are 0 before the layer, so that its parameters alone move them.

    Raises
    ------
    DerivationError
        If a matrix reads what depends on what it put out itself.
    NoLimit
        If a statement is not smooth in the small parameter.
    """
    e = Expander(program, inputs, order, directions, parameters, infinite, fixed, name_sums, from_zero)
    for statement in program.statements:  # all variables of a layer are known before it is averaged over
        if type(statement) in _DECLARATIONS:
            _DECLARATIONS[type(statement)](e, statement)
    for statement in program.statements:
        if type(statement) in _RULES and (statement.symbol not in e.inside or isinstance(statement, Matrix)):
            _RULES[type(statement)](e, statement)
    increment = []
    for c in range(len(e.states)):
        first, *rest = e.series(program.update, c)
        moved = sp.expand(first - e.values[c][state])
        increment.append((sp.S.Zero if _is_nothing(released(moved)) else moved, *rest))
    variables = {layer: tuple(found) for layer, found in e.variables.items()}
    return Expansion(
        tuple(increment),
        e.states,
        tuple(_random(e)),
        variables,
        e.sizes,
        frozenset(e.few),
        e.places,
        program.has_pairs,
        e.origin,
    )


def _is_nothing(expr: sp.Expr) -> bool:
    """Whether a function of one neuron alone with kinks is 0 on each of its pieces, as |x| sign(x) − x."""
    if (
        expr.has(LayerAverage)
        or not expr.has(sp.Piecewise, sp.Abs, sp.Max, sp.Min, sp.sign)
        or len(expr.free_symbols) != 1
    ):
        return False
    (x,) = expr.free_symbols
    try:
        return all(sp.expand(piece.expr) == 0 for piece in pieces(expr, x))
    except DerivationError:
        return False


def _declare_mask(e: Expander, statement: Mask) -> None:
    """Name an i.i.d. factor: one for each coordinate, for each input if a whole branch is dropped, or for all."""
    count = 1 if statement.shared else e.inputs // statement.each
    fresh = e.fresh(statement.symbol.name, range(count), nonnegative=True)
    e.coins[statement.symbol] = Coins(
        tuple(fresh), statement.keep, None if statement.over is None else e.drawn_in(statement.over.index)
    )
    if statement.over is not None:
        e.belongs(statement.over, fresh)
    e.origin |= {v: (statement, None if statement.shared else c) for c, v in enumerate(fresh)}
    for c in range(len(e.states)):  # a factor has no differential
        e.values[c][statement.symbol] = fresh[min(c // statement.each, count - 1)] if c < e.inputs else sp.S.Zero


def _mean(e: Expander, statement: Mean) -> None:
    places: list[tuple[int, int | None]] = [(c, None) for c in range(len(e.states))]
    if statement.pair:
        places = [(c, b) for c, _ in places for b in e.beside(e.place(c)[1])]
    bodies = [e.series(statement.body, c, b) for c, b in places]
    size, layer = statement.over.size, statement.over.index
    if statement.power == 1 and statement.angles is not None:
        raise NotClosed(
            "averages of turned queries and keys, as of rotary positions with scale='linear', have a rule inside of the softmax of a head alone; "
            "take normalised_sum, scale='sqrt'"
        )
    if statement.power == 1:
        found = [as_expression([e.average(t, layer) for t in terms]) for terms in bodies]
    elif e.infinite and not statement.over.is_few:
        found = _fluctuating(e, statement, bodies, places)
    elif statement.angles is not None:
        raise NotClosed(
            f"scores of {size} turned queries and keys, as of rotary positions, are random at each layer otherwise than by what their matrices put "
            "out; take the number of keys to infinity: width=oo, and no size="
        )
    else:
        root = size ** (1 - statement.power)
        found = [as_expression([root * e.average(t, layer) for t in terms]) for terms in bodies]
    for (c, b), value in zip(places, found, strict=True):
        direction, a = e.place(c)
        if direction and e.centred and statement.power == 1:
            value = sp.S.Zero  # tangents are centred
        where = e.values[c] if b is None else e.pair(direction, a, b)
        where[statement.symbol] = value


def _fluctuating(
    e: Expander, statement: Mean, bodies: list[Series], places: list[tuple[int, int | None]]
) -> list[sp.Expr]:
    """Sums over infinitely many neurons over the root of their number: a Gaussian number for each.

    Raises
    ------
    NotClosed
        If queries and keys that are turned in pairs are not independent.
    """
    layer, name = statement.over.index, statement.symbol.name
    terms = [term for body in bodies for term in body if term != 0]
    at = [place for body, place in zip(bodies, places, strict=True) for term in body if term != 0]
    drawn = tuple(sp.Dummy(f"{name}{i + 1}", real=True) for i in range(len(terms)))
    means = tuple(e.average(term, layer) for term in terms)
    if statement.angles is not None:
        require_apart(e.program, statement)

    def entry(i: int, j: int, order: int) -> Series:
        found = e.average(terms[i] * terms[j], layer) - means[i] * means[j]
        if statement.angles is not None:  # both sums are centred, and queries independent of keys
            p = e.program.positions
            found *= turned(statement.angles, *(int(c or 0) % p for place in (at[i], at[j]) for c in place))
        return taylor(found, order)

    covariance = Covariances(len(terms), e.order, entry)
    e.fluctuations[statement.symbol] = Fluctuations(drawn, covariance, None, means)
    fresh = iter(drawn)
    return [as_expression([next(fresh) if term != 0 else term for term in body]) for body in bodies]


def _random(e: Expander) -> list[Random]:
    """All that is drawn, each after what it reads.

    Raises
    ------
    NotClosed
        If a matrix is applied again to what depends on what it put out before.
    """
    left, found = _in_order_of_statements(e), list[Random]()
    reads = {id(own): _read(e, own) for own in left}
    while left:
        drawn = [set(own.variables) for own in left]
        ready = (
            k
            for k, own in enumerate(left)
            if not any((reads[id(own)] or set()) & drawn[j] for j in range(len(left)) if j != k)
            and (k == 0 or reads[id(own)] is not None)
        )
        first = next(ready, None)
        if first is None:
            again = next((w.name for w, read in e.read.items() if len(read) > 1), "of a layer")
            raise NotClosed(
                f"the matrix {again} is applied again to what depends on what it put out before, which is then not Gaussian given the state; use "
                "another matrix there"
            )
        found.append(left.pop(first))
    return found


def _read(e: Expander, own: Random) -> set[sp.Basic] | None:
    """The symbols in what a matrix reads, nothing for a factor; None for what reads all that stands before it."""
    if isinstance(own, Coins):
        return set()
    first = own.variables[0] if own.variables else None
    weights = next((w for w in e.read if first in (*e.out[w], *e.own[w])), None)
    if weights is None:
        return set() if first in e.biases.values() else None
    return {s for bodies in e.read[weights] for body in bodies for term in body for s in term.atoms(sp.Symbol)}


def _in_order_of_statements(e: Expander) -> list[Random]:
    """A matrix is drawn where the last of its bodies is known."""
    last = {s.weights: s for s in e.program.statements if isinstance(s, Matrix)}
    found: list[Random] = []
    for statement in e.program.statements:
        if statement.symbol in e.inside:
            continue
        if statement.symbol in e.mixed:
            found += e.mixed[statement.symbol]
        elif isinstance(statement, Mask):
            found.append(e.coins[statement.symbol])
        elif isinstance(statement, Back):
            if e.backs[statement.weights][-1][0] == statement:
                found.append(new_in_transposes(e, statement.weights))
        elif statement.symbol in e.fluctuations:
            found.append(e.fluctuations[statement.symbol])
        elif isinstance(statement, Matrix) and last[statement.weights] is statement and not statement.weights.is_mean:
            found += draws(e, statement)
    return found


#: What a statement draws, named before anything is expanded.
_DECLARATIONS: dict[type, Callable[[Expander, Any], None]] = {
    Matrix: declare_matrix,
    Back: declare_back,
    Mask: _declare_mask,
}
#: One rule a kind of statement; a factor is drawn and reads nothing.
_RULES: dict[type, Callable[[Expander, Any], None]] = {
    Matrix: matrix,
    Back: back,
    Mean: _mean,
    Mix: mix,
    Shares: shares,
    Between: between,
}
