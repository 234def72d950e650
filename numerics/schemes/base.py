"""What a scheme is: one way to step a diffusion forward in time, with its orders of convergence."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from derivations.diffusion import Limit
from derivations.steps.domain import Continued
from derivations.steps.surface import surface
from numerics.compile import compile_expression

Array = NDArray[np.float64]
#: From the states of a block, shape (samples, ...), through a span of time in a number of steps; may work in place.
Advance = Callable[[Array, float, float, int, np.random.Generator], Array]
#: Machine code that moves states with the samples along the last axis: called ``(x, time, h, steps, rng)``.
Kernel = Callable[[Array, float, float, int, np.random.Generator], None]


#: Fine and coarse paths along the same motions: called ``(states, time, h, steps, rng)``, the coarse steps being 2h.
Couple = Callable[[Array, float, float, int, np.random.Generator], tuple[Array, Array]]


class Scheme(ABC):
    """Interface: one way to step a diffusion.

    Attributes
    ----------
    name : str
    strong_order, weak_order : Fraction or None
        Powers of the step size in the errors of paths and of expectations; ``None`` where there is no error (no steps),
        or no such order (a strong one, for random signs).
    """

    name: str
    strong_order: Fraction | None
    weak_order: Fraction | None

    def weak_order_on(self, limit: Limit) -> float:
        """The weak order on a limit, less than the stated one where its coefficients are not smooth enough."""
        if self.weak_order is None:
            raise ValueError(f"the scheme {self.name} has no steps, hence no order in them")
        return float(self.weak_order)

    @abstractmethod
    def prepare(self, limit: Limit) -> Advance:
        """Compile what stepping this diffusion needs; the result is called ``(states, time, duration, steps, rng)``."""

    def jit(self, limit: Limit) -> Advance:
        """The same as one machine-code kernel: the same draws in the same order, hence the same numbers to rounding.

        Raises
        ------
        ValueError
            If the scheme has no such kernel, or not for this diffusion.
        """
        raise ValueError(f'the scheme {self.name} has no machine-code kernel; use backend="numpy"')

    def couple(self, limit: Limit) -> Couple:
        r"""Fine and coarse paths from the same increments, :math:`\sqrt{2h}\,\xi = \sqrt h(\xi_1 + \xi_2)`, for differences of levels.

        Raises
        ------
        ValueError
            If two steps of the scheme do not make one, as where there are no steps.
        """
        raise ValueError(f"the scheme {self.name} does not couple two step sizes; use euler_maruyama")


def require_no_surface(limit: Limit, scheme: str) -> None:
    """Refuse a scheme whose steps would leave a diffusion's surface, where its coefficients are wrong."""
    if equations := surface(limit):
        raise ValueError(
            f"the scheme {scheme} does not apply: its steps leave where {equations[0]} = 0, as each layer fixes it; use euler_maruyama"
        )


def kept_inside(limit: Limit, continued: Continued | None, advance: Advance) -> Advance:
    """Steps of a diffusion that was continued beyond its interval, followed by the projection back to it."""
    if continued is None:
        return advance
    entered, shown = _coordinates(limit, continued)

    def projected(x: Array, time: float, duration: float, steps: int, rng: np.random.Generator) -> Array:
        return shown(advance(entered(x), time, duration, steps, rng))

    return projected


def both_inside(limit: Limit, continued: Continued | None, couple: Couple) -> Couple:
    """The same for fine and coarse paths."""
    if continued is None:
        return couple
    entered, shown = _coordinates(limit, continued)

    def projected(x: Array, time: float, h: float, steps: int, rng: np.random.Generator) -> tuple[Array, Array]:
        fine, coarse = couple(entered(x), time, h, steps, rng)
        return shown(fine), shown(coarse)

    return projected


def _coordinates(limit: Limit, continued: Continued) -> tuple[Callable[[Array], Array], Callable[[Array], Array]]:
    """Into the coordinate in which steps are taken, and out of it into the interval."""
    entered = compile_expression(limit.states, continued.entered)
    shown = compile_expression(continued.process.states, continued.shown)
    return lambda x: np.array(entered(x)), lambda x: np.asarray(shown(x))


def samples_last(x: Array) -> Array:
    """A copy of the same shape whose first axis is contiguous in memory."""
    return np.moveaxis(np.array(np.moveaxis(x, 0, -1), order="C"), -1, 0)


def jitted(kernel: Kernel) -> Advance:
    """A kernel as an :data:`Advance`."""

    def advance(x: Array, time: float, duration: float, steps: int, rng: np.random.Generator) -> Array:
        moved = np.array(np.moveaxis(x, 0, -1), order="C")
        kernel(moved, time, duration / steps, steps, rng)
        return np.moveaxis(moved, -1, 0)

    return advance
