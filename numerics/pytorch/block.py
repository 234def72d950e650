r"""What is known of a block while it is read: its features, positions and tensors, and what was simplified."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import Any, NoReturn

import sympy as sp

from derivations.symbols import state
from derivations.symbols import width as n
from numerics.pytorch.draws import with_kind
from numerics.pytorch.values import (
    ANY,
    BATCH,
    NEURONS,
    ONE,
    OVER_POSITIONS,
    ROWS,
    Axis,
    Misfit,
    Part,
    Value,
    batch_size,
    identifier,
    is_tensor,
    number,
    spoken,
)


class Block:
    """A module that is read, with the numbers of neurons and positions that its tensors have.

    Parameters
    ----------
    block : Module
    width : Expr or None
        The number of neurons that was asked for; None for the block's own.
    positions : tuple of int
    """

    def __init__(self, block: Any, width: sp.Expr | None, positions: tuple[int, ...]) -> None:
        self.block, self.given, self.positions = block, width, positions
        self.features: int | None = None
        self.axes: tuple[Axis, ...] = (ANY, NEURONS)
        self.remarks: list[str] = []
        self.scores: dict[sp.Expr, int] = {}  # sums over the neurons of queries and keys, and how many these are
        self._factors: dict[str, int] = {}
        self._gains: dict[sp.Symbol, tuple[str, tuple[sp.Expr, ...]]] = {}  # numbers that differ between neurons
        self._tensors: dict[int, tuple[str, Any]] = {}  # names of the block's own tensors

    @property
    def width(self) -> sp.Expr:
        """The network's width."""
        return sp.Integer(self.features) if self.given is None else self.given

    @property
    def places(self) -> int:
        """The number of positions."""
        return prod(self.positions)

    def placeholder(self) -> Value:
        """The state."""
        return Value.of(state, self.axes, skip=frozenset())

    def value(self, said: Any, where: str, unsummed: bool = False) -> Value:
        """A value of one neuron; numbers are constants, tensors of the block those whose entries are all one number."""
        if isinstance(said, Value):
            if said.pending and not unsummed:
                raise ValueError(said.pending)
            return said
        if isinstance(said, (int, float)) and not isinstance(said, bool):
            return Value.of(number(said))
        if isinstance(said, sp.Expr) and said.is_number:
            return Value.of(said)
        if is_tensor(said):
            return self.of_neurons(self.name_of(said), said)
        if isinstance(said, tuple) and len(said) == 1:
            return self.value(said[0], where)
        if said is None:
            raise ValueError(
                f"{where} is None, as is the second thing that an attention puts out: its weights have no rule alone"
            )
        if isinstance(said, sp.Expr):
            raise ValueError(f"{where} depends on the size of the batch, while networks treat inputs one by one")
        raise ValueError(f"{where} is {type(said).__name__}, where one tensor of features was expected")

    def count(self, part: Part) -> int:
        """How many neurons a part has."""
        size = part.size if part.size is not None else self.features
        if size is None:
            raise ValueError("the number of features is not known before a module says it")
        return size

    def size_of(self, value: Value, axis: int) -> Any:
        """The size of an axis; the batch's is a symbol."""
        kind = value.axes[axis]
        if kind == NEURONS:
            return sum(self.count(p) for p in value.entries[(0,) * value.entries.ndim])
        if isinstance(kind, tuple):
            return self.positions[kind[1]] if len(self.positions) > 1 else self.places
        return {BATCH: batch_size, ROWS: batch_size * self.places, ONE: 1}[kind] if isinstance(kind, str) else kind

    def sized(self, value: Value, size: int, where: str) -> Value:
        """The same with its number of features checked; the first to say it says it for the state."""
        if self.features is None:
            self.features = size
        if NEURONS not in value.axes:
            raise ValueError(f"{where} reads {size} features and gets a tensor of {spoken(value.axes)}")
        got = int(self.size_of(value, value.axes.index(NEURONS)))
        if got != size:
            raise Misfit(f"{where} reads {size} features and gets {got}; the block's shapes do not fit")
        made = value.each(lambda parts: tuple(Part(p.expr, self.count(p)) for p in parts))
        return replace(made, skip=value.skip)

    def number_of(self, size: int) -> sp.Expr:
        """How many neurons a number of features stands for at the network's width; one feature, such as a gate, is one at every width."""
        assert self.features is not None
        return sp.S.One if size == 1 != self.features else self.width * sp.Rational(size, self.features)

    def part(self, size: int) -> sp.Expr:
        """A number of features as a multiple of the width; one feature is one at every width."""
        assert self.features is not None
        return sp.S.One if size == 1 != self.features else sp.Rational(size, self.features) * n

    def on(self, value: Value, axis: int, where: str) -> None:
        """Refuse what works along another axis than the neurons."""
        if value.axes[axis] != NEURONS:
            raise Misfit(
                f"{where} works along the last axis of a tensor of {spoken(value.axes)}, which must hold the neurons: {OVER_POSITIONS}"
            )

    def tensor(self, name: str) -> Any:
        """A tensor of the block, whose name later errors say."""
        holder, _, last = name.rpartition(".")
        found = getattr(self.block.get_submodule(holder), last)
        self._tensors[id(found)] = name, found
        return found

    def name_of(self, tensor: Any) -> str:
        """The name of one of the block's tensors."""
        return self._tensors.get(id(tensor), ("", None))[0]

    def name_of_matrix(self, weight: Any) -> str:
        """The name of a tensor that is applied as a matrix.

        Raises
        ------
        ValueError
            If the block computes it from other tensors: its entries then have another law than those of any of them.
        """
        whole = (*self.block.named_parameters(), *self.block.named_buffers())
        own = {t.untyped_storage().data_ptr(): name for name, t in whole}
        if weight.untyped_storage().data_ptr() not in own:
            raise ValueError(
                "the block computes its matrix from other tensors, and the law of such entries is not known; "
                "write the layer by hand with derivations.Network"
            )
        return self.name_of(weight) or own[weight.untyped_storage().data_ptr()]

    def uniform(self, name: str, tensor: Any) -> Value:
        """A tensor whose entries are all one number."""
        entries = tensor.detach().reshape(-1)
        if entries.numel() == 0 or bool((entries != entries[0]).any()):
            shape = tuple(int(k) for k in tensor.shape)
            self.refuse(
                name,
                f"holds numbers that differ between neurons or positions (its shape is {shape}), as an embedding of positions that is added does; "
                "one number for all is known, and a factor for each neuron",
            )
        return Value.of(number(float(entries[0])))

    def of_neurons(self, name: str, tensor: Any) -> Value:
        """A tensor of one number, or of one for each neuron."""
        sizes = [int(k) for k in tensor.shape]
        long = [place for place, k in enumerate(sizes) if k > 1]
        entries = tensor.detach().reshape(-1)
        if len(long) != 1 or bool((entries == entries[0]).all()):
            return self.uniform(name, tensor)
        if self.features is None or self.width != self.features:
            self.refuse(
                name,
                f"holds numbers that differ between neurons, which have a limit at the block's own width only; leave width= out, got {self.width}",
            )
        symbol = sp.Dummy(identifier(name), real=True)
        self._gains[symbol] = name, tuple(number(float(e)) for e in entries)
        self.remark(
            f"{name} differs between neurons: it is in the covariance of the rows or columns of the matrix beside it"
        )
        return Value.of(
            symbol, tuple(NEURONS if place == long[0] else ONE for place in range(len(sizes))), size=sizes[long[0]]
        )

    def factor(self, name: str) -> str:
        """A name for i.i.d. factors that no other call has drawn."""
        stem = own = identifier(name)
        while own in self._factors:
            self._factors[stem] += 1
            own = f"{stem}_{self._factors[stem]}"
        self._factors[own] = 1
        return own

    def remark(self, text: str) -> None:
        """What the reader of the result should know, once."""
        if text not in self.remarks:
            self.remarks.append(text)

    def refuse(self, name: str, reason: str, kind: type[ValueError] = ValueError) -> NoReturn:
        """A module that has no limit of this kind."""
        raise kind(f"{with_kind(self.block, name)} {reason}")
