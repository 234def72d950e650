r"""Networks of twice as many layers beside networks of the same random numbers, and means over levels of them.

Two layers with weights :math:`W_1, W_2` and step :math:`\varepsilon` are shared with one of step :math:`\sqrt2\,\varepsilon` and weights
:math:`(W_1 + W_2)/\sqrt2`, which have the law of its own. To leading order both move by
:math:`\varepsilon(W_1 + W_2)\varphi(x)`, so the difference of the deep and the shallow network has a variance that falls like
one over the depth, and multilevel Monte Carlo costs :math:`\epsilon^{-2}(\log\epsilon)^2` for an error :math:`\epsilon` in an
expectation of the limit, where networks of one depth cost :math:`\epsilon^{-3}`.

Where a branch holds several matrices, or is dropped at random, what they make of one another within a layer is averaged over layers only:
a part of the variance stays, and the cost is the one of a single depth, divided by the variance that went. The measured rate is said.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np

from derivations.language.entries import Correlated, Gaussian
from numerics.compile.programs import compiled_program
from numerics.ensembles import Seed
from numerics.expectations.budget import Budget
from numerics.expectations.levels import COARSEST, Levels, finite
from numerics.networks.simulate import Networks

Array = np.ndarray

#: Seconds beyond which an expectation is refused.
LONGEST = 3600.0


class _Noted:
    """A generator that notes what it draws."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng, self.drawn = rng, list[Array]()

    def standard_normal(self, size: Any = None, out: Array | None = None) -> Array:
        z = self.rng.standard_normal(size) if out is None else self.rng.standard_normal(out=out)
        self.drawn.append(np.array(z))
        return np.asarray(z)

    def random(self, size: Any = None) -> Array:
        u = np.asarray(self.rng.random(size))
        self.drawn.append(u)
        return u


class _Shared:
    """In place of a generator: of two layers' normals the sum over √2, of their uniform numbers the first."""

    def __init__(self, first: _Noted, second: _Noted) -> None:
        self.pairs: Iterator[tuple[Array, Array]] = zip(first.drawn, second.drawn, strict=True)

    def standard_normal(self, size: Any = None, out: Array | None = None) -> Array:
        first, second = next(self.pairs)
        z = (first + second) / np.sqrt(2.0)
        if out is None:
            return z
        out[...] = z
        return out

    def random(self, size: Any = None) -> Array:
        return next(self.pairs)[0]


@dataclass(frozen=True)
class NetworkBlock:
    """Sums over one block of a level: of a function of networks, from level 1 on of its difference to networks of half the depth."""

    networks: Networks
    function: Callable[[Array], Any]
    level: int

    def __call__(self, first: int, count: int, rng: np.random.Generator) -> tuple[int, float, float]:
        """Number, mean and squares about the mean."""
        layers = COARSEST << self.level
        with np.errstate(all="ignore"):
            values = self._difference(first, count, layers, rng)
        values = finite(values, layers)
        return count, float(values.mean()), float(((values - values.mean()) ** 2).sum())

    def _difference(self, first: int, count: int, layers: int, rng: np.random.Generator) -> Array:
        deep, shallow = coupled(self.networks, layers, first, count, rng, alone=self.level == 0)
        return self._values(deep) - (0.0 if self.level == 0 else self._values(shallow))

    def _values(self, states: Array) -> Array:
        values = np.asarray(self.function(states), dtype=float)
        if values.shape != (len(states),):
            raise ValueError(f"the function must give one number for each sample, got shape {values.shape[1:]}")
        return values


def coupled(
    networks: Networks, layers: int, first: int, count: int, rng: np.random.Generator, alone: bool = False
) -> tuple[Array, Array]:
    """The last states of some networks of an even number of layers and of those of half the depth, shape (count, n, m) each."""
    program = compiled_program(networks.observable.program)
    deep = networks.start.block(networks.drawing, first, count, networks.width, rng)
    shallow = deep
    h = networks.time / layers
    notes = _Noted(rng), _Noted(rng)
    for k in range(layers):
        note = notes[k % 2]
        note.drawn.clear()
        source: Any = rng if alone else note
        deep = program.at(h * (k + 0.5)).advance(deep, np.sqrt(h), networks.drawing, source)[0]
        if k % 2 and not alone:
            here, shared = program.at(h * k), _Shared(*notes)
            shallow = here.advance(shallow, np.sqrt(2.0 * h), networks.drawing, shared)[0]  # type: ignore[arg-type]
    return deep, shallow


class NetworkLevels(Levels):
    """Levels of networks, each of twice the depth of the one before."""

    name = "networks with shared weights"

    def __init__(
        self, networks: Networks, function: Callable[[Array], Any], seed: Seed, workers: int | Executor
    ) -> None:
        for numbers in compiled_program(networks.observable.program).matrices:
            if not isinstance(numbers.law, Gaussian | Correlated):
                raise ValueError(
                    f"two layers are shared with one by sums of their weights, which have the law of one weight only if they are Gaussian, "
                    f"got {numbers.law}; give depth and samples, without tol"
                )
        self.networks, self.function = networks, function
        self.open(seed, workers, 1.0)

    def task(self, level: int) -> NetworkBlock:
        """Of one level."""
        return NetworkBlock(self.networks, self.function, level)

    @property
    def rate(self) -> float:
        """The measured power of one over the depth with which the variance of the differences falls."""
        found = [level.variance for level in self.levels[1:]]
        if len(found) < 2 or not min(found) > 0:
            return np.inf
        return float(-np.polyfit(np.arange(len(found)), np.log2(found), 1)[0])

    def predicted_cost(self, tol: float) -> float:
        """Layers to an error, the levels that are still to come at the measured rates."""
        last, rate = self.levels[-1], min(self.rate, 10.0)
        carried = (
            (abs(level.mean) + np.sqrt(level.variance / level.count)) / 2.0 ** (len(self.levels) - 1 - k)
            for k, level in enumerate(self.levels)
            if k
        )
        missing = int(np.ceil(max(0.0, np.log2(max(min(carried) * np.sqrt(2.0) / tol, 1e-300)))))
        products = [level.variance * level.cost for level in self.levels]
        products += [last.variance * 2.0 ** (-rate * k) * last.cost * 2.0**k for k in range(1, missing + 1)]
        return float(np.sum(np.sqrt(products)) ** 2 * 2 / tol**2)

    def run(self, tol: float) -> Budget:
        """Refine until statistical error and bias are each below tol/√2.

        Raises
        ------
        ValueError
            If it would take more than an hour at the rate measured on the first levels.
        """
        self.extend()  # which compiles
        begin = perf_counter()
        while len(self.levels) < 4:
            self.extend()
        spent = sum(level.count * level.cost for level in self.levels[1:])
        seconds = (perf_counter() - begin) * self.predicted_cost(tol) / spent
        if seconds > LONGEST:
            raise ValueError(
                f"networks for an error of {tol:g} would take about {seconds / 3600:.2g} hours here, at the rate measured on {spent:.2g} layers; "
                "take a larger tol"
            )
        found = super().run(tol)
        said = f"{found.method}, the variance of their differences falling with the power {max(self.rate, 0.0):.1f} of the depth"
        return Budget(
            found.value,
            found.statistical,
            depth_bias=found.step_bias,
            samples=found.samples,
            cost=found.cost,
            method=said,
        )
