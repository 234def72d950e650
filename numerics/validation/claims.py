r"""Entries of the catalogue: what a published claim is here, and how it is checked.

Each kind derives its value from the weights' variance, so that the control is derived from a wrong one in the same
way, and chooses its samples so that the control is rejected.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np

from numerics.ensembles import Seed
from numerics.statistics import Estimate, convergence_order, richardson, z_error
from numerics.validation.base import (
    CONTROL_LEVEL,
    RIGHT,
    WRONG,
    Array,
    Row,
    number_row,
    spawn,
)
from numerics.validation.extrapolation import Extrapolated, Sizes, extrapolated, small
from numerics.validation.scores import SEEN, Scores, law_scores, score_row

#: The most samples of one size.
MOST_SAMPLES = 2_000_000
Measure = Callable[[int, int, Seed, int], Array]
#: The source of a result that is not published elsewhere.
OWN = "derived by this engine"


@dataclass(frozen=True)
class Number:
    r"""A catalogue entry: a number that the engine derives, and a simulation of finite networks that estimates it.

    The networks have a size, their depth or width, and a bias of order 1/size. It is either extrapolated from sizes
    L and 2L, or measured at sizes so small that it is visible, scaled down, and shown to be below the noise.

    Parameters
    ----------
    name, statement, source : str
        A short name; the claim in one sentence; where it is claimed.
    derive : callable
        The weights' variance to the derived number, by the engine.
    simulate : callable
        (size, samples, seed, workers) to an array, shape (samples,), whose mean is the number.
    size : int
        L.
    extrapolate : bool
        Whether to use L and 2L; then the standard error counts for both.
    slow : bool
        Takes more than a few seconds.
    wrong : callable, optional
        The control's number from the derived one, where the weights' variance has no part in it.
    needs : str
        A package of an extra, without which it cannot be checked.
    """

    name: str
    statement: str
    source: str
    derive: Callable[[Fraction], float]
    simulate: Measure
    size: int
    extrapolate: bool = True
    slow: bool = False
    pilot: int = 4000
    wrong: Callable[[float], float] | None = None
    needs: str = ""

    def check(self, seed: Seed = 0, workers: int = 1, mutate: Callable[[float], float] = float) -> Row:
        """Choose the samples by a pilot run so that the control is rejected, simulate, and test.

        ``mutate`` replaces the derived number, to see that a wrong one is caught.
        """
        seeds = spawn(seed, 4)
        right = self.derive(RIGHT)
        wrong = self.derive(WRONG) if self.wrong is None else self.wrong(right)
        derived, target = mutate(right), z_error(wrong - right, CONTROL_LEVEL)
        small = [
            Estimate.of(self.simulate(size, self.pilot, s, workers))
            for size, s in zip((16, 32), seeds[:2], strict=True)
        ]
        # An extrapolated 2b - a has the variance (4 + 1) times that of each.
        spread = small[1].error * np.sqrt(self.pilot * (5.0 if self.extrapolate else 1.0))
        samples = max(self.pilot, int(np.ceil((spread / target) ** 2)))
        sizes = (self.size, 2 * self.size) if self.extrapolate else (self.size,)
        runs = [
            Estimate.of(self.simulate(size, samples, s, workers)) for size, s in zip(sizes, seeds[2:], strict=False)
        ]
        if self.extrapolate:
            return number_row(self.statement, richardson(*runs), derived, wrong)
        # m_16 - m_32 = c/32, so that the bias at L is c/L.
        bias = 32.0 * abs(small[0].value - small[1].value) / self.size
        return number_row(self.statement, runs[0], derived, wrong, bias)


@dataclass(frozen=True)
class Distribution:
    r"""A catalogue entry: a law on the line that the engine derives.

    Parameters
    ----------
    derive : callable
        The weights' variance to the law, an object with ``cdf`` and ``ppf``.
    simulate : callable
        (depth, samples, seed, workers) to a sample.
    """

    name: str
    statement: str
    source: str
    derive: Callable[[Fraction], Any]
    simulate: Measure
    slow: bool = False

    def check(self, seed: Seed = 0, workers: int = 1, mutate: Callable[[Any], Any] = lambda law: law) -> Row:
        """Choose the samples by the distance of the control, simulate two sizes, and test the extrapolated scores."""
        right, wrong = self.derive(RIGHT), self.derive(WRONG)
        scores = Scores.of_law(self.name, right, wrong)
        if (said := mutate(right)) is not right:
            scores = replace(scores, rank=Scores.of_law(self.name, said, wrong).rank)
        networks = scored(self.simulate, scores, seed, workers)
        return score_row(self.statement, scores, networks, law_scores([scores])[0])


@dataclass(frozen=True)
class Comparison:
    r"""A catalogue entry: a mean that the derived equation has only through its own simulation.

    Parameters
    ----------
    reference : callable
        (variance of the weights, size, samples, seed, workers) to a sample from the derived equation.
    simulate : callable
        (size, samples, seed, workers) to a sample from networks; both are extrapolated from sizes L and 2L.
    """

    name: str
    statement: str
    source: str
    reference: Callable[[Fraction, int, int, Seed, int], Array]
    simulate: Measure
    size: int
    slow: bool = False
    pilot: int = 100_000

    def check(self, seed: Seed = 0, workers: int = 1, mutate: Callable[[float], float] = float) -> Row:
        """Choose the samples by a pilot run so that the control is rejected, simulate both, and test."""
        seeds = spawn(seed, 4)
        right, wrong = (partial(self.reference, variance) for variance in (RIGHT, WRONG))
        # The same noise for both, so that the pilot sees their distance well; its error is taken off, to be safe.
        first, second = (Estimate.of(r(self.size, self.pilot, seeds[0], workers)) for r in (right, wrong))
        distance = max(abs(second.value - first.value) - first.error, first.error)
        samples = _of_two_sizes(first.error / z_error(distance, CONTROL_LEVEL), self.pilot)
        measured = _richardson(self.simulate, self.size, samples, seeds[1], workers)
        derived, control = (
            _richardson(r, self.size, samples, s, workers) for r, s in zip((right, wrong), seeds[2:], strict=True)
        )
        return Row(
            self.statement,
            "z",
            (measured - Estimate(mutate(derived.value), derived.error)).test(0.0),
            (measured - control).test(0.0),
            derived.value,
            control.value,
            measured,
        )


@dataclass(frozen=True)
class AtStart:
    r"""A catalogue entry: a mean that is published as one for all times, and that the engine derives at t = 0 only.

    Its control is the published number: networks at the later time must reject it.

    Parameters
    ----------
    published : callable
        To that number, as the engine derives it at t = 0.
    reference : callable
        (size, samples, seed, workers) to a sample from the derived equation at the later time.
    simulate : callable
        (size, samples, seed, workers) to a sample from networks at that time; both are extrapolated from sizes L and 2L.
    """

    name: str
    statement: str
    source: str
    published: Callable[[], float]
    reference: Measure
    simulate: Measure
    size: int
    slow: bool = False
    pilot: int = 20_000

    def check(self, seed: Seed = 0, workers: int = 1, mutate: Callable[[float], float] = float) -> Row:
        """Choose the samples by a pilot run so that the published number is rejected, simulate both, and test."""
        sides, seeds, published = (self.simulate, self.reference), spawn(seed, 4), self.published()
        networks, limit = (
            Estimate.of(side(self.size, self.pilot, s, workers)) for side, s in zip(sides, seeds[:2], strict=True)
        )
        distance = max(abs(limit.value - published) - limit.error, limit.error)
        noisier = max(networks.error, limit.error)
        samples = _of_two_sizes(noisier / z_error(distance, CONTROL_LEVEL), self.pilot)
        measured, derived = (
            _richardson(side, self.size, samples, s, workers) for side, s in zip(sides, seeds[2:], strict=True)
        )
        return Row(
            self.statement,
            "z",
            (measured - Estimate(mutate(derived.value), derived.error)).test(0.0),
            measured.test(published),
            derived.value,
            published,
            measured,
        )


def _of_two_sizes(ratio: float, pilot: int) -> int:
    """Samples for an error ``ratio`` times smaller than a pilot's, of the difference of two extrapolated means.

    Each is 2b - a, so that the difference has 2 (4 + 1) times the variance of one mean.
    """
    return int(np.ceil(10.0 * pilot * ratio**2))


def _richardson(simulate: Measure, size: int, samples: int, seed: Seed, workers: int) -> Estimate:
    """A mean extrapolated from two sizes."""
    pair = zip((size, 2 * size), spawn(seed, 2), strict=True)
    return richardson(*(Estimate.of(simulate(size, samples, s, workers)) for size, s in pair))


@dataclass(frozen=True)
class Twin:
    r"""A catalogue entry: a law that the derived equation has only through its own simulation.

    Parameters
    ----------
    reference : callable
        (variance of the weights, size, samples, seed, workers) to a sample from the derived equation.
    simulate : callable
        (size, samples, seed, workers) to a sample from networks.
    """

    name: str
    statement: str
    source: str
    reference: Callable[[Fraction, int, int, Seed, int], Array]
    simulate: Measure
    slow: bool = False
    pilot: int = 200_000

    def check(self, seed: Seed = 0, workers: int = 1, mutate: Callable[[Array], Array] = lambda sample: sample) -> Row:
        """Choose the samples by a pilot run, simulate two sizes of both, and test the extrapolated scores."""
        pilot, first, second = spawn(seed, 3)
        # The same noise for both, so that the pilot sees their distance well.
        right, wrong = (self.reference(variance, 64, self.pilot, pilot, workers) for variance in (RIGHT, WRONG))
        scores = Scores.of_paths(self.name, np.ravel, right, wrong)

        def paths(size: int, count: int, seed: Seed, workers: int) -> Array:
            return mutate(self.reference(RIGHT, size, count, seed, workers))

        networks, limit = (
            scored(simulate, scores, one, workers, sides=2)
            for simulate, one in ((self.simulate, first), (paths, second))
        )
        return score_row(self.statement, scores, networks, limit)


@dataclass(frozen=True)
class Rate:
    r"""A catalogue entry: a mean that falls as a power of the size, whose exponent the engine derives.

    Parameters
    ----------
    derive : callable
        To the exponent.
    wrong : float
        The exponent of the control.
    simulate : callable
        (size, samples, seed, workers) to a sample whose mean falls.
    sizes : tuple of int
        Each twice the one before.
    samples : int
        At each size.
    """

    name: str
    statement: str
    source: str
    derive: Callable[[], float]
    wrong: float
    simulate: Measure
    sizes: tuple[int, ...]
    samples: int
    slow: bool = False

    def check(self, seed: Seed = 0, workers: int = 1, mutate: Callable[[float], float] = float) -> Row:
        """Fit the exponent, the sizes' next power taken along, and test."""
        means = [
            Estimate.of(self.simulate(size, self.samples, s, workers))
            for size, s in zip(self.sizes, spawn(seed, len(self.sizes)), strict=True)
        ]
        fitted = convergence_order(self.sizes, means)
        return number_row(self.statement, fitted.order, mutate(self.derive()), self.wrong)


def scored(simulate: Measure, scores: Scores, seed: Seed, workers: int, sides: int = 1) -> Extrapolated:
    """Mean scores of samples of two sizes, extrapolated, so many that the control is seen, of sizes whose bias is below the noise."""
    needed = sides * SEEN / scores.noncentrality
    for size in (16, 32, 64, 128):
        sizes = Sizes.of((size, 2 * size), needed, float, MOST_SAMPLES)
        (means,) = extrapolated(lambda size, count, one: simulate(size, count, one, workers), [scores], sizes, seed)
        if small([means], needed):
            break
    return means


Claim = Number | Distribution | Comparison | AtStart | Twin | Rate
