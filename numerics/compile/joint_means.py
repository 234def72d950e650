r"""Means of functions of several Gaussian variables, in as few dimensions as the function has, with an error."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import scipy  # scipy.stats, a quarter of the start, loads where it is first used
import sympy as sp
from numpy.polynomial import chebyshev
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaincinv, ndtri

from derivations.gaussian.joint import GaussianJointExpectation, has_kinks
from derivations.gaussian.printed import read_node
from numerics.compile.expression import compile_expression
from numerics.compile.softmax_means import JointMean
from numerics.compile.straight_kinks import is_cut, mean_over_circles

Array = NDArray[np.float64]

#: Points in each dimension of two rules, the second one for the error; beyond three dimensions, and for kinks that are curved, points are spread.
_NODES = {1: (80, 60), 2: (140, 100), 3: (40, 30)}
_SPREAD, _SHIFTS = 2**12, 8
#: Directions that are spread over a sphere of up to so many dimensions, and lengths in each.
_SPHERES, _DIRECTIONS, _LENGTHS = 4, 2**14, 20
#: Points of one set, which is nearer than the mean over as many of several sets, where no error is asked for.
_ALONE = 2**16
#: What sums of so many values lose to rounding.
_ROUNDED = 2.0**-46
#: Functions of more variables are rarely of few combinations of them, and their slopes take long to compile.
_MOST_SLOPES = 6
#: More values of one parameter are read off series, whose last terms are so small a share of the largest one.
_MANY, _ENDED = 64, 1e-10


def joint_gaussian_mean(node: GaussianJointExpectation) -> JointMean:
    r"""The mean of a function of several Gaussian variables.

    Of smooth functions up to three dimensions by products of Gauss–Hermite rules, of kinks on planes through 0 up to four by half-circles that are cut
    there (``straight_kinks``), the error by a second rule. Else by randomly shifted spread points with fixed seeds, the error by the spread of the
    shifts: up to four dimensions spread directions, with lengths of each share of their law in each.

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
        return JointMean(first, abs(first - others[0]) + _ROUNDED * abs(first) + 1e-15)
    every = np.array([first, *others])
    return JointMean(float(every.mean()), float(3 * every.std() / np.sqrt(len(every))))


def joint_gaussian_values(text: str, *values: ArrayLike, points: int = 0) -> Array:
    """An unevaluated mean at arrays of its parameters: what SymPy's ``lambdify`` prints for one; by one of the sets of spread points."""
    if not values:
        return np.asarray(_constant(text, points))[()]
    if len(values) == 1 and np.size(values[0]) > _MANY:
        return _by_octaves(text, np.asarray(values[0], dtype=float), points)
    result: Array = np.vectorize(lambda *numbers: _value(text, *numbers, points=points), otypes=[float])(*values)
    return result[()]


@lru_cache(maxsize=256)
def _constant(text: str, points: int) -> float:
    """Of a mean without parameters, which each step of a path asks for."""
    return _value(text, points=points)


def comes_from_points(node: sp.Expr) -> bool:
    """Whether a mean is one over spread points, whose error two sets of them show: of many variables, or of kinks.

    Examples
    --------
    >>> from derivations.gaussian.joint import joint_mean
    >>> x, y = sp.symbols("x y", real=True)
    >>> [comes_from_points(joint_mean(f, (x, y), [[1, 0], [0, 1]])) for f in (sp.tanh(x * y), sp.Max(x, y**2))]
    [False, True]
    """
    if not isinstance(node, GaussianJointExpectation):
        return False
    return node.has_kinks or len(node.function.variables) > max(_NODES)


def _value(text: str, *numbers: float, points: int = 0) -> float:
    function, parameters, entries = _read(text)
    if function.free_symbols:
        function = function.xreplace(dict(zip(parameters, map(sp.Float, numbers), strict=True)))
    (value,) = _estimates(function, np.array(entries(*numbers), dtype=float), alone=True, points=points)
    return value


def _by_octaves(text: str, values: Array, points: int) -> Array:
    """At many values of one parameter, as of a variance along many paths: a series in the logarithm for each octave where it has ended."""
    found = np.empty(values.shape)
    octaves = np.where(values > 0, np.floor(np.log2(np.where(values > 0, values, 1.0))), np.nan)
    for octave in np.unique(octaves):
        some = np.isnan(octaves) if np.isnan(octave) else octaves == octave
        series = None if np.isnan(octave) else _series(text, float(octave), points)
        if series is None:
            found[some] = [_value(text, float(value), points=points) for value in values[some]]
        else:
            found[some] = chebyshev.chebval(2 * (np.log2(values[some]) - octave) - 1, series)
    return found


@lru_cache(maxsize=1024)
def _series(text: str, octave: float, points: int) -> Array | None:
    """Of Chebyshev's polynomials between a power of 2 and the next one; None where it does not end."""
    values: Any = lambda u: np.array([_value(text, 2.0 ** (octave + (v + 1) / 2), points=points) for v in u])  # noqa: E731
    rough = has_kinks(_read(text)[0].expr)  # the error of spread points does not end
    for degree in (12, 24):
        made: Array = chebyshev.chebinterpolate(values, degree)
        if rough or (np.all(np.isfinite(made)) and np.abs(made[-2:]).max() <= _ENDED * np.abs(made).max()):
            return made
    return None


@lru_cache(maxsize=64)
def _read(text: str) -> tuple[sp.Lambda, list[sp.Symbol], Callable[..., ArrayLike]]:
    node, *parameters = read_node(text)
    return node.function, parameters, sp.lambdify(parameters, node.covariance.tolist(), "math")


