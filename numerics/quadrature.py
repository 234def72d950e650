r"""Gaussian integrals by quadrature, split at the kinks: the check on ``derivations.gaussian``.

Nothing here knows a closed form. The line is cut into panels at the kinks and at even steps, a
Gauss–Legendre rule is used on each, and the panels are halved until the value stands still. Where it does not, a kink
may be a root, a logarithm or an integrable pole: then the nodes crowd there like a power of theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Function = Callable[[Array], ArrayLike]

_EDGE = 37.5  # deviations; beyond, the density underflows
_POINTS = 20  # per panel
_CROWDED_POINTS, _CROWDED = 40, 12  # where nodes crowd at kinks, and with which power
_WIDEST = 3.75  # panels at the start, in deviations
_HALVINGS = 7
_TOLERANCE = 2e-14  # of the integral of the modulus
_BLOCK = 1 << 20  # values of g at a time
_UNEVEN = 0.17  # share of a panel by which panels are moved, and cut between kinks, so that no pole cancels because of their symmetry
_NEAR = (2.0**-20, 2.0**-40)  # distances from a cut, at which what can be integrated shows to shrink


class Rule(NamedTuple):
    """How often panels are halved, and whether nodes crowd at the cuts."""

    halvings: int
    crowded: bool

    @property
    def parts(self) -> int:
        """Parts of a panel."""
        return int(2**self.halvings)

    @property
    def points(self) -> int:
        """Nodes in each part."""
        return _CROWDED_POINTS if self.crowded else _POINTS


def gauss_hermite(f: Function, variance: float = 1.0, mean: float = 0.0, order: int = 64) -> float:
    r""":math:`\mathbb{E} f(Z)`, :math:`Z \sim N(\text{mean}, \text{variance})`, by one Gauss–Hermite rule.

    Exact for polynomials of degree below ``2 * order`` and fast for entire functions; slow at kinks,
    for which :func:`expect` is made.

    Parameters
    ----------
    f : callable
        Array to array.
    variance, mean : float
    order : int
        Number of nodes.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If the variance is negative or the order is not positive.

    Examples
    --------
    >>> round(gauss_hermite(lambda x: x**4, variance=2.0), 10)
    12.0
    """
    _check_variance(variance)
    if order < 1:
        raise ValueError(f"the order of a Gauss-Hermite rule must be positive, got {order}")
    z, weights = np.polynomial.hermite_e.hermegauss(order)
    values = np.asarray(f(mean + np.sqrt(variance) * z), dtype=float)
    return float(np.sum(weights * values) / np.sqrt(2 * np.pi))


def expect(f: Function, variance: float = 1.0, mean: float = 0.0, kinks: Sequence[float] = ()) -> float:
    r""":math:`\mathbb{E} f(Z)`, :math:`Z \sim N(\text{mean}, \text{variance})`, to about 13 digits.

    Parameters
    ----------
    f : callable
        Array to array, smooth between the kinks.
    variance, mean : float
    kinks : sequence of float
        Where f or a derivative of it jumps, or f is a root, a logarithm or a pole that can be integrated.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If the variance is negative, f is not finite, or the value does not settle (a kink is missing, or there is no mean).

    Examples
    --------
    >>> round(expect(np.abs, kinks=[0.0]) ** 2 * np.pi, 12)
    2.0
    >>> bool(abs(expect(lambda x: np.log(np.abs(x)), kinks=[0.0]) + (np.euler_gamma + np.log(2)) / 2) < 1e-12)
    True
    """
    _check_variance(variance)
    deviation = float(np.sqrt(variance))
    if deviation == 0.0:
        return float(np.asarray(f(np.array([mean])), dtype=float)[0])
    _check_cuts(f, kinks, deviation)
    cuts = (np.asarray(kinks, dtype=float) - mean) / deviation

    def attempt(rule: Rule) -> Attempt:
        z, weights = _panels(cuts, rule)
        return _summed(z, np.asarray(f(mean + deviation * z), dtype=float) * weights)

    return _settled(attempt)


def gaussian_values(text: str, *values: ArrayLike) -> Array:
    """An unevaluated Gaussian mean at arrays of its parameters: what SymPy's ``lambdify`` prints for one.

    Parameters
    ----------
    text : str
        The mean and its parameters, as :mod:`derivations.gaussian.printed` writes them.
    values : array
        Of the parameters; they broadcast.
    """
    from derivations.gaussian.printed import gaussian_value

    result: Array = (
        np.vectorize(lambda *numbers: float(gaussian_value(text, *numbers)), otypes=[float])(*values)
        if values
        else np.asarray(float(gaussian_value(text)))
    )
    return result[()]


def expect_pair(
    f: Function, g: Function, covariance: ArrayLike, kinks_f: Sequence[float] = (), kinks_g: Sequence[float] = ()
) -> float:
    r""":math:`\mathbb{E} f(U) g(V)`, :math:`(U, V) \sim N(0, K)`, to about 12 digits.

    The inner integral is over :math:`V \mid U = u \sim N(k_{12} u/k_{11},\, k_{22} - k_{12}^2/k_{11})`, split at the
    kinks of g for each u; the outer one is split at the kinks of f, and graded towards the images of
    the kinks of g, where the inner value bends within a deviation of V given U.

    Parameters
    ----------
    f, g : callable
        Array to array, smooth between the kinks.
    covariance : array_like, shape (2, 2)
        Symmetric, positive semidefinite.
    kinks_f, kinks_g : sequence of float

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If the covariance is not a covariance, a function is not finite, or the value does not settle.

    Examples
    --------
    >>> relu = lambda x: np.maximum(x, 0.0)
    >>> round(expect_pair(relu, relu, [[1.0, 0.0], [0.0, 1.0]], [0.0], [0.0]) * 2 * np.pi, 12)
    1.0
    """
    k11, k12, k22 = _entries(covariance)
    if k11 == 0.0:
        return float(np.asarray(f(np.zeros(1)), dtype=float)[0]) * expect(g, k22, kinks=kinks_g)
    outer_deviation, slope = np.sqrt(k11), k12 / k11
    deviation = float(np.sqrt(max(k22 - k12 * slope, 0.0)))
    cuts_f, cuts_g = np.asarray(kinks_f, dtype=float), np.asarray(kinks_g, dtype=float)
    if deviation == 0.0:
        images = cuts_g / slope if slope != 0.0 else cuts_g[:0]
        return expect(lambda u: np.asarray(f(u)) * np.asarray(g(slope * u)), k11, 0.0, [*cuts_f, *images])
    cuts = np.concatenate([cuts_f / outer_deviation, _graded(cuts_g, slope * outer_deviation, deviation)])
    _check_cuts(f, cuts_f, float(outer_deviation))
    _check_cuts(g, cuts_g, deviation)

    def attempt(rule: Rule) -> Attempt:
        z, weights = _panels(cuts, rule)
        u = outer_deviation * z
        outer = np.asarray(f(u), dtype=float) * weights
        inner, size = _inner(g, slope * u, deviation, cuts_g, rule)
        return _summed(z, outer * inner)._replace(size=float(np.sum(np.abs(outer) * size)))

    return _settled(attempt)


def _inner(g: Function, means: Array, deviation: float, kinks: Array, rule: Rule) -> tuple[Array, Array]:
    """Means of g and of its modulus under N(mean, deviation²), for an array of means."""
    value, size = np.empty_like(means), np.empty_like(means)
    block = max(1, int(_BLOCK * _WIDEST / (2 * _EDGE * rule.points * rule.parts)))
    for start in range(0, means.size, block):
        some = slice(start, start + block)
        cuts = (kinks - means[some, None]) / deviation if kinks.size else kinks  # without kinks one grid serves all
        z, weights = _panels(cuts, rule)
        values = np.asarray(g(means[some, None] + deviation * z), dtype=float) * weights
        value[some], size[some] = values.sum(axis=-1), np.abs(values).sum(axis=-1)
    return value, size


def _graded(kinks: Array, slope: float, deviation: float) -> Array:
    """Cuts in u around each kink of u ↦ g(slope u), doubling in distance from deviation/slope to one."""
    if kinks.size == 0 or slope == 0.0:
        return np.empty(0)
    width = deviation / abs(slope)
    steps = width * 2.0 ** np.arange(max(0, int(np.ceil(-np.log2(width)))) + 1) if width < 1.0 else np.empty(0)
    offsets = np.concatenate([-steps, [0.0], steps])
    images: Array = (kinks[:, None] / slope + offsets).ravel()
    return images


def _edges(cuts: Array) -> tuple[Array, NDArray[np.bool_]]:
    """Panel ends along the last axis, and which of them are cuts; a cut out of range makes an empty panel."""
    even = np.linspace(-_EDGE, _EDGE, int(np.ceil(2 * _EDGE / _WIDEST)) + 1)
    even[1:-1] += _UNEVEN * _WIDEST
    even = np.broadcast_to(even, (*cuts.shape[:-1], even.size))
    cuts = np.clip(np.sort(cuts, axis=-1), -_EDGE, _EDGE)
    between = cuts[..., :-1] + (0.5 - _UNEVEN) * np.diff(cuts, axis=-1)
    edges = np.concatenate([even, between, cuts], axis=-1)
    order = np.argsort(edges, axis=-1, kind="stable")
    is_cut = np.concatenate(
        [np.zeros((*even.shape[:-1], even.shape[-1] + between.shape[-1]), dtype=bool), np.ones(cuts.shape, dtype=bool)],
        axis=-1,
    )
    edges, is_cut = (np.take_along_axis(array, order, axis=-1) for array in (edges, is_cut))
    for one, two in ((slice(1, None), slice(None, -1)), (slice(None, -1), slice(1, None))):
        is_cut[..., one] |= is_cut[..., two] & (edges[..., one] == edges[..., two])  # an even step at a cut
    return edges, is_cut


@cache
def legendre(points: int) -> tuple[Array, Array]:
    """Gauss–Legendre nodes and weights on (0, 1)."""
    t, w = np.polynomial.legendre.leggauss(points)
    return (1 + t) / 2, w / 2


def _panels(cuts: Array, rule: Rule) -> tuple[Array, Array]:
    """Nodes, and weights times the standard normal density, over all panels, along the last axis."""
    edges, is_cut = _edges(cuts)
    t, w = legendre(rule.points)
    part = np.arange(rule.parts)
    width = np.diff(edges)[..., None] / rule.parts
    low = edges[..., :-1, None] + width * part
    high = np.where(part == rule.parts - 1, edges[..., 1:, None], low + width)
    low, high, width = low[..., None], high[..., None], np.broadcast_to(width, low.shape)[..., None]
    z, weights = low + width * t, width * w
    if rule.crowded:
        distance, slopes = t**_CROWDED, w * _CROWDED * t ** (_CROWDED - 1)
        after, before = is_cut[..., :-1, None] & (part == 0), is_cut[..., 1:, None] & (part == rule.parts - 1)
        # a node must not fall on the cut itself
        z = np.where(after[..., None], np.maximum(low + width * distance, np.nextafter(low, np.inf)), z)
        z = np.where(before[..., None], np.minimum(high - width * distance, np.nextafter(high, -np.inf)), z)
        weights = np.where((after | before)[..., None], width * slopes, weights)
    z = np.where(width > 0.0, z, 1.0)  # an empty panel has no weight, whatever the integrand is at its place
    weights = weights * np.exp(-z * z / 2) / np.sqrt(2 * np.pi)
    shape = (*edges.shape[:-1], -1)
    return z.reshape(shape), weights.reshape(shape)


class Attempt(NamedTuple):
    """An integral, that of its modulus, and what of this lies farthest out."""

    value: float
    size: float
    far: float


def _summed(z: Array, values: Array) -> Attempt:
    modulus = np.abs(values)
    return Attempt(float(values.sum()), float(modulus.sum()), float(modulus[np.abs(z) > _EDGE - 1].sum()))


def _check_cuts(f: Function, kinks: ArrayLike, deviation: float) -> None:
    """Refuse a pole that cannot be integrated: there the distance times f does not shrink with the distance."""
    for kink in np.asarray(kinks, dtype=float).ravel():
        steps = [max(near * deviation, 16 * float(np.spacing(abs(kink))) * near / _NEAR[1]) for near in _NEAR]
        with np.errstate(all="ignore"):
            for side in (-1, 1):
                far, close = (d * abs(float(np.asarray(f(np.array([kink + side * d])))[0])) for d in steps)
                if 0 < far < np.inf and close > 0.99 * far:
                    raise ValueError(
                        f"the integrand has a pole at {kink:.6g} that cannot be integrated, or hardly: there is no Gaussian mean of it"
                    )


def _settled(attempt: Callable[[Rule], Attempt]) -> float:
    """Halve the panels until two values agree, first with plain panels, then with nodes that crowd at the cuts."""
    value = previous = float("nan")
    for crowded in (False, True):
        with np.errstate(all="ignore"):
            first = 1 if crowded else 0  # of a panel between two cuts each half belongs to one
            value, size, far = attempt(Rule(first, crowded))
            for halving in range(first + 1, _HALVINGS + 1):
                previous = value
                value, size, far = attempt(Rule(halving, crowded))
                if far > _TOLERANCE * size and np.isfinite(size):
                    raise ValueError(
                        f"a Gaussian mean lies beyond {_EDGE} deviations, or there is none: the integrand grows too fast; "
                        "take out its exponential growth, which moves the mean of the Gaussian"
                    )
                if abs(value - previous) <= _TOLERANCE * size:
                    return value
    if not np.isfinite(value):
        raise ValueError(f"a mean came out as {value}: the integrand is not finite up to {_EDGE} deviations")
    raise ValueError(
        f"a Gaussian mean did not settle ({previous}, then {value}): name every kink of the integrand, "
        "and see whether it has a mean at all"
    )


def _check_variance(variance: float) -> None:
    if not variance >= 0.0:
        raise ValueError(f"a variance must be nonnegative, got {variance}")


def _entries(covariance: ArrayLike) -> tuple[float, float, float]:
    matrix = np.asarray(covariance, dtype=float)
    if matrix.shape != (2, 2) or matrix[0, 1] != matrix[1, 0]:
        raise ValueError(f"a covariance must be a symmetric 2 by 2 array, got {matrix.tolist()}")
    (k11, k12), (_, k22) = matrix
    if k11 < 0.0 or k22 < 0.0 or k12 * k12 > k11 * k22 * (1 + 1e-14):
        raise ValueError(f"a covariance must be positive semidefinite, got {matrix.tolist()}")
    return float(k11), float(k12), float(k22)
