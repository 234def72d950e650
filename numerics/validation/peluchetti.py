r"""Claims on residual networks with shrinking weights (Peluchetti & Favaro 2021), each derived by the engine and simulated.

All are about :math:`x' = x + \varphi(W\psi(x) + b)` with variances of order 1/L. What is derived takes the weights' variance as its
argument, so that a control is derived from a wrong one in the same way.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np
import scipy  # scipy.stats, a quarter of the start, loads where it is first used
from scipy.linalg import expm

from derivations.activations import erf, identity, relu, silu, tanh
from derivations.architectures import ConvResNet, Network, Recipe, ShrinkingResNet
from derivations.backward import Jacobian
from derivations.diffusion import NeuronDiffusion
from derivations.exponents.maps import layer_maps
from derivations.kernels import explosion_depth
from derivations.language import Weights
from derivations.limits import depth_limit
from derivations.symbols import correlation
from numerics.compile import compile_expression
from numerics.ensembles import Seed
from numerics.kernels import kernel_matrix
from numerics.networks import simulate_jacobian, simulate_network, simulate_tangent_kernel
from numerics.paths import simulate_sde
from numerics.validation.base import Array, spawn
from numerics.validation.claims import Claim, Comparison, Distribution, Number
from numerics.validation.trained import derived_loss, trained_losses

SOURCE = "S. Peluchetti, S. Favaro, Doubly infinite residual neural networks: a diffusion process approach (JMLR 2021)"
HALF = Fraction(1, 2)
OO = float("inf")


def scaled(network: Any, factor: Fraction) -> Any:
    """The network with the variance of its weights multiplied: by 1, or in a control."""
    return replace(network, weight_variance=network.weight_variance * factor)


def wide(network: Any, size: int) -> Any:
    """The same at a width that is a number."""
    return replace(network, width=size)


# --- dense and convolutional, finite width: second moments, which a linear inner activation closes ---

DENSE = ShrinkingResNet(tanh, identity, width=4, weight_variance=HALF, bias_variance=HALF)
LINE = ConvResNet(
    tanh, identity, width=3, positions=(3,), filter=(3,), circular=False, weight_variance=HALF, bias_variance=HALF
)


def second_moments(network: Recipe, factor: Fraction) -> Array:
    r"""The engine's :math:`\mathbb{E}\frac1n\sum_i x_i^p x_i^q` at t = 1 from all neurons at 1, shape (coordinates, coordinates).

    The generator of the limit maps these sums to linear combinations of themselves and 1, so their means obey a linear
    equation, :math:`\dot y = Ay + c`.
    """
    limit = depth_limit(scaled(network, factor))
    if not isinstance(limit, NeuronDiffusion):
        raise ValueError(f"expected a network of several neurons, got {network}")
    x, m, n = limit.neuron, limit.inputs, int(limit.width)
    pairs = [(a, b) for a in range(m) for b in range(a, m)]
    sums = [limit.sum(x[a] * x[b]) for a, b in pairs]
    speeds = [limit.generator(s).expand() for s in sums]
    matrix = np.array([[float(speed.coeff(s)) for s in sums] for speed in speeds])
    constant = np.array([float(speed.subs(dict.fromkeys(sums, 0))) for speed in speeds])
    size = len(pairs)
    augmented = np.zeros((size + 1, size + 1))
    augmented[:size, :size], augmented[:size, size] = matrix, constant
    ends = (expm(augmented) @ np.append(np.full(size, float(n)), 1.0))[:size] / n
    gram = np.empty((m, m))
    for (a, b), value in zip(pairs, ends, strict=True):
        gram[a, b] = gram[b, a] = value
    return gram


def second_moment(network: Recipe, a: int, b: int, factor: Fraction) -> float:
    """One of them."""
    return float(second_moments(network, factor)[a, b])


def product(network: Recipe, a: int, b: int, size: int, samples: int, seed: Seed, workers: int) -> Array:
    """The same in networks of ``size`` layers."""
    x = simulate_network(network, size, samples, x0=1.0, seed=seed, workers=workers)
    return np.mean(x[:, :, a] * x[:, :, b], axis=1)


# --- the Itô correction of a curved outer activation, finite width ---

CURVED = ShrinkingResNet(silu, tanh, width=3, bias_variance=HALF)


def mean_of_limit(factor: Fraction, size: int, samples: int, seed: Seed, workers: int) -> Array:
    """The mean neuron at t = 1 from the derived equation, in ``size`` steps."""
    limit = depth_limit(scaled(CURVED, factor))
    x = simulate_sde(limit, x0=np.ones(3), t=1.0, steps=size, samples=samples, seed=seed, workers=workers)
    return x.mean(axis=1)


def mean_of_networks(size: int, samples: int, seed: Seed, workers: int) -> Array:
    """The same from networks."""
    return simulate_network(CURVED, size, samples, x0=1.0, seed=seed, workers=workers).mean(axis=(1, 2))


# --- Jacobians ---

LINEAR = ShrinkingResNet(tanh, identity, width=3)
START = np.array([1.0, -0.5, 0.3])
TANGENT = np.array([1.0, 1.0, 0.0])


def log_determinant_law(factor: Fraction) -> Any:
    """The derived Gaussian law of log|det J| at t = 1."""
    volume = Jacobian(scaled(LINEAR, factor)).log_det
    return scipy.stats.norm(float(volume.drift), np.sqrt(float(volume.rate)))


def log_determinant(depth: int, samples: int, seed: Seed, workers: int) -> Array:
    """The same from networks, whose layers are not linear."""
    _, j = simulate_jacobian(LINEAR, depth, samples, START, seed=seed, workers=workers)
    return np.linalg.slogdet(j).logabsdet


def mean_square_gradient(factor: Fraction) -> float:
    """The derived growth of the mean square of a gradient over unit time, from 1."""
    return float(np.exp(float(Jacobian(scaled(LINEAR, factor)).growth)))


def square_of_gradient(size: int, samples: int, seed: Seed, workers: int) -> Array:
    r""":math:`\|J^\top g\|^2` for a random g of mean square 1, a backward pass."""
    first, second = spawn(seed, 2)
    _, j = simulate_jacobian(LINEAR, size, samples, START, seed=first, workers=workers)
    g = np.random.default_rng(second).standard_normal((samples, 3)) / np.sqrt(3.0)
    return np.sum(np.einsum("sik,si->sk", j, g) ** 2, axis=1)


def tangent_of_limit(factor: Fraction, size: int, samples: int, seed: Seed, workers: int) -> Array:
    r""":math:`\log^2(\|Jv\|/\|v\|)` from the derived equation of state and tangent together, SiLU around tanh."""
    limit = Jacobian(scaled(CURVED, factor)).limit(1)
    start = np.stack([START, TANGENT], axis=-1)
    x = simulate_sde(limit, x0=start, t=1.0, steps=size, samples=samples, seed=seed, workers=workers)
    return log_growth_squared(x.reshape(samples, 3, 2)[:, :, 1])


def tangent_of_networks(size: int, samples: int, seed: Seed, workers: int) -> Array:
    """The same from networks."""
    _, j = simulate_jacobian(CURVED, size, samples, START, seed=seed, workers=workers)
    return log_growth_squared(j @ TANGENT)


def log_growth_squared(tangents: Array) -> Array:
    """The square of the logarithm of their growth: its mean is mostly a variance, which shows the noise's scale."""
    return (np.log(np.sum(tangents**2, axis=1) / np.sum(TANGENT**2)) / 2.0) ** 2


