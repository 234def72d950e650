r"""Means of products of piecewise polynomials over pairs of neurons, in closed form.

A piecewise polynomial is its piece around the neuron's mean, and at each point where it changes, outwards, what is added beyond. So the mean of
a product is a sum of :math:`\mathbb{E} (X-h)_+^a (Y-k)_+^b`. By Stein's lemma, :math:`\mathbb{E} X g = \mathbb{E} \partial_x g + \rho\,\mathbb{E}
\partial_y g`, powers follow from lower ones and from :math:`P(X>h, Y>k)`, which is Owen's function T. What the sums may lose to rounding is
counted along, and where that is too much the mean is not given.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

from derivations.activations import Activation
from derivations.errors import DerivationError

Array = NDArray[np.float64]

_DEGREE = 4  # of the polynomials, at most
_POINTS = 8  # where the function changes, at most
_ROUNDING = 1.2e-16  # measured: what is lost is a third of this times the sizes, or less
_ONE = 4e-16  # how near to 1 a correlation is taken for 1


class Polynomials(NamedTuple):
    """A piecewise polynomial: where it changes, and the coefficients of each piece, the constant first."""

    points: tuple[float, ...]
    pieces: tuple[tuple[float, ...], ...]


class Neurons(NamedTuple):
    """A piecewise polynomial of neurons, their means and deviations."""

    function: Polynomials
    mean: Array
    deviation: Array

    def some(self, which: NDArray[np.intp]) -> Neurons:
        """Some of the neurons."""
        return self._replace(mean=self.mean[which], deviation=self.deviation[which])


def polynomials_of(function: Activation) -> Polynomials | None:
    """The pieces of a function; None where some are no polynomials of low degree with known numbers."""
    try:
        points, series = [part.left for part in function.pieces[1:]], function.coefficients
    except DerivationError:
        return None
    if series is None or len(series) > _POINTS + 1 or function.expr.free_symbols - {function.variable}:
        return None
    if any(len(one) > _DEGREE + 1 for one in series):
        return None
    return Polynomials(tuple(map(float, points)), tuple(tuple(map(float, one)) for one in series))


def quadrant_means(left: Neurons, right: Neurons, rho: Array, most: Array) -> Array:
    """The means of products of pairs side by side; NaN where rounding may take more than is allowed.

    Parameters
    ----------
    rho : array
        Their correlations.
    most : array
        What each may be off.
    """
    found = np.full(len(rho), np.nan)
    known = 1.0 - np.abs(rho) > _ONE
    around = [np.searchsorted(one.function.points, one.mean, "right") for one in (left, right)]
    for place in np.unique(np.stack(around)[:, known], axis=1).T:
        some = np.flatnonzero(known & (around[0] == place[0]) & (around[1] == place[1]))
        mean, size = _summed(left.some(some), right.some(some), rho[some], place)
        found[some] = np.where(size * _ROUNDING <= most[some], mean, np.nan)
    return found


class _Beyond(NamedTuple):
    """What a function has beyond a point: ``sum of terms[a] (s X - h)^a`` where that is positive, or everywhere; X is standard."""

    terms: list[Array]
    at: Array
    sign: float
    everywhere: bool


def _summed(left: Neurons, right: Neurons, rho: Array, place: Array) -> tuple[Array, Array]:
    """The means, and the sums of the sizes of what is added up."""
    total, size = np.zeros(len(rho)), np.zeros(len(rho))
    with np.errstate(all="ignore"):
        for one in _beyond(left, int(place[0])):
            for other in _beyond(right, int(place[1])):
                moments = _moments(one, other, rho * one.sign * other.sign)
                for a, first in enumerate(one.terms):
                    for b, second in enumerate(other.terms):
                        mean, its = moments[a][b]
                        total += first * second * mean
                        size += np.abs(first * second) * its
    return total, size


def _beyond(one: Neurons, place: int) -> list[_Beyond]:
    """The piece around the means everywhere, and at each other point, outwards, what the next piece adds."""
    points, pieces = one.function
    found = [_from(np.array(pieces[place]), one.mean, one, 1.0, True)]
    for k, point in enumerate(points):
        inner, outer, sign = (k, k + 1, 1.0) if k >= place else (k + 1, k, -1.0)
        added: Array = np.asarray(np.polynomial.polynomial.polysub(pieces[outer], pieces[inner]), dtype=float)
        found.append(_from(added, np.full(len(one.mean), point), one, sign, False))
    return found


def _from(series: Array, at: Array, one: Neurons, sign: float, everywhere: bool) -> _Beyond:
    """A polynomial by powers of the standardised distance from places."""
    terms, factor = [], np.ones(len(at))
    for a in range(len(series)):
        derivative = np.polynomial.polynomial.polyder(series, a)
        terms.append(np.polynomial.polynomial.polyval(at, derivative) * factor)
        factor = factor * sign * one.deviation / (a + 1)
    return _Beyond(terms, sign * (at - one.mean) / one.deviation, sign, everywhere)


_Sized = tuple[Array, Array]  # a number, and the size of what it is a sum of


def _moments(one: _Beyond, other: _Beyond, rho: Array) -> list[list[_Sized]]:
    """``E (X - h)^a (Y - k)^b`` on a quadrant, half-plane or everywhere, for all powers, and their sizes."""
    h, k = one.at, other.at
    left = np.sqrt((1.0 - rho) * (1.0 + rho))
    apart = np.where(rho > 0, k - h, k + h)  # exact where both are alike and the correlation is near to 1 or -1
    given = (
        (apart + np.where(rho > 0, 1.0 - rho, -1.0 - rho) * h) / left,  # how far k is, given X = h
        (np.where(rho > 0, -apart, apart) + np.where(rho > 0, 1.0 - rho, -1.0 - rho) * k) / left,
    )
    nothing = [(np.zeros_like(rho), np.zeros_like(rho))] * max(len(one.terms), len(other.terms))
    edges = []  # of powers of the other one's distance, where one of them is at its point
    for this, that, far in ((one, other, given[0]), (other, one, given[1])):
        density = np.exp(-this.at * this.at / 2) / np.sqrt(2 * np.pi)
        powers = _powers(far, len(that.terms), that.everywhere)
        edges.append(
            nothing
            if this.everywhere
            else [(density * left**b * m, density * left**b * s) for b, (m, s) in enumerate(powers)]
        )
    found: list[list[_Sized]] = [[_probability(one, other, rho, given)]]
    for b in range(len(other.terms) - 1):
        before = (b, found[0][b - 1]) if b else (1, edges[1][0])
        found[0].append(_stepped((-k, found[0][b]), before, (rho, edges[0][b])))
    for a in range(len(one.terms) - 1):
        row = []
        for b in range(len(other.terms)):
            before = (a, found[a - 1][b]) if a else (1, edges[0][b])
            across = (rho * b, found[a][b - 1]) if b else (rho, edges[1][a])
            row.append(_stepped((-h, found[a][b]), before, across))
        found.append(row)
    return found


def _stepped(*parts: tuple[Array | float, _Sized]) -> _Sized:
    """A sum of multiples, and of their sizes."""
    mean, size = np.zeros(1), np.zeros(1)
    for factor, (value, its) in parts:
        mean, size = mean + factor * value, size + np.abs(factor) * its
    return mean, size


def _powers(h: Array, count: int, everywhere: bool) -> list[_Sized]:
    """``E (Z - h)^b`` beyond h, or everywhere."""
    whole, density = np.ones_like(h), np.exp(-h * h / 2) / np.sqrt(2 * np.pi)
    zeroth = whole if everywhere else special.ndtr(-h)
    edge = np.zeros_like(h) if everywhere else density
    found: list[_Sized] = [(zeroth, zeroth)]
    for b in range(count - 1):
        found.append(_stepped((-h, found[b]), (b, found[b - 1]) if b else (1.0, (edge, edge))))
    return found


def _probability(one: _Beyond, other: _Beyond, rho: Array, given: tuple[Array, Array]) -> _Sized:
    """``P(X > h, Y > k)``, and the size of what it is a sum of."""
    h, k = one.at, other.at
    if one.everywhere or other.everywhere:
        alone = np.ones_like(h) if one.everywhere and other.everywhere else special.ndtr(-(k if one.everywhere else h))
        return alone, alone
    both = (special.ndtr(-h) + special.ndtr(-k)) / 2
    tails = np.zeros_like(h)
    corner = np.sqrt((1.0 - rho) / (1.0 + rho))
    for at, far in zip((h, k), given, strict=True):  # outwards, so no place is negative
        slope = np.where(at > 0, far / at, np.where(h + k > 0, np.copysign(np.inf, far), corner))
        tails += special.owens_t(at, slope)
    return both - tails, both + np.abs(tails)
