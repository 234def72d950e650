r"""Means of products over pairs of neurons from their Hermite coefficients, :math:`\mathbb{E} f(U) g(V) = \sum_n f_n g_n \rho^n`.

What the sum to n leaves out is bounded by :math:`|\rho|^{n+1}` times the roots of what both mean squares have beyond it. In a block most pairs need
few terms; the others are listed, and summed further. Where the series is too long, piecewise polynomials have closed forms (``quadrants``), and the
others are integrated over what both neurons share (``shared``).
"""

from __future__ import annotations

from collections.abc import Callable
from time import process_time
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from numerics.kernels.conditioning import Pair
from numerics.kernels.conditioning import pair_means as conditioned
from numerics.kernels.hermite import TERMS, Coefficients, coefficients
from numerics.kernels.panels import Panels
from numerics.kernels.quadrants import Neurons, quadrant_means
from numerics.kernels.shared import One, shared_means

Array = NDArray[np.float64]
Whole = NDArray[np.intp]

#: What a mean may be off, relative to the roots of the mean squares.
TOLERANCE = 1e-12
_CUT = 1e-14  # what terms that are left out may add, likewise
_SHORT = (8, 16, 24, 32, 40, 48, 64, 80, 96, 128, 160, TERMS)
_LISTED = 4  # how much more a term costs for a pair in a list
_AT_ONCE = 1 << 20
_MANY, _TIMED = 1000, 50  # pairs whose time is asked for, and how many of them are timed
_EVALUATIONS, _LONGEST = 40, 0.5  # of the rates of a pair, at least, and hours
_NOTHING = 1e-14  # of the root of E f², in a coefficient of the other parity


class Side(NamedTuple):
    """A function of neurons, their means and deviations, and the coefficients."""

    panels: Panels
    mean: Array
    deviation: Array
    found: Coefficients

    @classmethod
    def of(cls, panels: Panels, mean: Array, deviation: Array) -> Side:
        """With its first coefficients."""
        return cls(panels, mean, deviation, coefficients(panels, mean, deviation))


def block_means(
    left: Side,
    right: Side,
    rows: slice,
    columns: slice,
    rho: Array,
    skip: NDArray[np.bool_] | None = None,
    closed: Callable[..., Array] | None = None,
) -> Array:
    """The means of a block of pairs.

    Parameters
    ----------
    rho : array
        Their correlations.
    skip : array of bool, optional
        Pairs whose mean is not asked for.
    closed : callable, optional
        From mean and variance to the mean of the right function, where it is known.
    """
    size = np.abs(rho)
    last = left.found.last(right.found)
    shares = np.sqrt(left.found.shares * right.found.shares)
    cuts = [n for n in _SHORT if n < last] + [last]
    reached = [
        _root(shares[n + 1] if n < TERMS else 0.0, n, _CUT) for n in cuts
    ]  # the last one leaves out what ``beyond`` is asked about
    beyond = [np.count_nonzero(size > r) for r in reached]
    best = int(np.argmin([n * rho.size + _LISTED * last * count for n, count in zip(cuts, beyond, strict=True)]))
    total = _summed(left.found, right.found, rows, columns, rho, cuts[best])
    far = size > reached[best]
    tails = left.found.tails.any() and right.found.tails.any()
    if tails:
        far |= size > np.multiply.outer(left.found.reach(TOLERANCE)[rows], right.found.reach(TOLERANCE)[columns])
    if skip is not None:
        far &= ~skip
    if far.any():
        i, j = np.nonzero(far)
        total[far] = listed_means(
            left,
            right,
            np.arange(len(left.mean))[rows][i],
            np.arange(len(right.mean))[columns][j],
            rho[far],
            closed,
        )
    return total


def _root(share: float, n: int, tolerance: float) -> float:
    """The correlation up to which a sum to n leaves out less than the tolerance."""
    return 2.0 if share <= tolerance else float((tolerance / share) ** (1 / (n + 1)))


def listed_means(
    left: Side, right: Side, i: Whole, j: Whole, rho: Array, closed: Callable[..., Array] | None = None
) -> Array:
    """The means of pairs side by side, neuron i of the left ones with neuron j of the right ones."""
    total = _dotted(left.found, right.found, i, j, rho)
    far = np.flatnonzero(_left_out(left.found, right.found, i, j, rho) > TOLERANCE)
    if not len(far):
        return total
    if len(far) > _MANY:
        _require_time(left, right, i[far], j[far], rho[far], closed)
    total[far] = _strong(left, right, i[far], j[far], rho[far], closed)
    return total


