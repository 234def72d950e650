r"""Means of functions whose kinks all lie on planes through 0: half-circles are cut where they meet these.

A normal vector is a length times a direction. Lengths meet no kink: one rule takes them, exactly for polynomials. Half-circles from pole to pole
meet each plane once, at an angle in closed form, and between these a rule of Gauss converges fast, however near two planes are to each other, as
where the covariance is nearly singular. What is left is a function on a sphere of one dimension less, whose bends are again on planes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import combinations

import numpy as np
import sympy as sp
from numpy.typing import NDArray
from scipy.special import gammaln
from sympy.core.relational import Relational

from derivations.gaussian.joint import KINKED, has_kinks
from derivations.special.experts import ExpertGate

Array = NDArray[np.float64]
Value = Callable[..., Array]

#: Up to how many planes spheres are cut in each dimension.
_MOST_PLANES = {2: 64, 3: 16, 4: 8}
#: Points between two cuts of two rules in each dimension, on a circle that is not cut, and of the rule for lengths.
_POINTS, _AROUND, _LENGTHS = {2: (16, 14), 3: (12, 10), 4: (8, 7)}, (96, 80), 14
_MANY = 4  # planes, beyond which arcs are short and take two points less
_CHOICES = 256  # of a pole
_FURTHEST = 14.0  # lengths of which polynomials of the rule's degree have nothing left


@lru_cache(maxsize=256)
def planes_of(function: sp.Lambda) -> Array | None:
    """Linear forms whose zeros hold all kinks and jumps, one a row; None where some are elsewhere.

    Examples
    --------
    >>> x, y = sp.symbols("x y", real=True)
    >>> planes_of(sp.Lambda((x, y), sp.Max(x, sp.Abs(y)) * sp.sign(x * y)))
    array([[ 0.,  1.],
           [ 1., -1.],
           [ 1.,  0.],
           [ 1.,  1.]])
    >>> planes_of(sp.Lambda((x, y), sp.Max(x, y**2))) is None
    True
    """
    z, found = function.variables, set[tuple[float, ...]]()
    for zero in {branch for place in _places(function.expr) for branch in _branches(place)}:
        if not zero.has(*z):
            continue
        if not zero.is_polynomial(*z):
            return None
        for factor, _ in sp.factor_list(zero, *z)[1]:
            slopes = [sp.diff(factor, v) for v in z]
            if any(slope.free_symbols for slope in slopes) or factor.xreplace(dict.fromkeys(z, sp.S.Zero)) != 0:
                return None
            first = next(slope for slope in slopes if slope != 0)
            found.add(tuple(float(slope / first) for slope in slopes))
    return np.array(sorted(found)).reshape(-1, len(z))


def _places(expr: sp.Expr) -> Iterator[sp.Expr]:
    """What is 0 where a function has a kink or jumps."""
    for node in expr.atoms(*KINKED):
        if isinstance(node, sp.Piecewise):
            yield from (c.lhs - c.rhs for _, condition in node.args for c in condition.atoms(Relational))
        elif isinstance(node, sp.Max | sp.Min):
            yield from (one - other for one, other in combinations(node.args, 2))
        else:
            yield node.args[0]
    for gate in expr.atoms(ExpertGate):
        if gate.jumps:  # where two scores are equal
            yield from (one - other for one, other in combinations(gate.args[2:], 2))


def _branches(expr: sp.Expr) -> Iterator[sp.Expr]:
    """What an expression is on the sides of the kinks inside it."""
    inner = next((node for node in expr.atoms(*KINKED) if not any(a.has(*KINKED) for a in node.args)), None)
    if inner is None:
        yield sp.expand(expr)
        return
    if isinstance(inner, sp.Piecewise):
        sides = [piece for piece, _ in inner.args]
    elif isinstance(inner, sp.Max | sp.Min):
        sides = list(inner.args)
    else:
        sides = [inner.args[0], -inner.args[0]] if isinstance(inner, sp.Abs) else [sp.S(-1), sp.S.Zero, sp.S.One]
    for side in sides:
        yield from _branches(expr.xreplace({inner: side}))


def is_cut(function: sp.Lambda, dimension: int) -> bool:
    """Whether the mean over a law of so many dimensions is taken over cut circles."""
    planes = planes_of(function) if dimension in _MOST_PLANES and has_kinks(function.expr) else None
    return planes is not None and len(planes) <= _MOST_PLANES[dimension]


def mean_over_circles(function: sp.Lambda, value: Value, root: Array, points: int) -> float:
    """The mean at a root of the covariance, by one of two rules: the odd one is coarser."""
    planes, dimension = planes_of(function), root.shape[1]
    assert planes is not None
    count = _POINTS[dimension][points % 2] - 2 * (dimension == max(_POINTS) and len(planes) > _MANY)
    around = _AROUND[points % 2] if dimension == max(_POINTS) else 0
    directions, weights = _sphere(_of_length_one(planes @ root), count, around)
    ahead = root @ directions
    return float(
        sum(
            w * (weights @ value(*(length * ahead)))
            for length, w in zip(*_lengths(value, ahead, dimension), strict=True)
        )
    )


def _of_length_one(forms: Array) -> Array:
    sizes = np.linalg.norm(forms, axis=1)
    found: Array = forms[sizes > 0] / sizes[sizes > 0, None]
    return found


@lru_cache(maxsize=8)
def _poles(dimension: int) -> Array:
    """Directions, one a row, among which a pole is looked for."""
    found = np.random.default_rng(dimension).standard_normal((_CHOICES, dimension))
    return _of_length_one(found)


def _pole(planes: Array) -> Array:
    """The reflection that brings to the first axis the direction farthest from all planes: a half-circle meets one near its pole steeply."""
    choices = _poles(planes.shape[1])
    best = choices[np.argmax(np.abs(choices @ planes.T).min(axis=1, initial=1.0))]
    mirror = best - np.eye(len(best))[0]
    found: Array = np.eye(len(best)) - 2 * np.outer(mirror, mirror) / (mirror @ mirror)
    return found


def _sphere(planes: Array, count: int, around: int) -> tuple[Array, Array]:
    r"""Directions, one a column, and weights: :math:`(\cos\varphi, \omega\sin\varphi)` on half-circles from pole to pole, one for each :math:`\omega`.

    A half-circle meets the plane :math:`h` where :math:`h_1\cos\varphi + h'\omega\sin\varphi = 0`, once. Two planes are met at one angle where
    :math:`(h'/h_1 - k'/k_1)\omega = 0`, again a plane: there the integral over the half-circle bends, and the next sphere is cut. With ``around``
    the last circle takes so many even points, since bends of bends are smooth.
    """
    dimension = planes.shape[1]
    if dimension == 2:
        return _circle(planes, count, around)
    turn = _pole(planes)
    turned = planes @ turn
    poles, rest = turned[:, 0], turned[:, 1:]
    across = poles != 0
    slopes = rest[across] / poles[across, None]
    pairs = [one - other for one, other in combinations(slopes, 2)]
    omega, shares = _sphere(
        _of_length_one(np.array([*pairs, *rest[~across]]).reshape(-1, dimension - 1)), count, around
    )
    met = np.arctan2(1.0, -(slopes @ omega)).T  # cot φ = -h'ω/h₁
    ends = np.broadcast_to([0.0, np.pi / 2, np.pi], (omega.shape[1], 3))
    angles, widths = _between(np.sort(np.concatenate([met, ends], axis=1), axis=1), count)
    sines = np.sin(angles)
    directions = np.concatenate([np.cos(angles)[None], omega[:, :, None] * sines])
    weights = shares[:, None] * widths * sines ** (dimension - 2) * _share(dimension)
    return turn @ directions.reshape(dimension, -1), weights.ravel()


def _circle(planes: Array, count: int, around: int) -> tuple[Array, Array]:
    if around:
        turns = 2 * np.pi * np.arange(around) / around
        return np.stack([np.cos(turns), np.sin(turns)]), np.full(around, 1 / around)
    met = np.arctan2(-planes[:, 0], planes[:, 1]) % np.pi
    cuts = np.concatenate([met, met + np.pi, np.pi / 2 * np.arange(5)])
    angles, widths = _between(np.sort(cuts)[None], count)
    return np.stack([np.cos(angles[0]), np.sin(angles[0])]), widths[0] / (2 * np.pi)


@lru_cache(maxsize=8)
def _legendre(count: int) -> tuple[Array, Array]:
    """Gauss's rule between 0 and 1."""
    nodes, weights = np.polynomial.legendre.leggauss(count)
    return (1 + nodes) / 2, weights / 2


