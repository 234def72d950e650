r"""Claims on linear residual networks of finite width and infinite depth (Hayou 2022): the norm, volumes, the determinant, the Lyapunov spectrum.

The networks are :math:`X_{\ell+1} = (1 + L^{-1/2} W)X_\ell`, products of random matrices.
"""

from __future__ import annotations

from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np
import scipy  # scipy.stats, a quarter of the start, loads where it is first used

from derivations.activations import identity
from derivations.architectures import ResNet
from derivations.diffusion import NeuronDiffusion
from derivations.limits import depth_limit
from numerics.ensembles import Seed
from numerics.networks import simulate_network
from numerics.validation.base import Array
from numerics.validation.claims import Claim, Distribution, Number

SOURCE = "S. Hayou, On the infinite-depth limit of finite-width neural networks (TMLR 2023)"


def neurons(network: ResNet) -> NeuronDiffusion:
    """The depth limit of a network with more than one neuron."""
    limit = depth_limit(network)
    assert isinstance(limit, NeuronDiffusion)
    return limit


def log_volume(width: int, inputs: int, variance: Fraction) -> tuple[float, float]:
    r"""Drift and variance rate of :math:`\log\mathrm{vol}(X^1, \dots, X^k)`, linear activation, derived by Itô's formula on sums.

    :math:`\log\mathrm{vol} = \tfrac12\log D` with D the determinant of the inputs' Gram matrix, a polynomial in
    sums over the neurons; so the drift is :math:`\tfrac12\mathcal{L}D/D - \tfrac14[D,D]/D^2`.
    """
    limit = neurons(ResNet(identity, width=width, inputs=inputs, weight_variance=variance))
    x = limit.neuron
    gram = limit.neuron_covariance.func(inputs, inputs, lambda a, b: limit.sum(x[a] * x[b]))
    d = gram.det(method="berkowitz").expand()
    rate = (limit.bracket(d, d) / (4 * d**2)).cancel()
    return float((limit.generator(d) / (2 * d)).cancel() - rate), float(rate)


def log_volume_law(width: int, inputs: int, time: int, variance: Fraction) -> Any:
    """The Gaussian law of the log-volume's growth over a time; for one input that of log‖X‖."""
    drift, rate = log_volume(width, inputs, variance)
    return scipy.stats.norm(drift * time, np.sqrt(rate * time))


def linear_products(width: int, time: int, depth: int, samples: int, seed: Seed, workers: int) -> Array:
    r"""Products of the layers' matrices, :math:`J = \prod_\ell (1 + L^{-1/2}W_\ell)`: n inputs that start as unit vectors.

    With as many inputs as neurons, drawing the weights costs no more than drawing the pre-activations.
    """
    network = ResNet(identity, width=width, inputs=width)
    return simulate_network(
        network, depth, samples, x0=np.eye(width), t=float(time), seed=seed, workers=workers, method="weights"
    )


def log_determinant(width: int, time: int, depth: int, samples: int, seed: Seed, workers: int) -> Array:
    """log|det J|."""
    return np.linalg.slogdet(linear_products(width, time, depth, samples, seed, workers)).logabsdet


def linear_log_ratio(width: int, time: int, depth: int, samples: int, seed: Seed, workers: int) -> Array:
    """log(‖X_t‖ / ‖X_0‖) for one input."""
    x = simulate_network(
        ResNet(identity, width=width), depth, samples, x0=1.0, t=float(time), seed=seed, workers=workers
    )
    return np.log(np.sum(x**2, axis=(1, 2)) / width) / 2.0


def lyapunov_exponent(width: int, index: int, variance: Fraction) -> float:
    """The growth rate of k-volumes minus that of (k-1)-volumes."""
    below = log_volume(width, index - 1, variance)[0] if index > 1 else 0.0
    return log_volume(width, index, variance)[0] - below


def log_stretch(width: int, index: int, depth: int, samples: int, seed: Seed, workers: int) -> Array:
    r"""The k-th diagonal entry of R in :math:`J = QR`, its logarithm after unit time.

    The layers' law is rotation invariant, so these increments have the same law from any orthonormal
    start, and one unit of time gives the exponent without a transient.
    """
    r = np.linalg.qr(linear_products(width, 1, depth, samples, seed, workers)).R
    return np.log(np.abs(r[:, index - 1, index - 1]))


LINEAR: tuple[Claim, ...] = (
    Distribution(
        "linear norm, width 4",
        "log(‖X_t‖/‖X_0‖), linear activation, width 4, t = 1: Gaussian as derived",
        SOURCE,
        partial(log_volume_law, 4, 1, 1),
        partial(linear_log_ratio, 4, 1),
    ),
    Distribution(
        "determinant, width 2",
        "log|det J_t|, linear activation, width 2, t = 1: Gaussian as derived",
        SOURCE,
        partial(log_volume_law, 2, 2, 1),
        partial(log_determinant, 2, 1),
    ),
    *(
        Number(
            f"Lyapunov exponent {k} of 3",
            f"Lyapunov exponent {k} of 3, linear activation, by QR",
            SOURCE,
            partial(lyapunov_exponent, 3, k),
            partial(log_stretch, 3, k),
            size=16,
            slow=k > 1,
        )
        for k in (1, 2, 3)
    ),
)
