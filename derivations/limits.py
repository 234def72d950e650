r"""The algorithm: from a layer's recursion to its limit.

A network is a Markov chain in depth. With a small parameter :math:`\varepsilon` and one layer
taking :math:`\varepsilon^2` of time, the limit has

.. math:: b(x) = \lim_{\varepsilon \to 0} \varepsilon^{-2}\, \mathbb{E}[\Delta X \mid X = x], \qquad
          a(x) = \lim_{\varepsilon \to 0} \varepsilon^{-2}\, \mathrm{Cov}[\Delta X \mid X = x].

Given the state, the weights enter through Gaussians only, so both are Gaussian expectations
of the Taylor coefficients of the increment in :math:`\varepsilon`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import sympy as sp

from derivations.architectures.base import Architecture, Layer
from derivations.diffusion import Diffusion, Flow, Limit, NeuronDiffusion
from derivations.errors import DerivationError, NoLimit
from derivations.gaussian import expect, expect_pair
from derivations.sums import CoordinateSum, coordinate_sum
from derivations.symbols import input_symbols, noise, state, step

Covariance: TypeAlias = Mapping[tuple[sp.Symbol, sp.Symbol], sp.Expr]


@dataclass(frozen=True)
class ConditionalMoments:
    r"""One layer's conditional moments, to second order in :math:`\varepsilon`.

    Parameters
    ----------
    neuron : tuple of Symbol
        The state of a generic neuron, m symbols.
    preactivation_covariance : Matrix, shape (m, m)
        Covariance G of :math:`u^1, \dots, u^m` given the state.
    increment : tuple of tuple of Expr
        Per input, the Taylor coefficients of :math:`\Delta` at orders 1 and 2 in :math:`\varepsilon`.
    mean, covariance : Matrix
        Coefficients of :math:`\varepsilon^2` in the conditional mean and covariance of :math:`\Delta`.
    """

    neuron: tuple[sp.Symbol, ...]
    preactivation_covariance: sp.ImmutableMatrix
    increment: tuple[tuple[sp.Expr, sp.Expr], ...]
    mean: sp.ImmutableMatrix
    covariance: sp.ImmutableMatrix


def preactivation_covariance(layer: Layer, neuron: tuple[sp.Symbol, ...], width: sp.Expr) -> sp.ImmutableMatrix:
    r"""Covariance :math:`G_{\alpha\beta} = \sigma_b^2 + \frac{\sigma_w^2}{n}\sum_j \psi(x_j^\alpha)\psi(x_j^\beta)` given the state.

    It is summed from the layer's own covariance terms; independence of the rows of W makes it
    the same for every neuron, and different neurons independent.
    """

    def entry(first: sp.Expr, second: sp.Expr) -> sp.Expr:
        weights, bias = layer.preactivation.covariance_terms(first, second)
        return coordinate_sum(weights, neuron, width) / width + bias

    return sp.ImmutableMatrix(
        len(neuron), len(neuron), lambda a, b: entry(*sorted((neuron[a], neuron[b]), key=neuron.index))
    )


def conditional_moments(layer: Layer, width: sp.Expr, inputs: int = 1) -> ConditionalMoments:
    r"""Expand one layer's increment and take its conditional mean and covariance.

    Raises
    ------
    NoLimit
        If the increment does not vanish with :math:`\varepsilon`, is not smooth in it, or has a
        conditional mean of order :math:`\varepsilon`, which would diverge per unit of time.
    """
    neuron, noises = input_symbols(state, inputs), input_symbols(noise, inputs)
    covariance = preactivation_covariance(layer, neuron, width)
    placeholders = sp.Matrix(inputs, inputs, lambda a, b: sp.Dummy(f"G{min(a, b)}{max(a, b)}", nonnegative=True))
    table: dict[tuple[sp.Symbol, sp.Symbol], sp.Expr] = {
        (noises[a], noises[b]): placeholders[min(a, b), max(a, b)] for a in range(inputs) for b in range(inputs)
    }
    back = {placeholders[min(a, b), max(a, b)]: covariance[a, b] for a in range(inputs) for b in range(inputs)}
    first, second = taylor(layer)
    at = [{state: x, noise: u} for x, u in zip(neuron, noises, strict=True)]
    linear = [first.subs(rule, simultaneous=True) for rule in at]
    quadratic = [second.subs(rule, simultaneous=True) for rule in at]
    for term in linear:
        centre = gaussian_mean(term, table)
        if centre != 0:
            raise NoLimit(
                f"the conditional mean of the increment is {centre.xreplace(back)} ε + O(ε²): it must vanish at order ε, "
                "since a layer takes ε² "
                "of time; scale this part of the update by ε², or centre it"
            )
    mean = sp.ImmutableMatrix([gaussian_mean(term, table) for term in quadratic]).xreplace(back)
    pairs = sp.ImmutableMatrix(inputs, inputs, lambda a, b: gaussian_mean(linear[min(a, b)] * linear[max(a, b)], table))
    return ConditionalMoments(
        neuron, covariance, tuple(zip(linear, quadratic, strict=True)), mean, sp.ImmutableMatrix(pairs).xreplace(back)
    )


def taylor(layer: Layer) -> tuple[sp.Expr, sp.Expr]:
    r"""Taylor coefficients at orders 1 and 2 in :math:`\varepsilon` of a layer's increment :math:`f(x, u, \varepsilon) - x`."""
    increment = layer.update - state
    coefficients = []
    for order in range(3):
        value = sp.diff(increment, step, order).subs(step, 0) / sp.factorial(order)
        if value.has(sp.nan, sp.zoo, sp.oo, -sp.oo):
            raise NoLimit(
                f"the update {layer.update} is not twice differentiable in ε at ε = 0; "
                "write it in powers of ε = L^(-1/2), or choose an activation that is twice differentiable at 0"
            )
        coefficients.append(sp.expand(value))
    if coefficients[0] != 0:
        raise NoLimit(
            f"the increment at ε = 0 is {coefficients[0]}, not 0: the network does not become continuous in depth; "
            "scale the branch by ε (symbols.step)"
        )
    return coefficients[1], coefficients[2]


