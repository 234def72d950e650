r"""Depth and width to infinity together: matching one layer's moments with the time that a layer takes.

With n neurons, a unit of time of :math:`n^\delta` layers and small parameters :math:`\varepsilon_k = n^{-p_k}`, a term
:math:`\prod_k \varepsilon_k^{j_k} n^{-i}` of one layer's mean or covariance adds :math:`n^{\delta - \sum_k j_k p_k - i}` times its
coefficient per unit of time. A positive exponent has no limit, zero survives, a negative one vanishes.
"""

from __future__ import annotations

from collections.abc import Callable

import sympy as sp

from derivations.architectures.base import Recipe
from derivations.covariances import Semidefinite
from derivations.diffusion import Diffusion, Flow
from derivations.entries import LazyCovariance
from derivations.errors import DerivationError, NotClosed, require
from derivations.limits.collapse import collapse_limit, collapses, require_homogeneous, unshaped
from derivations.limits.elimination.heads import heads
from derivations.limits.elimination.labels import (
    Exchange,
    by_pattern,
    matrix_labels,
    one_order,
    permuted,
    symmetric_pairs,
)
from derivations.limits.gram import GramDiffusion, cone, generic_entries, gram_matrix, upper
from derivations.limits.joint_moments import JointMoments, factored, joint_regime
from derivations.limits.manifold import SlowManifold
from derivations.limits.meanfield import mean_symbols
from derivations.limits.slopes import require_real

_FEW = 4  # inputs of which the covariance of two entries of V is a formula


def joint_limit(recipe: Recipe) -> Diffusion | Flow:
    r"""Limit of the Gram matrix of m inputs as depth and width grow together.

    .. math:: b = \lim n^\delta\, \mathbb{E}[V' - V \mid V], \qquad a = \lim n^\delta\,\mathrm{Cov}[V' \mid V] .

    Parameters
    ----------
    recipe : Recipe
        Any: a :class:`~derivations.Network` or a named one. Its :class:`~derivations.architectures.regime.Regime` states the rates; one that states none
        takes :math:`\varepsilon = n^{-1/2}` and n layers in a unit of time.

    Returns
    -------
    GramDiffusion or Flow
        In the upper triangle of V, row by row; a flow where the noise vanishes. For a perceptron with an activation that
        keeps its shape, inputs = 2: the diffusion of :math:`q = \ell^2(1 - \rho_\ell)`, see
        :func:`~derivations.limits.collapse.collapse_limit`.

    Raises
    ------
    NoLimit
        If a term grows; the message says what the network does instead.
    NotClosed
        If V is no chain by itself.
    DerivationError
        If the sign of an exponent is not known: declare the rates' symbols.

    Examples
    --------
    >>> from derivations.activations import tanh
    >>> from derivations.architectures.perceptron import ShapedMLP
    >>> a = sp.Symbol("a", positive=True)
    >>> limit = joint_limit(ShapedMLP(tanh, a=a))
    >>> limit.drift, limit.covariance
    (Matrix([[-2*V*(V - 1)/a**2]]), Matrix([[2*V**2]]))
    """
    return limit_and_moments(recipe)[0]


def limit_and_moments(recipe: Recipe) -> tuple[Diffusion | Flow, JointMoments]:
    """The limit, and one layer's moments that it was matched from."""
    require("the recipe", recipe, Recipe, "a network such as MLP(relu)")
    program = recipe.scaled_program(joint_regime(recipe))
    require_real(program)
    few = recipe.coordinates if heads(program) else Exchange.of(program).few(recipe.coordinates, _FEW)
    moments = JointMoments.of(recipe, few)
    return _limit_of(recipe, moments), moments


def _limit_of(recipe: Recipe, moments: JointMoments) -> Diffusion | Flow:
    program, inputs, few = recipe.scaled_program(joint_regime(recipe)), recipe.coordinates, moments.chain.inputs
    exchange, alike = Exchange.of(program), not heads(program)
    if (activation := unshaped(moments.chain.program)) is not None:
        require_homogeneous(activation)
    if collapses(moments):
        if inputs == 2:
            return collapse_limit(moments)
        if inputs > 2:
            raise DerivationError(
                f"the limit of an unshaped perceptron is derived for a pair of inputs, got {inputs}; follow them pair by pair"
            )
    manifold = SlowManifold.of(moments)
    source: JointMoments | SlowManifold = moments if manifold is None else manifold
    matrix = gram_matrix(inputs)
    means = tuple(mean_symbols(inputs)) if moments.chain.means else ()
    named = [(moments.matrix, matrix), *([(sp.Matrix(moments.chain.means), sp.Matrix(means))] if means else [])]
    renamed, always = matrix_labels(*named), inputs > few
    if program.has_positions:
        renamed = permuted(renamed, few)

    def everywhere(
        entry: Callable[..., sp.Expr], same: Callable[..., tuple[tuple[int, ...], ...]] = one_order
    ) -> Callable[..., sp.Expr]:
        return by_pattern(entry, renamed, exchange, always, same) if alike else entry

    velocity = moments.velocity if manifold is None else manifold.drift
    drift = everywhere(lambda a, b: factored(velocity(a, b)))
    noise = everywhere(lambda a, b, c, d: source.noise((a, b), (c, d)), symmetric_pairs)
    pairs = [p for p in upper(inputs) if manifold is None or p[0] != p[1]]
    states = tuple(matrix[pair] for pair in pairs)
    drifts = sp.ImmutableMatrix([drift(*pair) for pair in pairs])
    every = [(i, j) for i in range(len(pairs)) for j in range(i, len(pairs))]
    generic = generic_entries(pairs, exchange) if alike else every
    covariance = LazyCovariance(lambda i, j: noise(*pairs[i], *pairs[j]), generic if alike else ())
    is_flow = all(noise(*pairs[i], *pairs[j]) == 0 for i, j in generic)
    if means and is_flow and manifold is None:
        speeds = everywhere(lambda a: factored(moments.speed(a)))
        return Flow((*means, *states), sp.ImmutableMatrix([*(speeds(a) for a in range(inputs)), *drifts]))
    if means:
        raise NotClosed(
            "neurons whose mean moves together with a Gram matrix that fluctuates are not derived; centre the weights and biases"
        )
    if is_flow:
        return Flow(states, drifts)
    if manifold is not None:
        settled = matrix.xreplace({matrix[a, a]: manifold.norm for a in range(inputs)})
        if len(states) == 1:
            return Diffusion(states, drifts, covariance, _of_norm(settled, states))
        return GramDiffusion(states, drifts, covariance, _of_norm(settled, states), matrix=settled)
    return GramDiffusion(states, drifts, covariance, cone(matrix), matrix=matrix)


def _of_norm(matrix: sp.ImmutableMatrix, states: tuple[sp.Symbol, ...]) -> sp.Set:
    """Positive semi-definite matrices with a fixed diagonal, in the entries above it."""
    if len(states) == 1:
        return sp.Interval.open(-matrix[0, 0], matrix[0, 0])
    return sp.ConditionSet(sp.Tuple(*states), Semidefinite(matrix), sp.Reals ** len(states))
