r"""Multilevel Monte Carlo: most paths on coarse grids, few on fine ones.

.. math:: \mathbb{E}f(X^{(L)}) = \mathbb{E}f(X^{(0)}) + \sum_{l=1}^{L} \mathbb{E}\big[f(X^{(l)}) - f(X^{(l-1)})\big]

with both paths of a difference along the same Brownian motions. With the variance :math:`V_l` of level l and the cost
:math:`C_l` of one sample, the least cost for a given variance is at :math:`N_l \propto \sqrt{V_l/C_l}` (Lagrange).

References
----------
M. B. Giles, *Multilevel Monte Carlo path simulation*, Operations Research 56 (2008).
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from derivations.diffusion import Limit
from numerics.ensembles import Seed, seed_sequence, stream_ensemble
from numerics.ensembles.stream import Task
from numerics.expectations.budget import Budget
from numerics.schemes import Scheme
from numerics.schemes.base import Advance, Couple

Array = NDArray[np.float64]
Function = Callable[[Array], Array]

COARSEST = 2  # steps on level 0
PILOT = 4096  # samples from which a level's variance is first known
_MOST_SAMPLES = 1e12
_FINEST = 14  # levels: 2¹⁵ steps
_BLOCK = 1 << 13


def affordable(samples: float, tol: float) -> int:
    """So many samples, rounded up.

    Raises
    ------
    ValueError
        Where they would not end.
    """
    if not samples <= _MOST_SAMPLES:
        raise ValueError(
            f"an error of {tol:.2g} takes about {samples:.1e} samples; give a larger tol, or a function that varies less"
        )
    return int(np.ceil(samples))


@dataclass(frozen=True)
class Problem:
    """What is to be estimated: the mean of a function of the states at time t, of paths from x0."""

    limit: Limit
    function: Function
    start: Array
    t: float

    def starts(self, count: int) -> Array:
        """A block of starts."""
        return np.array(np.broadcast_to(self.start, (count, *self.start.shape)))

    def values(self, states: Array) -> Array:
        """The function at states of a block."""
        values = np.asarray(self.function(states.reshape(len(states), -1)), dtype=float)
        if values.shape != (len(states),):
            raise ValueError(
                f"the function must give one number for each of {len(states)} samples, got shape {values.shape}"
            )
        return values


_LARGEST = 1e150


class Exploded(ValueError):
    """The mean of a function that is infinite, or no number, on some paths."""


def finite(values: np.ndarray, steps: int) -> np.ndarray:
    """The values themselves.

    Raises
    ------
    Exploded
        If some are not finite, or have no finite square.
    """
    lost = int(np.count_nonzero(~(np.abs(values.reshape(len(values), -1)) < _LARGEST).all(axis=1)))
    if lost:
        raise Exploded(
            f"the function is infinite, no number or beyond {_LARGEST:g} on {lost} of {len(values)} paths of {steps} steps, which exploded: "
            "its mean is not estimated; take a shorter time or a bounded function, and count_outcomes to count them"
        )
    return values


@dataclass(frozen=True)
class _LevelBlock:
    """Sums over one block of a level's samples; pickles by what it is made from."""

    problem: Problem
    scheme: Scheme
    level: int

    @cached_property
    def _couple(self) -> Couple:
        return self.scheme.couple(self.problem.limit)

    @cached_property
    def _advance(self) -> Advance:
        return self.scheme.prepare(self.problem.limit)

    def __call__(self, first: int, count: int, rng: np.random.Generator) -> tuple[int, float, float]:
        steps, x = COARSEST << self.level, self.problem.starts(count)
        with np.errstate(all="ignore"):
            if self.level == 0:
                values = self.problem.values(self._advance(x, 0.0, self.problem.t, steps, rng))
            else:
                fine, coarse = self._couple(x, 0.0, self.problem.t / steps, steps, rng)
                values = self.problem.values(fine) - self.problem.values(coarse)
        values = finite(values, steps)
        # about the block's own mean, so that no digits are lost in the variance
        return count, float(values.mean()), float(((values - values.mean()) ** 2).sum())

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.problem, self.scheme, self.level)


@dataclass
class Level:
    """Running moments of one level."""

    steps: int
    cost: float
    count: int = 0
    mean: float = 0.0
    squares: float = 0.0
    rounds: int = field(default=0)

    @property
    def variance(self) -> float:
        """Of one sample."""
        return self.squares / max(1, self.count - 1)

    def add(self, count: int, mean: float, squares: float) -> None:
        """Join the moments of another batch (Chan, Golub and LeVeque)."""
        total, gap = self.count + count, mean - self.mean
        self.squares += squares + gap * gap * self.count * count / total
        self.mean += gap * count / total
        self.count = total


