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


def weight_gradients(network: Recipe) -> dict[str, sp.Expr]:
    r"""Of each matrix what its entries add to the covariance of a neuron's tangent, per unit of time.

    The gradient of a loss in a parameter :math:`\omega` of a layer is :math:`\sum_i G_i\,\partial_\omega\Delta_i`, and
    :math:`\sum_\omega \partial_\omega\Delta_i\,\partial_\omega\Delta_j = q_i\delta_{ij}` in the mean over the layer's own weights. The gradient G in
    the layer depends on weights of later layers, and on its own through the state by terms that vanish with the small parameter.

    Raises
    ------
    NotClosed
        If :math:`\sum_\omega \partial_\omega\Delta_i\,\partial_\omega\Delta_j` is not diagonal, or over positions.

    Examples
    --------
    >>> from derivations import ResNet, identity
    >>> weight_gradients(ResNet(identity, 3))
    {'W': <x**2>}
    """
    program = network.program()
    if program.has_positions:
        raise NotClosed("gradients in weights are derived for dense networks")
    found: dict[str, sp.Expr] = {}
    for weights in dict.fromkeys(
        s.weights for s in program.statements if isinstance(s, Matrix) and not s.weights.is_mean
    ):
        moments = LayerMoments(program, 1, directions=1, parameters=frozenset({weights}))
        moments.at_rest()
        x, v = moments.states
        y, w = moments.other

        def still(expr: sp.Expr, x: sp.Symbol = x, v: sp.Symbol = v, w: sp.Symbol = w) -> sp.Expr:
            """At tangents 0."""
            expr = released(expr)
            nodes = [node for node in state_averages(expr) if v in node.body.free_symbols]
            return reduced(sp.expand(expr.xreplace({**dict.fromkeys(nodes, sp.S.Zero), v: sp.S.Zero, w: sp.S.Zero})))

        if still(moments.between(1, 1)) != 0:
            raise NotClosed(f"gradients of several neurons meet in those of the weights {weights.name}")
        plain = {x: sp.Symbol("x", real=True), y: sp.Symbol("x'", real=True)}
        own = still(moments.covariance(1, 1))
        found[weights.name] = renamed(own, plain)
    return found
