r"""What an architecture is: the recursion of one layer, and nothing else.

The limit is derived from it (``derivations.limits``) and the finite network is simulated from
it (``numerics.networks``), so a new architecture brings its own cross-check.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any, TypeAlias, cast

import sympy as sp

from derivations.activations.base import Activation
from derivations.architectures.regime import Regime
from derivations.decimals import exact_decimals
from derivations.errors import DerivationError
from derivations.language import Program, Weights, program
from derivations.symbols import noise, require_free_names, shift, state, step
from derivations.symbols import width as any_width

#: What one weight of each channel reads: for every coordinate of the new state a coordinate of the old one, or None.
Tap: TypeAlias = tuple[int | None, ...]


@dataclass(frozen=True)
class Preactivation:
    r"""The Gaussian pre-activation of neuron i, :math:`\sum_j W_{ij}\,\psi(x_j) + b_i`, split in two.

    Weights and biases are independent and fresh in each layer. Their centred parts make the *noise*
    :math:`u_i`, from :math:`W_{ij} \sim N(0, \sigma_w^2/n)` and :math:`b_i \sim N(0, \sigma_b^2)`; their means make
    the *shift* :math:`m = \mu_b + \tfrac{\mu_w}{n}\sum_j \psi(x_j)`. An update may scale the two differently.

    A neuron's state has one coordinate per network input; for images one per input and position, and a weight for
    each *tap* of a filter F. Then :math:`\psi(x_j)` stands for the coordinate that the tap reads, sums run over
    neurons and taps, and n for their number :math:`n|F|`.

    Parameters
    ----------
    inner : Activation
        The function :math:`\psi` applied to the state before the weights.
    weight_variance, bias_variance : Expr
        :math:`\sigma_w^2`, the variance of a weight times the number of weights of a neuron, and :math:`\sigma_b^2`.
    weight_mean, bias_mean : Expr
        :math:`\mu_w`, the mean of a weight times their number, and :math:`\mu_b`.
    taps : tuple of Tap
        Empty for dense layers, where each coordinate reads itself. Where a tap reads None, beyond a border, it reads 0.
    """

    inner: Activation
    weight_variance: sp.Expr
    bias_variance: sp.Expr = field(default=sp.S.Zero)
    weight_mean: sp.Expr = field(default=sp.S.Zero)
    bias_mean: sp.Expr = field(default=sp.S.Zero)
    taps: tuple[Tap, ...] = ()

    @property
    def has_means(self) -> bool:
        """Whether there is a shift."""
        return bool(self.weight_mean != 0 or self.bias_mean != 0)

    def pairs(self, a: int, b: int) -> tuple[tuple[int, int], ...]:
        """The coordinates of the old state that meet in the covariance of coordinates a and b, tap by tap."""
        if not self.taps:
            return ((a, b),)
        read = ((tap[a], tap[b]) for tap in self.taps)
        return tuple((i, j) for i, j in read if i is not None and j is not None)

    def reads(self, a: int) -> tuple[int, ...]:
        """The coordinates of the old state that coordinate a reads, tap by tap."""
        return tuple(i for i, _ in self.pairs(a, a))

    @property
    def share(self) -> sp.Expr:
        """One tap's share of the weights, one over their number."""
        return sp.Rational(1, max(1, len(self.taps)))

    def covariance_terms(self, neuron: Sequence[sp.Expr], a: int, b: int) -> tuple[sp.Expr, sp.Expr]:
        r"""Given the state of neuron j: what it adds to :math:`n\,\mathrm{Cov}(u^a, u^b)`, and the bias's share.

        A linear combination of independent centred Gaussians has covariance
        :math:`\sum_j \mathrm{Var}(W_{ij})\,\psi(x_j^a)\psi(x_j^b) + \mathrm{Var}(b_i)`.
        """
        products = (self.inner(neuron[i]) * self.inner(neuron[j]) for i, j in self.pairs(a, b))
        return self.weight_variance * self.share * sp.Add(*products), self.bias_variance

    def mean_terms(self, neuron: Sequence[sp.Expr], a: int) -> tuple[sp.Expr, sp.Expr]:
        r"""Given the state of neuron j: what it adds to :math:`n\,m^a`, and the bias's share."""
        return self.weight_mean * self.share * sp.Add(*(self.inner(neuron[i]) for i in self.reads(a))), self.bias_mean


