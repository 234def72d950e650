r"""Multilayer perceptrons, with and without shaping (Li & Nica 2023)."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import sympy as sp

from derivations.activations.base import Activation, as_activation, exact
from derivations.activations.piecewise_linear import relu
from derivations.activations.shaped import shaped_slopes, shaped_smooth
from derivations.architectures.base import Architecture, Layer, Preactivation, checked_inputs, checked_width
from derivations.architectures.regime import Regime
from derivations.errors import DerivationError, NoLimit
from derivations.gaussian import expect
from derivations.language import Program, Weights, program
from derivations.symbols import noise, require_free_names, state, step
from derivations.symbols import width as any_width

_MINUS = sp.Symbol("varepsilon_-", positive=True)


class Perceptron(Architecture):
    r"""A layer :math:`z' = \lambda z + \sqrt{1-\lambda^2}\,W\varphi(z)` with the critical variance; an interface."""

    @property
    @abstractmethod
    def shaped(self) -> Activation:
        r""":math:`\varphi` in its small parameters."""

    @property
    def skip_weight(self) -> sp.Expr:
        r""":math:`\lambda`."""
        return sp.S.Zero

    @property
    def _slopes(self) -> tuple[sp.Expr, sp.Expr]:
        return self.skip_weight, sp.sqrt(1 - self.skip_weight**2)

    def layer(self) -> Layer:
        """The layer at this width."""
        skip, branch = self._slopes
        inner = Activation(self.shaped.name, self.shaped.expr.subs(self.regime.values))
        return Layer(skip * state + branch * noise, Preactivation(inner, _critical(inner)))

    def scaled_program(self) -> Program:
        """The layer in its small parameters."""
        skip, branch = self._slopes
        drawn = Weights("W", variance=_critical(self.shaped))(self.shaped(state))
        return program(skip * state + branch * drawn, any_width, parameters=None)


def _critical(inner: Activation) -> sp.Expr:
    return 1 / expect(inner.expr**2, inner.variable)


@dataclass(frozen=True)
class MLP(Perceptron):
    r"""The perceptron :math:`z_{\ell+1} = \sqrt{c/n}\,W\varphi(z_\ell)` with :math:`c = 1/\mathbb{E}\,\varphi(g)^2`.

    W has i.i.d. N(0, 1) entries. Given the Gram matrix V of a layer's m inputs, its neurons are i.i.d.
    N(0, V), and the next one is :math:`V' = \frac{c}{n}\sum_i \varphi(z_i)\varphi(z_i)^\top`. The
    activation keeps its shape whatever the width.

    Parameters
    ----------
    activation : Activation or Expr
    inputs : int
        m.
    width : int or Symbol
        n; by default ``symbols.width``. Time is measured in units of n layers.

    Examples
    --------
    >>> MLP(relu, inputs=2).layer().preactivation.weight_variance
    2
    """

    activation: Activation
    width: sp.Expr = any_width
    inputs: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "activation", as_activation(self.activation))
        object.__setattr__(self, "inputs", checked_inputs(self.inputs))
        object.__setattr__(self, "width", checked_width(self.width))

    @property
    def shaped(self) -> Activation:
        """As it is."""
        return self.activation

    @property
    def regime(self) -> Regime:
        """N layers in a unit of time."""
        return Regime(depth=sp.S.One, width=self.width)

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
    activation : Activation or Expr
        :math:`\varphi`; with slopes, any member of the two-slope family (it only says which kind it is).
    inputs : int
        m.
    c_plus, c_minus : number or Expr, optional
        Real.
    a : number or Expr, optional
        Positive.
    width : int or Symbol
        n.
    skip : number or Expr
        :math:`\lambda \in [0, 1)`: adds a branch that skips the layer, :math:`z' = \lambda z + \sqrt{1-\lambda^2}\,u`.
    rate : number, Expr or pair
        p; a pair gives the two slopes rates of their own.
    depth_rate : number or Expr
        :math:`\delta`: a unit of time is :math:`n^\delta` layers. 1 is depth proportional to width.

    Raises
    ------
    DerivationError
        If neither or both kinds of shaping are given, or the activation does not admit the one asked for.

    Examples
    --------
    >>> ShapedMLP(relu, inputs=2, c_plus=0, c_minus=-1).layer().preactivation.inner.expr
    Piecewise((x - x/sqrt(n), x <= 0), (x, True))
    """

    activation: Activation
    width: sp.Expr = any_width
    inputs: int = 1
    c_plus: sp.Expr | None = None
    c_minus: sp.Expr | None = None
    a: sp.Expr | None = None
    skip: sp.Expr = sp.S.Zero
    rate: sp.Expr | tuple[sp.Expr, sp.Expr] = sp.S.Half
    depth_rate: sp.Expr = sp.S.One

    def __post_init__(self) -> None:
        object.__setattr__(self, "activation", as_activation(self.activation))
        object.__setattr__(self, "inputs", checked_inputs(self.inputs))
        object.__setattr__(self, "width", checked_width(self.width))
        slopes = self.c_plus is not None and self.c_minus is not None
        if slopes == (self.a is not None) or (self.c_plus is None) != (self.c_minus is None):
            raise DerivationError(
                "a shaping needs either c_plus and c_minus (slopes 1 + c/√n) or a (s φ(x/s) with s = a√n), "
                f"got c_plus={self.c_plus}, c_minus={self.c_minus}, a={self.a}"
            )
        for name in ("c_plus", "c_minus", "a", "skip", "depth_rate"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, exact(getattr(self, name)))
                require_free_names(name, getattr(self, name), timeless=True)
        rate = tuple(map(exact, self.rate)) if isinstance(self.rate, tuple) else exact(self.rate)
        object.__setattr__(self, "rate", rate)
        rates = self.rate if isinstance(self.rate, tuple) else (self.rate,)
        if any(p.is_nonpositive for p in (*rates, self.depth_rate)) or (
            len(rates) != (2 if slopes else 1) and len(rates) != 1
        ):
            raise DerivationError(
                f"rates must be positive, one for both slopes or a pair for two, got rate={self.rate}, "
                f"depth_rate={self.depth_rate}"
            )
        if self.skip.is_negative or (1 - self.skip).is_nonpositive:
            raise DerivationError(f"skip must be at least 0 and below 1, got {self.skip}")
        kinks = self.activation.kinks
        bent = [p for p in self.activation.pieces if sp.diff(p.expr, self.activation.variable, 2) != 0]
        if slopes and (bent or any(kink != 0 for kink in kinks)):
            raise DerivationError(
                f"slopes 1 + c/√n need an activation with two slopes and its kink at 0, got {self.activation}; "
                "shape a smooth one with a"
            )
        self.shaped  # noqa: B018 - a zoom that does not exist is refused here
        if (
            self.a is not None
            and sp.diff(self.activation.expr, self.activation.variable).subs(self.activation.variable, 0) == 0
        ):
            raise NoLimit(f"{self.activation} has slope 0 at 0: its shaping tends to 0 instead of a linear function")

    @property
    def skip_weight(self) -> sp.Expr:
        r""":math:`\lambda`."""
        return self.skip

    @property
    def shaped(self) -> Activation:
        r""":math:`\varphi_s` in its small parameters."""
        if self.a is not None:
            return shaped_smooth(self.activation, self.a)
        return shaped_slopes(self.c_plus, self.c_minus, step, _MINUS if isinstance(self.rate, tuple) else step)

    @property
    def regime(self) -> Regime:
        """The rates of the shaping and of the depth."""
        rates = self.rate if isinstance(self.rate, tuple) else (self.rate,)
        return Regime(tuple(zip((step, _MINUS), rates, strict=False)), self.depth_rate, self.width)

    @classmethod
    def example(cls) -> ShapedMLP:
        """Two inputs through a shaped ReLU network."""
        return cls(relu, inputs=2, c_plus=sp.S.Zero, c_minus=-sp.S.One, width=sp.Integer(16))
