r"""Residual blocks with hidden neurons, as they are trained: two matrices or a gate, norms before or behind, dropout."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass

import sympy as sp

from derivations.activations.base import Activation, as_activation
from derivations.activations.piecewise_linear import relu
from derivations.activations.smooth import silu
from derivations.architectures.base import Recipe, checked_inputs, checked_variance, checked_width
from derivations.decimals import exact_decimals
from derivations.errors import DerivationError, unknown
from derivations.language import Weights, drop_branch, dropout, layer_norm, rms_norm
from derivations.symbols import state, step
from derivations.symbols import width as n

#: What a block divides by, by the word that PyTorch and JAX users know it under.
NORMS: dict[str, Callable[[sp.Expr], sp.Expr]] = {"rms": rms_norm, "layer": layer_norm, "none": lambda body: body}
PLACES = ("pre", "post")


@dataclass(frozen=True)
class _Block(Recipe):
    r""":math:`x' = x + \varepsilon\, b(\mathrm{norm}\,x)`, or :math:`x' = \mathrm{norm}(x + \varepsilon\, b(x))`; ``branch`` says b."""

    activation: Activation
    width: sp.Expr
    _: KW_ONLY
    inputs: int = 1
    hidden: sp.Expr = 4 * n
    norm: str = "none"
    place: str = "pre"
    weight_variance: sp.Expr = sp.S.One
    bias_variance: sp.Expr = sp.S.Zero
    keep: sp.Expr = sp.S.One
    keep_branch: sp.Expr = sp.S.One

    def __post_init__(self) -> None:
        object.__setattr__(self, "activation", as_activation(self.activation))
        object.__setattr__(self, "width", checked_width(self.width))
        object.__setattr__(self, "inputs", checked_inputs(self.inputs))
        for name in ("weight_variance", "bias_variance"):
            object.__setattr__(self, name, checked_variance(getattr(self, name), name))
        for name in ("hidden", "keep", "keep_branch"):
            object.__setattr__(self, name, exact_decimals(getattr(self, name)))
        for name, known in (("norm", tuple(NORMS)), ("place", PLACES)):
            if getattr(self, name) not in known:
                raise DerivationError(unknown(name, getattr(self, name), known))
        self.program()

    @abstractmethod
    def branch(self, body: sp.Expr) -> sp.Expr:
        """What is added to the state, of what the block reads."""

    def matrix(self, name: str, hidden: bool = False) -> Weights:
        """A matrix of the block, to its hidden neurons or back to the state."""
        out = self.hidden if hidden else n
        return Weights(name, out=out, variance=self.weight_variance, bias_variance=self.bias_variance)

    def expression(self) -> sp.Expr:
        """The layer's formula in the state."""
        norm = NORMS[self.norm]
        branch = self.branch(norm(state) if self.place == "pre" else state)
        if self.keep_branch != 1:
            branch = drop_branch(branch, self.keep_branch, name="b")
        summed = state + step * branch
        return norm(summed) if self.place == "post" else summed

    def dropped(self, body: sp.Expr) -> sp.Expr:
        """Hidden neurons after dropout."""
        return body if self.keep == 1 else dropout(body, self.keep)


@dataclass(frozen=True)
class MLPBlock(_Block):
    r"""The residual block :math:`x' = x + \varepsilon\, A\,\varphi(B\,\mathrm{norm}(x))` with hidden neurons, :math:`\varepsilon = L^{-1/2}`.

    Parameters
    ----------
    activation : Activation or Expr
        :math:`\varphi`.
    width : int, Symbol or oo
        The number n of neurons of the state.
    inputs : int
        The number m of network inputs followed jointly; they share weights.
    hidden : int or Expr
        The number of hidden neurons: a number, or a multiple of ``symbols.width`` such as ``4*n``.
    norm : {"none", "rms", "layer"}
        What the block divides by; gains are 1, shifts 0, as at the start of training.
    place : {"pre", "post"}
        Whether the block's input or the sum is normalised.
    weight_variance, bias_variance : Expr
        Of both matrices: :math:`\sigma_w^2/k` for a weight that reads one of k neurons, :math:`\sigma_b^2` for a bias.
    keep, keep_branch : Expr
        Probabilities with which a hidden neuron and the whole branch are kept (dropout, stochastic depth), scaled by their inverse.

    Raises
    ------
    DerivationError
        For a width, a number, or a word that makes no sense.

    Examples
    --------
    >>> from derivations import derive, relu
    >>> from derivations.symbols import width
    >>> derive(MLPBlock(relu, width)).gram_law.name
    'geometric Brownian motion'
    """

    def branch(self, body: sp.Expr) -> sp.Expr:
        """Two matrices with the activation between them."""
        up, down = self.matrix("B", hidden=True), self.matrix("A")
        return down(self.dropped(self.activation(up(body))))

    @classmethod
    def example(cls) -> MLPBlock:
        """A pre-norm ReLU block of width 2 with 3 hidden neurons."""
        return cls(relu, width=2, hidden=3, norm="rms")


@dataclass(frozen=True)
class GatedBlock(_Block):
    r"""The gated block :math:`x' = x + \varepsilon\, A\,(\varphi(Bv) \odot Cv)` with :math:`v = \mathrm{norm}(x)`.

    Parameters
    ----------
    activation : Activation or Expr
        :math:`\varphi` of the gate: sigmoid for GLU, ReLU for ReGLU, GELU for GEGLU, SiLU for SwiGLU.
    width, inputs, hidden, norm, place, weight_variance, bias_variance, keep, keep_branch
        As of :class:`MLPBlock`.

    Raises
    ------
    DerivationError
        For a width, a number, or a word that makes no sense.

    Examples
    --------
    Without a norm the squared norm explodes after finitely many layers even at infinite width:

    >>> from derivations import derive, relu
    >>> derive(GatedBlock(relu, sp.oo)).limit.drift[0]
    K**2/2
    """

    def branch(self, body: sp.Expr) -> sp.Expr:
        """A matrix applied to the gate times the value."""
        gate, value = self.matrix("B", hidden=True), self.matrix("C", hidden=True)
        return self.matrix("A")(self.dropped(self.activation(gate(body)) * value(body)))

    @classmethod
    def example(cls) -> GatedBlock:
        """A SwiGLU block of width 2 with 2 hidden neurons."""
        return cls(silu, width=2, hidden=2)
