r"""Results that are this project's own, each derived by the engine and simulated: laws of norms and outputs, explosion, solvable neurons.

What is derived takes the weights' variance as its argument, so that a control is derived from the wrong one in the same way.
"""

from __future__ import annotations

import math
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np

from derivations import derive, parse_activation
from derivations.activations import relu
from derivations.architectures import GatedBlock, MLPBlock, ResNet
from derivations.limits import width_limit
from numerics.compile import compile_law
from numerics.ensembles import Seed
from numerics.flows import solve_flow
from numerics.networks import simulate_network
from numerics.outputs import output_law
from numerics.validation.base import RIGHT, Array, spawn
from numerics.validation.claims import OWN, Claim, Distribution, Number

# --- a block of two matrices, three neurons wide and six inside ---


def block(norm: str, variance: Fraction = RIGHT) -> MLPBlock:
    """With a ReLU, behind a norm or without one."""
    return MLPBlock(relu, width=3, hidden=6, norm=norm, weight_variance=variance)


def norm_law(norm: str, variance: Fraction) -> Any:
    """The law of V, the mean square of a layer, at t = 1 from 1."""
    return compile_law(derive(block(norm, variance)).gram_law, x0=1.0, t=1.0)


def states_of_block(norm: str, depth: int, samples: int, seed: Seed, workers: int) -> Array:
    """The last layers of networks, shape (samples, 3)."""
    return simulate_network(block(norm), depth, samples, x0=1.0, seed=seed, workers=workers)[:, :, 0]


def norms(norm: str, depth: int, samples: int, seed: Seed, workers: int) -> Array:
    """V of networks."""
    return np.mean(states_of_block(norm, depth, samples, seed, workers) ** 2, axis=1)


def law_of_output(variance: Fraction) -> Any:
    """The law of a random readout at t = 1: a Gaussian whose variance is V."""
    return output_law(derive(block("none", variance)), x0=1.0, t=1.0)


def outputs(depth: int, samples: int, seed: Seed, workers: int) -> Array:
    """The same of networks with readouts drawn."""
    layers, readout = spawn(seed, 2)
    x = states_of_block("none", depth, samples, layers, workers)
    return np.einsum("sn,sn->s", x, np.random.default_rng(readout).standard_normal(x.shape)) / math.sqrt(x.shape[1])


# --- a gated block without a norm ---


def inverse_norm(t: float, variance: Fraction) -> float:
    """1/V at infinite width, before the depth at which V is infinite."""
    flow = width_limit(GatedBlock(relu, width=float("inf"), weight_variance=variance))
    return float(1 / solve_flow(flow, [1.0], t)(t)[0])


def inverse_norm_of_networks(t: float, size: int, samples: int, seed: Seed, workers: int) -> Array:
    """The same of networks with as many layers a unit of time as they have neurons, four times as many inside."""
    x = simulate_network(GatedBlock(relu, width=size), int(t * size), samples, x0=1.0, t=t, seed=seed, workers=workers)
    return 1 / np.mean(x[:, :, 0] ** 2, axis=1)


# --- one neuron whose equation is solved in closed form ---

LOGISTIC = parse_activation("x*(1-x)")


def solvable_law(variance: Fraction) -> Any:
    """The law at t = 1 from 1/2: a Brownian motion in another coordinate, tilted."""
    return compile_law(derive(ResNet(LOGISTIC, width=1, weight_variance=variance)).law, x0=0.5, t=1.0)


def solvable_networks(depth: int, samples: int, seed: Seed, workers: int) -> Array:
    """Networks of one neuron."""
    return simulate_network(ResNet(LOGISTIC, width=1), depth, samples, x0=0.5, seed=seed, workers=workers)[:, 0, 0]


CLAIMS: tuple[Claim, ...] = (
    Distribution(
        "two-matrix norm",
        "V at t = 1, ReLU block of two matrices, width 3, hidden width 6: log-normal as derived",
        OWN,
        partial(norm_law, "none"),
        partial(norms, "none"),
    ),
    Distribution(
        "pre-norm norm",
        "V at t = 1, the same block behind an RMS norm: a squared Bessel process as derived",
        OWN,
        partial(norm_law, "rms"),
        partial(norms, "rms"),
    ),
    Distribution(
        "two-matrix output",
        "a random readout at t = 1 of the block without a norm: a Gaussian of log-normal variance",
        OWN,
        law_of_output,
        outputs,
        slow=True,
    ),
    Number(
        "gated norm",
        "1/V at t = 1, gated ReLU block without a norm, width to infinity: it falls to 0 at t = 2",
        OWN,
        partial(inverse_norm, 1.0),
        partial(inverse_norm_of_networks, 1.0),
        size=16,
        pilot=1000,
    ),
    Distribution(
        "x(1 − x) from 1/2",
        "X_1 from 1/2, width 1, activation x(1 − x): the closed law",
        OWN,
        solvable_law,
        solvable_networks,
        slow=True,
    ),
)
