"""Means without closed form that do not move: symbols while a law is looked for, numbers where it is computed with."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

import sympy as sp

from derivations.binding import Binding
from derivations.diffusion import Diffusion

T = TypeVar("T")


def constants(process: Diffusion) -> list[sp.Expr]:
    """The means without parameters in a diffusion's coefficients and domain."""
    means = {mean for part in (*process.drift, *process.covariance, process.domain) for mean in part.atoms(Binding)}
    return sorted((mean for mean in means if not mean.free_symbols), key=sp.default_sort_key)


def as_symbols(process: Diffusion) -> dict[sp.Expr, sp.Symbol]:
    """A symbol for each of these means, with its sign."""
    named = {}
    for k, mean in enumerate(constants(process)):
        positive = True if mean.evalf(15) > 0 else None
        named[mean] = sp.Dummy(f"c_{k}", real=True, positive=positive)
    return named


def with_numbers(law: T, process: Diffusion, digits: int) -> T:
    """A law with these means as exact decimals of so many digits, for what is computed from it."""
    rule = {mean: sp.Rational(str(mean.evalf(digits))) for mean in constants(process)}
    return rewritten(law, rule) if rule else law


def rewritten(thing: Any, rule: dict[Any, Any]) -> Any:
    """A law with expressions replaced in all that it is made of."""
    if isinstance(thing, sp.Basic | sp.MatrixBase | Diffusion):
        return thing.xreplace(rule)
    if isinstance(thing, tuple):
        return tuple(rewritten(part, rule) for part in thing)
    if is_dataclass(thing) and not isinstance(thing, type):
        return replace(thing, **{f.name: rewritten(getattr(thing, f.name), rule) for f in fields(thing) if f.init})
    return thing
