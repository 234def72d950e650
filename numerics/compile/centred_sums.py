r"""Functions of sums over a layer that do not move with all neurons, by these less their mean.

As :mod:`numerics.backends.centred` has it, with sums over any number of neurons: :math:`n^{-1}\sum_j x_j^2 - (n^{-1}\sum_j x_j)^2` is the same
formula in :math:`x_j - n^{-1}\sum_k x_k`, where nothing cancels.
"""

from __future__ import annotations

from collections.abc import Mapping

import sympy as sp

from derivations.sums import CoordinateSum
from numerics.backends.residues import PRIME, Residues, random_residue

_ATOMS = 6  # neurons with weights, of which a layer is made up


class _LayerResidues(Residues):
    """Values modulo a prime over a layer of few different neurons with random weights that add up to their number."""

    def __init__(self, neuron: tuple[sp.Symbol, ...], shifts: Mapping[sp.Symbol, int], at: int = 0) -> None:
        super().__init__()
        self.neuron, self.shifts, self.at = neuron, shifts, at

    def _work(self, part: sp.Basic) -> int:
        if part in self.neuron:
            return random_residue(("neuron", self.neuron.index(part), self.at)) + self.shifts.get(part, 0)
        if not isinstance(part, CoordinateSum):
            return super()._work(part)
        body = part.at(self.neuron)
        weights = [random_residue(("weight", k)) for k in range(1, _ATOMS)]
        weights.append(self.of(part.width) - sum(weights))
        atoms = (_LayerResidues(self.neuron, self.shifts, k) for k in range(1, _ATOMS + 1))
        return sum(w * atom.of(body) for w, atom in zip(weights, atoms, strict=True)) % PRIME


def centred_sums(
    expression: sp.Basic, neuron: tuple[sp.Symbol, ...]
) -> tuple[sp.Basic, tuple[sp.Symbol, ...], tuple[int, ...]]:
    """The expression over neurons with further coordinates, and of which coordinates these are the differences from the mean.

    Examples
    --------
    >>> from derivations.sums import coordinate_sum
    >>> x = sp.Symbol("x", real=True)
    >>> mean, square = (coordinate_sum(x**k, (x,), sp.Integer(3)) / 3 for k in (1, 2))
    >>> centred_sums(square - mean**2, (x,))[2], centred_sums(square, (x,))[2]
    ((0,), ())
    """
    places = list[int]()
    for place, x in enumerate(neuron):
        parts = _still(expression, neuron, x)
        if parts:
            wider = (*neuron, sp.Dummy(f"{x}_apart", real=True))
            rules = {part: _over(part, neuron, wider, {x: wider[-1]}) for part in parts}
            rules |= {s: _over(s, neuron, wider, {}) for s in expression.atoms(CoordinateSum)} | rules
            expression, neuron = expression.xreplace(rules), wider
            places.append(place)
    return expression, neuron, tuple(places)


def _still(expression: sp.Basic, neuron: tuple[sp.Symbol, ...], x: sp.Symbol) -> list[sp.Basic]:
    """The largest parts with sums that stay where one coordinate of all neurons moves."""
    here = _LayerResidues(neuron, {})
    there = _LayerResidues(neuron, {x: random_residue("shift")})
    found, left, seen = list[sp.Basic](), [expression], set[sp.Basic]()
    while left:
        part = left.pop()
        if part in seen or not part.args or not part.has(CoordinateSum):
            continue
        seen.add(part)
        if isinstance(part, sp.MatrixBase):
            left += list(part)
        elif here.of(part) != there.of(part):
            left += [] if isinstance(part, CoordinateSum) else part.args
        elif _reads(part, neuron, x):
            found.append(part)
    return found


def _reads(part: sp.Basic, neuron: tuple[sp.Symbol, ...], x: sp.Symbol) -> bool:
    return x in part.free_symbols or any(x in s.at(neuron).free_symbols for s in part.atoms(CoordinateSum))


def _over(
    part: sp.Basic, neuron: tuple[sp.Symbol, ...], wider: tuple[sp.Symbol, ...], names: dict[sp.Symbol, sp.Symbol]
) -> sp.Basic:
    """The part with sums over neurons of more coordinates, and one coordinate by another."""
    if isinstance(part, CoordinateSum):
        return CoordinateSum(_over(part.at(neuron), neuron, wider, names), sp.Tuple(*wider), part.width)
    return part.xreplace({s: _over(s, neuron, wider, names) for s in part.atoms(CoordinateSum)} | names)
