r"""Residual networks whose branch is scaled by :math:`L^{-1/2}` (Hayou 2022)."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass

import sympy as sp

from derivations.activations.base import Activation
from derivations.activations.given import as_activation
from derivations.activations.piecewise_linear import relu
from derivations.architectures.base import Recipe, checked_inputs, checked_variance, checked_width
from derivations.language import Weights
from derivations.symbols import state, step


@dataclass(frozen=True)
class ResNet(Recipe):
    r"""The residual network :math:`X_{\ell+1} = X_\ell + L^{-1/2}\, W_{\ell+1}\,\varphi(X_\ell)`.

    :math:`W_{ij} \sim N(0, \sigma_w^2/n)` i.i.d., fresh in every layer; no bias.

    Parameters
    ----------
    activation : Activation, Expr, str or callable
        :math:`\varphi`, a registered activation, any SymPy expression in one symbol, its text, or a function.
    width : int, Symbol or oo
        The number n of neurons.
    inputs : int
        The number m of network inputs followed jointly; their weights are shared.
    weight_variance : Expr
        :math:`\sigma_w^2`, the variance of a weight times the number of a neuron's weights.

    Raises
    ------
    DerivationError
        For a width that is no positive integer, an activation of several variables, a negative variance.

    Examples
    --------
    >>> from derivations import tanh
    >>> ResNet(tanh, width=4).expression()
    varepsilon*W(tanh(x)) + x

    References
    ----------
    S. Hayou, *On the infinite-depth limit of finite-width neural networks*, TMLR 2023 (arXiv:2210.00688).
    """

    activation: Activation
    _: KW_ONLY
    width: sp.Expr
    inputs: int = 1
    weight_variance: sp.Expr = sp.S.One
    letters = (("activation", "varphi"),)

    def __post_init__(self) -> None:
        object.__setattr__(self, "activation", as_activation(self.activation))
        object.__setattr__(self, "width", checked_width(self.width))
        object.__setattr__(self, "inputs", checked_inputs(self.inputs))
        object.__setattr__(self, "weight_variance", checked_variance(self.weight_variance, "weight_variance"))

    def expression(self) -> sp.Expr:
        """The new state."""
        W = Weights("W", variance=self.weight_variance)
        return state + step * W(self.activation(state))

    @classmethod
    def example(cls) -> ResNet:
        """A ReLU network of width 3."""
        return cls(relu, width=3)
