r"""How the derivative of a network in its input moves with depth.

The Jacobian :math:`J_{ik} = \partial X_{t,i}/\partial X_{0,k}` obeys the equation that differentiating one layer gives. With
:math:`x_i' = f(x_i, u_i, m, \varepsilon)`, and independent weights in each layer,

.. math:: J_{ik}' = f_x J_{ik} + f_u \sum_j W_{ij}\psi'(x_j)J_{jk} + f_m\,\tfrac{\mu_w}{n}\sum_j \psi'(x_j)J_{jk}.

Column k of J is a second state beside x, the tangent :math:`v`; given both, :math:`(u_i, \dot u_i)` with
:math:`\dot u_i = \sum_j W_{ij}\psi'(x_j)v_j` is a Gaussian pair, so tangents are further inputs of the same algorithm.
"""

from __future__ import annotations

from dataclasses import dataclass

import sympy as sp

from derivations.architectures.base import Recipe
from derivations.diffusion import NeuronDiffusion
from derivations.errors import DerivationError
from derivations.language.statements import Matrix, Mean, Program
from derivations.limits.tangents import tangent_limit
from derivations.sums import CoordinateSum
from derivations.symbols import state, step


def jacobian_diffusion(architecture: Recipe, columns: int = 1) -> NeuronDiffusion:
    r"""The joint depth limit of a neuron's state and of its row of some columns of the Jacobian.

    For :math:`x' = x + \varphi(W\psi(x) + b)` with shrinking weights,

    .. math:: \mathrm{d}J_{ik} = \Bigl[\varphi''(0)\tfrac{\sigma_w^2}{n}\sum_j\psi_j\psi_j'J_{jk} +
              \varphi'(0)\tfrac{\mu_w}{n}\sum_j\psi_j'J_{jk}\Bigr]\mathrm{d}t + \varphi'(0)\sum_j \mathrm{d}W_{ij}\,\psi_j'J_{jk} .

    *Derivation.* Taylor's formula for the update and its derivative along a tangent,
    :math:`\dot f = f_x v + f_u \dot u + f_m \dot m`, to order :math:`\varepsilon^2`; then the mean and covariance over the
    Gaussian :math:`(u, \dot u^1, \dots)` given the state and the tangents.

    Parameters
    ----------
    architecture : Recipe
        Dense, with one input, a width that is a number or a symbol.
    columns : int
        How many tangents to follow.

    Returns
    -------
    NeuronDiffusion
        In the coordinates x and :math:`v^1, v^2, \dots`.

    Raises
    ------
    DerivationError
        For several inputs, an infinite width or an architecture over a grid.

    Examples
    --------
    >>> from derivations import ShrinkingResNet, identity, symbols, tanh
    >>> jacobian_diffusion(ShrinkingResNet(tanh, identity, symbols.width)).neuron_covariance[1, 1]
    Sum_j(x_j^2**2)/n
    """
    if architecture.coordinates != 1 or architecture.width == sp.oo:
        raise DerivationError(
            "the Jacobian is derived for one input of a dense network at finite or symbolic width, got "
            f"{architecture.inputs} inputs, positions {architecture.positions}, width {architecture.width}"
        )
    return tangent_limit(architecture.program(), columns)


@dataclass(frozen=True)
class LogVolume:
    r"""Drift and variance rate of :math:`\log` of the volume that k tangents span; for k = n that is :math:`\log|\det J|`.

    Constant rates make it Gaussian, :math:`N(\text{drift}\cdot t, \text{rate}\cdot t)`.
    """

    drift: sp.Expr
    rate: sp.Expr


def log_volume(architecture: Recipe, columns: int) -> LogVolume:
    r"""Itô's formula on :math:`\tfrac12\log\det(V^\top V)`, V the n × k matrix of k tangents.

    The Gram matrix holds sums over the neurons, so n may be a symbol. Where the coefficients still
    depend on the state, they say so by the sums that they hold.

    Examples
    --------
    >>> from derivations import ShrinkingResNet, identity, symbols, tanh
    >>> log_volume(ShrinkingResNet(tanh, identity, symbols.width), 1)
    LogVolume(drift=(n - 2)/(2*n), rate=1/n)
    """
    limit = jacobian_diffusion(architecture, columns)
    tangents = limit.neuron[1:]
    gram = sp.Matrix(columns, columns, lambda a, b: limit.sum(tangents[a] * tangents[b]))
    volume = sp.expand(gram.det(method="berkowitz"))
    rate = sp.cancel(limit.bracket(volume, volume) / (4 * volume**2))
    return LogVolume(sp.factor(sp.cancel(limit.generator(volume) / (2 * volume) - rate)), sp.factor(rate))


def lyapunov_exponent(architecture: Recipe, index: int) -> sp.Expr:
    r"""The k-th Lyapunov exponent where volumes have constant rates: growth of k-volumes minus that of (k−1)-volumes.

    Raises
    ------
    DerivationError
        If the rates depend on the state.

    Examples
    --------
    >>> from derivations import ShrinkingResNet, identity, symbols, tanh
    >>> [lyapunov_exponent(ShrinkingResNet(tanh, identity, symbols.width), k) for k in (1, 2)]
    [(n - 2)/(2*n), (n - 4)/(2*n)]
    """
    drifts = [log_volume(architecture, k).drift if k else sp.S.Zero for k in (index - 1, index)]
    if any(
        d.free_symbols - architecture.width.free_symbols - _parameters(architecture.program()) or d.has(CoordinateSum)
        for d in drifts
    ):
        raise DerivationError(f"the volumes of {architecture} do not grow at constant rates; simulate the Jacobian")
    return sp.factor(drifts[1] - drifts[0])


def _parameters(program: Program) -> set[sp.Symbol]:
    known = {state, step, *(statement.symbol for statement in program.statements)}
    bodies = [s.body for s in program.statements if isinstance(s, Matrix | Mean)]
    numbers = [
        n for s in program.statements if isinstance(s, Matrix) for n in s.weights.args[2:] if isinstance(n, sp.Expr)
    ]
    return set().union(*(e.free_symbols for e in (program.update, *bodies, *numbers))) - known