# --- infinite width: kernels against Gram matrices, and where they explode ---

INPUTS = np.array([[1.0, 0.0], [0.6, 0.8]])
IMAGES = 2 * np.array([[[1.0, 0.2, -0.5]], [[0.3, 1.0, 0.4]]])
BIASED = ShrinkingResNet(tanh, relu, width=OO, weight_variance=HALF, bias_variance=HALF)
SMOOTH = ShrinkingResNet(identity, erf, width=OO)
FILTERED = ConvResNet(
    tanh,
    relu,
    width=OO,
    positions=(3,),
    filter=(3,),
    circular=False,
    weight_variance=HALF,
    bias_variance=Fraction(1, 8),
)


def kernel(network: Any, inputs: Array, kind: str, a: int, b: int, factor: Fraction) -> float:
    """One entry of a kernel matrix at t = 1."""
    return float(kernel_matrix(scaled(network, factor), inputs, kind=kind)[a, b])


def gram(network: Any, inputs: Array, a: int, b: int, size: int, samples: int, seed: Seed, workers: int) -> Array:
    """The same entry of the Gram matrix of networks of width ``size`` and as many layers, averaged over positions."""
    both = wide(replace(network, inputs=2), size)
    x = simulate_network(both, size, samples, inputs=inputs, seed=seed, workers=workers)
    x = x.reshape(samples, size, 2, -1)
    return np.mean(x[:, :, a] * x[:, :, b], axis=(1, 2))


