r"""Piecewise linear activations with one kink: a single family, indexed by its two slopes."""

from __future__ import annotations

import sympy as sp

from derivations.activations.base import Activation, exact
from derivations.piecewise import Piece, canonical, join
from derivations.symbols import state


def two_slope(positive: object, negative: object, name: str | None = None) -> Activation:
    r"""The piecewise linear activation with slope ``positive`` on x > 0 and ``negative`` on x < 0.

    .. math:: \varphi(x) = a\,x^+ - b\,x^-, \qquad x^\pm = \max(\pm x, 0),

    with a, b the two slopes. The family is the space of all positively homogeneous functions of degree 1:
    :math:`\varphi(cx) = c\,\varphi(x)` for c > 0. Equal slopes give the linear function without a kink.

    Parameters
    ----------
    positive, negative : number or Expr
        The slopes, real; decimals are read as exact (0.1 is 1/10), symbols are parameters.
    name : str, optional
        By default the call itself, ``"two_slope(a, b)"``.

    Raises
    ------
    DerivationError
        If a slope is not a real number or real expression, or depends on the argument.

    Examples
    --------
    >>> two_slope(2, -1).expr
    Piecewise((-x, x <= 0), (2*x, True))
    >>> two_slope(3, 3).expr
    3*x
    """
    a, b = exact(positive), exact(negative)
    halves = (Piece(-sp.oo, sp.S.Zero, b * state), Piece(sp.S.Zero, sp.oo, a * state))
    return Activation(name or f"two_slope({a}, {b})", canonical(join(halves, state), state))


def leaky_relu(slope: object = sp.Rational(1, 100)) -> Activation:
    r"""The leaky ReLU, :math:`\max(x, 0) + s \min(x, 0)`; the conventional slope is 1/100.

    Examples
    --------
    >>> str(leaky_relu()), str(leaky_relu(0.2))
    ('leaky_relu', 'leaky_relu(1/5)')
    """
    s = exact(slope)
    return two_slope(1, s, "leaky_relu" if s == sp.Rational(1, 100) else f"leaky_relu({s})")


relu = two_slope(1, 0, "relu")
absolute = two_slope(1, -1, "absolute")
identity = two_slope(1, 1, "identity")

PIECEWISE_LINEAR = (relu, leaky_relu(), absolute, identity)
