r"""Blocks over the tokens of a text: self-attention, a transformer's block, a convolution with two matrices."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass

import sympy as sp

from derivations.activations.base import Activation
from derivations.activations.given import as_activation
from derivations.activations.piecewise_linear import relu
from derivations.activations.smooth import gelu
from derivations.architectures.blocks import MLPBlock
from derivations.architectures.branch import Block, hidden_neurons, require_experts
from derivations.architectures.convolutional import checked_sizes
from derivations.architectures.network import grid_of
from derivations.decimals import exact_decimals
from derivations.errors import DerivationError, unknown
from derivations.language import attention, causal, rotary
from derivations.language.positions import KINDS, SCALES, turns_of
from derivations.symbols import state
from derivations.symbols import width as n


@dataclass(frozen=True)
class AttentionBlock(Block):
    r"""The residual block :math:`x' = x + \varepsilon\sum_h O_h\,\mathrm{attention}(Q_h v, K_h v, V_h v)` with :math:`v = \mathrm{norm}(x)`.

    Parameters
    ----------
    width : int, Symbol or oo
        The number n of neurons of the state.
    positions : int or tuple of int
        The number of tokens.
    inputs : int
        The number of texts followed jointly; they share weights.
    heads : int
        The number of heads, whose outputs are added.
    size : int or Expr
        How many neurons the queries and keys of a head have: a number, or a multiple of ``symbols.width``. At infinite width a number stays as
        it is, and scores are then not Gaussian.
    value_size : int or Expr
        How many neurons the values of a head have: a number, or a multiple of ``symbols.width``.
    kind : {"softmax", "linear"}
        Whether the shares are the softmax of the scores, or the scores.
    scale : {"sqrt", "linear"}
        Scores over :math:`\sqrt k` or over k, the number of neurons of the keys.
    masked : bool
        Whether a token sees itself and earlier ones only.
    frequencies : number, sequence of Expr, or matrix
        Of rotary positions: by how many radians a position pairs of neurons of queries and keys are turned, as many pairs by each, such as
        1 and 1/10 (those of a head of k neurons: :func:`~derivations.rotary_frequencies`); empty for none.
    norm, place
        As of :class:`~derivations.MLPBlock`.
    weight_variance, bias_variance : Expr
        As of :class:`~derivations.MLPBlock`; the heads share the output's variance and mean.
    weight_mean, bias_mean, output_mean, output_bias_mean, law, row_covariance, column_covariance
        As of :class:`~derivations.MLPBlock`.
    keep, keep_branch : Expr
        Probabilities with which a neuron of the values, and the whole branch of a text, are kept.

    Raises
    ------
    DerivationError
        For a number or a word that makes no sense.

    Examples
    --------
    Linear attention moves the Gram matrix S by :math:`\lVert S \rVert^2 S`:

    >>> from derivations import derive
    >>> flow = derive(AttentionBlock(width=sp.oo, positions=2, kind="linear")).limit
    >>> print(sp.factor(flow.drift[0]))
    K_11*(K_11**2 + 2*K_12**2 + K_22**2)
    """

    _: KW_ONLY
    width: sp.Expr
    positions: tuple[int, ...] = (2,)
    heads: int = 1
    size: sp.Expr = n
    value_size: sp.Expr = n
    kind: str = "softmax"
    scale: str = "sqrt"
    masked: bool = False
    frequencies: tuple[sp.Expr, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "positions", grid_of(self.positions))
        given = self.frequencies
        object.__setattr__(self, "frequencies", () if given in ((), []) else turns_of(given))
        for name in ("size", "value_size"):
            object.__setattr__(self, name, exact_decimals(getattr(self, name)))
        if isinstance(self.heads, bool) or not isinstance(self.heads, int) or self.heads < 1:
            raise DerivationError(f"attention has a positive whole number of heads, got {self.heads!r}")
        for name, known in (("kind", KINDS), ("scale", tuple(SCALES))):
            if getattr(self, name) not in known:
                raise DerivationError(unknown(name, getattr(self, name), known))
        super().__post_init__()

    def attended(self, body: sp.Expr) -> sp.Expr:
        """What attention adds, of what the block reads."""
        total = sp.S.Zero
        for h in range(1, self.heads + 1):
            end = str(h) if self.heads > 1 else ""
            queries, keys = (self.within(f"{name}{end}", self.size)(body) for name in "QK")
            if self.frequencies:
                queries, keys = (rotary(side, self.frequencies) for side in (queries, keys))
            values = self.within(f"V{end}", self.value_size)(body)
            seen = attention(queries, keys, values, self.kind, self.scale, causal if self.masked else sp.S.One)
            total += self.ending(f"O{end}", self.dropped(seen, f"d{end}"), self.heads)
        return total

    @property
    def wholes(self) -> dict[str, str]:
        """The output matrix, of which each head has a part."""
        return {f"O{h}": "O" for h in range(1, self.heads + 1)} if self.heads > 1 else {}

    def expression(self) -> sp.Expr:
        """The layer's formula in the state."""
        return self.added(state, self.attended(self.read(state)))

    @classmethod
    def example(cls) -> AttentionBlock:
        """A pre-norm block of linear attention over two tokens, of width 2 with 3 neurons a head."""
        return cls(width=2, positions=(2,), size=3, value_size=2, kind="linear", norm="rms")


