r"""Shaped activations: a family that tends to the identity with a small parameter :math:`\varepsilon`.

Deep perceptrons keep a non-degenerate limit only if each layer is nearly linear. There are two ways
to make it so, one for each kind of activation: slopes near 1 for the piecewise linear ones, and
zooming into 0 for the smooth ones.
"""

from __future__ import annotations

import sympy as sp

from derivations.activations.base import Activation, exact
from derivations.activations.piecewise_linear import two_slope
from derivations.errors import DerivationError
from derivations.symbols import step


def shaped_slopes(
    c_plus: object, c_minus: object, small: sp.Symbol = step, small_minus: sp.Symbol | None = None
) -> Activation:
    r"""The two-slope activation with slopes :math:`1 + c_\pm\varepsilon_\pm`.

    Parameters
    ----------
    c_plus, c_minus : number or Expr
        Real; equal values on one scale give a linear network.
    small, small_minus : Symbol
        :math:`\varepsilon_+` and :math:`\varepsilon_-`; by default both are ``symbols.step``.

    Examples
    --------
    >>> shaped_slopes(0, -1).expr
    Piecewise((-varepsilon*x + x, x <= 0), (x, True))
    """
    up, down = exact(c_plus), exact(c_minus)
    return two_slope(1 + up * small, 1 + down * (small_minus or small), f"shaped_slopes({up}, {down})")


def shaped_smooth(activation: Activation, a: object, small: sp.Symbol = step) -> Activation:
    r"""The zoom :math:`\varphi_s(x) = s\,\varphi(x/s)` into 0, with :math:`s = a/\varepsilon`.

    Parameters
    ----------
    activation : Activation
        :math:`\varphi`, smooth around 0.
    a : number or Expr
        Positive: the larger, the closer to linear.

    Raises
    ------
    DerivationError
        If :math:`\varphi` has a kink at 0, which no zoom removes, or a is not positive.

    Examples
    --------
    >>> from derivations.activations import tanh
    >>> shaped_smooth(tanh, 2).expr
    2*tanh(varepsilon*x/2)/varepsilon
    """
    scale = exact(a)
    if scale.is_nonpositive:
        raise DerivationError(f"the zoom s = a√n of a smooth shaping needs a > 0, got a = {scale}")
    if any(kink == 0 for kink in activation.kinks):
        raise DerivationError(
            f"{activation} has a kink at 0, and s φ(x/s) keeps it for every s: shape its slopes instead, "
            "with c_plus and c_minus"
        )
    return Activation(f"shaped_{activation}", activation(activation.variable * small / scale) * scale / small)
