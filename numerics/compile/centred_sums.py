r"""Functions of sums over a layer whose neurons may be nearly equal, by what these differ by from their mean.

As :mod:`numerics.backends.centred` has it, with sums over any number of neurons: :math:`n^{-1}\sum_j x_j^2 - (n^{-1}\sum_j x_j)^2` is the same
formula in :math:`x_j - n^{-1}\sum_k x_k`, where nothing cancels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import ClassVar, NamedTuple

import sympy as sp

from derivations.sums import CoordinateSum
from numerics.backends.about_means import AboutMean, leaves
from numerics.backends.residues import PRIME, Frozen, Residues, random_residue

_ATOMS = 6  # neurons with weights, of which a layer is made up


class CentredSums(NamedTuple):
    """An expression over neurons with further coordinates, and what these are less their mean, in the neuron's own ones."""

    expression: sp.Basic
    neuron: tuple[sp.Symbol, ...]
    columns: tuple[sp.Expr, ...]


def centred_sums(expression: sp.Basic, neuron: tuple[sp.Symbol, ...]) -> CentredSums:
    """The expression with its parts that are 0 where all neurons are equal written about their means.

    Examples
    --------
    >>> from derivations.sums import coordinate_sum
    >>> x = sp.Symbol("x", real=True)
    >>> mean, square = (coordinate_sum(x**k, (x,), sp.Integer(3)) / 3 for k in (1, 2))
    >>> centred_sums(square - mean**2, (x,)).columns, centred_sums(square, (x,)).columns
    ((x,), ())
    """
    widths = {s.width for s in expression.atoms(CoordinateSum)}
    if len(widths) != 1:
        return CentredSums(expression, neuron, ())
    width, functions = widths.pop(), _functions(expression, neuron)
    apart = {column: sp.Dummy("apart", real=True) for column in (*neuron, *functions)}
    wide = (*neuron, *apart.values())
    found = _rebound(expression, neuron, wide)
    alone = [[x] for x in neuron]  # what is inside a function is centred before its values are
    together = [[x, *own] for x in neuron if (own := [f for f in functions if f.has(x)])]
    for own in (*alone, *together):
        about = _AboutMean({part: apart[part] for part in own}, wide, width, linear=len(own) == 1)
        changed = _each(found, about)
        found = changed if about.gains else found
    read = _letters(found, wide)
    columns = tuple(column for column, name in apart.items() if name in read)
    kept = (*neuron, *(apart[column] for column in columns))
    return CentredSums(_rebound(found, wide, kept), kept, columns)


class _AboutMean(AboutMean):
    """With sums over a layer as polynomials where their summands are."""

    plain: ClassVar[int] = 0

    def __init__(
        self, names: Mapping[sp.Expr, sp.Symbol], neuron: tuple[sp.Symbol, ...], width: sp.Expr, linear: bool
    ) -> None:
        def mean(part: sp.Expr) -> sp.Expr:
            return CoordinateSum(part, sp.Tuple(*neuron), width) / width

        super().__init__([({part: name}, mean(part)) for part, name in names.items()], linear)
        self.neuron = neuron

    @cached_property
    def here(self) -> Residues:
        return _LayerResidues(self.neuron, {})

    @cached_property
    def moved(self) -> Residues:
        return _LayerResidues(self.neuron, dict.fromkeys(self.names, random_residue("shift")))

    @cached_property
    def equal(self) -> Residues:
        return _FrozenLayer(self.here, {part: random_residue(("equal", k)) for k, part in enumerate(self.names)})

    def reads(self, part: sp.Basic) -> bool:
        return not self.free.isdisjoint(_letters(part, self.neuron))

    def degree(self, part: sp.Basic) -> int:
        return super().degree(part.at(self.neuron) if isinstance(part, CoordinateSum) else part)

    def slope(self, part: sp.Basic, column: Mapping[sp.Expr, sp.Symbol]) -> sp.Expr:
        if isinstance(part, CoordinateSum):
            return self._over(part, lambda summand: self.slope(summand, column))
        return super().slope(part, column)

    def apart(self, part: sp.Basic) -> sp.Basic:
        return self._over(part, self.apart) if isinstance(part, CoordinateSum) else super().apart(part)

    def beside(self, term: sp.Basic) -> frozenset[sp.Basic]:
        return super().beside(term.at(self.neuron) if isinstance(term, CoordinateSum) else term)

    def renamed(self, part: sp.Basic) -> sp.Basic:
        if isinstance(part, CoordinateSum):
            return self._over(part, self.renamed)
        return part.xreplace({s: self.renamed(s) for s in part.atoms(CoordinateSum)} | self.names)

    def _work(self, part: sp.Basic) -> sp.Basic:
        return self._over(part, self) if isinstance(part, CoordinateSum) else super()._work(part)

    def _over(self, part: CoordinateSum, change: Callable[[sp.Basic], sp.Basic]) -> sp.Expr:
        summand = change(part.at(self.neuron))
        return summand and CoordinateSum(summand, sp.Tuple(*self.neuron), part.width)


