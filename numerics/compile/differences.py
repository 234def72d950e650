r"""Values of several inputs as those of the first and what the others differ by, without cancellation.

A difference :math:`f(v + d) - f(v)` with d small beside v is :math:`\int_0^1 \nabla f(v + sd)\cdot d\,ds` by Gauss's rule, which takes no
difference of near numbers; elsewhere, and where the segment crosses a kink, it is the difference itself: there it is of the size
of the values, or the values are of the size of d.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import sympy as sp

from derivations.language import Program, Weights
from derivations.language.statements import Between, Mask, Shares
from derivations.symbols import state, step
from numerics.compile.expression import CompiledFunction, compile_expression
from numerics.compile.positions import on_pairs, over_pairs, partners_of
from numerics.compile.programs import (
    PLAIN,
    Array,
    Paired,
    Rules,
    Trace,
    Values,
    arguments_of,
    drawn_mask,
    evaluated,
    filtered,
)

#: A difference below this share of each value is integrated: the direct one loses at most two digits above.
_SMALL = 1 / 64
_NODES = 6  # of Gauss's rule: exact to degree 11, and for a function analytic within |v| of v to 1e-21


@dataclass(frozen=True)
class Pair:
    """The values of the first input, shape (samples, neurons, P), and of each other one minus these, (samples, neurons, (m - 1)P)."""

    first: Array
    rest: Array


@dataclass(frozen=True)
class Differences(Rules):
    """Rules for :class:`Pair`.

    Parameters
    ----------
    inputs : int
        m.
    positions : int
        P, the coordinates of one input.
    """

    inputs: int
    positions: int = 1

    @property
    def biased(self) -> Array:  # type: ignore[override]
        """Differences get no bias."""
        return np.repeat([1.0, 0.0], [self.positions, (self.inputs - 1) * self.positions])

    def columns(self, value: Pair) -> Array:
        """Both parts side by side, each column in one piece of memory."""
        parts = [np.moveaxis(part, 2, 0) for part in (value.first, value.rest)]
        return np.moveaxis(np.concatenate(parts, axis=0), 0, 2)

    def samples(self, value: Pair) -> int:
        """Of either part."""
        return len(value.first)

    def form(self, columns: Array) -> Pair:
        """Cut after the first input."""
        return Pair(columns[:, :, : self.positions], columns[:, :, self.positions :])

    def inputs_of(self, value: Pair) -> Array:
        """The values of all inputs."""
        if value.first.shape[2] < self.positions:  # one number for all
            return value.first
        return np.concatenate([value.first, np.tile(value.first, (1, 1, self.inputs - 1)) + value.rest], axis=2)

    def evaluated(self, expr: sp.Expr, values: Values, size: float, rows: int, trace: Trace | None = None) -> Pair:
        """The formula, and what it differs by."""
        samples, others = len(values[state].first), self.inputs - 1
        if (
            expr in values
            and values[expr].first.shape[1] == rows
            and values[expr].rest.shape[2] == others * self.positions
        ):
            same: Pair = values[expr]
            return same
        at: Values = {s: size if s == step else values[s].first for s in arguments_of(expr)}
        first = evaluated(expr, at, size, (samples, rows, self.positions))
        if trace is not None:
            every = {s: self.inputs_of(values[s]) for s in at if s != step}
            evaluated(expr, every, size, (samples, rows, self.inputs * self.positions), trace)
        shape = (samples, rows, others * self.positions)
        moves = {s: values[s].rest for s in at if s != step and values[s].rest.any()}
        if not moves:
            return Pair(first, np.zeros(shape))
        tiled = {s: v if s == step or v.shape[2] == 1 else np.tile(v, (1, 1, others)) for s, v in at.items()}
        return Pair(first, _difference(expr, tiled, moves, shape))

    def paired(self, statement: Paired, values: Values, size: float, program: Program, trace: Trace | None) -> Pair:
        """What the first input makes of its pairs of positions, and what the others' differs by."""
        p, others, count = self.positions, dict(program.others), self.inputs - 1
        plain = {s: v.first for s, v in values.items()}
        first = PLAIN.paired(statement, plain, size, program, trace)
        if isinstance(statement, Between):
            return Pair(first, np.zeros((1, 1, count, p, p)))
        sources = {s: others.get(s, s) for s in arguments_of(statement.body) if s != step}
        at: Values = {step: size} if step in statement.body.free_symbols else {}
        at |= {s: on_pairs(plain[of], s in others, p, p) for s, of in sources.items()}
        moves = {
            s: on_pairs(values[of].rest, s in others, count * p, p)
            for s, of in sources.items()
            if values[of].rest.any()
        }
        rows = 1 if isinstance(statement, Shares) or statement.over is None else int(statement.over.size)
        shape = (len(values[state].first), rows, count, p, p)

        def moved(partners: bool = False) -> Array:
            here, by = (
                {s: partners_of(v) if partners and s in others else v for s, v in part.items()} for part in (at, moves)
            )
            return _difference(statement.body, here, by, shape) if by else np.zeros(shape)

        if isinstance(statement, Shares):  # a' = a e^d / Σ a e^d
            grown = first * np.expm1(moved())
            total = grown.sum(axis=4, keepdims=True)
            return Pair(first, (grown - first * total) / (1 + total))
        return Pair(first, over_pairs(statement, moved))

    def features(self, weights: Weights, value: Pair) -> Array:
        """Through the filter, input by input."""
        return filtered(weights, self.columns(value))

    def masked(self, statement: Mask, like: Pair, rng: np.random.Generator) -> Pair:
        """The first input's mask, and what the others' differ by."""
        drawn = drawn_mask(statement, len(like.first), self.inputs * self.positions, rng)
        if statement.shared:
            return Pair(drawn, np.zeros((*drawn.shape[:2], (self.inputs - 1) * self.positions)))
        first = drawn[:, :, : self.positions]
        return Pair(first, drawn[:, :, self.positions :] - np.tile(first, (1, 1, self.inputs - 1)))