def gaussian_mean(expr: sp.Expr, covariance: Covariance) -> sp.Expr:
    r"""Expectation over centred jointly Gaussian symbols of a polynomial in them.

    Stein's identity :math:`\mathbb{E}[u_a f(u)] = \sum_b G_{ab}\,\mathbb{E}[\partial_b f(u)]` lowers the
    degree by two at each step. A function of one or two of them that is not a polynomial goes
    to the Gaussian calculus instead.
    """
    noises = sorted({a for a, _ in covariance if expr.has(a)}, key=lambda s: s.name)
    if not noises:
        return expr
    if not expr.is_polynomial(*noises):
        return _transcendental_mean(expr, noises, covariance)
    total = sp.S.Zero
    for powers, coefficient in sp.Poly(expr, *noises).terms():
        total += coefficient * _moment(tuple(powers), tuple(noises), covariance)
    return total


def _moment(powers: tuple[int, ...], noises: tuple[sp.Symbol, ...], covariance: Covariance) -> sp.Expr:
    if sum(powers) % 2:
        return sp.S.Zero
    if sum(powers) == 0:
        return sp.S.One
    a = next(k for k, p in enumerate(powers) if p)
    rest = list(powers)
    rest[a] -= 1
    total = sp.S.Zero
    for b, power in enumerate(rest):
        if power:
            lowered = (*rest[:b], power - 1, *rest[b + 1 :])
            total += power * covariance[noises[a], noises[b]] * _moment(lowered, noises, covariance)
    return total


def _transcendental_mean(expr: sp.Expr, noises: list[sp.Symbol], covariance: Covariance) -> sp.Expr:
    if len(noises) == 1:
        return expect(expr, noises[0], variance=covariance[noises[0], noises[0]])
    first, second = noises
    left, right = expr.as_independent(second, as_Add=False)
    if len(noises) > 2 or right.has(first):
        raise DerivationError(f"no rule for the joint Gaussian expectation of {expr} in {', '.join(map(str, noises))}")
    block = sp.Matrix(2, 2, lambda i, j: covariance[noises[i], noises[j]])
    return expect_pair(left.subs(first, noise), right.subs(second, noise), noise, block)


