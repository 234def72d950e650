r"""Shaped activations: a family that tends to a linear function as the width n grows.

Deep perceptrons keep a non-degenerate limit only if each layer is nearly linear. There are two ways
to make it so, one for each kind of activation: slopes near 1 for the piecewise linear ones, and
zooming into 0 for the smooth ones. Each has a rate: the small parameter is :math:`n^{-p}`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import sympy as sp

from derivations.activations.base import Activation, exact
from derivations.activations.given import as_activation
from derivations.activations.piecewise_linear import two_slope
from derivations.errors import DerivationError, NoLimit, require
from derivations.symbols import require_free_names, step

#: The small parameter of the slope on x < 0, where that has a rate of its own.
_MINUS = sp.Symbol("varepsilon_-", positive=True)
#: In place of ``symbols.step`` where a recipe uses that for its own small parameter.
_PLUS = sp.Symbol("varepsilon_+", positive=True)


def shaped_slopes(c_plus: object, c_minus: object, rate: object = sp.S.Half) -> Activation:
    r"""The two-slope activation with slopes :math:`1 + c_\pm n^{-p}`.

    Parameters
    ----------
    c_plus, c_minus : number or Expr
        Real; equal values on one scale give a linear network.
    rate : number, Expr or pair
        p > 0; a pair gives the slopes for x > 0 and x < 0 rates of their own.

    Raises
    ------
    DerivationError
        If a number is not real, or a rate not positive.

    Examples
    --------
    >>> shaped_slopes(0, -1).expr, shaped_slopes(0, -1).rates
    (Piecewise((-varepsilon*x + x, x <= 0), (x, True)), ((varepsilon, 1/2),))
    """
    up, down = exact(c_plus), exact(c_minus)
    for name, value in (("c_plus", up), ("c_minus", down)):
        require_free_names(name, value, timeless=True)
    rates = _rates(rate, most=2)
    small, minus = rates[0][0], rates[-1][0]
    made: Activation = two_slope(1 + up * small, 1 + down * minus, f"shaped_slopes({up}, {down})")
    return replace(made, rates=rates)


def shaped_smooth(activation: Activation, a: object, rate: object = sp.S.Half) -> Activation:
    r"""The zoom :math:`\varphi_s(x) = s\,\varphi(x/s)` into 0, with :math:`s = a\,n^p`.

    Parameters
    ----------
    activation : Activation
        :math:`\varphi`, smooth around 0, with a slope there.
    a : number or Expr
        Positive: the larger, the closer to linear.
    rate : number or Expr
        p > 0.

    Raises
    ------
    DerivationError
        If :math:`\varphi` has a kink at 0, which no zoom removes, a is not positive, or the rate is not.
    NoLimit
        If :math:`\varphi` has slope 0 at 0.

    Examples
    --------
    >>> from derivations.activations import tanh
    >>> shaped_smooth(tanh, 2).expr
    2*tanh(varepsilon*x/2)/varepsilon
    """
    require("what is shaped", activation, Activation, "an activation such as tanh")
    scale = exact(a)
    require_free_names("a", scale, timeless=True)
    if scale.is_nonpositive:
        raise DerivationError(f"the zoom s = a√n of a smooth shaping needs a > 0, got a = {scale}")
    if any(kink == 0 for kink in activation.kinks):
        raise DerivationError(
            f"{activation} has a kink at 0, and s φ(x/s) keeps it for every s: shape its slopes instead, "
            "with c_plus and c_minus"
        )
    if sp.diff(activation.expr, activation.variable).subs(activation.variable, 0) == 0:
        raise NoLimit(f"{activation} has slope 0 at 0: its shaping tends to 0 instead of a linear function")
    rates = _rates(rate, most=1)
    zoom = rates[0][0] / scale
    return Activation(f"shaped_{activation}", activation(activation.variable * zoom) / zoom, rates=rates)


def shaped(
    activation: Activation | sp.Expr | str | Callable[[sp.Expr], object],
    c_plus: object = None,
    c_minus: object = None,
    a: object = None,
    rate: object = sp.S.Half,
) -> Activation:
    r"""An activation shaped by its slopes (``c_plus`` and ``c_minus``) or by a zoom (``a``), whichever is given.

    Parameters
    ----------
    activation : Activation, Expr, str or callable
        With slopes, any member of the two-slope family, which only says which kind it is; one that is shaped already stays as it is.
    c_plus, c_minus, rate
        As of :func:`shaped_slopes`.
    a
        As of :func:`shaped_smooth`.

    Raises
    ------
    DerivationError
        If neither or both kinds of shaping are given, or the activation does not admit the one that is asked for.

    Examples
    --------
    >>> from derivations.activations import relu, tanh
    >>> shaped(relu, c_plus=0, c_minus=-1) == shaped_slopes(0, -1), shaped(tanh, a=1) == shaped_smooth(tanh, 1)
    (True, True)
    """
    activation = as_activation(activation, shaped=True)
    if activation.rates and c_plus is c_minus is a is None:
        return activation
    slopes = c_plus is not None and c_minus is not None
    if activation.rates or slopes == (a is not None) or (c_plus is None) != (c_minus is None):
        said = (("c_plus", c_plus), ("c_minus", c_minus), ("a", a))
        given = ", ".join(f"{name}={value}" for name, value in said if value is not None)
        raise DerivationError(
            "a shaping needs either c_plus and c_minus (slopes 1 + c/√n) or a (s φ(x/s) with s = a√n), "
            f"got {given or 'none of them'} for {activation}"
        )
    if not slopes:
        return shaped_smooth(activation, a, rate)
    x = activation.variable
    bent = [p for p in activation.pieces if p.expr.subs(x, 0) != 0 or sp.diff(p.expr, x, 2) != 0]
    if bent or any(kink != 0 for kink in activation.kinks):
        raise DerivationError(
            f"slopes 1 + c/√n need an activation with two slopes and its kink at 0, got {activation}; shape a smooth one with a"
        )
    return shaped_slopes(c_plus, c_minus, rate)


def apart(activation: Activation, small: sp.Symbol = step) -> Activation:
    """The same with a small parameter of its own, where a recipe uses the usual one."""
    rule = {small: _PLUS}
    rates = tuple((rule.get(size, size), rate) for size, rate in activation.rates)
    return replace(activation, expr=activation.expr.xreplace(rule), rates=rates) if activation.rates else activation


def _rates(given: object, most: int) -> tuple[tuple[sp.Symbol, sp.Expr], ...]:
    rates = tuple(map(exact, given)) if isinstance(given, tuple) else (exact(given),)
    if not 1 <= len(rates) <= most or any(rate.is_nonpositive for rate in rates):
        count = "one for both slopes or a pair for two" if most > 1 else "one for a zoom"
        raise DerivationError(f"rates must be positive, {count}, got rate={given}")
    require_free_names("a rate", *rates, timeless=True)
    return tuple(zip((step, _MINUS), rates, strict=False))
