r"""Averages that a constant skip remembers: what their fluctuations do to the Gram matrix, summed over all later layers.

Given V, the average of a function f of the state fluctuates by :math:`n^{-1/2}`, and decays by the skip: of the fluctuation of
:math:`\langle f\rangle`, a layer leaves that of :math:`\langle Pf\rangle`, :math:`Pf(x) = \mathbb{E}f(x')`. So where a layer moves V by
:math:`\langle g\rangle`, its moves are correlated, and one layer's covariance is not all (Green and Kubo). With :math:`\chi - P\chi = g`, the mean of

.. math:: W = V + \langle\chi_V(x)\rangle

is moved by no fluctuation, and W differs from V by :math:`n^{-1/2}` at all times: W has V's limit, and one layer's moments are all of it.

At a fixed V, :math:`x'_a = \lambda_a x_a + {}` a Gaussian, and :math:`x'` has the covariance V again. So P multiplies the Wick product
:math:`{:}x_a\cdots x_b{:}` by :math:`\lambda_a\cdots\lambda_b`, and the geometric series over all layers is

.. math:: g = \sum_p c_p\,{:}x_p{:} \quad\Longrightarrow\quad \chi = \sum_p \frac{c_p}{1-\lambda_p}\,{:}x_p{:} .

Products of two belong to V itself, which is given. Where g is no polynomial, these series do not end.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import sympy as sp

from derivations.errors import NotClosed
from derivations.limits.elimination.fluctuations import Settled


def moving(settled: Settled, observable: sp.Expr) -> sp.Expr:
    """The function g of a neuron by whose average the fluctuations of the state move an observable, at the law's covariance."""
    opened = settled.opened(observable)
    moved = (
        settled.settled(slope) * settled.settled(settled.bodies[k][1]) for k, slope in settled.slopes(opened).items()
    )
    return sp.expand(settled.law.filled(sp.Add(*moved), 0))


def wick(product: sp.Expr, states: Sequence[sp.Symbol], covariance: sp.MatrixBase) -> sp.Expr:
    """A product of Gaussians without its projections to products of fewer.

    Examples
    --------
    >>> x = sp.Symbol("x")
    >>> wick(x**4, [x], sp.Matrix([[2]]))
    x**4 - 12*x**2 + 12
    """
    total, term, k = sp.S.Zero, product, 0
    while term != 0:
        total, k = total + term, k + 1
        contracted = (
            covariance[a, b] * sp.diff(term, x, y) for a, x in enumerate(states) for b, y in enumerate(states)
        )
        term = sp.expand(-sp.Add(*contracted) / (2 * k))
    return sp.expand(total)


def corrector(
    moved: sp.Expr, states: Sequence[sp.Symbol], covariance: sp.MatrixBase, kept: Sequence[sp.Expr]
) -> sp.Expr:
    r"""The function :math:`\chi` with :math:`\chi - P\chi = g`, up to products of two; 0 where g is no polynomial.

    Parameters
    ----------
    moved : Expr
        g.
    states : sequence of Symbol
        A neuron's numbers.
    covariance : Matrix
        V.
    kept : sequence of Expr
        :math:`\lambda` of each.

    Examples
    --------
    >>> x = sp.Symbol("x")
    >>> corrector(x**3, [x], sp.eye(1), [sp.Rational(1, 2)])
    8*x**3/7 + 18*x/7
    """
    if not moved.is_polynomial(*states):
        return sp.S.Zero
    found, left = sp.S.Zero, sp.Poly(moved, *states)
    while (degree := left.total_degree()) > 0:
        for powers, coefficient in left.terms():
            if sum(powers) == degree:
                whole = wick(
                    prod((x**k for x, k in zip(states, powers, strict=True)), start=sp.S.One), states, covariance
                )
                left -= sp.Poly(coefficient * whole, *states)
                if degree != 2:
                    decay = prod((s**k for s, k in zip(kept, powers, strict=True)), start=sp.S.One)
                    found += coefficient * whole / (1 - decay)
    return sp.expand(found)


def remembered(body: sp.Expr, skip: sp.Expr) -> NotClosed:
    """What is said of an average whose correlations are not summed."""
    return NotClosed(
        f"an average of the state other than the Gram matrix, that of {body}, fluctuates and lasts through the skip {skip} for many layers, so "
        "that one layer's noise is not all: its covariances at all distances of layers add up, in the noise and in the drift, and these sums are "
        "derived for averages of polynomials beside a skip of less than 1, where no norms settle; shape the activation or leave out the skip"
    )
