r"""Means of functions of several Gaussian variables, in as few dimensions as the function has, with an error."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import sympy as sp
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri
from scipy.stats import qmc

from derivations.gaussian.joint import GaussianJointExpectation
from derivations.gaussian.printed import read_node
from numerics.compile.expression import compile_expression
from numerics.compile.softmax_means import JointMean

Array = NDArray[np.float64]

#: Points in each dimension of two rules, the second one for the error; beyond three dimensions points are spread.
_NODES = {1: (80, 60), 2: (60, 44), 3: (36, 28)}
_SPREAD, _SHIFTS = 2**12, 8


def joint_gaussian_mean(node: GaussianJointExpectation) -> JointMean:
    r"""The mean of a function of several Gaussian variables.

    Up to three dimensions by products of Gauss–Hermite rules, the error by a second one; above by randomly shifted spread points
    with a fixed seed, the error by the spread of the shifts.

    Parameters
    ----------
    node : GaussianJointExpectation
        Without parameters.

    Raises
    ------
    ValueError
        If it has parameters.

    Examples
    --------
    >>> from derivations.gaussian.joint import joint_mean
    >>> x, y = sp.symbols("x y", real=True)
    >>> mean, error = joint_gaussian_mean(joint_mean(1 / (1 + sp.exp(x - y)) ** 2, (x, y), [[1, 0], [0, 1]]))
    >>> round(mean, 9), error < 1e-9
    (0.318419077, True)
    """
    if node.free_symbols:
        raise ValueError(
            f"expected numbers in the mean, got {', '.join(sorted(map(str, node.free_symbols)))}; substitute values"
        )
    covariance = np.array(node.covariance.evalf(20), dtype=float)
    first, *others = _estimates(node.function, covariance)
    if len(others) == 1:
        return JointMean(first, abs(first - others[0]) + 1e-15)
    every = np.array([first, *others])
    return JointMean(float(every.mean()), float(3 * every.std() / np.sqrt(len(every))))


def joint_gaussian_values(text: str, *values: ArrayLike) -> Array:
    """An unevaluated mean at arrays of its parameters: what SymPy's ``lambdify`` prints for one."""
    function, parameters, entries = _read(text)

    def at(*numbers: float) -> float:
        moved = function
        if function.free_symbols:
            moved = function.xreplace(dict(zip(parameters, map(sp.Float, numbers), strict=True)))
        estimates = _estimates(moved, np.array(entries(*numbers), dtype=float))
        return estimates[0] if len(estimates) == 2 else float(np.mean(estimates))

    if not values:
        return np.asarray(at())[()]
    result: Array = np.vectorize(at, otypes=[float])(*values)
    return result[()]


@lru_cache(maxsize=64)
def _read(text: str) -> tuple[sp.Lambda, list[sp.Symbol], Callable[..., ArrayLike]]:
    node, *parameters = read_node(text)
    return node.function, parameters, sp.lambdify(parameters, node.covariance.tolist(), "math")


def _estimates(function: sp.Lambda, covariance: Array) -> list[float]:
    """Two rules' values, or one for each shift of spread points."""
    value, basis = _compiled(function)
    inner = basis.T @ covariance @ basis
    sizes, vectors = np.linalg.eigh(inner) if len(inner) else (np.zeros(0), np.zeros((0, 0)))
    kept = sizes > 1e-14 * max(1.0, float(np.max(sizes, initial=0.0)))
    root = basis @ (vectors[:, kept] * np.sqrt(sizes[kept]))
    dimension = root.shape[1]
    if dimension == 0:
        return [float(value(*np.zeros(len(covariance)))), float(value(*np.zeros(len(covariance))))]
    if dimension in _NODES:
        rules = (_product_rule(dimension, count) for count in _NODES[dimension])
        with np.errstate(over="ignore"):
            return [float(np.sum(weights * value(*(root @ points)))) for points, weights in rules]
    with np.errstate(over="ignore"):
        return [float(np.mean(value(*(root @ points)))) for points in _spread_points(dimension)]


@lru_cache(maxsize=64)
def _compiled(function: sp.Lambda) -> tuple[Callable[..., Array], Array]:
    """The function of arrays, and the combinations of its variables that it depends on: its gradients' span."""
    z = function.variables
    value = compile_expression(z, function.expr)
    slopes = [compile_expression(z, sp.diff(function.expr, v)) for v in z]
    points = np.random.default_rng(0).standard_normal((len(z), len(z) + 1))
    gradients = np.stack([np.broadcast_to(slope(*points), points.shape[1]) for slope in slopes])
    left, sizes, _ = np.linalg.svd(gradients)
    return value, left[:, : int(np.sum(sizes > 1e-10 * sizes[0]))]


@lru_cache(maxsize=16)
def _product_rule(dimension: int, count: int) -> tuple[Array, Array]:
    points, weights = np.polynomial.hermite_e.hermegauss(count)
    grid = np.stack([g.ravel() for g in np.meshgrid(*[points] * dimension, indexing="ij")])
    products = np.prod(np.meshgrid(*[weights / weights.sum()] * dimension, indexing="ij"), axis=0).ravel()
    return grid, products


@lru_cache(maxsize=16)
def _spread_points(dimension: int) -> tuple[Array, ...]:
    found = []
    for seed in range(_SHIFTS):
        uniform = qmc.Sobol(dimension, rng=np.random.default_rng(seed)).random(_SPREAD)
        found.append(ndtri(np.clip(uniform, 1e-16, 1 - 1e-16)).T)
    return tuple(found)
