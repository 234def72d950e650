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
