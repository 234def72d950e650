"""Scores of Neyman's smooth test: orthonormal polynomials of the rank of a statistic, in networks, along paths and by a law."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.polynomial import legendre
from scipy import special

from numerics.ensembles import Seed
from numerics.statistics import Test
from numerics.validation.base import Array, Row
from numerics.validation.extrapolation import LARGER, MOST, MOST_PATHS, Extrapolated, Sizes, extrapolated, small
from numerics.validation.subjects import RANKED, Setting

#: Polynomials of a smooth test.
DEGREES = 4
#: The noncentrality at which a control is rejected at its level, but for three standard deviations of the statistic.
SEEN = 75.0
#: Steps of paths, extrapolated from so many and twice as many.
_STEPS = 16
#: Values at which the distribution function of many is taken, and by how much it rises between two where it is asked for.
_KNOTS, _STEEP = 8192, 1e-3


@dataclass(frozen=True)
class Scores:
    """Orthonormal polynomials of the rank of a statistic, among paths of the limit or by its law.

    Parameters
    ----------
    name : str
    function : callable
        The statistic.
    rank : callable
        From its values to their ranks, from -1 to 1.
    shift : array, shape (degrees,)
        The mean scores of the control, those of the limit being 0.
    """

    name: str
    function: Callable[[Array], Array]
    rank: Callable[[Array], Array]
    shift: Array

    @property
    def noncentrality(self) -> float:
        """Of one sample of the control."""
        return float(self.shift @ self.shift)

    def __call__(self, x: Array) -> Array:
        """Scores, shape (samples, degrees)."""
        with np.errstate(all="ignore"):
            return _polynomials(self.rank(self.function(x)))

    @classmethod
    def of_paths(cls, name: str, function: Callable[[Array], Array], right: Array, wrong: Array) -> Scores:
        """From paths of the limit and of its control, driven by the same noise."""
        with np.errstate(all="ignore"):
            first, second = function(right), function(wrong)
        ranked = np.sort(first)

        def rank(values: Array) -> Array:
            both = np.searchsorted(ranked, values, "left") + np.searchsorted(ranked, values, "right")
            return np.asarray(both / len(ranked) - 1.0)

        return cls(name, function, rank, (_polynomials(rank(second)) - _polynomials(rank(first))).mean(axis=0))

    @classmethod
    def of_law(cls, name: str, right: Any, wrong: Any) -> Scores:
        """From the law of the first number."""

        def rank(values: Array) -> Array:
            return np.asarray(2.0 * of_many(right.cdf, values) - 1.0)

        quantiles = wrong.ppf((np.arange(2000) + 0.5) / 2000)
        return cls(name, lambda x: x.reshape(len(x), -1)[:, 0], rank, _polynomials(rank(quantiles)).mean(axis=0))


def of_many(cdf: Callable[[Array], Array], values: Array) -> Array:
    """A distribution function of many values, by its own at some of them: between two it is monotone, and asked for where it rises by much.

    Examples
    --------
    >>> x = np.random.default_rng(0).standard_normal(100_000)
    >>> float(np.max(np.abs(of_many(special.ndtr, x) - special.ndtr(x)))) < 1e-4
    True
    """
    if len(values) < 4 * _KNOTS or not np.isfinite(values).all():
        return np.asarray(cdf(values))
    ordered = np.sort(values)
    knots = np.unique(ordered[np.linspace(0, len(values) - 1, _KNOTS).astype(int)])
    known = np.asarray(cdf(knots))
    found = np.interp(values, knots, known)
    rises = np.append(np.diff(known), 0.0)  # at the last knot itself
    steep = rises[np.searchsorted(knots, values, side="right") - 1] > _STEEP
    if steep.any():
        found[steep] = cdf(values[steep])
    return found


def _polynomials(ranks: Array) -> Array:
    table = legendre.legvander(ranks, DEGREES)[:, 1:]
    return np.asarray(table * np.sqrt(2.0 * np.arange(1, DEGREES + 1) + 1.0))


def most_powerful(s: Setting) -> list[Scores]:
    """Of each group the statistic with the most power against the control, without groups that have hardly any."""
    if s.by_law:
        return [Scores.of_law(str(s.limit.states[0]), s.exact, s.wrong)]
    right, wrong = s.ranked, s.paths(s.control, 32, RANKED, 0)  # driven by the same noise
    best = [
        max((Scores.of_paths(name, f, right, wrong) for name, f in group), key=lambda one: one.noncentrality)
        for group in s.statistics
    ]
    enough = [one for one in best if one.noncentrality * MOST > 5.0 * SEEN]
    return enough or [max(best, key=lambda one: one.noncentrality)]


def needed_samples(s: Setting, shown: Sequence[Scores]) -> float:
    """Samples that see the control.

    Raises
    ------
    ValueError
        If none do.
    """
    least = min(one.noncentrality for one in shown)
    if not least > 1e-12:
        raise ValueError(
            f"the control is not seen from {s.start.ravel()[:3].tolist()} at t = {s.t:g}: the law there is narrower, or wider, than doubles "
            "tell; choose a start and a t of moderate size"
        )
    return SEEN / least


def law_scores(shown: Sequence[Scores]) -> list[Extrapolated]:
    """Mean scores of a law: 0, without an error."""
    zero, matrix = np.zeros(DEGREES), np.zeros((DEGREES, DEGREES))
    return [Extrapolated(zero, matrix, zero, zero, matrix) for _ in shown]


def paths_of_limit(s: Setting, shown: Sequence[Scores], needed: float, seed: Seed) -> list[Extrapolated]:
    """Mean scores of the limit: 0 by its law, else those of paths, extrapolated in their steps."""
    if s.by_law:
        return law_scores(shown)
    for steps in (_STEPS * 2**k for k in range(LARGER)):
        sizes = Sizes.of((steps, 2 * steps), 4.0 * needed, float, MOST_PATHS)
        paths = extrapolated(lambda steps, count, one: s.paths(s.limit, steps, count, one), shown, sizes, seed)
        if small(paths, needed):
            break
    return paths


def score_row(claim: str, scores: Scores, net: Extrapolated, path: Extrapolated) -> Row:
    """The smooth test of networks' mean scores against those of the limit, and of its control."""
    gap, covariance = net.mean - path.mean, net.covariance + path.covariance
    test, control = (_quadratic(g, covariance) for g in (gap, gap - scores.shift))
    left = float(np.linalg.norm(net.left) + np.linalg.norm(path.left))
    return Row(claim, "χ²", test, control, bias=left, noise=float(np.sqrt(np.trace(covariance) / DEGREES)))


def _quadratic(gap: Array, covariance: Array) -> Test:
    """Hotelling's; a direction in which the samples do not vary counts only where they lie beside what is expected."""
    values, vectors = np.linalg.eigh(covariance)
    least = max(1e-9 * values[-1], 1e-18)
    squares = (vectors.T @ gap) ** 2
    kept = (values > least) | (squares > 30.0 * least)
    statistic = float(np.sum(squares[kept] / np.maximum(values[kept], least)))
    return Test(statistic, float(special.chdtrc(np.count_nonzero(kept), statistic)))
