"""What one step of training moves, as powers of width and depth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

import sympy as sp

from derivations.exponents.orders import NOTHING, ONE, Order, largest

#: What the input's matrix and the readout are called.
INPUT, READOUT = "input", "readout"


@dataclass(frozen=True)
class Power:
    r""":math:`n^{a}L^{b}`, the exponents as linear functions of the network's; None where nothing moves."""

    width: sp.Expr | None
    depth: sp.Expr | None

    @property
    def vanishes(self) -> bool:
        """Whether it is 0."""
        return self.width is None


@dataclass(frozen=True)
class Moved:
    r"""What one step of one matrix moves, at a learning rate of order 1.

    Parameters
    ----------
    name : str
    role : {"input", "hidden", "bias", "readout"}
    gradient : Power
        Of an entry of the gradient.
    own : Power
        Of the change of what the matrix puts out.
    state : Power
        Of the change of the state by all layers.
    output : Power
        Of the change of the readout's output.
    inside : Power
        Of the changes inside the same layer beside what changes there, where a function reads it that sees so large a change.
    through : Power
        The same inside later layers, through the state.
    rate : Power
        The largest learning rate at which none of these is larger than order 1.
    """

    name: str
    role: str
    gradient: Power
    own: Power
    state: Power
    output: Power
    inside: Power
    through: Power
    rate: Power

    @property
    def own_at_rate(self) -> Power:
        """Of the change of what the matrix puts out in a layer, at the largest learning rate."""
        if self.own.width is None or self.rate.width is None or self.own.depth is None or self.rate.depth is None:
            return Power(None, None)
        return Power(sp.expand(self.own.width + self.rate.width), sp.expand(self.own.depth + self.rate.depth))

    @property
    def is_held_inside(self) -> bool:
        """Whether what changes inside layers bounds the learning rate, while what the matrix puts out moves by a negative power of the width."""
        own = self.own_at_rate.width
        if own is None or not own.is_negative or self.rate.width is None or self.rate.depth is None:
            return False
        return any(
            p.width is not None
            and p.depth is not None
            and sp.expand(p.width + self.rate.width) == 0
            and sp.expand(p.depth + self.rate.depth) == 0
            for p in (self.inside, self.through)
        )


@dataclass(frozen=True)
class MovedBy:
    """The orders of what one matrix's step moves: what it puts out, the state by all layers, the output, and what is inside a layer."""

    own: Order
    state: Order
    output: Order
    inside: Order


@dataclass(frozen=True)
class StepVerdict:
    r"""What one step does at a learning rate :math:`\eta\,n^{-a}L^{-b}` for all matrices.

    Parameters
    ----------
    a, b : Rational
    changes : dict
        From matrices to what their step moves.
    """

    a: sp.Rational
    b: sp.Rational
    changes: dict[str, MovedBy]

    @property
    def state(self) -> Order:
        """The order by which the state moves at every depth, by the layers' matrices and the input's."""
        return largest(*(c.state for c in self.changes.values()))

    @property
    def hidden(self) -> Order:
        """The same by the layers' matrices alone."""
        return largest(*(c.state for name, c in self.changes.items() if name != INPUT))

    @property
    def output(self) -> Order:
        """The order by which the output moves."""
        return largest(*(c.output for c in self.changes.values()))

    @property
    def kind(self) -> str:
        """``"too large"``, ``"features move"`` (by order 1, at every depth), ``"lazy"`` (the output does and features less), ``"nothing moves"``."""
        if max(self.state, self.output, *(c.inside for c in self.changes.values())) > ONE:
            return "too large"
        if self.hidden == ONE:
            return "features move"
        return "lazy" if max(self.output, self.state) == ONE else "nothing moves"


@dataclass(frozen=True)
class Orders:
    """The same at numbers for all exponents."""

    gradient: Order = NOTHING
    own: Order = NOTHING
    state: Order = NOTHING
    output: Order = NOTHING
    inside: Order = NOTHING
    through: Order = NOTHING

    @property
    def rate(self) -> Order:
        """The largest learning rate."""
        need = largest(self.state, self.output, self.inside, self.through)
        return NOTHING if need.nothing else need**-1


#: The orders of a step.
WORDS = ("gradient", "own", "state", "output", "inside", "through", "rate")


def is_straight(here: Order, one: Order, two: Order) -> bool:
    """Whether three orders at equally spaced exponents lie on a line."""
    if here.nothing or one.nothing or two.nothing:
        return here.nothing and one.nothing and two.nothing
    return here * two == one**2


def linear(order: Order, slopes: Mapping[sp.Symbol, Order | None], point: Mapping[sp.Symbol, Fraction]) -> Power:
    """An order at and above a point as a linear function."""
    if order.nothing:
        return Power(None, None)
    made = []
    for word in ("width", "depth"):
        total = number(getattr(order, word))
        for s, slope in slopes.items():
            total += number(getattr(slope, word)) * (s - number(point[s]))
        made.append(sp.expand(total))
    return Power(*made)


def number(value: Fraction) -> sp.Rational:
    """A fraction as SymPy has it."""
    return sp.Rational(value.numerator, value.denominator)


def solved(relation: sp.Rel) -> sp.Rel:
    """An inequality for its only symbol, where it has one."""
    left = sp.expand(relation.lhs - relation.rhs)
    symbols = sorted(left.free_symbols, key=str)
    if len(symbols) != 1:
        return relation
    (s,) = symbols
    slope = left.coeff(s)
    strict = isinstance(relation, sp.StrictGreaterThan)
    upward, downward = (sp.StrictGreaterThan, sp.StrictLessThan) if strict else (sp.GreaterThan, sp.LessThan)
    kind = upward if slope.is_positive else downward
    return kind(s, -left.coeff(s, 0) / slope, evaluate=False)


def at_most(one: Power, other: Power, here: Mapping[sp.Symbol, sp.Expr]) -> list[sp.Basic]:
    """Where one order is at most another, at and above some exponents: by the powers of the width, and of the depth where those are equal."""
    if one.width is None or one.depth is None or other.width is None or other.depth is None:
        return []
    wide, deep = sp.expand(other.width - one.width), sp.expand(other.depth - one.depth)
    if wide.is_negative or (wide == 0 and deep.is_negative):
        return [sp.false]
    if wide.free_symbols and wide.xreplace(dict(here)).is_positive:  # no power of the depth makes up for it
        return [solved((sp.GreaterThan if deep.is_nonnegative else sp.StrictGreaterThan)(wide, 0, evaluate=False))]
    found: list[sp.Basic] = []
    if wide.free_symbols:
        found.append(solved(sp.GreaterThan(wide, 0, evaluate=False)))
    if (wide == 0 or wide.free_symbols) and deep.free_symbols:
        found.append(solved(sp.GreaterThan(deep, 0, evaluate=False)))
    return found
