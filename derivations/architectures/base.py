r"""What a recipe is: one layer said in the language, a width, and a number of inputs.

The limit is derived from it (``derivations.limits``) and the finite network is simulated from
it (``numerics.networks``), so a new recipe brings its own cross-check.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import Field, fields, replace
from math import prod
from typing import Any, ClassVar, Self

import sympy as sp

from derivations.architectures.regime import Regime
from derivations.decimals import exact_decimals
from derivations.errors import DerivationError, require
from derivations.language import Program, program
from derivations.language.widths import with_width
from derivations.symbols import require_free_names
from derivations.symbols import width as any_width


class Recipe(ABC):
    """A network recipe: an interface with one method, :meth:`expression`.

    Implementations are frozen dataclasses with the fields ``width`` (a positive integer, a
    symbol, or ``sp.oo``) and ``inputs`` (the number m of network inputs followed jointly).
    """

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]
    width: sp.Expr
    inputs: int
    #: Fields that are activations and the letters that formulas call them, the one inside the weights first; empty where formulas
    #: show the activations themselves.
    letters: ClassVar[tuple[tuple[str, str], ...]] = ()

    @abstractmethod
    def expression(self) -> sp.Expr:
        """The new state in the language: of ``symbols.state``, small parameters, and ``symbols.width`` where a width is meant."""

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

    @property
    def declared(self) -> frozenset[sp.Symbol] | None:
        """Symbols that may occur in a layer; None where they were looked at one by one."""
        return None

    @property
    def wholes(self) -> Mapping[str, str]:
        """Matrices that are parts of one, as those of heads are, and the name of the whole: their means go together."""
        return {}

    @property
    def mean_of(self) -> Mapping[str, str]:
        """Matrices without variance that are the mean of another one, and its name: they are trained with it."""
        return {}

    def xreplace(self, rule: Mapping[sp.Expr, sp.Expr]) -> Self:
        """The recipe with other symbols, or numbers in their place, in all that it is made of."""
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
        changed = {name: value.xreplace(rule) for name, value in fields.items() if hasattr(value, "xreplace")}
        return replace(self, **changed)

    def program(self) -> Program:
        """One layer as statements, with the width and small parameters that the regime ties to it at their values."""
        said = self.expression().xreplace(self.regime.values)
        valued = with_width(said, self.width) if self.width.is_number and self.width.is_finite else said
        return program(valued, self.width, self.declared, self.positions)

    def scaled_program(self, regime: Regime | None = None) -> Program:
        """One layer in its small parameters and with a symbol for the width, as limits of depth and width together need it.

        With the regime in which they grow, widths in factors and variances are powers of a small parameter too.
        """
        said = self.expression()
        return program(
            said if regime is None else with_width(said, regime.neurons), any_width, self.declared, self.positions
        )

    def time_of(self, depth: int) -> sp.Expr | None:
        """The limit's time that so many layers take; None where it is free, the size of a layer's step following from it."""
        return self.regime.time(depth)

    @property
    def coordinates(self) -> int:
        """How many numbers make a neuron's state: one per input and position, inputs first."""
        return self.inputs * prod(self.positions)


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


def require_flags(recipe: Recipe) -> None:
    """Refuse what is neither True nor False where one of both is meant."""
    for field in fields(recipe):
        if field.type == "bool":
            require(field.name, getattr(recipe, field.name), bool, "True or False")


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
