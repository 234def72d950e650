"""What choosing a parameter returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from derivations.architectures import Recipe
from derivations.notation.printed import Legible


@dataclass(frozen=True, repr=False)
class Choice(Legible):
    """A parameter's value with which a network has a wanted statistic.

    Parameters
    ----------
    parameter : Symbol
    value : float
    statistic : str
        What was asked for, in words.
    target, attained : float
        The wanted value and that of the derived limit at the parameter's value.
    error : float
        Standard error of ``attained`` where paths of the limit were drawn, else 0.
    reach : tuple of float
        The least and the largest value of the statistic that were seen within the bounds, where it turns too.
    others : tuple of float
        Larger parameters at which the statistic takes the value again, in order; the smallest is returned.
    network : Recipe
        With the value in place; for a depth, as it was.
    """

    parameter: Any
    value: float
    statistic: str
    target: float
    attained: float
    error: float
    reach: tuple[float, float]
    others: tuple[float, ...]
    network: Recipe

    def __str__(self) -> str:
        error = f" ± {self.error:.2g}" if self.error else ""
        more = f"; so it is at {', '.join(f'{x:.6g}' for x in self.others)}" if self.others else ""
        return (
            f"{self.parameter} = {self.value:.6g}: {self.statistic} is {self.attained:.6g}{error}, wanted {self.target:g}; within the bounds it goes "
            f"from {self.reach[0]:.4g} to {self.reach[1]:.4g}{more}"
        )


def usual_bounds(parameter: Any) -> tuple[float, float]:
    """Between which a parameter is sought by default: values that it can have by the sign that it is declared with.

    Examples
    --------
    >>> import sympy as sp
    >>> usual_bounds(sp.Symbol("c", real=True)), usual_bounds(sp.Symbol("c", nonnegative=True)), usual_bounds(sp.Symbol("c", negative=True))
    ((-10.0, 10.0), (0.0, 100.0), (-100.0, -0.01))
    """
    if parameter.is_nonnegative:
        return (0.01 if parameter.is_positive else 0.0), 100.0
    if parameter.is_nonpositive:
        return -100.0, (-0.01 if parameter.is_negative else 0.0)
    return -10.0, 10.0


def can_be(parameter: Any, low: float, high: float) -> bool:
    """Whether a parameter can have all values from low to high, by the sign that it is declared with.

    Examples
    --------
    >>> import sympy as sp
    >>> can_be(sp.Symbol("c", nonnegative=True), 0.0, 1.0), can_be(sp.Symbol("c", positive=True), 0.0, 1.0)
    (True, False)
    """
    signs = (
        ("is_positive", low > 0),
        ("is_nonnegative", low >= 0),
        ("is_negative", high < 0),
        ("is_nonpositive", high <= 0),
    )
    return all(holds for declared, holds in signs if getattr(parameter, declared))
