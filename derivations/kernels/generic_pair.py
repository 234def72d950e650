r"""The kernel flow of a generic pair of inputs in parts: means over one neuron, means over pairs, filters, and formulas of all these.

The derivation leaves Gaussian means as nodes (``evaluate=False``). Each is brought to a mean of a function without parameters: what
scales or shifts its argument, as a norm does, goes into the Gaussian's mean and variance. What depends on one input alone is said once,
for the first input. Where positions meet in filters only, the flow is that at one generic position of each input, and what a filter reads is a
node too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeAlias

import sympy as sp

from derivations.activations.base import Activation
from derivations.architectures.base import Recipe
from derivations.errors import DerivationError, brief
from derivations.gaussian import GaussianExpectation, GaussianPairExpectation, expect
from derivations.gaussian.finite import is_odd
from derivations.kernels.flows import require_slopes
from derivations.kernels.means import MEAN, VARIANCE, degree
from derivations.language.filters import Tap
from derivations.language.statements import Mask, Program
from derivations.limits.elimination.averages import FilterAverage
from derivations.limits.gram import gram_matrix
from derivations.limits.meanfield import mean_symbols
from derivations.limits.tangents import tangent_flow
from derivations.limits.width import kernel_flow
from derivations.symbols import time

_K, _M, _T = gram_matrix(2, "K"), mean_symbols(2), gram_matrix(2, "Theta")
#: M, K and Θ of each of both inputs.
_FIRST, _SECOND = ((_M[a], _K[a, a], _T[a, a]) for a in (0, 1))
_ALONE = dict(zip(_SECOND, _FIRST, strict=True))
_BOTH = (_K[0, 1], _T[0, 1])
_Z = sp.Symbol("z", real=True)
_MOST = 8  # scales and shifts taken out of a function one after the other


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
class OwnFilter:
    """What a filter reads of one input: names for the first and the second input, which filter, its tag, and what is read."""

    names: tuple[sp.Symbol, sp.Symbol]
    filter: int
    tag: sp.Tuple
    inside: sp.Expr


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


@dataclass(frozen=True)
class PairFilter:
    """What a filter reads of a pair of inputs; the tag is that of the same part for one input."""

    name: sp.Symbol
    filter: int
    tag: sp.Tuple
    inside: sp.Expr


Own: TypeAlias = OwnMean | OwnFilter
Both: TypeAlias = PairMean | PairFilter


class _Lowering:
    """Expressions with names in the place of Gaussian means and filters."""

    def __init__(self) -> None:
        self.own: list[Own] = []
        self.pairs: list[Both] = []
        self.swap: dict[sp.Expr, sp.Expr] = dict(_ALONE)
        self.known: dict[sp.Expr, sp.Expr] = {}

    def __call__(self, expr: sp.Expr) -> sp.Expr:
        """Names for the means in an expression, innermost first."""
        if expr not in self.known:
            self.known[expr] = self._lowered(expr)
        return self.known[expr]

    def _lowered(self, expr: sp.Expr) -> sp.Expr:
        if isinstance(expr, GaussianExpectation):
            mean, variance = map(self, expr.args[1:])
            factor, function, slope, shift = standard_form(expr.args[0])
            return factor * self._one(function, slope * mean + shift, slope**2 * variance)
        if isinstance(expr, GaussianPairExpectation):
            return self._two(expr)
        if isinstance(expr, FilterAverage):
            return self._filter(expr)
        if not expr.has(GaussianExpectation, GaussianPairExpectation, FilterAverage):
            return expr
        return expr.func(*map(self, expr.args))

    def _names(self, stem: str) -> tuple[sp.Symbol, sp.Symbol]:
        names = sp.Dummy(f"{stem}_1", real=True), sp.Dummy(f"{stem}_2", real=True)
        self.swap[names[1]] = names[0]
        return names

    def _one(self, function: sp.Expr, mean: sp.Expr, variance: sp.Expr) -> sp.Expr:
        law, side = self._alone(sp.Tuple(mean, variance))
        for known in self.own:
            if isinstance(known, OwnMean) and (known.function, known.mean, known.variance) == (function, *law):
                return known.names[side]
        self.own.append(OwnMean(self._names("e"), function, *law))
        return self.own[-1].names[side]

    def _filter(self, node: FilterAverage) -> sp.Expr:
        inside, (_, which, tag, places) = self(node.body), node.args
        if not node.is_own:
            self.pairs.append(PairFilter(sp.Dummy("g", real=True), int(which), tag, inside))
            return self.pairs[-1].name
        (moved,), _ = self._alone(sp.Tuple(inside))
        side = int(places[0])
        for known in self.own:
            if isinstance(known, OwnFilter) and (known.filter, known.tag, known.inside) == (int(which), tag, moved):
                return known.names[side]
        self.own.append(OwnFilter(self._names("g"), int(which), tag, moved))
        return self.own[-1].names[side]

    def _two(self, node: sp.Expr) -> sp.Expr:
        first, covariance, second = map(self, node.args[2:])
        factor = sp.S.One
        sides: list[tuple[int | None, sp.Expr, tuple[sp.Expr, ...]]] = []
        for function, own in zip(node.args[:2], (first, second), strict=True):
            scale, bare, slope, shift = standard_form(function)
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
        found = PairMean(sp.Dummy("p", real=True), tuple(functions), tuple(laws), covariance)  # type: ignore[arg-type]
        for known in self.pairs:
            if isinstance(known, PairMean) and replace(found, name=known.name) == known:
                return factor * known.name
        self.pairs.append(found)
        return factor * found.name

    def _alone(self, law: sp.Tuple) -> tuple[sp.Tuple, int]:
        """An expression of one input as that of the first, and which input it was."""
        moved = law.xreplace(self.swap)
        both = law.free_symbols - {time} - set(self.swap) - set(self.swap.values())
        if both or (moved != law and law.free_symbols & set(self.swap.values())):
            raise DerivationError(
                f"the flow holds a mean over neurons whose law, {law}, depends on both inputs together"
            )
        return moved, int(moved != law)


def standard_form(function: sp.Lambda) -> tuple[sp.Expr, sp.Expr, sp.Expr, sp.Expr]:
    """A factor c, a function h without parameters, a slope a and a shift b, so that the function is c h(a z + b)."""
    body, factor, scale, moved = _exponentials_joined(function(_Z)), sp.S.One, sp.S.One, sp.S.Zero
    for _ in range(_MOST):
        if not body.free_symbols - {_Z}:
            return factor, body, scale, moved
        outside, inside = _parameters_outside(body)
        if outside.free_symbols:
            factor, body = factor * outside, inside
            continue
        move = next(filter(None, map(_move, _arguments(body))), None)
        if move is None:
            break
        slope, shift = move
        changed = body.xreplace({_Z: (_Z - shift) / slope}).replace(
            lambda e: e.is_Relational, lambda e: e.func(sp.expand(e.lhs - e.rhs), 0)
        )
        body = changed.replace(
            lambda e: e.is_Add or e.is_Mul or e.is_Pow,
            lambda e: sp.expand(e) if e.is_polynomial(_Z) else sp.expand_mul(e),
        ).replace(_is_exponential, _constant_outside)
        scale, moved = slope * scale, slope * moved + shift
    raise DerivationError(
        f"the mean of {function(_Z)} has no rule: averages over the layer may shift or scale what a function reads, as norms do, "
        f"but here {', '.join(sorted(map(str, body.free_symbols - {_Z})))} enters in another way"
    )


def _is_exponential(e: sp.Basic) -> bool:
    return isinstance(e, sp.exp)


def _exponentials_joined(body: sp.Expr) -> sp.Expr:
    """With one exponential in the place of a product of them: expansion takes e^{-(z + m)} apart."""

    def joined(product: sp.Expr) -> sp.Expr:
        exponentials, others = sp.sift(product.args, _is_exponential, binary=True)
        return sp.Mul(*others, sp.exp(sp.Add(*(e.args[0] for e in exponentials))))

    return body.replace(lambda e: e.is_Mul and sum(map(_is_exponential, e.args)) > 1, joined)


def _constant_outside(e: sp.Expr) -> sp.Expr:
    """An exponential with its constant as a factor."""
    constant, rest = e.args[0].as_independent(_Z, as_Add=True)
    return sp.exp(constant) * sp.exp(rest)


def _parameters_outside(body: sp.Expr) -> tuple[sp.Expr, sp.Expr]:
    """A factor without z, which all terms of a sum or all pieces of a function with kinks may have, and the rest."""
    outside, inside = body.as_independent(_Z, as_Add=False)
    factors = []
    for factor in sp.Mul.make_args(inside):
        if factor.is_Pow and factor.base.is_Add and factor.exp.is_Integer:  # a denominator
            shared, base = _parameters_outside(factor.base)
            outside *= shared**factor.exp
            factors.append(base**factor.exp)
            continue
        parts = [part for part in _terms(factor) if part not in (0, factor)]
        common = {_symbolic(_parameters_outside(part)[0]) for part in parts}
        if len(common) == 1:
            (shared,) = common
            outside, factor = outside * shared, _divided(factor, shared)
        factors.append(factor)
    return outside, sp.Mul(*factors)


def _symbolic(factor: sp.Expr) -> sp.Expr:
    """Without numbers."""
    symbols = factor.free_symbols
    return factor.as_independent(*symbols, as_Add=False)[1] if symbols else sp.S.One


def _terms(factor: sp.Expr) -> tuple[sp.Expr, ...]:
    if isinstance(factor, sp.Piecewise):
        return tuple(value for value, _ in factor.args)
    return factor.args if factor.is_Add else (factor,)


def _divided(factor: sp.Expr, by: sp.Expr) -> sp.Expr:
    """Term by term."""
    if isinstance(factor, sp.Piecewise):
        return sp.Piecewise(*((_divided(value, by), condition) for value, condition in factor.args))
    return sp.Add(*(term / by for term in factor.args)) if factor.is_Add else factor / by


def _arguments(body: sp.Expr) -> Iterator[sp.Basic]:
    """What a body is a function of: where it changes its form, then arguments of functions, then any sum or product."""
    yield from (e.lhs - e.rhs for e in sorted(body.atoms(sp.core.relational.Relational), key=sp.default_sort_key))
    parts = list(sp.preorder_traversal(body))
    yield from (arg for e in parts if isinstance(e, sp.Function | sp.Pow) for arg in e.args)
    yield from parts


def _move(e: sp.Basic) -> tuple[sp.Expr, sp.Expr] | None:
    """Parameters s and r, not 1 and 0, so that an argument is a number times (s z + r)^p beside a constant."""
    if not isinstance(e, sp.Expr) or not e.has(_Z) or not e.free_symbols - {_Z} or not e.is_polynomial(_Z):
        return None
    power, (whole, second, *_) = sp.degree(e, _Z), sp.Poly(e, _Z).all_coeffs()
    slope = _symbolic(whole) ** sp.Rational(1, power)  # numbers stay in the function, so that rules know it
    shift = sp.expand(second * slope / (power * whole))  # a z^p + b z^(p-1) + ... = a (z + b / (p a))^p + ...
    rest = sp.expand(e - whole / slope**power * (slope * _Z + shift) ** power)
    return None if rest.has(_Z) or (slope, shift) == (1, 0) else (slope, shift)


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
        The means and filters, in an order in which each holds earlier ones only.
    own_rates, pair_rates : tuple of Expr
        Of the states of the first input; of K and Θ between both, whose symbols are ``both``.
    filters : tuple
        For each filter what its weights read, coordinate by coordinate of one input.
    """

    states: tuple[int, ...]
    fixed: sp.Expr | None
    repeats: bool
    first: tuple[sp.Symbol, ...]
    second: tuple[sp.Symbol, ...]
    both: tuple[sp.Symbol, ...]
    own: tuple[Own, ...]
    pairs: tuple[Both, ...]
    own_rates: tuple[sp.Expr, ...]
    pair_rates: tuple[sp.Expr, ...]
    filters: tuple[tuple[Tap, ...], ...] = ()

    @property
    def moving(self) -> bool:
        """Whether the means of neurons move."""
        return 0 in self.states

    @property
    def centred(self) -> bool:
        """Whether all neurons in means over pairs are."""
        return all(law[0] == 0 for p in self.pairs if isinstance(p, PairMean) for law in p.laws)

    @cached_property
    def needed(self) -> frozenset[int]:
        """The steps for one input whose values the steps for pairs, or what filters read of a pair with itself, are made of."""
        parts: list[sp.Basic] = [*self.pair_rates]
        for p in self.pairs:
            parts += [sp.Tuple(*p.laws[0], *p.laws[1], p.covariance)] if isinstance(p, PairMean) else [p.inside]
        wanted = set().union(*(part.free_symbols for part in parts))
        tags = {(p.filter, p.tag) for p in self.pairs if not isinstance(p, PairMean)}
        found = set()
        for k, o in reversed(list(enumerate(self.own))):
            if wanted & set(o.names) or (not isinstance(o, OwnMean) and (o.filter, o.tag) in tags):
                found.add(k)
                wanted |= sp.Tuple(o.mean, o.variance).free_symbols if isinstance(o, OwnMean) else o.inside.free_symbols
        return frozenset(found)

    @property
    def generator(self) -> sp.ImmutableMatrix:
        """Of (1, K, Θ) between both inputs, where these move by an affine equation."""
        equations = sp.Matrix(self.pair_rates)
        constant, slopes = equations.subs(dict.fromkeys(self.both, 0)), equations.jacobian(self.both)
        return sp.ImmutableMatrix(sp.zeros(1, 1 + len(self.both)).col_join(constant.row_join(slopes)))

    @property
    def joint_laws(self) -> list[tuple[sp.Expr, ...]]:
        """Of each mean over a pair: both variances and the covariance between them."""
        second = dict(zip(self.first, self.second, strict=True))
        means = [p for p in self.pairs if isinstance(p, PairMean)]
        return [(p.laws[0][1], p.covariance, p.laws[1][1].xreplace(second)) for p in means]

    @cached_property
    def linear(self) -> bool:
        """Whether K and Θ between both inputs move by an affine equation that is the same for all inputs."""
        known = {*self.both, time}
        return (
            not self.filters
            and not self.pairs
            and self.fixed is None
            and self.repeats
            and all(e.free_symbols <= known and sp.Poly(e, *self.both).total_degree() <= 1 for e in self.pair_rates)
        )

    @cached_property
    def odd(self) -> bool:
        """Whether the kernels of x and -y are minus those of x and y."""
        turned: dict[sp.Expr, sp.Expr] = {s: -s for s in self.both}
        if not self.repeats or self.filters:
            return False
        for pair in self.pairs:
            assert isinstance(pair, PairMean)
            parities = {_parity(f) for f in pair.functions}
            change = sp.expand(pair.covariance.xreplace(turned) + pair.covariance)
            if len(parities) > 1 or None in parities or change != 0 or any(law[0] != 0 for law in pair.laws):
                return False
            if 1 in parities:
                turned[pair.name] = -pair.name
        return all(sp.expand(e.xreplace(turned) + e) == 0 for e in self.pair_rates)

    @cached_property
    def scale_free(self) -> bool:
        r"""Whether K and Θ of inputs scaled by a and b are ab times those of the inputs.

        Then :math:`K_{\alpha\beta}/\sqrt{K_{\alpha\alpha}K_{\beta\beta}}` has an equation of its own, the same for all pairs: that of inputs of size 1.
        """
        if self.filters or self.fixed is not None or self.moving or not self.repeats:
            return False
        scales = sp.Dummy("a", positive=True), sp.Dummy("b", positive=True)
        sizes: dict[sp.Expr, sp.Expr] = {s: s * scales[0] * scales[1] for s in self.both}
        sizes |= {s: s * a**2 for row, a in zip((_FIRST, _SECOND), scales, strict=True) for s in row[1:]}
        for own in self.own:
            assert isinstance(own, OwnMean)
            power = degree(own.activation)
            factor = _scaled_by(own.variance, sizes)
            if power is None or factor is None or own.mean != 0:
                return False
            one = factor ** (power / 2)
            sizes[own.names[0]] = own.names[0] * one
            sizes[own.names[1]] = own.names[1] * one.xreplace({scales[0]: scales[1]})
        for pair in self.pairs:
            assert isinstance(pair, PairMean)
            across = _scaled_by(pair.covariance, sizes)
            factor = sp.S.One
            if across is None or any(law[0] != 0 for law in pair.laws):
                return False
            variances = pair.laws[0][1], pair.laws[1][1].xreplace(dict(zip(self.first, self.second, strict=True)))
            for activation, variance in zip(pair.activations, variances, strict=True):
                power, size = degree(activation), _scaled_by(variance, sizes)
                if power is None or size is None:
                    return False
                across /= sp.sqrt(size)
                factor *= size ** (power / 2)
            if sp.powdenest(across) != 1:
                return False
            sizes[pair.name] = pair.name * factor
        own_rates = [_scaled_by(e, sizes) for e in self.own_rates if e != 0]
        pair_rates = [_scaled_by(e, sizes) for e in self.pair_rates if e != 0]
        return all(f == scales[0] ** 2 for f in own_rates) and all(f == scales[0] * scales[1] for f in pair_rates)


