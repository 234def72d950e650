r"""Kernels of any recipe: the derived flow of a generic pair of inputs, compiled and integrated for each pair.

The derivation leaves Gaussian means as nodes (``evaluate=False``). Each is brought to a mean of a function without parameters: what
scales or shifts its argument, as a norm does, goes into the Gaussian's mean and variance. Then it is a closed form where one is known and
rounding does not spoil it, else a quadrature with an error (``means``). What depends on one input alone is evaluated once
for each input, and their flows are integrated first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import sympy as sp
from numpy.typing import NDArray

from derivations.activations import Activation
from derivations.architectures import Recipe
from derivations.gaussian import GaussianExpectation, GaussianPairExpectation, expect
from derivations.kernels.flows import require_slopes
from derivations.kernels.means import MEAN, VARIANCE
from derivations.language.statements import Matrix
from derivations.limits.gram import gram_matrix
from derivations.limits.meanfield import mean_symbols
from derivations.limits.tangents import tangent_flow
from derivations.limits.width import KernelFlow, evaluated, kernel_flow
from derivations.symbols import time
from numerics import quadrature
from numerics.compile import compile_expression
from numerics.kernels.hermite import coefficients
from numerics.kernels.means import LEAST, CompiledMeans, compile_means
from numerics.kernels.panels import panels_of
from numerics.kernels.rates import integrate

Array = NDArray[np.float64]

_K, _M, _T = gram_matrix(2, "K"), mean_symbols(2), gram_matrix(2, "Theta")
_FIRST, _SECOND = ((_M[a], _K[a, a], _T[a, a]) for a in (0, 1))
_ALONE = dict(zip(_SECOND, _FIRST, strict=True))
_BOTH = (_K[0, 1], _T[0, 1])
_TOLERANCE = 1e-12


@dataclass(frozen=True)
class _Own:
    """A mean over one neuron: names for the first and the second input, the function, mean and variance."""

    names: tuple[sp.Symbol, sp.Symbol]
    function: sp.Expr
    mean: sp.Expr
    variance: sp.Expr


@dataclass(frozen=True)
class _Pair:
    """A mean of a product over a pair of neurons, one at each input."""

    name: sp.Symbol
    functions: tuple[sp.Expr, sp.Expr]
    laws: tuple[tuple[sp.Expr, sp.Expr], tuple[sp.Expr, sp.Expr]]
    covariance: sp.Expr


_Z = sp.Symbol("z", real=True)


class _Lowering:
    """Expressions with names in the place of Gaussian means."""

    def __init__(self) -> None:
        self.own: list[_Own] = []
        self.pairs: list[_Pair] = []
        self.swap: dict[sp.Expr, sp.Expr] = dict(_ALONE)

    def __call__(self, expr: sp.Expr) -> sp.Expr:
        """Names for the means in an expression, innermost first."""
        if isinstance(expr, GaussianExpectation):
            mean, variance = map(self, expr.args[1:])
            factor, function, slope, shift = _standard(expr.args[0])
            return factor * self._one(function, slope * mean + shift, slope**2 * variance)
        if isinstance(expr, GaussianPairExpectation):
            return self._two(expr)
        if not expr.has(GaussianExpectation, GaussianPairExpectation):
            return expr
        return expr.func(*map(self, expr.args))

    def _one(self, function: sp.Expr, mean: sp.Expr, variance: sp.Expr) -> sp.Expr:
        law, side = self._alone(sp.Tuple(mean, variance))
        for known in self.own:
            if (known.function, known.mean, known.variance) == (function, *law):
                return known.names[side]
        names = sp.Dummy("e_1", real=True), sp.Dummy("e_2", real=True)
        self.swap[names[1]] = names[0]
        self.own.append(_Own(names, function, *law))
        return names[side]

    def _two(self, node: sp.Expr) -> sp.Expr:
        first, covariance, second = map(self, node.args[2:])
        factor = sp.S.One
        sides: list[tuple[int | None, sp.Expr, tuple[sp.Expr, ...]]] = []
        for function, own in zip(node.args[:2], (first, second), strict=True):
            scale, bare, slope, shift = _standard(function)
            law, at = self._alone(sp.Tuple(shift, slope**2 * own))
            sides.append((at if law.free_symbols - {time} else None, bare, tuple(law)))
            factor *= scale
            covariance *= slope
        if sides[0][0] == 1 or sides[1][0] == 0:  # U is at the second input
            sides.reverse()
        if sides[0][0] == 1 or sides[1][0] == 0:
            raise ValueError(f"the mean {node} is not over one neuron at each of both inputs; no rule is known for it")
        functions, laws = [side[1] for side in sides], [side[2] for side in sides]
        name = sp.Dummy("p", real=True)
        self.pairs.append(_Pair(name, tuple(functions), tuple(laws), covariance))  # type: ignore[arg-type]
        return factor * name

    def _alone(self, law: sp.Tuple) -> tuple[sp.Tuple, int]:
        """An expression of one input as that of the first, and which input it was."""
        moved = law.xreplace(self.swap)
        both = law.free_symbols - {time} - set(self.swap) - set(self.swap.values())
        if both or (moved != law and law.free_symbols & set(self.swap.values())):
            raise ValueError(f"the flow holds a mean over neurons whose law, {law}, depends on both inputs together")
        return moved, int(moved != law)


def _standard(function: sp.Lambda) -> tuple[sp.Expr, sp.Expr, sp.Expr, sp.Expr]:
    """A factor c, a function h without parameters, a slope a and a shift b, so that the function is c h(a z + b)."""
    body, factor, scale, moved = function(_Z), sp.S.One, sp.S.One, sp.S.Zero
    while body.free_symbols - {_Z}:
        outside, inside = body.as_independent(_Z, as_Add=False)
        if outside.free_symbols:
            factor, body = factor * outside, inside
            continue
        argument = next(
            (
                e
                for e in sp.preorder_traversal(body)
                if isinstance(e, sp.Expr)
                and e.has(_Z)
                and e.free_symbols - {_Z}
                and e.is_polynomial(_Z)
                and sp.degree(e, _Z) == 1
            ),
            None,
        )
        if argument is None:
            raise ValueError(
                f"the mean of {function(_Z)} has no rule: averages over the layer may shift or scale what a function reads, as norms do, "
                f"but here {', '.join(sorted(map(str, body.free_symbols - {_Z})))} enters in another way"
            )
        slope = sp.diff(argument, _Z)
        shift = sp.expand(argument - slope * _Z)
        changed = body.xreplace({_Z: (_Z - shift) / slope})
        body = changed.replace(lambda e: e.is_Add or e.is_Mul, sp.expand_mul)
        scale, moved = slope * scale, slope * moved + shift
    return factor, body, scale, moved


@dataclass(frozen=True)
class DerivedFlow:
    """The flow of a pair of inputs as functions of arrays; make it with :func:`derived_flow`."""

    states: tuple[int, ...]  # which of M, K, Θ an input has
    fixed: float | None
    tangent: bool
    repeats: bool  # whether an input given twice is as one input
    own: tuple[tuple[CompiledMeans, Callable[..., Any], Callable[..., Any]], ...]
    own_rates: Callable[..., Any]
    pairs: tuple[tuple[CompiledMeans, CompiledMeans, Callable[..., Any], Callable[..., Any]], ...]
    pair_rates: Callable[..., Any]

    def means(self, t: float, states: Array) -> list[Array]:
        """The states of all inputs, shape (states, inputs), and the means over one neuron."""
        values, zero = list(states), np.zeros(states.shape[1])
        for means, at, spread in self.own:
            values.append(means.first(at(t, *values) + zero, np.maximum(spread(t, *values) + zero, 0.0)))
        return values

    def velocity_alone(self, t: float, states: Array) -> Array:
        """Rates of M, K and Θ of each input."""
        speed = np.empty_like(states)
        for row, rate in zip(speed, self.own_rates(t, *self.means(t, states)), strict=True):
            row[:] = rate
        return speed

    def velocity(self, t: float, states: Array, rows: slice, columns: slice, kernels: Array) -> Array:
        """Rates of K and Θ of a block of pairs, given the states of all inputs."""
        values = self.means(t, states)
        sides = [v[rows, None] for v in values], [v[columns] for v in values]
        given = [t, *sides[0], *sides[1], *kernels]
        zero = np.zeros(states.shape[1])
        speed = np.empty_like(kernels)
        with np.errstate(divide="ignore", invalid="ignore"):  # what is not finite is refused by the integration
            for left, right, laws, covariance in self.pairs:
                law = [zero + entry for entry in laws(t, *values)]
                between = np.broadcast_to(covariance(*given), kernels[0].shape)
                given.append(_pair_means(left, right, law, rows, columns, between))
            for row, rate in zip(speed, self.pair_rates(*given), strict=True):
                row[:] = rate
        return speed

    def trusted(self, t: float, states: Array) -> DerivedFlow:
        """With closed means only where rounding does not spoil them at these states."""
        values, zero, own, pairs = list(states), np.zeros(states.shape[1]), [], []
        for means, at, spread in self.own:
            variance = np.maximum(spread(t, *values) + zero, 0.0)
            own.append((means.trusted(variance), at, spread))
            values.append(means.first(at(t, *values) + zero, variance))
        for left, right, laws, covariance in self.pairs:
            _, first, _, second = (np.maximum(zero + entry, 0.0) for entry in laws(t, *values))
            kept = left.trusted(first), right.trusted(second)
            pairs.append((kept[0], kept[0] if left is right else kept[1], laws, covariance))
        return replace(self, own=tuple(own), pairs=tuple(pairs))


def _pair_means(
    left: CompiledMeans, right: CompiledMeans, law: Sequence[Array], rows: slice, columns: slice, covariance: Array
) -> Array:
    """E f(U) g(V) for a block of pairs; the law has mean and variance of U and of V for all inputs."""
    first_mean, second_mean, shape = law[0], law[2], covariance.shape
    first, second = np.maximum(law[1], 0.0), np.maximum(law[3], 0.0)
    if left is right:
        return left.pairs(first_mean, first)(rows, columns, covariance)
    deviations = [np.sqrt(np.maximum(v, LEAST)) for v in (first, second)]
    found = [
        coefficients(m.panels, at, d)
        for m, at, d in zip((left, right), (first_mean, second_mean), deviations, strict=True)
    ]
    rho = np.clip(covariance / (deviations[0][rows, None] * deviations[1][columns]), -1.0, 1.0)
    total, power = np.zeros(shape), np.ones(shape)
    for n in range(min(found[0].last, found[1].last) + 1):
        total += power * found[0].terms[rows, n, None] * found[1].terms[columns, n]
        power = power * rho
    beyond = np.abs(rho) ** found[0].terms.shape[1] * np.sqrt(found[0].tails[rows, None] * found[1].tails[columns])
    far = beyond > _TOLERANCE * np.sqrt(found[0].scale[rows, None] * found[1].scale[columns])
    for i, j in zip(*np.nonzero(far), strict=True):
        a, b = np.arange(len(first))[rows][i], np.arange(len(first))[columns][j]
        block = [[first[a], covariance[i, j]], [covariance[i, j], second[b]]]
        kinks = [
            [c.at - m for c in side.panels.corners] for side, m in ((left, first_mean[a]), (right, second_mean[b]))
        ]
        shifted = _shifted(left, first_mean[a]), _shifted(right, second_mean[b])
        total[i, j] = quadrature.expect_pair(*shifted, block, *kinks)
    return total


def _shifted(means: CompiledMeans, by: float) -> Callable[[Array], Array]:
    return lambda z: means.function(z + by)


def depends_on_depth(architecture: Recipe) -> bool:
    """Whether the law of its weights does."""
    return any(isinstance(s, Matrix) and s.weights.has(time) for s in architecture.program().statements)


def derived_flow(architecture: Recipe, tangent: bool) -> DerivedFlow:
    """Derive the flow of a generic pair of inputs and compile it.

    Raises
    ------
    ValueError
        If a parameter has no number yet, or a mean has no rule.
    """
    program = architecture.program()
    if program.has_positions:
        raise ValueError(
            "the flow couples all positions of an input, not pairs of inputs alone; kernel matrices over positions are integrated for "
            "ConvResNet only: take the flow itself, derive(net).limit, for few positions"
        )
    if tangent:
        require_slopes(program)
    kernel: KernelFlow = kernel_flow(program, 2, evaluate=False)
    flow = tangent_flow(program, 2, evaluate=False) if tangent else kernel
    if flow.parameters:
        named = ", ".join(sorted(map(str, flow.parameters)))
        raise ValueError(f"expected numbers in the architecture, got the symbols {named}; substitute values for them")
    rates = dict(zip(flow.states, flow.drift, strict=True))
    states = tuple(k for k, s in enumerate(_FIRST) if s in rates)
    lower = _Lowering()
    own = [lower(rates[_FIRST[k]]) for k in states]
    both = [lower(rates[s]) for s in _BOTH[: 1 + tangent]]
    first = [_FIRST[k] for k in states]
    second = [_SECOND[k] for k in states]
    # what pairs read of a single input is among its means: none may be missing when pairs ask
    names = [[o.names[side] for o in lower.own] for side in (0, 1)]
    compiled_own = []
    for k, o in enumerate(lower.own):
        known = (time, *first, *names[0][:k])
        compiled_own.append((_mean_of(o), compile_expression(known, o.mean), compile_expression(known, o.variance)))
    sides = (time, *first, *names[0], *second, *names[1], *_BOTH[: 1 + tangent])
    compiled_pairs = []
    for k, p in enumerate(lower.pairs):
        laws = compile_expression((time, *first, *names[0]), [e for law in p.laws for e in law])
        given = (*sides, *(q.name for q in lower.pairs[:k]))
        left, right = (compile_means(Activation("f", f, _Z)) for f in p.functions)  # kept: equal ones are one object
        compiled_pairs.append((left, right, laws, compile_expression(given, p.covariance)))
    return DerivedFlow(
        states,
        float(kernel.fixed[0][1]) if kernel.fixed else None,
        tangent,
        _repeats(rates, tangent, bool(kernel.fixed)),
        tuple(compiled_own),
        compile_expression((time, *first, *names[0]), own),
        tuple(compiled_pairs),
        compile_expression((*sides, *(p.name for p in lower.pairs)), both),
    )


def _repeats(rates: Mapping[sp.Symbol, sp.Expr], tangent: bool, fixed: bool) -> bool:
    """Whether a pair of equal inputs moves as each of them, as it does where they share all that is drawn."""
    together = {**_ALONE, _K[0, 1]: _K[0, 0], _T[0, 1]: _T[0, 0]}
    if fixed:
        return False
    found = ((_K[0, 1], _K[0, 0]), (_T[0, 1], _T[0, 0]))[: 1 + tangent]
    return all(sp.expand(evaluated(rates[pair].xreplace(together)) - evaluated(rates[own])) == 0 for pair, own in found)


def _mean_of(own: _Own) -> CompiledMeans:
    """The mean over one neuron; centred ones have a closed form for more functions."""
    activation = Activation("f", own.function, _Z)
    mean = MEAN if own.mean != 0 else sp.S.Zero
    closed = expect(own.function, _Z, VARIANCE, mean)
    known = not closed.has(GaussianExpectation, GaussianPairExpectation)
    return CompiledMeans(
        panels_of(activation), compile_expression((MEAN, VARIANCE), closed) if known else None, None, None, None
    )


def _alone(flow: DerivedFlow, start: Array, t: float, tolerance: float) -> Callable[[float], Array]:
    """The states of each input as functions of depth."""
    if not start.size:
        return lambda _: start
    shape = start.shape

    def velocity(s: float, y: Array) -> Array:
        return flow.velocity_alone(s, y.reshape(shape)).ravel()

    scale = np.maximum(np.abs(start.ravel()), np.abs(velocity(0.0, start.ravel())) * t)
    solution = integrate(velocity, start.ravel(), t, tolerance / 10, scale, dense=True)
    return lambda s: solution.sol(s).reshape(shape)


def solve_derived(
    flow: DerivedFlow, start: Array, own: Array, t: float, tolerance: float, split: int | None, block: int
) -> list[Array]:
    """K, and Θ where it is followed, between all inputs, or between the first ones and the rest.

    Parameters
    ----------
    start : array, shape (inputs, inputs), or (split, inputs - split)
        Inner products of the inputs over their dimension.
    own : array, shape (inputs,)
        Those of each input with itself.
    block : int
        Pairs integrated together.
    """
    total = len(own)
    rows_of = slice(None) if split is None else slice(split)
    columns_of = slice(None) if split is None else slice(split, None)
    if (
        flow.fixed is not None and t > 0
    ):  # a norm at the end of a layer: after the first one all inputs are on its sphere
        if np.any(own == 0.0):
            raise ValueError("an input of norm 0 has no direction for the norm at the end of a layer; leave it out")
        size = np.sqrt(own / flow.fixed)
        start, own = start / np.outer(size[rows_of], size[columns_of]), np.full(total, flow.fixed)
    parts = 1 + flow.tangent
    if t == 0.0:
        return [start.copy() for _ in range(parts)]
    begin = np.array([np.zeros(total) if k == 0 else own for k in flow.states]).reshape(len(flow.states), total)
    flow = flow.trusted(0.0, begin)
    alone = _alone(flow, begin, t, tolerance)
    checked = flow.trusted(t, alone(t))
    if checked != flow:
        flow, alone = checked, _alone(checked, begin, t, tolerance)
    ends = dict(zip(flow.states, alone(t), strict=True))
    last = [ends.get(1, own), ends.get(2, own)][:parts]
    found = [np.empty(start.shape) for _ in range(parts)]
    height = max(1, block // max(1, start.shape[1]))
    for top in range(0, len(start), height):
        rows = slice(top, min(top + height, len(start)))
        columns = slice(top, None) if split is None else columns_of
        wanted = start[rows, top:] if split is None else start[rows]
        same = np.maximum(np.abs(wanted - own[rows, None]), np.abs(wanted - own[columns])) <= 1e-13 * own[rows, None]
        same &= flow.repeats
        wanted = np.where(same, 0.0, wanted)

        def velocity(
            s: float, y: Array, rows: slice = rows, columns: slice = columns, shape: Any = wanted.shape
        ) -> Array:
            kernels = y.reshape(parts, *shape)
            return flow.velocity(s, alone(s), rows, columns, kernels).ravel()

        sizes = [np.sqrt(np.outer(np.maximum(own, e)[rows], np.maximum(own, e)[columns])).ravel() for e in last]
        both = np.concatenate([wanted.ravel()] * parts)
        solved = integrate(velocity, both, t, tolerance, np.concatenate(sizes)).y[:, -1].reshape(parts, *wanted.shape)
        for matrix, values, end in zip(found, solved, last, strict=True):
            values[same] = np.broadcast_to(end[rows, None], values.shape)[same]
            if split is None:
                matrix[rows, top:] = values
                matrix[top:, rows] = values.T
            else:
                matrix[rows] = values
    if split is None:
        for matrix, end in zip(found, last, strict=True):
            lower = np.tril_indices(total, -1)
            matrix[lower] = matrix.T[lower]
            np.fill_diagonal(matrix, end)
    return found
