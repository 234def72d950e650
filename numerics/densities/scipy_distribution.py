"""Laws without atoms as distributions of SciPy's new infrastructure, for its transformations, mixtures and plots."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy  # scipy.stats, a quarter of the start, loads where it is first used

from numerics.densities.base import Array
from numerics.densities.distribution import FrozenDistribution


def as_scipy_distribution(law: FrozenDistribution) -> Any:
    """The law as an instance of a class that :func:`scipy.stats.make_distribution` makes.

    Parameters
    ----------
    law : FrozenDistribution
        Without atoms.

    Raises
    ------
    ValueError
        If the law has an atom: SciPy's continuous distributions have none.

    Examples
    --------
    >>> from derivations import ResNet, depth_limit, identity, recognise
    >>> from numerics import compile_law
    >>> X = as_scipy_distribution(compile_law(recognise(depth_limit(ResNet(identity, width=1))), x0=1.0, t=1.0))
    >>> float(X.mean()), float(X.cdf(1.0))
    (1.0, 0.6914624612740131)
    """
    atoms = [(place, mass) for place, mass in law.atoms if mass > 0]
    if atoms:
        raise ValueError(
            f"the law has an atom of mass {atoms[0][1]:.6g} at {atoms[0][0]:.6g}, and SciPy's continuous distributions have none; "
            "use the law itself, whose methods are those of SciPy's frozen distributions"
        )
    return scipy.stats.make_distribution(_Definition(law))()


class _Definition:
    """What ``make_distribution`` asks for: a distribution without parameters by its functions."""

    __make_distribution_version__ = "1.16.0"
    parameters: tuple[()] = ()

    def __init__(self, law: FrozenDistribution) -> None:
        self.law = law
        self.support = law.support()

    def pdf(self, x: Array) -> Array:
        """Density."""
        return np.asarray(self.law.pdf(x))

    def logpdf(self, x: Array) -> Array:
        """Its logarithm."""
        return np.asarray(self.law.logpdf(x))

    def cdf(self, x: Array) -> Array:
        """Distribution function."""
        return np.asarray(self.law.cdf(x))

    def logcdf(self, x: Array) -> Array:
        """Its logarithm."""
        return np.asarray(self.law.logcdf(x))

    def ccdf(self, x: Array) -> Array:
        """Upper tail."""
        return np.asarray(self.law.sf(x))

    def logccdf(self, x: Array) -> Array:
        """Its logarithm."""
        return np.asarray(self.law.logsf(x))

    def icdf(self, q: Array) -> Array:
        """Quantile."""
        return np.asarray(self.law.ppf(q))

    def iccdf(self, q: Array) -> Array:
        """Upper quantile."""
        return np.asarray(self.law.isf(q))

    def moment(self, order: int, kind: str) -> float | None:
        """Moments, infinite where they are not finite."""
        if kind == "raw":
            return self.law.moment(int(order))
        if kind == "central" and order > 1:
            return self.law.moments.central(int(order))
        return None

    def sample(self, shape: Any, rng: Any = None) -> Array:
        """Exact samples."""
        return np.asarray(self.law.rvs(shape, rng=rng))
