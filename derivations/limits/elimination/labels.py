r"""Moments over any number of inputs from those over two: inputs of a dense network are exchangeable.

A moment of inputs a and b is that of inputs 1 and 2 with other labels, and the same for all b ≠ a. So a dense program is
expanded for two inputs, whatever their number. Over a grid of positions coordinates are not exchangeable and each entry is
taken by itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import sympy as sp

from derivations.language import Program
from derivations.language.statements import Matrix
from derivations.limits.elimination.averages import LayerAverage, layer_average
from derivations.limits.elimination.moments import LayerMoments
from derivations.symbols import input_symbols, state


@dataclass(frozen=True)
class PairMoments:
    """The moments of :class:`~derivations.limits.elimination.moments.LayerMoments` for many inputs.

    Parameters
    ----------
    generic : LayerMoments
        Over two inputs at most, or over all coordinates of a grid.
    inputs : int
    """

    generic: LayerMoments
    inputs: int

    @classmethod
    def of(cls, program: Program, inputs: int, infinite: bool = False) -> PairMoments:
        """Of a program."""
        grid = any(isinstance(s, Matrix) and s.weights.taps for s in program.statements)
        return cls(LayerMoments(program, inputs if grid else min(inputs, 2), infinite), inputs)

    @property
    def program(self) -> Program:
        """The layer."""
        return self.generic.program

    @cached_property
    def states(self) -> tuple[sp.Symbol, ...]:
        """A neuron's state, one symbol an input."""
        return input_symbols(state, self.inputs) if self._relabels else self.generic.states

    @cached_property
    def other(self) -> tuple[sp.Symbol, ...]:
        """Another neuron's state."""
        return tuple(sp.Symbol(f"{x.name}'", real=True) for x in self.states) if self._relabels else self.generic.other

    @property
    def _relabels(self) -> bool:
        return self.inputs > self.generic.inputs

    @cached_property
    def fixed(self) -> dict[sp.Expr, sp.Expr]:
        """Averages that every layer fixes, for all inputs."""
        found = self.generic.fixed
        if not self._relabels:
            return found
        return {self._labelled(node, {0: a, 1: a}): value for node, value in found.items() for a in range(self.inputs)}

    def at_rest(self) -> None:
        """Require that a layer does nothing when the small parameter is 0."""
        self.generic.at_rest()

    def average(self, body: sp.Expr) -> sp.Expr:
        """Over the neurons of the state."""
        return layer_average(body, self.states, 0)

    def drift(self, a: int) -> sp.Expr:
        """Of a neuron."""
        return self._taken("drift", a)

    def covariance(self, a: int, b: int) -> sp.Expr:
        """Of a neuron's increments for two inputs."""
        return self._taken("covariance", a, b)

    def between(self, a: int, b: int) -> sp.Expr:
        """Covariance of the increments of two neurons."""
        return self._taken("between", a, b)

    def product(self, a: int, b: int) -> sp.Expr:
        r"""Drift of the average of the product of a neuron's state for two inputs."""
        return self._taken("product", a, b)

    @cached_property
    def _known(self) -> dict[tuple[str, tuple[int, ...]], sp.Expr]:
        return {}

    def _taken(self, moment: str, *labels: int) -> sp.Expr:
        if not self._relabels:
            return getattr(self.generic, moment)(*labels)
        different = sorted(set(labels), key=labels.index)
        pattern = tuple(different.index(a) for a in labels)
        if (moment, pattern) not in self._known:
            self._known[moment, pattern] = getattr(self.generic, moment)(*pattern)
        return self._labelled(self._known[moment, pattern], dict(enumerate(different)))

    def _labelled(self, expr: sp.Expr, labels: dict[int, int]) -> sp.Expr:
        rule: dict[sp.Basic, sp.Basic] = {}
        for i, a in labels.items():
            rule[self.generic.states[i]] = self.states[a]
            rule[self.generic.other[i]] = self.other[a]
        return _renamed(expr, rule, self.states)


def _renamed(expr: sp.Expr, rule: dict[sp.Basic, sp.Basic], states: tuple[sp.Symbol, ...]) -> sp.Expr:
    """An expression with other labels, in averages over the state too."""
    nodes = [n for n in expr.atoms(LayerAverage) if n.layer == 0]
    outer = [n for n in nodes if not any(m is not n and m.has(n) for m in nodes)]
    inside = {n: layer_average(_renamed(n.body, rule, states), states, 0) for n in outer}
    return expr.xreplace({**rule, **inside})
