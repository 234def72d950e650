"""Formulas whose Gaussian means depend on one positive number, taken from tables: a simulation asks for them at every sample and step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import sympy as sp
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from derivations.gaussian.node import GaussianMean
from numerics.compile.expression import compile_expression

Array = NDArray[np.float64]

_DECADES, _KNOTS = 6, 481  # of a table around its centre; a cubic spline errs by 1e-8 of smooth means there


def tabulated(symbols: tuple[sp.Symbol, ...], formulas: dict[str, Any], centre: float) -> dict[str, Callable[..., Any]]:
    """Functions of the symbols, of which the means in the formulas depend on the first alone, a positive number.

    Parameters
    ----------
    symbols : tuple of Symbol
    formulas : dict
        By name an expression, a matrix, or a tuple of them.
    centre : float
        Means are tabulated from a millionth to a million times this number, and integrated beyond.

    Examples
    --------
    >>> V, c = sp.symbols("V c", positive=True)
    >>> bool(abs(tabulated((V, c), {"f": c * V**2}, 1.0)["f"](2.0, 3.0) - 12) < 1e-12)
    True
    """
    parts = {key: e if isinstance(e, tuple) else (e,) for key, e in formulas.items()}
    nodes = sorted({m for es in parts.values() for e in es for m in e.atoms(GaussianMean)}, key=sp.default_sort_key)
    table, names = Table(symbols[0], tuple(nodes), centre), {node: sp.Dummy("E", real=True) for node in nodes}
    found: dict[str, Callable[..., Any]] = {}
    for key, es in parts.items():
        named = tuple(e.xreplace(names) for e in es)
        function = compile_expression((*symbols, *names.values()), named if len(named) > 1 else named[0])
        found[key] = partial(_with, function, table)
    return found


def _with(function: Any, table: Table, first: Array, *others: Array) -> Any:
    return function(first, *others, *table(np.asarray(first, dtype=float)))


@dataclass(frozen=True)
class Table:
    """Gaussian means as functions of a positive number: splines in its logarithm, and quadrature beyond."""

    symbol: sp.Symbol
    nodes: tuple[GaussianMean, ...]
    centre: float
    _made: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    def _exact(self, v: Array) -> Array:
        return np.stack([np.broadcast_to(e, v.shape) for e in self._made["exact"](v)], axis=1)

    def __call__(self, v: Array) -> tuple[Array, ...]:
        """All of them."""
        if not self.nodes:
            return ()
        if not self._made:
            self._made["exact"] = compile_expression((self.symbol,), self.nodes)
            grid = np.linspace(-_DECADES, _DECADES, _KNOTS)
            self._made["spline"] = CubicSpline(grid, self._exact(self.centre * 10**grid))
        place = np.log10(v / self.centre)
        found = self._made["spline"](np.clip(place, -_DECADES, _DECADES))
        if (beyond := np.abs(place) > _DECADES).any():
            found[beyond] = self._exact(v[beyond])
        return tuple(np.moveaxis(found, -1, 0))