def _strong(left: Side, right: Side, i: Whole, j: Whole, rho: Array, closed: Callable[..., Array] | None) -> Array:
    """The means of pairs of which a series would be too long."""
    sides = One(left.panels, left.mean[i], left.deviation[i]), One(right.panels, right.mean[j], right.deviation[j])
    found = _of_polynomials(*sides, rho, TOLERANCE * np.sqrt(left.found.scale[i] * right.found.scale[j]))
    lost = np.flatnonzero(np.isnan(found))
    if len(lost):
        found[lost] = shared_means(sides[0].some(lost), sides[1].some(lost), rho[lost], closed is not None)
    lost = np.flatnonzero(np.isnan(found))
    if len(lost):
        one, other = (side.some(lost) for side in sides)
        pair = Pair(one.mean, one.deviation, other.mean, other.deviation, rho[lost])
        found[lost] = conditioned(left.panels, right.panels, pair, closed)
    return found


def _of_polynomials(left: One, right: One, rho: Array, most: Array) -> Array:
    """The means of piecewise polynomials, where rounding leaves enough of their closed forms; else NaN."""
    one, other = left.panels.polynomials, right.panels.polynomials
    if one is None or other is None:
        return np.full(len(rho), np.nan)
    return quadrant_means(
        Neurons(one, left.mean, left.deviation), Neurons(other, right.mean, right.deviation), rho, most
    )


def _require_time(left: Side, right: Side, i: Whole, j: Whole, rho: Array, closed: Callable[..., Array] | None) -> None:
    """Refuse integrals of so many pairs that a flow, which asks for them at each of its steps, would take hours."""
    some, begin = slice(None, None, len(rho) // _TIMED), 0.0
    for _ in range(2):  # the first makes tables that all share
        begin = process_time()
        _strong(left, right, i[some], j[some], rho[some], closed)
    hours = (process_time() - begin) / len(rho[some]) * len(rho) * _EVALUATIONS / 3600
    if hours > _LONGEST:
        raise ValueError(
            f"the kernels of {len(rho)} pairs of inputs, of deviations up to {max(left.deviation.max(), right.deviation.max()):.3g} and correlations "
            f"up to {np.abs(rho).max():.9g}, would take about {hours:.1g} hours: so near to each other against what the activation "
            "bends in, each is an integral of its own; scale the inputs down or centre them, give fewer, or put a norm before the activation"
        )


def _left_out(first: Coefficients, second: Coefficients, i: Whole, j: Whole, rho: Array) -> Array:
    """What the series of pairs leave out, at most, by the roots of both mean squares."""
    scale = first.scale[i] * second.scale[j]
    share = np.divide(first.tails[i] * second.tails[j], scale, out=np.zeros_like(rho), where=scale > 0)
    found: Array = np.sqrt(share) * np.abs(rho) ** first.terms.shape[1]
    return found


def _summed(first: Coefficients, second: Coefficients, rows: slice, columns: slice, rho: Array, last: int) -> Array:
    one, other = first.terms.T[: last + 1], second.terms.T[: last + 1]
    parity = _parity(first)
    if parity is not None and first is not second and _parity(second) != parity:
        parity = None
    if first.alike and second.alike:
        return polynomial(one[:, 0] * other[:, 0], rho)
    if parity is not None:
        one, other = one[parity::2], other[parity::2]
    by = rho if parity is None else rho * rho
    total = np.zeros_like(rho)
    term = np.empty_like(rho)
    for left, right in zip(one[::-1, rows], other[::-1, columns], strict=True):
        total *= by
        total += np.multiply.outer(left, right, out=term)
    return total * rho if parity == 1 else total


def _parity(found: Coefficients) -> int | None:
    """1 if only odd terms add anything, 0 if only even ones do."""
    for k in (0, 1):
        if not len(found.scale) or np.all(
            np.abs(found.terms[:, 1 - k :: 2]) <= _NOTHING * np.sqrt(found.scale)[:, None]
        ):
            return k
    return None


def _dotted(first: Coefficients, second: Coefficients, i: Whole, j: Whole, rho: Array) -> Array:
    """The sums of pairs side by side, in stretches of terms."""
    total, stretch = np.empty_like(rho), 64
    count = first.last(second) + 1
    step = max(1, _AT_ONCE // count)
    for start in range(0, len(rho), step):
        some = slice(start, start + step)
        product = first.terms[i[some], :count] * second.terms[j[some], :count]
        powers = np.vander(rho[some], min(stretch, count), increasing=True)
        whole, rest = divmod(count, stretch)
        found = np.einsum("pn,pn->p", product[:, whole * stretch :], powers[:, :rest])
        if whole:
            parts = np.einsum("pkn,pn->pk", product[:, : whole * stretch].reshape(-1, whole, stretch), powers)
            by = powers[:, -1] * rho[some]
            for part in parts.T[::-1]:
                found = found * by + part
        total[some] = found
    return total


def polynomial(series: Array, x: Array) -> Array:
    """Horner's rule, in squares for even and for odd polynomials."""
    small = 1e-17 * np.abs(series).max(initial=0.0)
    parity = [k for k in (0, 1) if np.all(np.abs(series[1 - k :: 2]) <= small)]
    by, kept = (x * x, series[parity[0] :: 2]) if parity else (x, series)
    total = np.zeros_like(x)
    for c in kept[::-1]:
        total *= by
        total += c
    return total * x if parity == [1] else total
