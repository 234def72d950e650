r"""Infinite width: before infinite depth, or after it."""

from __future__ import annotations

import sympy as sp

from derivations.architectures.base import Architecture, Layer
from derivations.diffusion import Flow, NeuronDiffusion
from derivations.errors import NoLimit, NotClosed
from derivations.limits.depth import taylor
from derivations.limits.meanfield import Population, gram_symbols, mean_symbols
from derivations.limits.wick import gaussian_mean
from derivations.sums import CoordinateSum
from derivations.symbols import noise, shift, state


def width_limit(architecture: Architecture) -> Flow:
    """Limit of infinite width, then of infinite depth; see :func:`width_flow`."""
    return width_flow(architecture.layer(), architecture.coordinates)


def width_flow(layer: Layer, inputs: int = 1) -> Flow:
    r"""The flow of the neurons' second moments K, and of their means M if they move, at infinite width, then depth.

    At infinite width the neurons of each layer are i.i.d. Gaussian vectors over the m coordinates, and what the weights
    add is independent of the state it is added to, with
    :math:`G = \sigma_b^2 + \sigma_w^2\,\mathbb{E}[\psi(X^\alpha)\psi(X^\beta)]` and
    :math:`m^\alpha = \mu_b + \mu_w\,\mathbb{E}\,\psi(X^\alpha)`. With :math:`\Delta` the increment,
    :math:`\dot M = \lim \varepsilon^{-2}\,\mathbb{E}\,\Delta` and
    :math:`\dot K_{\alpha\beta} = \lim \varepsilon^{-2}\,\mathbb{E}[\Delta^\alpha\Delta^\beta + X^\alpha\Delta^\beta + \Delta^\alpha X^\beta]`.

    Returns
    -------
    Flow
        In the means, if they move from 0, then the upper triangle of K, row by row.

    Raises
    ------
    NoLimit
        If the mean or the second moment moves by order :math:`\varepsilon` in one layer.
    NotClosed
        If the neurons do not stay Gaussian.
    """
    first, second = taylor(layer)
    _require_gaussian(first, second)
    kernel = gram_symbols(inputs)
    centred = Population(sp.ImmutableMatrix.zeros(inputs, 1), kernel)
    drifts = [_drift(layer, centred, second, a) for a in range(inputs)]
    if all(affine.subs(state, 0) == 0 for affine in drifts):
        return _flow(layer, centred, first, drifts, ())
    population = Population(mean_symbols(inputs), kernel)
    drifts = [_drift(layer, population, second, a) for a in range(inputs)]
    return _flow(layer, population, first, drifts, tuple(population.mean))


def _require_gaussian(first: sp.Expr, second: sp.Expr) -> None:
    if first.has(state) or sp.diff(second, state, 2) != 0:
        raise NotClosed(
            "at infinite width neurons stay Gaussian only if the increment is free of the neuron's own state at order ε and "
            f"at most affine in it at order ε², got {first} and {second}; take the depth limit at a finite width instead"
        )


def _drift(layer: Layer, population: Population, second: sp.Expr, a: int) -> sp.Expr:
    """The mean of one coordinate's increment at order ε², given its own state: affine in ``symbols.state``."""
    table = {(noise, noise): mean_field_covariance(layer, population, a, a)}
    given = second.subs(shift, mean_field_mean(layer, population, a)) if second.has(shift) else second
    return sp.expand(gaussian_mean(given, table))


def _flow(
    layer: Layer, population: Population, first: sp.Expr, drifts: list[sp.Expr], means: tuple[sp.Symbol, ...]
) -> Flow:
    mean, kernel, size = population.mean, population.second, population.second.rows

    def velocity(a: int, b: int) -> sp.Expr:
        # X Δ₂ + Δ₂ X: a drift c x + d against the other coordinate's moments
        moved = sp.S.Zero
        for i, j in ((a, b), (b, a)):
            slope, level = sp.diff(drifts[i], state), drifts[i].subs(state, 0)
            moved += slope * kernel[a, b] + level * mean[j]
        return sp.expand(moved + noise_product(layer, population, first, a, b))

    speeds = [sp.expand(drift.subs(state, m)) for drift, m in zip(drifts, means, strict=True)] if means else []
    pairs = [(a, b) for a in range(size) for b in range(a, size)]
    states = (*means, *(kernel[a, b] for a, b in pairs))
    return Flow(states, sp.ImmutableMatrix([*speeds, *(velocity(a, b) for a, b in pairs)]))


