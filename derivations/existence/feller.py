"""Feller's test of a number that moves by itself, in words."""

from __future__ import annotations

import sympy as sp

from derivations.calculus.boundaries import explosion
from derivations.diffusion import Diffusion
from derivations.errors import DerivationError
from derivations.existence.statement import UNKNOWN


def fellers_test(number: Diffusion, what: str) -> tuple[str, str]:
    """Whether a scalar diffusion explodes, and why.

    Parameters
    ----------
    number : Diffusion
        Of one state.
    what : str
        What the state is called in the reason.

    Examples
    --------
    >>> v = sp.Symbol("V", positive=True)
    >>> fellers_test(Diffusion((v,), [v**2], [[2 * v**2]], sp.Interval.open(0, sp.oo)), "V")
    ('can', "by Feller's test V reaches infinity in finite time")
    """
    if number.domain.sup.is_finite and number.domain.inf.is_finite:
        return "cannot", f"{what} is bounded"
    try:
        reached = explosion(number)
    except DerivationError:
        return UNKNOWN, "Feller's test has no closed form"
    if reached == sp.true:
        return "can", f"by Feller's test {what} reaches infinity in finite time"
    if reached == sp.false:
        return "cannot", f"by Feller's test {what} does not reach infinity"
    return UNKNOWN, f"by Feller's test {what} explodes if {reached}"
