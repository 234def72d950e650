r"""Exact samplers as data: what is to be drawn, and how the sample is made of it.

Besides :class:`~derivations.laws.base.Recipe`, a mixture of functions of one normal, there are three kinds. All are in terms of
``symbols.initial`` and ``symbols.time``, and each is exact: nothing is discretised in time.
"""

from __future__ import annotations

from dataclasses import dataclass

import sympy as sp

from derivations.laws.base import Law


@dataclass(frozen=True)
class RadialRecipe:
    r"""A radius Y with :math:`Y^2/v` noncentral :math:`\chi^2` with :math:`2 + 2n` degrees of freedom, and its killed variant.

    Unkilled: :math:`Y^2/v \sim \chi'^2_{2+2n}(m^2/v)`. Killed at 0, for index :math:`n = -\nu < 0`: with
    :math:`\lambda = m^2/2v` draw G from the Gamma law of shape :math:`\nu`; if :math:`G \ge \lambda` the process has been absorbed, else
    :math:`J \sim \mathrm{Poisson}(\lambda - G)` and :math:`Y^2/2v \sim \mathrm{Gamma}(J + 1)`.

    *Derivation of the killed case.* :math:`\int_0^\lambda \frac{g^{\nu-1}e^{-g}}{\Gamma(\nu)} \frac{(\lambda-g)^j e^{-(\lambda-g)}}{j!}\,\mathrm{d}g
    = \frac{e^{-\lambda}\lambda^{\nu+j}}{\Gamma(\nu+j+1)}`, the coefficient of the Gamma(j + 1) density in the power series of
    the killed density.

    Parameters
    ----------
    index, variance, centre : Expr
        n, v and m.
    killed : bool
    value : Lambda
        The sample as a function of the radius.
    end : Expr
        The sample where the process has been absorbed.
    """

    index: sp.Expr
    variance: sp.Expr
    centre: sp.Expr
    killed: bool
    value: sp.Lambda
    end: sp.Expr


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
class Inversion:
    """Inversion of the law's own distribution function, by quadrature of its density in the unit-noise coordinate."""

    law: Law
