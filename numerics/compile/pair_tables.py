"""Means over one or two Gaussian numbers taken from tables: paths of Gram matrices ask for them at every sample and step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import sympy as sp
from numpy.polynomial import chebyshev
from numpy.typing import NDArray

from derivations.gaussian import GaussianExpectation, GaussianPairExpectation
from numerics.compile.expression import compile_expression

Array = NDArray[np.float64]

#: What a table may be off at places of its own, by the largest mean in the cell: far less than what a million paths show.
TOLERANCE = 1e-7
#: Numbers of polynomials in the logarithm of each variance and in the angle, tried one after the other.
_COUNTS = ((7, 12), (8, 24), (12, 48))
#: Values of one call from which tables are made: a cell of one takes about a thousand means.
MANY = 1 << 15
_PLACES = 100
#: 1 - |ρ| up to which all means at a place are exact: inputs that are nearly parallel part by differences of these, as small as it is, of
#: which TOLERANCE would then be more than a share of 1e-4.
_PARALLEL = 1e-3
_FAR = 1 << 20  # octaves: no double is so far out


def with_pair_tables(symbols: Sequence[sp.Symbol], formulas: tuple[sp.Expr, ...]) -> Callable[..., tuple[Array, ...]]:
    """Functions of the symbols, of which the Gaussian means that have no closed form are taken from tables.

    Parameters
    ----------
    symbols : sequence of Symbol
    formulas : tuple of Expr

    Examples
    --------
    >>> from derivations.gaussian import expect_pair
    >>> u, V, W, C = sp.symbols("u V W C", real=True)
    >>> mean = expect_pair(sp.tanh(u), sp.tanh(u), u, [[V, C], [C, W]])
    >>> places = np.linspace(0.5, 2, 5), np.linspace(2, 0.5, 5), np.linspace(-0.3, 0.9, 5)
    >>> found, exact = (make((V, W, C), (C * mean,))(*places)[0] for make in (with_pair_tables, compile_expression))
    >>> bool(np.abs(found - exact).max() < 1e-7)
    True
    """
    means = {m for formula in formulas for m in formula.atoms(GaussianExpectation, GaussianPairExpectation)}
    nodes = sorted(filter(_is_tabulated, means), key=sp.default_sort_key)
    if not nodes:
        return compile_expression(symbols, formulas)
    names = {node: sp.Dummy(f"e{k}", real=True) for k, node in enumerate(nodes)}
    inner = compile_expression((*symbols, *names.values()), tuple(formula.xreplace(names) for formula in formulas))
    laws = [compile_expression(symbols, _law(node)) for node in nodes]
    tables = [_table(*node.functions) for node in nodes]
    exact = compile_expression(symbols, formulas)

    def call(*values: Any) -> tuple[Array, ...]:
        at = [np.broadcast_arrays(*map(np.asarray, law(*values))) for law in laws]
        found = inner(*values, *(table(*law) for table, law in zip(tables, at, strict=True)))
        with np.errstate(all="ignore"):
            parallel = [
                np.abs(c) > (1 - _PARALLEL) * np.sqrt(v * w) for v, w, c in (law for law in at if len(law) == 3)
            ]
        near = np.any(parallel, axis=0) if parallel else np.array(False)
        if not near.any():
            return found
        means = exact(*(np.broadcast_to(value, near.shape)[near] for value in values))
        found = tuple(np.array(np.broadcast_to(one, near.shape), dtype=float) for one in found)
        for one, mean in zip(found, means, strict=True):
            one[near] = mean
        return found

    return call


def _is_tabulated(node: sp.Expr) -> bool:
    """Of functions without parameters, of centred numbers."""
    centred = isinstance(node, GaussianPairExpectation) or node.args[1] == 0
    return centred and not any(f.free_symbols for f in node.functions)


def _law(node: sp.Expr) -> tuple[sp.Expr, ...]:
    """The variance; or both and the covariance."""
    if isinstance(node, GaussianExpectation):
        return (node.args[2],)
    return node.args[2], node.args[4], node.args[3]


@lru_cache(maxsize=64)
def _table(*functions: sp.Lambda) -> MeanTable:
    return MeanTable(functions)


@dataclass(frozen=True)
class MeanTable:
    r""":math:`\mathbb{E}f(U)` or :math:`\mathbb{E}f(U)g(V)` by Chebyshev's polynomials in the logarithms of variances and in :math:`\arccos\rho`.

    In these the mean is smooth where functions have kinks too. Each octave, or pair of octaves, that paths visit is a cell, with as many polynomials
    as meet the mean at places of their own; where none do, and beyond numbers, the means themselves are taken. What is in a cell does not depend on
    who asked first.
    """

    functions: tuple[sp.Lambda, ...]
    _cells: dict[int, Array | None] = field(default_factory=dict, repr=False, compare=False)
    _made: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    def exact(self, *law: Array) -> Array:
        """The mean itself, at variances and the covariance."""
        if not self._made:
            k, w, c = sp.symbols("k w c", real=True)
            f, *others = self.functions
            node = GaussianPairExpectation(f, others[0], k, c, w) if others else GaussianExpectation(f, sp.S.Zero, k)
            self._made["exact"] = compile_expression((k, w, c) if others else (k,), node)
        return np.asarray(self._made["exact"](*law))

    def __call__(self, *law: Any) -> Array:
        """The means at variances and covariances."""
        arrays = np.broadcast_arrays(*(np.asarray(part, dtype=float) for part in law))
        shape, parts = arrays[0].shape, [part.ravel() for part in arrays]
        with np.errstate(all="ignore"):
            axes = [np.log2(part) for part in parts[:2]]
            if len(parts) == 3:
                axes.append(np.arccos(np.clip(parts[2] / np.sqrt(parts[0] * parts[1]), -1.0, 1.0)) * (2 / np.pi) - 1)
        found, known = np.empty(parts[0].shape), np.isfinite(axes).all(axis=0)
        if not known.all():
            found[~known] = self.exact(*(part[~known] for part in parts))
        places = np.flatnonzero(known)
        corners = [np.floor(axis[places]) for axis in axes[:2]]
        keys = _FAR + corners[0] if len(corners) == 1 else (_FAR + corners[0]) * 2 * _FAR + _FAR + corners[1]
        order = np.argsort(keys, kind="stable")
        places, keys = places[order], keys[order]
        within = [2 * (axis[places] - corner[order]) - 1 for axis, corner in zip(axes, corners, strict=False)]
        within += [axis[places] for axis in axes[2:]]
        starts = np.flatnonzero(np.diff(keys, prepend=-1.0))
        cells = [self._cell(int(keys[start])) for start in starts]
        counts = np.max([cell.shape for cell in cells if cell is not None] or [(0,) * len(axes)], axis=0)
        waves = [chebyshev.chebvander(at, count - 1) for at, count in zip(within, counts, strict=True) if count]
        for cell, first, last in zip(cells, starts, [*starts[1:], len(places)], strict=True):
            some = places[first:last]
            if cell is None:
                found[some] = self.exact(*(part[some] for part in parts))
            else:
                found[some] = _sum(
                    cell, [wave[first:last, :count] for wave, count in zip(waves, cell.shape, strict=True)]
                )
        return found.reshape(shape)

    def _cell(self, key: int) -> Array | None:
        if key not in self._cells:
            self._cells[key] = self._fitted(
                [key - _FAR] if len(self.functions) == 1 else [key // (2 * _FAR) - _FAR, key % (2 * _FAR) - _FAR]
            )
        return self._cells[key]

    def _fitted(self, octaves: list[int]) -> Array | None:
        """Coefficients, with an axis for each variance and the angle."""

        def mean(*at: Array) -> Array:
            law = [2.0 ** (octave + (x + 1) / 2) for octave, x in zip(octaves, at, strict=False)]
            return self.exact(*law, *(np.cos(np.pi / 2 * (z + 1)) * np.sqrt(law[0] * law[1]) for z in at[2:]))

        axes = 2 * len(octaves) - 1
        places = np.random.default_rng(0).uniform(-1, 1, (axes, _PLACES))
        wanted = mean(*places)
        for short, long in _COUNTS:
            counts = [short, short, long][:axes]
            nodes = [chebyshev.chebpts1(count) for count in counts]
            values = mean(*(node.ravel() for node in np.meshgrid(*nodes, indexing="ij"))).reshape(counts)
            for k, node in enumerate(nodes):
                series = np.linalg.inv(chebyshev.chebvander(node, len(node) - 1))
                values = np.moveaxis(np.tensordot(series, values, axes=(1, k)), 0, k)
            waves = [chebyshev.chebvander(at, count - 1) for at, count in zip(places, counts, strict=True)]
            if np.abs(_sum(values, waves) - wanted).max() <= TOLERANCE * np.abs(wanted).max():
                return values
        return None


def _sum(cell: Array, waves: list[Array]) -> Array:
    if len(waves) == 1:
        return np.asarray(waves[0] @ cell)
    one, other, third = waves
    rows = (third @ cell.reshape(-1, cell.shape[2]).T).reshape(-1, *cell.shape[:2])
    return np.einsum("pi,pi->p", one, np.einsum("pij,pj->pi", rows, other))
