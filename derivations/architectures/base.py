r"""What an architecture is: the recursion of one layer, and nothing else.

The limit is derived from it (``derivations.limits``) and the finite network is simulated from
it (``numerics.networks``), so a new architecture brings its own cross-check.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

import sympy as sp

from derivations.activations.base import Activation
from derivations.errors import DerivationError
from derivations.symbols import noise, state, step


@dataclass(frozen=True)
class Preactivation:
    r"""The Gaussian pre-activation :math:`u_i = \sum_j W_{ij}\,\psi(x_j) + b_i` of neuron i.

    Weights and biases are independent, fresh in each layer:
    :math:`W_{ij} \sim N(0, \sigma_w^2/n)` and :math:`b_i \sim N(0, \sigma_b^2)`.

    Parameters
    ----------
    inner : Activation
        The function :math:`\psi` applied to the state before the weights.
    weight_variance : Expr
        :math:`\sigma_w^2`, the variance of a weight times the width.
    bias_variance : Expr
        :math:`\sigma_b^2`.
    """

    inner: Activation
    weight_variance: sp.Expr
    bias_variance: sp.Expr = field(default=sp.S.Zero)

    def covariance_terms(self, first: sp.Expr, second: sp.Expr) -> tuple[sp.Expr, sp.Expr]:
        r"""Given two inputs' states of neuron j: what it adds to :math:`n\,\mathrm{Cov}(u^\alpha, u^\beta)`, and the bias's share.

        A linear combination of independent centred Gaussians has covariance
        :math:`\sum_j \mathrm{Var}(W_{ij})\,\psi(x_j^\alpha)\psi(x_j^\beta) + \mathrm{Var}(b_i)`.
        """
        return self.weight_variance * self.inner(first) * self.inner(second), self.bias_variance


@dataclass(frozen=True)
class Layer:
    r"""One layer as a Markov step of a neuron: :math:`x' = f(x, u, \varepsilon)`.

    Parameters
    ----------
    update : Expr
        The new state of a neuron in ``symbols.state`` x, ``symbols.noise`` u and
        ``symbols.step`` :math:`\varepsilon`, where :math:`\varepsilon^2 = t/L` is the time that
        one of L layers takes. The same update acts on every neuron and every input.
    preactivation : Preactivation
        What u is, given the state of the layer before.

    Examples
    --------
    >>> from derivations.activations import relu
    >>> Layer(state + step * noise, Preactivation(relu, sp.Integer(1))).update
    u*varepsilon + x
    """

    update: sp.Expr
    preactivation: Preactivation

    def __post_init__(self) -> None:
        stray = {s for s in (state, noise, step) if s not in sp.sympify(self.update).free_symbols}
        if noise in stray:
            raise DerivationError(
                f"a layer's update must contain the pre-activation u (symbols.noise), got {self.update}"
            )


class Architecture(ABC):
    """A network recipe: an interface with one method, :meth:`layer`.

    Implementations are frozen dataclasses with the fields ``width`` (a positive integer, a
    symbol, or ``sp.oo``) and ``inputs`` (the number m of network inputs followed jointly).
    """

    width: sp.Expr
    inputs: int

    @abstractmethod
    def layer(self) -> Layer:
        """The recursion of one layer."""

    @classmethod
    @abstractmethod
    def example(cls) -> Architecture:
        """A small instance, for the contract tests that run over all architectures."""


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
        expr = sp.sympify(value, strict=True)
    except (sp.SympifyError, TypeError):
        return sp.nan
    return expr.xreplace({decimal: sp.Rational(str(decimal)) for decimal in expr.atoms(sp.Float)})


def checked_inputs(inputs: object) -> int:
    """A number of network inputs as a positive int."""
    if isinstance(inputs, bool) or not isinstance(inputs, int) or inputs < 1:
        raise DerivationError(
            f"inputs must be a positive whole number (how many network inputs to follow), got {inputs!r}"
        )
    return inputs


def checked_variance(value: object, name: str) -> sp.Expr:
    """A variance as an exact non-negative number or a symbol; decimals become rationals."""
    expr = _strict(value)
    if not isinstance(expr, sp.Expr) or expr.is_negative or expr.is_infinite or expr is sp.nan or expr.is_real is False:
        raise DerivationError(f"{name} must be a finite number ≥ 0 or a symbol, got {value!r}")
    return expr
