r"""Claims on networks whose depth and width grow together (Li & Nica 2023), each derived by the engine and simulated.

What is derived takes a factor of the limit's noise as its argument, so that a control is derived from a wrong one in the
same way. The networks have width n and :math:`nt` layers. Shapings are chosen even in :math:`n^{-1/2}` (slopes
:math:`1 \pm c/\sqrt n`, odd activations), so that their bias is of order 1/n and can be extrapolated.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from functools import lru_cache, partial
from typing import Any

import numpy as np
from scipy import integrate

from derivations.activations import relu, tanh
from derivations.architectures import MLP, PreNormResNet, ShapedMLP
from derivations.calculus.exponential import collapse_linear
from derivations.calculus.gram import pair_correlation, squared_norm
from derivations.calculus.speed import speed_density
from derivations.diffusion import Diffusion
from derivations.limits import CollapseDiffusion, joint_limit
from derivations.symbols import time
from numerics.compile import compile_expression
from numerics.ensembles import Seed
from numerics.fokker_planck import solve_fokker_planck
from numerics.networks import simulate_collapse, simulate_gram
from numerics.outcomes import ProjectWarning
from numerics.paths import simulate_sde
from numerics.validation.base import Array
from numerics.validation.claims import OWN, Claim, Comparison, Distribution, Number

SOURCE = "M. Li, M. Nica, Differential equation scaling limits of shaped and unshaped neural networks (2023)"
HALF = Fraction(1, 2)
Build = Callable[..., ShapedMLP]


def shaped_relu(inputs: int, width: Any = None) -> ShapedMLP:
    r"""Slopes :math:`1 \pm \tfrac12 n^{-1/2}`: half of :math:`c_+ - c_- = 1` on each side, so that odd orders cancel."""
    size = {} if width is None else {"width": width}
    return ShapedMLP(relu, inputs=inputs, c_plus=HALF, c_minus=-HALF, **size)


def skipped(inputs: int, width: Any = None) -> ShapedMLP:
    """The same with half of the state skipping the layer."""
    return replace(shaped_relu(inputs, width), skip=HALF)


def unequal(inputs: int, width: Any = None) -> ShapedMLP:
    r"""Slopes :math:`1 + n^{-1/2}` and :math:`1 - \tfrac12 n^{-1}`, two rates; the slower one alone counts.

    The dynamics depends on the logarithm of the slopes' ratio, evenly; here it is :math:`n^{-1/2} + O(n^{-3/2})`.
    """
    size = {} if width is None else {"width": width}
    return ShapedMLP(relu, inputs=inputs, c_plus=1, c_minus=-HALF, rate=(HALF, 1), **size)


@lru_cache(maxsize=16)
def noisy(architecture: Any, factor: Fraction) -> Any:
    """The limit with its covariance multiplied by a factor: 1, or that of a control."""
    limit = joint_limit(architecture)
    return replace(limit, covariance=limit.covariance * factor)


# --- shaped: norms and correlations ---


def log_norm(factor: Fraction) -> float:
    """The engine's E log V at t = 1 from V = 1: Itô's formula on the logarithm of a geometric Brownian motion."""
    process = squared_norm(limit := noisy(shaped_relu(1), factor), limit.states[0]).process()
    (v,), (b,), (a,) = process.states, process.drift, process.covariance
    return float((b / v - a / (2 * v**2)).cancel())


#: Gram matrices of perceptrons, whose rows are i.i.d. given the layer before: the Markov chain that the theory is of.
end_of_perceptrons = partial(simulate_gram, record="conditional gram")


def log_norm_of_networks(size: int, samples: int, seed: Seed, workers: int) -> Array:
    """Log V of networks with as many layers as neurons."""
    return np.log(end_of_perceptrons(shaped_relu(1, size), size, samples, [[1.0]], seed, workers)[:, 0, 0])


def correlation_gram(inputs: int, rho: float) -> Array:
    """Unit inputs, any two with the same correlation."""
    return (1 - rho) * np.eye(inputs) + rho


def log_volume(gram: Array) -> Array:
    """Log of the determinant of the correlation matrix: all correlations jointly."""
    scale = np.sqrt(np.einsum("baa->ba", gram))
    return np.linalg.slogdet(gram / scale[:, :, None] / scale[:, None, :]).logabsdet


def volume_of_limit(
    build: Build, inputs: int, t: float, factor: Fraction, size: int, samples: int, seed: Seed, workers: int
) -> Array:
    """The same from the derived equation, with ``size`` steps per unit of time."""
    start = correlation_gram(inputs, 0.3)
    rows, columns = np.triu_indices(inputs)
    x = simulate_sde(
        noisy(build(inputs), factor),
        x0=start[rows, columns],
        t=t,
        steps=max(1, int(size * t)),
        samples=samples,
        seed=seed,
        workers=workers,
        scheme="congruence",
    )
    gram = np.empty((samples, inputs, inputs))
    gram[:, rows, columns] = gram[:, columns, rows] = x
    return log_volume(gram)


def volume_of_networks(
    build: Build, record: str, inputs: int, t: float, size: int, samples: int, seed: Seed, workers: int
) -> Array:
    """The same from networks."""
    net, start = build(inputs, size), correlation_gram(inputs, 0.3)
    return log_volume(simulate_gram(net, int(size * t), samples, start, seed, workers, record=record))


# --- shaped: the law of the correlation ---


def correlation_law(factor: Fraction) -> Any:
    """The law of ρ at t = 1/2 from 0.3, by the forward equation of the engine's process of ρ."""
    limit = noisy(shaped_relu(2), factor)
    process = pair_correlation(limit, limit.states).process()
    assert isinstance(process, Diffusion)
    return solve_fokker_planck(process, x0=0.3, t=0.5)


