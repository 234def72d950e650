r"""Infinite depth at a fixed number of neurons: one layer's conditional moments, matched with its time.

A network is a Markov chain in depth. With a small parameter :math:`\varepsilon` and one layer
taking :math:`\varepsilon^2` of time, the limit has

.. math:: b(x) = \lim_{\varepsilon \to 0} \varepsilon^{-2}\, \mathbb{E}[\Delta X \mid X = x], \qquad
          a(x) = \lim_{\varepsilon \to 0} \varepsilon^{-2}\, \mathrm{Cov}[\Delta X \mid X = x].

The conditional moments are exact in the number of neurons (:mod:`derivations.limits.elimination`).
"""

from __future__ import annotations

import sympy as sp

from derivations.architectures.base import Architecture
from derivations.diffusion import Diffusion, Flow, Limit, NeuronDiffusion
from derivations.errors import DerivationError, NotClosed
from derivations.language import Program
from derivations.limits.elimination.held import released
from derivations.limits.elimination.labels import PairMoments
from derivations.limits.elimination.moments import LayerMoments, state_averages
from derivations.limits.gram import upper
from derivations.sums import CoordinateSum, coordinate_sum
from derivations.symbols import neuron_symbols, state


def depth_limit(architecture: Architecture) -> Limit:
    r"""Limit of infinite depth of a recipe's neurons at its width; see :func:`neuron_limit`.

    Raises
    ------
    DerivationError
        For an infinite width.
    """
    if architecture.width == sp.oo:
        raise DerivationError(
            "the depth limit at fixed width needs a finite or symbolic width; use width_limit for width=oo"
        )
    return neuron_limit(architecture.program(), architecture.coordinates)


def neuron_limit(program: Program, inputs: int = 1) -> Limit:
    r"""The limit of infinite depth of a network's neurons at a fixed number of them.

    Parameters
    ----------
    program : Program
    inputs : int
        How many network inputs are followed together.

    Returns
    -------
    Diffusion, NeuronDiffusion or Flow
        A :class:`~derivations.diffusion.NeuronDiffusion` where the neurons have independent noises with one covariance for
        all; else, for a width given as a number, a :class:`~derivations.diffusion.Diffusion` of all neurons.

    Raises
    ------
    NoLimit
        If the increment does not vanish with the small parameter, or its mean is of order ε.
    NotClosed
        If the conditional moments have no closed form, or the noises depend on each other and the width is a symbol.
    """
    return diffusion_of(PairMoments.of(program, inputs))


def diffusion_of(moments: LayerMoments | PairMoments) -> Limit:
    """The limit whose coefficients one layer's moments are, per unit of time."""
    moments.at_rest()
    n, states, size = moments.program.neurons.size, moments.states, len(moments.states)
    drift = [as_sums(moments.drift(a), states, n) for a in range(size)]
    own = {(a, b): as_sums(moments.covariance(a, b), states, n) for a, b in upper(size)}
    if n == 1:
        covariance = sp.ImmutableMatrix(size, size, lambda a, b: own[min(a, b), max(a, b)])
        single = Diffusion(states, sp.ImmutableMatrix(drift), covariance)
        return Flow(states, single.drift) if single.is_flow else single
    between = {(a, b): as_sums(moments.between(a, b), states, n) for a in range(size) for b in range(size)}
    local = any(value.free_symbols & set(states) for value in own.values())
    if not local and all(value == 0 for value in between.values()):
        covariance = sp.ImmutableMatrix(size, size, lambda a, b: own[min(a, b), max(a, b)])
        limit = NeuronDiffusion(states, sp.ImmutableMatrix(drift), covariance, n)
        return Flow(limit.states, limit.drift, limit.time) if limit.is_flow else limit
    if not n.is_Integer:
        raise NotClosed(
            "the neurons' noises depend on each other or on the neuron's own state; give the width as a number to see them all, or ask for "
            "the Gram matrix"
        )
    return _written_out(moments, drift, own, between)


def _written_out(
    moments: LayerMoments | PairMoments,
    drift: list[sp.Expr],
    own: dict[tuple[int, int], sp.Expr],
    between: dict[tuple[int, int], sp.Expr],
) -> Diffusion:
    n, m = int(moments.program.neurons.size), len(moments.states)
    states = neuron_symbols(state, n, m)
    neurons = [states[i * m : (i + 1) * m] for i in range(n)]

    def at(expr: sp.Expr, i: int, j: int) -> sp.Expr:
        expr = expr.xreplace({s: s.explicit(neurons) for s in expr.atoms(CoordinateSum)})
        here = dict(zip(moments.states, neurons[i], strict=True)) | dict(zip(moments.other, neurons[j], strict=True))
        return sp.expand(expr.xreplace(here))

    def entry(row: int, column: int) -> sp.Expr:
        (i, a), (j, b) = divmod(row, m), divmod(column, m)
        return at(own[min(a, b), max(a, b)] if i == j else between[a, b], i, j)

    stacked = [at(drift[a], i, i) for i in range(n) for a in range(m)]
    return Diffusion(states, sp.ImmutableMatrix(stacked), sp.ImmutableMatrix(n * m, n * m, entry))


def as_sums(expr: sp.Expr, states: tuple[sp.Symbol, ...], n: sp.Expr) -> sp.Expr:
    """Averages of the state as sums over the layer."""
    while nodes := state_averages(expr):
        innermost = nodes[0]
        expr = expr.xreplace({innermost: coordinate_sum(released(innermost.body), states, n) / n})
    return released(expr)