@dataclass(frozen=True)
class TransformerBlock(AttentionBlock):
    r"""The block of a transformer: attention, and then an MLP.

    .. math:: y = x + \varepsilon\,\mathrm{attention}(\mathrm{norm}\,x), \qquad x' = y + \varepsilon\,A\,\varphi(B\,\mathrm{norm}(y)) .

    Parameters
    ----------
    activation : Activation, Expr, str or callable
        :math:`\varphi`.
    hidden : int or Expr
        The number of hidden neurons of the MLP.
    experts, top
        Of the MLP, as of :class:`~derivations.MLPBlock`.
    parallel : bool
        Whether the MLP reads what attention reads, so that both are added at once.
    norm : {"rms", "layer", "none"}
        Before each of the two (``place="pre"``), or behind (``place="post"``).
    width, positions, inputs, heads, size, value_size, kind, scale, masked, frequencies, place, weight_variance, bias_variance, keep, keep_branch
        As of :class:`AttentionBlock`.
    weight_mean, bias_mean, output_mean, output_bias_mean, law, row_covariance, column_covariance
        As of :class:`~derivations.MLPBlock`.

    Raises
    ------
    DerivationError
        For a number or a word that makes no sense.

    Examples
    --------
    >>> from derivations import derive
    >>> block = TransformerBlock(width=sp.oo, activation=relu, positions=2, masked=True)
    >>> derive(block).limit.drift[0]  # the first token sees itself alone: attention adds 1, the MLP 1/2
    3/2
    """

    activation: Activation = gelu
    _: KW_ONLY
    hidden: sp.Expr = 4 * n
    experts: int = 1
    top: int | None = None
    norm: str = "rms"
    parallel: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "activation", as_activation(self.activation))
        object.__setattr__(self, "hidden", hidden_neurons(self.hidden))
        require_experts(self.experts, self.top)
        super().__post_init__()

    def perceptron(self, body: sp.Expr) -> sp.Expr:
        """What the MLP adds, of what it reads."""
        return self.mixed(self._expert, body, self.experts, self.top)

    def _expert(self, body: sp.Expr, expert: str) -> sp.Expr:
        hidden = self.activation(self.within(f"B{expert}", self.hidden)(body))
        return self.ending(f"A{expert}", self.dropped(hidden, f"dh{expert}"))

    def expression(self) -> sp.Expr:
        """The layer's formula in the state."""
        attended = self.attended(self.read(state))
        if self.parallel:
            return self.added(state, attended + self.perceptron(self.read(state)))
        seen = self.added(state, attended)
        return self.added(seen, self.perceptron(self.read(seen)), "c")

    @classmethod
    def example(cls) -> TransformerBlock:
        """A pre-norm block with linear attention over two tokens, of width 2."""
        return cls(width=2, activation=relu, positions=(2,), size=2, value_size=2, hidden=3, kind="linear")


@dataclass(frozen=True)
class ConvBlock(MLPBlock):
    r"""The convolutional residual block with two filters, :math:`x' = x + \varepsilon\, A * \varphi(B * \mathrm{norm}(x))`.

    Parameters
    ----------
    positions : tuple of int
        The grid's sizes, one or two of them.
    filter : tuple of int
        The sizes of both filters, odd.
    circular : bool
        Whether a filter that reaches over a border reads on at the other end; else it reads 0 there.
    activation, width, inputs, hidden, experts, top, norm, place, weight_variance, bias_variance, weight_mean, bias_mean, output_mean, output_bias_mean
        As of :class:`~derivations.MLPBlock`, with channels for neurons.
    law, row_covariance, column_covariance, keep, keep_branch
        As of :class:`~derivations.MLPBlock`; the covariances are of channels, the same for each weight of a filter.

    Raises
    ------
    DerivationError
        For sizes that do not fit, besides what :class:`~derivations.MLPBlock` refuses.

    Examples
    --------
    >>> from derivations import derive
    >>> derive(ConvBlock(relu, width=sp.oo, positions=(3,), filter=(3,))).limit.drift[0]
    K_11/6 + K_22/6 + K_33/6
    """

    positions: tuple[int, ...] = (3,)
    filter: tuple[int, ...] = (3,)
    circular: bool = True

    def __post_init__(self) -> None:
        for name in ("positions", "filter"):
            object.__setattr__(self, name, checked_sizes(getattr(self, name), name))
        super().__post_init__()

    @property
    def through(self) -> dict[str, object]:
        """The filter."""
        return {"filter": self.filter, "padding": "circular" if self.circular else "zeros"}

    @classmethod
    def example(cls) -> ConvBlock:
        """Two channels on a line of three positions, with one hidden channel."""
        return cls(relu, width=2, positions=(3,), filter=(3,), hidden=1)
