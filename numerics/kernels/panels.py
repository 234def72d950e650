r"""One function cut into panels on which polynomials follow it, and Gaussian nodes on them.

A panel that touches a corner (a point where the function is not smooth from that side: a root, a logarithm, a pole
that can be integrated) has the substitution :math:`d = w u^p` of the distance d to the corner, with p so large that
:math:`f^2\,p u^{p-1}` is smooth in u. All others are plain. Panels are halved until the polynomial through the nodes meets the
function in between, so the rule's own error is known before it is used; a function that cannot be followed is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from math import lcm
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from derivations.activations import Activation
from derivations.gaussian.corners import DISTANCE, Side, corners
from derivations.piecewise import IsolatedRoot
from numerics.compile import compile_expression
from numerics.kernels.quadrants import Polynomials, polynomials_of
from numerics.quadrature import legendre

Array = NDArray[np.float64]
Whole = NDArray[np.intp]
Beside = Callable[[Array], Array]

_PLAIN, _BENT = 16, 48  # nodes of a plain panel, and of one that touches a corner
# Of the largest value on a panel. Towards a corner the rule is exact to twice the degree of the polynomial, and
# what polynomials follow badly there is a high power of u.
_FOLLOWED, _FOLLOWED_BENT = 1e-13, 1e-11
_ROUNDING = 4e-15  # of the largest value nearer to 0
_SHIFT = 1e-15  # of a place: how far doubles move it, times the slope of a polynomial by its mean slope
_HALVINGS, _MOST = 16, 20_000
_POWER = 10  # of u in f² p u^(p-1), at least, and one more
_WIDEST = 2.5  # deviations of the Gaussian in a panel
_WIDEST_BENT = 0.5  # and in one that touches a corner: its density is a function of u^p
_FEW, _KEPT = 4, 64  # how many different neurons are few, and for how many such sets something is kept
_NEAREST = 1e-290  # to a corner: what lies nearer has no weight


@dataclass(frozen=True)
class Corner:
    """A point where a function is not smooth.

    Parameters
    ----------
    at : float
    sides : pair of callables
        The function of the distance, to the left and to the right: exact also where ``at + d == at``.
    smooth : pair of bool
        Whether it is smooth up to the point from that side.
    exponent : float
        The least power of the distance in it, at most 0.
    root : int
        The function is analytic in the distance to the power 1/root; 0 where it is so for no root, as with logarithms.
    """

    at: float
    sides: tuple[Beside, Beside]
    smooth: tuple[bool, bool]
    exponent: float = 0.0
    root: int = 0

    @property
    def power(self) -> int:
        """The exponent p of the substitution."""
        return self.root or int(np.ceil(_POWER / (1 + 2 * self.exponent)))


class Nodes(NamedTuple):
    """Nodes of many Gaussian means: whose they are, standardised place, place, value, and weight times density."""

    owner: Whole
    z: Array
    x: Array
    value: Array
    weight: Array

    def mean(self, integrand: Array, count: int) -> Array:
        """Sum of weighted values for each owner."""
        total: Array = np.bincount(self.owner, self.weight * integrand, count).astype(float)
        return total


@dataclass(frozen=True)
class Panels:
    """A function and its corners in increasing order; panels are found as they are needed."""

    function: Callable[[Array], Array]
    corners: tuple[Corner, ...] = ()
    terms: Callable[[], Callable[[Array], Array]] | None = (
        None  # makes the sum of the sizes of the function's terms, which may cancel
    )
    polynomials: Polynomials | None = field(default=None, repr=False, compare=False)  # its pieces, where they are such
    _found: dict[float, Array] = field(default_factory=dict, repr=False, compare=False)
    kept: dict[bytes, Any] = field(
        default_factory=dict, repr=False, compare=False
    )  # what is made of it for few neurons
    tables: dict[Any, Any] = field(default_factory=dict, repr=False, compare=False)  # and for all of one mean

    def reach(self, mean: Array, deviation: Array) -> float:
        """Deviations beyond which f² times the density adds nothing, for the widest of the given Gaussians."""
        z = np.arange(0.75, 38.0, 1.5)
        z = np.concatenate([-z[::-1], z])
        widest = np.unique([np.argmax(deviation), np.argmax(np.abs(mean) + deviation)])
        with np.errstate(all="ignore"):
            size = 2 * np.log(np.abs(self.function(mean[widest, None] + deviation[widest, None] * z))) - z * z / 2
        size[~np.isfinite(size)] = -np.inf
        far = np.abs(z)[np.any(size > size.max(axis=1, keepdims=True) - 41.0, axis=0)]
        return max(float(far.max(initial=0.0)) + 1.5, 9.0)

    def widened(self, mean: Array, deviation: Array) -> Array:
        """Deviations that doubles tell apart from none beside the mean; what that adds is below rounding."""
        if not mean.any():
            return deviation
        places = np.array([corner.at for corner in self.corners] or [0.0])
        return np.maximum(deviation, 1e-9 * np.abs(mean[:, None] - places).min(axis=1))

    def for_few(
        self, what: str, mean: Array, deviation: Array, made: Callable[[Array, Array], Any]
    ) -> tuple[Any, Whole | None]:
        """What is made of neurons: where few are different, of these, kept, with the place of each neuron among them; else of all.

        Neurons behind a norm are all alike, at all depths.
        """
        if mean.min() == mean.max() and deviation.min() == deviation.max():
            different, owner = np.array([[mean[0], deviation[0]]]), np.zeros(len(mean), dtype=np.intp)
        else:
            different, owner = np.unique(np.stack([mean, deviation], axis=1), axis=0, return_inverse=True)
        if len(different) > _FEW:
            return made(mean, deviation), None
        key = what.encode() + different.tobytes()
        found = self.kept.get(key)
        if found is None:
            found = made(*different.T)
            while len(self.kept) >= _KEPT:
                self.kept.pop(next(iter(self.kept), key), None)
            self.kept[key] = found
        return found, owner.ravel()

    def edges(self, low: float, high: float) -> Array:
        """Ends of the panels that cover an interval and more."""
        size = float(2.0 ** np.ceil(np.log2(max(abs(low), abs(high), 1e-300) * 1.001)))
        if size not in self._found:
            self._found[size] = self._followed_to(size)
        return self._found[size]

    def nodes(self, mean: Array, deviation: Array, reach: float, widest: float = _WIDEST) -> Nodes:
        """Nodes of the means over N(mean, deviation²), on panels of so many deviations at most."""
        low, high = mean - reach * deviation, mean + reach * deviation
        edges = self.edges(float(low.min()), float(high.max()))
        first = np.searchsorted(edges, low, "right") - 1
        last = np.maximum(np.searchsorted(edges, high, "left") - 1, first)
        owner = np.repeat(np.arange(len(mean)), last - first + 1)
        index = _counted(last - first + 1) + first[owner]
        left, right = np.maximum(edges[index], low[owner]), np.minimum(edges[index + 1], high[owner])
        return self.on_panels(owner, left, right, mean, deviation, widest)

    def on_panels(
        self, owner: Whole, left: Array, right: Array, mean: Array, deviation: Array, widest: float = _WIDEST
    ) -> Nodes:
        """Nodes on given panels, each subdivided until it is narrow against its owner's Gaussian."""
        owner, left, right = self._graded(owner, left, right, deviation)
        pieces = np.ceil((right - left) / (widest * deviation[owner]) - 1e-9).astype(int)
        pieces[(right > left) & (pieces < 1)] = 1
        owner, step = np.repeat(owner, pieces), np.repeat((right - left) / np.maximum(pieces, 1), pieces)
        k = _counted(pieces)
        from_left, to_right = np.repeat(left, pieces), np.repeat(right, pieces)
        is_last = k == np.repeat(pieces, pieces) - 1
        low = np.where(k == 0, from_left, from_left + k * step)
        high = np.where(is_last, to_right, from_left + (k + 1) * step)
        parts, plain = [], np.ones(len(low), dtype=bool)
        for corner in self.corners:
            for end, side, sign in ((low, 1, 1.0), (high, 0, -1.0)):
                some = end == corner.at
                if corner.smooth[side] or not some.any():
                    continue
                plain &= ~some
                parts.append(self._bent(corner, side, sign, (high - low)[some], owner[some], mean, deviation))
        parts.append(self._plain(low[plain], (high - low)[plain], owner[plain], mean, deviation))
        return Nodes(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))

    def _graded(self, owner: Whole, left: Array, right: Array, deviation: Array) -> tuple[Whole, Array, Array]:
        """Narrow panels beside corners, and one in between that doubles the distance."""
        for corner in self.corners:
            for side, sign in ((1, 1.0), (0, -1.0)):
                for distance in () if corner.smooth[side] else (2 * _WIDEST_BENT, _WIDEST_BENT):
                    cut = corner.at + sign * distance * deviation[owner]
                    wide = ((left if side else right) == corner.at) & (left < cut) & (cut < right)
                    rest = (cut[wide], right[wide]) if side else (left[wide], cut[wide])
                    left, right = np.where(wide & (not side), cut, left), np.where(wide & bool(side), cut, right)
                    left, right = np.concatenate([left, rest[0]]), np.concatenate([right, rest[1]])
                    owner = np.concatenate([owner, owner[wide]])
        return owner, left, right

    def _plain(self, low: Array, width: Array, owner: Whole, mean: Array, deviation: Array) -> Nodes:
        t, w = legendre(_PLAIN)
        x = low[:, None] + width[:, None] * t
        wide = deviation[
            owner
        ]  # of the differences, which doubles have without rounding; x is rounded where the mean is far away
        z = ((low - mean[owner]) / wide)[:, None] + (width / wide)[:, None] * t
        weight = (width / wide)[:, None] * w * _density(z)
        return Nodes(np.repeat(owner, _PLAIN), z.ravel(), x.ravel(), self.function(x).ravel(), weight.ravel())

    def _bent(
        self, corner: Corner, side: int, sign: float, width: Array, owner: Whole, mean: Array, deviation: Array
    ) -> Nodes:
        u, w = legendre(_BENT)
        p = corner.power
        d = np.maximum(width[:, None] * u**p, _NEAREST)
        z = ((corner.at - mean[owner]) / deviation[owner])[:, None] + sign * d / deviation[owner, None]
        weight = (width / deviation[owner])[:, None] * (p * u ** (p - 1) * w) * _density(z)
        x = corner.at + sign * d
        return Nodes(np.repeat(owner, _BENT), z.ravel(), x.ravel(), corner.sides[side](d).ravel(), weight.ravel())

    def _followed_to(self, size: float) -> Array:
        try:
            return self._cut(size, self.function)
        except ValueError:
            if self.terms is None:
                raise
            return self._cut(size, self.terms())

    def _cut(self, size: float, parts: Beside) -> Array:
        """Halve panels of [-size, size], level by level, until polynomials follow the function to the rounding of its parts."""
        centres = [corner.at for corner in self.corners if abs(corner.at) < size] or [0.0]
        steps = 2.0 ** np.arange(-1.0, np.log2(size) + 2) if size > 0.25 else np.array([size])
        around = np.concatenate([np.concatenate([c - steps, c + steps, [c]]) for c in centres])
        halves = np.array([(a + b) / 2 for a, b in pairwise(centres)])
        start = np.unique(np.clip(np.concatenate([around, halves, [-size, size]]), -size, size))
        done: list[Array] = []
        left, right = start[:-1], start[1:]
        noise = _ROUNDING * self._largest(parts, left, right)
        for _ in range(_HALVINGS):
            followed = self._followed(left, right, noise)
            done.append(left[followed])
            left, right, noise = left[~followed], right[~followed], noise[~followed]
            if not len(left):
                return np.unique(np.concatenate([*done, [size]]))
            middle, noise = (left + right) / 2, np.concatenate([noise, noise])
            left, right = np.concatenate([left, middle]), np.concatenate([middle, right])
            if len(left) > _MOST:
                break
        worst = int(np.argmin(right - left))
        raise ValueError(
            f"a function cannot be followed near {left[worst]:.6g}, where it bends too fast or is not smooth; "
            "scale the inputs down, or write the function with its kinks as Piecewise, Abs or Max"
        )

    def _largest(self, parts: Beside, left: Array, right: Array) -> Array:
        """The largest value found as near to 0 as each panel is, or nearer: parts of this size may cancel in the function."""
        with np.errstate(all="ignore"):
            values = np.abs(parts(left[:, None] + (right - left)[:, None] * legendre(_PLAIN)[0]))
        largest = np.where(np.isfinite(values), values, 0.0).max(axis=1)
        order = np.argsort(np.maximum(np.abs(left), np.abs(right)))
        found = np.empty_like(largest)
        found[order] = np.maximum.accumulate(largest[order])
        return found

    def _followed(self, left: Array, right: Array, noise: Array) -> NDArray[np.bool_]:
        """Whether the polynomial through the nodes of each panel meets the function between them."""
        good = np.zeros(len(left), dtype=bool)
        plain = np.ones(len(left), dtype=bool)
        for corner in self.corners:
            for end, side in ((left, 1), (right, 0)):
                for i in np.flatnonzero(end == corner.at):
                    if not corner.smooth[side]:
                        plain[i] = False
                        good[i] = self._bent_followed(corner, side, right[i] - left[i])
        t, _ = legendre(_PLAIN)
        between, interpolate = interpolation(_PLAIN)
        low, width = left[plain, None], (right - left)[plain, None]
        values, truth = self.function(low + width * t), self.function(low + width * between)
        place = np.maximum(np.abs(left), np.abs(right))[plain]
        moved = _SHIFT * place * np.ptp(truth, axis=1) / width[:, 0]  # by the rounding of the places themselves
        good[plain] = _meets(values, truth, interpolate, _FOLLOWED, np.maximum(noise[plain], moved))
        return good

    def _bent_followed(self, corner: Corner, side: int, width: float) -> bool:
        p = corner.power

        def smoothed(u: Array) -> Array:
            return corner.sides[side](np.maximum(width * u**p, _NEAREST)) * u ** (
                p - 1 if not corner.root else -corner.exponent * p
            )

        between, interpolate = interpolation(_BENT)
        return bool(
            _meets(
                smoothed(legendre(_BENT)[0])[None], smoothed(between)[None], interpolate, _FOLLOWED_BENT, np.zeros(1)
            )[0]
        )


