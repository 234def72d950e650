r"""Gradients in the weights of a layer, by the elimination of tangents whose parameters move."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import sympy as sp

from derivations.architectures.base import Recipe
from derivations.backward.unlike import require_alike
from derivations.errors import NotClosed
from derivations.language import Program
from derivations.language.statements import Matrix
from derivations.language.weights import Weights
from derivations.limits.elimination.averages import reduced
from derivations.limits.elimination.coefficients import Coefficients
from derivations.limits.elimination.held import released
from derivations.limits.elimination.labels import Exchange, by_pattern, state_labels
from derivations.limits.elimination.moments import LayerMoments


def weight_gradients(network: Recipe) -> dict[str, sp.Expr | sp.ImmutableMatrix]:
    r"""Of each matrix what its entries add to the covariance of a neuron's tangent, per unit of time; over positions a matrix of them.

    The gradient of a loss in a parameter :math:`\omega` of a layer is :math:`\sum_i G_i\,\partial_\omega\Delta_i`, and
    :math:`\sum_\omega \partial_\omega\Delta_i\,\partial_\omega\Delta_j = q_i\delta_{ij}` in the mean over the layer's own weights. The gradient G in
    the layer depends on weights of later layers, and on its own through the state by terms that vanish with the small parameter.

    Raises
    ------
    NoLimit
        If the network has no limit of infinite depth.
    NotClosed
        If :math:`\sum_\omega \partial_\omega\Delta_i\,\partial_\omega\Delta_j` is not diagonal in the neurons, or these are not alike.

    Examples
    --------
    >>> from derivations import ResNet, identity
    >>> weight_gradients(ResNet(identity, width=3))
    {'W': <x**2>}
    """
    program = network.program()
    require_alike(program)
    p = program.positions
    found: dict[str, sp.Expr | sp.ImmutableMatrix] = {}
    for weights in dict.fromkeys(
        s.weights for s in program.statements if isinstance(s, Matrix) and not s.weights.is_mean
    ):
        own = _squares(program, weights)
        found[weights.name] = own(0, 0) if p == 1 else sp.ImmutableMatrix(p, p, own)
    return found


def _squares(program: Program, weights: Weights) -> Callable[..., sp.Expr]:
    """For two coordinates of a neuron; what differs by the positions' names only is derived once."""
    p, names, exchange = program.positions, Coefficients(), Exchange.of(program)
    moments = LayerMoments(
        program, p, directions=1, parameters=frozenset({weights}), coefficients=names, from_zero=True
    )
    moments.at_rest()
    for a in range(p):
        moments.drift(a)  # without a limit there are no gradients at depth
    for a, b in exchange.different(product(range(p), repeat=2)):
        if names.around(moments.between(p + a, p + b), _tidied) != 0:
            raise NotClosed(f"gradients of several neurons meet in those of the weights {weights.name}")
    letters = [sp.Symbol(f"x^{a + 1}" if p > 1 else "x", real=True) for a in range(p)]
    relabelled = state_labels([moments.states[:p]], [letters])

    def own(a: int, b: int) -> sp.Expr:
        return names.around(moments.covariance(p + a, p + b), _tidied)

    def written(square: sp.Expr, labels: tuple[int, ...]) -> sp.Expr:
        return names.released(square, lambda expr: relabelled(expr, labels))

    return by_pattern(own, written, exchange, always=True, alike=lambda a, b: ((a, b), (b, a)))


def _tidied(moment: sp.Expr) -> sp.Expr:
    return reduced(sp.expand(released(moment)))