def _between(cuts: Array, count: int) -> tuple[Array, Array]:
    """Points between cuts, a row for each row of cuts, and their weights."""
    nodes, weights = _legendre(count)
    widths = np.diff(cuts)[..., None]
    points = cuts[:, :-1, None] + widths * nodes
    return points.reshape(len(cuts), -1), (widths * weights).reshape(len(cuts), -1)


def _share(dimension: int) -> float:
    r"""One over :math:`\int_0^\pi \sin^{d-2}`."""
    return float(np.exp(gammaln(dimension / 2) - gammaln((dimension - 1) / 2)) / np.sqrt(np.pi))


def _lengths(value: Value, ahead: Array, dimension: int) -> tuple[Array, Array]:
    """Lengths and weights: a single one for a homogeneous function, whose degree two lengths tell."""
    some = ahead[:, :: max(1, ahead.shape[1] // 1000)]
    one, two = value(*some), value(*(2 * some))
    size = np.abs(one).max(initial=0)
    degree = np.round(np.log2(np.abs(two).max(initial=0) / size)) if size > 0 else np.nan
    if 0 <= degree <= 2 * _LENGTHS and np.allclose(two, 2.0**degree * one, rtol=1e-12, atol=1e-12 * size):
        return np.ones(1), np.array([_moment(degree, dimension)])
    return _rule_of_lengths(dimension)


def _moment(degree: float, dimension: int) -> float:
    """Of the length of a normal vector."""
    return float(2 ** (degree / 2) * np.exp(gammaln((dimension + degree) / 2) - gammaln(dimension / 2)))


@lru_cache(maxsize=8)
def _rule_of_lengths(dimension: int) -> tuple[Array, Array]:
    """Gauss's rule for the length of a normal vector, from many points of it by Lanczos's recursion."""
    nodes, weights = np.polynomial.legendre.leggauss(400)
    r = _FURTHEST * (1 + nodes) / 2
    w = weights * r ** (dimension - 1) * np.exp(-r * r / 2)
    w /= w.sum()
    before, now, own, between = np.zeros_like(r), np.sqrt(w), list[float](), list[float]()
    for _ in range(_LENGTHS):
        own.append(float(now @ (r * now)))
        left = (r - own[-1]) * now - (between[-1] if between else 0.0) * before
        between.append(float(np.linalg.norm(left)))
        before, now = now, left / between[-1]
    places, vectors = np.linalg.eigh(np.diag(own) + np.diag(between[:-1], 1) + np.diag(between[:-1], -1))
    return places, vectors[0] ** 2
