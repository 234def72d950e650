"""Draws that meet inside one function, as in ``max(A(x), B(x))``, are averaged out as one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import sympy as sp

from derivations.limits.elimination.averages import LayerAverage
from derivations.limits.elimination.draws import AttentionDraw, Coins, Draw, HeadsDraw, JoinedDraw, Random


def taken(
    left: list[Random], formulas: Iterable[sp.Expr], copies: Sequence[Mapping[sp.Symbol, sp.Symbol]], order: int
) -> Random:
    """The last of the draws that are left, with those before it that meet it inside a function as one, taken out of them.

    Such a draw is of the same layer, and nothing between reads it: given the state they are then independent.

    Parameters
    ----------
    left : list of Random
        Those that are not averaged out yet.
    formulas : iterable of Expr
        What is to be averaged.
    copies : sequence of mapping
        What the variables are called in tagged neurons.
    order : int
        To which covariances are series.
    """
    last = left.pop()
    if type(last) is Draw and last.layer is None and (first := _inside(last, left, formulas)) is not None:
        left[:] = [*(draw for draw in left if draw is not first), last, first]
        return taken(left, formulas, copies, order)
    if isinstance(last, AttentionDraw):
        return _with_other_heads(last, left, formulas, copies)
    if type(last) is not Draw or not any(type(draw) is Draw and draw.layer == last.layer for draw in left):
        return last
    own = _names(last, copies)
    functions = [symbols for f in _functions(formulas) if (symbols := f.atoms(sp.Symbol)) & own]
    found: list[Draw] = []
    for index, draw in enumerate(left):
        if type(draw) is not Draw or draw.layer != last.layer or not _meets(functions, _names(draw, copies)):
            continue
        if not _read_by((*left[index + 1 :], last), draw):
            found.append(draw)
    left[:] = [draw for draw in left if not any(draw is other for other in found)]
    return JoinedDraw.of([*found, last], order) if found else last


def _inside(last: Draw, left: Sequence[Random], formulas: Iterable[sp.Expr]) -> Random | None:
    """A draw of the neurons of an average that a number of all neurons stands in: the average is taken first."""
    own = set(last.variables)
    averages = {node for f in formulas for node in f.atoms(LayerAverage) if node.atoms(sp.Symbol) & own}
    for index, draw in reversed(list(enumerate(left))):
        if draw.layer is not None and any(node.atoms(sp.Symbol) & set(draw.variables) for node in averages):
            return None if _read_by((*left[index + 1 :], last), draw) else draw
    return None


def _with_other_heads(
    last: AttentionDraw,
    left: list[Random],
    formulas: Iterable[sp.Expr],
    copies: Sequence[Mapping[sp.Symbol, sp.Symbol]],
) -> Random:
    """A head's forms with those of others that meet them inside a function, as behind one norm over all heads.

    What these heads put out is averaged out before.
    """
    if not any(isinstance(draw, AttentionDraw) for draw in left):
        return last
    own = _names(last, copies)
    functions = [symbols for f in _functions(formulas) if (symbols := f.atoms(sp.Symbol)) & own]
    for index, draw in reversed(list(enumerate(left))):
        later = (*left[index + 1 :], last)
        if type(draw) is Draw and _meets(functions, _names(draw, copies)) and not _read_by(later, draw):
            left[index:] = later
            return draw
    met = [d for d in left if isinstance(d, AttentionDraw) and _meets(functions, _names(d, copies))]
    found = [d for d in met if not _read_by([*left[left.index(d) + 1 :], last], d)]
    left[:] = [draw for draw in left if not any(draw is other for other in found)]
    return HeadsDraw((*found, last)) if found else last


def _read_by(later: Sequence[Random], draw: Random) -> bool:
    """Whether the law of one of some draws depends on another one."""
    return any(_reads(reader, set(draw.variables)) for reader in later)


def _names(draw: Random, copies: Sequence[Mapping[sp.Symbol, sp.Symbol]]) -> set[sp.Symbol]:
    return {name for v in draw.variables for name in (v, *(c[v] for c in copies if v in c))}


def _meets(functions: Sequence[set[sp.Symbol]], names: set[sp.Symbol]) -> bool:
    return any(symbols & names for symbols in functions)


def _functions(formulas: Iterable[sp.Expr]) -> set[sp.Basic]:
    """Outermost ones that are no sums, products or powers by whole numbers; what averages are of is looked into."""
    found: set[sp.Basic] = set()
    left: list[sp.Basic] = list(formulas)
    while left:
        node = left.pop()
        if isinstance(node, LayerAverage):
            left.append(node.body)
        elif node.is_Add or node.is_Mul or (node.is_Pow and node.exp.is_Integer and node.exp.is_positive):
            left += node.args
        elif node.args:
            found.add(node)
    return found


def _reads(random: Random, variables: set[sp.Symbol]) -> bool:
    """Whether the law of one draw depends on others."""
    if type(random) is Draw:
        return any(c.atoms(sp.Symbol) & variables for series in random.covariance.values() for c in series)
    if isinstance(random, AttentionDraw):
        tables = (
            *random.values.values(),
            *random.queries.values(),
            *random.keys.values(),
            *(m for row in random.means for m in row),
        )
        return any(c.atoms(sp.Symbol) & variables for series in tables for c in series)
    return not isinstance(random, Coins)