def _meets(values: Array, truth: Array, interpolate: Array, tolerance: float, noise: Array) -> NDArray[np.bool_]:
    if not (np.all(np.isfinite(values)) and np.all(np.isfinite(truth))):
        raise ValueError("a function is not finite where its Gaussian mean is asked for; scale the inputs down")
    size = np.max(np.abs(truth), axis=1)
    good: NDArray[np.bool_] = np.max(np.abs(values @ interpolate.T - truth), axis=1) <= np.maximum(
        tolerance * size, noise
    )
    return good


def _counted(counts: Whole) -> Whole:
    """0, 1, …, c - 1 for each count c, one after the other."""
    ends = np.cumsum(counts)
    return np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - counts, counts)


def _density(z: Array) -> Array:
    return np.exp(-z * z / 2) / np.sqrt(2 * np.pi)


@cache
def interpolation(size: int) -> tuple[Array, Array]:
    """Points between the nodes, and the matrix from values at the nodes to the polynomial's values there."""
    t, w = legendre(size)
    between = np.concatenate([t / 2, (1 + t) / 2])
    barycentric = (-1.0) ** np.arange(size) * np.sqrt(t * (1 - t) * w)
    quotients = barycentric / (between[:, None] - t)
    return between, quotients / quotients.sum(axis=1, keepdims=True)


