r"""Infinite width: before infinite depth, or after it."""

from __future__ import annotations

from collections.abc import Callable

import sympy as sp

from derivations.architectures.base import Architecture, Layer
from derivations.diffusion import Flow, NeuronDiffusion
from derivations.errors import DerivationError, NoLimit
from derivations.gaussian import expect, expect_pair
from derivations.limits.depth import taylor
from derivations.limits.wick import Covariance, gaussian_mean
from derivations.sums import CoordinateSum
from derivations.symbols import noise, state


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
