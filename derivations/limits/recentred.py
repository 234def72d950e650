r"""New states less their own averages, as behind layer normalisation: the same joint limit without what is the same for all neurons.

A Gaussian matrix's outputs less their average are those of one with a neuron less, in coordinates that a rotation of the neurons gives. So a
layer that ends by :math:`y - \langle y \rangle` is one without, of n - 1 neurons, where the state is read through matrices only. Where a layer keeps
the whole state, averages of what it adds move all neurons alike by :math:`n^{-1/2}` in a unit of time, and other readings differ by terms of the size 1/n
of what is added, which vanish too.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import sympy as sp

from derivations.language import Program
from derivations.language.statements import Matrix, Mean
from derivations.limits.elimination.averages import LayerAverage
from derivations.limits.elimination.series import Series
from derivations.symbols import state


@dataclass(frozen=True)
class Recentred:
    """A new state as a linear combination, without constants that were its own average, or that of what a layer adds.

    Parameters
    ----------
    series : Series
    whole : bool
        Whether it was the average of the whole state, which is then centred at all depths.
    """

    series: Series
    whole: bool


def recentred(
    series: Series,
    opened: Callable[[sp.Expr], tuple[sp.Expr, dict[sp.Symbol, sp.Expr]]],
    variables: Collection[sp.Symbol],
    states: Sequence[sp.Symbol],
    average: Callable[[sp.Expr], sp.Expr],
) -> Recentred | None:
    """The new state of a generic neuron without what its own average takes from it; None where it is another function of a neuron, or has no such part.

    Parameters
    ----------
    series : Series
        The new state.
    opened : callable
        A formula with names for its averages, and what they name.
    variables : collection of Symbol
        The neuron's numbers: its states and what is drawn for it.
    states : sequence of Symbol
    average : callable
        Over the neurons of the state.
    """
    still = {average(x): sp.S.Zero for x in states}
    of_all, of_drawn, kept = list[bool](), list[bool](), list[sp.Expr]()
    for term in series:
        named, back = opened(term)
        slopes = {v: sp.diff(named, v) for v in variables if named.has(v)}
        constant = named.xreplace(dict.fromkeys(variables, sp.S.Zero))
        linear = sp.Add(*(slope * v for v, slope in slopes.items()))
        if any(slope.has(*variables) for slope in slopes.values()) or sp.expand(named - linear - constant) != 0:
            return None
        own = {v: slope.xreplace(back) * average(v) for v, slope in slopes.items()}
        drawn = sp.Add(*(part for v, part in own.items() if v not in states))
        of_all.append(sp.expand(constant.xreplace(back) + sp.Add(*own.values())) == 0)
        of_drawn.append(sp.expand(constant.xreplace(back) + drawn) == 0)
        kept.append(linear.xreplace(back))
    if not kept[0].has(*states) or kept == [sp.expand(term) for term in series]:
        return None
    if all(of_all):
        return Recentred(tuple(term.xreplace(still) for term in kept), whole=True)
    return Recentred(tuple(kept), whole=False) if all(of_drawn) and not kept[0].has(LayerAverage) else None


def reads_linearly(program: Program) -> bool:
    """Whether matrices read linear functions of the state, and averages are of polynomials of degree 2 at most."""
    read = [(s.body, 1) for s in program.statements if isinstance(s, Matrix)]
    read += [(s.body, 2) for s in program.statements if isinstance(s, Mean)]
    return all(not sp.diff(body, state, most).has(state) for body, most in read)