def tangent(a: int, b: int, size: int, samples: int, seed: Seed, workers: int) -> Array:
    """The same entry of empirical tangent kernels."""
    both = wide(replace(SMOOTH, inputs=2), size)
    return simulate_tangent_kernel(both, size, samples, INPUTS, seed=seed, workers=workers)[:, a, b]


SWISH = ShrinkingResNet(silu, identity, width=OO)


def swish_explosion(factor: Fraction) -> float:
    """The derived depth at which the kernel is infinite, from 1/4."""
    depth = explosion_depth(scaled(SWISH, factor))
    return float(depth.subs(dict.fromkeys(depth.free_symbols, Fraction(1, 4))))  # its one symbol is K_0


def extrapolated_explosion(size: int, samples: int, seed: Seed, workers: int) -> Array:
    r"""Where :math:`(\frac1n\sum_i x_i^2)^{-1/2}` reaches 0, on the line through t = 2 and t = 6, in networks of width ``size``.

    A second moment that explodes as :math:`(t_* - t)^{-2}` has such a line near :math:`t_*`. From 1/4, where the constant term of
    the equation of the means vanishes, it is a line from the start, so the networks are read before they grow large.
    """
    kept = simulate_network(
        wide(SWISH, size),
        4 * size,
        samples,
        inputs=[[0.5]],
        t=8.0,
        seed=seed,
        workers=workers,
        at=[size, 3 * size],
        record=lambda x: np.mean(x**2, axis=(1, 2)),
    )
    early, late = 1.0 / np.sqrt(kept)
    return 2.0 + 4.0 * early / (early - late)


# --- weights that do not shrink: inputs come together ---

ORTHOGONAL = np.eye(2)
LAYERS = 16


def unscaled(width: Any, factor: Fraction = Fraction(1)) -> Network:
    """A residual network whose weights have one law at every depth."""
    return Network(lambda x: x + Weights("W", variance=factor)(relu(x)), width=width, inputs=2)


def correlation_of_layers(factor: Fraction) -> float:
    """The derived correlation of two orthogonal inputs after the layers, whose map rests at 1 alone."""
    maps = layer_maps(unscaled(OO, factor).program())
    # A layer multiplies every variance by one factor, so that its map of correlations is the same at each.
    variance = maps.factor
    assert variance is not None
    assert [float(rest.value) for rest in maps.correlation_rests(variance)] == [1.0]
    step, value = compile_expression([correlation], maps.correlations(variance)), 0.0
    for _ in range(LAYERS):
        value = float(step(value))
    return value


def correlation_of_networks(size: int, samples: int, seed: Seed, workers: int) -> Array:
    """The same in networks of width ``size``."""
    x = simulate_network(unscaled(size), LAYERS, samples, inputs=ORTHOGONAL, seed=seed, workers=workers)
    square = np.einsum("sia,sib->sab", x, x)
    return np.asarray(square[:, 0, 1] / np.sqrt(square[:, 0, 0] * square[:, 1, 1]))


