r"""Gradients in the weights of a layer, by the elimination of tangents whose parameters move."""

from __future__ import annotations

import sympy as sp

from derivations.architectures.base import Recipe
from derivations.backward.differential import renamed
from derivations.errors import NotClosed
from derivations.language.statements import Matrix
from derivations.limits.elimination.averages import reduced
from derivations.limits.elimination.held import released
from derivations.limits.elimination.moments import LayerMoments, state_averages


def weight_gradients(network: Recipe) -> dict[str, sp.Expr | sp.ImmutableMatrix]:
    r"""Of each matrix what its entries add to the covariance of a neuron's tangent, per unit of time; over positions a matrix of them.

    The gradient of a loss in a parameter :math:`\omega` of a layer is :math:`\sum_i G_i\,\partial_\omega\Delta_i`, and
    :math:`\sum_\omega \partial_\omega\Delta_i\,\partial_\omega\Delta_j = q_i\delta_{ij}` in the mean over the layer's own weights. The gradient G in
    the layer depends on weights of later layers, and on its own through the state by terms that vanish with the small parameter.

    Raises
    ------
    NotClosed
        If :math:`\sum_\omega \partial_\omega\Delta_i\,\partial_\omega\Delta_j` is not diagonal in the neurons.

    Examples
    --------
    >>> from derivations import ResNet, identity
    >>> weight_gradients(ResNet(identity, width=3))
    {'W': <x**2>}
    """
    program = network.program()
    p = program.positions
    found: dict[str, sp.Expr | sp.ImmutableMatrix] = {}
    for weights in dict.fromkeys(
        s.weights for s in program.statements if isinstance(s, Matrix) and not s.weights.is_mean
    ):
        moments = LayerMoments(program, p, directions=1, parameters=frozenset({weights}))
        moments.at_rest()
        tangents = {*moments.states[p:], *moments.other[p:]}

        def still(expr: sp.Expr, tangents: set[sp.Symbol] = tangents) -> sp.Expr:
            """At tangents 0."""
            expr = released(expr)
            nodes = [node for node in state_averages(expr) if tangents & node.body.free_symbols]
            return reduced(sp.expand(expr.xreplace(dict.fromkeys([*nodes, *tangents], sp.S.Zero))))

        places = [(a, b) for a in range(p) for b in range(p)]
        if any(still(moments.between(p + a, p + b)) != 0 for a, b in places):
            raise NotClosed(f"gradients of several neurons meet in those of the weights {weights.name}")
        marks = [f"^{a + 1}" if p > 1 else "" for a in range(p)]
        plain = {x: sp.Symbol(f"x{mark}", real=True) for x, mark in zip(moments.states[:p], marks, strict=True)}
        own = {(a, b): renamed(still(moments.covariance(p + a, p + b)), plain) for a, b in places if a <= b}
        found[weights.name] = (
            own[0, 0] if p == 1 else sp.ImmutableMatrix(p, p, lambda a, b, own=own: own[min(a, b), max(a, b)])
        )
    return found
