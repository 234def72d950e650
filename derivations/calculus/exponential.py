r"""The collapse of two inputs as a linear equation, and its solution: an exponential functional of Brownian motion.

:math:`w = t/\sqrt q` takes the singular start out of the equation of :math:`q = \ell^2(1-\rho)`; in a finite network
:math:`w_\ell = 1/(n\sqrt{1 - \rho_\ell})`. Itô's formula makes it linear,
:math:`\mathrm{d}w = (\kappa + \mu w)\,\mathrm{d}t - \sigma w\,\mathrm{d}B`, so

.. math:: w_t = w_0 E_t + \kappa \int_0^t E_t/E_s\,\mathrm{d}s, \qquad E_t = \exp\bigl((\mu - \tfrac12\sigma^2)t - \sigma B_t\bigr),

and from :math:`w_0 = 0`, by time reversal,
:math:`w_t = \kappa\int_0^t \exp((\mu - \tfrac12\sigma^2)s + \sigma B_s)\,\mathrm{d}s` in law.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import sympy as sp

from derivations.calculus.ito import transform
from derivations.diffusion import Diffusion
from derivations.errors import DerivationError, brief
from derivations.limits.collapse import CollapseDiffusion
from derivations.symbols import time

inverse_root = sp.Symbol("w", positive=True)
mixed = sp.Symbol("y", real=True)


@dataclass(frozen=True)
class LinearForm:
    r"""The linear equation :math:`\mathrm{d}w = (\kappa + \mu w)\,\mathrm{d}t - \sigma w\,\mathrm{d}B`.

    Parameters
    ----------
    source, growth, variance : Expr
        :math:`\kappa`, :math:`\mu` and :math:`\sigma^2`.
    """

    source: sp.Expr
    growth: sp.Expr
    variance: sp.Expr

    @property
    def process(self) -> Diffusion:
        """The diffusion of w."""
        w = inverse_root
        return Diffusion(
            (w,),
            sp.ImmutableMatrix([self.source + self.growth * w]),
            sp.ImmutableMatrix([[self.variance * w**2]]),
            sp.Interval(0, sp.oo),
        )

    @property
    def log_drift(self) -> sp.Expr:
        r""":math:`\alpha = \mu - \tfrac12\sigma^2`, the drift in the exponent of the functional."""
        return sp.cancel(self.growth - self.variance / 2)

    def moment(self, k: int, start: sp.Expr = sp.S.Zero, t: sp.Expr = time) -> sp.Expr:
        r"""The moment :math:`m_k = \mathbb{E}w_t^k`, solved from below.

        The hierarchy is :math:`\dot m_k = k\kappa\,m_{k-1} + (k\mu + \tfrac12 k(k-1)\sigma^2)\,m_k`.

        Examples
        --------
        >>> from derivations.activations import relu
        >>> from derivations.architectures import MLP
        >>> from derivations.limits import joint_limit
        >>> collapse_linear(joint_limit(MLP(relu, inputs=2))).moment(1)
        sqrt(2)*exp(2*t)/(6*pi) - sqrt(2)/(6*pi)
        """
        if k < 0:
            raise DerivationError(f"a moment has an order k ≥ 0, got {k}")
        # m_k = Σ_j c_j exp(r_j t) with r_j = jμ + ½j(j-1)σ², increasing in j, so that no two rates are equal
        rates = [sp.cancel(j * self.growth + sp.Rational(j * (j - 1), 2) * self.variance) for j in range(k + 1)]
        weights = [sp.S.One]
        for order in range(1, k + 1):
            weights = [sp.cancel(order * self.source * c / (rates[j] - rates[order])) for j, c in enumerate(weights)]
            weights.append(start**order - sp.Add(*weights))
        return sp.Add(*(sp.factor(c) * sp.exp(rate * t) for c, rate in zip(weights, rates, strict=True)))

    @property
    def scale(self) -> sp.Expr:
        r"""The factor in :math:`w_t = \frac{4\kappa}{\sigma^2} A_\tau`.

        Here :math:`\tau = \sigma^2 t/4` and :math:`A_\tau = \int_0^\tau e^{2(B_s + \nu s)}\,\mathrm{d}s`.
        """
        return sp.cancel(4 * self.source / self.variance)

    @property
    def clock(self) -> sp.Expr:
        r""":math:`\tau/t = \sigma^2/4`."""
        return self.variance / 4

    @property
    def index(self) -> sp.Expr:
        r""":math:`\nu = 2\alpha/\sigma^2`."""
        return sp.cancel(2 * self.log_drift / self.variance)

    @cached_property
    def mixture(self) -> Diffusion:
        r"""A diffusion Y from 0 with :math:`Y_\tau = \sqrt{A_\tau}\,N` in law, N a standard normal independent of A; time is :math:`\tau`.

        *Derivation.* Given the path, :math:`\sqrt{A_\tau}\,N = \int_0^\tau e^{\xi_s}\,\mathrm{d}\gamma_s` in law with
        :math:`\xi_s = B_s + \nu s`, and
        by time reversal it is :math:`e^{\xi_\tau}\int_0^\tau e^{-\xi_s}\,\mathrm{d}\gamma_s`, which solves
        :math:`\mathrm{d}Y = Y(\mathrm{d}\xi + \tfrac12\mathrm{d}\tau) + \mathrm{d}\gamma`. The law of A is known once
        that of Y is: the density of Y is the
        Laplace transform :math:`\mathbb{E}[(2\pi A)^{-1/2}e^{-y^2/2A}]` (Bougerol's identity).
        """
        y = mixed
        return Diffusion((y,), sp.ImmutableMatrix([(self.index + sp.S.Half) * y]), sp.ImmutableMatrix([[1 + y**2]]))


def collapse_linear(limit: CollapseDiffusion) -> LinearForm:
    r"""Itô's formula on :math:`w = t/\sqrt q`.

    Raises
    ------
    DerivationError
        If the result is not linear.

    Examples
    --------
    >>> from derivations.activations import relu
    >>> from derivations.architectures import MLP
    >>> from derivations.limits import joint_limit
    >>> collapse_linear(joint_limit(MLP(relu, inputs=2))).process.drift
    Matrix([[2*w + sqrt(2)/(3*pi)]])
    """
    (q,), t, w = limit.states, limit.time, inverse_root
    process = transform(limit, {w: t / sp.sqrt(q)}, {q: (t / w) ** 2}, sp.Interval(0, sp.oo))
    drift, variance = sp.expand(process.drift[0]), sp.cancel(process.covariance[0, 0] / w**2)
    growth = sp.diff(drift, w)
    source = sp.cancel(drift - growth * w)
    if {w, t} & (growth.free_symbols | source.free_symbols | variance.free_symbols):
        raise DerivationError(
            f"the equation of w = t/√q is not linear: drift {brief(drift)}, covariance {brief(process.covariance[0, 0])}"
        )
    return LinearForm(sp.factor(source), sp.factor(growth), sp.factor(variance))
