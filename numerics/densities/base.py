"""What distributions are made of: measures on intervals, and the Lamperti maps of these."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Function = Callable[[Array], Array]

LOG_ROOT_TWO_PI = np.log(2 * np.pi) / 2
_BLOCK = 1 << 13  # points at a time: temporaries stay in the cache


@dataclass(frozen=True)
class Chart:
    r"""An interval and its Lamperti coordinate, an increasing map z of (left, right) onto the real line.

    Parameters
    ----------
    left, right : float
    forward : callable
        Array x inside the interval to z.
    backward : callable
        Array z to the pair x, :math:`\log \mathrm{d}x/\mathrm{d}z`.
    """

    left: float
    right: float
    forward: Callable[[Array], Array]
    backward: Callable[[Array], tuple[Array, Array]]

    def state(self, z: Array) -> Array:
        """X at values of z, within the interval."""
        with np.errstate(all="ignore"):
            return np.clip(self.backward(z)[0], self.left, self.right)

    def on_interval(self, value: Callable[[Array], Array], x: ArrayLike, below: float, above: float) -> Array:
        """A function of z at points x, block by block, with given values left and right of the interval."""
        x = np.asarray(x, dtype=float)
        flat = x.ravel()
        result = np.empty(flat.shape)
        with np.errstate(all="ignore"):  # the last double before an end may have z = ∞
            for start in range(0, flat.size, _BLOCK):
                here = flat[start : start + _BLOCK]
                inside = (here > self.left) & (here < self.right)
                if inside.all():
                    result[start : start + _BLOCK] = value(self.forward(here))
                    continue
                block = np.where(here <= self.left, below, np.where(here >= self.right, above, np.nan))
                block[inside] = value(self.forward(here[inside]))
                result[start : start + _BLOCK] = block
        return result.reshape(x.shape)[()]


class ByContent:
    """Dataclasses with arrays in them (``eq=False``): equal, and of equal hashes, where all that they hold is."""

    def _key(self) -> tuple[object, ...]:
        """What is compared: arrays as bytes."""
        held = (getattr(self, f.name) for f in fields(self) if f.init)  # type: ignore[arg-type]
        return tuple(value.tobytes() if isinstance(value, np.ndarray) else value for value in held)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, type(self)) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())


class Measure(ABC):
    """Part of a distribution: where its probability lies, and how much there is."""

    support: tuple[float, float]
    mass: float

    @abstractmethod
    def logpdf(self, x: ArrayLike) -> Array:
        """Logarithm of the density of the absolutely continuous part."""

    @abstractmethod
    def cdf(self, x: ArrayLike) -> Array:
        """Probability up to and including x."""

    @abstractmethod
    def sf(self, x: ArrayLike) -> Array:
        """Probability beyond x."""

    @abstractmethod
    def quantile(self, q: Array, upper: bool = False) -> Array:
        """The point with probability q below it, or above it; 0 < q < mass."""

    @abstractmethod
    def draw(self, generator: np.random.Generator, size: int) -> Array:
        """Independent samples from the measure divided by its mass."""

    @abstractmethod
    def integral(self, function: Function, kinks: Sequence[float] = ()) -> float:
        """The integral of a function of the state against the measure, cut at its kinks."""

    def central(self, order: int) -> float | None:
        """The moment about the mean of a measure so narrow that states in doubles have too few digits for it; None where they have enough."""
        return None

    def entropy(self) -> float:
        r"""The integral :math:`-\int p\log p`."""
        return -self.integral(self.logpdf)

    def pdf(self, x: ArrayLike) -> Array:
        """Density of the absolutely continuous part."""
        return np.exp(self.logpdf(x))

    def logcdf(self, x: ArrayLike) -> Array:
        """Logarithm of :meth:`cdf`; a measure overrides it where that underflows."""
        with np.errstate(divide="ignore"):
            return np.log(self.cdf(x))

    def logsf(self, x: ArrayLike) -> Array:
        """Logarithm of :meth:`sf`; a measure overrides it where that underflows."""
        with np.errstate(divide="ignore"):
            return np.log(self.sf(x))


class Moments(ABC):
    """Moments of a distribution, infinite where they are not finite."""

    @abstractmethod
    def raw(self, order: int) -> float:
        """The moment about 0."""

    @abstractmethod
    def central(self, order: int) -> float:
        """The moment about the mean, without the cancellation of moments about 0; order 2 or more."""


def weighted(function: Function, x: Array, weight: Array) -> Array:
    """A function times a weight, 0 where the weight is, whatever the function does there."""
    values = np.zeros(np.shape(x))
    kept = weight > 0
    with np.errstate(all="ignore"):
        values[kept] = function(x[kept]) * weight[kept]
    return values
