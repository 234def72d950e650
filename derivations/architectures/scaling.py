r"""How a network scales when its depth and its width grow together."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field

import sympy as sp

from derivations.activations.base import Activation
from derivations.architectures.base import Architecture, Layer, Preactivation
from derivations.gaussian import expect
from derivations.symbols import step


@dataclass(frozen=True)
class Scaling:
    r"""One layer :math:`x' = f(x, u)`, :math:`u = W\psi(x)`, with its small parameters, and how these shrink with the width.

    Parameters
    ----------
    update : Expr
        f, linear in ``symbols.state`` x and ``symbols.noise`` u; may hold small parameters.
    inner : Activation
        :math:`\psi`; may hold small parameters.
    sizes : tuple of (Symbol, Expr)
        Each small parameter with its rate p: it is :math:`n^{-p}` at width n.
    depth_rate : Expr
        :math:`\delta`: one unit of the limit's time is :math:`n^\delta` layers.
    weight_variance : Expr or None
        :math:`\sigma_w^2`, or None for the critical :math:`1/\mathbb{E}\,\psi(g)^2`, :math:`g \sim N(0, 1)`.
    normalised : bool
        Whether each input's state is divided by its root mean square over the layer before :math:`\psi`.
    """

    update: sp.Expr
    inner: Activation
    sizes: tuple[tuple[sp.Symbol, sp.Expr], ...] = field(default=((step, sp.S.Half),))
    depth_rate: sp.Expr = field(default=sp.S.One)
    weight_variance: sp.Expr | None = None
    normalised: bool = False

    def at(self, width: sp.Expr) -> Layer:
        """The layer of a finite network: the small parameters take their values at this width."""
        values = {size: width ** (-rate) for size, rate in self.sizes}
        x = self.inner.variable
        inner = Activation(self.inner.name, self.inner.expr.subs(values))
        gain = 1 / expect(inner.expr**2, x) if self.weight_variance is None else self.weight_variance
        return Layer(sp.sympify(self.update).subs(values), Preactivation(inner, gain))


class ScaledArchitecture(Architecture):
    """An architecture that says how its depth and its small parameters go with its width."""

    @abstractmethod
    def scaling(self) -> Scaling:
        """One layer with its small parameters."""

    def layer(self) -> Layer:
        """The same at this width."""
        return self.scaling().at(self.width)

    def time_of(self, depth: int) -> sp.Expr:
        r"""Depth in units of :math:`n^\delta` layers."""
        return depth / self.width ** self.scaling().depth_rate
