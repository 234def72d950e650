r"""Reads one block: cuts neurons into parts, puts tensors together, and says the layer when its output is known."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import sympy as sp

from derivations import Weights
from derivations.language.nodes import Applied, Average, average
from derivations.piecewise.cases import outermost
from derivations.symbols import state
from numerics.pytorch.draws import Draws
from numerics.pytorch.gains import without_gains
from numerics.pytorch.matrices import Matrices
from numerics.pytorch.tables import Tables, Woven
from numerics.pytorch.values import HERE, MULTIPLIED, NEURONS, Axis, Misfit, Part, Value, combined, identifier

#: How matrices of even and of odd neurons end.
_TURNS = ("even", "odd")
#: As many features may be numbers of their own: each has a branch of its own in the formula.
MOST_FEW = 32

#: What reads a module or an operation.
Rule = Callable[..., Any]


class Reader(Matrices):
    """Reads one block; the rules ask it for matrices and numbers.

    Parameters
    ----------
    block, width, positions, draws, exact_law
        As of :class:`numerics.pytorch.matrices.Matrices`.
    scale : Expr
        What multiplies a branch that is added to the state.
    features : int, optional
        The number of features of the state, where it is not that of the first module that says it.
    order : tuple of Axis, optional
        The axes of the state, where they are not those that the modules say.
    """

    def __init__(
        self,
        block: Any,
        width: sp.Expr | None,
        positions: tuple[int, ...],
        draws: Draws,
        exact_law: bool,
        scale: sp.Expr,
        features: int | None = None,
        order: tuple[Axis, ...] | None = None,
    ) -> None:
        super().__init__(block, width, positions, draws, exact_law)
        self._features, self._order = features, order
        self.scale = scale
        #: What was added to the state somewhere: its size, known when the output is.
        self._branches: list[sp.Symbol] = []
        self.tables = Tables()
        self._cuts: dict[tuple[sp.Expr, ...], Part] = {}  # what runs of neurons were cut from
        self._turns: dict[
            tuple[sp.Expr, ...], Part
        ] = {}  # and what every second neuron was taken of, even ones and odd ones

    def prepare(self, features: int | None, axes: tuple[Axis, ...]) -> None:
        """Take what the block's modules say of the state."""
        self.features = features if self._features is None else self._features
        self.axes = axes if self._order is None else self._order

    def branch(self) -> sp.Symbol:
        """The size of what is added to the state: ``scale`` on the way to the output, 1 inside of a branch."""
        self._branches.append(sp.Dummy("s", positive=True))
        return self._branches[-1]

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
        starts = [0, *itertools.accumulate(sizes)]
        if part.expr.has(Woven):
            raise ValueError(
                "neurons that two tensors give in turn are cut into parts; cut these before they are put in turn"
            )
        if part.expr.free_symbols & set(self._gains):
            raise ValueError(
                "what is multiplied by numbers that differ between neurons is cut into parts; cut it before"
            )
        pieces = [range(a, b) for a, b in itertools.pairwise(starts)]
        runs = _Runs(sizes, lambda w, index: self._named(w, f"{w.name}_{index}", pieces[index - 1]))
        own = [self.tables.cut(part.expr, a, b) for a, b in itertools.pairwise(starts)]
        made = [Part(runs.of(e, index), size) for index, (e, size) in enumerate(zip(own, sizes, strict=True), 1)]
        self._cuts[tuple(p.expr for p in made)] = part
        return made

    def in_turn(self, part: Part) -> tuple[Part, Part]:
        """The even and the odd neurons of a part: rows of one matrix are independent, so these are two matrices.

        Raises
        ------
        ValueError
            For an odd number of neurons, or for numbers that differ between neurons.
        """
        size, woven = self.count(part), {node: sp.Dummy("w") for node in part.expr.atoms(Woven)}
        if size % 2 or part.expr.free_symbols & set(self._gains):
            raise ValueError(
                f"every second of {size} neurons is taken, which has no rule where their number is odd or they have gains"
            )
        runs = _Runs(
            [size // 2] * 2,
            lambda w, index: self._named(w, f"{w.name}_{_TURNS[index - 1]}", range(index - 1, size, 2)),
        )
        made = []
        for k in range(2):
            own = runs.of(self.tables.strided(part.expr.xreplace(woven), k), k + 1)
            made.append(Part(own.xreplace({name: node.args[k] for node, name in woven.items()}), size // 2))
        if not woven:
            self._turns[made[0].expr, made[1].expr] = part
        return made[0], made[1]

    def rejoined(self, parts: tuple[Part, ...], in_turn: bool = False) -> tuple[Part, ...]:
        """Neighbours that were cut from one part, all in their order, as that one again; others as they are.

        ``in_turn`` takes even and odd neurons side by side for the part as well, whose order is then another one.
        """
        known = self._cuts | self._turns if in_turn else self._cuts
        for first, last in itertools.combinations(range(len(parts) + 1), 2):
            factors, exprs = zip(*(p.expr.as_coeff_Mul() for p in parts[first:last]), strict=True)
            if last - first > 1 and len(set(factors)) == 1 and exprs in known:
                whole = known[exprs]
                one = Part(factors[0] * whole.expr, self.count(whole))
                return self.rejoined((*parts[:first], one, *parts[last:]), in_turn)
        return parts

    def _named(self, weights: Weights, name: str, piece: range) -> Weights:
        """The matrix of some of the neurons that another one puts out, called by its place among others, or by where it starts and stops."""
        if weights.is_orthogonal:
            raise ValueError(f"{weights.name} is orthogonal, so parts of what it puts out are not independent")
        known = next((own for own, of in self._whole.items() if of == (weights.name, piece)), None)
        if known is None:
            if name in self._whole:  # of another cut
                name = f"{weights.name}_{piece.start}_{piece.stop}"
            known = self._unique(name, self._origin[weights.name])
            self._whole[known] = weights.name, piece
        return Weights(
            known,
            out=self.part(len(piece)),
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
        if (
            1 in totals and totals[0] != totals[1]
        ):  # one feature, such as a gate, is taken for all: a number of each input
            one, every = (first, second) if totals[0] == 1 else (second, first)
            shared = tuple(Part(as_number(one[0].expr), p.size) for p in every)
            return (shared, every) if totals[0] == 1 else (every, shared)
        if totals[0] != totals[1]:
            raise Misfit(f"{totals[0]} and {totals[1]} features meet in one operation; the block's shapes do not fit")
        ends = sorted({int(c) for s in sizes for c in np.cumsum(s)})  # type: ignore[arg-type]
        common = [b - a for a, b in zip([0, *ends[:-1]], ends, strict=True)]
        one, other = (tuple(p for run in self._runs(parts, common) for p in run) for parts in (first, second))
        return one, other

    def are_few(self, value: Value, axis: int) -> bool:
        """Whether an axis holds fewer features than the state has, so few that each may be a number of its own, as the scores of a router."""
        alone = value.axes[axis] == NEURONS and value.entries.size == 1  # no list of heads or pairs
        return alone and self.size_of(value, axis) <= min(MOST_FEW, (self.features or 1) - 1)

    def one_by_one(self, value: Value, axis: int) -> tuple[Value, ...]:
        """Few features, each as a number that all neurons share."""
        pieces = self.split(value, [1] * int(self.size_of(value, axis)))
        return tuple(piece.each(lambda parts: (Part(as_number(parts[0].expr)),)).without(axis) for piece in pieces)

    def combine(self, a: Value, b: Value, function: Any) -> Value:
        """A function of two tensors, number by number."""
        return combined(a, b, function, self.alike)

    def finished(self, value: Value) -> sp.Expr:
        """The layer that puts this out; a matrix must not be read whole and in parts."""
        outer = value.skip if value.skip is not None and MULTIPLIED not in value.skip else frozenset()
        expr = value.part.expr.xreplace({s: self.scale if s in outer else sp.S.One for s in self._branches})
        names = {node.weights.name for node in expr.atoms(Applied)}
        self.tables.require_none(expr)
        expr = without_gains(expr, self._gains)
        self._remark_unused(names)
        self._remark_laws(expr)
        self._require_whole_or_parts(names)
        return expr


class _Runs:
    """Neurons of matrices cut into runs: averages over all of them are shared out over the runs.

    Parameters
    ----------
    sizes : sequence of int
    named : callable
        From a matrix and the number of a run to the matrix of the run.
    """

    def __init__(self, sizes: Sequence[int], named: Callable[[Weights, int], Weights]) -> None:
        self.sizes, self.named = sizes, named

    def of(self, expr: sp.Expr, index: int) -> sp.Expr:
        """What one run has."""
        outer = outermost(expr)
        if not all(type(node) in (Applied, Average) for node in outer) or expr.xreplace(
            dict.fromkeys(outer, sp.S.One)
        ).has(state):
            raise ValueError(
                "only what a linear module puts out can be cut into parts; cut it before it meets the state"
            )
        rule = {a: self.named(a.weights, index)(a.body) for a in outer if type(a) is Applied}
        return expr.xreplace({**rule, **{a: self.over_all(a) for a in outer if type(a) is Average}})

    def over_all(self, node: Average) -> sp.Expr:
        """An average over the neurons of all runs; one over the state's neurons stays."""
        if not any(type(inside) is Applied for inside in outermost(node.body)):
            return node
        if node.power != 1:
            raise ValueError("only averages over neurons that are cut into parts are known")
        shares = (sp.Rational(size, sum(self.sizes)) for size in self.sizes)
        return sp.Add(*(share * average(self.of(node.body, k)) for k, share in enumerate(shares, 1)))


def as_number(expr: sp.Expr) -> sp.Expr:
    """What one neuron has as a number that all neurons share."""
    inside = outermost(expr)
    is_number = all(type(node) is Average for node in inside) and not expr.xreplace(
        dict.fromkeys(inside, sp.S.One)
    ).has(state)
    return expr if is_number else average(expr)


def here(positions: tuple[int, ...]) -> tuple[Axis, ...]:
    """The axes of the positions."""
    return (HERE,) if len(positions) < 2 else tuple(("here", i) for i in range(len(positions)))
