r"""What a layer draws for a generic neuron, and a program expanded in the small parameter, as values."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, TypeAlias

import sympy as sp

from derivations.language.statements import Back, Mask, Matrix, Mix
from derivations.language.weights import Weights
from derivations.limits.elimination.series import Series


class Covariances(Mapping[tuple[int, int], Series]):
    """A table of covariances whose entries are made when they are read.

    Parameters
    ----------
    size : int
    order : int
        Of the small parameter, to which the entries are series.
    entry : callable
        From positions i ≥ j and an order to the series.
    """

    def __init__(self, size: int, order: int, entry: Callable[[int, int, int], Series]) -> None:
        self._size, self._order, self._entry = size, order, cache(entry)

    def __getitem__(self, places: tuple[int, int]) -> Series:
        return self._entry(*places, self._order)

    def upto(self, order: int) -> Covariances:
        """The same to a lower order; terms above it are not made, which take longest."""
        found = copy(self)
        found._order = min(order, self._order)
        return found

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return ((i, j) for i in range(self._size) for j in range(i + 1))

    def __len__(self) -> int:
        return self._size * (self._size + 1) // 2


def upto(covariance: Mapping[tuple[int, int], Series], order: int) -> Mapping[tuple[int, int], Series]:
    """A table of covariances to an order, where it is not made yet."""
    return covariance.upto(order) if isinstance(covariance, Covariances) else covariance


@dataclass(frozen=True)
class Draw:
    r"""All that one matrix puts out in a generic neuron: jointly Gaussian and centred, given what the matrix reads.

    Parameters
    ----------
    variables : tuple of Symbol
        One for each input and body.
    covariance : mapping
        For each pair of positions (i ≥ j) its series in the small parameter, an expression in averages.
    layer : int
        The neurons that come out.
    """

    variables: tuple[sp.Symbol, ...]
    covariance: Mapping[tuple[int, int], Series]
    layer: int | None

    def upto(self, order: int) -> Draw:
        """With a covariance to this order of the small parameter."""
        return replace(self, covariance=upto(self.covariance, order))


@dataclass(frozen=True)
class JoinedDraw(Draw):
    """What several matrices put out in the same neurons, independent given what they read, as one draw.

    Parameters
    ----------
    parts : tuple of Draw
    """

    parts: tuple[Draw, ...]

    @classmethod
    def of(cls, parts: Sequence[Draw], order: int) -> JoinedDraw:
        """Of draws of one layer, none of which reads another; covariances are series to this order."""
        places = [(part, k) for part in parts for k in range(len(part.variables))]

        def entry(i: int, j: int, order: int) -> Series:
            (part, k), (other, m) = places[i], places[j]
            return upto(part.covariance, order)[k, m] if part is other else (sp.S.Zero,)

        variables = tuple(v for part in parts for v in part.variables)
        return cls(variables, Covariances(len(places), order, entry), parts[0].layer, tuple(parts))


@dataclass(frozen=True)
class EntriesDraw(Draw):
    r"""What a matrix with i.i.d. entries that are not Gaussian puts out: a sum over the neurons that it reads.

    Parameters
    ----------
    cumulant : callable
        From positions among the variables, three or more, to their joint cumulant as a series.
    symmetric : bool
        Whether all variables together and their negatives have the same law.
    """

    cumulant: Callable[[tuple[int, ...]], Series]
    symmetric: bool


@dataclass(frozen=True)
class OrthogonalDraw(Draw):
    r"""What an orthogonal matrix puts out: :math:`u_i = \sqrt N S^{1/2} h_i` with rows :math:`h_i` of a Haar N × N matrix.

    Parameters
    ----------
    dimension : Expr
        N, the larger one of the numbers that a neuron reads and of those that come out.
    """

    dimension: sp.Expr


@dataclass(frozen=True)
class Fluctuations(Draw):
    r"""Sums over infinitely many neurons, over the root of their number: jointly Gaussian, the same for all neurons (layer None).

    Parameters
    ----------
    means : tuple of Expr
        Averages that must vanish, else the sums do not exist.
    """

    means: tuple[sp.Expr, ...]


@dataclass(frozen=True)
class Coins:
    """I.i.d. factors in {0, 1}: the variables of a generic neuron, or those that all neurons share (layer None)."""

    variables: tuple[sp.Symbol, ...]
    keep: sp.Expr
    layer: int | None


@dataclass(frozen=True)
class AttentionDraw:
    r"""Forms :math:`\Phi_{\alpha\gamma} = a_\alpha^\top S^v a_\gamma` and :math:`\psi_\alpha = a_\alpha^\top m^v` in the shares a of a head.

    They are the same for all neurons that the head puts out: the covariance and the mean of one, given the shares.

    Parameters
    ----------
    forms : dict
        From two coordinates :math:`\alpha \ge \gamma` to the symbol.
    shifts : tuple of Symbol
        :math:`\psi` for each coordinate; empty where the values are centred.
    values, queries, keys : mapping
        From two coordinates to the covariance of what the matrices put out, as a series.
    means : tuple of three lists
        The mean of what they put out for each coordinate, as a series.
    factor, power : Expr
        Scores are the factor times a sum over the neurons of the keys over this power of their number.
    mask : Matrix, shape (p, p)
    angles : Matrix, shape (F, p)
        By which pairs of neurons of queries and keys are turned.
    neurons : Expr
        The number of neurons of the keys; infinite, a number or a symbol.
    settled : bool
        Whether the covariances depend on the state alone.
    inputs : int
        How many coordinates are those of the state; the others are those of a tangent.
    beside : frozenset of Symbol
        What was drawn before, where it may depend on this head's shares otherwise than by what it reads: by heads that share its keys or values,
        where these are finitely many.
    thinned : Expr
        The variance over the squared mean of the factors that drop shares, one for each pair of positions; 0 without any.
    """

    forms: dict[tuple[int, int], sp.Symbol]
    shifts: tuple[sp.Symbol, ...]
    values: Mapping[tuple[int, int], Series]
    queries: Mapping[tuple[int, int], Series]
    keys: Mapping[tuple[int, int], Series]
    means: tuple[list[Series], ...]
    factor: sp.Expr
    power: sp.Expr
    mask: sp.ImmutableMatrix
    angles: sp.ImmutableMatrix
    neurons: sp.Expr
    settled: bool
    inputs: int
    beside: frozenset[sp.Symbol] = frozenset()
    thinned: sp.Expr = sp.S.Zero
    layer: None = None
    known: dict[object, Any] = field(default_factory=dict, compare=False, repr=False)

    @property
    def variables(self) -> tuple[sp.Symbol, ...]:
        """All forms."""
        return (*self.forms.values(), *self.shifts)

    def is_like(self, other: AttentionDraw) -> bool:
        """Whether two heads have the same law."""
        words = "means", "factor", "power", "mask", "angles", "neurons", "thinned"
        return all(getattr(self, word) == getattr(other, word) for word in words) and all(
            one[pair] == two[pair]
            for one, two in ((self.values, other.values), (self.queries, other.queries), (self.keys, other.keys))
            for pair in self.forms
        )


@dataclass(frozen=True)
class HeadsDraw:
    """Forms of several heads of attention that meet in one function, independent given what they read, as one draw.

    Parameters
    ----------
    heads : tuple of AttentionDraw
    """

    heads: tuple[AttentionDraw, ...]
    layer: None = None

    @property
    def variables(self) -> tuple[sp.Symbol, ...]:
        """All forms of all heads."""
        return tuple(v for head in self.heads for v in head.variables)


Random: TypeAlias = Draw | Coins | AttentionDraw | HeadsDraw


@dataclass(frozen=True)
class Expansion:
    """A program over m inputs to an order in the small parameter.

    Parameters
    ----------
    increment : tuple of Series
        For each coordinate the increment of a generic neuron of the state.
    states : tuple of Symbol
        That neuron's coordinates: its state for each input, then its tangents.
    random : tuple of Random
        What is drawn, in an order in which the law of each depends on earlier ones only.
    variables : dict
        By layer, the variables of a generic neuron.
    sizes : dict
        By layer, how many neurons there are.
    few : frozenset of int
        The layers whose neurons are as many however wide the network is.
    places : dict
        By layer whose neurons are not alike, one symbol a neuron, which is 1 for that one and 0 for all others.
    has_scores : bool
        Whether the layer joins positions in pairs, as scores of attention do.
    origin : dict
        By variable, the statement whose number it is (of a bias that is drawn apart: the matrix) and for which coordinate; None for all.
    """

    increment: tuple[Series, ...]
    states: tuple[sp.Symbol, ...]
    random: tuple[Random, ...]
    variables: dict[int, tuple[sp.Symbol, ...]]
    sizes: dict[int, sp.Expr]
    few: frozenset[int]
    places: dict[int, tuple[sp.Symbol, ...]] = field(default_factory=dict)
    has_scores: bool = False
    origin: dict[sp.Symbol, tuple[Matrix | Back | Mask | Mix | Weights, int | None]] = field(
        default_factory=dict, compare=False
    )
