r"""Smooth activations, each by its defining formula."""

from __future__ import annotations

import sympy as sp

from derivations.activations.base import Activation, exact
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


tanh = Activation("tanh", sp.tanh(x))
erf = Activation("erf", sp.erf(x))
gelu = Activation("gelu", x * (1 + sp.erf(x / sp.sqrt(2))) / 2)  # x Φ(x), exact, not the tanh approximation
silu = Activation("silu", x / (1 + sp.exp(-x)))
softplus = Activation("softplus", sp.log(1 + sp.exp(x)))
sine = Activation("sine", sp.sin(x))
cosine = Activation("cosine", sp.cos(x))
exponential = Activation("exponential", sp.exp(x))

SMOOTH = (tanh, erf, gelu, silu, softplus, sine, cosine, exponential)
