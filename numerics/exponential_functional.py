r"""The law of an exponential functional of Brownian motion, by inverting a Laplace transform.

For :math:`A_\tau = \int_0^\tau e^{2(B_s + s)}\,\mathrm{d}s` the mixture :math:`\sqrt{A_\tau}\,N` has a known density
(:class:`derivations.calculus.exponential.LinearForm`): a mixture of two Gaussians in :math:`\operatorname{arsinh} y`. So

.. math:: \mathbb{E}\bigl[A_\tau^{-1/2} e^{-s/A_\tau}\bigr] = \tau^{-1/2}\exp\Bigl(-\tfrac\tau2 -
\frac{\operatorname{arsinh}^2\sqrt{2s}}{2\tau}\Bigr),

which is the Laplace transform in s of :math:`v^{1/2}` times the density of :math:`v = 1/A_\tau`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import mpmath
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import BSpline, make_interp_spline

from derivations.calculus.exponential import collapse_linear, mixed
from derivations.laws import recognise
from derivations.limits import CollapseDiffusion
from derivations.symbols import initial, time
from numerics.compile import compile_expression

Array = NDArray[np.float64]

_DEGREE, _DIGITS = 20, 30  # of Talbot's contour, and of the arithmetic on it: what is left is a double's rounding


@dataclass(frozen=True)
class CollapseLaw:
    r"""The law of :math:`w_t = t/\sqrt{q_t}` from :math:`w_0 = 0`, for an unshaped two-slope perceptron.

    Parameters
    ----------
    limit : CollapseDiffusion
        Without free parameters, as ``joint_limit(MLP(relu, inputs=2))`` gives it.
    t : float
        Time, positive.

    Examples
    --------
    >>> from derivations import MLP, joint_limit, relu
    >>> law = CollapseLaw(joint_limit(MLP(relu, inputs=2)), t=1.0)
    >>> round(law.mean(), 6), round(law.mass(), 6)
    (0.479348, 1.0)
    """

    limit: CollapseDiffusion
    t: float

    def __post_init__(self) -> None:
        if not isinstance(self.limit, CollapseDiffusion) or self.limit.parameters:
            raise ValueError(f"expected the limit of an unshaped perceptron without parameters, got {self.limit!r}")
        if not (np.isfinite(self.t) and self.t > 0):
            raise ValueError(f"t must be positive and finite, got {self.t}")

    @cached_property
    def _transform(self) -> tuple[float, float, object]:
        """The scale of w in A, the time τ, and y ↦ √(2π) times the density of the mixture, on complex y."""
        form = collapse_linear(self.limit)
        scale, clock = float(form.scale), float(form.clock) * self.t
        law = recognise(form.mixture)
        density = law.pdf(mixed, time, initial).subs(initial, 0)
        return scale, clock, compile_expression((mixed, time), density, "mpmath")

    def _laplace(self, s: mpmath.mpc) -> mpmath.mpc:
        """The transform of √v times the density of v = 1/A."""
        _, clock, density = self._transform
        return mpmath.sqrt(2 * mpmath.pi) * density(mpmath.sqrt(2 * s), mpmath.mpf(clock))  # type: ignore[operator]

    def pdf(self, w: ArrayLike) -> Array:
        """Density of w; points are inverted one by one."""
        scale, _, _ = self._transform
        points = np.asarray(w, dtype=float)
        values = [self._density_of_a(point / scale) / scale if point > 0 else 0.0 for point in points.ravel()]
        return np.reshape(values, points.shape)

    def _density_of_a(self, a: float) -> float:
        v = mpmath.mpf(1) / mpmath.mpf(a)
        with mpmath.workdps(_DIGITS):
            weighted = mpmath.invertlaplace(self._laplace, v, method="talbot", degree=_DEGREE)
            return max(float(weighted / mpmath.sqrt(v) * v**2), 0.0)

    @cached_property
    def _grid(self) -> tuple[Array, Array]:
        """Points uniform in log w and the density of log w there: analytic, so that sums converge geometrically."""
        spread = np.sqrt(float(self.limit.variance_rate) / 4 * self.t)
        centre = np.log(self.moment(1)) - spread**2 / 2
        logs = np.linspace(centre - 9 * spread - 1, centre + 9 * spread, 97)
        w = np.exp(logs)
        return logs, self.pdf(w) * w

    @cached_property
    def _integral(self) -> BSpline:
        return make_interp_spline(*self._grid, k=7).antiderivative()

    def cdf(self, w: ArrayLike) -> Array:
        """Distribution function: the integral of a spline through the density of log w."""
        logs, _ = self._grid
        points = np.maximum(np.asarray(w, dtype=float), np.exp(logs[0]))
        return np.clip(self._integral(np.minimum(np.log(points), logs[-1])), 0.0, 1.0)

    def ppf(self, p: ArrayLike) -> Array:
        """Quantiles, by inverting the distribution function between the points of a fine grid."""
        logs, _ = self._grid
        fine = np.linspace(logs[0], logs[-1], 20_001)
        return np.exp(np.interp(np.asarray(p, dtype=float), np.maximum.accumulate(self.cdf(np.exp(fine))), fine))

    def mass(self) -> float:
        """The integral of the density, which must be 1."""
        logs, density = self._grid
        return float(np.sum(density) * (logs[1] - logs[0]))

    def mean(self) -> float:
        """The mean from the density."""
        logs, density = self._grid
        return float(np.sum(density * np.exp(logs)) * (logs[1] - logs[0]))

    def moment(self, k: int) -> float:
        """The moment that the linear equation gives, independent of the density."""
        return float(collapse_linear(self.limit).moment(k).subs(time, self.t))
