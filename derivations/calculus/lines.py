"""What one of two states does while the other stays where it starts."""

from __future__ import annotations

from collections.abc import Sequence

import sympy as sp

from derivations.decimals import exact_decimals
from derivations.diffusion import Diffusion
from derivations.errors import DerivationError


def line(process: Diffusion, which: int, start: Sequence[float]) -> Diffusion:
    """The noise of one state along the line through the start on which the other does not move, without a drift.

    Parameters
    ----------
    process : Diffusion
        Of two states.
    which : int
        0 or 1.
    start : sequence of float
        Both states.

    Raises
    ------
    DerivationError
        If the start is outside the domain, or a coefficient depends on time.

    Examples
    --------
    >>> x, y = sp.symbols("x y", real=True)
    >>> line(Diffusion((x, y), [0, 0], [[x**2 * y**2, 0], [0, 1]]), 0, (1.0, 0.5)).covariance
    Matrix([[x**2/4]])
    """
    x, other = process.states[which], process.states[1 - which]
    here, there = (exact_decimals(sp.Float(start[k])) for k in (which, 1 - which))
    if process.time in process.drift.free_symbols | process.covariance.free_symbols:
        raise DerivationError(
            "the coefficients depend on time, which is not solved for two states; simulate with simulate_sde"
        )
    within = process.domain.sets[which] if isinstance(process.domain, sp.ProductSet) else sp.S.Reals
    if within.contains(here) == sp.false:
        raise DerivationError(f"the start {x} = {start[which]} is outside the domain {within}; choose one inside")
    return Diffusion((x,), [0], [[process.covariance[which, which].subs(other, there)]], within, process.time)
