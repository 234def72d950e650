r"""Claims on finite-width, infinite-depth residual networks (Hayou 2022), each derived by the engine and simulated.

All are about :math:`X_{\ell+1} = X_\ell + L^{-1/2} W \varphi(X_\ell)`. What is derived takes the weights' variance as its
argument, so that a control is derived from the wrong one in the same way.
"""

from __future__ import annotations

import math
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np
from scipy import integrate

from derivations.activations import Activation, leaky_relu, relu
from derivations.architectures import ResNet
from derivations.diffusion import Diffusion
from derivations.laws import Normal, recognise
from derivations.limits import depth_limit, width_limit
from derivations.norms import initial_slope, norm_dynamics
from derivations.sums import CoordinateSum
from derivations.symbols import width as any_width
from numerics.compile import compile_expression, compile_law, compile_sums
from numerics.ensembles import Seed
from numerics.networks import simulate_network
from numerics.paths import simulate_sde
from numerics.schemes import EulerMaruyama
from numerics.validation.base import RIGHT, SCALE, Array, spawn
from numerics.validation.claims import AtStart, Claim, Comparison, Distribution, Number, Rate, Twin
from numerics.validation.hayou_linear import LINEAR, SOURCE, neurons

CHUNK = 2**17


# --- the slope of E log ‖φ(X_t)‖ at t = 0, ReLU ---


def slope_at_start(width: int, variance: Fraction) -> float:
    """The engine's slope at t = 0 for an i.i.d. symmetric start, given a norm that is not 0."""
    return float(
        initial_slope(norm_dynamics(neurons(ResNet(relu, width=any_width, weight_variance=variance)), relu)).at(width)
    )


