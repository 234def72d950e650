r"""Exact samplers as data: what is to be drawn, and how the sample is made of it.

Besides :class:`~derivations.laws.base.Recipe`, a mixture of functions of one normal, there are five kinds. All are in terms of
``symbols.initial`` and ``symbols.time``, and each is exact: nothing is discretised in time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import sympy as sp

from derivations.laws.base import Law, Recipe


@dataclass(frozen=True)
class RadialRecipe:
    r"""A radius Y with :math:`Y^2/v` noncentral :math:`\chi^2` with :math:`2 + 2n` degrees of freedom, and its absorbed variant.

    Not absorbed: :math:`Y^2/v \sim \chi'^2_{2+2n}(m^2/v)`. Absorbed at 0, for index :math:`n = -\nu < 0`: with
    :math:`\lambda = m^2/2v` draw G from the Gamma law of shape :math:`\nu`; if :math:`G \ge \lambda` the process has been absorbed, else
    :math:`J \sim \mathrm{Poisson}(\lambda - G)` and :math:`Y^2/2v \sim \mathrm{Gamma}(J + 1)`.

    *Derivation of the absorbed case.* :math:`\int_0^\lambda \frac{g^{\nu-1}e^{-g}}{\Gamma(\nu)} \frac{(\lambda-g)^j e^{-(\lambda-g)}}{j!}\,\mathrm{d}g
    = \frac{e^{-\lambda}\lambda^{\nu+j}}{\Gamma(\nu+j+1)}`, the coefficient of the Gamma(j + 1) density in the power series of
    the absorbed density.

    Parameters
    ----------
    index, variance, centre : Expr
        n, v and m.
    absorbed : bool
    value : Lambda
        The sample as a function of the radius.
    end : Expr
        The sample where the process has been absorbed.
    """

    index: sp.Expr
    variance: sp.Expr
    centre: sp.Expr
    absorbed: bool
    value: sp.Lambda
    end: sp.Expr


@dataclass(frozen=True)
class CrossingRecipe:
    r"""A reflected radius Y, and a sign that is drawn anew if Y has been at 0.

    :math:`Y^2/v \sim \chi'^2_{2+2n}(m^2/v)`, and given Y the radius has not been at 0 with probability :math:`I_{-n}(z)/I_n(z)`,
    :math:`z = mY/v`, the quotient of the absorbed and the reflected density.

    Parameters
    ----------
    index, variance, centre : Expr
        n, v and m.
    side : Expr
        1 for a start on the right, −1 for one on the left.
    share : Expr
        Probability of a new sign to be that of the right side.
    left, right : Lambda
        The sample on either side as a function of the radius.
    """

    index: sp.Expr
    variance: sp.Expr
    centre: sp.Expr
    side: sp.Expr
    share: sp.Expr
    left: sp.Lambda
    right: sp.Lambda


@dataclass(frozen=True)
class HalfLineRecipe:
    r"""A distance Y from an end: absorbed Brownian motions with drift ±k, and the process that never gets to the end.

    :math:`u = A e^{ky} + B e^{-ky} + C \sinh(ky)/k` with nonnegative weights (``up``, ``down``, ``away``, their shares of
    :math:`u(y_0)`). A Brownian motion with drift from :math:`y_0` to :math:`Y > 0` has met the end with probability
    :math:`e^{-2 y_0 Y/t}`, whatever the drift. The share C is the radial part of Brownian motion in space with a drift of size k
    whose direction makes an angle of cosine c with the start, c having the density
    :math:`\propto e^{k y_0 c}`: :math:`Y^2 = (y_0 c + kt + \sqrt t G_1)^2 + (y_0\sqrt{1-c^2} + \sqrt t G_2)^2 + t G_3^2`.

    Parameters
    ----------
    up, down, away : Expr
        Probabilities.
    rate, start : Expr
        k and :math:`y_0`.
    value : Lambda
        The sample as a function of the distance.
    end : Expr
        The sample where the process has been absorbed.
    """

    up: sp.Expr
    down: sp.Expr
    away: sp.Expr
    rate: sp.Expr
    start: sp.Expr
    value: sp.Lambda
    end: sp.Expr


@dataclass(frozen=True)
class ConditionedRecipe:
    r"""Brownian motion conditioned to stay in an interval, by rejection, in the unit interval with :math:`\tau = t/\ell^2`.

    The density is :math:`q(a) = \frac{\sin\pi a}{\sin\pi b} e^{\pi^2\tau/2} K(\tau, a, b)`. Up to reflection :math:`b \le \tfrac12`. For
    short times a three-dimensional Bessel process from b is proposed: K is at most the half-line's kernel, so that
    :math:`q/h \le \pi\,\frac{b}{\sin\pi b}\, e^{\pi^2\tau/2}`. For long ones :math:`2\sin^2\pi a` is:
    :math:`q/h \le \sum_m m^2 e^{-(m^2-1)\pi^2\tau/2}`.

    Parameters
    ----------
    scaled_time, start : Expr
        :math:`\tau` and b.
    length : Expr
    value : Lambda
        The sample as a function of the distance from the left end.
    """

    scaled_time: sp.Expr
    start: sp.Expr
    length: sp.Expr
    value: sp.Lambda


@dataclass(frozen=True)
class Inversion:
    """Inversion of the law's own distribution function, by quadrature of its density in the Lamperti coordinate."""

    law: Law


AnyRecipe: TypeAlias = Recipe | RadialRecipe | CrossingRecipe | HalfLineRecipe | ConditionedRecipe | Inversion
