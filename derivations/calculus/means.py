"""Means without closed form that do not move are numbers: each is one constant while an equation is looked into."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from functools import wraps
from typing import Any, TypeVar

import sympy as sp

from derivations.binding import Binding
from derivations.constants import Constant, Whole
from derivations.diffusion import Diffusion

F = TypeVar("F", bound=Callable[..., Any])
_NOTHING = sp.Rational(1, 10**20)  # a mean below it is not distinguished from 0


def constants(process: Diffusion) -> list[sp.Expr]:
    """The means without parameters in a diffusion's coefficients and domain."""
    return _means(*process.drift, *process.covariance, process.domain)


def _means(*parts: sp.Basic) -> list[sp.Expr]:
    means = {mean for part in parts for mean in part.atoms(Binding) if not mean.free_symbols}
    return sorted(means, key=sp.default_sort_key)


def as_numbers(*parts: sp.Basic) -> dict[sp.Expr, Constant]:
    """A constant for each mean without parameters that is a real number, and not 0: its sign and its size are then known to algebra."""
    named = {}
    for mean in _means(*parts):
        number = Whole(mean)
        if mean.evalf(3).is_Float and abs(number.decimal) > _NOTHING:
            named[mean] = number
    return named


def in_decimals(expr: sp.Expr) -> sp.Expr:
    """The formula with these constants as exact fractions: what is computed at many points, or to many digits, integrates each once."""
    return expr.xreplace({c: c.decimal for c in expr.atoms(Whole)})


def means_are_numbers(question: F) -> F:
    """Ask a question of a diffusion with means as constants, and write them out in the answer.

    SymPy's algebra looks into an unevaluated mean as into any formula: it finds no sign, and would replace bound variables.
    """

    @wraps(question)
    def asked(process: Any, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(process, Diffusion):
            return question(process, *args, **kwargs)
        parts = [part for part in (*args, *kwargs.values()) if isinstance(part, sp.Basic)]
        named = as_numbers(*process.drift, *process.covariance, process.domain, *parts)
        if not named:
            return question(process, *args, **kwargs)
        given = [rewritten(arg, named) for arg in args]
        answer = question(process.xreplace(named), *given, **{k: rewritten(v, named) for k, v in kwargs.items()})
        return rewritten(answer, {constant: mean for mean, constant in named.items()})

    return asked  # type: ignore[return-value]


def rewritten(thing: Any, rule: dict[Any, Any]) -> Any:
    """A value with expressions replaced in all that it is made of."""
    if isinstance(thing, sp.Basic | sp.MatrixBase | Diffusion):
        return thing.xreplace(rule)
    if isinstance(thing, tuple | list):
        return type(thing)(rewritten(part, rule) for part in thing)
    if is_dataclass(thing) and not isinstance(thing, type):
        return replace(thing, **{f.name: rewritten(getattr(thing, f.name), rule) for f in fields(thing) if f.init})
    return thing
