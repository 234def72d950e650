"""The cheapest scheme and number of steps for a tolerance."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from derivations.diffusion import Diffusion, Limit
from derivations.errors import DerivationError
from derivations.laws import Law, recognise
from numerics.expectations.levels import PILOT, finite
from numerics.initial_conditions import Start, checked_start
from numerics.schemes import ExactLaw, Scheme, find_scheme
from numerics.schemes.base import Couple

#: In the order of their cost per step, which random numbers dominate: ties go to the first.
_CANDIDATES = ("euler_maruyama", "milstein", "weak_second")
_MOST_STEPS = 1 << 14


@dataclass(frozen=True)
class Choice:
    """A scheme, its number of steps, and the error of means and mean squares that they leave, relative to 1 plus their size."""

    scheme: Scheme
    steps: int
    bias: float


@lru_cache(maxsize=64)
def known_law(limit: Limit) -> Law | None:
    """The law of a scalar limit where it is recognised."""
    if not isinstance(limit, Diffusion) or len(limit.states) != 1:
        return None
    try:
        return recognise(limit)
    except (DerivationError, ValueError):
        return None


def choose_scheme(limit: Limit, x0: Start, t: float, tol: float, seed: int = 0) -> Choice:
    r"""The scheme with the fewest steps whose weak error is within a tolerance.

    A known law needs one step. Otherwise steps are doubled until, for one of the schemes, coupled paths on the grid and on
    one of twice the step agree: their difference in :math:`\mathbb{E}x_k` and :math:`\mathbb{E}x_k^2`, with its standard error, over :math:`2^p - 1`.

    Parameters
    ----------
    limit : Diffusion or NeuronDiffusion
    x0 : float or array, shape (states,)
    t, tol : float
    seed : int
        Of the trial paths.

    Raises
    ------
    ValueError
        If no scheme reaches the tolerance.

    Examples
    --------
    >>> from derivations import ResNet, depth_limit, relu, tanh
    >>> choose_scheme(depth_limit(ResNet(relu, width=1)), 1.0, 1.0, tol=1e-3).scheme.name
    'exact'
    >>> choose_scheme(depth_limit(ResNet(tanh, width=1)), 1.0, 1.0, tol=1e-3).scheme.name
    'weak_second'
    """
    if not (np.isfinite(tol) and tol > 0):
        raise ValueError(f"tol must be a positive number, got {tol!r}")
    start = checked_start(limit, x0, t)
    if known_law(limit) is not None:
        return Choice(ExactLaw(), 1, 0.0)
    couples: list[tuple[Scheme, Couple]] = []
    refused: list[str] = []
    for scheme in map(find_scheme, _CANDIDATES):
        try:
            couples.append((scheme, scheme.couple(limit)))
        except ValueError as error:
            refused.append(str(error))
    if not couples:
        raise ValueError(f"no scheme steps this limit on two grids: {refused[0]}")
    steps = 2
    while steps <= _MOST_STEPS:
        for scheme, couple in couples:
            bias = _bias(scheme.weak_order_on(limit), couple, start, t, steps, seed)
            if bias <= tol:
                return Choice(scheme, steps, bias)
        steps *= 2
    raise ValueError(f"no scheme reaches tol = {tol:.2g}: {_MOST_STEPS} steps do not suffice")


def _bias(order: float, couple: Couple, start: np.ndarray, t: float, steps: int, seed: int) -> float:
    """The weak error of a grid, seen from the one of twice its step."""
    rng = np.random.Generator(np.random.SFC64([seed, steps]))
    x = np.array(np.broadcast_to(start, (PILOT, *start.shape)))
    with np.errstate(all="ignore"):
        fine, coarse = (finite(y.reshape(PILOT, -1), steps) for y in couple(x, 0.0, t / steps, steps, rng))
    bias = 0.0
    for power in (1, 2):
        gap, size = fine**power - coarse**power, np.abs((fine**power).mean(axis=0))
        left = (np.abs(gap.mean(axis=0)) + gap.std(axis=0) / np.sqrt(PILOT)) / (1 + size)
        bias = max(bias, float(left.max()) / (2.0**order - 1))
    return bias
