r"""Convolutional residual networks with shrinking weights: channels over a grid of positions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from math import prod

import sympy as sp

from derivations.activations.base import Activation
from derivations.activations.piecewise_linear import relu
from derivations.activations.smooth import tanh
from derivations.architectures.base import Architecture, Layer, Tap
from derivations.architectures.shrinking import ShrinkingResNet, branch, taylor_stand_in
from derivations.errors import DerivationError


@dataclass(frozen=True)
class ConvResNet(Architecture):
    r"""The convolutional residual network :math:`x'_{i,p} = x_{i,p} + \varphi\bigl(\sum_{c,\delta} W_{ic\delta}\,\psi(x_{c,p+\delta}) + b_i\bigr)`.

    Channels :math:`i, c = 1..C` over positions p of a grid of one or two dimensions, a filter F of offsets
    :math:`\delta` centred at 0, :math:`W_{ic\delta} \sim N(\mu_w h/(C|F|),\ \sigma_w^2 h/(C|F|))`,
    :math:`b_i \sim N(\mu_b h, \sigma_b^2 h)`, fresh in every layer.

    A neuron is a channel. Its state has one coordinate per input and position, inputs first and positions in
    row-major order; given the state, channels are independent with the covariance over positions
    :math:`\sigma_b^2 + \frac{\sigma_w^2}{C|F|}\sum_{c,\delta} \psi(x_{c,p+\delta})\psi(x_{c,p'+\delta})`.

    Parameters
    ----------
    outer, inner : Activation or Expr
        :math:`\varphi`, as in :class:`ShrinkingResNet`, and :math:`\psi`.
    width : int, Symbol or oo
        The number C of channels.
    positions : tuple of int
        The grid's sizes, one or two of them.
    filter : tuple of int
        The filter's sizes, odd, one for each dimension of the grid.
    inputs : int
        The number of network inputs (images) followed jointly.
    circular : bool
        Whether a filter that reaches over a border reads on at the other end; else it reads 0 there.
    weight_variance, bias_variance, weight_mean, bias_mean : Expr

    Raises
    ------
    DerivationError
        For sizes that do not fit, besides what :class:`ShrinkingResNet` refuses.

    Examples
    --------
    >>> ConvResNet(tanh, relu, 2, positions=(4,), filter=(3,), circular=False).taps
    ((None, 0, 1, 2), (0, 1, 2, 3), (1, 2, 3, None))
    """

    outer: Activation
    inner: Activation
    width: sp.Expr
    positions: tuple[int, ...] = (1,)
    filter: tuple[int, ...] = (1,)
    inputs: int = 1
    circular: bool = True
    weight_variance: sp.Expr = sp.S.One
    bias_variance: sp.Expr = sp.S.Zero
    weight_mean: sp.Expr = sp.S.Zero
    bias_mean: sp.Expr = sp.S.Zero

    def __post_init__(self) -> None:
        dense = self.dense  # checks and completes what both have
        for name in (
            "outer",
            "inner",
            "width",
            "inputs",
            "weight_variance",
            "bias_variance",
            "weight_mean",
            "bias_mean",
        ):
            object.__setattr__(self, name, getattr(dense, name))
        for name in ("positions", "filter"):
            object.__setattr__(self, name, _sizes(getattr(self, name), name))
        if len(self.positions) != len(self.filter) or any(k % 2 == 0 for k in self.filter):
            raise DerivationError(
                "expected a filter of odd sizes, one for each dimension of the grid, "
                f"got filter={self.filter} for positions={self.positions}"
            )
        if any(k > p for k, p in zip(self.filter, self.positions, strict=True)):
            raise DerivationError(f"expected a filter no larger than the grid {self.positions}, got {self.filter}")

    @property
    def dense(self) -> ShrinkingResNet:
        """The network at one position: the same recursion with dense weights."""
        return ShrinkingResNet(
            self.outer,
            self.inner,
            self.width,
            self.inputs,
            self.weight_variance,
            self.bias_variance,
            self.weight_mean,
            self.bias_mean,
        )

    @property
    def functions(self) -> tuple[tuple[str, Activation], ...]:
        r"""Inside the weights :math:`\psi`, outside :math:`\varphi`."""
        return self.dense.functions

    @property
    def taps(self) -> tuple[Tap, ...]:
        """For each offset of the filter, what every coordinate reads."""
        size = prod(self.positions)
        offsets = product(*(range(-(k // 2), k // 2 + 1) for k in self.filter))
        grids = [self._read(offset) for offset in offsets]
        return tuple(
            tuple(None if p is None else a * size + p for a in range(self.inputs) for p in grid) for grid in grids
        )

    def _read(self, offset: tuple[int, ...]) -> list[int | None]:
        """The position, in row-major order, that each position reads through one offset."""
        read: list[int | None] = []
        for at in product(*map(range, self.positions)):
            moved = [p + d for p, d in zip(at, offset, strict=True)]
            inside = all(0 <= p < size for p, size in zip(moved, self.positions, strict=True))
            index = 0
            for p, size in zip(moved, self.positions, strict=True):
                index = index * size + p % size
            read.append(index if inside or self.circular else None)
        return read

    def layer(self) -> Layer:
        """The dense layer, reading through the filter."""
        layer = self.dense.layer()
        return replace(layer, preactivation=replace(layer.preactivation, taps=self.taps))

    def generic_layer(self) -> Layer:
        r"""The same with :math:`\psi` undefined and of :math:`\varphi` the derivatives at 0 only."""
        layer = super().generic_layer()
        return replace(layer, update=branch(taylor_stand_in("varphi"), layer.preactivation))

    @classmethod
    def example(cls) -> ConvResNet:
        """Two channels on a line of three positions, circular."""
        return cls(tanh, relu, 2, positions=(3,), filter=(3,), bias_variance=sp.Rational(1, 2))


def _sizes(given: object, name: str) -> tuple[int, ...]:
    sizes = tuple(given) if isinstance(given, tuple | list) else (given,)
    whole = all(isinstance(k, int) and not isinstance(k, bool) and k > 0 for k in sizes)
    if not 1 <= len(sizes) <= 2 or not whole:
        raise DerivationError(f"{name} must be one or two positive whole numbers, got {given!r}")
    return sizes
