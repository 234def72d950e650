r"""What a step is: the new states as functions of the old ones, time, the step size and standard random numbers."""

from __future__ import annotations

from dataclasses import dataclass

import sympy as sp

from derivations.diffusion import Diffusion, Limit, NeuronDiffusion
from derivations.errors import DerivationError, kind_of
from derivations.limits.collapse import CollapseDiffusion

#: The step size h.
size = sp.Symbol("h", positive=True)


@dataclass(frozen=True)
class Step:
    r"""One step :math:`x' = F(x, t, h, \xi, \varepsilon)` of a scheme.

    Parameters
    ----------
    states : tuple of Symbol
    time : Symbol
        The time at the beginning of the step.
    size : Symbol
        h, positive, in the limit's unit of time.
    normals : tuple of Symbol
        :math:`\xi`, independent standard normals; :math:`\sqrt h\,\xi_j` are the increments of Brownian motions, so that
        two steps and the one that takes them together can share a path.
    signs : tuple of Symbol
        :math:`\varepsilon`, independent, 1 or −1 with equal probability.
    update : tuple of Expr
        :math:`x'`.

    Raises
    ------
    DerivationError
        If the update has other symbols, parameters of the diffusion among them.
    """

    states: tuple[sp.Symbol, ...]
    time: sp.Symbol
    size: sp.Symbol
    normals: tuple[sp.Symbol, ...]
    signs: tuple[sp.Symbol, ...]
    update: tuple[sp.Expr, ...]

    def __post_init__(self) -> None:
        stray = set().union(*(u.free_symbols for u in self.update)) - set(self.arguments)
        if stray:
            raise DerivationError(
                f"a step needs numbers for the parameters {', '.join(sorted(map(str, stray)))}; substitute them"
            )

    @property
    def arguments(self) -> tuple[sp.Symbol, ...]:
        """All symbols of the update, in order."""
        return (*self.states, self.time, self.size, *self.normals, *self.signs)


def written_out(limit: Limit) -> Diffusion:
    """A limit as a diffusion of all its coordinates.

    Raises
    ------
    DerivationError
        For a flow, coefficients that are singular where paths start, or more coordinates than formulas are made for.
    """
    if isinstance(limit, NeuronDiffusion):
        if not limit.width.is_Integer or limit.width * limit.inputs > 8:
            raise DerivationError(
                f"a step is a formula in all coordinates, up to 8 of them, got width {limit.width} and {limit.inputs} "
                "inputs; use Euler–Maruyama, which needs only sums over the layer"
            )
        return limit.explicit
    if isinstance(limit, CollapseDiffusion):
        raise DerivationError('the coefficients are singular at t = 0, where paths start; use scheme="linear_form"')
    if not isinstance(limit, Diffusion):
        raise DerivationError(
            f"a step is written for the equation of one state or a few, got {kind_of(limit)}; simulate_sde takes limits of every kind"
        )
    return limit


def normals(count: int) -> tuple[sp.Symbol, ...]:
    """Symbols for standard normals."""
    return tuple(sp.Symbol(f"xi_{k}", real=True) for k in range(1, count + 1))


def signs(count: int) -> tuple[sp.Symbol, ...]:
    """Symbols for random signs."""
    return tuple(sp.Symbol(f"epsilon_{k}", real=True) for k in range(1, count + 1))
