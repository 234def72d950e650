r"""Piecewise linear activations: those with one kink are a single family, indexed by its two slopes.

The others are hinges and clips of the argument. Definitions and parameters are those of PyTorch; JAX and Keras
agree with them, up to the defaults that the docstrings name.
"""

from __future__ import annotations

import sympy as sp

from derivations.activations.base import Activation, applicable, exact, with_kinks
from derivations.errors import DerivationError
from derivations.piecewise import Piece, canonical, join
from derivations.symbols import state


@applicable
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


@applicable
def leaky_relu(slope: object = sp.Rational(1, 100)) -> Activation:
    r"""The leaky ReLU, :math:`\max(x, 0) + s \min(x, 0)`; the conventional slope is 1/100 (1/5 or 3/10 in Keras).

    Examples
    --------
    >>> str(leaky_relu()), str(leaky_relu(0.2))
    ('leaky_relu', 'leaky_relu(1/5)')
    >>> leaky_relu(3 * state, 0.2) == leaky_relu(0.2)(3 * state)  # of a body, as in a layer
    True
    """
    s = exact(slope)
    made: Activation = two_slope(1, s, "leaky_relu" if s == sp.Rational(1, 100) else f"leaky_relu({s})")
    return made


@applicable
def prelu(slope: object = sp.Rational(1, 4)) -> Activation:
    r"""The leaky ReLU at the slope 1/4 at which PyTorch starts a learned one, or at another.

    Examples
    --------
    >>> str(prelu()), str(prelu(0.2))
    ('prelu', 'prelu(1/5)')
    """
    s = exact(slope)
    made: Activation = two_slope(1, s, "prelu" if s == sp.Rational(1, 4) else f"prelu({s})")
    return made


def clipped(u: sp.Expr, low: sp.Expr | None, high: sp.Expr | None) -> sp.Expr:
    """An expression kept between two bounds, either of which may be missing."""
    above = u if low is None else sp.Max(u, low)
    return above if high is None else sp.Min(above, high)


@applicable
def hardtanh(low: object = -1, high: object = 1) -> Activation:
    r"""The identity between two bounds, constant beyond: :math:`\min(\max(x, a), b)`.

    Parameters
    ----------
    low, high : number or Expr
        The bounds a < b.

    Raises
    ------
    DerivationError
        If the lower bound is not below the upper.

    Examples
    --------
    >>> hardtanh().kinks, str(hardtanh(-2, 2))
    ((-1, 1), 'hardtanh(-2, 2)')
    """
    a, b = exact(low), exact(high)
    if not (b - a).is_positive:
        raise DerivationError(f"the bounds of hardtanh must be in order, got {a} and {b}; give min, then max")
    title = "hardtanh" if (a, b) == (-1, 1) else f"hardtanh({a}, {b})"
    return with_kinks(title, lambda u: clipped(u, a, b))


def soft_threshold(u: sp.Expr, size: sp.Expr = sp.S.Half) -> sp.Expr:
    """An expression moved towards 0 by a size, and 0 where it is smaller."""
    return sp.Max(u - size, 0) + sp.Min(u + size, 0)


def hard_threshold(u: sp.Expr, size: sp.Expr = sp.S.Half) -> sp.Expr:
    """An expression where it is larger than a size in absolute value, else 0."""
    return sp.Piecewise((u, u < -size), (0, u <= size), (u, True))


@applicable
def softshrink(size: object = sp.S.Half) -> Activation:
    r"""Moved towards 0 by :math:`\lambda`, and 0 on :math:`[-\lambda, \lambda]`; PyTorch's default is 1/2.

    Examples
    --------
    >>> softshrink(2)(5), softshrink(2)(-1)
    (3, 0)
    """
    level = _positive("softshrink", size)
    return with_kinks("softshrink", soft_threshold, *(() if level == sp.S.Half else (level,)))


@applicable
def hardshrink(size: object = sp.S.Half) -> Activation:
    r"""The identity outside :math:`[-\lambda, \lambda]` and 0 inside, with two jumps; PyTorch's default is 1/2.

    Examples
    --------
    >>> hardshrink(2)(5), hardshrink(2)(-1)
    (5, 0)
    """
    level = _positive("hardshrink", size)  # 0 at the jumps themselves, which a normal form would not keep
    return Activation("hardshrink" if level == sp.S.Half else f"hardshrink({level})", hard_threshold(state, level))


def _positive(name: str, size: object) -> sp.Expr:
    level = exact(size)
    if not level.is_positive:
        raise DerivationError(
            f"the parameter of {name} must be positive, got {level}: it is half the width of the dead zone"
        )
    return level


def replaced_below(u: sp.Expr, level: sp.Expr, value: sp.Expr) -> sp.Expr:
    """An expression above a level, another value up to it."""
    return sp.Piecewise((value, u <= level), (u, True))


@applicable
def threshold(level: object, value: object) -> Activation:
    r"""The identity above a level and a constant up to it, as in ``torch.nn.Threshold(level, value)``.

    Examples
    --------
    >>> threshold(1, 0)(2), threshold(1, 0)(sp.Rational(1, 2))
    (2, 0)
    """
    return with_kinks("threshold", replaced_below, exact(level), exact(value))


held = Activation.held

relu = held("relu", lambda: two_slope(1, 0))
absolute = held("absolute", lambda: two_slope(1, -1))
identity = held("identity", lambda: two_slope(1, 1))
relu6 = held("relu6", lambda: with_kinks("relu6", lambda u: sp.Min(sp.Max(u, 0), 6)))
hardsigmoid = held("hardsigmoid", lambda: with_kinks("hardsigmoid", lambda u: sp.Min(sp.Max(u + 3, 0), 6) / 6))
sparse_sigmoid = held(
    "sparse_sigmoid", lambda: with_kinks("sparse_sigmoid", lambda u: (sp.Min(sp.Max(u, -1), 1) + 1) / 2)
)

PIECEWISE_LINEAR = (
    *(relu, held("leaky_relu", leaky_relu), held("prelu", prelu), absolute, identity),
    *(relu6, held("hardtanh", hardtanh), hardsigmoid, sparse_sigmoid),
    *(held("softshrink", softshrink), held("hardshrink", hardshrink)),
)