def _estimates(function: sp.Lambda, covariance: Array, alone: bool = False, points: int = 0) -> list[float]:
    """Two rules' values, or one for each shift of spread points; or a single value."""
    value, basis = _compiled(function)
    root = basis @ _triangular_root(basis.T @ covariance @ basis)
    dimension = root.shape[1]
    with np.errstate(over="ignore"):
        if dimension and (dimension > max(_NODES) or has_kinks(function.expr)):
            if is_cut(function, dimension):
                return [mean_over_circles(function, value, root, k) for k in ([points] if alone else [0, 1])]
            sets = range(points * _SHIFTS, points * _SHIFTS + (1 if alone else _SHIFTS))
            if dimension <= _SPHERES:
                return [_over_spheres(value, root, seed) for seed in sets]
            count = _ALONE if alone else _SPREAD
            return [float(np.mean(value(*(root @ _spread_points(dimension, count, seed))))) for seed in sets]
        rules = (_product_rule(dimension, count) for count in _NODES.get(dimension, (1, 1))[: 1 if alone else 2])
        return [float(np.sum(weights * value(*(root @ points)))) for points, weights in rules]


def _over_spheres(value: Callable[..., Array], root: Array, seed: int) -> float:
    """No length is the same in two directions, so that what happens at one length, as a kink on a sphere, is seen by the spread of the shifts."""
    directions, lengths = _directions(root.shape[1], seed)
    ahead = root @ directions
    return float(np.mean([np.mean(value(*(length * ahead))) for length in lengths]))


def _triangular_root(covariance: Array) -> Array:
    """Of as many columns as the rank; it moves continuously with the covariance, as spread points have to for a flow, where eigenvectors turn."""
    left, columns = covariance.copy(), list[Array]()
    for k in range(len(covariance)):
        if left[k, k] > 1e-14 * max(1.0, float(covariance[k, k])):
            columns.append(left[:, k] / np.sqrt(left[k, k]))
            left -= np.outer(columns[-1], columns[-1])
    return np.stack(columns, axis=1) if columns else np.zeros((len(covariance), 0))


@lru_cache(maxsize=64)
def _compiled(function: sp.Lambda) -> tuple[Callable[..., Array], Array]:
    """The function of arrays, and the combinations of its variables that it depends on: its gradients' span."""
    z = function.variables
    value = compile_expression(z, function.expr)
    if has_kinks(function.expr) or len(z) > _MOST_SLOPES:  # slopes can be 0 at many points
        return value, np.eye(len(z))
    slopes = [compile_expression(z, sp.diff(function.expr, v)) for v in z]
    # near 0 as well, since far out a function may have levelled off, and each gradient for its direction alone
    scales = np.resize([1.0, 0.3, 0.1, 0.01], 4 * (len(z) + 1))
    points = np.random.default_rng(0).standard_normal((len(z), len(scales))) * scales
    gradients = np.stack([np.broadcast_to(slope(*points), len(scales)) for slope in slopes])
    gradients = gradients[:, np.isfinite(gradients).all(axis=0) & gradients.any(axis=0)]
    left, sizes, _ = np.linalg.svd(gradients / np.linalg.norm(gradients, axis=0))
    return value, left[:, : int(np.sum(sizes > 1e-8 * sizes.max(initial=0)))]


@lru_cache(maxsize=16)
def _product_rule(dimension: int, count: int) -> tuple[Array, Array]:
    if dimension == 0:
        return np.zeros((0, 1)), np.ones(1)
    points, weights = np.polynomial.hermite_e.hermegauss(count)
    grid = np.stack([g.ravel() for g in np.meshgrid(*[points] * dimension, indexing="ij")])
    products = np.prod(np.meshgrid(*[weights / weights.sum()] * dimension, indexing="ij"), axis=0).ravel()
    return grid, products


@lru_cache(maxsize=16)
def _spread_points(dimension: int, count: int, seed: int) -> Array:
    """Of a normal law."""
    found: Array = ndtri(np.clip(_spread(dimension, count, seed), 1e-16, 1 - 1e-16))
    return found


@lru_cache(maxsize=16)
def _directions(dimension: int, seed: int) -> tuple[Array, Array]:
    """Spread evenly over a sphere of up to four dimensions, and for each as many lengths, one of each share of their law."""
    share, *others = _spread(dimension, _DIRECTIONS, seed)
    lengths = np.sqrt(2 * gammaincinv(dimension / 2, (np.arange(_LENGTHS)[:, None] + share) / _LENGTHS))
    return _on_sphere(others, dimension), lengths


def _on_sphere(shares: list[Array], dimension: int) -> Array:
    if dimension == 1:
        return np.resize([-1.0, 1.0], (1, _DIRECTIONS))
    first, *others = shares
    if dimension == 3:  # at even heights
        height, ring = 2 * first - 1, _circle(others[0])
        return np.concatenate([np.sqrt(1 - height**2) * ring, height[None]])
    if dimension == 2:
        return _circle(first)
    return np.concatenate([np.sqrt(first) * _circle(others[0]), np.sqrt(1 - first) * _circle(others[1])])


def _circle(share: Array) -> Array:
    return np.stack([np.cos(2 * np.pi * share), np.sin(2 * np.pi * share)])


def _spread(dimension: int, count: int, seed: int) -> Array:
    """Over the unit cube."""
    found: Array = scipy.stats.qmc.Sobol(dimension, rng=np.random.default_rng(seed)).random(count).T
    return found
