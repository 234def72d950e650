r"""The Gaussian means that a kernel's flow is made of, as formulas in the moments of one or two neurons."""

from __future__ import annotations

from dataclasses import dataclass

import sympy as sp

from derivations.activations.base import Activation
from derivations.errors import DerivationError
from derivations.gaussian import GaussianExpectation, GaussianPairExpectation, expect, expect_pair
from derivations.gaussian.corners import check_corners
from derivations.piecewise import analyse

#: The moments of a neuron at two inputs that the formulas are written in.
MEAN = sp.Symbol("M", real=True)
VARIANCE = sp.Symbol("v", positive=True)
PAIR = (sp.Symbol("v_1", positive=True), sp.Symbol("c", real=True), sp.Symbol("v_2", positive=True))


@dataclass(frozen=True)
class Means:
    r"""Of a function f of a Gaussian neuron: :math:`\mathbb{E} f`, :math:`\mathbb{E} f^2` and :math:`\mathbb{E} f(U) f(V)`.

    Parameters
    ----------
    function : Activation
    first, square : Expr or None
        In ``MEAN`` and ``VARIANCE``; None where no closed form is known.
    centred_square : Expr or None
        :math:`\mathbb{E} f^2` of a centred neuron, in ``VARIANCE``: closed for more functions, as for erf.
    product : Expr or None
        In ``PAIR``, the variances and the covariance of a centred pair; None where no closed form is known.
    """

    function: Activation
    first: sp.Expr | None
    square: sp.Expr | None
    centred_square: sp.Expr | None
    product: sp.Expr | None


def means_of(function: Activation) -> Means:
    """The means of an activation or of its derivative, closed where the Gaussian calculus knows them.

    Examples
    --------
    >>> from derivations import erf
    >>> means_of(erf).product
    2*asin(2*c/(sqrt(2*v_1 + 1)*sqrt(2*v_2 + 1)))/pi
    """
    x = function.variable
    pair = expect_pair(function.expr, function.expr, x, ((PAIR[0], PAIR[1]), (PAIR[1], PAIR[2])))
    return Means(
        function,
        _closed(expect(function.expr, x, VARIANCE, MEAN)),
        _closed(expect(function.expr**2, x, VARIANCE, MEAN)),
        _closed(expect(function.expr**2, x, variance=VARIANCE)),
        _by_orders(_closed(pair)),
    )


def _by_orders(product: sp.Expr | None) -> sp.Expr | None:
    r"""A polynomial mean in powers of the covariance: :math:`\sum_n \tfrac{c^n}{n!}\,\mathbb{E} f^{(n)}(U)\,\mathbb{E} f^{(n)}(V)`.

    Each coefficient is a product of a mean of U and one of V, which are small where it is: written out, their terms cancel.
    """
    if product is None or not product.is_polynomial(*PAIR):
        return product
    orders = sp.Poly(product, PAIR[1]).terms()
    return sp.Add(*(PAIR[1] ** n * sp.factor(coefficient) for (n,), coefficient in orders))


def _closed(expr: sp.Expr) -> sp.Expr | None:
    return None if expr.has(GaussianExpectation, GaussianPairExpectation) else expr


def slope_of(activation: Activation, what: str = "tangent kernel") -> Activation:
    """The derivative of an activation, as a function of its own.

    Raises
    ------
    DerivationError
        If the activation jumps, so that the mean square of its derivative, and every tangent kernel, is infinite; or if
        that mean square diverges for another reason.
    """
    x = activation.variable
    jumps = () if activation.parameters else analyse(activation.expr, x).jumps
    if jumps:
        raise DerivationError(
            f"{activation} has no {what}: it jumps at {x} = {jumps[0].value}, so the mean of its squared derivative "
            f"diverges; {'ask for the NNGP kernel, or ' * (what == 'tangent kernel')}smooth the jump"
        )
    slope = activation.derivative(1)
    if not activation.parameters:
        check_corners(slope**2, x, f"{activation} has no {what}: the mean of its squared derivative")
    return Activation(f"{activation.name}'", slope, x)


def degree(activation: Activation) -> sp.Rational | None:
    r"""The power d with :math:`\psi(cx) = c^d\,\psi(x)` for all :math:`c > 0`: a power on either side of 0; None where there is none.

    Examples
    --------
    >>> from derivations import relu, tanh
    >>> degree(relu), degree(tanh), degree(slope_of(relu))
    (1, None, 0)
    """
    x = activation.variable
    if not set(activation.kinks) <= {sp.S.Zero}:
        return None
    found = {
        sp.cancel(sp.powsimp(x * sp.diff(part.expr, x) / part.expr)) for part in activation.pieces if part.expr != 0
    }
    return next(iter(found)) if len(found) == 1 and all(d.is_Rational for d in found) else None
