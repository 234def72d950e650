r"""The joint law of several outputs of a network: Gaussian vectors with a random covariance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy  # scipy.stats, a quarter of the start, loads where it is first used
from numpy.typing import ArrayLike
from scipy.special import logsumexp, ndtr, ndtri, owens_t

from derivations.derivation import Derivation
from derivations.errors import shown
from derivations.notation.printed import Legible
from numerics import given
from numerics.densities.base import Array
from numerics.ensembles import Seed
from numerics.linalg import semidefinite_factor
from numerics.outputs import Conditional, conditional_moments

_AT_ONCE = 2_000_000  # numbers
_SPREAD = 2**15  # points for the distribution function of three inputs and more, over all Gaussians of the mixture
_TINY = 1e-12


@dataclass(frozen=True, eq=False, repr=False)
class JointOutputLaw(Legible):
    r"""A mixture :math:`\sum_k w_k\,\mathcal{N}(0, C_k)^{\otimes r}` of the outputs of r readout neurons for m inputs.

    Parameters
    ----------
    weights : array, shape (K,)
    covariances : array, shape (K, m, m)
        Of the outputs of one readout neuron; given the last layer, readout neurons are independent.
    outputs : int
        r.
    error : float
        Of a probability: a standard error where norms were simulated.
    remark : str

    Notes
    -----
    Points have the shape (..., m) where r = 1, else (..., r, m).
    """

    weights: Array
    covariances: Array
    outputs: int
    error: float
    remark: str = ""

    def __str__(self) -> str:
        error = f"; error of a probability {self.error:.1g}" if self.error else ""
        many = f"mixture of {len(self.weights)} Gaussians" if len(self.weights) > 1 else "Gaussian"
        return f"outputs of {self.outputs} readout neuron(s) for {self.inputs} input(s): {many}{error}{self.remark and '; ' + self.remark}"

    @property
    def inputs(self) -> int:
        """The number m of inputs."""
        return int(self.covariances.shape[1])

    def _points(self, y: ArrayLike) -> tuple[Array, tuple[int, ...]]:
        """Points as (number, r, m), and the shape of what is returned."""
        points = np.asarray(y, dtype=float)
        own = (self.inputs,) if self.outputs == 1 else (self.outputs, self.inputs)
        if points.shape[points.ndim - len(own) :] != own or points.ndim < len(own):
            raise ValueError(f"points must have the shape (..., {', '.join(map(str, own))}), got {points.shape}")
        shape = points.shape[: points.ndim - len(own)]
        return points.reshape(-1, self.outputs, self.inputs), shape

    def cov(self) -> Array:
        """The covariance of the outputs of one readout neuron, shape (m, m); those of two neurons are uncorrelated, not independent."""
        return np.einsum("k,kab->ab", self.weights, self.covariances)

    def square_correlation(self) -> float:
        r"""The correlation of the squares of two readout neurons' outputs for the first input, which are uncorrelated themselves.

        It is :math:`\mathrm{Var}\,S/(3\,\mathbb{E}S^2 - (\mathbb{E}S)^2)` with the random variance S, and 0 at infinite width.
        """
        s = self.covariances[:, 0, 0]
        first, second = float(self.weights @ s), float(self.weights @ s**2)
        return (second - first**2) / (3 * second - first**2)

    def logpdf(self, y: ArrayLike) -> Array:
        """The logarithm of the density.

        Raises
        ------
        ValueError
            If outputs depend on each other linearly, or vanish, with positive probability.
        """
        points, shape = self._points(y)
        try:
            roots = np.linalg.cholesky(self.covariances)
        except np.linalg.LinAlgError:
            raise ValueError(
                "these outputs have no joint density: they vanish or depend on each other linearly with positive probability; use cdf"
            ) from None
        half_log = np.log(np.diagonal(roots, axis1=1, axis2=2)).sum(axis=1)
        inverse = np.linalg.inv(roots)
        r, m = self.outputs, self.inputs
        constant = np.log(self.weights) - r * half_log - r * m * np.log(2 * np.pi) / 2
        made = np.empty(len(points))
        for part in self._blocks(len(points)):
            white = np.einsum("kab,prb->kpra", inverse, points[part])
            made[part] = logsumexp(constant[:, None] - (white**2).sum(axis=(2, 3)) / 2, axis=0)
        return made.reshape(shape)

    def pdf(self, y: ArrayLike) -> Array:
        """The density."""
        return np.exp(self.logpdf(y))

    def cdf(self, y: ArrayLike) -> Array:
        """The probability that every output is at most its number.

        Of three inputs and more the Gaussian vectors are integrated one number after the other over 2¹⁵ spread points, to about 10⁻⁴.
        """
        points, shape = self._points(y)
        if self.inputs > 2:
            return np.array([self._below(point) for point in points]).reshape(shape)
        made = np.empty(len(points))
        deviations = np.sqrt(np.diagonal(self.covariances, axis1=1, axis2=2))
        for part in self._blocks(len(points)):
            with np.errstate(divide="ignore", invalid="ignore"):
                scaled = points[None, part] / deviations[:, None, None, :]
            still = np.broadcast_to(deviations[:, None, None, :] == 0, scaled.shape)
            scaled = np.where(still, np.where(points[None, part] >= 0, np.inf, -np.inf), scaled)
            if self.inputs == 1:
                inside = ndtr(scaled[..., 0])
            else:
                product = deviations.prod(axis=1)
                known = product > 0
                rho = np.where(known, self.covariances[:, 0, 1] / np.where(known, product, 1.0), 0.0)
                inside = bivariate_normal_cdf(scaled[..., 0], scaled[..., 1], np.clip(rho, -1, 1)[:, None, None])
            made[part] = np.einsum("k,kp->p", self.weights, inside.prod(axis=2))
        return made.reshape(shape)

    def _below(self, point: Array) -> float:
        """The probability of one orthant, by Genz's separation of variables: each number given those before it."""
        copies = -(-_SPREAD // len(self.weights))
        factors = np.repeat(semidefinite_factor(self.covariances), copies, axis=0)
        spread = scipy.stats.qmc.Halton(self.outputs * self.inputs, seed=0).random(len(factors))
        spread = np.clip(spread, _TINY, 1 - _TINY).reshape(-1, self.outputs, self.inputs)
        inside = np.ones((len(factors), self.outputs))
        white = np.zeros((len(factors), self.outputs, self.inputs))
        for a in range(self.inputs):
            left = point[:, a] - np.einsum("kb,krb->kr", factors[:, a, :a], white[:, :, :a])
            size = np.broadcast_to(factors[:, a, a, None], left.shape)
            still = size <= 0  # this output is known by those before it
            rounding = _TINY * (1 + np.abs(point[:, a]))
            end = np.where(still, np.where(left >= -rounding, np.inf, -np.inf), left / np.where(still, 1.0, size))
            share = ndtr(end)
            inside *= share
            white[:, :, a] = np.where(share > 0, ndtri(np.maximum(spread[:, :, a] * share, 1e-300)), 0.0)
        return float(np.repeat(self.weights, copies) @ inside.prod(axis=1)) / copies

    @given.checked(size=given.whole, random_state=given.optional(given.random_state))
    def rvs(self, size: int = 1, random_state: Seed = None) -> Array:
        """Random outputs, shape (size, m) or (size, r, m)."""
        rng = np.random.default_rng(random_state)
        chosen = rng.choice(len(self.weights), size=size, p=self.weights / self.weights.sum())
        values, vectors = np.linalg.eigh(self.covariances)
        roots = vectors * np.sqrt(np.maximum(values, 0.0))[:, None, :]
        drawn = np.einsum("sab,srb->sra", roots[chosen], rng.normal(size=(size, self.outputs, self.inputs)))
        return drawn[:, 0] if self.outputs == 1 else drawn

    def _blocks(self, count: int) -> list[slice]:
        few = max(1, _AT_ONCE // (len(self.weights) * self.outputs * self.inputs))
        return [slice(a, a + few) for a in range(0, count, few)]


@given.checked(
    d=given.derivation,
    x0=given.array,
    t=given.number,
    variance=given.size,
    bias_variance=given.size,
    samples=given.whole,
)
def joint_output_law(
    d: Derivation,
    *,
    x0: ArrayLike = 1.0,
    t: float = 1.0,
    outputs: int = 1,
    variance: float = 1.0,
    bias_variance: float = 0.0,
    samples: int = 20_000,
    steps: int = 500,
    seed: int = 0,
) -> JointOutputLaw:
    r"""The joint law of the outputs of several readout neurons for all inputs.

    *Statement.* With fresh Gaussian weights of the readout, :math:`f_{j\alpha} = n^{-1/2}\sum_i w_{ji} x_{i\alpha} + b_j` is given the last layer a
    Gaussian of covariance :math:`\delta_{jk}(\sigma_w^2 V_{\alpha\beta} + \sigma_b^2)`. So different readout neurons are uncorrelated and depend on
    each other through V only.

    *Where it holds.* As :func:`numerics.output_law`.

    Parameters
    ----------
    d : Derivation
    x0, t, variance, bias_variance, samples, steps, seed
        As for :func:`numerics.output_law`.
    outputs : int
        The number r of readout neurons.

    Returns
    -------
    JointOutputLaw

    Raises
    ------
    ValueError
        As :func:`numerics.output_law`.

    Examples
    --------
    >>> from derivations import MLP, derive, relu
    >>> f = joint_output_law(derive(MLP(relu, inputs=1), order="joint"), t=0.1, outputs=2)
    >>> round(float(f.cdf([[0.0], [0.0]])), 6), round(f.square_correlation(), 4)  # V is log-normal, E V² = e^{1/2}
    (0.25, 0.1644)
    """
    if variance < 0 or bias_variance < 0 or variance + bias_variance == 0:
        raise ValueError(f"variances of the readout must be at least 0, not both 0, got {variance} and {bias_variance}")
    if not given.whole.holds(outputs) or outputs < 1:
        raise ValueError(f"outputs must be a positive whole number, got {shown(outputs)}")
    found: Conditional = conditional_moments(d, x0, t, samples, steps, seed)
    covariances = variance * found.second + bias_variance
    return JointOutputLaw(found.weights, covariances, int(outputs), found.error, found.remark)


def bivariate_normal_cdf(h: Array, k: Array, rho: Array) -> Array:
    r"""P(X ≤ h, Y ≤ k) of two standard normal numbers with correlation ρ, by Owen's function T.

    Examples
    --------
    >>> round(float(bivariate_normal_cdf(np.array(0.0), np.array(0.0), np.array(0.5))), 12)  # 1/4 + asin(1/2)/(2π)
    0.333333333333
    """
    h, k, rho = np.broadcast_arrays(h, k, rho)
    beside = np.sqrt((1 - rho) * (1 + rho))
    with np.errstate(all="ignore"):
        first, second = (
            np.where(a != 0, (b - rho * a) / (a * beside), np.sign(b) * np.inf) for a, b in ((h, k), (k, h))
        )
        apart = np.where((h * k > 0) | ((h * k == 0) & (h + k >= 0)), 0.0, 0.5)
        total = (ndtr(h) + ndtr(k)) / 2 - owens_t(h, first) - owens_t(k, second) - apart
    total = np.where((h == 0) & (k == 0), 0.25 + np.arcsin(rho) / (2 * np.pi), total)
    total = np.where(
        np.isinf(h) | np.isinf(k), np.where((h == -np.inf) | (k == -np.inf), 0.0, np.minimum(ndtr(h), ndtr(k))), total
    )
    total = np.where(rho >= 1, np.minimum(ndtr(h), ndtr(k)), total)
    return np.clip(np.where(rho <= -1, np.maximum(ndtr(h) + ndtr(k) - 1, 0), total), 0.0, 1.0)
