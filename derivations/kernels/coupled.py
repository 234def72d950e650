r"""The kernel flow of two inputs whose positions are coupled, as attention and sums over positions couple them.

Its states are the second moments of all positions of an input, :math:`K_{pq}`, and of those of two inputs, :math:`p^2` numbers. Where no position is
set apart, an entry is that of the first positions under other labels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import prod
from typing import TypeAlias

import sympy as sp

from derivations.architectures.base import Recipe
from derivations.errors import DerivationError
from derivations.kernels.flows import require_slopes
from derivations.language.statements import Mean, Program, Shares
from derivations.limits.elimination.heads import heads
from derivations.limits.elimination.labels import matrix_labels
from derivations.limits.elimination.moments import LayerMoments
from derivations.limits.gram import gram_matrix
from derivations.limits.meanfield import MeanFieldLaw
from derivations.limits.tangents import TangentLayer
from derivations.limits.width import MeanFieldLayer
from derivations.symbols import time

Entry: TypeAlias = Callable[[tuple[int, int]], sp.Expr]


@dataclass(frozen=True)
class CoupledFlow:
    """The flow of two inputs over positions; make it with :func:`coupled_flow`.

    Parameters
    ----------
    positions : int
    first, second : tuple of Symbol
        K of all pairs of positions of either input, the upper triangle row by row, then Θ where it is followed.
    both : tuple of Symbol
        K of each position of the first with each of the second input, row by row, then Θ.
    own_rates, pair_rates : tuple of Expr
    """

    positions: int
    first: tuple[sp.Symbol, ...]
    second: tuple[sp.Symbol, ...]
    both: tuple[sp.Symbol, ...]
    own_rates: tuple[sp.Expr, ...]
    pair_rates: tuple[sp.Expr, ...]


def coupled_flow(architecture: Recipe, tangent: bool) -> CoupledFlow:
    """Derive the flow of two inputs over positions.

    How long it takes grows with the number p of positions: softmax heads seconds up to 16, sums over positions like the fourth power of p.

    Raises
    ------
    DerivationError
        For parameters without numbers, neurons whose means move or whose norm every layer fixes, and the tangent kernel of a softmax
        whose queries, keys and values are not from three matrices of their own.

    Examples
    --------
    >>> from derivations import Network, Weights, attention, epsilon
    >>> net = Network(lambda x: x + epsilon * Weights("V")(attention(x, x, x, "linear", "linear")), width=sp.oo, positions=2)
    >>> coupled_flow(net, tangent=False).own_rates[0]
    K_11**3 + 2*K_11*K_12**2 + K_12**2*K_22
    """
    program = replace(architecture, inputs=1).program()
    size = prod(architecture.positions)
    ordered = program.orders_positions
    fluctuating = shares_fluctuate(program)
    shares = sum(isinstance(s, Shares) for s in program.statements)
    if fluctuating and tangent and len(heads(program)) < shares:
        raise DerivationError(
            "the tangent kernel through a softmax of normalised sums is known where queries, keys and values come from three matrices that are "
            "read nowhere else; give each its own, or take scale='linear', kind='linear' or the NNGP kernel"
        )
    if tangent:
        require_slopes(program)
    single = MeanFieldLayer.of(program, size)
    if single.moving or single.fixed:
        raise DerivationError(
            "kernels over coupled positions are followed for centred neurons without a norm at the end of a layer; leave out biases' and weights' "
            "means, even functions outside matrices, and the last norm"
        )
    kernel, theta = (gram_matrix(2 * size, stem) for stem in ("K", "Theta"))
    triangle = [(p, q) for p in range(size) for q in range(p, size)]
    across = [(p, size + q) for p in range(size) for q in range(size)]
    # means over the scores of a softmax keep their positions, so that all are taken from the same scores
    by_labels = not (ordered or fluctuating)
    own_rates = [rate for entry in _entries(program, size, size, tangent, by_labels) for rate in map(entry, triangle)]
    pair_rates = [
        rate for entry in _entries(program, size, 2 * size, tangent, by_labels) for rate in map(entry, across)
    ]
    layers = (kernel, theta)[: 1 + tangent]
    flow = CoupledFlow(
        size,
        tuple(matrix[pair] for matrix in layers for pair in triangle),
        tuple(matrix[size + p, size + q] for matrix in layers for p, q in triangle),
        tuple(matrix[pair] for matrix in layers for pair in across),
        tuple(own_rates),
        tuple(pair_rates),
    )
    _require_numbers(flow)
    return flow


def _entries(program: Program, size: int, count: int, tangent: bool, by_labels: bool) -> list[Entry]:
    """Rates of K, and of Θ where it is followed, between two of some coordinates."""
    kernel, theta = gram_matrix(count, "K"), gram_matrix(count, "Theta")
    field = MeanFieldLayer(
        LayerMoments(program, count, infinite=True),
        MeanFieldLaw(sp.ImmutableMatrix.zeros(count, 1), kernel),
        False,
        {},
    )
    found: list[Entry] = [lambda pair: field.closed(field.layer.product(*pair), True)]
    if tangent:
        moved = TangentLayer.of(field)
        found.append(lambda pair: moved.velocity(*pair, True))
    if not by_labels:
        return found
    renamed = matrix_labels((kernel, kernel), (theta, theta))
    return [_by_labels(velocity, renamed, size, count) for velocity in found]


def _by_labels(velocity: Entry, renamed: Callable[[sp.Expr, tuple[int, ...]], sp.Expr], size: int, count: int) -> Entry:
    """Entries from three: of one position, of two of an input, and of one of each input."""
    known: dict[tuple[int, int], sp.Expr] = {}

    def entry(pair: tuple[int, int]) -> sp.Expr:
        a, b = pair
        pattern = (0, size) if b >= size else (0, int(a != b))
        if pattern not in known:
            known[pattern] = velocity(pattern)
        first = [a, *([b] if a != b < size else [])]
        labels = [*first, *(p for p in range(size) if p not in first)]
        other = [b] if b >= size else []
        labels += [*other, *(p for p in range(size, count) if p not in other)]
        return renamed(known[pattern], tuple(labels))

    return entry


def shares_fluctuate(program: Program) -> bool:
    """Whether a softmax reads sums over the root of the number of neurons, which are random at infinite width."""
    sums = {s.symbol for s in program.statements if isinstance(s, Mean) and s.power != 1}
    return any(isinstance(s, Shares) and bool(s.body.free_symbols & sums) for s in program.statements)


def _require_numbers(flow: CoupledFlow) -> None:
    rates = sp.Tuple(*flow.own_rates, *flow.pair_rates)
    free = rates.free_symbols - {*flow.first, *flow.second, *flow.both, time}
    if free:
        named = ", ".join(sorted(map(str, free)))
        raise DerivationError(
            f"expected numbers in the architecture, got the symbols {named}; substitute values for them"
        )