def noise_product(layer: Layer, population: Population, first: sp.Expr, a: int, b: int) -> sp.Expr:
    r"""The mean of :math:`\Delta^\alpha\Delta^\beta` at order :math:`\varepsilon^2`; the order :math:`\varepsilon` must average to 0."""
    ua, ub = sp.Dummy("u_a", real=True), sp.Dummy("u_b", real=True)
    if first == noise:
        return mean_field_covariance(layer, population, a, b)
    table = {
        (u, v): mean_field_covariance(layer, population, i, j)
        for u, i in ((ua, a), (ub, b))
        for v, j in ((ua, a), (ub, b))
    }
    if gaussian_mean(first.subs(noise, ua), table) != 0:
        raise NoLimit("the covariance moves by order ε in one layer; centre the branch or scale it by ε²")
    return gaussian_mean(sp.expand(first.subs(noise, ua) * first.subs(noise, ub)), table)


def mean_field_covariance(layer: Layer, population: Population, a: int, b: int) -> sp.Expr:
    r"""Pre-activation covariance at infinite width: the sum over n neurons becomes n expectations."""
    pre = layer.preactivation
    if pre.weight_variance == 0:
        return pre.bias_variance
    x, y = sp.Dummy("x", real=True), sp.Dummy("y", real=True)
    total = sp.S.Zero
    for i, j in pre.pairs(a, b):
        body = pre.inner(x) ** 2 if i == j else pre.inner(x) * pre.inner(y)
        total += population.average(body, {i: x} if i == j else {i: x, j: y})
    return pre.weight_variance * pre.share * total + pre.bias_variance


def mean_field_mean(layer: Layer, population: Population, a: int) -> sp.Expr:
    r"""Pre-activation shift at infinite width."""
    pre, x = layer.preactivation, sp.Dummy("x", real=True)
    if pre.weight_mean == 0:
        return pre.bias_mean
    total = sp.Add(*(population.average(pre.inner(x), {i: x}) for i in pre.reads(a)))
    return pre.weight_mean * pre.share * total + pre.bias_mean


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
    affine = all(not e.diff(x, y).has(*own) and e.diff(x, y) == 0 for e in limit.neuron_drift for x in own for y in own)
    if not affine or limit.neuron_covariance.has(*own):
        raise NotClosed(
            "the mean-field limit here needs neurons that stay Gaussian: a drift at most affine in the neuron's own state "
            f"and a covariance free of it, got {limit.neuron_drift.T} and {limit.neuron_covariance}"
        )
    size = limit.inputs
    kernel = gram_symbols(size)

    def closed(population: Population) -> tuple[list[sp.Expr], sp.Matrix]:
        def average(s: CoordinateSum) -> sp.Expr:
            return limit.width * population.average(s.body, dict(enumerate(s.bound_symbols)))

        def at(entry: sp.Expr) -> sp.Expr:
            return sp.expand(entry.xreplace({s: average(s) for s in entry.atoms(CoordinateSum)}))

        return [at(e) for e in limit.neuron_drift], limit.neuron_covariance.applyfunc(at)

    population = Population(sp.ImmutableMatrix.zeros(size, 1), kernel)
    drifts, noise_rates = closed(population)
    origin = dict.fromkeys(own, sp.S.Zero)
    means: tuple[sp.Symbol, ...] = ()
    if any(drift.subs(origin) != 0 for drift in drifts):
        population = Population(mean_symbols(size), kernel)
        (drifts, noise_rates), means = closed(population), tuple(population.mean)

    def against(drift: sp.Expr, other: int) -> sp.Expr:
        linear = sp.Add(*(drift.diff(x) * kernel[k, other] for k, x in enumerate(own)))
        return linear + drift.subs(origin) * population.mean[other]

    pairs = [(a, b) for a in range(size) for b in range(a, size)]
    speeds = [sp.expand(drift.subs(dict(zip(own, means, strict=True)))) for drift in drifts] if means else []
    velocities = [sp.expand(against(drifts[a], b) + against(drifts[b], a) + noise_rates[a, b]) for a, b in pairs]
    return Flow((*means, *(kernel[a, b] for a, b in pairs)), sp.ImmutableMatrix([*speeds, *velocities]))
