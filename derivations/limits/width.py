r"""Infinite width: before infinite depth, or after it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import sympy as sp

from derivations.affine import is_affine
from derivations.architectures.base import Recipe
from derivations.diffusion import Flow, NeuronDiffusion
from derivations.errors import NotClosed, brief, require
from derivations.gaussian import GaussianPairExpectation, SoftmaxMean
from derivations.gaussian.pair import are_sums, has_quotients
from derivations.language import Program
from derivations.limits.elimination.averages import LayerAverage
from derivations.limits.elimination.continuity import at_means
from derivations.limits.elimination.heads import heads
from derivations.limits.elimination.held import released
from derivations.limits.elimination.labels import (
    Exchange,
    by_pattern,
    generic_labels,
    matrix_labels,
    permuted,
    softmax_labels,
)
from derivations.limits.elimination.moments import LayerMoments, evaluated, state_averages
from derivations.limits.gram import gram_matrix, upper
from derivations.limits.meanfield import MeanFieldLaw, mean_symbols
from derivations.limits.slopes import require_real
from derivations.sums import CoordinateSum


@dataclass(frozen=True, repr=False)
class KernelFlow(Flow):
    r"""The flow of a layer's Gaussian neurons: of their second moments, and of their means where these move.

    Parameters
    ----------
    means : tuple of Symbol
        The states that are means; empty where all neurons stay centred.
    fixed : tuple of (Symbol, Expr)
        Diagonal entries that every layer fixes, as a norm at its end does, and their values.
    second : tuple of Matrix
        K with these values in it, and the second moments of tangents where they are followed.
    """

    means: tuple[sp.Symbol, ...] = ()
    fixed: tuple[tuple[sp.Symbol, sp.Expr], ...] = ()
    second: tuple[sp.ImmutableMatrix, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.fixed, sp.MatrixBase):  # as pairs are read back from JSON
            object.__setattr__(self, "fixed", tuple(map(tuple, self.fixed.tolist())))


def width_limit(architecture: Recipe) -> KernelFlow:
    """Limit of infinite width, then of infinite depth; see :func:`kernel_flow`."""
    require("the architecture", architecture, Recipe, "a network such as ResNet(relu, width=sp.oo)")
    return kernel_flow(architecture.program(), architecture.coordinates)


def kernel_flow(program: Program, inputs: int = 1, evaluate: bool = True) -> KernelFlow:
    r"""Infinite width, then infinite depth: the flow of the second moments K of the neurons, and of their means where they move.

    Neurons are i.i.d. Gaussian vectors over the inputs and stay so if one layer adds noise that does not depend on the
    neuron's own state, and a drift at most affine in it. Entries that every layer fixes, as a norm at the end of a layer fixes
    the diagonal, are no states.

    Parameters
    ----------
    program : Program
    inputs : int
    evaluate : bool
        Whether Gaussian means are brought to closed forms where one is known; else all are nodes.

    Raises
    ------
    NotClosed
        If they do not stay Gaussian.
    NoLimit
        If the second moments move at a lower order than a layer's time.
    """
    require_real(program)
    exchange = Exchange.of(program)
    few = inputs if heads(program) else exchange.few(inputs, 2)
    field, kernel = MeanFieldLayer.of(program, few), gram_matrix(inputs, "K")
    layer, names = field.layer, [(gram_matrix(few, "K"), kernel)]
    means = mean_symbols(inputs)
    if field.moving:
        names.append((field.law.mean, means))

    def speed(a: int) -> sp.Expr:
        return field.closed(layer.average(layer.drift(a)), evaluate)

    def velocity(a: int, b: int) -> sp.Expr:
        return field.closed(layer.product(a, b), evaluate)

    renamed, more = permuted(softmax_labels(matrix_labels(*names)), few), inputs > few
    speed = by_pattern(speed, renamed, exchange, more)
    velocity = by_pattern(velocity, renamed, exchange, more, lambda a, b: ((a, b), (b, a)))
    known = [(a, b) for a, b in upper(inputs) if a != b or not field.fixed]
    rates = [*(speed(a) for a in range(inputs) if field.moving), *(velocity(*pair) for pair in known)]
    moved = tuple(means) if field.moving else ()
    fixed = tuple((entry, value) for value in {*field.fixed.values()} for entry in kernel.diagonal())
    states = (*moved, *(kernel[pair] for pair in known))
    known_matrix = kernel.xreplace(dict(fixed))
    return KernelFlow(states, sp.ImmutableMatrix(rates), means=moved, fixed=fixed, second=(known_matrix,))


@dataclass(frozen=True)
class MeanFieldLayer:
    """One layer of infinitely many neurons, Gaussian over a few inputs.

    Parameters
    ----------
    layer : LayerMoments
    law : MeanFieldLaw
        A neuron's law in the symbols of K, and of M where the means move.
    moving : bool
        Whether they do.
    fixed : dict
        Diagonal entries that every layer fixes, and their values.
    """

    layer: LayerMoments
    law: MeanFieldLaw
    moving: bool
    fixed: dict[sp.Symbol, sp.Expr]

    @classmethod
    def of(cls, program: Program, inputs: int) -> MeanFieldLayer:
        """Of a layer that does nothing when the small parameter is 0, and keeps neurons Gaussian."""
        layer, kernel = LayerMoments(program, inputs, infinite=True), gram_matrix(inputs, "K")
        layer.at_rest()
        exchange = Exchange.of(program)
        drift = [layer.drift(a) for (a,) in exchange.different((a,) for a in range(inputs))]
        # coordinates that are alike have covariances that are alike
        pairs = dict.fromkeys(generic_labels(((a, b), (b, a)), exchange)[0] for a, b in upper(inputs))
        require_gaussian(drift, [layer.covariance(a, b) for a, b in pairs], layer.states)
        require_independent((layer.between(a, b) for a, b in pairs), cls.centred(layer))
        fixed = {entry: layer.fixed_powers[2] for entry in kernel.diagonal() if 2 in layer.fixed_powers}
        at_rest = replace(cls.centred(layer), fixed=fixed)
        origin = dict.fromkeys(layer.states, sp.S.Zero)
        if all(at_rest.closed(d.xreplace(origin), True) == 0 for d in drift):
            return at_rest
        return replace(cls.shifted(layer), fixed=fixed)

    @classmethod
    def centred(cls, layer: LayerMoments) -> MeanFieldLayer:
        """With neurons whose means are 0."""
        inputs = len(layer.states)
        return cls(layer, MeanFieldLaw(sp.ImmutableMatrix.zeros(inputs, 1), gram_matrix(inputs, "K")), False, {})

    @classmethod
    def shifted(cls, layer: LayerMoments) -> MeanFieldLayer:
        """With neurons whose means move."""
        inputs = len(layer.states)
        return cls(layer, MeanFieldLaw(mean_symbols(inputs), gram_matrix(inputs, "K")), True, {})

    def closed(self, expr: sp.Expr, evaluate: bool, states: Sequence[sp.Symbol] = ()) -> sp.Expr:
        """Averages over infinitely many Gaussian neurons, as closed forms where these are known and wanted.

        Parameters
        ----------
        states : sequence of Symbol
            A neuron's, if they are called otherwise than in the layer.
        """
        expr = released(expr)
        # what a softmax is of stays as it is, and its matrices are the same in many means
        means = {node: sp.Dummy("E", real=True) for node in _outermost_means(expr)}
        if means:
            inside = self.closed(expr.xreplace(means), evaluate, states)
            return inside.xreplace({name: self._closed_mean(node, evaluate, states) for node, name in means.items()})
        x = states or self.layer.states
        while nodes := state_averages(expr):
            own = [node for node in nodes if not state_averages(node.body)]
            functions = [*(node.body for node in nodes), *expr.atoms(sp.Lambda, sp.Piecewise)]
            inside = {inner for function in functions for inner in state_averages(function)}
            expr = at_means(expr, {node: self._average_of(node, x, node in inside) for node in own})
        expr = at_means(sp.expand(expr), self.fixed)
        return _evaluated(expr, self._values) if evaluate else expr

    def _closed_mean(self, node: SoftmaxMean, evaluate: bool, states: Sequence[sp.Symbol]) -> sp.Expr:
        def matrix(given: sp.ImmutableMatrix) -> sp.ImmutableMatrix:
            key = given, evaluate, tuple(states)
            if key not in self._matrices:
                self._matrices[key] = given.applyfunc(lambda entry: self.closed(entry, evaluate, states))
            return self._matrices[key]

        found = node.with_tables(*map(matrix, (*node.args[2:5], *node.tables)))
        if isinstance(found, SoftmaxMean) and found.means and found.neurons == sp.oo:
            found.joint()  # says why there is none
        return found

    @cached_property
    def _matrices(self) -> dict[object, sp.ImmutableMatrix]:
        return {}

    @cached_property
    def _values(self) -> dict[sp.Expr, sp.Expr]:
        return {}

    @cached_property
    def _averages(self) -> dict[object, sp.Expr]:
        return {}

    def _average_of(self, node: LayerAverage, x: Sequence[sp.Symbol], inside: bool) -> sp.Expr:
        """An average; inside another one it may be where a kink is, so its value must be known first."""
        key = node, tuple(x), inside
        if key not in self._averages:
            used = {a: v for a, v in enumerate(x) if node.body.has(v)}
            value = self.law.average(released(node.body), used, evaluate=inside)
            if inside and value.has(sp.Piecewise):
                raise NotClosed(
                    f"the average {node} has no closed form at infinite width and stands inside another one, whose kinks it may move"
                )
            self._averages[key] = value
        return self._averages[key]


def _evaluated(expr: sp.Expr, known: dict[sp.Expr, sp.Expr]) -> sp.Expr:
    """Multiplied out, with closed forms in the place of means; quotients over sums of covariances, as filters make them, stay.

    ``known`` holds the closed forms that were looked for before, as of :func:`evaluated`.
    """
    values = {node: node.doit() for node in expr.atoms(GaussianPairExpectation) if are_sums(node.args[2:])}
    whole = {node: sp.Dummy("E", real=True) for node, value in values.items() if has_quotients(value)}
    named = expr.xreplace(values | whole)
    return shorter(evaluated(named, known)).xreplace({name: values[node] for node, name in whole.items()})


def shorter(expr: sp.Expr) -> sp.Expr:
    """Multiplied out, which shows what cancels, or only its outermost products where that has fewer operations.

    Examples
    --------
    >>> x, y = sp.symbols("x y")
    >>> shorter((x + y) ** 2 - x**2), shorter(1 + (x + 2) / ((x + 1) * (y + 1)))
    (2*x*y + y**2, 1 + (x + 2)/((x + 1)*(y + 1)))
    """
    whole = sp.expand(expr)
    return whole if whole == 0 else min(whole, sp.expand_mul(expr, deep=False), key=sp.count_ops)


def _outermost_means(expr: sp.Expr) -> list[SoftmaxMean]:
    if isinstance(expr, SoftmaxMean):
        return [expr]
    return [node for arg in expr.args for node in _outermost_means(arg)] if isinstance(expr, sp.Expr) else []


def require_gaussian(drift: Sequence[sp.Expr], covariance: Sequence[sp.Expr], x: tuple[sp.Symbol, ...]) -> None:
    """Require that neurons of an infinitely wide layer stay Gaussian.

    Raises
    ------
    NotClosed
        If their noise depends on the neuron's own state, or their drift is not affine in it.
    """
    bent = [d for d in drift if not is_affine(d, x)]
    local = [c for c in covariance if c.free_symbols & set(x)]
    if bent or local:
        raise NotClosed(
            "at infinite width neurons stay Gaussian only if their noise is free of the neuron's own state and their drift at "
            f"most affine in it, got the drift {brief((bent or drift)[0])} and the variance {brief((local or covariance)[0])}; take the depth "
            "limit at a finite width instead"
        )


def require_independent(between: Iterable[sp.Expr], law: MeanFieldLayer) -> None:
    """Require that neurons of an infinitely wide layer do not move together.

    Raises
    ------
    NotClosed
        If what they add has a covariance, which is then that of a number that all of them share.
    """
    together = next((c for c in between if sp.expand(c) != 0 and sp.cancel(law.closed(c, True)) != 0), None)
    if together is not None:
        raise NotClosed(
            "at infinite width neurons are independent only if a layer adds no random number that all of them share, got the covariance "
            f"{brief(together)} of what two neurons add; take the depth limit at a finite width instead"
        )


def mean_field_limit(limit: NeuronDiffusion) -> Flow:
    r"""Infinite width after infinite depth: the flow of M and K for a :class:`NeuronDiffusion` whose width grows.

    By the law of large numbers :math:`\frac1n\sum_i g(X_i) \to \mathbb{E}\,g(X)`, with X one neuron. The neurons become
    independent, and by Itô's formula :math:`\dot M_\alpha = \mathbb{E}\,b_\alpha` and
    :math:`\dot K_{\alpha\beta} = \mathbb{E}[X^\alpha b_\beta + b_\alpha X^\beta] + G_{\alpha\beta}`. They are Gaussian if the drift is at
    most affine in the neuron's own state.

    Raises
    ------
    NotClosed
        If it is not: the neurons are then not Gaussian.
    """
    own = limit.neuron
    affine = all(is_affine(e, own) for e in limit.neuron_drift)
    if not affine or limit.neuron_covariance.has(*own):
        raise NotClosed(
            "the mean-field limit here needs neurons that stay Gaussian: a drift at most affine in the neuron's own state "
            f"and a covariance free of it, got {limit.neuron_drift.T} and {limit.neuron_covariance}"
        )
    size = limit.inputs
    kernel = gram_matrix(size, "K")

    def closed(mean_field: MeanFieldLaw) -> tuple[list[sp.Expr], sp.Matrix]:
        def average(s: CoordinateSum) -> sp.Expr:
            return limit.width * mean_field.average(s.body, dict(enumerate(s.bound_symbols)))

        def at(entry: sp.Expr) -> sp.Expr:
            return sp.expand(at_means(entry, {s: average(s) for s in entry.atoms(CoordinateSum)}))

        return [at(e) for e in limit.neuron_drift], limit.neuron_covariance.applyfunc(at)

    mean_field = MeanFieldLaw(sp.ImmutableMatrix.zeros(size, 1), kernel)
    drifts, noise_rates = closed(mean_field)
    origin = dict.fromkeys(own, sp.S.Zero)
    means: tuple[sp.Symbol, ...] = ()
    if any(drift.subs(origin) != 0 for drift in drifts):
        mean_field = MeanFieldLaw(mean_symbols(size), kernel)
        (drifts, noise_rates), means = closed(mean_field), tuple(mean_field.mean)

    def against(drift: sp.Expr, other: int) -> sp.Expr:
        linear = sp.Add(*(drift.diff(x) * kernel[k, other] for k, x in enumerate(own)))
        return linear + drift.subs(origin) * mean_field.mean[other]

    pairs = [(a, b) for a in range(size) for b in range(a, size)]
    speeds: list[sp.Expr] = (
        [sp.expand(drift.subs(dict(zip(own, means, strict=True)))) for drift in drifts] if means else []
    )
    velocities = [sp.expand(against(drifts[a], b) + against(drifts[b], a) + noise_rates[a, b]) for a, b in pairs]
    rates = sp.ImmutableMatrix([*speeds, *velocities])
    return KernelFlow((*means, *(kernel[a, b] for a, b in pairs)), rates, means=means, second=(kernel,))
