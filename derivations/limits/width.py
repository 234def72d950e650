r"""Infinite width: before infinite depth, or after it."""

from __future__ import annotations

from dataclasses import dataclass

import sympy as sp

from derivations.architectures.base import Recipe
from derivations.diffusion import Flow, NeuronDiffusion
from derivations.errors import DerivationError, NotClosed
from derivations.language import Program
from derivations.limits.elimination.held import released
from derivations.limits.elimination.labels import by_pattern, matrix_labels, permuted
from derivations.limits.elimination.moments import LayerMoments, state_averages
from derivations.limits.gram import gram_matrix, upper
from derivations.limits.meanfield import MeanFieldLaw, mean_symbols
from derivations.sums import CoordinateSum


@dataclass(frozen=True)
class KernelFlow(Flow):
    r"""The flow of a layer's Gaussian neurons: of their second moments, and of their means where these move.

    Parameters
    ----------
    means : tuple of Symbol
        The states that are means; empty where all neurons stay centred.
    """

    means: tuple[sp.Symbol, ...] = ()


def width_limit(architecture: Recipe) -> KernelFlow:
    """Limit of infinite width, then of infinite depth; see :func:`kernel_flow`."""
    return kernel_flow(architecture.program(), architecture.coordinates)


def kernel_flow(program: Program, inputs: int = 1) -> KernelFlow:
    r"""Infinite width, then infinite depth: the flow of the second moments K of the neurons, and of their means where they move.

    Neurons are i.i.d. Gaussian vectors over the inputs and stay so if one layer adds noise that does not depend on the
    neuron's own state, and a drift at most affine in it.

    Raises
    ------
    NotClosed
        If they do not stay Gaussian.
    NoLimit
        If the second moments move at a lower order than a layer's time.
    """
    few = inputs if program.has_positions else min(inputs, 2)
    layer = LayerMoments(program, few, infinite=True)
    layer.at_rest()
    x, generic, kernel = layer.states, gram_matrix(few, "K"), gram_matrix(inputs, "K")
    drift = [layer.drift(a) for a in range(few)]
    pairs = [(0, b) for b in range(min(few, 2))] if program.is_exchangeable(inputs) else upper(few)
    _require_gaussian(drift, [layer.covariance(a, b) for a, b in pairs], x)
    mean_field = MeanFieldLaw(sp.ImmutableMatrix.zeros(few, 1), generic)
    at_zero = dict.fromkeys(x, sp.S.Zero)
    means: tuple[sp.Symbol, ...] = ()
    names = [(generic, kernel)]
    if any(gaussian_averages(d.xreplace(at_zero), mean_field, x) != 0 for d in drift):
        mean_field = MeanFieldLaw(mean_symbols(few), generic)
        means = tuple(mean_symbols(inputs))
        names.append((mean_field.mean, mean_symbols(inputs)))
    fixed = {entry: layer.fixed_powers[2] for entry in generic.diagonal() if 2 in layer.fixed_powers}

    def speed(a: int) -> sp.Expr:
        return sp.expand(gaussian_averages(layer.average(drift[a]), mean_field, x))

    def velocity(a: int, b: int) -> sp.Expr:
        return sp.expand(gaussian_averages(layer.product(a, b), mean_field, x)).xreplace(fixed)

    if program.is_exchangeable(inputs):
        renamed, more = permuted(matrix_labels(*names), few), inputs > few
        speed, velocity = by_pattern(speed, renamed, more), by_pattern(velocity, renamed, more)
    known = [(a, b) for a, b in upper(inputs) if a != b or 2 not in layer.fixed_powers]
    rates = [*(speed(a) for a in range(inputs) if means), *(velocity(*pair) for pair in known)]
    return KernelFlow((*means, *(kernel[pair] for pair in known)), sp.ImmutableMatrix(rates), means=means)


def _require_gaussian(drift: list[sp.Expr], covariance: list[sp.Expr], x: tuple[sp.Symbol, ...]) -> None:
    affine = all(sp.diff(d, a, b) == 0 for d in drift for a in x for b in x)
    if not affine or any(c.free_symbols & set(x) for c in covariance):
        raise NotClosed(
            "at infinite width neurons stay Gaussian only if their noise is free of the neuron's own state and their drift at "
            f"most affine in it, got the drift {drift[0]} and the variance {covariance[0]}; take the depth limit at a finite "
            "width instead"
        )


def gaussian_averages(expr: sp.Expr, mean_field: MeanFieldLaw, x: tuple[sp.Symbol, ...]) -> sp.Expr:
    """Averages over infinitely many Gaussian neurons."""
    while nodes := state_averages(expr):
        node = nodes[0]
        used = {a: v for a, v in enumerate(x) if node.body.has(v)}
        if len(used) > 2:
            raise DerivationError(f"no rule is known for the Gaussian mean of {node.body} over {len(used)} inputs")
        expr = expr.xreplace({node: mean_field.average(released(node.body), used)})
    return expr


def mean_field_limit(limit: NeuronDiffusion) -> KernelFlow:
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
    affine = all(not e.diff(x, y).has(*own) and e.diff(x, y) == 0 for e in limit.neuron_drift for x in own for y in own)
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
            return sp.expand(entry.xreplace({s: average(s) for s in entry.atoms(CoordinateSum)}))

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
    return KernelFlow((*means, *(kernel[a, b] for a, b in pairs)), rates, means=means)
