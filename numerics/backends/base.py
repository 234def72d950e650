"""What a target of compilation is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

import numpy as np
import sympy as sp
from numpy.typing import ArrayLike, NDArray
from sympy.printing.codeprinter import CodePrinter

from derivations.gaussian import SoftmaxMean
from derivations.gaussian.node import GaussianMean
from derivations.special import ExpertGate
from numerics.backends.kinks import branched

Function = Callable[..., Any]
Rewrite = Callable[[sp.Expr], sp.Expr]
#: Share of a number that rounding may leave as its imaginary part, where a formula goes through complex ones.
_ROUNDED = 1e-8


def real_numbers(values: ArrayLike) -> NDArray[np.float64]:
    """Numbers as doubles; what is not real is not a number.

    Examples
    --------
    >>> real_numbers(np.array([2 + 1e-17j, 1j, 3]))
    array([ 2., nan,  3.])
    """
    found = np.asarray(values)
    if np.iscomplexobj(found):
        found = np.where(np.abs(found.imag) <= _ROUNDED * np.abs(found.real), found.real, np.nan)
    return np.asarray(found, dtype=float)


def _by_text(expr: sp.Basic) -> Iterator[sp.Expr]:
    """Nodes that code calls by their text, which is of SymPy's own words: nothing inside is rewritten for a target."""
    if isinstance(expr, GaussianMean | SoftmaxMean):
        yield expr
    else:
        for arg in expr.args:
            yield from _by_text(arg)


def strict_settings(functions: Mapping[str, str]) -> dict[str, Any]:
    """Settings of a SymPy code printer that knows these functions besides its own and refuses every other."""
    return {
        "fully_qualified_modules": False,
        "inline": True,
        "strict": True,
        "allow_unknown_functions": False,
        "user_functions": dict(functions),
    }


@dataclass(frozen=True)
class Backend:
    """A target: how formulas are written for it and what the written formulas run on.

    Parameters
    ----------
    name : str
        What a user calls it.
    printer : callable
        Makes a fresh strict SymPy code printer; it must refuse what it cannot write.
    modules : callable
        Gives the names that printed code may use and what they stand for; called when something is compiled, so that
        an optional library loads no earlier.
    rewrites : tuple of callables
        Applied in order before printing, each from an expression to an equal one that the target evaluates
        more accurately, or at all.
    wrap : callable
        Takes the raw function of positional arguments (which returns a tuple of values, one an expression)
        to one that looks after the target's number type, precision and broadcasting.
    tolerance : float
        Relative accuracy to expect of a formula that is well conditioned.
    shares : bool
        Whether common subexpressions are computed once.
    extended : callable, optional
        Names like ``modules``, for numbers with longer exponents than the target's own (:mod:`numerics.backends.extended`).
    """

    name: str
    printer: Callable[[], CodePrinter] = field(repr=False)
    modules: Callable[[], Mapping[str, Any]] = field(repr=False)
    rewrites: tuple[Rewrite, ...] = field(repr=False)
    wrap: Callable[[Function], Function] = field(repr=False)
    tolerance: float
    shares: bool = True
    extended: Callable[[], Mapping[str, Any]] | None = field(default=None, repr=False)

    def rewrite(self, expr: sp.Expr) -> sp.Expr:
        """The expression in the form that this target likes best."""
        names = {node: sp.Dummy(real=True) for node in _by_text(expr)}
        written = expr.xreplace(names).replace(ExpertGate, lambda *parts: ExpertGate(*parts).explicit())
        opened = branched(written)  # nodes inside a formula that is continued are seen from now on
        inside = {node: sp.Dummy(real=True) for node in _by_text(opened)}
        form = reduce(lambda form, rule: rule(form), self.rewrites, opened.xreplace(inside))
        for known in (inside, names):
            form = form.xreplace({name: node for node, name in known.items()})
        return form
