r"""Residual networks that normalise what goes into the branch (pre-norm)."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass

import sympy as sp

from derivations.activations.base import Activation
from derivations.activations.given import as_activation
from derivations.activations.piecewise_linear import relu
from derivations.activations.shaped import apart
from derivations.architectures.base import Recipe, checked_inputs, checked_variance, checked_width
from derivations.architectures.regime import Regime
from derivations.language import Weights, rms_norm
from derivations.symbols import state, step
from derivations.symbols import width as any_width


@dataclass(frozen=True)
class PreNormResNet(Recipe):
    r"""The residual network :math:`x' = x + L^{-1/2}\,W\varphi(x/r)`, r the root mean square of x over the layer.

    Parameters
    ----------
    activation : Activation, Expr, str or callable
    inputs : int
        m; each has its own r.
    width : int or Symbol
        n; a unit of time is n layers, so :math:`L^{-1/2} = n^{-1/2}`.
    weight_variance : number or Expr
        :math:`\sigma_w^2`, n times the variance of a weight.

    Examples
    --------
    >>> PreNormResNet(relu, width=100).time_of(50)
    1/2
    """

    activation: Activation
    _: KW_ONLY
    width: sp.Expr = any_width
    inputs: int = 1
    weight_variance: sp.Expr = sp.S.One

    def __post_init__(self) -> None:
        object.__setattr__(self, "activation", as_activation(self.activation, shaped=True))
        object.__setattr__(self, "inputs", checked_inputs(self.inputs))
        object.__setattr__(self, "width", checked_width(self.width))
        object.__setattr__(self, "weight_variance", checked_variance(self.weight_variance, "weight_variance"))

    @property
    def regime(self) -> Regime:
        """N layers in a unit of time; besides, the rates of a shaped activation."""
        return Regime(((step, sp.S.Half), *apart(self.activation).rates), sp.S.One, self.width)

    def expression(self) -> sp.Expr:
        """The new state."""
        W = Weights("W", variance=self.weight_variance)
        return state + step * W(apart(self.activation)(rms_norm(state)))

    @classmethod
    def example(cls) -> PreNormResNet:
        """Two inputs."""
        return cls(relu, inputs=2, width=sp.Integer(16))
