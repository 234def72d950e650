r"""The numbers and means that make a network's kernel flow, and the flow of each input alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import solve_ivp

from derivations.architectures import Recipe
from derivations.gaussian.finite import is_odd
from derivations.kernels import branch_rates, is_homogeneous, ntk, slope_of, solve_flow
from derivations.language.single import OneMatrixLayer
from derivations.symbols import time
from numerics.compile import compile_expression
from numerics.compile.jit import Kernel
from numerics.compile.jit_pairs import pair_kernel
from numerics.kernels.means import CompiledMeans, compile_means

Array = NDArray[np.float64]

_LEAST_SCALE = 1e-280


@dataclass(frozen=True)
class Rates:
    r"""Rates of the flows of mean, covariance and tangent kernel.

    :math:`\dot M = cM + d`, :math:`\dot K = pG + 2cK + Md^\top + dM^\top` and
    :math:`\dot\Theta = p(G + \sigma_w^2\,\mathbb{E}[\psi'\psi']\Theta) + 2c\Theta`.

    :math:`d = s\,m + v\,\mathrm{diag}\,G`, as :class:`derivations.kernels.BranchRates` has it. ``slope`` holds the means of
    :math:`\psi'`, None where only K is asked for: a :math:`\psi` with jumps has no more.
    """

    noise: float
    own: float
    shift: float
    curvature: float
    weight_variance: float
    bias_variance: float
    weight_mean: float
    bias_mean: float
    inner: CompiledMeans
    slope: CompiledMeans | None
    homogeneous: bool
    linear: bool
    odd: bool

    @property
    def moving(self) -> bool:
        """Whether the means move away from 0."""
        return bool(self.curvature or (self.shift and (self.weight_mean or self.bias_mean)))

    @property
    def mirrored(self) -> bool:
        """Whether the kernel of x and -y is minus that of x and y."""
        return self.odd and not self.moving and not self.bias_variance

    def trusted(self, variance: Array) -> Rates:
        """With closed means only where rounding does not spoil them at the variances."""
        slope = None if self.slope is None else self.slope.trusted(variance)
        return replace(self, inner=self.inner.trusted(variance), slope=slope)

    def covariance(self, product: Array) -> Array:
        """G from E ψψ."""
        return self.bias_variance + self.weight_variance * product

    def push(self, first: Array, square: Array) -> Array:
        """D from E ψ and the diagonal of G."""
        return self.shift * (self.bias_mean + self.weight_mean * first) + self.curvature * square

    def jit(self, tangent: bool) -> Kernel:
        """The flow of pairs as machine code.

        Raises
        ------
        ValueError
            If the means move, or one over pairs has no closed form: the array code integrates these.
        """
        if self.moving:
            raise ValueError('no machine-code kernel for pairs whose means move; use backend="auto"')
        closed = [means.closed_product for means in (self.inner, self.slope)[: 1 + tangent] if means is not None]
        products = tuple(product.expression for product in closed if product is not None)
        if len(products) < len(closed):
            raise ValueError('no machine-code kernel where a mean over pairs has no closed form; use backend="auto"')
        return pair_kernel(products)


def rates_of(architecture: Recipe, tangent: bool) -> Rates:
    """Read the rates off the architecture's layer, with or without those of the tangent kernel.

    Raises
    ------
    ValueError
        If a parameter has no number yet, or a mean diverges.
    """
    layer = OneMatrixLayer.of(architecture.program())
    assert layer is not None
    weights, means, branch = layer.weights, layer.means or layer.weights, branch_rates(layer)
    named = {
        "noise": branch.noise,
        "own": branch.own,
        "shift": branch.shift,
        "curvature": branch.curvature,
        "weight_variance": weights.variance,
        "bias_variance": weights.bias_variance,
        "weight_mean": means.mean,
        "bias_mean": means.bias_mean,
    }
    for name, value in named.items():
        if value.free_symbols:
            raise ValueError(
                f"expected numbers in the architecture, got {name} = {value}; substitute values for its symbols"
            )
    numbers = {name: float(value) for name, value in named.items()}
    inner = compile_means(layer.inner)
    return Rates(
        **numbers,
        inner=inner,
        slope=compile_means(slope_of(layer.inner)) if tangent else None,
        homogeneous=is_homogeneous(layer.inner),
        linear=is_homogeneous(layer.inner) and not layer.inner.kinks,
        odd=is_odd(layer.inner.expr, layer.inner.variable),
    )


def closed_kernels(architecture: Recipe) -> Callable[[Array, float], tuple[Array, Array]]:
    """Both kernels from the one at depth 0 and the depth, where :func:`derivations.kernels.solve_flow` solves the flow.

    The formula is that of one input; being affine with coefficients that depend on depth alone, it holds for every pair.
    """
    flow = ntk(replace(architecture, inputs=1))  # type: ignore[type-var]
    (_, k), (_, theta) = solve_flow(flow).items()
    starts = sorted((k.free_symbols | theta.free_symbols) - {time}, key=str)  # K_0 and Theta_0
    function = compile_expression((*starts, time), [k, theta])

    def at(start: Array, t: float) -> tuple[Array, Array]:
        nngp, tangent = function(*[start] * len(starts), t)
        return nngp, tangent

    return at


@dataclass(frozen=True)
class Alone:
    """Each input's mean, second moment and tangent kernel as functions of depth; how often their rates were asked for."""

    at: Callable[[float], tuple[Array, Array, Array]]
    evaluations: int

    @classmethod
    def solve(cls, rates: Rates, start: Array, t: float, tolerance: float) -> Alone:
        """Integrate the flows of all inputs, one by one but at the same depths."""
        m = len(start)
        if t == 0.0:
            return cls(lambda _: (np.zeros(m), start, start), 0)

        def velocity(_: float, y: Array) -> Array:
            mean, second, tangent = y.reshape(3, m)
            variance = np.maximum(second - mean**2, 0.0)
            gram = rates.covariance(rates.inner.square(mean, variance))
            passed = np.zeros(m)
            if rates.slope is not None:
                passed = rates.weight_variance * rates.slope.square(mean, variance) * tangent
            if not rates.moving:
                return np.concatenate(
                    [
                        np.zeros(m),
                        rates.noise * gram + 2 * rates.own * second,
                        rates.noise * (gram + passed) + 2 * rates.own * tangent,
                    ]
                )
            push = rates.push(rates.inner.first(mean, variance), gram)
            return np.concatenate(
                [
                    rates.own * mean + push,
                    rates.noise * gram + 2 * rates.own * second + 2 * mean * push,
                    rates.noise * (gram + passed) + 2 * rates.own * tangent,
                ]
            )

        first = np.concatenate([np.zeros(m), start, start])
        moved = np.abs(velocity(0.0, first).reshape(3, m)) * t
        second, tangents = np.maximum(start, moved[1]), np.maximum(start, moved[2])
        scale = np.concatenate([np.maximum(np.sqrt(second), moved[0]), second, tangents])
        solution = integrate(velocity, first, t, tolerance, scale, dense=True)

        def at(s: float) -> tuple[Array, Array, Array]:
            mean, second, tangent = solution.sol(s).reshape(3, m)
            return mean, second, tangent

        return cls(at, solution.nfev)


def integrate(
    velocity: Callable[[float, Array], Array],
    start: Array,
    t: float,
    tolerance: float,
    scale: Array,
    dense: bool = False,
):
    """DOP853 with a clear word where the solution leaves the numbers.

    Parameters
    ----------
    scale : array
        The size of each number, of which its error is a fraction.

    Raises
    ------
    ValueError
        If the kernel explodes before t, or does not start.
    """
    if not np.all(np.isfinite(velocity(0.0, start))):
        raise ValueError("the kernel's flow has no finite velocity at depth 0; scale the inputs")
    with np.errstate(over="ignore", invalid="ignore"):
        solution = solve_ivp(
            velocity,
            (0.0, t),
            start,
            method="DOP853",
            rtol=tolerance,
            atol=tolerance * np.maximum(scale, _LEAST_SCALE),
            dense_output=dense,
        )
    if not solution.success or not np.all(np.isfinite(solution.y[:, -1])):
        raise ValueError(
            f"the kernel explodes near depth t = {solution.t[-1]:.6g}, before the t = {t:g} asked for; "
            "choose a smaller t, smaller inputs or smaller variances (derivations.kernels.explosion_depth says where)"
        )
    return solution
