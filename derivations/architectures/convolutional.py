r"""Convolutional residual networks with shrinking weights: channels over a grid of positions."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass

import sympy as sp

from derivations.activations.piecewise_linear import relu
from derivations.activations.smooth import tanh
from derivations.architectures.base import require_flags
from derivations.architectures.shrinking import ShrinkingResNet
from derivations.errors import DerivationError
from derivations.language import Weights


@dataclass(frozen=True)
class ConvResNet(ShrinkingResNet):
    r"""The convolutional residual network :math:`x'_{i,p} = x_{i,p} + \varphi\bigl(\sum_{c,\delta} W_{ic\delta}\,\psi(x_{c,p+\delta}) + b_i\bigr)`.

    Channels :math:`i, c = 1..C` over positions p of a grid of one or two dimensions, a filter F of offsets
    :math:`\delta` centred at 0, :math:`W_{ic\delta} \sim N(\mu_w h/(C|F|),\ \sigma_w^2 h/(C|F|))`,
    :math:`b_i \sim N(\mu_b h, \sigma_b^2 h)`, fresh in every layer.

    A neuron is a channel. Its state has one coordinate per input and position, inputs first and positions in
    row-major order; given the state, channels are independent with the covariance over positions
    :math:`\sigma_b^2 + \frac{\sigma_w^2}{C|F|}\sum_{c,\delta} \psi(x_{c,p+\delta})\psi(x_{c,p'+\delta})`.

    Parameters
    ----------
    outer, inner : Activation, Expr, str or callable
        :math:`\varphi`, as in :class:`ShrinkingResNet`, and :math:`\psi`.
    width : int, Symbol or oo
        The number C of channels.
    positions : tuple of int
        The grid's sizes, one or two of them.
    filter : tuple of int
        The filter's sizes, odd, one for each dimension of the grid; by default 1 in each.
    inputs : int
        The number of network inputs (images) followed jointly.
    circular : bool
        Reading on at the other end, where a filter reaches over a border; else it reads 0 there.
    weight_variance, bias_variance, weight_mean, bias_mean : Expr

    Raises
    ------
    DerivationError
        For sizes that do not fit, besides what :class:`ShrinkingResNet` refuses.

    Examples
    --------
    >>> network = ConvResNet(tanh, relu, width=2, positions=(4,), filter=(3,), circular=False)
    >>> network.program().statements[0].weights.taps
    ((None, 0, 1, 2), (0, 1, 2, 3), (1, 2, 3, None))
    """

    _: KW_ONLY
    positions: tuple[int, ...] = (1,)
    filter: tuple[int, ...] = ()
    circular: bool = True

    def __post_init__(self) -> None:
        require_flags(self)
        super().__post_init__()
        object.__setattr__(self, "positions", checked_sizes(self.positions, "positions"))
        object.__setattr__(self, "filter", checked_sizes(self.filter or (1,) * len(self.positions), "filter"))
        self.program()

    def weights(self, name: str, **moments: object) -> Weights:
        """A matrix that reads through the filter."""
        return super().weights(name, filter=self.filter, padding="circular" if self.circular else "zeros", **moments)

    @classmethod
    def example(cls) -> ConvResNet:
        """Two channels on a line of three positions, circular."""
        return cls(tanh, relu, width=2, positions=(3,), filter=(3,), bias_variance=sp.Rational(1, 2))


def checked_sizes(given: object, name: str) -> tuple[int, ...]:
    """One or two sizes of a grid or of a filter."""
    sizes = tuple(given) if isinstance(given, tuple | list) else (given,)
    whole = all(isinstance(k, int) and not isinstance(k, bool) and k > 0 for k in sizes)
    if not 1 <= len(sizes) <= 2 or not whole:
        raise DerivationError(f"{name} must be one or two positive whole numbers, got {given!r}")
    return sizes
