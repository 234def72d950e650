"""What may be given as an activation: one of ours, a formula, a name, a function."""

from __future__ import annotations

from collections.abc import Callable

import sympy as sp

from derivations.activations.base import Activation, from_expression
from derivations.errors import DerivationError, shown
from derivations.symbols import state


def as_activation(given: Activation | sp.Expr | str | Callable[[sp.Expr], object], shaped: bool = False) -> Activation:
    """An activation from what a user says: an :class:`Activation`, a SymPy expression in one symbol, a text, or a function.

    A text is read by :func:`~derivations.parse_activation`. A function, of SymPy or of the user, is applied to the symbol ``x``.
    Where an expression has several symbols, the one called ``x`` is the argument and the others are
    parameters. Decimals are read as exact, 0.1 as 1/10.

    Parameters
    ----------
    given : Activation, Expr, str or callable
    shaped : bool
        Whether its shape may depend on the width.

    Raises
    ------
    DerivationError
        If the object is none of these, an expression's argument is not clear, or that is declared to be more than real: SymPy has then
        folded ``|y|`` or max(y, 0) before anyone could see it.

    Examples
    --------
    >>> y = sp.Symbol("y")
    >>> as_activation(y**2 + 1).expr, as_activation(sp.tanh).expr, as_activation("GELU").name
    (x**2 + 1, tanh(x), 'gelu')
    >>> as_activation(sp.Lambda(y, y * sp.tanh(y))).expr
    x*tanh(x)
    """
    if isinstance(given, str):
        from derivations.activations.text import parse_activation

        return parse_activation(given)
    is_ours = isinstance(given, Activation) or str(getattr(given, "__module__", "")).startswith("derivations")
    is_formula = isinstance(given, sp.Expr) and not isinstance(given, sp.Lambda)
    return from_expression(given if is_ours or is_formula or not callable(given) else _applied(given), shaped)


def _applied(function: Callable[[sp.Expr], object]) -> object:
    """What a function makes of the symbol x."""
    if function in (sp.Max, sp.Min):  # of x alone it is x
        raise DerivationError(f"{function} takes two arguments or more; write lambda x: {function}(x, 0)")
    try:
        return function(state)
    except Exception as error:  # of whatever kind it is, what failed is the user's function
        raise DerivationError(
            f"an activation that is a function is applied to the SymPy symbol x, and {shown(function)} failed: {error}; give its name, "
            "such as 'relu', or use functions of SymPy, and Max or Piecewise for kinks"
        ) from error