def depth_limit(architecture: Architecture) -> Limit:
    r"""Limit of infinite depth at fixed width.

    Returns
    -------
    Diffusion, NeuronDiffusion or Flow
        For width 1 a :class:`Diffusion` in the m inputs' states; for larger or symbolic width a
        :class:`NeuronDiffusion`; a :class:`Flow` where the covariance vanishes.

    Raises
    ------
    NoLimit
        If the recursion has no limit when a layer takes :math:`\varepsilon^2` of time.
    """
    if architecture.width == sp.oo:
        raise DerivationError(
            "the depth limit at fixed width needs a finite or symbolic width; use width_limit for width=oo"
        )
    moments = conditional_moments(architecture.layer(), architecture.width, architecture.inputs)
    return match(moments, architecture.width)


def match(moments: ConditionalMoments, width: sp.Expr) -> Limit:
    r"""Read drift and covariance per unit of time off moments of order :math:`\varepsilon^2`."""
    limit = NeuronDiffusion(moments.neuron, moments.mean, moments.covariance, width)
    if limit.is_flow:
        return Flow(limit.states, limit.drift, limit.time)
    if width == 1:
        return Diffusion(moments.neuron, moments.mean, moments.covariance)
    return limit


def gram_symbols(inputs: int) -> sp.ImmutableMatrix:
    r"""Symbols :math:`K_{\alpha\beta}` of a symmetric m × m kernel, positive on the diagonal."""

    def entry(a: int, b: int) -> sp.Symbol:
        low, high = min(a, b) + 1, max(a, b) + 1
        return sp.Symbol(
            f"K_{low}{high}" if inputs > 1 else "K", **({"positive": True} if low == high else {"real": True})
        )

    return sp.ImmutableMatrix(inputs, inputs, entry)


def width_limit(architecture: Architecture) -> Flow:
    """Limit of infinite width, then of infinite depth; see :func:`width_flow`."""
    return width_flow(architecture.layer(), architecture.inputs)


def width_flow(layer: Layer, inputs: int = 1) -> Flow:
    r"""The flow of the neurons' covariance K at infinite width, then infinite depth.

    At infinite width the neurons of each layer are i.i.d. centred Gaussian vectors over the m
    inputs, and the pre-activations are independent of the state they are added to, with
    :math:`G = \sigma_b^2 + \sigma_w^2\,\mathbb{E}[\psi(X^\alpha)\psi(X^\beta)]`. So
    :math:`K' = \mathbb{E}[f(X^\alpha, u^\alpha, \varepsilon) f(X^\beta, u^\beta, \varepsilon)]`, and
    :math:`\dot K = \lim \varepsilon^{-2}(K' - K)`.

    Returns
    -------
    Flow
        In the upper triangle of K, row by row.
    """
    first, second = taylor(layer)
    kernel = gram_symbols(inputs)

    def expand_pair(a: int, b: int) -> sp.Expr:
        # E (x+Δ)^α (x+Δ)^β − x^α x^β at order ε²: Δ₁Δ₁ + x Δ₂ + Δ₂ x; the order ε, x Δ₁, must average to 0.
        xa, xb, ua, ub = (sp.Dummy(real=True) for _ in range(4))
        rules = ({state: xa, noise: ua}, {state: xb, noise: ub})
        (first_a, second_a), (first_b, second_b) = (
            [c.subs(r, simultaneous=True) for c in (first, second)] for r in rules
        )
        table = _mean_field_table(layer, kernel, a, b, (xa, xb), (ua, ub))
        if (
            gaussian_mean(sp.expand(first_a), table) != 0
            or gaussian_mean(sp.expand(xa * first_b + xb * first_a), table) != 0
        ):
            raise NoLimit("the covariance moves by order ε in one layer; centre the branch or scale it by ε²")
        return gaussian_mean(sp.expand(first_a * first_b + xa * second_b + xb * second_a), table)

    return _upper_flow(kernel, expand_pair)


