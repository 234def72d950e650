r"""What a tensor of a traced block is here: the formula of a generic neuron, with axes that know what they run over.

An axis runs over the batch, the positions, both as one, the neurons, over a list (heads; queries, keys and values), or it has size 1. Each entry of the
list is a tuple of parts: neurons that one matrix puts out, side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import isfinite, ulp
from typing import Any, ClassVar, TypeAlias

import numpy as np
import sympy as sp

#: An axis: one of the words below, a place of the grid such as ``("here", 1)``, or the size of a list.
Axis: TypeAlias = "str | int | tuple[str, int]"

BATCH, NEURONS, ONE, ANY = "batch", "neurons", "one", "any"
#: Batch and positions made one axis, as by ``x.view(-1, features)``.
ROWS = "rows"
HERE, THERE = ("here", 0), ("there", 0)

#: The size of the batch, which no formula may depend on.
batch_size = sp.Symbol("B", integer=True, positive=True)


class Misfit(ValueError):
    """Shapes that do not fit, as where another number of features or another order of axes was meant."""


_SPOKEN = {
    BATCH: "batch",
    ROWS: "batch times positions",
    NEURONS: "features",
    ONE: "1",
    ANY: "...",
    "here": "positions",
    "there": "other positions",
}


#: Why a random matrix over positions has no rule.
OVER_POSITIONS = (
    "matrices and norms over positions have no rule, since a random matrix over positions, as of MLP-Mixer and gMLP, or over heads, as of CaiT, "
    "is shared by all neurons"
)


def spoken(axes: Sequence[Axis]) -> str:
    """The axes in words."""
    return f"({', '.join(_SPOKEN.get(a[0] if isinstance(a, tuple) else str(a), str(a)) for a in axes)})"


#: Stands among the branches of a state that was multiplied by a number: at a branch of size 0 the layer is not the identity, unless a norm follows.
MULTIPLIED = sp.Dummy("m", positive=True)


@dataclass(frozen=True)
class Part:
    """Neurons side by side: the number of a generic one, and how many; None for as many as the state has, or for no neurons."""

    expr: sp.Expr
    size: int | None = None


@dataclass(frozen=True)
class Value:
    """A tensor: its axes, an array of parts over the listed axes, and the sizes of the branches that were added to the state itself.

    ``skip`` is None where the state does not pass through, unchanged or multiplied by a number; ``truth`` says that this is a comparison,
    1 where it holds and else 0.
    """

    #: Of one that is not made yet, where it can be read.
    pending: ClassVar[str] = ""
    axes: tuple[Axis, ...]
    entries: np.ndarray
    skip: frozenset[sp.Symbol] | None = None
    truth: bool = False

    @classmethod
    def of(cls, expr: sp.Expr, axes: tuple[Axis, ...] = (), size: int | None = None, skip: Any = None) -> Value:
        """One generic neuron, or a number."""
        return cls(axes, _array((), [(Part(expr, size),)]), skip)

    @property
    def expr(self) -> sp.Expr:
        """The formula of a value of one part."""
        return self.part.expr

    @property
    def part(self) -> Part:
        """The only part.

        Raises
        ------
        ValueError
            If there are several.
        """
        if self.entries.shape or len(self.entries[()]) != 1:
            raise ValueError("several heads or parts of neurons stand where one was expected; a matrix must read them")
        return self.entries[()][0]

    def items(self) -> list[tuple[tuple[int, ...], tuple[Part, ...]]]:
        """The entries of the list with their places."""
        return [(index, self.entries[index]) for index in np.ndindex(self.entries.shape)]  # type: ignore[misc]

    @property
    def normed(self) -> frozenset[sp.Symbol] | None:
        """The branches after a norm, which takes numbers off that multiply the state."""
        return None if self.skip is None else self.skip - {MULTIPLIED}

    def map(self, function: Callable[[sp.Expr], sp.Expr], skip: Any = None) -> Value:
        """A function of each number."""
        return self.each(lambda parts: tuple(replace(p, expr=function(p.expr)) for p in parts), skip=skip)

    def each(
        self, function: Callable[[tuple[Part, ...]], tuple[Part, ...]], axes: Any = None, skip: Any = None
    ) -> Value:
        """A function of each entry of the list."""
        made = _array(self.entries.shape, [function(parts) for _, parts in self.items()])
        return Value(self.axes if axes is None else tuple(axes), made, skip)

    def axis(self, dim: int, where: str) -> int:
        """A dimension as a place among the axes.

        Raises
        ------
        ValueError
            If it is not known which axis is meant.
        """
        count = len(self.axes)
        if self.axes[:1] == (ANY,) and (dim >= 0 or count + dim < 1):
            raise ValueError(
                f"{where} works along dimension {dim}, which is known where positions are given, positions=; "
                "dim=-1 holds the neurons"
            )
        if not -count <= dim < count:
            raise ValueError(f"{where} works along dimension {dim} of a tensor of {spoken(self.axes)}")
        return dim % count

    def listed(self, axis: int) -> int:
        """The place of a listed axis among those of the array."""
        return sum(isinstance(a, int) for a in self.axes[:axis])

    def arranged(self, order: Sequence[int]) -> Value:
        """The axes in another order."""
        if list(order) == list(range(len(self.axes))):
            return self
        places = [self.listed(i) for i in order if isinstance(self.axes[i], int)]
        return Value(tuple(self.axes[i] for i in order), self.entries.transpose(places), self.skip)

    def taken(self, axis: int, index: int) -> Value:
        """One entry along a listed axis."""
        found = np.take(self.entries, index, axis=self.listed(axis))
        if not isinstance(found, np.ndarray) or found.dtype != object:
            found = _array((), [found])
        return Value(self.axes[:axis] + self.axes[axis + 1 :], found)

    def with_one(self, axis: int) -> Value:
        """One more axis, of size 1."""
        return replace(self, axes=(*self.axes[:axis], ONE, *self.axes[axis:]))

    def without(self, axis: int) -> Value:
        """Without an axis of size 1."""
        return replace(self, axes=self.axes[:axis] + self.axes[axis + 1 :])


def _array(shape: tuple[int, ...], entries: Sequence[tuple[Part, ...]]) -> np.ndarray:
    made = np.empty(shape, dtype=object)
    for index, entry in zip(np.ndindex(shape), entries, strict=True):
        made[index] = entry
    return made


def stacked(values: Sequence[Value], axis: int) -> Value:
    """Several values along a new listed axis."""
    first = values[0]
    if any(v.axes != first.axes for v in values):
        raise ValueError("tensors of different axes are put together")
    at = first.listed(axis)
    entries = np.stack([v.entries for v in values], axis=at)
    return Value((*first.axes[:axis], len(values), *first.axes[axis:]), entries)


_SINGLE = (ONE, 1)  # an axis of size 1, or a list of one


def combined(a: Value, b: Value, function: Callable[[sp.Expr, sp.Expr], sp.Expr], fit: Any) -> Value:
    """A function of two values, axis by axis from the last as PyTorch broadcasts them.

    Parameters
    ----------
    fit : callable
        From two tuples of parts to the same neurons cut alike, where both tensors have neurons.
    """
    axes: list[Axis] = []
    shapes: tuple[list[int], list[int]] = ([], [])
    count = max(len(a.axes), len(b.axes))
    for place in range(count):
        pair = [v.axes[place - count + len(v.axes)] if place - count + len(v.axes) >= 0 else ONE for v in (a, b)]
        chosen = pair[0] if pair[1] in _SINGLE else pair[1]
        if pair[0] != pair[1] and not {*pair} & {*_SINGLE}:
            given = "; given numbers are read as ones of neurons, and those that differ between positions are known where they turn queries and keys"
            raise Misfit(
                f"tensors of {spoken(a.axes)} and of {spoken(b.axes)} meet in one operation{given if NEURONS in pair else ''}"
            )
        axes.append(chosen)
        if isinstance(chosen, int):
            for shape, own in zip(shapes, pair, strict=True):
                shape.append(chosen if own == chosen else 1)
    left, right = np.broadcast_arrays(a.entries.reshape(shapes[0]), b.entries.reshape(shapes[1]))
    entries = []
    for index in np.ndindex(left.shape):
        one, other = left[index], right[index]
        if NEURONS in a.axes and NEURONS in b.axes:
            one, other = fit(one, other)
        elif len(one) != len(other):
            one, other = (one * len(other), other) if len(one) == 1 else (one, other * len(one))
        entries.append(
            tuple(
                Part(function(p.expr, q.expr), p.size if p.size is not None else q.size)
                for p, q in zip(one, other, strict=True)
            )
        )
    return Value(tuple(axes), _array(left.shape, entries))


def is_tensor(said: Any) -> bool:
    """Whether this is a tensor of PyTorch."""
    return hasattr(said, "data_ptr") and hasattr(said, "numel")


def identifier(name: str) -> str:
    """A dotted module name as the name of a matrix."""
    plain = name.replace(".", "_") or "W"
    return plain if plain.isidentifier() else f"W_{plain}"


#: Largest denominator of a fraction whose root a float is taken for.
_SIMPLE = 4096


def number(value: float) -> sp.Expr:
    r"""A float as the root of a simple fraction, also over :math:`\pi`, that has all its sixteen digits, else as the decimal of seven."""
    short = sp.Rational(f"{value:.7g}")
    if float(short) == value or not isinstance(value, float) or not isfinite(value):
        return short
    for degree, unit in ((2, sp.S.One), (4, sp.S.One), (2, 1 / sp.pi)):
        power = Fraction(value**degree / float(unit)).limit_denominator(_SIMPLE)
        if abs((float(power) * float(unit)) ** (1 / degree) - abs(value)) <= 2 * ulp(value):
            return sp.sign(short) * sp.root(sp.Rational(power.numerator, power.denominator) * unit, degree)
    return short
