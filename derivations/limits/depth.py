r"""The algorithm: from a layer's recursion to its limit.

A network is a Markov chain in depth. With a small parameter :math:`\varepsilon` and one layer
taking :math:`\varepsilon^2` of time, the limit has

.. math:: b(x) = \lim_{\varepsilon \to 0} \varepsilon^{-2}\, \mathbb{E}[\Delta X \mid X = x], \qquad
          a(x) = \lim_{\varepsilon \to 0} \varepsilon^{-2}\, \mathrm{Cov}[\Delta X \mid X = x].

Given the state, the weights enter through Gaussians only, so both are Gaussian expectations
of the Taylor coefficients of the increment in :math:`\varepsilon`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import sympy as sp

from derivations.architectures.base import Architecture, Layer
from derivations.diffusion import Diffusion, Flow, Limit, NeuronDiffusion
from derivations.errors import DerivationError, NoLimit
from derivations.limits.wick import gaussian_mean
from derivations.sums import coordinate_sum
from derivations.symbols import input_symbols, noise, shift, state, step


@dataclass(frozen=True)
class ConditionalMoments:
    r"""One layer's conditional moments, to second order in :math:`\varepsilon`.

    Parameters
    ----------
    neuron : tuple of Symbol
        The state of a generic neuron, m symbols.
    preactivation_covariance : Matrix, shape (m, m)
        Covariance G of :math:`u^1, \dots, u^m` given the state.
    preactivation_mean : Matrix, shape (m, 1)
        What the means of weights and biases add, given the state.
    increment : tuple of tuple of Expr
        Per input, the Taylor coefficients of :math:`\Delta` at orders 1 and 2 in :math:`\varepsilon`.
    mean, covariance : Matrix
        Coefficients of :math:`\varepsilon^2` in the conditional mean and covariance of :math:`\Delta`.
    """

    neuron: tuple[sp.Symbol, ...]
    preactivation_covariance: sp.ImmutableMatrix
    preactivation_mean: sp.ImmutableMatrix
    increment: tuple[tuple[sp.Expr, sp.Expr], ...]
    mean: sp.ImmutableMatrix
    covariance: sp.ImmutableMatrix


def preactivation_covariance(
    layer: Layer, neuron: tuple[sp.Symbol, ...], width: sp.Expr, shown: int = 0
) -> sp.ImmutableMatrix:
    r"""Covariance :math:`G_{\alpha\beta} = \sigma_b^2 + \frac{\sigma_w^2}{n}\sum_j \psi(x_j^\alpha)\psi(x_j^\beta)` given the state.

    It is summed from the layer's own covariance terms; independence of the rows of W makes it
    the same for every neuron, and different neurons independent.
    """
    pre = layer.preactivation

    @cache
    def average(i: int, j: int) -> sp.Expr:
        """Over the neurons, of what coordinates i and j feed; a filter meets each pair many times."""
        return coordinate_sum(pre.inner(neuron[i]) * pre.inner(neuron[j]), neuron, width) / width

    def entry(a: int, b: int) -> sp.Expr:
        if pre.taps:
            met = (average(*sorted(pair)) for pair in pre.pairs(a, b))
            return sp.expand(pre.weight_variance * pre.share * sp.Add(*met)) + pre.bias_variance
        weights, bias = pre.covariance_terms(neuron, *sorted((a, b)))
        return coordinate_sum(weights, neuron, width) / width + bias

    return sp.ImmutableMatrix(shown or len(neuron), shown or len(neuron), entry)


def preactivation_mean(
    layer: Layer, neuron: tuple[sp.Symbol, ...], width: sp.Expr, shown: int = 0
) -> sp.ImmutableMatrix:
    r"""Shift :math:`m_\alpha = \mu_b + \frac{\mu_w}{n}\sum_j \psi(x_j^\alpha)` given the state, the same for every neuron."""

    def entry(a: int) -> sp.Expr:
        weights, bias = layer.preactivation.mean_terms(neuron, a)
        return coordinate_sum(weights, neuron, width) / width + bias

    return sp.ImmutableMatrix([entry(a) for a in range(shown or len(neuron))])


def conditional_moments(layer: Layer, width: sp.Expr, coordinates: int = 1, shown: int = 0) -> ConditionalMoments:
    r"""Expand one layer's increment and take its conditional mean and covariance.

    Parameters
    ----------
    layer : Layer
    width : Expr
    coordinates : int
        Of a neuron's state.
    shown : int
        How many of them to take the moments of, for a printout; 0 for all.

    Raises
    ------
    NoLimit
        If the increment does not vanish with :math:`\varepsilon`, is not smooth in it, or has a
        conditional mean of order :math:`\varepsilon`, which would diverge per unit of time.
    """
    neuron, kept = input_symbols(state, coordinates), min(shown or coordinates, coordinates)
    noises, shifts = input_symbols(noise, coordinates)[:kept], input_symbols(shift, coordinates)[:kept]
    covariance = preactivation_covariance(layer, neuron, width, kept)
    means = preactivation_mean(layer, neuron, width, kept)
    placeholders = sp.Matrix(kept, kept, lambda a, b: sp.Dummy(f"G{min(a, b)}{max(a, b)}", nonnegative=True))
    table: dict[tuple[sp.Symbol, sp.Symbol], sp.Expr] = {
        (noises[a], noises[b]): placeholders[min(a, b), max(a, b)] for a in range(kept) for b in range(kept)
    }
    back = {placeholders[min(a, b), max(a, b)]: covariance[a, b] for a in range(kept) for b in range(kept)}
    back |= dict(zip(shifts, means, strict=True))
    first, second = taylor(layer)
    at = [{state: x, noise: u, shift: m} for x, u, m in zip(neuron[:kept], noises, shifts, strict=True)]
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
    pairs = sp.ImmutableMatrix(kept, kept, lambda a, b: gaussian_mean(linear[min(a, b)] * linear[max(a, b)], table))
    return ConditionalMoments(
        neuron,
        covariance,
        means,
        tuple(zip(linear, quadratic, strict=True)),
        mean,
        sp.ImmutableMatrix(pairs).xreplace(back),
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
    moments = conditional_moments(architecture.layer(), architecture.width, architecture.coordinates)
    return match(moments, architecture.width)


def match(moments: ConditionalMoments, width: sp.Expr) -> Limit:
    r"""Read drift and covariance per unit of time off moments of order :math:`\varepsilon^2`."""
    limit = NeuronDiffusion(moments.neuron, moments.mean, moments.covariance, width)
    if limit.is_flow:
        return Flow(limit.states, limit.drift, limit.time)
    if width == 1:
        return Diffusion(moments.neuron, moments.mean, moments.covariance)
    return limit
