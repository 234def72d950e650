r"""The numbers and means that make a network's kernel flow, and the flow of each input alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import solve_ivp

from derivations.architectures import Architecture
from derivations.kernels import branch_rates, is_homogeneous, ntk, slope_of, solve_flow
from derivations.symbols import time
from numerics.compile import compile_expression
from numerics.compile.fused_pairs import pair_kernel
from numerics.compile.machine import Kernel
from numerics.kernels.means import CompiledMeans, compile_means

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Rates:
    r"""Rates of the flows of mean, covariance and tangent kernel.

    :math:`\dot M = cM + d`, :math:`\dot K = pG + 2cK + Md^\top + dM^\top` and
    :math:`\dot\Theta = p(G + \sigma_w^2\,\mathbb{E}[\psi'\psi']\Theta) + 2c\Theta`.

    :math:`d = s\,m + v\,\mathrm{diag}\,G`, as :class:`derivations.kernels.BranchRates` has it.
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
    slope: CompiledMeans
    homogeneous: bool
    linear: bool

    @property
    def moving(self) -> bool:
        """Whether the means move away from 0."""
        return bool(self.curvature or (self.shift and (self.weight_mean or self.bias_mean)))

    def covariance(self, product: Array) -> Array:
        """G from E ψψ."""
        return self.bias_variance + self.weight_variance * product

    def push(self, first: Array, square: Array) -> Array:
        """D from E ψ and the diagonal of G."""
        return self.shift * (self.bias_mean + self.weight_mean * first) + self.curvature * square

    def fuse(self, tangent: bool) -> Kernel:
        """The flow of pairs as machine code.

        Raises
        ------
        ValueError
            If the means move, or one over pairs has no closed form: the array code integrates these.
        """
        if self.moving:
            raise ValueError('no machine-code kernel for pairs whose means move; use backend="auto"')
        closed = [means.closed_product for means in (self.inner, self.slope)[: 1 + tangent]]
        products = tuple(product.expression for product in closed if product is not None)
        if len(products) < len(closed):
            raise ValueError('no machine-code kernel where a mean over pairs has no closed form; use backend="auto"')
        return pair_kernel(products)


def rates_of(architecture: Architecture) -> Rates:
    """Read the rates off the architecture's layer.

    Raises
    ------
    ValueError
        If a parameter has no number yet.
    """
    layer = architecture.layer()
    pre, branch = layer.preactivation, branch_rates(layer)
    named = {
        "noise": branch.noise,
        "own": branch.own,
        "shift": branch.shift,
        "curvature": branch.curvature,
        "weight_variance": pre.weight_variance,
        "bias_variance": pre.bias_variance,
        "weight_mean": pre.weight_mean,
        "bias_mean": pre.bias_mean,
    }
    for name, value in named.items():
        if value.free_symbols:
            raise ValueError(
                f"expected numbers in the architecture, got {name} = {value}; substitute values for its symbols"
            )
    numbers = {name: float(value) for name, value in named.items()}
    inner = compile_means(pre.inner)
    return Rates(
        **numbers,
        inner=inner,
        slope=compile_means(slope_of(pre.inner)),
        homogeneous=is_homogeneous(pre.inner),
        linear=is_homogeneous(pre.inner) and not pre.inner.kinks,
    )


def closed_kernels(architecture: Architecture) -> Callable[[Array, float], tuple[Array, Array]]:
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

        solution = integrate(velocity, np.concatenate([np.zeros(m), start, start]), t, tolerance, dense=True)

        def at(s: float) -> tuple[Array, Array, Array]:
            mean, second, tangent = solution.sol(s).reshape(3, m)
            return mean, second, tangent

        return cls(at, solution.nfev)


def integrate(velocity: Callable[[float, Array], Array], start: Array, t: float, tolerance: float, dense: bool = False):
    """DOP853 with a clear word where the solution leaves the numbers.

    Raises
    ------
    ValueError
        If the kernel explodes before t, or does not start.
    """
    scale = float(np.max(np.abs(start), initial=0.0)) or 1.0
    if not np.all(np.isfinite(velocity(0.0, start))):
        raise ValueError(
            "the kernel's flow has no finite velocity at depth 0; scale the inputs, or leave out those of norm 0"
        )
    with np.errstate(over="ignore", invalid="ignore"):
        solution = solve_ivp(
            velocity, (0.0, t), start, method="DOP853", rtol=tolerance, atol=tolerance * scale, dense_output=dense
        )
    if not solution.success or not np.all(np.isfinite(solution.y[:, -1])):
        raise ValueError(
            f"the kernel explodes near depth t = {solution.t[-1]:.6g}, before the t = {t:g} asked for; "
            "choose a smaller t, smaller inputs or smaller variances (derivations.kernels.explosion_depth tells where)"
        )
    return solution
