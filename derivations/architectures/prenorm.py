r"""Residual networks that normalise what goes into the branch (pre-norm)."""

from __future__ import annotations

from dataclasses import dataclass

import sympy as sp

from derivations.activations.base import Activation, as_activation
from derivations.activations.piecewise_linear import relu
from derivations.architectures.base import Layer, checked_inputs, checked_variance, checked_width
from derivations.architectures.scaling import ScaledArchitecture, Scaling
from derivations.errors import DerivationError
from derivations.language import Program, Weights, program, rms_norm
from derivations.symbols import noise, state, step
from derivations.symbols import width as any_width


@dataclass(frozen=True)
class PreNormResNet(ScaledArchitecture):
    r"""The residual network :math:`x' = x + L^{-1/2}\,W\varphi(x/r)`, r the root mean square of x over the layer.

    Parameters
    ----------
    activation : Activation or Expr
    inputs : int
        m; each has its own r.
    width : int or Symbol
        n; a unit of time is n layers, so :math:`L^{-1/2} = n^{-1/2}`.
    weight_variance : number or Expr
        :math:`\sigma_w^2`, n times the variance of a weight.

    Examples
    --------
    >>> PreNormResNet(relu, inputs=2).scaling().normalised
    True
    """

    activation: Activation
    width: sp.Expr = any_width
    inputs: int = 1
    weight_variance: sp.Expr = sp.S.One

    def __post_init__(self) -> None:
        object.__setattr__(self, "activation", as_activation(self.activation))
        object.__setattr__(self, "inputs", checked_inputs(self.inputs))
        object.__setattr__(self, "width", checked_width(self.width))
        object.__setattr__(self, "weight_variance", checked_variance(self.weight_variance, "weight_variance"))

    def scaling(self) -> Scaling:
        """The layer, with its normalisation."""
        return Scaling(state + step * noise, self.activation, weight_variance=self.weight_variance, normalised=True)

    def program(self) -> Program:
        """The layer as a program."""
        w = Weights("W", variance=self.weight_variance)
        return program(state + step * w(self.activation(rms_norm(state))), self.width, parameters=None)

    def layer(self) -> Layer:
        """Not a function of one neuron.

        Raises
        ------
        DerivationError
            Always: r is shared by all neurons.
        """
        raise DerivationError(
            "a normalised layer is no function of one neuron alone; use joint_limit, and simulate_gram for networks"
        )

    @classmethod
    def example(cls) -> PreNormResNet:
        """Two inputs."""
        return cls(relu, inputs=2, width=sp.Integer(16))