class Levels:
    """The levels of one problem under one scheme, refined until an error is reached."""

    def __init__(self, problem: Problem, scheme: Scheme, seed: Seed, workers: int | Executor) -> None:
        self.problem, self.scheme, self.name = problem, scheme, scheme.name
        self.open(seed, workers, scheme.weak_order_on(problem.limit))

    def open(self, seed: Seed, workers: int | Executor, order: float) -> None:
        """Nothing drawn yet; the order is that of the bias in one over the number of steps."""
        self.root, self.workers, self.order = seed_sequence(seed), workers, order
        self.levels: list[Level] = []

    def task(self, level: int) -> Task:
        """What makes the sums over one block of a level."""
        return _LevelBlock(self.problem, self.scheme, level)

    def extend(self) -> None:
        """Open the next level and measure it."""
        level = len(self.levels)
        steps = COARSEST << level
        self.levels.append(Level(steps, steps * (1.5 if level else 1.0)))
        self.sample(level, PILOT)

    def sample(self, level: int, count: int) -> None:
        """Add fresh samples to a level."""
        here = self.levels[level]
        key = (*self.root.spawn_key, level, here.rounds)
        here.rounds += 1
        seed = np.random.SeedSequence(self.root.entropy, spawn_key=key)
        for _, sums in stream_ensemble(self.task(level), count, _BLOCK, seed, self.workers):
            here.add(*sums)

    @property
    def bias(self) -> float:
        """What the last level leaves: its mean, the two before carried to it, and their noise, over 2ᵖ − 1."""
        ratio = 2.0**self.order
        carried = []
        for back, level in enumerate(reversed(self.levels[1:][-3:])):
            noise = np.sqrt(level.variance / level.count)
            carried.append((abs(level.mean) + noise) / ratio**back)
        return max(carried) / (ratio - 1.0) if carried else np.inf

    def bias_at(self, steps: int, samples: int = PILOT) -> float:
        """The bias of a grid of its own, from one difference to the grid of twice its step."""
        if steps % 2:
            steps += 1
        couple, rng = self.scheme.couple(self.problem.limit), np.random.default_rng(self.root)
        fine, coarse = couple(self.problem.starts(samples), 0.0, self.problem.t / steps, steps, rng)
        gap = self.problem.values(fine) - self.problem.values(coarse)
        return float((abs(gap.mean()) + gap.std() / np.sqrt(samples)) / (2.0**self.order - 1.0))

    def wanted(self, tol: float) -> list[int]:
        """Samples a level for a variance of tol²/2 at least cost."""
        total = sum(np.sqrt(level.variance * level.cost) for level in self.levels)
        return [affordable(2 / tol / tol * np.sqrt(v.variance / v.cost) * total, tol) for v in self.levels]

    def predicted_cost(self, tol: float) -> float:
        """Path-steps to an error, from what the levels opened so far say: rates beyond them are carried on."""
        spent = sum(np.sqrt(level.variance * level.cost) for level in self.levels) ** 2 * 2 / tol**2
        last = self.levels[-1]
        missing = max(0.0, np.log2(max(self.bias * np.sqrt(2.0) / tol, 1e-300)) / self.order)
        return float(spent + PILOT * last.cost * (2.0 ** (np.ceil(missing) + 1) - 2))

    def run(self, tol: float) -> Budget:
        """Refine until statistical error and bias are each below tol/√2.

        Raises
        ------
        ValueError
            If the finest level does not suffice.
        """
        while len(self.levels) < 3:
            self.extend()
        while True:
            for index, count in enumerate(self.wanted(tol)):
                missing = count - self.levels[index].count
                if missing > 0:
                    self.sample(index, missing)
            enough = all(c <= 1.01 * v.count + 1 for c, v in zip(self.wanted(tol), self.levels, strict=True))
            if enough and self.bias <= tol / np.sqrt(2.0):
                break
            if enough:
                if len(self.levels) > _FINEST:
                    raise ValueError(
                        f"the step's error is still {self.bias:.2g} at {self.levels[-1].steps} steps, tol is {tol:.2g}; "
                        "give a larger tol, or another scheme"
                    )
                self.extend()
        return Budget(
            value=float(sum(level.mean for level in self.levels)),
            statistical=float(np.sqrt(sum(level.variance / level.count for level in self.levels))),
            step_bias=float(self.bias),
            samples=sum(level.count for level in self.levels),
            cost=int(sum(level.count * level.cost for level in self.levels)),
            method=f"{len(self.levels)} levels of {self.name}",
        )