# --- training ---

TRAINED = ShrinkingResNet(tanh, relu, width=OO)
DEEP = 1000

CLAIMS: tuple[Claim, ...] = (
    Number(
        "second moment, shrinking, width 4",
        "E‖X‖²/n at t = 1, tanh around the identity with biases, width 4",
        SOURCE,
        partial(second_moment, DENSE, 0, 0),
        partial(product, DENSE, 0, 0),
        size=32,
    ),
    Comparison(
        "mean neuron, SiLU",
        "E X at t = 1, SiLU around tanh, width 3: the drift that the curvature at 0 makes",
        SOURCE,
        mean_of_limit,
        mean_of_networks,
        size=16,
    ),
    Number(
        "second moment across positions, convolution",
        "E X_p X_q/C for neighbours at a border at t = 1, tanh around the identity, 3 channels on a line",
        SOURCE,
        partial(second_moment, LINE, 0, 1),
        partial(product, LINE, 0, 1),
        size=32,
        slow=True,
    ),
    Distribution(
        "determinant, shrinking, width 3",
        "log|det J| at t = 1, tanh around the identity, width 3: Gaussian as derived",
        SOURCE,
        log_determinant_law,
        log_determinant,
        slow=True,
    ),
    Number(
        "mean square gradient, shrinking, width 3",
        "E‖Jᵀg‖² at t = 1, tanh around the identity, width 3",
        SOURCE,
        mean_square_gradient,
        square_of_gradient,
        size=64,
        slow=True,
    ),
    Comparison(
        "tangent, SiLU",
        "E log²(‖Jv‖/‖v‖) at t = 1, SiLU around tanh, width 3: state and tangent jointly",
        SOURCE,
        tangent_of_limit,
        tangent_of_networks,
        size=16,
        slow=True,
        pilot=20_000,
    ),
    Number(
        "kernel K₁₂, shrinking ReLU",
        "K₁₂(1), tanh around ReLU with biases, width to infinity: networks against the kernel",
        SOURCE,
        partial(kernel, BIASED, INPUTS, "nngp", 0, 1),
        partial(gram, BIASED, INPUTS, 0, 1),
        size=24,
        slow=True,
        pilot=1000,
    ),
    Number(
        "kernel Θ₁₂, erf",
        "Θ₁₂(1), erf inside, width to infinity: explicitly differentiated networks against the tangent kernel",
        SOURCE,
        partial(kernel, SMOOTH, INPUTS, "ntk", 0, 1),
        partial(tangent, 0, 1),
        size=12,
        slow=True,
        pilot=500,
    ),
    Number(
        "kernel K₁₁, convolution",
        "K₁₁(1), tanh around ReLU on a line, channels to infinity: networks against the kernel",
        SOURCE,
        partial(kernel, FILTERED, IMAGES, "nngp", 0, 0),
        partial(gram, FILTERED, IMAGES, 0, 0),
        size=12,
        slow=True,
        pilot=500,
    ),
    Number(
        "explosion depth, SiLU",
        "depth at which E X² is infinite, SiLU around the identity from 1/4: wide networks against the closed form",
        SOURCE,
        swish_explosion,
        extrapolated_explosion,
        size=128,
        slow=True,
        pilot=200,
    ),
    Number(
        "weights that do not shrink",
        "correlation of two orthogonal inputs after 16 layers x + W relu(x), on its way to 1: i.i.d. layers forget what they read",
        SOURCE,
        correlation_of_layers,
        correlation_of_networks,
        size=64,
    ),
    Number(
        "trained, 1000 layers",
        "loss after 4 steps of gradient descent, 1000 layers of tanh around ReLU, width to infinity: trained networks against the tangent kernel",
        SOURCE,
        lambda factor: derived_loss(scaled(TRAINED, factor)),
        partial(trained_losses, TRAINED, DEEP),
        size=16,
        slow=True,
        pilot=200,
        wrong=lambda _: derived_loss(TRAINED, layers_learn=False),
        needs="jax",
    ),
)