def _difference(expr: sp.Expr, at: Values, moves: Values, shape: tuple[int, ...]) -> Array:
    """What a formula differs by where its arguments do."""
    rule = _rule(expr, tuple(at), tuple(moves))
    before = {s: np.broadcast_to(v, shape) for s, v in at.items()}
    by = {s: np.broadcast_to(d, shape) for s, d in moves.items()}
    after = {s: v + by[s] if s in by else v for s, v in before.items()}
    out: Array | None = None
    for node, weight in rule.nodes:
        between = [v + node * by[s] if node and s in by else v for s, v in before.items()]
        term = rule.slope(*between, *by.values()) if rule.is_linear else weight * rule.slope(*between, *by.values())
        out = term if out is None else out + term
    assert out is not None
    far = np.zeros(shape, dtype=bool)
    if not rule.is_linear:
        for s, d in by.items():
            far |= np.abs(d) > _SMALL * np.abs(before[s])
    if rule.kinks is not None:
        ends = (rule.kinks(*values.values()) for values in (before, after))
        for side, here, there in zip(rule.sides, *ends, strict=True):
            far |= side(here, 0.0) != side(there, 0.0)
    if far.any():
        here, there = ([v[far] for v in values.values()] for values in (before, after))
        out[far] = rule.value(*there) - rule.value(*here)
    return out


@dataclass(frozen=True)
class _Rule:
    """A formula's differential in given arguments, where it has kinks, and a rule along a segment."""

    value: CompiledFunction
    slope: CompiledFunction
    kinks: CompiledFunction | None  # what is compared with 0
    sides: tuple[np.ufunc, ...]  # and how
    nodes: tuple[tuple[float, float], ...]
    is_linear: bool


#: On which side of its kink a condition puts 0 itself.
_SIDES = {sp.Le: np.greater, sp.Gt: np.greater, sp.Lt: np.greater_equal, sp.Ge: np.greater_equal}


@lru_cache(maxsize=256)
def _rule(expr: sp.Expr, arguments: tuple[sp.Symbol, ...], moving: tuple[sp.Symbol, ...]) -> _Rule:
    pieces = in_pieces(expr)
    steps = {s: sp.Dummy(f"d_{s}", real=True) for s in moving}
    slope = sp.Add(*(sp.diff(pieces, s) * d for s, d in steps.items()))
    linear = all(sp.expand(sp.diff(pieces, s, r)) == 0 for s in moving for r in moving)
    kinks = sorted(pieces.atoms(sp.core.relational.Relational), key=sp.default_sort_key)
    points, weights = ([-1.0], [2.0]) if linear else np.polynomial.legendre.leggauss(_NODES)
    return _Rule(
        compile_expression(arguments, expr),
        compile_expression((*arguments, *steps.values()), slope),
        compile_expression(arguments, tuple(kink.lhs - kink.rhs for kink in kinks)) if kinks else None,
        tuple(_SIDES.get(type(kink), np.equal) for kink in kinks),
        tuple((float(point + 1) / 2, float(weight) / 2) for point, weight in zip(points, weights, strict=True)),
        linear,
    )


def in_pieces(expr: sp.Expr) -> sp.Expr:
    """A formula whose kinks and jumps are all conditions, so that its derivative holds piece by piece and has no impulses."""
    bent = (sp.Abs, sp.sign, sp.Heaviside, sp.Max, sp.Min)
    return expr.replace(lambda e: isinstance(e, bent), lambda e: e.rewrite(sp.Piecewise))
