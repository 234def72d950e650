"""Expectations at two sizes of networks, or two numbers of steps, taken together so that the first term in one over the size goes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from numerics.ensembles import Seed
from numerics.validation.base import Array, spawn
from numerics.validation.subjects import Setting

#: Networks of a pilot run, and the most networks and paths of one size.
PILOT, MOST, MOST_PATHS = 50_000, 250_000, 400_000
#: Largest size, in steps of the ratio from the smallest.
LARGER = 4


@dataclass(frozen=True)
class Sizes:
    """Two sizes with their samples."""

    sizes: tuple[int, int]
    samples: tuple[int, int]

    @property
    def weights(self) -> Array:
        """Richardson's, which remove a term in one over the size."""
        small, large = self.sizes
        return np.array([small, -large]) / (small - large)

    @classmethod
    def of(
        cls, sizes: tuple[int, int], wanted: float, cost: Callable[[int], float], most: int = MOST, fall: float = 1.0
    ) -> Sizes:
        """Samples with which the extrapolated mean has the noise of that many of the smaller size, at the least cost; larger ones spread by less."""
        weights = np.abs(cls(sizes, (0, 0)).weights) * [1.0, fall]
        roots = np.sqrt([cost(size) for size in sizes])
        counts = wanted * float(weights @ roots) * weights / roots
        small, large = (int(np.clip(np.ceil(n), 2, most)) for n in counts)
        return cls(sizes, (small, large))


def network_sizes(s: Setting, wanted: float, larger: int = 0, fall: float = 1.0) -> Sizes:
    """The smallest two sizes, or larger ones."""
    first = s.depth or s.smallest * s.ratio**larger
    sizes = first, first * s.ratio
    return Sizes(sizes, (s.samples, s.samples)) if s.samples else Sizes.of(sizes, wanted, s.cost, fall=fall)


@dataclass(frozen=True)
class Extrapolated:
    """A mean, the covariance of its error, what extrapolation has left over, the mean at the smaller size, the covariance of what was taken off it."""

    mean: Array
    covariance: Array
    left: Array
    small: Array
    removed: Array


def extrapolated(
    simulate: Callable[[int, int, Seed], Array],
    functions: Sequence[Callable[[Array], Array]],
    sizes: Sizes,
    seed: Seed,
) -> list[Extrapolated]:
    """Extrapolated means of functions of the same samples."""
    drawn = (
        simulate(size, count, one) for size, count, one in zip(sizes.sizes, sizes.samples, spawn(seed, 2), strict=True)
    )
    return of_samples(functions, sizes, drawn)


def of_samples(
    functions: Sequence[Callable[[Array], Array]], sizes: Sizes, drawn: Iterable[Array]
) -> list[Extrapolated]:
    """The same from samples of both sizes, which are asked for one after the other."""
    means: list[list[Array]] = [[] for _ in functions]
    spreads: list[list[Array]] = [[] for _ in functions]
    for x, count in zip(drawn, sizes.samples, strict=True):
        for k, f in enumerate(functions):
            values = f(x)
            with np.errstate(all="ignore"):  # networks that exploded have no mean, which is said where it is used
                means[k].append(values.mean(axis=0))
                spreads[k].append(np.atleast_2d(np.cov(values.T)) / count)
    first, second = sizes.weights
    out = []
    for (small, large), (rough, fine) in zip(means, spreads, strict=True):
        with np.errstate(all="ignore"):
            whole = first * small + second * large
            # the term that was removed, times one over the size: what is left if the coefficients of the series are alike
            left = (whole - large) * 2.0 / sizes.sizes[1]
        removed = second**2 * (rough + fine)  # small - whole is second times the difference of the two
        out.append(Extrapolated(whole, first**2 * rough + second**2 * fine, left, small, removed))
    return out


def small(means: Sequence[Extrapolated], needed: float) -> bool:
    """Whether what is left over is below a fifth of the noise of so many samples."""
    return largest_left(means) < allowed(needed)


def allowed(needed: float) -> float:
    """What extrapolation may leave over beside the noise of so many samples."""
    return float(0.2 / np.sqrt(needed))


def largest_left(means: Sequence[Extrapolated]) -> float:
    """What extrapolation leaves over."""
    return max(float(np.linalg.norm(m.left)) for m in means)
