r"""Multilayer perceptrons, with and without shaping (Li & Nica 2023)."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import KW_ONLY, dataclass

import sympy as sp

from derivations.activations.base import Activation, exact
from derivations.activations.given import as_activation
from derivations.activations.piecewise_linear import relu
from derivations.activations.shaped import shaped
from derivations.architectures.base import Recipe, checked_inputs, checked_width
from derivations.architectures.regime import Regime
from derivations.errors import DerivationError
from derivations.gaussian import expect
from derivations.language import Weights
from derivations.symbols import require_free_names, state
from derivations.symbols import width as any_width


class Perceptron(Recipe):
    r"""A layer :math:`z' = \lambda z + \sqrt{1-\lambda^2}\,W\varphi(z)` with the critical variance; an interface."""

    @property
    @abstractmethod
    def shaped(self) -> Activation:
        r""":math:`\varphi` in its small parameters."""

    @property
    def skip_weight(self) -> sp.Expr:
        r""":math:`\lambda`."""
        return sp.S.Zero

    def expression(self) -> sp.Expr:
        """The new state."""
        W = Weights("W", variance=1 / expect(self.shaped.expr**2, self.shaped.variable))
        skip = self.skip_weight
        return skip * state + sp.sqrt(1 - skip**2) * W(self.shaped(state))


@dataclass(frozen=True)
class MLP(Perceptron):
    r"""The perceptron :math:`z_{\ell+1} = \sqrt{c/n}\,W\varphi(z_\ell)` with :math:`c = 1/\mathbb{E}\,\varphi(g)^2`.

    W has i.i.d. N(0, 1) entries. Given the Gram matrix V of a layer's m inputs, its neurons are i.i.d.
    N(0, V), and the next one is :math:`V' = \frac{c}{n}\sum_i \varphi(z_i)\varphi(z_i)^\top`. The
    activation keeps its shape whatever the width, or is a shaped one with its rates (:mod:`derivations.activations.shaped`).

    Parameters
    ----------
    activation : Activation, Expr, str or callable
    inputs : int
        m.
    width : int or Symbol
        n; by default ``symbols.width``. Time is measured in units of n layers.

    Examples
    --------
    >>> MLP(relu, inputs=2).program().statements[0].weights.variance
    2
    """

    activation: Activation
    _: KW_ONLY
    width: sp.Expr = any_width
    inputs: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "activation", as_activation(self.activation, shaped=True))
        object.__setattr__(self, "inputs", checked_inputs(self.inputs))
        object.__setattr__(self, "width", checked_width(self.width))

    @property
    def shaped(self) -> Activation:
        """As it is."""
        return self.activation

    @property
    def regime(self) -> Regime:
        """N layers in a unit of time."""
        return Regime(self.activation.rates, sp.S.One, self.width)

    @classmethod
    def example(cls) -> MLP:
        """Two inputs through a narrow ReLU network."""
        return cls(relu, inputs=2, width=sp.Integer(8))


@dataclass(frozen=True)
class ShapedMLP(Perceptron):
    r"""The perceptron with an activation that tends to the identity as the width grows.

    .. math:: z_{\ell+1} = \sqrt{c/n}\,W\varphi_s(z_\ell), \qquad c = 1/\mathbb{E}\,\varphi_s(g)^2,

    with slopes :math:`1 + c_\pm n^{-p}` (give ``c_plus`` and ``c_minus``), or
    :math:`\varphi_s(x) = s\,\varphi(x/s)` with :math:`s = a n^p` (give ``a``).

    Parameters
    ----------
    activation : Activation, Expr, str or callable
        :math:`\varphi`; with slopes, any member of the two-slope family (it only says which kind it is). Or a shaped one, with its rates;
        then c_plus, c_minus, a and rate are left out.
    inputs : int
        m.
    c_plus : number or Expr, optional
        c in the slope :math:`1 + c\,n^{-p}` for x > 0 of a two-slope activation; real.
    c_minus : number or Expr, optional
        c in the slope :math:`1 + c\,n^{-p}` for x < 0 of a two-slope activation; real.
    a : number or Expr, optional
        a in the zoom :math:`s\varphi(x/s)` of a smooth activation with :math:`s = a\,n^p`; positive.
    width : int or Symbol
        n.
    skip : number or Expr
        :math:`\lambda`, at least 0 and below 1: the share of the state that skips the layer, :math:`z' = \lambda z + \sqrt{1-\lambda^2}\,u`.
    rate : number, Expr or pair
        p in :math:`n^{-p}` of the slopes or :math:`n^p` of the zoom; a pair gives the two slopes rates of their own.
    depth_rate : number or Expr
        :math:`\delta`: a unit of time is :math:`n^\delta` layers. 1 is depth proportional to width.

    Raises
    ------
    DerivationError
        If neither or both kinds of shaping are given, or the activation does not admit the one asked for.

    Examples
    --------
    >>> ShapedMLP(relu, inputs=2, c_plus=0, c_minus=-1).program().statements[0].body
    Piecewise((x - x/sqrt(n), x <= 0), (x, True))
    """

    activation: Activation
    _: KW_ONLY
    width: sp.Expr = any_width
    inputs: int = 1
    c_plus: sp.Expr | None = None
    c_minus: sp.Expr | None = None
    a: sp.Expr | None = None
    skip: sp.Expr = sp.S.Zero
    rate: sp.Expr | tuple[sp.Expr, sp.Expr] = sp.S.Half
    depth_rate: sp.Expr = sp.S.One

    def __post_init__(self) -> None:
        object.__setattr__(self, "activation", as_activation(self.activation, shaped=True))
        object.__setattr__(self, "inputs", checked_inputs(self.inputs))
        object.__setattr__(self, "width", checked_width(self.width))
        for name in ("c_plus", "c_minus", "a", "skip", "depth_rate"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, exact(getattr(self, name)))
                require_free_names(name, getattr(self, name), timeless=True)
        rate = tuple(map(exact, self.rate)) if isinstance(self.rate, tuple) else exact(self.rate)
        object.__setattr__(self, "rate", rate)
        if self.depth_rate.is_nonpositive:
            raise DerivationError(f"depth_rate must be positive, got {self.depth_rate}")
        if self.skip.is_negative or (1 - self.skip).is_nonpositive:
            raise DerivationError(f"skip must be at least 0 and below 1, got {self.skip}")
        self.shaped  # noqa: B018 - a shaping that does not exist is refused here

    @property
    def skip_weight(self) -> sp.Expr:
        r""":math:`\lambda`."""
        return self.skip

    @property
    def shaped(self) -> Activation:
        r""":math:`\varphi_s` in its small parameters."""
        return shaped(self.activation, self.c_plus, self.c_minus, self.a, self.rate)

    @property
    def regime(self) -> Regime:
        """The rates of the shaping and of the depth."""
        return Regime(self.shaped.rates, self.depth_rate, self.width)

    @classmethod
    def example(cls) -> ShapedMLP:
        """Two inputs through a shaped ReLU network."""
        return cls(relu, inputs=2, c_plus=sp.S.Zero, c_minus=-sp.S.One, width=sp.Integer(16))
