r"""Tangents of a network: its derivative along directions of the state, and along all its parameters, by the same elimination.

The differential of a program is a program with the same matrices on the bodies' differentials, so a tangent is a second
state that moves beside the first.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import sympy as sp

from derivations.diffusion import Diffusion, NeuronDiffusion
from derivations.errors import NotClosed, brief
from derivations.language import Program, Weights
from derivations.limits.depth import NeuronMoments
from derivations.limits.elimination.averages import LayerAverage, layer_average
from derivations.limits.elimination.heads import heads
from derivations.limits.elimination.held import with_means
from derivations.limits.elimination.labels import Exchange, by_pattern, matrix_labels, permuted
from derivations.limits.elimination.moments import LayerMoments
from derivations.limits.gram import gram_matrix, upper
from derivations.limits.meanfield import mean_symbols
from derivations.limits.slopes import require_slopes
from derivations.limits.unlike import UnlikeNeurons, is_unlike
from derivations.limits.width import KernelFlow, MeanFieldLayer, kernel_flow


def tangent_limit(program: Program, directions: int = 1) -> NeuronDiffusion | Diffusion:
    r"""The limit of infinite depth of one input's state x and of tangents :math:`v_k = J w_k`, at a fixed number of neurons.

    Returns
    -------
    NeuronDiffusion or Diffusion
        In :math:`(x, v_1, \dots, v_k)` of a neuron, position by position; of all neurons where their noises depend on each other.

    Raises
    ------
    DerivationError
        If a function of the program jumps.
    NotClosed
        If the noises depend on each other and the width is a symbol.
    """
    require_slopes(program)
    coordinates = program.positions
    if is_unlike(program):
        return UnlikeNeurons(LayerMoments(program, coordinates, directions=directions)).limit
    moments = NeuronMoments.of(LayerMoments(program, coordinates, directions=directions), coordinates)
    limit = moments.matched()
    if isinstance(limit, NeuronDiffusion) and limit.width == 1:
        return Diffusion(limit.neuron, limit.neuron_drift, limit.neuron_covariance)
    return limit


def tangent_flow(
    program: Program,
    inputs: int,
    stem: str = "Theta",
    parameters: bool | frozenset[Weights] = True,
    evaluate: bool = True,
) -> KernelFlow:
    r"""Infinite width, then depth: the second moments K of the neurons and those of tangents, given the network.

    With ``parameters`` the tangent is :math:`\sum_\theta \partial_\theta X\,\omega_\theta` with independent standard normal
    :math:`\omega`, over all weights and biases in units of their standard deviations; its second moment given the network is
    the neural tangent kernel. Without, it is the derivative along a direction of the input, whose second moment is the mean square
    of a gradient; with a set of weights, along these and an input together. Tangents are centred given the network,
    whatever the state; forward and backward weights are independent.

    Returns
    -------
    KernelFlow
        In the states of :func:`~derivations.limits.width.kernel_flow` and then the upper triangle of the tangents' second moments.

    Raises
    ------
    NotClosed
        If the tangents' second moments need more than themselves.
    """
    require_slopes(program)
    exchange = Exchange.of(program)
    few = inputs if heads(program) else exchange.few(inputs, 2)
    kernel = kernel_flow(program, inputs, evaluate)
    layer = TangentLayer.of(MeanFieldLayer.of(program, few), stem, parameters)
    tangent = gram_matrix(inputs, stem)

    def velocity(a: int, b: int) -> sp.Expr:
        return layer.velocity(a, b, evaluate)

    if not heads(program):
        names = [(gram_matrix(few, "K"), gram_matrix(inputs, "K")), (layer.second, tangent)]
        if layer.field.moving:
            names.append((layer.field.law.mean, mean_symbols(inputs)))
        velocity = by_pattern(velocity, permuted(matrix_labels(*names), few), exchange, inputs > few)
    pairs = upper(inputs)
    states = (*kernel.states, *(tangent[p] for p in pairs))
    rates = sp.ImmutableMatrix([*kernel.drift, *(velocity(*p) for p in pairs)])
    return replace(kernel, states=states, drift=rates, second=(*kernel.second, tangent))


@dataclass(frozen=True)
class TangentLayer:
    """One layer of infinitely many neurons with a tangent each, centred given the network.

    Parameters
    ----------
    field : MeanFieldLayer
        Of the neurons.
    moments : LayerMoments
        With the tangents.
    second : Matrix
        Symbols of the tangents' second moments.
    """

    field: MeanFieldLayer
    moments: LayerMoments
    second: sp.ImmutableMatrix

    @classmethod
    def of(
        cls, field: MeanFieldLayer, stem: str = "Theta", parameters: bool | frozenset[Weights] = True
    ) -> TangentLayer:
        """Of a layer whose neurons are known."""
        few = field.layer.inputs
        moments = LayerMoments(field.layer.program, few, infinite=True, directions=1, parameters=parameters)
        return cls(field, moments, gram_matrix(few, stem))

    def velocity(self, a: int, b: int, evaluate: bool) -> sp.Expr:
        """The rate of the second moment of two inputs' tangents."""
        few = self.moments.inputs
        x = self.moments.states[:few]
        change = with_means(self.moments.product(few + a, few + b))
        return self.field.closed(
            change.xreplace({node: self._mean(node) for node in change.atoms(LayerAverage)}), evaluate, x
        )

    def _mean(self, node: LayerAverage) -> sp.Expr:
        """The state and the tangents of a neuron are independent, and tangents are centred."""
        few, total = self.moments.inputs, sp.S.Zero
        x, v = self.moments.states[:few], self.moments.states[few:]
        for term in sp.Add.make_args(sp.expand(node.body)):
            function, product = term.as_independent(*v, as_Add=False)
            powers = sp.Poly(product, *v).monoms()[0] if product.is_polynomial(*v) else ()
            if sum(powers) % 2:
                continue
            places = [a for a, power in enumerate(powers) for _ in range(power)]
            if product != 1 and len(places) != 2:
                raise NotClosed(f"the tangents' second moments are moved by {brief(node)}, which they do not determine")
            total += (self.second[tuple(places)] if places else 1) * layer_average(function, x, 0)
        return total
