r"""Residual networks with shrinking weights (Peluchetti & Favaro 2021)."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from itertools import pairwise

import sympy as sp

from derivations.activations.base import Activation
from derivations.activations.given import as_activation
from derivations.activations.smooth import tanh
from derivations.architectures.base import (
    Recipe,
    checked_inputs,
    checked_mean,
    checked_variance,
    checked_width,
)
from derivations.errors import NoLimit
from derivations.language import Weights
from derivations.symbols import state, step


def checked_outer(outer: object) -> Activation:
    r"""An activation that a small argument leaves small and smooth: :math:`\varphi(0) = 0`, twice differentiable at 0.

    Raises
    ------
    NoLimit
        With what happens instead: a branch of order 1 makes infinitely many jumps per unit of time, and a kink at 0
        moves the mean by order :math:`\varepsilon`, so that it diverges per unit of time.

    Examples
    --------
    >>> checked_outer(tanh).name
    'tanh'
    """
    activation = as_activation(outer)
    x = activation.variable
    at_zero = activation(0)
    if at_zero != 0:
        raise NoLimit(
            f"the outer activation {activation} has the value {at_zero} at 0, not 0: with shrinking weights every layer "
            f"then adds {at_zero}, and infinitely many of them diverge; subtract it, e.g. {activation} - {at_zero}"
        )
    for left, right in pairwise(activation.pieces):
        if left.right == 0:
            for order in range(3):
                below, above = (sp.diff(part.expr, x, order).subs(x, 0) for part in (left, right))
                if sp.expand(above - below) != 0:
                    _refuse(activation, f"its derivative of order {order} jumps from {below} to {above}")
    for order in (1, 2):
        value = sp.diff(activation.expr, x, order).subs(x, 0)
        if value.has(sp.nan, sp.zoo, sp.oo, -sp.oo, sp.AccumBounds):
            _refuse(activation, f"its derivative of order {order} is {value}")
    return activation


def _refuse(activation: Activation, why: str) -> None:
    raise NoLimit(
        f"the outer activation {activation} is not twice differentiable at 0 ({why}): the mean of one layer's step would "
        "be of order ε where a layer takes ε² of time; put a kink inside (inner=relu) and choose outer=tanh or identity"
    )


@dataclass(frozen=True)
class ShrinkingResNet(Recipe):
    r"""The residual network :math:`X_{\ell+1} = X_\ell + \varphi(W_{\ell+1}\,\psi(X_\ell) + b_{\ell+1})` whose weights shrink with depth.

    With :math:`h = T/L` the time of a layer,
    :math:`W_{ij} \sim N(\mu_w h/n,\ \sigma_w^2 h/n)` and :math:`b_i \sim N(\mu_b h,\ \sigma_b^2 h)` i.i.d., fresh in every layer.

    Parameters
    ----------
    outer : Activation, Expr, str or callable
        :math:`\varphi`, with :math:`\varphi(0) = 0` and twice differentiable at 0.
    inner : Activation, Expr, str or callable
        :math:`\psi`, any.
    width : int, Symbol or oo
        The number n of neurons.
    inputs : int
        The number m of network inputs followed jointly.
    weight_variance : Expr
        :math:`\sigma_w^2`, the variance of a weight in a unit of time, times the number of a neuron's weights.
    bias_variance : Expr
        :math:`\sigma_b^2`, the variance of a bias in a unit of time.
    weight_mean : Expr
        :math:`\mu_w`, the mean of a weight in a unit of time, times the number of a neuron's weights.
    bias_mean : Expr
        :math:`\mu_b`, the mean of a bias in a unit of time.

    Raises
    ------
    NoLimit
        For an outer activation that the limit does not exist for, with the reason.
    DerivationError
        For a bad width, number of inputs, mean or variance.

    Examples
    --------
    >>> from derivations import identity, tanh
    >>> ShrinkingResNet(tanh, identity, width=4).expression()
    x + tanh(varepsilon*W(x))

    References
    ----------
    S. Peluchetti and S. Favaro, *Doubly infinite residual neural networks: a diffusion process approach*,
    JMLR 22 (2021) (arXiv:2007.03253).
    """

    outer: Activation
    inner: Activation
    _: KW_ONLY
    width: sp.Expr
    inputs: int = 1
    weight_variance: sp.Expr = sp.S.One
    bias_variance: sp.Expr = sp.S.Zero
    weight_mean: sp.Expr = sp.S.Zero
    bias_mean: sp.Expr = sp.S.Zero
    letters = (("inner", "psi"), ("outer", "varphi"))

    def __post_init__(self) -> None:
        set_ = object.__setattr__
        set_(self, "outer", checked_outer(self.outer))
        set_(self, "inner", as_activation(self.inner))
        set_(self, "width", checked_width(self.width))
        set_(self, "inputs", checked_inputs(self.inputs))
        for name in ("weight_variance", "bias_variance"):
            set_(self, name, checked_variance(getattr(self, name), name))
        for name in ("weight_mean", "bias_mean"):
            set_(self, name, checked_mean(getattr(self, name), name))

    def weights(self, name: str, **moments: object) -> Weights:
        """A matrix of the layer."""
        return Weights(name, **moments)  # type: ignore[arg-type]

    def expression(self) -> sp.Expr:
        """The new state: noise of size ε, and means of size ε² with a matrix of their own."""
        W = self.weights("W", variance=self.weight_variance, bias_variance=self.bias_variance)
        M = self.weights("M", variance=0, mean=self.weight_mean, bias_mean=self.bias_mean)
        read = self.inner(state)
        moved = step**2 * M(read) if self.weight_mean != 0 or self.bias_mean != 0 else 0
        return state + self.outer(step * W(read) + moved)

    @classmethod
    def example(cls) -> ShrinkingResNet:
        """A tanh network of width 3 with means and biases."""
        half, third = sp.Rational(1, 2), sp.Rational(1, 3)
        return cls(tanh, tanh, width=3, bias_variance=half, weight_mean=third, bias_mean=sp.Rational(-1, 4))
