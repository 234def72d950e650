r"""Shaped attention: a perturbation of the identity whose depth and width grow together."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass

import sympy as sp

from derivations.architectures.base import Recipe, checked_inputs, checked_variance, checked_width
from derivations.architectures.network import grid_of
from derivations.architectures.regime import Regime
from derivations.decimals import exact_decimals
from derivations.errors import DerivationError
from derivations.language import Weights, average, other, over_positions, position_matrix, softmax
from derivations.symbols import state
from derivations.symbols import width as n


@dataclass(frozen=True)
class ShapedAttention(Recipe):
    r"""Attention :math:`x' = \lambda x + \sqrt{1 - \lambda^2}\,W A x` with :math:`A = I + \mathrm{softmax}(Y/\tau) - 11^\top/p`.

    Scores are :math:`Y = n_k^{-1/2} Q^\top K` and :math:`\tau = \tau_0\sqrt n`, so that A is the identity up to :math:`n^{-1/2}`. Depth is
    proportional to width; a unit of time is n layers.

    Parameters
    ----------
    width : int or Symbol
        The number n of neurons.
    positions : int
        The number p of tokens, a number.
    temperature : Expr
        :math:`\tau_0`, a number or a symbol.
    skip : Expr
        :math:`\lambda` in [0, 1).
    size : Expr
        :math:`n_k`, a multiple of ``symbols.width``.
    weight_variance : Expr
        Of the values' weights.
    inputs : int
        The number of texts followed jointly.

    Raises
    ------
    DerivationError
        For a number that makes no sense, or keys whose number does not grow with the width.

    Examples
    --------
    With two tokens the norms move by the square of :math:`V_{11} - 2V_{12} + V_{22}`:

    >>> from derivations import derive
    >>> tau = sp.Symbol("tau", positive=True)
    >>> print(sp.factor(derive(ShapedAttention(width=100, positions=2, temperature=tau)).limit.drift[0]))
    V_11*(V_11 - 2*V_12 + V_22)**2/(16*tau**2)
    """

    _: KW_ONLY
    width: sp.Expr
    positions: tuple[int, ...] = (2,)
    temperature: sp.Expr = sp.S.One
    skip: sp.Expr = sp.S.Zero
    size: sp.Expr = n
    weight_variance: sp.Expr = sp.S.One
    inputs: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "width", checked_width(self.width))
        object.__setattr__(self, "inputs", checked_inputs(self.inputs))
        object.__setattr__(self, "positions", grid_of(self.positions))
        for name in ("temperature", "weight_variance"):
            object.__setattr__(self, name, checked_variance(getattr(self, name), name))
        for name in ("skip", "size"):
            object.__setattr__(self, name, exact_decimals(getattr(self, name)))
        if self.temperature == 0:
            raise DerivationError("temperature must be positive, got 0")
        if self.skip.is_negative or sp.ask(sp.Q.ge(self.skip, 1)):
            raise DerivationError(f"skip must be in [0, 1), got {self.skip}")
        if sp.cancel(self.size / n).has(n):
            raise DerivationError(f"the number of keys must be a multiple of the width, such as n/2, got {self.size}")
        self.program()

    @property
    def regime(self) -> Regime:
        """As many layers in a unit of time as there are neurons."""
        return Regime(depth=sp.S.One, width=self.width)

    def expression(self) -> sp.Expr:
        """The layer's formula in the state."""
        queries, keys = (Weights(name, out=self.size)(state) for name in "QK")
        values = Weights("V", variance=self.weight_variance * (1 - self.skip**2))
        p = sp.Mul(*self.positions)
        identity = position_matrix(lambda here, there: sp.KroneckerDelta(here, there))
        scores = sp.sqrt(sp.cancel(self.size / n)) * average(queries * other(keys)) / self.temperature
        mixed = over_positions((identity + softmax(scores) - sp.Integer(1) / p) * other(state))
        return self.skip * state + values(mixed)

    @classmethod
    def example(cls) -> ShapedAttention:
        """Two tokens at temperature 1, of width 8."""
        return cls(width=8)
