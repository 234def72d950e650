r"""Gaussian means of an activation, for arrays of neurons and of pairs of them.

Closed forms are compiled. Where there is none, one mean is a Gauss–Hermite rule, and a mean over a pair its series in the
correlation, :math:`\mathbb{E} f(U) f(V) = \sum_n f_n(U) f_n(V)\,\rho^n` with normalised Hermite coefficients, which needs
one quadrature per neuron instead of one per pair. What the series leaves out is bounded by
:math:`|\rho|^{N+1}\bigl(\mathbb{E} f^2 - \sum f_n^2\bigr)`, and a bound above the tolerance is an error. With a kink, where it is
slow, the mean over a pair is an integral over one of the two, panel by panel.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import roots_hermitenorm

from derivations.activations import Activation
from derivations.kernels.means import MEAN, PAIR, VARIANCE, means_of
from numerics.compile import CompiledFunction, compile_expression

Array = NDArray[np.float64]
#: From a block of correlated pairs, (rows, columns, covariances), to the mean of the product.
PairMean = Callable[[slice, slice, Array], Array]

_NODES, _TERMS = 400, 200
#: Of an integral over a standard normal variable: nodes in a panel, and where it ends.
_PANEL, _REACH = 32, 9.0
#: The largest correlation that closed forms see: at 1 itself rounding would take roots of negative numbers.
BELOW_ONE = 1.0 - 2.0**-51
#: The least variance that they see: at 0 itself they divide 0 by 0.
LEAST = 1e-150


@cache
def _rule() -> tuple[Array, Array]:
    """Nodes of the Gauss–Hermite rule, and weights times normalised Hermite polynomials, shape (nodes, terms)."""
    z, w = roots_hermitenorm(_NODES)
    h = np.empty((_TERMS + 1, _NODES))
    h[0], h[1] = 1.0, z
    for n in range(1, _TERMS):
        h[n + 1] = (z * h[n] - np.sqrt(n) * h[n - 1]) / np.sqrt(n + 1.0)
    return z, (h * (w / w.sum())).T


@dataclass(frozen=True)
class CompiledMeans:
    """The means of one function; make it with :func:`compile_means`."""

    function: Callable[[Array], Array]
    closed_first: Callable[..., Array] | None
    closed_square: Callable[..., Array] | None
    closed_centred: Callable[..., Array] | None
    closed_product: CompiledFunction | None
    kinks: tuple[float, ...] = ()
    tolerance: float = 1e-10

    def first(self, mean: Array, variance: Array) -> Array:
        """E f of each neuron."""
        if self.closed_first is not None:
            return self.closed_first(mean, np.maximum(variance, LEAST))
        return self._coefficients(mean, variance)[:, 0]

    def square(self, mean: Array, variance: Array) -> Array:
        """E f² of each neuron."""
        if self.closed_centred is not None and not mean.any():
            return self.closed_centred(np.maximum(variance, LEAST))
        if self.closed_square is not None:
            return self.closed_square(mean, np.maximum(variance, LEAST))
        values, weights = self._values(mean, variance), _rule()[1][:, 0]
        result: Array = values**2 @ weights
        return result

    def pairs(self, mean: Array, variance: Array) -> PairMean:
        """The means of products, for pairs of the given neurons."""
        if self.closed_product is not None and not mean.any():
            variance = np.maximum(variance, LEAST)  # an input of norm 0 has the correlation 0 with all others
            closed, deviation = self.closed_product, np.sqrt(variance)

            def product(rows: slice, columns: slice, covariance: Array) -> Array:
                most = deviation[rows, None] * deviation[columns] * BELOW_ONE
                return closed(variance[rows, None], np.clip(covariance, -most, most), variance[columns])

            return product
        if self.kinks and self.closed_first is not None:
            return self._by_conditioning(mean, variance)
        return self._series(mean, variance)

    def _by_conditioning(self, mean: Array, variance: Array) -> PairMean:
        r"""With a kink the series in the correlation is slow: one integral over :math:`U = M + \sigma z` instead.

        Given z, V is Gaussian, and the mean of f(V) is closed. The integrand has kinks where U meets those of f, and where V's mean
        does, layers as wide as V's deviation: the panels of the Gauss–Legendre rule end there.
        """
        first, variance = self.first, np.maximum(variance, LEAST)
        deviation = np.sqrt(variance)
        nodes, weights = np.polynomial.legendre.leggauss(_PANEL)

        def product(rows: slice, columns: slice, covariance: Array) -> Array:
            at, spread, other = mean[rows, None], deviation[rows, None], mean[columns]
            slope = covariance / spread
            left = np.maximum(variance[columns] - slope**2, LEAST)
            steep = np.where(np.abs(slope) > LEAST, slope, LEAST)
            edges = [np.full_like(slope, -_REACH), np.full_like(slope, _REACH)]
            for kink in self.kinks:
                centre, width = (kink - other) / steep, np.abs(8 * np.sqrt(left) / steep)
                edges += [np.broadcast_to((kink - at) / spread, slope.shape), centre - width, centre, centre + width]
            ends = np.sort(np.clip(edges, -_REACH, _REACH), axis=0)
            total = np.zeros_like(slope)
            for low, high in pairwise(ends):
                half = (high - low)[..., None] / 2
                z = low[..., None] + half * (1 + nodes)
                inside = first((other + 0 * slope)[..., None] + slope[..., None] * z, left[..., None] + 0 * z)
                values = self.function(at[..., None] + spread[..., None] * z) * inside * np.exp(-(z**2) / 2)
                total += half[..., 0] * (values @ weights)
            result: Array = total / np.sqrt(2 * np.pi)
            return result

        return product

    def _series(self, mean: Array, variance: Array) -> PairMean:
        terms = self._coefficients(mean, variance)
        scale = self.square(mean, variance)
        tails = np.maximum(scale - np.sum(terms**2, axis=1), 0.0)
        tails[tails < 1e-14 * scale] = 0.0  # rounding
        deviation = np.sqrt(variance)
        used = np.flatnonzero(np.abs(terms).max(axis=0) > 1e-17 * np.sqrt(scale.max()))
        last = int(used[-1]) if len(used) else 0

        def product(rows: slice, columns: slice, covariance: Array) -> Array:
            most = deviation[rows, None] * deviation[columns]
            rho = np.clip(np.divide(covariance, most, out=np.zeros_like(covariance), where=most > 0), -1.0, 1.0)
            left = np.abs(rho) ** (terms.shape[1]) * np.sqrt(tails[rows, None] * tails[columns])
            rows_, columns_ = np.arange(len(variance))[rows], np.arange(len(variance))[columns]
            left[rows_[:, None] == columns_] = 0.0  # the diagonal is not taken from the series
            if left.max(initial=0.0) > self.tolerance * max(scale.max(), 1e-300):
                raise ValueError(
                    f"a Gaussian mean over pairs of neurons has no closed form, and its series of {_TERMS} terms may leave out "
                    f"{left.max():.1e}; scale the inputs down, keep them apart, or use a smoother inner activation"
                )
            total = np.zeros_like(rho)
            for n in range(last, -1, -1):
                total *= rho
                if np.any(terms[:, n]):
                    total += terms[rows, n, None] * terms[columns, n]
            return total

        return product

    def _values(self, mean: Array, variance: Array) -> Array:
        return self.function(mean[:, None] + np.sqrt(variance)[:, None] * _rule()[0])

    def _coefficients(self, mean: Array, variance: Array) -> Array:
        result: Array = self._values(mean, variance) @ _rule()[1]
        return result


@lru_cache(maxsize=64)
def compile_means(function: Activation) -> CompiledMeans:
    """Compile what is closed; the rest stays numerical."""
    means = means_of(function)

    def compiled(arguments: Any, expression: Any) -> Any:
        return None if expression is None else compile_expression(arguments, expression)

    return CompiledMeans(
        compile_expression((function.variable,), function.expr),
        compiled((MEAN, VARIANCE), means.first),
        compiled((MEAN, VARIANCE), means.square),
        compiled((VARIANCE,), means.centred_square),
        compiled(PAIR, means.product),
        tuple(float(kink) for kink in function.kinks),
    )
