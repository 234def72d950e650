r"""What simulations are compared by: estimates with standard errors, tests, distances and convergence orders."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import scipy  # scipy.stats, a quarter of the start, loads where it is first used
from numpy.typing import ArrayLike, NDArray
from scipy import special

from derivations.notation.printed import Legible


@dataclass(frozen=True)
class Test:
    """A statistic with the probability of one at least as extreme if the claim holds."""

    __test__ = False  # not a test case, whatever pytest thinks of the name

    statistic: float
    p_value: float


def shown_p(value: float, digits: int = 2) -> str:
    """A p-value as it is read after a "p": no test has shown it to be 0 where it is only less than doubles hold.

    Examples
    --------
    >>> shown_p(0.01234), shown_p(0.0, digits=1)
    ('= 0.012', '< 1e-300')
    """
    return "< 1e-300" if value < 1e-300 else f"= {value:.{digits}g}"


@dataclass(frozen=True, repr=False)
class Estimate(Legible):
    r"""A number with its standard error; sums, differences and multiples of independent ones propagate it.

    Parameters
    ----------
    value, error : float
        In the same unit; the error is one standard deviation of the value.

    Examples
    --------
    >>> Estimate(3.0, 0.3) - Estimate(1.0, 0.4)
    2 ± 0.5
    """

    value: float
    error: float

    @classmethod
    def of(cls, sample: ArrayLike) -> Estimate:
        """The mean of independent values, with the standard deviation of that mean."""
        values = _sample(sample)
        return cls(float(values.mean()), standard_error(values))

    @classmethod
    def variance_of(cls, sample: ArrayLike) -> Estimate:
        r"""The variance of independent values.

        The error is that of the mean of :math:`(X - \bar X)^2`, so it needs no Gaussian assumption.
        """
        values = _sample(sample)
        squares = (values - values.mean()) ** 2
        count = len(values)
        return cls(float(squares.sum() / (count - 1)), standard_error(squares) * count / (count - 1))

    def __add__(self, other: Estimate) -> Estimate:
        return Estimate(self.value + other.value, float(np.hypot(self.error, other.error)))

    def __sub__(self, other: Estimate) -> Estimate:
        return self + other * -1.0

    def __mul__(self, factor: float) -> Estimate:
        return Estimate(self.value * factor, self.error * abs(factor))

    __rmul__ = __mul__

    def test(self, expected: float) -> Test:
        r"""Two-sided z-test of the claim that the estimated number is ``expected``."""
        distance = self.value - expected
        z = (
            distance / self.error
            if self.error > 0
            else (0.0 if distance == 0 else float(np.copysign(np.inf, distance)))
        )
        return Test(float(z), float(special.erfc(abs(z) / np.sqrt(2.0))))

    def __str__(self) -> str:
        return f"{self.value:.5g} ± {self.error:.2g}"


def standard_error(sample: ArrayLike) -> float:
    r"""Standard deviation of the mean of N independent values, :math:`s/\sqrt N` with the unbiased :math:`s^2`.

    Examples
    --------
    >>> standard_error([1.0, 2.0, 3.0, 4.0])
    0.6454972243679028
    """
    values = _sample(sample)
    return float(values.std(ddof=1) / np.sqrt(len(values)))


def ks_test(sample: ArrayLike, cdf: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> Test:
    """Kolmogorov–Smirnov test of the claim that a sample has a continuous distribution function; infinities have their place in it."""
    result = scipy.stats.ks_1samp(_sample(sample, infinite=True), cdf)
    return Test(float(result.statistic), float(result.pvalue))


def ks_two_sample(first: ArrayLike, second: ArrayLike) -> Test:
    """Kolmogorov–Smirnov test of the claim that two samples have the same law; infinities have their place in it."""
    result = scipy.stats.ks_2samp(_sample(first, infinite=True), _sample(second, infinite=True), method="asymp")
    return Test(float(result.statistic), float(result.pvalue))


def ks_samples(distance: float, level: float, sides: int = 1, margin: float = 2.0) -> int:
    r"""Samples with which a Kolmogorov–Smirnov test detects a given distance of the distribution functions.

    The test rejects at level p if :math:`\sqrt N D > \sqrt{\log(2/p)/2}`. Where the distance d is attained, the
    empirical distribution function is off by at most :math:`\tfrac12 N^{-1/2}` in standard deviation, so
    :math:`\sqrt N d \ge \sqrt{\log(2/p)/2} + \tfrac12\,\mathrm{margin}` rejects but for a Gaussian's tail beyond the margin.

    Parameters
    ----------
    sides : int
        1 for a sample against a law, 2 for two samples of equal size, which need twice as many each.

    Raises
    ------
    ValueError
        If the distance is too small to be seen.

    Examples
    --------
    >>> ks_samples(0.01, level=1e-3)
    86995
    """
    if not distance > 1e-7:
        raise ValueError(
            f"a distance of {distance:.2g} is not seen with fewer than 10^14 samples; choose a start and a t of moderate size"
        )
    reach = np.sqrt(np.log(2.0 / level) / 2.0) + margin / 2.0
    return int(np.ceil(sides * (reach / distance) ** 2))


def z_error(distance: float, level: float, margin: float = 3.0) -> float:
    """The standard error with which a two-sided z-test at a level detects a distance, but for a tail beyond the margin."""
    return abs(distance) / (float(-special.ndtri(level / 2.0)) + margin)


def wasserstein(first: ArrayLike, second: ArrayLike) -> float:
    """The 1-Wasserstein distance of two samples, in the unit of the state.

    Examples
    --------
    >>> wasserstein([0.0, 1.0], [1.0, 2.0])
    1.0
    """
    return float(scipy.stats.wasserstein_distance(_sample(first), _sample(second)))


def richardson(coarse: Estimate, fine: Estimate, *, order: int = 1) -> Estimate:
    r"""Remove the leading bias from estimates at depths L and 2L.

    If :math:`m_L = m + cL^{-p} + O(L^{-p-1})`, then :math:`(2^p m_{2L} - m_L)/(2^p - 1) = m + O(L^{-p-1})`. The
    estimates must be independent; for p = 1 the errors enter as 2 and 1.

    Examples
    --------
    >>> richardson(Estimate(1.1, 0.03), Estimate(1.05, 0.02))
    1 ± 0.05
    """
    weight = 2.0**order
    return (fine * weight - coarse) * (1.0 / (weight - 1.0))


@dataclass(frozen=True, repr=False)
class Slope(Legible):
    r"""The order p of :math:`|m_L - m| = c\,L^{-p}`, fitted on logarithms.

    Parameters
    ----------
    order : Estimate
        p, with the standard error that the noise of the biases gives it.
    prefactor : float
        c.
    """

    order: Estimate
    prefactor: float

    def __str__(self) -> str:
        return f"order {self.order}, from {self.prefactor:.3g} L^-{self.order.value:.3g}"


def convergence_order(depths: Sequence[int], biases: Sequence[Estimate], corrected: bool = True) -> Slope:
    r"""Weighted least squares of log-bias on log-depth.

    The logarithm of an estimate :math:`b \pm s` has standard error :math:`s/|b|`, which gives the weights and, the
    design being fixed, the error of the slope. With ``corrected`` the next order is a column of its own:
    :math:`\log|b_L| = \log c - p\log L + d/L`, since :math:`cL^{-1}(1 + d/L + \dots)` bends at small L.

    Raises
    ------
    ValueError
        For fewer depths than unknowns, or a bias that is 0.

    Examples
    --------
    >>> slope = convergence_order([4, 8, 16], [Estimate(3 / L, 1e-3) for L in (4, 8, 16)], corrected=False)
    >>> slope.order.value, slope.prefactor
    (1.0, 3.0)
    """
    values, errors = (np.array([getattr(b, name) for b in biases]) for name in ("value", "error"))
    lengths = np.asarray(depths, dtype=float)
    unknowns = 3 if corrected else 2
    if len(lengths) != len(values) or len(lengths) < unknowns:
        raise ValueError(
            f"expected one bias per depth and at least {unknowns} of them, "
            f"got {len(lengths)} depths and {len(values)} biases"
        )
    if not np.all(values) or not np.all(errors > 0):
        raise ValueError(
            "every bias must differ from 0 and have a positive standard error; where it is 0 there is no order to measure"
        )
    columns = [np.ones_like(lengths), -np.log(lengths), 1.0 / lengths]
    weights = np.abs(values) / errors
    design = np.stack(columns[:unknowns], axis=1) * weights[:, None]
    covariance = np.linalg.inv(design.T @ design)
    fitted = covariance @ (design.T @ (np.log(np.abs(values)) * weights))
    return Slope(Estimate(float(fitted[1]), float(np.sqrt(covariance[1, 1]))), float(np.exp(fitted[0])))


def holm(p_values: Sequence[float]) -> NDArray[np.float64]:
    r"""p-values adjusted for several tests (Holm 1979): reject those at most p and some true claim falls with probability ≤ p.

    Sorted increasingly, :math:`\tilde p_{(k)} = \max_{j \le k} \min(1, (K - j + 1)\,p_{(j)})`; no independence is needed.

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03])
    array([0.03, 0.06, 0.06])
    """
    p = np.asarray(p_values, dtype=float)
    order = np.argsort(p, kind="stable")
    stepped = np.minimum(1.0, (len(p) - np.arange(len(p))) * p[order])
    adjusted = np.empty_like(p)
    adjusted[order] = np.maximum.accumulate(stepped) if len(p) else stepped
    return adjusted


def _sample(sample: ArrayLike, infinite: bool = False) -> NDArray[np.float64]:
    values = np.asarray(sample, dtype=float)
    if values.ndim != 1 or len(values) < 2:
        raise ValueError(f"a sample must be one-dimensional with at least two values, got shape {values.shape}")
    bad = np.isnan(values) if infinite else ~np.isfinite(values)
    if np.any(bad):
        wanted = "without nan" if infinite else "finite"
        raise ValueError(f"a sample must be {wanted}, got {np.count_nonzero(bad)} values that are not")
    return values
