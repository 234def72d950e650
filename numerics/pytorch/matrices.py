r"""The random matrices of a block: which weights are the same, what each reads, and the laws that stand for others."""

from __future__ import annotations

from typing import Any

import sympy as sp

from derivations import Weights
from derivations.language.nodes import Applied
from numerics.pytorch.block import Block
from numerics.pytorch.draws import Draws, Tensors, source_of, with_kind
from numerics.pytorch.initialisers import Draw
from numerics.pytorch.moments import needs_higher_moments
from numerics.pytorch.values import Part, Value, identifier

#: How long the formula that a matrix reads may be, written out: a pre-norm transformer layer of twelve heads has 11 000 words.
LONGEST = 40_000


class Matrices(Block):
    """A block with its matrices.

    Parameters
    ----------
    block, width, positions
        As of :class:`numerics.pytorch.block.Block`.
    draws : Draws
        What the weights are drawn from.
    exact_law : bool
        Whether entries keep their law.
    """

    def __init__(
        self, block: Any, width: sp.Expr | None, positions: tuple[int, ...], draws: Draws, exact_law: bool
    ) -> None:
        super().__init__(block, width, positions)
        self.draws, self.exact_law = draws, exact_law
        self.modules: dict[str, Draw] = {}
        self.frozen: list[str] = []  # whose weights do not train
        self._lengths: dict[sp.Basic, int] = {}
        self._matrices: dict[int, tuple[str, Any, Any]] = {}  # by the storage of their weights: name, weight, bias
        self._keys: dict[str, int] = {}  # the storage of each matrix that was read
        self._reads: dict[str, int] = {}  # how many numbers a neuron of each matrix reads
        self._memory: dict[int, tuple[int, int, str]] = {}  # where weights lie
        self._origin: dict[str, int] = {}  # the storage that a named matrix comes from
        self._whole: dict[str, tuple[str, range]] = {}  # what a matrix is a part of, and which of its neurons

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
        if not (source if source is not None else tensors.weight).requires_grad and name not in self.frozen:
            self.frozen.append(name)
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

    def matrices_in(self, layer: sp.Expr) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """For each module that was read the names of its matrices in a layer."""
        names = sorted({node.weights.name for node in layer.atoms(Applied)})
        found = {m: tuple(n for n in names if self._origin.get(n) == key) for m, key in self._keys.items()}
        return tuple((module, own) for module, own in found.items() if own)

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

    def _remark_unused(self, names: set[str]) -> None:
        """Say which matrices do nothing as the block stands."""
        used = {self._origin[name] for name in names}
        for name, key in self._keys.items():
            if key not in used:
                self.remark(
                    f"{name} does nothing as the block stands: what it puts out is multiplied by 0, or not used"
                )

    def _require_whole_or_parts(self, names: set[str]) -> None:
        """Refuse a matrix that is read whole and in parts, or in parts that have neurons in common: these would be independent here."""
        parts: dict[str, dict[str, range]] = {}
        for name in sorted(names):
            own = name
            while own in self._whole:
                whole, piece = self._whole[own]
                if whole in names:
                    raise ValueError(
                        f"what {whole} puts out is read whole and in parts; write the layer by hand with derivations.Network"
                    )
                parts.setdefault(whole, {})[own] = piece
                own = whole
        for whole, pieces in parts.items():
            if sum(map(len, pieces.values())) > len(set().union(*pieces.values())):
                raise ValueError(
                    f"what {whole} puts out is read in parts that have neurons in common; write the layer by hand with derivations.Network"
                )
