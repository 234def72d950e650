r"""What is known while a traced block is read: its axes, the matrices met so far, and what was simplified."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from math import prod
from typing import Any, NoReturn

import numpy as np
import sympy as sp

from derivations import Weights
from derivations.language.nodes import Applied
from derivations.piecewise.cases import outermost
from derivations.symbols import state
from derivations.symbols import width as n
from numerics.pytorch.draws import Draws, Tensors, source_of, with_kind
from numerics.pytorch.gains import without_gains
from numerics.pytorch.initialisers import Draw
from numerics.pytorch.moments import needs_higher_moments
from numerics.pytorch.values import ANY, BATCH, HERE, NEURONS, ONE, Axis, Part, Value, batch_size, combined, spoken

#: How long the formula that a matrix reads may be, written out: a pre-norm transformer layer of twelve heads has 11 000 words.
LONGEST = 40_000


class Reader:
    """Reads one block; the rules ask it for matrices and numbers."""

    def __init__(
        self,
        block: Any,
        width: sp.Expr | None,
        draws: Draws,
        scale: sp.Expr,
        exact_law: bool,
        positions: tuple[int, ...],
    ) -> None:
        self.block, self.given, self.draws, self.scale, self.exact_law = block, width, draws, scale, exact_law
        self.positions = positions
        self.features: int | None = None
        self.axes: tuple[Axis, ...] = (ANY, NEURONS)
        self.modules: dict[str, Draw] = {}
        self.remarks: list[str] = []
        self._factors: dict[str, int] = {}
        self._lengths: dict[sp.Basic, int] = {}
        self.scores: dict[sp.Expr, int] = {}  # sums over the neurons of queries and keys, and how many these are
        self._matrices: dict[int, tuple[str, Any, Any]] = {}  # by the storage of their weights: name, weight, bias
        self._keys: dict[str, int] = {}  # the storage of each matrix that was read
        self._reads: dict[str, int] = {}  # how many numbers a neuron of each matrix reads
        self._gains: dict[sp.Symbol, tuple[str, tuple[sp.Expr, ...]]] = {}  # numbers that differ between neurons
        self._memory: dict[int, tuple[int, int, str]] = {}  # where weights lie
        self._origin: dict[str, int] = {}  # the storage that a named matrix comes from
        self._whole: dict[str, str] = {}  # what a matrix is a part of
        self._tensors: dict[int, tuple[str, Any]] = {}  # names of the block's own tensors
        self._branches: list[
            sp.Symbol
        ] = []  # what was added to the state somewhere: its size, known when the output is

    @property
    def width(self) -> sp.Expr:
        """The network's width."""
        return sp.Integer(self.features) if self.given is None else self.given

    @property
    def places(self) -> int:
        """The number of positions."""
        return prod(self.positions)

    def placeholder(self, node: Any, first: bool) -> Any:
        """The state, or the default of an argument that a layer leaves out."""
        if first:
            return Value.of(state, self.axes, skip=frozenset())
        if not node.args:
            raise ValueError(
                f"the block needs a second argument, {node.target}; wrap it in a module that takes the state only"
            )
        return node.args[0]

    def value(self, said: Any, where: str) -> Value:
        """A value of one neuron; numbers are constants, tensors of the block those whose entries are all one number."""
        if isinstance(said, Value):
            return said
        if isinstance(said, (int, float)) and not isinstance(said, bool):
            return Value.of(number(said))
        if isinstance(said, sp.Expr) and said.is_number:
            return Value.of(said)
        if is_tensor(said):
            return self.of_neurons(self.name_of(said), said)
        if isinstance(said, tuple) and len(said) == 1:
            return self.value(said[0], where)
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
        return {BATCH: batch_size, ONE: 1}[kind] if isinstance(kind, str) else kind

    def sized(self, value: Value, size: int, where: str) -> Value:
        """The same with its number of features checked; the first to say it says it for the state."""
        if self.features is None:
            self.features = size
        if NEURONS not in value.axes:
            raise ValueError(f"{where} reads {size} features and gets a tensor of {spoken(value.axes)}")
        got = int(self.size_of(value, value.axes.index(NEURONS)))
        if got != size:
            raise ValueError(f"{where} reads {size} features and gets {got}; the block's shapes do not fit")
        made = value.each(lambda parts: tuple(Part(p.expr, self.count(p)) for p in parts))
        return replace(made, skip=value.skip)

    def branch(self) -> sp.Symbol:
        """The size of what is added to the state: ``scale`` on the way to the output, 1 inside of a branch."""
        self._branches.append(sp.Dummy("s", positive=True))
        return self._branches[-1]

    def part(self, size: int) -> sp.Expr:
        """A number of features as a multiple of the width."""
        assert self.features is not None
        return sp.Rational(size, self.features) * n

    def on(self, value: Value, axis: int, where: str) -> None:
        """Refuse what works along another axis than the neurons."""
        if value.axes[axis] != NEURONS:
            raise ValueError(
                f"{where} works along the last axis of a tensor of {spoken(value.axes)}, which must hold the neurons: "
                "matrices and norms over positions have no rule"
            )

    def matrix(self, name: str, tensors: Tensors, body: Value) -> Value:
        """A random matrix, with its biases, applied to every entry of a list."""
        self._require_short(name, body)
        body = self.sized(body, tensors.reads, with_kind(self.block, name))
        source = source_of(self.block, name, tensors.weight)
        key = int(source.data_ptr())
        self._require_apart(name, tensors.weight, key)
        self._keys[name] = key
        if key not in self._matrices:
            self._matrices[key] = self._unique(identifier(name), key), tensors.weight, tensors.bias
        shared, weight, bias = self._matrices[key]
        if weight.shape != tensors.weight.shape or weight.stride() != tensors.weight.stride():
            self.refuse(
                name, f"shares its weights with {shared} in another shape, as a transpose; write it with Weights(...).T"
            )
        draw = self.draws.of(name, self.width, self.features, tensors)
        self.modules[name] = draw
        if bias is not tensors.bias and draw.bias_variance != 0:
            self.refuse(name, f"shares its weights with {shared} but not its biases, which has no rule")
        self._require_untied(name, key, body)
        law = self._law(draw)
        self._reads[name] = tensors.fan_in
        return body.each(lambda parts: (self._applied(name, shared, key, tensors, draw, law, parts),))

    def _applied(
        self, name: str, shared: str, key: int, tensors: Tensors, draw: Draw, law: Any, parts: tuple[Part, ...]
    ) -> Part:
        """One matrix on neurons side by side: a matrix for each part, of its share of the variance."""
        if len(parts) > 1 and law == "orthogonal":
            self.refuse(name, "is orthogonal and reads several heads or parts, whose columns are not independent")
        total = sp.S.Zero
        for index, part in enumerate(parts, 1):
            own = shared if len(parts) == 1 else self._unique(f"{shared}_{index}", key)
            weights = Weights(
                own,
                out=self.part(tensors.out),
                variance=draw.variance * sp.Rational(self.count(part), tensors.reads),
                bias_variance=draw.bias_variance if index == 1 else 0,
                law=law,
                taps=tensors.taps,
            )
            total += weights(part.expr)
        return Part(total, tensors.out)

    def _unique(self, name: str, key: int) -> str:
        """A name that no other tensor's matrix has."""
        while self._origin.setdefault(name, key) != key:
            name += "_"
        return name

    def _require_short(self, name: str, body: Value) -> None:
        """Refuse several layers in one formula, which grows with each of them by a factor."""
        for _, parts in body.items():
            if sum(self._length(part.expr) for part in parts) > LONGEST:
                self.refuse(
                    name,
                    "is read after so many sublayers that their formula is too long; give one layer that is repeated",
                )

    def _length(self, expr: sp.Basic) -> int:
        """How long a formula is, written out."""
        if not expr.args:
            return 1
        if expr not in self._lengths:
            self._lengths[expr] = 1 + sum(self._length(arg) for arg in expr.args)
        return self._lengths[expr]

    def _require_apart(self, name: str, weight: Any, key: int) -> None:
        """Refuse weights that are a part of others: memory that two tensors of different starts share."""
        start = int(weight.data_ptr())
        end = start + weight.element_size() * (
            1 + sum((k - 1) * s for k, s in zip(weight.shape, weight.stride(), strict=True))
        )
        for other, (first, last, shared) in self._memory.items():
            if other != key and start < last and first < end:
                self.refuse(name, f"shares a part of its weights with {shared}, which has no rule")
        self._memory[key] = start, end, name

    def _require_untied(self, name: str, key: int, body: Value) -> None:
        inside = set().union(*(p.expr.atoms(Applied) for _, parts in body.items() for p in parts))
        if any(self._origin.get(node.weights.name) == key for node in inside):
            self.refuse(
                name, "reads what it has put out itself: weights that are tied over depth have no law of this kind"
            )

    def _law(self, draw: Draw) -> Any:
        return draw.law if self.exact_law or draw.law == "orthogonal" else "gaussian"

    def _remark_laws(self, expr: sp.Expr) -> None:
        """Say which entries stand for others, and what that changes."""
        if self.width.is_infinite:
            return  # entries of every law give the same limit
        inside = {
            name
            for name, key in self._keys.items()
            if needs_higher_moments(expr, {n for n in self._origin if self._origin[n] == key})
        }
        other = [name for name, draw in self.modules.items() if draw.law not in ("gaussian", "orthogonal")]
        for name in other:
            reads, draw = self._reads[name], self.modules[name]
            weights = f"the {'uniform ' if draw.law == 'uniform' else ''}weights of {name} ({draw.source})"
            if self.exact_law:
                if name in inside and draw.bias_variance != 0:
                    self.remark(f"the biases of {name}, which stand inside a function, are taken as Gaussian ones")
            elif name in inside:
                self.remark(
                    f"{weights} are taken as Gaussian ones of the same variance; they stand inside a function, whose "
                    f"means this changes by a share of order 1/{reads} (the neurons read); exact_law=True keeps them"
                )
            else:
                self.remark(
                    f"{weights} are taken as Gaussian ones of the same variance, which is exact as the depth grows"
                )

    def split(self, value: Value, sizes: Sequence[int]) -> tuple[Value, ...]:
        """Neurons cut into runs: rows of one matrix are independent, so its parts are independent matrices."""
        cut = {index: self._runs(entry, list(sizes)) for index, entry in value.items()}
        made = []
        for place in range(len(sizes)):
            entries = np.empty(value.entries.shape, dtype=object)
            for index, runs in cut.items():
                entries[index] = runs[place]
            made.append(Value(value.axes, entries))
        return tuple(made)

    def _runs(self, parts: tuple[Part, ...], sizes: list[int]) -> list[tuple[Part, ...]]:
        """Parts regrouped into runs of the given sizes, cutting a part where a run ends in it."""
        cuts = set(np.cumsum(sizes).tolist())
        pieces: list[Part] = []
        start = 0
        for part in parts:
            size = self.count(part)
            bounds = [start, *sorted(c for c in cuts if start < c < start + size), start + size]
            lengths = [b - a for a, b in itertools.pairwise(bounds)]
            pieces.extend([part] if len(lengths) == 1 else self._cut(part, lengths))
            start += size
        if start != sum(sizes):
            raise ValueError(f"{start} features are cut into parts of {sizes}")
        runs: list[tuple[Part, ...]] = []
        for size in sizes:
            run: list[Part] = []
            while sum(self.count(p) for p in run) < size:
                run.append(pieces.pop(0))
            runs.append(tuple(run))
        return runs

    def _cut(self, part: Part, sizes: Sequence[int]) -> list[Part]:
        if part.expr in self._gains:
            name, numbers = self._gains[part.expr]
            made = []
            for start, size in zip(itertools.accumulate((0, *sizes)), sizes, strict=False):
                symbol = sp.Dummy(identifier(name), real=True)
                self._gains[symbol] = name, numbers[start : start + size]
                made.append(Part(symbol, size))
            return made
        if part.expr.free_symbols & set(self._gains):
            raise ValueError(
                "what is multiplied by numbers that differ between neurons is cut into parts; cut it before"
            )
        outer = outermost(part.expr)
        if not all(type(node) is Applied for node in outer) or part.expr.xreplace({a: sp.S.One for a in outer}).has(
            state
        ):
            raise ValueError(
                "only what a linear module puts out can be cut into parts; cut it before it meets the state or an average"
            )
        made = []
        for index, size in enumerate(sizes, 1):
            swap = {a: self._named(a.weights, f"{a.weights.name}_{index}", size)(a.body) for a in outer}
            made.append(Part(part.expr.xreplace(swap), size))
        return made

    def _named(self, weights: Weights, name: str, size: int) -> Weights:
        if weights.is_orthogonal:
            raise ValueError(f"{weights.name} is orthogonal, so parts of what it puts out are not independent")
        name = self._unique(name, self._origin[weights.name])
        self._whole[name] = weights.name
        return Weights(
            name,
            out=self.part(size),
            variance=weights.variance,
            bias_variance=weights.bias_variance,
            law=weights.law,
            taps=weights.taps,
        )

    def alike(self, first: tuple[Part, ...], second: tuple[Part, ...]) -> tuple[tuple[Part, ...], tuple[Part, ...]]:
        """The neurons of two tensors cut at the same places."""
        sizes = [[p.size if p.size is not None else self.features for p in parts] for parts in (first, second)]
        if sizes[0] == sizes[1] or None in (*sizes[0], *sizes[1]):
            return first, second
        totals = [sum(s) for s in sizes]  # type: ignore[arg-type]
        if totals[0] != totals[1]:
            raise ValueError(
                f"{totals[0]} and {totals[1]} features meet in one operation; the block's shapes do not fit"
            )
        ends = sorted({int(c) for s in sizes for c in np.cumsum(s)})  # type: ignore[arg-type]
        common = [b - a for a, b in zip([0, *ends[:-1]], ends, strict=True)]
        one, other = (tuple(p for run in self._runs(parts, common) for p in run) for parts in (first, second))
        return one, other

    def combine(self, a: Value, b: Value, function: Any) -> Value:
        """A function of two tensors, number by number."""
        return combined(a, b, function, self.alike)

    def tensor(self, name: str) -> Any:
        """A tensor of the block, whose name later errors say."""
        holder, _, last = name.rpartition(".")
        found = getattr(self.block.get_submodule(holder), last)
        self._tensors[id(found)] = name, found
        return found

    def name_of(self, tensor: Any) -> str:
        """The name of one of the block's tensors."""
        return self._tensors.get(id(tensor), ("", None))[0]

    def uniform(self, name: str, tensor: Any) -> Value:
        """A tensor whose entries are all one number."""
        entries = tensor.detach().reshape(-1)
        if entries.numel() == 0 or bool((entries != entries[0]).any()):
            self.refuse(
                name,
                "holds numbers that differ between neurons or positions; one number for all is known, and a factor for each neuron",
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

    def refuse(self, name: str, reason: str) -> NoReturn:
        """A module that has no limit of this kind."""
        raise ValueError(f"{with_kind(self.block, name)} {reason}")

    def finished(self, value: Value) -> sp.Expr:
        """The layer that puts this out; a matrix must not be read whole and in parts."""
        outer = value.skip or frozenset()
        expr = value.part.expr.xreplace({s: self.scale if s in outer else sp.S.One for s in self._branches})
        names = {node.weights.name for node in expr.atoms(Applied)}
        expr = without_gains(expr, self._gains)
        self._remark_unused(names)
        self._remark_laws(expr)
        for name in sorted(names):
            whole = self._whole.get(name)
            while whole is not None:
                if whole in names:
                    raise ValueError(
                        f"what {whole} puts out is read whole and in parts; write the layer by hand with derivations.Network"
                    )
                whole = self._whole.get(whole)
        return expr

    def _remark_unused(self, names: set[str]) -> None:
        """Say which matrices do nothing as the block stands."""
        used = {self._origin[name] for name in names}
        for name, key in self._keys.items():
            if key not in used:
                self.remark(
                    f"{name} does nothing as the block stands: what it puts out is multiplied by 0, or not used"
                )


def is_tensor(said: Any) -> bool:
    """Whether this is a tensor of PyTorch."""
    return hasattr(said, "data_ptr") and hasattr(said, "numel")


def here(positions: tuple[int, ...]) -> tuple[Axis, ...]:
    """The axes of the positions."""
    return (HERE,) if len(positions) < 2 else tuple(("here", i) for i in range(len(positions)))


def identifier(name: str) -> str:
    """A dotted module name as the name of a matrix."""
    plain = name.replace(".", "_") or "W"
    return plain if plain.isidentifier() else f"W_{plain}"


def number(value: float) -> sp.Expr:
    """A float as the shortest decimal of seven digits, which is what single precision holds."""
    return sp.Rational(f"{value:.7g}")
