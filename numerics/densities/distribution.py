"""The frozen distribution that users hold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import logsumexp

from derivations.errors import shown
from derivations.notation.printed import Legible
from numerics import given
from numerics.densities.base import Array, Function, Measure, Moments
from numerics.densities.plain import PointMass

#: Whatever ``numpy.random.default_rng`` takes.
Seed = Any


@dataclass(frozen=True, repr=False)
class FrozenDistribution(Legible):
    r"""A distribution on the line with the methods of SciPy's frozen ones.

    It may have atoms, which SciPy's have not: ``pdf`` and ``logpdf`` are those of the absolutely continuous part, everything else is of
    the whole distribution. **A law narrower than doubles resolve** (all of it rounds to one double) is one atom at that double:
    ``pdf`` is 0, ``cdf`` a step, and ``remark`` says so; moments stay those of the exact law where they are closed.

    It pickles, and equal laws at equal times from equal starts are equal and have equal hashes.

    Parameters
    ----------
    name : str
        What it is the law of, for people.
    parts : tuple of Measure
        On disjoint intervals, from left to right; their masses add up to 1.
    moments : Moments
    error : float
        Estimated distance from the exact law in L¹, atoms included; 0 where the formulas are exact.
    remark : str
        What doubles cannot show of the law; empty if nothing.
    """

    name: str
    parts: tuple[Measure, ...]
    moments: Moments
    error: float = field(default=0.0)
    remark: str = field(default="")

    @property
    def headline(self) -> str:
        """The name, and where it has atoms."""
        return "; ".join(str(self).splitlines())

    def __str__(self) -> str:
        atoms = [f"atom at {location:.6g} with probability {mass:.6g}" for location, mass in self.atoms]
        error = [f"error {self.error:.1g} in L¹"] if self.error else []
        return "\n".join([self.name, *atoms, *error, *([self.remark] if self.remark else [])])

    @given.checked(x=given.array)
    def pdf(self, x: ArrayLike) -> Array:
        """Density of the absolutely continuous part; 0 outside the domain, and it knows nothing of atoms."""
        return np.sum([part.pdf(x) for part in self.parts], axis=0)[()]

    @given.checked(x=given.array)
    def logpdf(self, x: ArrayLike) -> Array:
        """Logarithm of the density, finite far beyond where the density itself underflows."""
        # disjoint supports: all but one term are minus infinity, or none is at a shared end
        return np.max([part.logpdf(x) for part in self.parts], axis=0)[()]

    @given.checked(x=given.array)
    def cdf(self, x: ArrayLike) -> Array:
        """Probability up to and including x, atoms included."""
        return self._total([part.cdf(x) for part in self.parts])

    @given.checked(x=given.array)
    def sf(self, x: ArrayLike) -> Array:
        """Probability beyond x, computed as such."""
        return self._total([part.sf(x) for part in self.parts])

    @given.checked(x=given.array)
    def logcdf(self, x: ArrayLike) -> Array:
        """Logarithm of the distribution function, finite far beyond where that underflows."""
        return self._log_total([part.logcdf(x) for part in self.parts], self.sf(x))

    @given.checked(x=given.array)
    def logsf(self, x: ArrayLike) -> Array:
        """Logarithm of the survival function, finite far beyond where that underflows."""
        return self._log_total([part.logsf(x) for part in self.parts], self.cdf(x))

    @staticmethod
    def _total(values: list[Array]) -> Array:
        return values[0] if len(values) == 1 else np.clip(np.sum(values, axis=0), 0.0, 1.0)[()]

    @staticmethod
    def _log_total(values: list[Array], other: Array) -> Array:
        """The logarithm of a sum; near 1 by what is missing, which keeps its digits there."""
        with np.errstate(divide="ignore", invalid="ignore"):
            total = values[0] if len(values) == 1 else logsumexp(values, axis=0)
            return np.where(other < 0.5, np.log1p(-np.minimum(other, 1.0)), total)[()]

    @given.checked(q=given.array)
    def ppf(self, q: ArrayLike) -> Array:
        """The smallest x with probability q up to it; ``nan`` unless 0 ≤ q ≤ 1."""
        return self._quantile(q, upper=False)

    @given.checked(q=given.array)
    def isf(self, q: ArrayLike) -> Array:
        """The point beyond which there is probability q."""
        return self._quantile(q, upper=True)

    def _quantile(self, q: ArrayLike, upper: bool) -> Array:
        q = np.asarray(q, dtype=float)
        result = np.full(q.shape, np.nan)
        low, high = self.support()
        result[q == 0], result[q == 1] = (high, low) if upper else (low, high)
        for side in (False, True):  # counted from the nearer end
            chosen = (q > 0) & (q < 1) & ((q <= 0.5) != side)
            if chosen.any():
                result[chosen] = self._counted(1 - q[chosen] if side else q[chosen], upper != side)
        return result[()]

    def _counted(self, q: Array, upper: bool) -> Array:
        """Quantiles counted from the left or from the right end."""
        result = np.full(q.shape, np.nan)
        before, left = 0.0, np.ones(q.shape, dtype=bool)
        order = self.parts[::-1] if upper else self.parts
        for index, part in enumerate(order):
            last = index == len(order) - 1
            here = left & ((q <= before + part.mass) | last)
            if here.any():
                local = np.clip(q[here] - before, np.finfo(float).tiny, part.mass * (1 - 1e-16))
                result[here] = part.quantile(local, upper)
            left &= ~here
            before += part.mass
        return result

    @given.checked(
        size=given.optional(given.shape),
        random_state=given.optional(given.random_state),
        rng=given.optional(given.random_state),
    )
    def rvs(self, size: int | tuple[int, ...] | None = None, random_state: Seed = None, *, rng: Seed = None) -> Array:
        """Exact samples.

        Parameters
        ----------
        size : int or tuple of int, optional
            A single number by default.
        random_state : int, Generator, RandomState, SeedSequence or BitGenerator, optional
            Its state moves on. ``rng`` is its other name, as in SciPy; only one of the two may be given.

        Raises
        ------
        ValueError
            If ``size`` is no shape, or ``random_state`` none of these.
        """
        if random_state is not None and rng is not None:
            raise ValueError("random_state and rng are two names of the same thing; give one of them")
        generator = np.random.default_rng(random_state if rng is None else rng)
        count = int(np.prod(size)) if size is not None else 1
        if len(self.parts) == 1:
            samples = self.parts[0].draw(generator, count)
        else:
            masses = np.array([part.mass for part in self.parts])
            which = generator.choice(len(masses), count, p=masses / masses.sum())
            samples = np.empty(count)
            for index, part in enumerate(self.parts):
                chosen = which == index
                samples[chosen] = part.draw(generator, int(chosen.sum()))
        return samples.reshape(size)[()] if size is not None else samples[0]

    def moment(self, order: int) -> float:
        """The moment of an order, about 0; infinity where it is not finite."""
        if not given.whole.holds(order) or order < 0:
            raise ValueError(f"the order of a moment must be a whole number from 0 to 10^12, got {shown(order)}")
        return 1.0 if order == 0 else self.moments.raw(int(order))

    def mean(self) -> float:
        """The mean."""
        return self.moment(1)

    def var(self) -> float:
        """The variance; infinity from the time on at which the second moment is not finite."""
        return self.moments.central(2)

    def std(self) -> float:
        """The standard deviation."""
        return float(np.sqrt(self.var()))

    def stats(self, moments: str = "mv") -> Any:
        """Mean, variance, skewness and excess kurtosis, as asked for by their first letters.

        Parameters
        ----------
        moments : str
            Of the letters m, v, s, k; the answer is in this order whatever theirs is, a number for one letter, else a tuple.

        Notes
        -----
        The skewness is ``nan`` where the third moment is not finite or the variance 0; the kurtosis ``nan`` where the variance is not
        finite or 0, and infinite where only the fourth moment is not finite.
        """
        if not isinstance(moments, str) or not moments or set(moments) - set("mvsk"):
            raise ValueError(
                f"expected letters of 'mvsk' for mean, variance, skewness and kurtosis, got {shown(moments)}"
            )
        rows: dict[str, Callable[[], float]] = {
            "m": self.mean,
            "v": self.var,
            "s": lambda: self._standardised(3),
            "k": lambda: self._standardised(4) - 3,
        }
        found = tuple(row() for letter, row in rows.items() if letter in moments)
        return found[0] if len(found) == 1 else found

    def _standardised(self, order: int) -> float:
        variance = self.var()
        if not (np.isfinite(variance) and variance > 0):
            return float("nan")
        value = self.moments.central(order) / variance ** (order / 2)
        return value if np.isfinite(value) or order % 2 == 0 else float("nan")

    def median(self) -> float:
        """The median."""
        return float(self.ppf(0.5))

    @given.checked(confidence=given.array)
    def interval(self, confidence: ArrayLike) -> tuple[Array, Array]:
        """Ends of the central interval with a given probability; ``nan`` unless that is in [0, 1]."""
        outside = (1 - np.asarray(confidence, dtype=float)) / 2
        return self.ppf(outside), self.isf(outside)

    def support(self) -> tuple[float, float]:
        """The ends of the smallest interval that carries all probability."""
        return self.parts[0].support[0], self.parts[-1].support[1]

    @property
    def atoms(self) -> tuple[tuple[float, float], ...]:
        """Points of positive probability, each with its probability."""
        return tuple((part.location, part.mass) for part in self.parts if isinstance(part, PointMass))

    @given.checked(points=given.listed)
    def expect(
        self,
        func: Callable[[Any], Any] | None = None,
        lb: float | None = None,
        ub: float | None = None,
        conditional: bool = False,
        points: Sequence[float] = (),
    ) -> float:
        r""":math:`\mathbb{E}\,f(X);\ lb \le X \le ub`, over density and atoms.

        Parameters
        ----------
        func : callable, optional
            Of one number or of an array; the identity by default.
        lb, ub : float, optional
            Ends of the interval over which is averaged, both included; the support by default.
        conditional : bool
            Whether to divide by the probability of the interval.
        points : sequence of float
            States at which the function jumps or has a kink; without them it still settles, more slowly.

        Raises
        ------
        ValueError
            If the expectation is infinite or does not exist, or does not settle.

        Examples
        --------
        >>> from derivations import ResNet, depth_limit, identity, recognise
        >>> from numerics import compile_law
        >>> d = compile_law(recognise(depth_limit(ResNet(identity, width=1))), x0=1.0, t=1.0)
        >>> round(d.expect(lambda x: max(x - 1, 0), points=[1.0]), 10)  # Black and Scholes
        0.3829249225
        """
        low, high = self.support()
        if any(not (end is None or given.end.holds(end)) for end in (lb, ub)):
            raise ValueError(f"the ends lb and ub must be numbers, got {shown(lb)} and {shown(ub)}")
        low, high = low if lb is None else float(lb), high if ub is None else float(ub)
        on_arrays = _on_arrays(func if func is not None else lambda x: x)

        def inside(x: Array) -> Array:
            within = (x >= low) & (x <= high)
            values = np.zeros(x.shape)
            values[within] = on_arrays(x[within])
            return values

        total = sum(part.integral(inside, (*map(float, points), low, high)) for part in self.parts)
        if not conditional:
            return total
        share = float(self.cdf(high) - self.cdf(np.nextafter(low, -np.inf)))
        if not share > 0:
            raise ValueError(
                f"the interval from {low} to {high} has probability 0, so nothing is known given that X is in it"
            )
        return total / share

    def entropy(self) -> float:
        r"""The differential entropy :math:`-\int p\log p`; minus infinity with atoms, near which densities pile up without bound."""
        if any(mass > 0 for _, mass in self.atoms):
            return -float("inf")
        return sum(part.entropy() for part in self.parts)


def _on_arrays(function: Callable[[Any], Any]) -> Function:
    """A function of one number as one of arrays, by whether it takes arrays."""

    def value(x: Array) -> Array:
        if not x.size:
            return np.empty(0)
        try:
            found = np.asarray(function(x), dtype=float)
            if found.shape in ((), x.shape):
                return np.broadcast_to(found, x.shape)
        except (TypeError, ValueError):
            pass
        return np.array([float(function(v)) for v in x])

    return value
