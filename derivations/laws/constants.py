"""A law with the means that have no closed form as exact decimals, for what is computed from it."""

from __future__ import annotations

from typing import TypeVar

import sympy as sp

from derivations.calculus.means import constants, rewritten
from derivations.diffusion import Diffusion

T = TypeVar("T")


def with_numbers(law: T, process: Diffusion, digits: int) -> T:
    """A law with these means as exact decimals of so many digits."""
    rule = {mean: sp.Rational(str(mean.evalf(digits))) for mean in constants(process)}
    return rewritten(law, rule) if rule else law
