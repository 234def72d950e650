r"""Entries of the catalogue: what a published claim is here, and how it is checked.

Each kind derives its value from the weights' variance, so that the control is derived from a wrong one in the same
way, and chooses its samples so that the control is rejected.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np

from numerics.ensembles import Seed
from numerics.statistics import Estimate, ks_samples, richardson, z_error
from numerics.validation.base import (
    CONTROL_LEVEL,
    RIGHT,
    WRONG,
    Array,
    Row,
    bias_rate,
    control_distance,
    depth_below_noise,
    distribution_row,
    ks_noise,
    number_row,
    spawn,
)

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

    def check(self, seed: Seed = 0, workers: int = 1, mutate: Callable[[float], float] = float) -> Row:
        """Choose the samples by a pilot run so that the control is rejected, simulate, and test.

        ``mutate`` replaces the derived number, to see that a wrong one is caught.
        """
        seeds = spawn(seed, 4)
        right, wrong = self.derive(RIGHT), self.derive(WRONG)
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
        """Choose samples and depth by the distance of the control and a pilot run, simulate, and test."""
        first, second = spawn(seed, 2)
        law, wrong = self.derive(RIGHT), self.derive(WRONG)
        samples = ks_samples(control_distance(law, wrong), CONTROL_LEVEL)

        def sample(depth: int, count: int, seed: Seed) -> Array:
            return self.simulate(depth, count, seed, workers)

        rate = bias_rate(sample, samples, first)
        depth = depth_below_noise(rate, ks_noise(samples))
        return distribution_row(
            self.statement, sample(depth, samples, second), mutate(law).cdf, wrong.cdf, rate / depth
        )


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

        def extrapolated(simulate: Measure, samples: int, seed: Seed) -> Estimate:
            pair = zip((self.size, 2 * self.size), spawn(seed, 2), strict=True)
            return richardson(*(Estimate.of(simulate(size, samples, s, workers)) for size, s in pair))

        right, wrong = (partial(self.reference, variance) for variance in (RIGHT, WRONG))
        # The same noise for both, so that the pilot sees their distance well; its error is taken off, to be safe.
        first, second = (Estimate.of(r(self.size, self.pilot, seeds[0], workers)) for r in (right, wrong))
        distance = max(abs(second.value - first.value) - first.error, first.error)
        # The difference of two extrapolated means, each 2b - a, has 2 (4 + 1) times the variance of one.
        spread = first.error * np.sqrt(10.0 * self.pilot)
        samples = int(np.ceil((spread / z_error(distance, CONTROL_LEVEL)) ** 2))
        measured = extrapolated(self.simulate, samples, seeds[1])
        derived, control = (extrapolated(r, samples, s) for r, s in zip((right, wrong), seeds[2:], strict=True))
        return Row(
            self.statement,
            "z",
            (measured - Estimate(mutate(derived.value), derived.error)).test(0.0),
            (measured - control).test(0.0),
            derived.value,
            control.value,
            measured,
        )


Claim = Number | Distribution | Comparison