def _scaled_by(expr: sp.Expr, sizes: dict[sp.Expr, sp.Expr]) -> sp.Expr | None:
    """The factor that comes out of an expression when its symbols are scaled; None where none does."""
    moved = sp.powdenest(sp.expand(expr.xreplace(sizes)))
    ratio = sp.cancel(sp.powsimp(sp.expand(moved / expr))) if expr.is_Add else sp.powsimp(moved / expr)
    ratio = sp.powdenest(ratio)
    return None if ratio.free_symbols & set(sizes) or ratio.has(time) else ratio


def _parity(function: sp.Expr) -> int | None:
    """1 for an odd function, 0 for an even one."""
    if is_odd(function, _Z):
        return 1
    return 0 if not function.has(_Z) or is_odd(_Z * function, _Z) else None


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
        If a parameter has no number yet, positions are coupled by more than filters, or a mean has no rule.

    Examples
    --------
    >>> from derivations import ResNet, relu
    >>> flow = pair_flow(ResNet(relu, sp.oo), tangent=False)
    >>> [len(flow.own), len(flow.pairs), flow.repeats]
    [1, 1, True]
    """
    program = replace(architecture, inputs=1).program()
    filters = tuple(w.taps for w in program.filters)
    if program.has_positions:
        _require_filters(program)
        program = program.at_one_position()
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
    # equal inputs that see the same draws are in the same state
    repeats = not any(isinstance(s, Mask) and not s.shared for s in program.statements)
    return PairFlow(
        states,
        kernel.fixed[0][1] if kernel.fixed else None,
        repeats,
        (*first, *names[0]),
        (*second, *names[1]),
        _BOTH[: 1 + tangent],
        tuple(lower.own),
        tuple(lower.pairs),
        tuple(own),
        tuple(both),
        filters,
    )


def _require_filters(program: Program) -> None:
    """Positions meet in filters only, and positions of one input move as those of two do."""
    if program.has_pairs:
        raise DerivationError(
            "the flow couples all positions of an input, not pairs of positions alone: take derivations.kernels.coupled"
        )
    if any(isinstance(s, Mask) and s.over is None and not s.shared for s in program.statements):
        raise DerivationError(
            "a branch that is dropped for each input on its own is dropped for all of its positions together, which kernel matrices over "
            "positions do not follow; use drop_branch(..., shared=True)"
        )