def log_norm_increment(width: int, size: int, samples: int, seed: Seed, workers: int, time: int = 0) -> Array:
    r"""The increase of :math:`\log\|\varphi\|` in the layer after a time, per unit of time, from a standard normal start with :math:`\|\varphi\| > 0`.

    Its part linear in the increment, :math:`\sum_i \varphi(x_i)\Delta_i/\|\varphi(x)\|^2`, has mean 0 since the weights are centred,
    whatever the state. Subtracting it leaves the mean and removes a noise of order :math:`\sqrt{\text{size}}`.
    """
    kept = []
    for s in spawn(seed, -(-samples // CHUNK)):
        layers = simulate_network(
            ResNet(relu, width=width),
            time * size + 1,
            min(samples, CHUNK),
            inputs=[[1.0]],
            t=time + 1.0 / size,
            seed=s,
            workers=workers,
            at=[time * size, time * size + 1],
        )
        before, after = layers[..., 0]
        phi, phi_after = np.maximum(before, 0.0), np.maximum(after, 0.0)
        square, square_after = np.sum(phi**2, axis=1), np.sum(phi_after**2, axis=1)
        moves = (square > 0) & (square_after > 0)
        linear = np.sum(phi * (after - before), axis=1)[moves] / square[moves]
        kept.append((np.log(square_after[moves] / square[moves]) / 2.0 - linear) * size)
    return np.concatenate(kept)


SLOPES: tuple[Claim, ...] = tuple(
    Number(
        f"slope at t = 0, width {n}",
        f"d/dt E log‖φ(X_t)‖ at t = 0, ReLU, width {n}",
        SOURCE,
        partial(slope_at_start, n),
        partial(log_norm_increment, n),
        size=2**14,
        extrapolate=False,
    )
    for n in (1, 2, 3, 4)
)


# --- later times, ReLU: which neurons stay active ---


def active_neurons(width: int, time: int, size: int, samples: int, seed: Seed, workers: int) -> Array:
    """N(X_t) in networks of ``size`` layers per unit of time, from a standard normal start with N(X_0) > 0."""
    counts = simulate_network(
        ResNet(relu, width=width),
        size * time,
        samples,
        inputs=[[1.0]],
        t=float(time),
        seed=seed,
        workers=workers,
        at=[0, size * time],
        record=lambda x: np.count_nonzero(x > 0, axis=(1, 2)),
    )
    return counts[1][counts[0] > 0]


def states_of_limit(
    width: int, time: int, variance: Fraction, size: int, samples: int, seed: Seed, workers: int
) -> Array:
    """X_t of the engine's equation by Euler–Maruyama, with ``size`` steps per unit of time, where φ(X_0) is not 0."""
    start, noise = spawn(seed, 2)
    x0 = np.random.default_rng(start).standard_normal((samples, width))
    limit = depth_limit(ResNet(relu, width=width, weight_variance=variance))
    x = simulate_sde(limit, x0=x0, t=float(time), steps=size * time, samples=samples, seed=noise, workers=workers)
    return x[np.any(x0 > 0, axis=1)]


def active_neurons_of_limit(
    width: int, time: int, variance: Fraction, size: int, samples: int, seed: Seed, workers: int
) -> Array:
    """N(X_t) of the engine's equation."""
    return np.count_nonzero(states_of_limit(width, time, variance, size, samples, seed, workers) > 0, axis=1)


def slope_of_limit(width: int, time: int, size: int, samples: int, seed: Seed, workers: int) -> Array:
    """The derived drift of log‖φ(X)‖ at X_t."""
    limit = neurons(ResNet(relu, width=width))
    drift = compile_sums(limit.neuron, norm_dynamics(limit, relu).logarithm.drift[0])
    return np.asarray(drift(states_of_limit(width, time, RIGHT, size, samples, seed, workers)[..., None]))


def long_time_exponent(width: int, variance: Fraction) -> float:
    """The engine's drift of log‖φ(X)‖ with one active neuron, the end that every path reaches for width 2."""
    (drift,) = norm_dynamics(neurons(ResNet(relu, width=width, weight_variance=variance)), relu).logarithm.drift
    return float(drift.xreplace({count: 1 for count in drift.atoms(CoordinateSum)}))


def late_growth(width: int, size: int, samples: int, seed: Seed, workers: int) -> Array:
    """The mean slope of log‖φ(X_t)‖ between t = 60 and t = 100, with ``size`` layers per unit of time."""
    logs = simulate_network(
        ResNet(relu, width=width),
        100 * size,
        samples,
        x0=1.0,
        t=100.0,
        seed=seed,
        workers=workers,
        at=[60 * size, 100 * size],
        record=lambda x: np.log(np.sum(np.maximum(x, 0.0) ** 2, axis=(1, 2))) / 2.0,
    )
    return (logs[1] - logs[0]) / 40.0


LATER: tuple[Claim, ...] = (
    AtStart(
        "slope at t = 8, width 4",
        "d/dt E log‖φ(X_t)‖, ReLU, width 4, is 1/60 as at t = 0: the norm grows from width 4 on; derived for t = 8: it falls",
        SOURCE,
        partial(slope_at_start, 4, RIGHT),
        partial(slope_of_limit, 4, 8),
        partial(log_norm_increment, 4, time=8),
        size=8,
        slow=True,
    ),
    Comparison(
        "active neurons, width 4, t = 8",
        "E N(X_t), ReLU, width 4, t = 8: networks against the derived equation",
        SOURCE,
        partial(active_neurons_of_limit, 4, 8),
        partial(active_neurons, 4, 8),
        size=16,
        slow=True,
    ),
    Number(
        "long-time exponent, width 2",
        "growth rate of log‖φ(X_t)‖ for t from 60 to 100, ReLU, width 2",
        SOURCE,
        partial(long_time_exponent, 2),
        partial(late_growth, 2),
        size=32,
        slow=True,
        pilot=500,
    ),
)


# --- infinite width ---

INPUTS = np.array([[1.0, 0.0], [0.6, 0.8]])  # two unit vectors with correlation 0.6


def kernel_after(time: float, variance: Fraction) -> Array:
    """K(t) in the order K_11, K_12, K_22, the engine's flow integrated from K(0) = AAᵀ/dim."""
    flow = width_limit(ResNet(relu, width=float("inf"), inputs=2, weight_variance=variance))
    velocity = [compile_expression(flow.states, entry) for entry in flow.drift]
    start = (INPUTS @ INPUTS.T / INPUTS.shape[1])[np.triu_indices(2)]
    solved = integrate.solve_ivp(
        lambda _, k: [float(v(*k)) for v in velocity], (0.0, time), start, rtol=1e-10, atol=1e-12
    )
    return solved.y[:, -1]


def kernel_entry(index: int, variance: Fraction) -> float:
    """One entry of K(1)."""
    return float(kernel_after(1.0, variance)[index])


def gram_entry(index: int, size: int, samples: int, seed: Seed, workers: int) -> Array:
    """The same entry of XXᵀ/n in networks of width ``size`` and as many layers, so that both biases are of order 1/n."""
    first, second = np.triu_indices(2)
    x = simulate_network(
        ResNet(relu, width=size, inputs=2),
        size,
        samples,
        inputs=INPUTS,
        seed=seed,
        workers=workers,
        at=[size],
        record=lambda x: np.mean(x[:, :, first[index]] * x[:, :, second[index]], axis=1),
    )
    return x[0]


WIDE: tuple[Claim, ...] = tuple(
    Number(
        f"kernel {name} at infinite width",
        f"{name}(1), ReLU, width to infinity: networks against the derived flow",
        SOURCE,
        partial(kernel_entry, index),
        partial(gram_entry, index),
        size=16,
        slow=index == 0,
        pilot=1000,
    )
    for index, name in ((0, "K₁₁"), (1, "K₁₂"))
)

# --- width one, from a start that is random too ---


def law_from_gaussian(activation: Activation, variance: Fraction) -> Any:
    """The law of X_1 from X_0 ~ N(0, 1): what the recognised law says, averaged over the start."""
    limit = depth_limit(ResNet(activation, width=1, weight_variance=variance))
    assert isinstance(limit, Diffusion)
    return compile_law(recognise(limit), x0=Normal(0, 1), t=1.0)


def networks_from_gaussian(activation: Activation, depth: int, samples: int, seed: Seed, workers: int) -> Array:
    """Networks of width one behind an input layer: the input 1 through a weight N(0, 1)."""
    ends = simulate_network(ResNet(activation, width=1), depth, samples, inputs=[[1.0]], seed=seed, workers=workers)
    return ends[:, 0, 0]


RANDOM_START: tuple[Claim, ...] = tuple(
    Distribution(
        f"{activation} from a Gaussian start",
        f"law of X_1 with X_0 ~ N(0, 1), {meaning}, width 1",
        SOURCE,
        partial(law_from_gaussian, activation),
        partial(networks_from_gaussian, activation),
        slow=slow,
    )
    for activation, meaning, slow in (
        (relu, "ReLU: half of the networks never move", True),
        (leaky_relu(Fraction(1, 2)), "leaky ReLU of slope 1/2: both halves move", True),
    )
)

# --- networks that collapse, at the start only ---


def collapsed(width: int, variance: Fraction) -> float:
    """P(φ(X_0) = 0) for a Gaussian start: each neuron is at most 0, where it stays, whatever the variance."""
    return float(law_from_gaussian(relu, variance).cdf(0.0) ** width)


def collapsed_networks(width: int, size: int, samples: int, seed: Seed, workers: int) -> Array:
    """Whether φ(X_1) = 0, for networks behind an input layer."""
    x = simulate_network(ResNet(relu, width=width), size, samples, inputs=[[1.0]], seed=seed, workers=workers)
    return np.all(x <= 0, axis=(1, 2)).astype(float)


# --- the norm at width 2, 3, 4, 6 and 10, from a Gaussian start ---


def log_ratio(before: Array, after: Array) -> Array:
    """The logarithm of ‖φ(X_1)‖/‖φ(X_0)‖, both of shape (samples, width), of those that have not collapsed."""
    start, end = (np.sum(np.maximum(x, 0.0) ** 2, axis=1) for x in (before, after))
    moves = (start > 0) & (end > 0)
    return np.log(end[moves] / start[moves]) / 2.0


def log_ratio_of_networks(width: int, size: int, samples: int, seed: Seed, workers: int) -> Array:
    """The same of networks, all weights drawn."""
    x = simulate_network(
        ResNet(relu, width=width),
        size,
        samples,
        inputs=[[1.0]],
        seed=seed,
        workers=workers,
        at=[0, size],
        method="weights",
    )
    return log_ratio(x[0, :, :, 0], x[1, :, :, 0])


def log_ratio_of_limit(width: int, variance: Fraction, size: int, samples: int, seed: Seed, workers: int) -> Array:
    """The same from the engine's equation by Euler–Maruyama, in ``size`` steps."""
    start, noise = spawn(seed, 2)
    x0 = np.random.default_rng(start).standard_normal((samples, width))
    limit = depth_limit(ResNet(relu, width=width, weight_variance=variance))
    return log_ratio(x0, simulate_sde(limit, x0=x0, steps=size, samples=samples, seed=noise, workers=workers))


# --- how fast networks whose weights are the increments of one Brownian motion come to the limit ---


def coupled_distance(width: int, size: int, samples: int, seed: Seed, workers: int) -> Array:
    r""":math:`\|X^L - X^{2L}\|^2` of ReLU networks whose weights share increments, :math:`W = (W' + W'')/\sqrt2`."""
    rng = np.random.default_rng(seed)
    coarse = fine = rng.standard_normal((samples, width))
    for _ in range(size):
        first, second = rng.standard_normal((2, samples, width, width)) / math.sqrt(2 * size * width)
        coarse = coarse + np.einsum("sij,sj->si", first + second, np.maximum(coarse, 0.0))
        for half in (first, second):
            fine = fine + np.einsum("sij,sj->si", half, np.maximum(fine, 0.0))
    return np.sum((coarse - fine) ** 2, axis=1)


def coupled_order() -> float:
    """A layer is a step of Euler–Maruyama for the derived equation, whose noise is not constant: twice the scheme's strong order."""
    return float(2 * EulerMaruyama().strong_order)


PATHWISE: tuple[Claim, ...] = (
    Number(
        "collapsed networks, width 4",
        "P(φ(X_1) = 0), ReLU, width 4, Gaussian start: 1/16 as at t = 0, and no network collapses later",
        SOURCE,
        partial(collapsed, 4),
        partial(collapsed_networks, 4),
        size=16,
        wrong=lambda p: float(SCALE) * p,
        slow=True,
    ),
    *(
        Twin(
            f"log-norm, width {n}",
            f"law of log(‖φ(X_1)‖/‖φ(X_0)‖), ReLU, width {n}, Gaussian start: networks against the derived equation",
            SOURCE,
            partial(log_ratio_of_limit, n),
            partial(log_ratio_of_networks, n),
            slow=True,
        )
        for n in (2, 3, 4, 6, 10)
    ),
    Rate(
        "strong rate, ReLU, width 4",
        "E‖X^L − X^2L‖² falls as 1/L for ReLU networks of width 4 with shared weights: strong rate L^(−1/2)",
        SOURCE,
        coupled_order,
        wrong=2.0,
        simulate=partial(coupled_distance, 4),
        sizes=(8, 16, 32, 64, 128),
        samples=20_000,
    ),
)

#: Every claim, in the order of the paper's argument.
CLAIMS: tuple[Claim, ...] = (*RANDOM_START, *SLOPES, *LATER, *LINEAR, *WIDE, *PATHWISE)
