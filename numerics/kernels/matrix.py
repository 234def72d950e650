r"""The front door: kernel matrices of network inputs."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from math import prod
from typing import Any, NoReturn

import numpy as np
from numpy.typing import ArrayLike, NDArray

from derivations.architectures import Recipe
from derivations.errors import unknown
from derivations.kernels.generic_pair import depends_on_depth
from derivations.language.single import OneMatrixLayer
from numerics.compile.jit import uses_jit
from numerics.kernels.correlation import CorrelationMap
from numerics.kernels.derived import derived_flow, solve_derived
from numerics.kernels.grid import solve_grid
from numerics.kernels.pairs import solve_block
from numerics.kernels.rates import Alone, Rates, closed_kernels, rates_of
from numerics.linalg import one_thread
from numerics.networks import input_rows

Array = NDArray[np.float64]

KINDS = ("nngp", "ntk")
#: Pairs integrated together: few enough for a core's cache, enough to hide the interpreter.
_BLOCK = 1 << 15


@dataclass(frozen=True)
class Kernels:
    """Both kernels between two sets of inputs; ``ntk`` is None if it was not asked for."""

    nngp: Array
    ntk: Array | None


def kernel_matrix(
    architecture: Recipe,
    X: ArrayLike,
    t: float = 1.0,
    kind: str = "nngp",
    other: ArrayLike | None = None,
    tolerance: float = 1e-9,
    workers: int = 1,
    pool: bool = False,
    backend: str = "auto",
) -> Array:
    r"""Kernel matrix of an infinitely wide network at infinite depth t.

    :math:`K_0 = XX^\top/\dim` (a first layer of weight variance 1), :math:`\Theta_0 = K_0`, weights in the tangent
    parameterisation; then the flows that :func:`derivations.kernels.ntk` derives, integrated to a relative error ``tolerance``
    per step. Memory is proportional to the matrix.

    Parameters
    ----------
    architecture : Recipe
        Any with ``width=oo``, a :class:`~derivations.Network` too, with numbers for its parameters; its ``inputs`` are ignored.
    X : array, shape (m, dim), or (m, channels, positions...) over a grid
    t : float
        Depth, at least 0.
    kind : {"nngp", "ntk"}
    other : array, optional
        Inputs of the columns; by default X.
    tolerance : float
    workers : int
        Threads.
    pool : bool
        Over a grid: whether the readout averages over positions before its weights, or has weights for each.
    backend : {"auto", "numpy", "numba"}
        Arrays, or machine code (extra ``fast``) for flows over pairs with closed means: the same numbers to rounding.
        ``"auto"`` takes machine code where there are pairs enough to pay for its compilation.

    Returns
    -------
    array, shape (m, m) or (m, other's m)

    Raises
    ------
    ValueError
        For an unknown kind, shapes that do not fit, numbers that are not finite, a t beyond the explosion, machine code
        where there is none, or an infinite mean: the tangent kernel of an activation that jumps, or whose squared derivative
        has no Gaussian mean.

    Examples
    --------
    >>> from derivations import ResNet, relu, symbols
    >>> kernel_matrix(ResNet(relu, width=float("inf")), [[1.0, 0.0], [0.0, 1.0]], t=2.0)
    array([[1.35914091, 0.34503029],
           [0.34503029, 1.35914091]])
    """
    if kind not in KINDS:
        raise ValueError(unknown("kind", kind, KINDS))
    kernels = kernel_matrices(architecture, X, t, other, tolerance, workers, pool, kind == "ntk", backend)
    if kernels.ntk is not None:
        return kernels.ntk
    return kernels.nngp


def kernel_matrices(
    architecture: Recipe,
    X: ArrayLike,
    t: float = 1.0,
    other: ArrayLike | None = None,
    tolerance: float = 1e-9,
    workers: int = 1,
    pool: bool = False,
    tangent: bool = True,
    backend: str = "auto",
) -> Kernels:
    """Both kernels at once, for the price of the second; parameters as in :func:`kernel_matrix`."""
    width: Any = architecture.width
    if getattr(width, "is_infinite", False) is not True:
        raise ValueError(f"a kernel is that of an infinitely wide network, got width={width}; use width=oo")
    if not (np.isfinite(t) and t >= 0):
        raise ValueError(f"t must be finite and at least 0, got {t}")
    if not 1e-11 <= tolerance < 1:
        raise ValueError(f"tolerance must be between 1e-11 and 1, got {tolerance}")
    given = _inputs(X, "X")
    rows, count = given, len(given)
    if other is not None:
        columns = _inputs(other, "other")
        if columns.shape[1:] != given.shape[1:]:
            raise ValueError(f"X and other must be inputs of one shape, got {given.shape[1:]} and {columns.shape[1:]}")
        rows = np.concatenate([given, columns])
    if not architecture.letters or depends_on_depth(architecture):
        uses_jit(backend, 0, _no_kernel)
        return _derived(architecture, rows, count if other is not None else None, t, tolerance, tangent)
    rates = rates_of(architecture, tangent)
    by_formula = rates.linear and not rates.moving
    by_correlation = rates.homogeneous and not rates.moving and not rates.bias_variance
    if architecture.positions or by_formula or by_correlation:
        uses_jit(backend, 0, _no_kernel)
    features = input_rows(replace(architecture, inputs=len(rows)), rows)  # type: ignore[type-var]
    if architecture.positions:
        return _over_grid(
            replace(architecture, inputs=len(rows)),  # type: ignore[type-var]
            rates,
            features,
            t,
            tolerance,
            tangent,
            count,
            other is not None,
            pool,
        )
    split = count if other is not None else None
    if by_formula:
        return _by_formula(architecture, features, split, t, tangent)
    if by_correlation:
        return _by_correlation(rates, features, split, t, tolerance, tangent)
    return _by_pairs(rates, features, split, t, tolerance, tangent, workers, backend)


def _derived(
    architecture: Recipe, rows: Array, split: int | None, t: float, tolerance: float, tangent: bool
) -> Kernels:
    """Any recipe, by the derived flow of a pair."""
    flow = derived_flow(architecture, tangent)
    features = input_rows(replace(architecture, inputs=len(rows)), rows)  # type: ignore[type-var]
    left, right = (features, features) if split is None else (features[:split], features[split:])
    start, own = left @ right.T / features.shape[1], np.mean(features**2, axis=1)
    if split is None:
        np.fill_diagonal(start, own)
    with one_thread():
        found = solve_derived(flow, start, own, t, tolerance, split, _BLOCK)
    return Kernels(found[0], found[1] if tangent else None)


def _no_kernel() -> NoReturn:
    raise ValueError(
        "only flows integrated pair by pair have a machine-code kernel, not grids, linear or homogeneous networks; "
        'use backend="auto"'
    )


def _inputs(given: ArrayLike, name: str) -> Array:
    try:
        values = np.asarray(given, dtype=float)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be an array of numbers, one input a row: {error}") from error
    if values.ndim < 2 or not values.size or not np.all(np.isfinite(values)):
        raise ValueError(f"{name} must hold finite numbers, one input a row, got shape {values.shape}")
    return values


def _by_formula(architecture: Recipe, features: Array, split: int | None, t: float, tangent: bool) -> Kernels:
    """A linear activation inside: both kernels are affine in the inputs' inner products, in closed form."""
    left, right = (features, features) if split is None else (features[:split], features[split:])
    start = left @ right.T / features.shape[1]
    nngp, ntk = closed_kernels(architecture)(start, t)
    return Kernels(nngp, ntk if tangent else None)


def _by_correlation(
    rates: Rates, features: Array, split: int | None, t: float, tolerance: float, tangent: bool
) -> Kernels:
    largest = np.max(np.abs(features), axis=1, keepdims=True)
    unit = np.divide(features, largest, out=np.zeros_like(features), where=largest > 0)  # squares of 1e-160 lose digits
    norms = largest[:, 0] * np.sqrt(np.mean(unit**2, axis=1))
    directions = np.divide(features, norms[:, None], out=np.zeros_like(features), where=norms[:, None] > 0)
    left, right = (slice(None), slice(None)) if split is None else (slice(split), slice(split, None))
    cosines = directions[left] @ directions[right].T / features.shape[1]
    if split is None:
        np.fill_diagonal(cosines, 1.0)
    solved = CorrelationMap.solve(rates, t, tolerance)
    rho, theta = solved(cosines, tangent)
    scale = solved.growth * np.outer(norms[left], norms[right])
    return Kernels(rho * scale, None if theta is None else theta * scale)


def _by_pairs(
    rates: Rates,
    features: Array,
    split: int | None,
    t: float,
    tolerance: float,
    tangent: bool,
    workers: int,
    backend: str,
) -> Kernels:
    norms = np.mean(features**2, axis=1)
    rates = rates.trusted(norms)
    alone = Alone.solve(rates, norms, t, tolerance / 10)
    last = rates.trusted(alone.at(t)[1])
    if last != rates:
        rates, alone = last, Alone.solve(last, norms, t, tolerance / 10)
    total = len(features)
    height = total if split is None else split
    shape = (total, total) if split is None else (split, total - split)
    found = [np.empty(shape) for _ in range(2 if tangent else 1)]
    step = max(1, _BLOCK // max(1, shape[1]))
    means = len(found) * alone.evaluations * (prod(shape) if split is not None else total * (total + 1) // 2)
    kernel = rates.jit(tangent) if uses_jit(backend, means, lambda: rates.jit(tangent)) else None

    def block(first: int) -> None:
        rows = slice(first, min(first + step, height))
        columns = slice(first if split is None else split, None)
        start = features[rows] @ features[columns].T / features.shape[1]
        solved = solve_block(rates, alone, rows, columns, start, t, tolerance, tangent, kernel)
        kernels = [k for k in solved if k is not None]
        for matrix, values in zip(found, kernels, strict=True):
            if split is not None:
                matrix[rows] = values
                continue
            own = np.triu(values[:, : len(values)])  # the block's rows with themselves, both halves alike
            values[:, : len(values)] = own + np.triu(own, 1).T
            matrix[rows, first:], matrix[first:, rows] = values, values.T

    with one_thread(), ThreadPoolExecutor(workers) as threads:
        list((threads.map if workers > 1 else map)(block, range(0, height, step)))
    if split is None:
        for matrix, own in zip(found, alone.at(t)[1:], strict=False):
            np.fill_diagonal(matrix, own)
    return Kernels(found[0], found[1] if tangent else None)


def _over_grid(
    architecture: Recipe,
    rates: Rates,
    features: Array,
    t: float,
    tolerance: float,
    tangent: bool,
    count: int,
    crossed: bool,
    pool: bool,
) -> Kernels:
    size = prod(architecture.positions)
    start = features @ features.T / features.shape[1]
    rates = rates.trusted(np.diag(start))
    layer = OneMatrixLayer.of(architecture.program())
    assert layer is not None
    taps = tuple(zip(*(layer.weights.reads(c) for c in range(architecture.coordinates)), strict=True))
    solved = solve_grid(rates, taps, start, t, tolerance, tangent)

    def read_out(kernel: Array | None) -> Array | None:
        if kernel is None:
            return None
        blocks = kernel.reshape(-1, size, kernel.shape[0] // size, size)
        read: Array = blocks.mean(axis=(1, 3)) if pool else np.einsum("apbp->ab", blocks) / size
        return read[:count, count:] if crossed else read

    nngp = read_out(solved[0])
    assert nngp is not None
    return Kernels(nngp, read_out(solved[1]))
