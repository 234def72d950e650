"""A limit with a number for one of its parameters."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import sympy as sp

from derivations.decimals import exact_decimals
from derivations.diffusion import Diffusion, Flow

_LARGE = 1e300


def with_number(process: Diffusion | Flow, parameter: Any, value: Any) -> Diffusion | Flow:
    """A limit with a number for a parameter; transcendental functions of it are read as decimals, exact ones being slow."""
    if isinstance(process, Diffusion):
        parts = (*process.drift, *process.covariance)
        return process.xreplace({part: _filled(part, parameter, value) for part in parts}).subs(parameter, value)
    drift = process.drift.applyfunc(lambda part: _filled(part, parameter, value))
    return replace(process, drift=drift.subs(parameter, value))


def _filled(part: Any, parameter: Any, value: Any) -> Any:
    if not part.has(parameter) or part.is_algebraic_expr(parameter):
        return part
    alone = [a for a in part.args if a.free_symbols <= {parameter} and not a.is_Rational]
    if part.is_Mul and any(not a.is_algebraic_expr(parameter) for a in alone):  # together, since one may overflow
        number = sp.Mul(*alone).xreplace({parameter: value})
        size = number.evalf()
        short = exact_decimals(float(size)) if size.is_Float and abs(size) < _LARGE else number
        return short * sp.Mul(*(a for a in part.args if a not in alone))
    return part.func(*(_filled(a, parameter, value) for a in part.args)) if part.is_Add or part.is_Mul else part
