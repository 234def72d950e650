r"""Kolmogorov's forward (Fokker–Planck) and backward equations, and that of Feynman and Kac."""

from __future__ import annotations

import sympy as sp

from derivations.calculus.ito import generator
from derivations.diffusion import Diffusion


def backward(process: Diffusion, function: sp.Expr) -> sp.Expr:
    r"""Backward operator :math:`\partial_t f + b\cdot\nabla f + \tfrac12 a : \nabla^2 f`.

    It vanishes for :math:`f(t, x) = \mathbb{E}[F(X_T) \mid X_t = x]`.
    """
    return generator(process, function)


def feynman_kac(process: Diffusion, function: sp.Expr, rate: sp.Expr) -> sp.Expr:
    r"""The operator :math:`\partial_t f + \mathcal{L}f - rf` of a process that is killed at the rate r.

    It vanishes for :math:`f(t, x) = \mathbb{E}\bigl[e^{-\int_t^T r(X_s)\,\mathrm{d}s} F(X_T) \mid X_t = x\bigr]` (Feynman and Kac).

    Examples
    --------
    >>> x, t = sp.Symbol("x", real=True), sp.Symbol("t", positive=True)
    >>> sp.expand(feynman_kac(Diffusion((x,), [0], [[1]]), sp.exp(-2 * t) * sp.cos(2 * x), -4))
    0
    """
    return generator(process, function) - sp.sympify(rate) * function


def forward(process: Diffusion, density: sp.Expr) -> sp.Expr:
    r"""Fokker–Planck residual :math:`\partial_t p + \nabla\cdot(b\,p) - \tfrac12\,\nabla^2 : (a\,p)`.

    It vanishes for the density of :math:`X_t`, inside the domain.

    Examples
    --------
    >>> x, t = sp.Symbol("x", real=True), sp.Symbol("t", positive=True)
    >>> heat = sp.exp(-(x**2) / (2 * t)) / sp.sqrt(2 * sp.pi * t)
    >>> sp.expand(forward(Diffusion((x,), [0], [[1]]), heat))
    0
    """
    total = sp.diff(density, process.time)
    for i, x in enumerate(process.states):
        total += sp.diff(process.drift[i] * density, x)
        for j, y in enumerate(process.states):
            if process.covariance[i, j] != 0:
                total -= sp.Rational(1, 2) * sp.diff(process.covariance[i, j] * density, x, y)
    return total
