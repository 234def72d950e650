r"""Infinite depth at a fixed number of neurons: one layer's conditional moments, matched with its time.

A network is a Markov chain in depth. With a small parameter :math:`\varepsilon` and one layer
taking :math:`\varepsilon^2` of time, the limit has

.. math:: b(x) = \lim_{\varepsilon \to 0} \varepsilon^{-2}\, \mathbb{E}[\Delta X \mid X = x], \qquad
          a(x) = \lim_{\varepsilon \to 0} \varepsilon^{-2}\, \mathrm{Cov}[\Delta X \mid X = x].

The conditional moments are exact in the number of neurons (:mod:`derivations.limits.elimination`).
"""

from __future__ import annotations

from collections.abc import Callable

import sympy as sp

from derivations.architectures.base import Recipe
from derivations.diffusion import Diffusion, Flow, Limit, NeuronDiffusion
from derivations.errors import DerivationError, NotClosed
from derivations.language import Program
from derivations.limits.elimination.held import released
from derivations.limits.elimination.labels import PairMoments
from derivations.limits.elimination.moments import LayerMoments, state_averages
from derivations.limits.gram import upper
from derivations.sums import CoordinateSum, coordinate_sum
from derivations.symbols import neuron_symbols, state


def depth_limit(architecture: Recipe) -> Limit:
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
    n = moments.program.neurons.size
    try:
        limit = exchangeable(moments)
    except NotClosed as error:
        if not n.is_Integer:
            raise NotClosed(
                f"{error}; give the width as a number to see all neurons, or ask for the Gram matrix"
            ) from error
        return _written_out(moments)
    if limit.is_flow:
        return Flow(limit.states, limit.drift, limit.time)
    return Diffusion(limit.neuron, limit.neuron_drift, limit.neuron_covariance) if n == 1 else limit


def exchangeable(moments: LayerMoments | PairMoments) -> NeuronDiffusion:
    """The limit of neurons whose noises are independent of each other, with one covariance for all.

    Raises
    ------
    NotClosed
        If they are not so.
    """
    moments.at_rest()
    n, states, size = moments.program.neurons.size, moments.states, len(moments.states)
    own = {(a, b): as_sums(moments.covariance(a, b), states, n) for a, b in upper(size)}
    if n != 1:
        local = any(value.free_symbols & set(states) for value in own.values())
        if local or any(as_sums(moments.between(a, b), states, n) != 0 for a in range(size) for b in range(size)):
            raise NotClosed("the neurons' noises depend on each other or on the neuron's own state")
    drift = sp.ImmutableMatrix([as_sums(moments.drift(a), states, n) for a in range(size)])
    covariance = sp.ImmutableMatrix(size, size, lambda a, b: own[min(a, b), max(a, b)])
    return NeuronDiffusion(states, drift, covariance, n)


def _written_out(moments: LayerMoments | PairMoments) -> Diffusion:
    """All neurons, with the covariances between them."""
    n, m = int(moments.program.neurons.size), len(moments.states)
    drift = [as_sums(moments.drift(a), moments.states, sp.Integer(n)) for a in range(m)]
    own = {(a, b): as_sums(moments.covariance(a, b), moments.states, sp.Integer(n)) for a, b in upper(m)}
    between = {
        (a, b): as_sums(moments.between(a, b), moments.states, sp.Integer(n)) for a in range(m) for b in range(m)
    }
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
    domain = _range(moments, states, lambda value: at(as_sums(value, moments.states, sp.Integer(n)), 0, 0))
    return Diffusion(states, sp.ImmutableMatrix(stacked), sp.ImmutableMatrix(n * m, n * m, entry), domain)


def _range(
    moments: LayerMoments | PairMoments, states: tuple[sp.Symbol, ...], written: Callable[[sp.Expr], sp.Expr]
) -> sp.Set:
    """Where a layer puts the states: where the averages that every layer fixes have their values."""
    conditions = [sp.Eq(written(node), value) for node, value in moments.fixed.items()]
    if not conditions:
        return sp.S.Reals
    return sp.ConditionSet(sp.Tuple(*states), sp.And(*conditions), sp.S.Reals ** len(states))


def as_sums(expr: sp.Expr, states: tuple[sp.Symbol, ...], n: sp.Expr) -> sp.Expr:
    """Averages of the state as sums over the layer."""
    while nodes := state_averages(expr):
        innermost = nodes[0]
        expr = expr.xreplace({innermost: coordinate_sum(released(innermost.body), states, n) / n})
    return released(expr)