def _mean_field_table(
    layer: Layer,
    kernel: sp.ImmutableMatrix,
    a: int,
    b: int,
    states: tuple[sp.Symbol, sp.Symbol],
    noises: tuple[sp.Symbol, sp.Symbol],
) -> Covariance:
    """Covariances of two inputs' states and pre-activations: K for the states, G for the noises, no correlation between."""
    table: dict[tuple[sp.Symbol, sp.Symbol], sp.Expr] = {}
    for i, first in enumerate((a, b)):
        for j, second in enumerate((a, b)):
            table[states[i], states[j]] = kernel[first, second]
            table[noises[i], noises[j]] = mean_field_covariance(layer, kernel, first, second)
            table[states[i], noises[j]] = table[noises[j], states[i]] = sp.S.Zero
    return table


def mean_field_covariance(layer: Layer, kernel: sp.ImmutableMatrix, a: int, b: int) -> sp.Expr:
    r"""Pre-activation covariance at infinite width: the sum over n neurons becomes n expectations."""
    z, w = sp.Dummy(real=True), sp.Dummy(real=True)
    weights, bias = layer.preactivation.covariance_terms(z, w)
    if weights == 0:
        return bias
    left, right = sp.S(weights).as_independent(w, as_Add=False)
    constant, left = left.as_independent(z, as_Add=False)
    if a == b:
        average = expect(left * right.subs(w, z), z, variance=kernel[a, a])
    else:
        block = sp.Matrix([[kernel[a, a], kernel[a, b]], [kernel[a, b], kernel[b, b]]])
        average = expect_pair(left, right.subs(w, z), z, block)
    return constant * average + bias


def mean_field_limit(limit: NeuronDiffusion) -> Flow:
    r"""Infinite width after infinite depth: the flow of K for a :class:`NeuronDiffusion` whose width grows.

    By the law of large numbers :math:`\frac1n\sum_i g(X_i) \to \mathbb{E}\,g(X)`, with X one neuron. If the
    drift vanishes, the neurons become independent centred Gaussian processes with
    :math:`\mathrm{d}K_{\alpha\beta} = G_{\alpha\beta}\,\mathrm{d}t` by Itô's formula.

    Raises
    ------
    DerivationError
        If the drift does not vanish: the neurons are then not Gaussian.
    """
    if any(entry != 0 for entry in limit.neuron_drift):
        raise DerivationError("the mean-field limit here needs neurons without drift, which stay Gaussian")
    kernel = gram_symbols(limit.inputs)

    def average(s: CoordinateSum) -> sp.Expr:
        used = [k for k, x in enumerate(s.bound_symbols) if s.body.has(x)]
        first, second = (used[0], used[-1])
        x, y = s.bound_symbols[first], s.bound_symbols[second]
        if first == second:
            return limit.width * expect(s.body, x, variance=kernel[first, first])
        left, right = s.body.as_independent(y, as_Add=False)
        block = sp.Matrix(
            [[kernel[first, first], kernel[first, second]], [kernel[first, second], kernel[second, second]]]
        )
        return limit.width * expect_pair(left, right.subs(y, x), x, block)

    def velocity(a: int, b: int) -> sp.Expr:
        entry = limit.neuron_covariance[a, b]
        return sp.expand(entry.xreplace({s: average(s) for s in entry.atoms(CoordinateSum)}))

    return _upper_flow(kernel, velocity)


def _upper_flow(kernel: sp.ImmutableMatrix, velocity: Callable[[int, int], sp.Expr]) -> Flow:
    pairs = [(a, b) for a in range(kernel.rows) for b in range(a, kernel.cols)]
    return Flow(tuple(kernel[a, b] for a, b in pairs), sp.ImmutableMatrix([velocity(a, b) for a, b in pairs]))
