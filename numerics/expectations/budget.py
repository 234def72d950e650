"""An estimate with where its error comes from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from derivations.notation.printed import Legible


@dataclass(frozen=True, repr=False)
class Budget(Legible):
    r"""An estimated number with its error budget, in the number's own unit.

    Parameters
    ----------
    value : float
    statistical : float
        Standard error: one standard deviation of the value over fresh random numbers.
    step_bias : float
        Size of what is left of the step's error, estimated from the last refinements; 0 for an exact law.
    depth_bias : float
        Size of what a finite depth adds, for networks standing in for their limit; 0 for paths of the limit itself.
    samples, cost : int
        Paths in all, and path-steps in all.
    method : str
        What computed it.
    """

    value: float
    statistical: float
    step_bias: float = 0.0
    depth_bias: float = 0.0
    samples: int = 0
    cost: int = 0
    method: str = ""

    @property
    def error(self) -> float:
        """Root mean square of all parts of the error."""
        return float(np.sqrt(self.statistical**2 + self.step_bias**2 + self.depth_bias**2))

    def __str__(self) -> str:
        parts = [f"{self.statistical:.1e} statistical"]
        parts += [f"{bias:.1e} {name}" for name, bias in (("step", self.step_bias), ("depth", self.depth_bias)) if bias]
        return f"{self.value:.8g} ± {self.error:.1e} ({', '.join(parts)}; {self.method}, {self.cost:.1e} path-steps)"
