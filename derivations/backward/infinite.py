r"""How gradients change with depth at infinite width: the flow of their mean square.

For a random readout :math:`g \sim N(0, I/n)` the gradient of :math:`g^\top X_t` in the first layer is :math:`J_t^\top g`, and

.. math:: \mathbb{E}\,\|J_t^\top g\|^2 = \tfrac1n\,\mathbb{E}\,\|J_t\|_F^2 = \mathbb{E}\,\|J_t v\|^2, \qquad v \sim N(0, I/n),

in every network: a backward gradient and a forward tangent have the same mean square. So the equation of the tangents
is that of the gradients, read from the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import sympy as sp

from derivations.architectures.base import Recipe
from derivations.diffusion import Flow
from derivations.language.statements import Back, Matrix
from derivations.limits.gram import gram_matrix
from derivations.limits.tangents import tangent_flow

#: The mean square of a gradient's entry times the width, as a state of a flow.
GRADIENT = gram_matrix(1, "Q")[0, 0]


def gradient_flow(architecture: Recipe) -> Flow:
    r"""At infinite width: the flow of the kernel and of the mean square Q of a gradient from depth t.

    .. math:: \dot Q = \bigl(p\,\sigma_w^2\,\mathbb{E}\,\psi'(X_t)^2 + 2c\bigr)\,Q

    where a layer's noise has the variance p times that of its matrix, and its drift is c x; :math:`p = \varphi'(0)^2` and :math:`c = 0` for
    shrinking blocks. *Derivation.* At infinite width a neuron and its tangent are independent if they start so: their
    covariance obeys a linear equation without a source. Then only what the weights pass on is left,
    as in the tangent kernel without the layers' own parameters. Gradients vanish or explode at most exponentially,
    at a finite rate, however many the layers.

    Parameters
    ----------
    architecture : Recipe
        Its width and number of inputs are ignored.

    Returns
    -------
    Flow
        In the states of :func:`derivations.kernels.nngp` for one input, and ``GRADIENT``, which starts at 1. Over positions Q is the matrix of the
        second moments of a tangent and starts at the identity; over all positions together a gradient has its trace.

    Examples
    --------
    >>> from derivations import ResNet, relu
    >>> gradient_flow(ResNet(relu, width=sp.oo)).drift
    Matrix([
    [K/2],
    [Q/2]])
    """
    single = replace(architecture, width=sp.oo, inputs=1)
    return tangent_flow(single.program(), single.coordinates, stem="Q", parameters=False)


def weight_gradient_flow(architecture: Recipe) -> dict[str, tuple[sp.Expr, ...]]:
    r"""At infinite width: what gradients in a layer's weights are of the gradient in the layer, one entry for each matrix.

    The gradient in all weights of a layer is :math:`\sum_i G_i\,\partial_\omega X_i`, so its mean square is that of a tangent along these
    weights from rest, with the mean square of G in the place of its own:

    .. math:: \mathrm{d}\,\mathbb{E}\,|\partial_W f|^2 = q_W(K_s)\,\mathbb{E}\,|G_s|^2\,\mathrm{d}s .

    Weights, and biases with them, are in units of their standard deviations.

    Returns
    -------
    dict of str to tuple of Expr
        For each matrix :math:`q` in the kernel's states, in the order of the upper triangle over positions; one input.

    Raises
    ------
    NotClosed
        If tangents need more than their second moments.

    Examples
    --------
    >>> from derivations import ResNet, relu
    >>> weight_gradient_flow(ResNet(relu, width=sp.oo))
    {'W': (K/2,)}
    """
    single = replace(architecture, width=sp.oo, inputs=1)
    program, found = single.program(), {}
    for weights in dict.fromkeys(s.weights for s in program.statements if isinstance(s, Matrix | Back)):
        if weights.is_mean:
            continue
        flow = tangent_flow(program, single.coordinates, stem="Q", parameters=frozenset({weights}))
        count = single.coordinates * (single.coordinates + 1) // 2
        rest = dict.fromkeys(flow.states[-count:], sp.S.Zero)
        found[weights.name] = tuple(rate.xreplace(rest) for rate in flow.drift[-count:])
    return found


def adjoint_flow(flow: Flow, end: sp.Expr, rates: Sequence[tuple[sp.Expr, ...]] = ()) -> Flow:
    r"""The same read from the end: how a linear function of Q at the depth ``end`` depends on Q at each depth before.

    Over positions a gradient from a given readout has the mean square :math:`\sum_{ab} R_{ab}Q_{ab}`. Q obeys :math:`\dot Q = A(K)\,Q`, so with
    :math:`\tau` counted from the end :math:`\mathrm{d}R/\mathrm{d}\tau = A^\top R`, beside the kernel that runs back.

    Parameters
    ----------
    flow : Flow
        As :func:`gradient_flow` gives it.
    end : Expr
        A number.
    rates : sequence of tuple of Expr, optional
        Of :func:`weight_gradient_flow`: what each gains on the way, :math:`\int q \cdot R\,\mathrm{d}\tau`, is one more state, from 0.

    Returns
    -------
    Flow
        Of the same states, with R in the place of Q, in :math:`\tau`.

    Examples
    --------
    >>> from derivations import ResNet, relu
    >>> adjoint_flow(gradient_flow(ResNet(relu, width=sp.oo)), sp.Integer(1)).drift
    Matrix([
    [-K/2],
    [ Q/2]])
    """
    count = len(flow.states) // 2
    squares, drift = flow.states[-count:], flow.drift[-count:]
    back = dict.fromkeys(squares, sp.S.Zero)
    for r, rate in zip(squares, drift, strict=True):
        for q in rate.free_symbols.intersection(squares):
            back[q] += r * sp.diff(rate, q)
    velocity = (*(-rate for rate in flow.drift[:-count]), *back.values())
    gained = [sp.Add(*(r * q for r, q in zip(squares, rate, strict=True))) for rate in rates]
    names = tuple(sp.Symbol(f"S_{k + 1}", nonnegative=True) for k in range(len(gained)))
    at = {flow.time: end - flow.time}
    drift = sp.ImmutableMatrix([rate.xreplace(at) for rate in (*velocity, *gained)])
    return Flow((*flow.states, *names), drift, flow.time)
