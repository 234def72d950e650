r"""Statements in which the positions of an input meet: sums over them, heads of attention, softmax, given numbers for pairs."""

from __future__ import annotations

from collections.abc import Mapping

import sympy as sp

from derivations.errors import NotClosed
from derivations.gaussian import SoftmaxShare
from derivations.gaussian.turns import UNTURNED
from derivations.language.statements import Back, Between, Mask, Matrix, Mean, Mix, Program, Shares, read_symbols
from derivations.limits.elimination.draws import AttentionDraw, Covariances, Draw, upto
from derivations.limits.elimination.expander import Expander
from derivations.limits.elimination.heads import Head
from derivations.limits.elimination.matrix_rules import draws
from derivations.limits.elimination.series import Series, as_expression, taylor
from derivations.symbols import state


def mix(e: Expander, statement: Mix) -> None:
    """A sum over positions, value by value, or what a head of attention puts out."""
    if statement in e.heads:
        return _head(e, e.heads[statement])
    for c in range(len(e.states)):
        rows = (e.series(statement.body, c, b) for b in e.beside(e.place(c)[1]))
        e.values[c][statement.symbol] = sp.Add(*map(as_expression, rows))


def _head(e: Expander, head: Head) -> None:
    """What a head of attention puts out, Gaussian given forms of its shares, and how that moves.

    Raises
    ------
    NotClosed
        For tangents of a head with finitely many keys.
    """
    size, layer, name = len(e.states), head.values.target.index, head.mix.symbol.name
    pairs = [(i, j) for i in range(size) for j in range(i + 1)]
    forms = {
        (i, j): sp.Dummy(f"Phi_{i + 1}{j + 1}", **({"positive": True} if i == j else {"real": True})) for i, j in pairs
    }
    fresh = e.fresh(name, range(size), real=True)
    e.variables[layer].extend(fresh)
    count = head.scores.over.size
    neurons = sp.oo if e.infinite and not head.scores.over.is_few else count
    if size > e.inputs and neurons != sp.oo:
        raise NotClosed(
            f"tangents through a softmax need means over its scores together with how these move, which have a rule for infinitely many keys only, "
            f"and here they are {neurons}; take the number of keys to infinity by leaving size= out"
        )
    values, queries, keys = covariances = [_covariances(e, matrix) for matrix in head.matrices]
    if not head.is_plain:
        queries, keys = (_normed(e, head, side, table) for side, table in enumerate((queries, keys)))
    means = tuple(_means(e, matrix) for matrix in head.matrices)
    drawn = {v for found in e.variables.values() for v in found} - {*e.states}
    entries = [t for table in covariances for entry in table.values() for t in entry]
    settled = not any(t.atoms(sp.Symbol) & drawn for t in (*entries, *(t for row in means for m in row for t in m)))
    given = {  # tangents are centred, given the state
        pair: (symbol if e.place(pair[0])[0] == e.place(pair[1])[0] else sp.S.Zero, *[sp.S.Zero] * e.order)
        for pair, symbol in forms.items()
    }
    moved = any(any(series) for series in means[0])
    shifts = [sp.Dummy(f"psi_{c + 1}", real=True) for c in range(e.inputs if moved else 0)]
    sharing = [
        h for h in e.heads.values() if h.mix.symbol in e.mixed and (h.keys == head.keys or h.values == head.values)
    ]
    e.mixed[head.mix.symbol] = [
        AttentionDraw(
            forms,
            tuple(shifts),
            values,
            queries,
            keys,
            means,
            head.factor,
            head.scores.power,
            head.mask,
            UNTURNED if head.scores.angles is None else head.scores.angles,
            neurons,
            settled,
            e.inputs,
            frozenset(drawn) if sharing and neurons != sp.oo else frozenset(),
            head.thinned,
        ),
        Draw(tuple(fresh), given, e.drawn_in(layer)),
    ]
    for c, m in enumerate(fresh):
        e.values[c][head.mix.symbol] = m + (shifts[c] if moved and c < e.inputs else 0)
        e.origin[m] = (head.mix, c)


