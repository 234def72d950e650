r"""Theory against simulated networks: checks of any derivation, and a catalogue of published claims.

Every check carries its control, the same test with a coefficient that is 5 % off, which must be rejected.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from derivations.architectures import Architecture
from derivations.diffusion import Flow
from numerics.ensembles import Seed
from numerics.limit_distribution import has_distribution
from numerics.networks import simulate_network
from numerics.validation import hayou, li_nica, peluchetti
from numerics.validation.base import LEVEL, Row, Validation, spawn
from numerics.validation.checks import LAW_CHECKS, LIMIT_CHECKS, Setting
from numerics.validation.claims import Claim, Comparison, Distribution, Number

#: All claims, source by source.
CATALOGUE: tuple[Claim, ...] = (*hayou.CLAIMS, *peluchetti.CLAIMS, *li_nica.CLAIMS)


def validate(
    d: Any,
    x0: ArrayLike = 1.0,
    t: float = 1.0,
    samples: int | None = None,
    depth: int | None = None,
    seed: Seed = 0,
    workers: int = 1,
) -> Validation:
    r"""Compare a derivation's limit, its law and simulated finite networks.

    * One layer's conditional mean and covariance against the drift and the covariance.
    * Paths of the limit against networks, in distribution.
    * For one neuron with one input: networks against the law, solved on a grid where no closed form is known, by
      Kolmogorov–Smirnov and by moments, and the order in which they approach it with depth.

    Each row has a control, the same test with the noise's scale 5 % off, and passes only if the control is rejected.

    Parameters
    ----------
    d : Derivation
        What :func:`derivations.derive` returned, with a number for the width and no free parameters.
    x0 : float or array, shape (n,) or (n, m)
        Where the neurons start. A number puts them all there; several inputs must differ, and a number then scales
        standard normal states, drawn once.
    t : float
        The limit's time.
    samples, depth : int, optional
        By default chosen check by check: samples so that the control is rejected, depth so that the bias
        is below the noise. Too few or too shallow, and the row says so instead of passing.
    seed : int, SeedSequence, Generator or None
    workers : int
        Threads for the networks and the paths; the result does not depend on it.

    Returns
    -------
    Validation
        True if every row agrees; ``print`` shows the table.

    Raises
    ------
    ValueError
        If the limit has no noise or is that of a Gram matrix, the width is no number, t ≤ 0, or ``x0`` is where nothing moves.

    Examples
    --------
    >>> from derivations import ResNet, relu
    >>> from derivations import derive
    >>> bool(validate(derive(ResNet(relu, width=1)), samples=200, depth=64))  # no power with so few
    False
    """
    setting = _setting(d, x0, t, samples, depth, workers)
    checks = [*LIMIT_CHECKS, *(LAW_CHECKS if has_distribution(d.limit) else ())]
    rows = [row for check, s in zip(checks, spawn(seed, len(checks)), strict=True) for row in check(setting, s)]
    return Validation(tuple(rows), f"{d.title.partition(':')[0]}, t = {t:g}", dict(setting.exploded))


def _setting(d: Any, x0: ArrayLike, t: float, samples: int | None, depth: int | None, workers: int) -> Setting:
    if not (np.isfinite(t) and t > 0):
        raise ValueError(f"t must be finite and positive, got {t}")
    if d.order == "joint":
        raise ValueError(
            f"expected the limit of a network's neurons, got that of the Gram matrix of {type(d.architecture).__name__}, for which "
            "depth and width grow together; compare simulate_gram with simulate_sde, or run check_catalogue"
        )
    if isinstance(d.limit, Flow):
        raise ValueError(
            "the limit is a deterministic flow, with no law to compare; compare its solution with wide networks instead"
        )
    if np.ndim(x0) == 0 and d.architecture.coordinates > 1:
        x0 = np.asarray(x0, dtype=float) * starting_states(d.architecture)
    start = simulate_network(d.architecture, depth=0, samples=1, x0=x0)[0]
    setting = Setting(d.architecture, d.limit, d.law, start, float(t), samples, depth, workers)
    if np.all(setting.networks(4, 8, 0) == start):
        raise ValueError(
            f"nothing moves from x0 = {start.tolist()}: the activation vanishes there, or t is too short; choose another start or a longer time"
        )
    return setting


def starting_states(architecture: Architecture) -> NDArray[np.float64]:
    """Standard normal states of several inputs, shape (n, m), always the same ones; the first neuron is active."""
    width = simulate_network(architecture, depth=0, samples=1, x0=0.0).shape[1]
    states = np.random.default_rng(0).standard_normal((width, architecture.coordinates))
    states[0] = np.abs(states[0])
    return states


def check_catalogue(
    claims: tuple[Claim, ...] = CATALOGUE, seed: Seed = 0, workers: int = 1, slow: bool = False
) -> Validation:
    """Check published claims, the slow ones on request."""
    chosen = [claim for claim in claims if slow or not claim.slow]
    rows = tuple(claim.check(s, workers) for claim, s in zip(chosen, spawn(seed, len(chosen)), strict=True))
    return Validation(rows, "Published claims, derived and simulated")


__all__ = [
    "CATALOGUE",
    "LEVEL",
    "Claim",
    "Comparison",
    "Distribution",
    "Number",
    "Row",
    "Validation",
    "check_catalogue",
    "validate",
]
