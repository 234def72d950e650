r"""Depth and width to infinity together: matching one layer's moments, power by power of the width.

With n neurons, a unit of time of :math:`n^\delta` layers and small parameters :math:`\varepsilon_k = n^{-p_k}`, a term
:math:`\prod_k \varepsilon_k^{j_k}` of the mean adds :math:`n^{\delta - \sum_k j_k p_k}` times its coefficient per unit of time, and the
noise of a layer, which is an average over n neurons, has one more :math:`n^{-1}`. A positive exponent has
no limit, zero survives, a negative one vanishes.
"""

from __future__ import annotations

import sympy as sp

from derivations.architectures.base import Architecture
from derivations.architectures.scaling import ScaledArchitecture, Scaling
from derivations.diffusion import Diffusion, Flow
from derivations.errors import DerivationError, NoLimit
from derivations.limits.collapse import collapse_limit, transient
from derivations.limits.elimination.labels import by_pattern, matrix_labels
from derivations.limits.gram import GramDiffusion, cone, upper
from derivations.limits.increments import GramMoments, gram_moments, order_of
from derivations.symbols import step


def scaling_of(architecture: Architecture) -> Scaling:
    r"""How a network scales: its own word, or :math:`\varepsilon = L^{-1/2}` with L = n layers in a unit of time."""
    if isinstance(architecture, ScaledArchitecture):
        return architecture.scaling()
    layer = architecture.layer()
    pre = layer.preactivation
    if pre.bias_variance != 0 or pre.has_means or pre.taps:
        raise DerivationError("the joint limit is derived for dense layers with centred weights and without bias")
    return Scaling(layer.update, pre.inner, ((step, sp.S.Half),), sp.S.One, pre.weight_variance)


def joint_limit(architecture: Architecture) -> Diffusion | Flow:
    r"""Limit of the Gram matrix of m inputs as depth and width grow together.

    .. math:: b = \lim n^\delta\, \mathbb{E}[V' - V \mid V], \qquad a = \lim n^\delta\,\mathrm{Cov}[V' \mid V] .

    Parameters
    ----------
    architecture : Architecture
        A :class:`~derivations.architectures.scaling.ScaledArchitecture` states its rates; any other takes
        :math:`\varepsilon^2 = 1/n` per layer.

    Returns
    -------
    GramDiffusion or Flow
        In the upper triangle of V, row by row; a flow where the noise vanishes. For an activation that
        keeps its shape, inputs = 2: the diffusion of :math:`q = \ell^2(1 - \rho_\ell)`, see
        :func:`~derivations.limits.collapse.collapse_limit`.

    Raises
    ------
    NoLimit
        If a term grows; the message says what the network does instead.
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
    scaling = scaling_of(architecture)
    if transient(scaling):
        return collapse_limit(scaling, architecture.inputs)
    moments = gram_moments(scaling, architecture.inputs)
    _require_slow(moments)
    pairs = upper(architecture.inputs)
    fate, same = _fate(moments, scaling), matrix_labels((moments.matrix, moments.matrix))
    entry = by_pattern(lambda a, b: _drift(moments.drift(a, b), scaling, fate), same)
    drift = sp.ImmutableMatrix([entry(*pair) for pair in pairs])
    if order_of(scaling) is None:
        rates = ", ".join(str(rate) for _, rate in scaling.sizes)
        raise DerivationError(
            f"with small parameters n^(-p), p = {rates}, a unit of n^({scaling.depth_rate}) layers needs terms of higher order than are "
            "expanded, or of one whose sign is not known; give rates as numbers, at least a twelfth of the depth's"
        )
    exponent = scaling.depth_rate - 1 - moments.order * scaling.sizes[0][1]
    noise = _survives(exponent, "the fluctuation of a layer", "the network is random already in finitely many layers")
    states = tuple(moments.matrix[pair] for pair in pairs)
    covariance = sp.ImmutableMatrix(moments.covariance.subs({size: 1 for size, _ in scaling.sizes}))
    if not noise or covariance.is_zero_matrix:
        return Flow(states, drift)
    return GramDiffusion(states, drift, covariance, cone(moments.matrix), matrix=moments.matrix)


def _require_slow(moments: GramMoments) -> None:
    """One layer must change nothing at order 0, and nothing in the mean at order 1."""
    for pair in upper(min(moments.matrix.rows, 2)):  # inputs are exchangeable
        moved = sp.factor(moments.mean[0][pair] - moments.matrix[pair])
        if moved != 0:
            raise NoLimit(
                f"one layer moves the Gram matrix by {moved} however wide the network is, so it settles in finitely many "
                "layers instead of becoming continuous in depth; shape the activation (ShapedMLP) or scale the branch"
            )
        if moments.mean[1][pair] != 0:
            raise NoLimit(
                f"the mean of one layer's increment is {moments.mean[1][pair]} at first order; it must vanish there: "
                "use the critical weight variance"
            )


def _drift(mean: sp.Expr, scaling: Scaling, fate: str) -> sp.Expr:
    total = sp.S.Zero
    symbols = [size for size, _ in scaling.sizes]
    for powers, coefficient in sp.Poly(mean, *symbols).terms() if mean != 0 else ():
        exponent = scaling.depth_rate - sum(
            (power * rate for power, (_, rate) in zip(powers, scaling.sizes, strict=True)), sp.S.Zero
        )
        if _survives(exponent, "the drift", fate):
            total += coefficient
    return sp.factor(total)


def _survives(exponent: sp.Expr, what: str, instead: str) -> bool:
    """Whether a term of size n^exponent per unit of time stays as n grows."""
    sign = sp.expand(exponent)
    if sign.is_zero:
        return True
    if sign.is_negative:
        return False
    if sign.is_positive:
        raise NoLimit(
            f"{what} grows like n^({sign}) per unit of time: {instead}; choose a larger rate or a smaller depth_rate"
        )
    raise DerivationError(
        f"{what} is of size n^({sign}) per unit of time, whose sign is not known; "
        "give the rates as numbers, or as symbols for which it is"
    )


def _fate(moments: GramMoments, scaling: Scaling) -> str:
    """Where the flow of the drift alone ends, which a drift that is too strong reaches at once."""
    ones = {size: 1 for size, _ in scaling.sizes}
    first = next((mean[0, 0] for mean in moments.mean[2:] if not mean.is_zero_matrix), sp.S.Zero)
    norm, v = sp.expand(first.subs(ones)), moments.matrix[0, 0]
    if norm == 0:
        return "the flow runs to its end at once, and the correlations of all inputs collapse to 1"
    rate = sp.cancel(norm / (v * (v - 1))) if norm.is_polynomial(v) else sp.nan
    if rate.is_positive:
        return "the norms explode where they start above 1 and vanish below"
    if rate.is_negative:
        return "the norms settle at 1 at once, and the correlations run to a fixed point of their flow"
    return f"the flow of the norm, with velocity {sp.factor(norm)}, runs to its end at once"