def _covariances(e: Expander, statement: Matrix) -> Mapping[tuple[int, int], Series]:
    """Of what a Gaussian matrix puts out, and of how that moves with the state and with the matrix itself."""
    drawn, *own = draws(e, statement)
    assert isinstance(drawn, Draw)
    if not own:
        return drawn.covariance
    (copies,) = own
    assert isinstance(copies, Draw)
    m, size = e.inputs, len(e.states)

    def entry(i: int, j: int, order: int) -> Series:
        found = upto(drawn.covariance, order)[i, j]
        return found if j < m else tuple(map(sp.Add, found, upto(copies.covariance, order)[i - m, j - m]))

    return Covariances(size, e.order, entry)


def _normed(
    e: Expander, head: Head, side: int, table: Mapping[tuple[int, int], Series]
) -> Mapping[tuple[int, int], Series]:
    """Covariances behind a norm over infinitely many neurons."""
    tables = {m.symbol: _covariances(e, m) for m in head.normed[side]}

    def entry(i: int, j: int, order: int) -> Series:
        known = {symbol: upto(found, order) for symbol, found in tables.items()}
        slopes = (head.slope(side, {s: as_expression(found[k, k]) for s, found in known.items()}) for k in (i, j))
        return taylor(sp.Mul(as_expression(upto(table, order)[i, j]), *slopes), order)

    return Covariances(len(e.states), e.order, entry)


def _means(e: Expander, statement: Matrix) -> list[Series]:
    """Of what a matrix puts out, for each coordinate."""
    nothing = dict.fromkeys(e.out[statement.weights], sp.S.Zero)
    return [taylor(row[statement.symbol].xreplace(nothing), e.order) for row in e.values]


def require_apart(program: Program, scores: Mean) -> None:
    """Require that turned queries and keys are of independent neurons: then four products of a pair of them are uncorrelated.

    Raises
    ------
    NotClosed
        If both are made of one matrix, or of the state itself.
    """
    made = {s.symbol: s for s in program.statements}
    read: list[set[object]] = []
    for side in scores.sides(dict(program.others)):
        found, left = set[object](), {*side.free_symbols}
        while left:
            symbol = left.pop()
            statement = made.get(symbol)
            if isinstance(statement, Matrix):
                found.add(statement.weights)
            elif isinstance(statement, Mask):
                found.add(symbol)
            elif isinstance(statement, Mix | Back) or symbol == state:
                found.add(None)  # of the state, or of what was mixed
            elif not isinstance(statement, Mean) and statement is not None:
                left |= read_symbols(statement)
        read.append(found)
    if None in read[0] | read[1] or read[0] & read[1]:
        raise NotClosed(
            "turned queries and keys that are made of one matrix, or of no matrix, have no rule; apply a matrix of its own to each, as in "
            "normalised_sum(rotary(Q(x), w)*other(rotary(K(x), w)))"
        )


def shares(e: Expander, statement: Shares) -> None:
    """A softmax over the positions of an input, or its differential."""
    for c in range(len(e.states)):
        direction, a = e.place(c)
        row = e.beside(a)
        scores, masks = ([sp.Dummy(f"{stem}{b}", real=True) for b in row] for stem in ("y", "m"))
        values = {y: as_expression(e.series(statement.body, a, b)) for y, b in zip(scores, row, strict=True)}
        values |= {m: as_expression(e.series(statement.mask, a, b)) for m, b in zip(masks, row, strict=True)}
        moved = {}
        if direction:
            moved = {y: as_expression(e.series(statement.body, c, b)) for y, b in zip(scores, row, strict=True)}
        for k, b in enumerate(row):
            body = SoftmaxShare(k, *masks, *scores)
            if direction:
                moves = {y: sp.Dummy(f"d{y.name}", real=True) for y in moved}
                body = sp.Add(*(sp.diff(body, y) * dy for y, dy in moves.items()))
                values |= {dy: moved[y] for y, dy in moves.items()}
            e.pair(direction, a, b)[statement.symbol] = as_expression(e.expanded(body, values))


def between(e: Expander, statement: Between) -> None:
    """Given numbers for pairs of positions."""
    for a in range(e.inputs):
        for b in e.beside(a):
            places = a % e.program.positions, b % e.program.positions
            e.pair(0, a, b)[statement.symbol] = statement.matrix.entry(*places)