def correlations(size: int, samples: int, seed: Seed, workers: int) -> Array:
    """ρ of networks with half as many layers as neurons."""
    gram = end_of_perceptrons(shaped_relu(2, size), size // 2, samples, correlation_gram(2, 0.3), seed, workers)
    return gram[:, 0, 1] / np.sqrt(gram[:, 0, 0] * gram[:, 1, 1])


# --- a residual network that normalises what goes into its branch: a flow, though depth is proportional to width ---


def normalised_entry(factor: Fraction) -> float:
    """V_12 at t = 1/2 by the engine's flow, with the weights' variance multiplied."""
    flow = joint_limit(PreNormResNet(relu, inputs=2, weight_variance=factor))
    velocity = compile_expression(flow.states, tuple(flow.drift))
    gram = correlation_gram(2, 0.3)[np.triu_indices(2)]
    solved = integrate.solve_ivp(lambda _, v: np.ravel(velocity(*v)), (0.0, 0.5), gram, rtol=1e-10, atol=1e-12)
    return float(solved.y[1, -1])


def normalised_entry_of_networks(size: int, samples: int, seed: Seed, workers: int) -> Array:
    """The same from networks of ``size`` neurons and half as many layers."""
    net = PreNormResNet(relu, inputs=2, width=size)
    return simulate_gram(net, size // 2, samples, correlation_gram(2, 0.3), seed, workers)[:, 0, 1]


# --- shaped: the stationary law of the norm ---


def stationary_mean(factor: Fraction) -> float:
    """The mean of the stationary law for tanh with a = 1, from the density of speed."""
    limit = noisy(ShapedMLP(tanh, inputs=1, a=1), factor)
    density = compile_expression(limit.states, speed_density(limit, (limit.domain.inf, limit.domain.sup)))
    logs = np.linspace(-40.0, 6.0, 20_001)
    v = np.exp(logs)
    weight = density(v) * v
    return float(np.sum(v * weight) / np.sum(weight))


def late_norm(size: int, samples: int, seed: Seed, workers: int) -> Array:
    """V at t = 8."""
    net = ShapedMLP(tanh, inputs=1, a=1, width=size)
    return end_of_perceptrons(net, 8 * size, samples, [[0.5]], seed, workers)[:, 0, 0]


# --- unshaped ---


def collapse() -> CollapseDiffusion:
    """The engine's equation of q."""
    limit = joint_limit(MLP(relu, inputs=2))
    assert isinstance(limit, CollapseDiffusion)
    return limit


def mean_w(start: Fraction, t: Fraction, factor: Fraction) -> float:
    """The engine's E w_t from w_0, with mean and variance of a layer's fluctuation multiplied alike."""
    form = collapse_linear(collapse())
    form = replace(form, growth=form.growth * factor, variance=form.variance * factor)
    return float(form.moment(1, start).subs(time, t))


def law_of_w(start: float, t: float, factor: Fraction) -> Any:
    """The law of w, and with it of q = (t/w)², by the forward equation of the engine's linear equation."""
    form = collapse_linear(collapse())
    form = replace(form, growth=form.growth * factor, variance=form.variance * factor)
    return solve_fokker_planck(form.process, x0=start, t=t)


def w_of_networks(start: float, t: float, size: int, samples: int, seed: Seed, workers: int) -> Array:
    r""":math:`w = 1/(n\sqrt{1 - \rho})` after :math:`nt` layers, from :math:`w_0 > 0`."""
    gap = 1 / (size * start) ** 2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ProjectWarning)
        ends = simulate_collapse(
            MLP(relu, inputs=2, width=size), int(size * t), samples, gap, seed, workers, record="conditional gap"
        )
    alive = ends[ends > 0]  # with probability of order 2^-n a layer has at most one active neuron, and no angle is left
    return 1 / (size * np.sqrt(alive))


CLAIMS: tuple[Claim, ...] = (
    Number(
        "log-norm, shaped ReLU",
        "E log V at t = 1, shaped ReLU, one input",
        SOURCE,
        log_norm,
        log_norm_of_networks,
        size=16,
    ),
    Distribution(
        "correlation, shaped ReLU",
        "law of ρ at t = 1/2 from 0.3, shaped ReLU: the forward equation against networks",
        SOURCE,
        correlation_law,
        correlations,
        slow=True,
    ),
    Comparison(
        "three inputs, shaped ReLU",
        "E log det of the correlations at t = 1/2, shaped ReLU, three inputs jointly",
        SOURCE,
        partial(volume_of_limit, shaped_relu, 3, 0.5),
        partial(volume_of_networks, shaped_relu, "conditional gram", 3, 0.5),
        size=16,
        slow=True,
        pilot=20_000,
    ),
    *(
        Comparison(
            f"two inputs, {name}",
            f"E log det of the correlations at t = 1/2, shaped ReLU with {name}, two inputs",
            OWN,
            partial(volume_of_limit, build, 2, 0.5),
            partial(volume_of_networks, build, record, 2, 0.5),
            size=32,
            slow=True,
            pilot=100_000,
        )
        for name, build, record in (
            ("a skip connection", skipped, "gram"),
            ("two rates", unequal, "conditional gram"),
        )
    ),
    Number(
        "normalised branch",
        "V_12 at t = 1/2 from correlation 0.3, residual network with a normalised ReLU branch, two inputs",
        OWN,
        normalised_entry,
        normalised_entry_of_networks,
        size=16,
        slow=True,
        pilot=2000,
    ),
    Number(
        "stationary norm, shaped tanh",
        "E V at t = 8, shaped tanh, a = 1: the mean of the stationary law",
        SOURCE,
        stationary_mean,
        late_norm,
        size=16,
        slow=True,
    ),
    Number(
        "w from 1/2, ReLU",
        "E w at t = 1/4 from w = 1/2, unshaped ReLU",
        SOURCE,
        partial(mean_w, HALF, Fraction(1, 4)),
        partial(w_of_networks, 0.5, 0.25),
        size=32,
        slow=True,
    ),
    Distribution(
        "law of w from 1/2, ReLU",
        "law of w = t/√q at t = 1/4 from 1/2, unshaped ReLU: the forward equation against networks",
        SOURCE,
        partial(law_of_w, 0.5, 0.25),
        partial(w_of_networks, 0.5, 0.25),
        slow=True,
    ),
)
