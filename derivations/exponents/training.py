r"""The first step of training: by which powers of width and depth it moves features and output, and which learning rates move them by order 1.

The network is :math:`x_0 = U a`, L layers and a readout :math:`f = v \cdot x_L` whose weights have the standard deviation :math:`n^{-r}`;
the derivative of the loss in f is of order 1. A step is taken by every trained matrix in every layer, plain or of sign type, at a learning rate
:math:`\eta\,n^{-a}L^{-b}`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import sympy as sp

from derivations.errors import DerivationError, unknown
from derivations.exponents.at_point import (
    HALF,
    STEP,
    StepAtPoint,
    checked,
    readout_exponent,
)
from derivations.exponents.moved import (
    WORDS,
    Moved,
    Power,
    at_most,
    is_straight,
    linear,
    number,
    solved,
)
from derivations.exponents.orders import ONE, Order, fraction
from derivations.exponents.polyhedron import Constraint, Polyhedron

#: Exponents at which orders bend are fractions of small numbers; an order that is bent at so small a step jumps.
_SMALLEST = STEP / 64


@dataclass(frozen=True)
class FirstStep(StepAtPoint):
    """The orders of the first step of a network, as functions of the exponents."""

    @cached_property
    def _tables(self) -> dict[object, dict[tuple[str, str, str], Order]]:
        """All orders at the exponents that were asked before: rates, conditions and what is printed ask at the same ones."""
        return {}

    def moved(
        self,
        rule: str = "sgd",
        exponents: Mapping[sp.Symbol, object] | None = None,
        readout: object = HALF,
        parametrization: str = "standard",
    ) -> tuple[Moved, ...]:
        r"""What one step of each matrix moves, at a learning rate of order 1 and in powers of width and depth.

        Parameters
        ----------
        rule : {"sgd", "sign"}
            Plain, or of sign type.
        exponents : mapping, optional
            From exponents, or sizes, to numbers; those that are left out are as the network has them.
        readout : number
            r: the readout's weights have the standard deviation :math:`n^{-r}`.
        parametrization : {"standard", "ntk"}
            Whether entries are trained as they are, or as numbers of order 1 that are multiplied by their standard deviation.

        Returns
        -------
        tuple of Moved
            In the exponents of the sizes and r, at and above the given ones. An order that jumps right above the given ones, as the rate does
            where another change becomes the largest one, is that at the given ones.
        """
        checked(rule, parametrization)
        point = self.point(exponents, readout)
        free = [readout_exponent]
        if self.depth_at(point) != ONE:
            free = [*self.stands, readout_exponent]

        def table(at: Mapping[sp.Symbol, Fraction]) -> dict[tuple[str, str, str], Order]:
            asked = (rule, parametrization, frozenset(at.items()))
            if asked not in self._tables:
                raw = self._raw(at, rule, parametrization)
                self._tables[asked] = {(*key, word): getattr(row, word) for key, row in raw.items() for word in WORDS}
            return self._tables[asked]

        here, slopes = table(point), {}
        for symbol in free:
            step, bent = STEP, set(here)
            while bent and step >= _SMALLEST:
                one, two = (table({**point, symbol: point[symbol] + h}) for h in (step / 2, step))
                bent = {k for k in here if not is_straight(here[k], one[k], two[k])}
                step /= 2
            slopes[symbol] = {
                k: None if here[k].nothing else ONE if k in bent else (two[k] / one[k]) ** (1 / step) for k in here
            }
        rows: dict[tuple[str, str], dict[str, Power]] = {}
        for (name, role, word), order in here.items():
            rows.setdefault((name, role), {})[word] = linear(
                order, {s: t[name, role, word] for s, t in slopes.items()}, point
            )
        return tuple(Moved(name, role, **words) for (name, role), words in rows.items())

    def conditions(self, rule: str = "sgd") -> dict[str, tuple[sp.Basic, ...]]:
        """For each of the layer's matrices that moves, the exponents at which its largest learning rate moves the state by order 1 at every depth.

        They are on r and on the exponents of the sizes, for readouts of standard deviations of 1/n and less, and beside those that a limit at the
        start has; false where it never does.
        """
        found = {}
        for row in self.moved(rule, readout=1):
            if row.role == "hidden" and not row.state.vanishes:
                relations = []
                for other in (row.output, row.inside, row.through):
                    if not other.vanishes:
                        relations += at_most(other, row.state, {readout_exponent: sp.S.One})
                never = sp.false in relations or not self._is_met(relations)
                found[row.name] = (sp.false,) if never else tuple(dict.fromkeys(relations))
        return found

    def _is_met(self, relations: Sequence[sp.Basic]) -> bool:
        """Whether relations hold at some exponents of the sizes at which the network at the start has a limit or tends to the identity."""
        if self.start is None or self.start.exponents is None:
            return True
        found = self.start.exponents
        more = []
        for relation in relations:
            left = relation.gts - relation.lts
            if left.free_symbols and left.free_symbols <= set(found.symbols):
                slope = tuple(fraction(left.coeff(s)) for s in found.symbols)
                more.append(Constraint(slope, -fraction(left.xreplace(dict.fromkeys(found.symbols, sp.S.Zero)))))
        return not Polyhedron((*found.polyhedron.constraints, *more)).is_empty

    @property
    def branches(self) -> tuple[sp.Rel, ...]:
        """The exponents of the sizes at which the network at the start has a limit in the depth or tends to the identity."""
        if self.start is None or self.start.exponents is None:
            return ()
        found = self.start.exponents
        relations = []
        for bound in found.polyhedron.constraints:
            left = sp.Add(*(number(a) * s for a, s in zip(bound.slope, found.symbols, strict=True) if s in self.stands))
            if bound.bound > 0 and left.free_symbols:
                relations.append(sp.GreaterThan(left / number(bound.bound), 1, evaluate=False))
        return tuple(map(solved, dict.fromkeys(relations)))


def trained_names(names: object, program_names: Iterable[str]) -> tuple[str, ...]:
    """The matrices that are trained: all, or those that are named.

    Raises
    ------
    DerivationError
        For a name that the layer does not have, or no name.
    """
    own = tuple(dict.fromkeys(program_names))
    if names is True:
        return own
    given = (names,) if isinstance(names, str) else names
    if not isinstance(given, Sequence):
        raise DerivationError(f"training is True, False or names of matrices, got {names!r}")
    for name in given:
        if name not in own:
            raise DerivationError(unknown("matrix", str(name), own))
    if not given:
        raise DerivationError("training names no matrix; give training=True to train all")
    return tuple(given)