def panels_of(function: Activation) -> Panels:
    """Panels of an activation, corners and what is beside them from the symbolic side."""

    def compiled(side: Side) -> Beside:
        if side.smooth:
            return smooth  # nodes beside it are plain
        return compile_expression((DISTANCE,), _with_numbers(side.formula))

    def smooth(distance: Array) -> Array:
        raise AssertionError("a smooth side is integrated as a plain panel")

    found = tuple(
        Corner(
            float(corner.point),
            (compiled(corner.left), compiled(corner.right)),
            (corner.left.smooth, corner.right.smooth),
            min(0.0, float(corner.left.exponent), float(corner.right.exponent)),
            lcm(corner.left.root, corner.right.root),
        )
        for corner in corners(function.expr, function.variable)
    )
    compiled_function = compile_expression((function.variable,), _with_numbers(function.expr))

    def quiet(x: Array) -> Array:
        with np.errstate(divide="ignore", invalid="ignore"):  # of branches that do not hold
            values: Array = compiled_function(x)
        return values

    def sizes() -> Beside:
        terms = compile_expression((function.variable,), list(map(_with_numbers, function.expr.args)))
        return lambda x: np.asarray(np.sum(np.abs(terms(x)), axis=0))

    return Panels(quiet, found, sizes if function.expr.is_Add else None, polynomials_of(function))


def _with_numbers(expr: Any) -> Any:
    """Roots that are known by brackets as numbers, which every target can print."""
    return expr.xreplace({root: root.evalf(30) for root in expr.atoms(IsolatedRoot)})
