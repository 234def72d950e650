r"""Activations that are smooth but for one or more kinks: ELU and its relatives, hard swish, squared ReLU, soft sign.

Exponentials are taken of the negative part alone, so that no argument overflows. Definitions and parameters are
those of PyTorch; JAX and Keras agree with them.
"""

from __future__ import annotations

import sympy as sp

from derivations.activations.base import Activation, applicable, exact, with_kinks
from derivations.errors import DerivationError

# The scale and the negative limit of SELU as its paper and PyTorch print them: a standard normal input keeps mean 0 and
# variance 1 to 31 digits. The closed forms hold roots of exponentials and error functions; a test solves for them.
_SELU_SCALE = sp.Rational("1.0507009873554804934193349852946")
_SELU_ALPHA = sp.Rational("1.6732632423543772848170429916717")


def elu_formula(u: sp.Expr, alpha: sp.Expr = sp.S.One) -> sp.Expr:
    """The positive part, plus alpha (e^u - 1) of the negative part."""
    return sp.Max(u, 0) + alpha * (sp.exp(sp.Min(u, 0)) - 1)


def celu_formula(u: sp.Expr, alpha: sp.Expr = sp.S.One) -> sp.Expr:
    """The positive part, plus alpha (e^(u/alpha) - 1) of the negative part: once differentiable for every alpha."""
    return sp.Max(u, 0) + alpha * (sp.exp(sp.Min(u, 0) / alpha) - 1)


@applicable
def elu(alpha: object = 1) -> Activation:
    r"""The exponential linear unit, x for x > 0 and :math:`\alpha (e^x - 1)` for x < 0.

    Examples
    --------
    >>> elu(2)(-1), str(elu())
    (-2 + 2*exp(-1), 'elu')
    """
    a = exact(alpha)
    return with_kinks("elu", elu_formula, *(() if a == 1 else (a,)))


@applicable
def celu(alpha: object = 1) -> Activation:
    r"""The continuously differentiable ELU, x for x > 0 and :math:`\alpha (e^{x/\alpha} - 1)` for x < 0.

    Raises
    ------
    DerivationError
        If alpha is 0.

    Examples
    --------
    >>> celu(2)(-2)
    -2 + 2*exp(-1)
    """
    a = exact(alpha)
    if not (a.is_positive or a.is_negative):
        raise DerivationError(f"the alpha of celu must not be 0: got {a}; a symbol needs a sign")
    return with_kinks("celu", celu_formula, *(() if a == 1 else (a,)))


held = Activation.held

selu = held("selu", lambda: with_kinks("selu", lambda u: _SELU_SCALE * elu_formula(u, _SELU_ALPHA)))
hardswish = held("hardswish", lambda: with_kinks("hardswish", lambda u: u * sp.Min(sp.Max(u + 3, 0), 6) / 6))
relu_squared = held("relu_squared", lambda: with_kinks("relu_squared", lambda u: sp.Max(u, 0) ** 2))
softsign = held("softsign", lambda: with_kinks("softsign", lambda u: u / (1 + sp.Abs(u))))
# JAX's piecewise quadratic softplus: 0 up to -1, x from 1 on; its slope is sparse_sigmoid
sparse_plus = held(
    "sparse_plus",
    lambda: with_kinks("sparse_plus", lambda u: sp.Max(u, 1) - 1 + (sp.Min(sp.Max(u, -1), 1) + 1) ** 2 / 4),
)

PIECEWISE_SMOOTH = (held("elu", elu), held("celu", celu), selu, hardswish, relu_squared, softsign, sparse_plus)
