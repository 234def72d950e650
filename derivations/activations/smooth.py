r"""Smooth activations, each by its defining formula."""

from __future__ import annotations

import sympy as sp

from derivations.activations.base import Activation, applicable, exact
from derivations.errors import DerivationError
from derivations.symbols import state as x


def polynomial(*coefficients: object) -> Activation:
    r"""The polynomial :math:`c_0 + c_1 x + c_2 x^2 + \dots`, coefficients in increasing degree.

    Parameters
    ----------
    *coefficients : number or Expr
        Real; decimals are read as exact, symbols are parameters. None at all is the zero function.

    Raises
    ------
    DerivationError
        If a coefficient is not real, or depends on the argument.

    Examples
    --------
    >>> polynomial(1, 0, 0.5).expr
    x**2/2 + 1
    """
    exactly = [exact(c) for c in coefficients]
    return Activation(f"polynomial({', '.join(map(str, exactly))})", sp.Add(*(c * x**k for k, c in enumerate(exactly))))


def silu_formula(u: sp.Expr, beta: sp.Expr = sp.S.One) -> sp.Expr:
    """U times the logistic function of beta u."""
    return u / (1 + sp.exp(-beta * u))


def softplus_formula(u: sp.Expr, beta: sp.Expr = sp.S.One) -> sp.Expr:
    """log(1 + e^(beta u)) / beta."""
    return sp.log(1 + sp.exp(beta * u)) / beta


def squareplus_formula(u: sp.Expr, b: sp.Expr) -> sp.Expr:
    """(u + √(u² + b)) / 2."""
    return (u + sp.sqrt(u**2 + b)) / 2


@applicable
def swish(beta: object = 1) -> Activation:
    r"""The function :math:`x / (1 + e^{-\beta x})`; ``silu`` for beta = 1.

    Examples
    --------
    >>> swish(2).expr, swish() == silu
    (x/(1 + exp(-2*x)), True)
    """
    b = exact(beta)
    return Activation("silu" if b == 1 else f"swish({b})", silu_formula(x, b))


@applicable
def softplus_with(beta: object = 1) -> Activation:
    r"""The softplus :math:`\log(1 + e^{\beta x}) / \beta` of any sharpness beta > 0.

    Raises
    ------
    DerivationError
        If beta is not positive.

    Examples
    --------
    >>> softplus_with(2).expr
    log(exp(2*x) + 1)/2
    """
    b = exact(beta)
    if not b.is_positive:
        raise DerivationError(f"the beta of softplus must be positive, got {b}")
    return Activation("softplus" if b == 1 else f"softplus({b})", softplus_formula(x, b))


@applicable
def squareplus(b: object = 4) -> Activation:
    r"""The smooth hinge :math:`(x + \sqrt{x^2 + b}) / 2`, b > 0; 4 in JAX and Keras.

    Raises
    ------
    DerivationError
        If b is not positive.

    Examples
    --------
    >>> squareplus(1)(0)
    1/2
    """
    width = exact(b)
    if not width.is_positive:
        raise DerivationError(f"the b of squareplus must be positive, got {width}; b = 0 is relu")
    return Activation("squareplus" if width == 4 else f"squareplus({width})", squareplus_formula(x, width))


tanh = Activation("tanh", sp.tanh(x))
erf = Activation("erf", sp.erf(x))
gelu = Activation("gelu", x * (1 + sp.erf(x / sp.sqrt(2))) / 2)  # x Φ(x), exact, not the tanh approximation
# the tanh approximation x (1 + tanh v) / 2 with v = √(2/π) (x + 0.044715 x³), as x σ(2v), which does not cancel on the left
gelu_tanh = Activation("gelu_tanh", x / (1 + sp.exp(-2 * sp.sqrt(2 / sp.pi) * (x + sp.Rational(44715, 10**6) * x**3))))
quick_gelu = Activation("quick_gelu", silu_formula(x, sp.Rational(1702, 1000)))
silu = Activation("silu", silu_formula(x))
sigmoid = Activation("sigmoid", 1 / (1 + sp.exp(-x)))
logsigmoid = Activation("logsigmoid", -sp.log(1 + sp.exp(-x)))
softplus = Activation("softplus", softplus_formula(x))
mish = Activation("mish", x * sp.tanh(sp.log(1 + sp.exp(x))))
tanhshrink = Activation("tanhshrink", x - sp.tanh(x))
sine = Activation("sine", sp.sin(x))
cosine = Activation("cosine", sp.cos(x))
exponential = Activation("exponential", sp.exp(x))

SMOOTH = (
    *(tanh, erf, gelu, gelu_tanh, quick_gelu, silu, sigmoid, logsigmoid, softplus, squareplus(), mish, tanhshrink),
    *(sine, cosine, exponential),
)
