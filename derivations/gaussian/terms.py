r"""The functions whose Gaussian integrals close: sums of monomial × exponential × sigmoids.

.. math:: \sum_\alpha\; q_\alpha\; x^{k_\alpha}\; e^{c_\alpha x^2 + b_\alpha x}\; \prod_j S_{\alpha j}(x)

The sigmoids hold both the error function and the kink of a piecewise formula: with a Gaussian
:math:`\xi \sim N(0, r)`,

.. math:: S(x) = \mathbb{E}\,\operatorname{sgn}(a x + d + \xi),

is :math:`\operatorname{erf}(a x + d)` for :math:`r = \tfrac12` and :math:`\operatorname{sgn}(a x + d)`
for :math:`r = 0`. Sines and cosines are exponentials with an imaginary rate.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import sympy as sp

from derivations.errors import NoClosedForm, brief
from derivations.piecewise import pieces


class Sigmoid(NamedTuple):
    r""":math:`x \mapsto \mathbb{E}\,\operatorname{sgn}(a x + d + \xi)`, :math:`\xi \sim N(0, r)`."""

    slope: sp.Expr
    offset: sp.Expr
    noise: sp.Expr


class Shape(NamedTuple):
    r""":math:`x^k e^{c x^2 + b x} \prod_j S_j(x)`: a term without its coefficient."""

    power: int
    square: sp.Expr
    linear: sp.Expr
    sigmoids: tuple[Sigmoid, ...]


Terms = dict[Shape, sp.Expr]


def smooth_terms(expr: sp.Expr, variable: sp.Symbol) -> Terms:
    """Coefficients of a smooth formula by shape.

    Raises
    ------
    NoClosedForm
        If a factor is neither a power, an exponential of a quadratic, nor an erf of a linear argument.

    Examples
    --------
    >>> x = sp.Symbol("x", real=True)
    >>> smooth_terms(3 * x**2 * sp.exp(2 * x), x)
    {Shape(power=2, square=0, linear=2, sigmoids=()): 3}
    """
    found: Terms = {}
    for term in sp.Add.make_args(sp.expand(_elementary(expr, variable), power_exp=False)):
        if term == 0:
            continue
        coefficient, shape = _term(term, variable)
        found[shape] = found.get(shape, sp.S.Zero) + coefficient
    return {shape: q for shape, q in found.items() if q != 0}


def terms(expr: sp.Expr, variable: sp.Symbol) -> Terms:
    r"""Coefficients of a piecewise formula by shape, kinks as signs.

    With pieces :math:`f_0, \dots, f_p` and breakpoints :math:`l_1 < \dots < l_p`,

    .. math:: f = \tfrac12(f_0 + f_p) + \tfrac12\sum_i (f_i - f_{i-1})\operatorname{sgn}(x - l_i),

    since left of every breakpoint the right side telescopes to :math:`f_0`, and each
    breakpoint passed adds one jump.

    Examples
    --------
    >>> x = sp.Symbol("x", real=True)
    >>> len(terms(sp.Max(x, 0), x))
    2
    """
    parts = pieces(expr, variable)
    found = smooth_terms((parts[0].expr + parts[-1].expr) / 2, variable)
    for before, after in pairwise(parts):
        kink = Sigmoid(sp.S.One, -after.left, sp.S.Zero)
        for shape, q in smooth_terms((after.expr - before.expr) / 2, variable).items():
            found[shape._replace(sigmoids=(*shape.sigmoids, kink))] = q
    return found


def _elementary(expr: sp.Expr, variable: sp.Symbol) -> sp.Expr:
    """Everything that is secretly an exponential or an erf, written as one."""
    for kinds, target in (((sp.sin, sp.cos, sp.sinh, sp.cosh), sp.exp), ((sp.erfc,), sp.erf)):
        nodes = [node for node in expr.atoms(*kinds) if node.has(variable)]
        expr = expr.xreplace({node: node.rewrite(target) for node in nodes})
    # erfi u = −i erf(iu): a sigmoid with an imaginary slope, to which every rule continues analytically where the mean is finite
    imaginary = {node: -sp.I * sp.erf(sp.I * node.args[0]) for node in expr.atoms(sp.erfi) if node.has(variable)}
    return expr.xreplace(imaginary)


def _term(term: sp.Expr, variable: sp.Symbol) -> tuple[sp.Expr, Shape]:
    coefficient, dependent = term.as_independent(variable, as_Add=False)
    power, square, linear, sigmoids = 0, sp.S.Zero, sp.S.Zero, []
    for factor in sp.Mul.make_args(dependent):
        base, exponent = factor.as_base_exp()
        if exponent.has(variable) and not base.has(variable):
            c, b, a = _quadratic(sp.expand(exponent * sp.log(base)), variable, 2)
            coefficient, square, linear = coefficient * sp.exp(a), square + c, linear + b
        elif exponent.is_Integer and exponent.is_positive and base == variable:
            power += int(exponent)
        elif exponent.is_Integer and exponent.is_positive and isinstance(base, sp.erf):
            _, a, d = _quadratic(base.args[0], variable, 1)
            sigmoids += [Sigmoid(a, d, sp.S.Half)] * int(exponent)
        elif factor != 1:
            raise NoClosedForm(
                f"no closed Gaussian integral is known with the factor {brief(factor)}; "
                "known are powers, exponentials of quadratics, sin, cos, erf and linear breakpoints"
            )
    return coefficient, Shape(power, square, linear, tuple(sigmoids))


def _quadratic(expr: sp.Expr, variable: sp.Symbol, degree: int) -> tuple[sp.Expr, sp.Expr, sp.Expr]:
    """Coefficients (of x², x, 1) of a polynomial of at most the given degree."""
    poly = sp.Poly(expr, variable) if expr.is_polynomial(variable) else None
    if poly is None or poly.degree() > degree:
        raise NoClosedForm(
            f"no closed Gaussian integral is known with the argument {brief(expr)}, not of degree {degree}"
        )
    return poly.coeff_monomial(variable**2), poly.coeff_monomial(variable), poly.coeff_monomial(1)