class _LayerResidues(Residues):
    """Values modulo a prime over a layer of few different neurons with random weights that add up to their number."""

    def __init__(self, neuron: tuple[sp.Symbol, ...], shifts: Mapping[sp.Expr, int], at: int = 0) -> None:
        super().__init__(shifts)
        self.neuron, self.at = neuron, at

    @cached_property
    def layer(self) -> list[Residues]:
        """The different neurons."""
        return [_LayerResidues(self.neuron, self.moved, k) for k in range(1, _ATOMS + 1)]

    def _work(self, part: sp.Basic) -> int:
        if part in self.neuron:
            return random_residue(("neuron", self.neuron.index(part), self.at))
        return _total(self, part) if isinstance(part, CoordinateSum) else super()._work(part)


class _FrozenLayer(Frozen):
    """Polynomials over such a layer."""

    own: _LayerResidues

    @cached_property
    def neuron(self) -> tuple[sp.Symbol, ...]:
        return self.own.neuron

    @cached_property
    def layer(self) -> list[Residues]:
        """The different neurons."""
        return [_FrozenLayer(own, self.values) for own in self.own.layer]

    def _work(self, part: sp.Basic) -> int:
        return _total(self, part) if isinstance(part, CoordinateSum) else super()._work(part)


def _total(residues: _LayerResidues | _FrozenLayer, part: CoordinateSum) -> int:
    weights = [random_residue(("weight", k)) for k in range(1, _ATOMS)]
    weights.append(residues.of(part.width) - sum(weights))
    summand = part.at(residues.neuron)
    return sum(w * neuron.of(summand) for w, neuron in zip(weights, residues.layer, strict=True)) % PRIME


def _functions(expression: sp.Basic, neuron: tuple[sp.Symbol, ...]) -> list[sp.Expr]:
    """Functions of one coordinate of which summands are polynomials."""
    found = {
        part
        for part in leaves(s.at(neuron) for s in _sums(expression, neuron))
        if part.args and not part.has(CoordinateSum) and len(part.free_symbols & set(neuron)) == 1
    }
    return sorted(found, key=sp.default_sort_key)


def _sums(part: sp.Basic, neuron: tuple[sp.Symbol, ...]) -> set[CoordinateSum]:
    """All sums, those inside others too."""
    found = part.atoms(CoordinateSum)
    return found.union(*(_sums(s.at(neuron), neuron) for s in found))


def _letters(part: sp.Basic, neuron: tuple[sp.Symbol, ...]) -> set[sp.Basic]:
    """Of a neuron and of those that are added up."""
    own = set(part.free_symbols)
    return own.union(*(s.at(neuron).free_symbols for s in _sums(part, neuron)))


def _each(expression: sp.Basic, change: Callable[[sp.Basic], sp.Basic]) -> sp.Basic:
    if isinstance(expression, sp.MatrixBase):
        return expression.applyfunc(change)
    return expression.func(*map(change, expression.args)) if isinstance(expression, sp.Tuple) else change(expression)


def _rebound(part: sp.Basic, neuron: tuple[sp.Symbol, ...], other: tuple[sp.Symbol, ...]) -> sp.Basic:
    """With sums over neurons of other coordinates."""
    if isinstance(part, CoordinateSum):
        return CoordinateSum(_rebound(part.at(neuron), neuron, other), sp.Tuple(*other), part.width)
    return part.xreplace({s: _rebound(s, neuron, other) for s in part.atoms(CoordinateSum)})
