r"""The adjoint of a layer: the statements that carry the gradient from the new state back to the old one.

For :math:`y = A b` the gradient in b is :math:`A^\top` times that in y; for an average each of its neurons gets an equal share. Between them stand
the slopes of the layer's own formulas. Gradients are counted in units of one neuron's part, so that what
an average passes on is the average of its gradient, times the ratio of the numbers of neurons.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import sympy as sp

from derivations.errors import DerivationError
from derivations.language.statements import Matrix, Mean, Neurons, Program
from derivations.limits.slopes import require_slopes
from derivations.symbols import state, width

#: A statement that has an adjoint here.
Linear = Matrix | Mean


@dataclass(frozen=True)
class Part:
    """What one use of a number adds to its gradient: a formula in the neurons of one layer."""

    over: Neurons
    formula: sp.Expr


@dataclass(frozen=True)
class Adjoint:
    """The gradients of one layer as formulas.

    Parameters
    ----------
    program : Program
        Of matrices that are applied once, averages and functions.

    Examples
    --------
    >>> from derivations.language import Weights, program
    >>> from derivations.symbols import step
    >>> adjoint = Adjoint(program(state + step * Weights("W")(sp.tanh(state)), sp.oo))
    >>> (w,) = adjoint.passed.values()
    >>> adjoint.formula(state) - adjoint.new == w * (1 - sp.tanh(state) ** 2)
    True
    """

    program: Program

    def __post_init__(self) -> None:
        for s in self.program.statements:
            if (
                not isinstance(s, Linear)
                or (isinstance(s, Mean) and (s.pair or s.power != 1))
                or self.program.has_positions
            ):
                raise DerivationError(
                    "training at infinite width is derived for layers of matrices, averages and functions; this one has "
                    "random factors, transposes or positions, so leave out dropout, .T, attention and filters"
                )
        names = [s.weights.name for s in self.matrices]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise DerivationError(
                f"training is derived for matrices that are applied once; {twice[0]} is applied several times"
            )
        require_slopes(self.program)

    @property
    def statements(self) -> tuple[Linear, ...]:
        """Of the layer, in order."""
        return tuple(s for s in self.program.statements if isinstance(s, Linear))

    @property
    def matrices(self) -> tuple[Matrix, ...]:
        """Those that are applied, in order."""
        return tuple(s for s in self.statements if isinstance(s, Matrix))

    @cached_property
    def new(self) -> sp.Symbol:
        """The gradient in the new state."""
        return sp.Dummy("g", real=True)

    @cached_property
    def passed(self) -> dict[Linear, sp.Symbol]:
        """The gradient in what a statement reads, before the slope of its body: one number a neuron, or for an average one for all."""
        return {s: sp.Dummy(f"w_{s.symbol.name}", real=True) for s in self.statements}

    def parts(self, symbol: sp.Symbol) -> tuple[Part, ...]:
        """What the uses of the state, or of a statement's symbol, add to its gradient."""
        return self._parts[symbol]

    @cached_property
    def _parts(self) -> dict[sp.Symbol, tuple[Part, ...]]:
        return {symbol: self._uses(symbol) for symbol in (state, *(s.symbol for s in self.statements))}

    def _uses(self, symbol: sp.Symbol) -> tuple[Part, ...]:
        update = sp.diff(self.program.update, symbol) * self.new
        found = {self.program.neurons: update}
        for s in self.statements:
            over = s.over if isinstance(s, Mean) else s.source
            found[over] = found.get(over, sp.S.Zero) + sp.diff(s.body, symbol) * self.passed[s]
        return tuple(Part(over, formula) for over, formula in found.items() if formula != 0)

    def formula(self, symbol: sp.Symbol) -> sp.Expr:
        """The gradient in a neuron's number."""
        return self._formulas[symbol]

    @cached_property
    def _formulas(self) -> dict[sp.Symbol, sp.Expr]:
        return {symbol: sp.Add(*(part.formula for part in parts)) for symbol, parts in self._parts.items()}

    @cached_property
    def is_linear(self) -> bool:
        """Whether all formulas are linear in the neurons' numbers, without averages."""
        numbers = [state, *(s.symbol for s in self.statements)]

        def linear(expr: sp.Expr) -> bool:
            slopes = [sp.diff(expr, x) for x in numbers]
            return not any(slope.has(*numbers) for slope in map(sp.expand, slopes)) and not sp.expand(
                expr - sp.Add(*(slope * x for slope, x in zip(slopes, numbers, strict=True)))
            )

        return not any(isinstance(s, Mean) for s in self.statements) and all(
            map(linear, (*(s.body for s in self.statements), self.program.update))
        )


def ratio(one: Neurons, other: Neurons) -> sp.Expr:
    """How many times as many neurons one layer has.

    Raises
    ------
    DerivationError
        If that depends on the width.
    """
    found = sp.cancel(one.said / other.said)
    if found.has(width) or not found.is_Rational:
        raise DerivationError(
            f"a layer has {one.said if other.said == width else other.said} neurons, expected a multiple of n: all layers grow with the width"
        )
    return found
