"""The numbers of a law: checked, exact, and rounded once."""

from __future__ import annotations

from typing import Any

import mpmath
import numpy as np
import sympy as sp

from derivations.decimals import exact_decimals
from derivations.errors import shown
from derivations.laws import Law, PiecewiseLaw
from derivations.laws.constants import with_numbers
from derivations.symbols import initial, time
from numerics.backends import MPMATH
from numerics.compile.expression import compile_expression


def parts_of(law: Law | None) -> tuple[Law, ...]:
    """The laws on single intervals that a law is put together from, none with parameters left."""
    if not isinstance(law, Law):
        raise ValueError(
            f"expected a law, got {shown(law)}; where no closed form is known (d.law is None) use numerics.distribution(d, x0=x0, t=t), "
            "which solves the Fokker–Planck equation"
        )
    parts = law.parts if isinstance(law, PiecewiseLaw) else (law,)
    loose = sorted(set().union(*(part.diffusion.parameters for part in parts)), key=str)
    if loose:
        raise ValueError(
            f"the law has the parameters {', '.join(map(str, loose))} left; derive it with numbers in their place"
        )
    return with_numbers(parts, law.diffusion, 50)


def exact_number(number: Any, what: str) -> sp.Expr:
    """A finite real number without rounding: a float is read as a decimal (:mod:`derivations.decimals`)."""
    if isinstance(number, np.generic | np.ndarray) and np.ndim(number) == 0:
        number = number.item()
    if isinstance(number, float) and not np.isfinite(number):
        raise ValueError(f"{what} must be finite, got {number}")
    try:
        exact = exact_decimals(number)
    except (TypeError, ValueError, sp.SympifyError) as error:
        raise ValueError(f"{what} must be a real number, got {number!r}") from error
    if isinstance(number, bool) or not isinstance(exact, sp.Expr) or not exact.is_number or not exact.is_real:
        raise ValueError(f"{what} must be a finite real number, got {number!r}")
    if abs(exact) > sp.Integer(np.finfo(float).max):
        raise ValueError(f"{what} must be a number that a double holds, at most 1.8e308, got {shown(number)}")
    return exact


def constant(expr: sp.Expr, start: sp.Expr, when: sp.Expr) -> mpmath.mpf:
    """A constant of the law to fifty digits."""
    value = compile_expression((), expr.subs({initial: start, time: when}, simultaneous=True), MPMATH)()
    if not isinstance(value, mpmath.mpf) or mpmath.isnan(value):
        raise ValueError(
            f"{expr} is not a real number at x0 = {start}, t = {when}, got {mpmath.nstr(value, 8)}; the law does not hold there"
        )
    return value
