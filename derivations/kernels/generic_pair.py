r"""The kernel flow of a generic pair of inputs in parts: means over one neuron, means over pairs, and formulas of both.

The derivation leaves Gaussian means as nodes (``evaluate=False``). Each is brought to a mean of a function without parameters: what
scales or shifts its argument, as a norm does, goes into the Gaussian's mean and variance. What depends on one input alone is said once,
for the first input.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import sympy as sp

from derivations.activations.base import Activation
from derivations.architectures.base import Recipe
from derivations.errors import DerivationError, brief
from derivations.gaussian import GaussianExpectation, GaussianPairExpectation, expect
from derivations.kernels.flows import require_slopes
from derivations.kernels.means import MEAN, VARIANCE
from derivations.language.statements import Matrix
from derivations.limits.gram import gram_matrix
from derivations.limits.meanfield import mean_symbols
from derivations.limits.tangents import tangent_flow
from derivations.limits.width import evaluated, kernel_flow
from derivations.symbols import time

_K, _M, _T = gram_matrix(2, "K"), mean_symbols(2), gram_matrix(2, "Theta")
#: M, K and Θ of each of both inputs.
_FIRST, _SECOND = ((_M[a], _K[a, a], _T[a, a]) for a in (0, 1))
_ALONE = dict(zip(_SECOND, _FIRST, strict=True))
_BOTH = (_K[0, 1], _T[0, 1])


@dataclass(frozen=True)
class OwnMean:
    """A mean over one neuron: names for the first and the second input, the function, mean and variance."""

    names: tuple[sp.Symbol, sp.Symbol]
    function: sp.Expr
    mean: sp.Expr
    variance: sp.Expr

    @property
    def activation(self) -> Activation:
        """The function, as one."""
        return Activation("f", self.function, _Z)

    @property
    def closed(self) -> sp.Expr | None:
        """The mean in ``MEAN`` and ``VARIANCE``, None where no closed form is known; centred ones have one for more functions."""
        found = expect(self.function, _Z, VARIANCE, MEAN if self.mean != 0 else 0)
        return None if found.has(GaussianExpectation, GaussianPairExpectation) else found


@dataclass(frozen=True)
class PairMean:
    """A mean of a product over a pair of neurons, one at each input."""

    name: sp.Symbol
    functions: tuple[sp.Expr, sp.Expr]
    laws: tuple[tuple[sp.Expr, sp.Expr], tuple[sp.Expr, sp.Expr]]
    covariance: sp.Expr

    @property
    def activations(self) -> tuple[Activation, Activation]:
        """Both functions."""
        first, second = (Activation("f", f, _Z) for f in self.functions)
        return first, second


_Z = sp.Symbol("z", real=True)


class _Lowering:
    """Expressions with names in the place of Gaussian means."""

    def __init__(self) -> None:
        self.own: list[OwnMean] = []
        self.pairs: list[PairMean] = []
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
        self.own.append(OwnMean(names, function, *law))
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
            raise DerivationError(
                f"the mean {brief(node)} is not over one neuron at each of both inputs; no rule is known for it"
            )
        functions, laws = [side[1] for side in sides], [side[2] for side in sides]
        name = sp.Dummy("p", real=True)
        self.pairs.append(PairMean(name, tuple(functions), tuple(laws), covariance))  # type: ignore[arg-type]
        return factor * name

    def _alone(self, law: sp.Tuple) -> tuple[sp.Tuple, int]:
        """An expression of one input as that of the first, and which input it was."""
        moved = law.xreplace(self.swap)
        both = law.free_symbols - {time} - set(self.swap) - set(self.swap.values())
        if both or (moved != law and law.free_symbols & set(self.swap.values())):
            raise DerivationError(
                f"the flow holds a mean over neurons whose law, {law}, depends on both inputs together"
            )
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
            raise DerivationError(
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
class PairFlow:
    """The flow of a pair; make it with :func:`pair_flow`.

    Parameters
    ----------
    states : tuple of int
        Which of M, K, Θ (0, 1, 2) of a single input move.
    fixed : Expr or None
        The second moment of each neuron, where every layer fixes it.
    repeats : bool
        Whether a pair of equal inputs moves as each of them, as it does where they share all that is drawn.
    first, second : tuple of Symbol
        The states of both inputs, and the names of the means over a neuron at each.
    own, pairs : tuple
        The means, in an order in which each holds earlier ones only.
    own_rates, pair_rates : tuple of Expr
        Of the states of the first input; of K and Θ between both, whose symbols are ``both``.
    """

    states: tuple[int, ...]
    fixed: sp.Expr | None
    repeats: bool
    first: tuple[sp.Symbol, ...]
    second: tuple[sp.Symbol, ...]
    both: tuple[sp.Symbol, ...]
    own: tuple[OwnMean, ...]
    pairs: tuple[PairMean, ...]
    own_rates: tuple[sp.Expr, ...]
    pair_rates: tuple[sp.Expr, ...]


def depends_on_depth(architecture: Recipe) -> bool:
    """Whether the law of its weights does."""
    return any(isinstance(s, Matrix) and s.weights.has(time) for s in architecture.program().statements)


def pair_flow(architecture: Recipe, tangent: bool) -> PairFlow:
    """Derive the flow of a generic pair of inputs and take it apart.

    Parameters
    ----------
    architecture : Recipe
        With numbers for its parameters.
    tangent : bool
        Whether the tangent kernel is followed too.

    Raises
    ------
    DerivationError
        If a parameter has no number yet, positions are coupled, or a mean has no rule.

    Examples
    --------
    >>> from derivations import ResNet, relu
    >>> flow = pair_flow(ResNet(relu, sp.oo), tangent=False)
    >>> [len(flow.own), len(flow.pairs), flow.repeats]
    [1, 1, True]
    """
    program = architecture.program()
    if program.has_positions:
        raise DerivationError(
            "the flow couples all positions of an input, not pairs of inputs alone; kernel matrices over positions are integrated for "
            "ConvResNet only: take the flow itself, derive(net).limit, for few positions"
        )
    if tangent:
        require_slopes(program)
    kernel = kernel_flow(program, 2, evaluate=False)
    flow = tangent_flow(program, 2, evaluate=False) if tangent else kernel
    if flow.parameters:
        named = ", ".join(sorted(map(str, flow.parameters)))
        raise DerivationError(
            f"expected numbers in the architecture, got the symbols {named}; substitute values for them"
        )
    rates = dict(zip(flow.states, flow.drift, strict=True))
    states = tuple(k for k, s in enumerate(_FIRST) if s in rates)
    lower = _Lowering()
    own = [lower(rates[_FIRST[k]]) for k in states]
    both = [lower(rates[s]) for s in _BOTH[: 1 + tangent]]
    first = [_FIRST[k] for k in states]
    second = [_SECOND[k] for k in states]
    names = [[o.names[side] for o in lower.own] for side in (0, 1)]
    return PairFlow(
        states,
        kernel.fixed[0][1] if kernel.fixed else None,
        _repeats(rates, tangent, bool(kernel.fixed)),
        (*first, *names[0]),
        (*second, *names[1]),
        _BOTH[: 1 + tangent],
        tuple(lower.own),
        tuple(lower.pairs),
        tuple(own),
        tuple(both),
    )


def _repeats(rates: Mapping[sp.Symbol, sp.Expr], tangent: bool, fixed: bool) -> bool:
    """Whether a pair of equal inputs moves as each of them, as it does where they share all that is drawn."""
    together = {**_ALONE, _K[0, 1]: _K[0, 0], _T[0, 1]: _T[0, 0]}
    if fixed:
        return False
    found = ((_K[0, 1], _K[0, 0]), (_T[0, 1], _T[0, 0]))[: 1 + tangent]
    return all(sp.expand(evaluated(rates[pair].xreplace(together)) - evaluated(rates[own])) == 0 for pair, own in found)