@dataclass(frozen=True)
class Layer:
    r"""One layer as a Markov step of a neuron: :math:`x' = f(x, u, \varepsilon)`.

    Parameters
    ----------
    update : Expr
        The new state of a neuron in ``symbols.state`` x, ``symbols.noise`` u, ``symbols.shift`` m and
        ``symbols.step`` :math:`\varepsilon`, where :math:`\varepsilon^2 = t/L` is the time that
        one of L layers takes. The same update acts on every neuron and every input.
    preactivation : Preactivation
        What u and m are, given the state of the layer before.

    Examples
    --------
    >>> from derivations.activations import relu
    >>> Layer(state + step * noise, Preactivation(relu, sp.Integer(1))).update
    u*varepsilon + x
    """

    update: sp.Expr
    preactivation: Preactivation

    @property
    def drawn(self) -> sp.Expr:
        r"""The noise u in the language of programs: a centred matrix applied."""
        pre = self.preactivation
        weights = Weights("W", variance=pre.weight_variance, bias_variance=pre.bias_variance, taps=pre.taps)
        return weights(pre.inner(state))

    @property
    def meant(self) -> sp.Expr:
        r"""The shift m: a matrix without variance applied."""
        pre = self.preactivation
        return Weights("M", variance=0, mean=pre.weight_mean, bias_mean=pre.bias_mean, taps=pre.taps)(pre.inner(state))

    def expression(self) -> sp.Expr:
        """The update in the language of programs."""
        return self.update.xreplace({noise: self.drawn, shift: self.meant})

    def __post_init__(self) -> None:
        stray = {s for s in (state, noise, step) if s not in sp.sympify(self.update).free_symbols}
        if noise in stray:
            raise DerivationError(
                f"a layer's update must contain the pre-activation u (symbols.noise), got {self.update}"
            )
        inner, read = self.preactivation.inner, self.preactivation
        own = {symbol: sp.Dummy(real=True) for symbol in (state, noise, shift, step)}
        require_free_names("the update", sp.sympify(self.update).xreplace(own), timeless=True)
        expr = inner.expr.xreplace({symbol: sp.Dummy(real=True) for symbol in (inner.variable, step)})
        require_free_names(f"the activation {inner}", expr, timeless=True)
        moments = {"weight variance": read.weight_variance, "bias variance": read.bias_variance}
        moments |= {"weight mean": read.weight_mean, "bias mean": read.bias_mean}
        for name, value in moments.items():
            require_free_names(f"the {name}", sp.sympify(value))


class Recipe(ABC):
    """A network recipe: an interface with one method, :meth:`program`.

    Implementations are frozen dataclasses with the fields ``width`` (a positive integer, a
    symbol, or ``sp.oo``) and ``inputs`` (the number m of network inputs followed jointly).
    """

    width: sp.Expr
    inputs: int

    @abstractmethod
    def program(self) -> Program:
        """One layer as a program."""

    @classmethod
    @abstractmethod
    def example(cls) -> Recipe:
        """A small instance, for the contract tests that run over all recipes."""

    @property
    def positions(self) -> tuple[int, ...]:
        """The grid on which each neuron lives; empty for dense layers."""
        return ()

    @property
    def regime(self) -> Regime:
        """What goes to infinity at which rate; by default the depth alone, at a free time."""
        return Regime(width=self.width)

    def scaled_program(self) -> Program:
        """One layer in its small parameters and with a symbol for the width, as limits of depth and width together need it."""
        recipe: Any = self
        return cast(Program, replace(recipe, width=any_width).program())

    def time_of(self, depth: int) -> sp.Expr | None:
        """The limit's time that so many layers take; None where it is free, the size of a layer's step following from it."""
        return self.regime.time(depth)

    @property
    def coordinates(self) -> int:
        """How many numbers make a neuron's state: one per input and position, inputs first."""
        return self.inputs * prod(self.positions)


class Architecture(Recipe):
    """A recipe with one matrix a layer: an interface with one method, :meth:`layer`."""

    @property
    def functions(self) -> tuple[tuple[str, Activation], ...]:
        """The activations by the letters that formulas call them; the inner one first."""
        return (("varphi", self.layer().preactivation.inner),)

    def program(self) -> Program:
        """The layer as a program."""
        return program(self.layer().expression(), self.width, parameters=None)

    def generic_layer(self) -> Layer:
        """The same layer with undefined activations, so that formulas show where they enter."""
        layer = self.layer()
        (letter, _), *_ = self.functions
        undefined = Activation(letter, sp.Function(letter, real=True)(state))
        return replace(layer, preactivation=replace(layer.preactivation, inner=undefined))

    @abstractmethod
    def layer(self) -> Layer:
        """The recursion of one layer."""


def checked_width(width: object) -> sp.Expr:
    """A width as an exact number, a symbol or infinity.

    Raises
    ------
    DerivationError
        For zero, a negative number or a fraction.
    """
    value = _strict(width)
    symbolic = isinstance(value, sp.Expr) and not value.is_number and bool(value.is_integer) and bool(value.is_positive)
    if value == sp.oo or symbolic or (value.is_Integer and value > 0):
        return value
    raise DerivationError(
        f"width must be a positive integer, a symbol declared integer and positive, or oo, got {width!r}; "
        "e.g. width=4, width=symbols.width or width=sp.oo"
    )


def _strict(value: object) -> sp.Basic:
    """A number or expression; text is never evaluated, decimals are read as written."""
    try:
        return exact_decimals(value)
    except (sp.SympifyError, TypeError):
        return sp.nan


def checked_inputs(inputs: object) -> int:
    """A number of network inputs as a positive int."""
    if isinstance(inputs, bool) or not isinstance(inputs, int) or inputs < 1:
        raise DerivationError(
            f"inputs must be a positive whole number (how many network inputs to follow), got {inputs!r}"
        )
    return inputs


def checked_mean(value: object, name: str) -> sp.Expr:
    """A mean as an exact real number or a symbol; decimals become rationals."""
    expr = _strict(value)
    if not isinstance(expr, sp.Expr) or expr.is_infinite or expr is sp.nan or expr.is_real is False:
        raise DerivationError(f"{name} must be a finite real number or a symbol, got {value!r}")
    require_free_names(name, expr)
    return expr


def checked_variance(value: object, name: str) -> sp.Expr:
    """A variance as an exact non-negative number or a symbol; decimals become rationals."""
    expr = _strict(value)
    if not isinstance(expr, sp.Expr) or expr.is_negative or expr.is_infinite or expr is sp.nan or expr.is_real is False:
        raise DerivationError(f"{name} must be a finite number ≥ 0 or a symbol, got {value!r}")
    require_free_names(name, expr)
    return expr
