r"""Residual blocks with hidden neurons, as they are trained: two matrices or a gate, norms before or behind, dropout."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import KW_ONLY, dataclass

import sympy as sp

from derivations.activations.base import Activation
from derivations.activations.given import as_activation
from derivations.activations.piecewise_linear import relu
from derivations.activations.smooth import silu
from derivations.architectures.branch import Block, hidden_neurons, require_experts
from derivations.symbols import state
from derivations.symbols import width as n


@dataclass(frozen=True)
class _Hidden(Block):
    r"""A block with hidden neurons; ``branch`` says what is added."""

    activation: Activation
    _: KW_ONLY
    width: sp.Expr
    hidden: sp.Expr = 4 * n
    experts: int = 1
    top: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "activation", as_activation(self.activation))
        object.__setattr__(self, "hidden", hidden_neurons(self.hidden))
        require_experts(self.experts, self.top)
        super().__post_init__()

    @abstractmethod
    def branch(self, body: sp.Expr, expert: str = "") -> sp.Expr:
        """What is added to the state, of what the block reads; matrices of one expert end with its number."""

    def expression(self) -> sp.Expr:
        """The layer's formula in the state."""
        return self.added(state, self.mixed(self.branch, self.read(state), self.experts, self.top))


@dataclass(frozen=True)
class MLPBlock(_Hidden):
    r"""The residual block :math:`x' = x + \varepsilon\, A\,\varphi(B\,\mathrm{norm}(x))` with hidden neurons, :math:`\varepsilon = L^{-1/2}`.

    Parameters
    ----------
    activation : Activation, Expr, str or callable
        :math:`\varphi`.
    width : int, Symbol or oo
        The number n of neurons of the state.
    inputs : int
        The number m of network inputs followed jointly; they share weights.
    hidden : int or Expr
        The number of hidden neurons: a number, or a multiple of ``symbols.width`` such as ``4*n``.
    experts : int
        How many such branches there are, of which each input has shares by the scores of a router
        (:func:`~derivations.mixture_of_experts`).
    top : int, optional
        How many experts an input uses, those with the largest scores; all if it is left out.
    norm : {"none", "rms", "layer"}
        What the block divides by; gains are 1, shifts 0, as at the start of training.
    place : {"pre", "post"}
        Whether the block's input or the sum is normalised.
    weight_variance, bias_variance : Expr
        Of all matrices: :math:`\sigma_w^2/k` for a weight that reads one of k neurons, :math:`\sigma_b^2` for a bias.
    weight_mean, bias_mean : Expr
        Of the matrices inside the branch: :math:`\mu_w/k` for a weight, :math:`\mu_b` for a bias.
    output_mean : Expr
        The mean of a weight of the matrix at the end of the branch, times the neurons that it reads, over :math:`\varepsilon`: a larger mean
        has no limit.
    output_bias_mean : Expr
        The mean of a bias of the matrix at the end of the branch, over :math:`\varepsilon`.
    law : str or sequence
        The law of the entries of all matrices: gaussian, orthogonal, uniform, rademacher, laplace, truncated_normal, or a table of even moments,
        as of :class:`~derivations.Weights`.
    row_covariance : matrix, optional
        How rows of the matrix at the end of the branch covary, :math:`\Sigma_O`, such as [[1, 1/2], [1/2, 1]], at a width that is a number.
    column_covariance : matrix, optional
        How columns of the matrix at the end of the branch covary, :math:`\Sigma_I`, at a width that is a number.
    keep : Expr
        The probability with which a hidden neuron is kept (dropout); those that are kept are divided by it.
    keep_branch : Expr
        The probability with which the whole branch is kept (stochastic depth); it is then divided by it.

    Raises
    ------
    DerivationError
        For a width, a number, or a word that makes no sense.

    Examples
    --------
    >>> from derivations import derive, relu
    >>> from derivations.symbols import width
    >>> derive(MLPBlock(relu, width=width)).gram_law.name
    'geometric Brownian motion'
    """

    def branch(self, body: sp.Expr, expert: str = "") -> sp.Expr:
        """Two matrices with the activation between them."""
        hidden = self.activation(self.within(f"B{expert}", self.hidden)(body))
        return self.ending(f"A{expert}", self.dropped(hidden, f"d{expert}"))

    @classmethod
    def example(cls) -> MLPBlock:
        """A pre-norm ReLU block of width 2 with 3 hidden neurons."""
        return cls(relu, width=2, hidden=3, norm="rms")


@dataclass(frozen=True)
class GatedBlock(_Hidden):
    r"""The gated block :math:`x' = x + \varepsilon\, A\,(\varphi(Bv) \odot Cv)` with :math:`v = \mathrm{norm}(x)`.

    Parameters
    ----------
    activation : Activation, Expr, str or callable
        :math:`\varphi` of the gate: sigmoid for GLU, ReLU for ReGLU, GELU for GEGLU, SiLU for SwiGLU.
    width, inputs, hidden, experts, top, norm, place, weight_variance, bias_variance, weight_mean, bias_mean, output_mean, output_bias_mean, law
        As of :class:`MLPBlock`.
    row_covariance, column_covariance, keep, keep_branch
        As of :class:`MLPBlock`.

    Raises
    ------
    DerivationError
        For a width, a number, or a word that makes no sense.

    Examples
    --------
    Without a norm the squared norm explodes after finitely many layers even at infinite width:

    >>> from derivations import derive, relu
    >>> derive(GatedBlock(relu, width=sp.oo)).limit.drift[0]
    K**2/2
    """

    def branch(self, body: sp.Expr, expert: str = "") -> sp.Expr:
        """A matrix applied to the gate times the value."""
        gate, value = (self.within(f"{name}{expert}", self.hidden)(body) for name in "BC")
        return self.ending(f"A{expert}", self.dropped(self.activation(gate) * value, f"d{expert}"))

    @classmethod
    def example(cls) -> GatedBlock:
        """A SwiGLU block of width 2 with 2 hidden neurons."""
        return cls(silu, width=2, hidden=2)
