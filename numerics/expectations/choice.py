"""The cheapest scheme and number of steps for a tolerance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from derivations.diffusion import Diffusion, Limit
from derivations.errors import DerivationError
from derivations.laws import Law, recognise
from numerics.expectations.levels import PILOT
from numerics.schemes import ExactLaw, Scheme, find_scheme
from numerics.starts import Start, checked_start

#: In the order of their cost per step, which random numbers dominate: ties go to the first.
_CANDIDATES = ("euler_maruyama", "milstein", "weak_second", "unit_noise")
_MOST_STEPS = 1 << 14


@dataclass(frozen=True)
class Choice:
    """A scheme, its number of steps, and the error of means and mean squares that they leave, relative to 1 plus their size."""

    scheme: Scheme
    steps: int
    bias: float


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

    A known law needs one step. Otherwise each scheme's steps are doubled until coupled paths on the grid and on one of
    twice the step agree: their difference in :math:`\mathbb{E}x_k` and :math:`\mathbb{E}x_k^2`, with its standard error, over :math:`2^p - 1`.

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
    found: list[Choice] = []
    refused: list[str] = []
    for name in _CANDIDATES:
        most = found[0].steps // 2 if found else _MOST_STEPS
        try:
            choice = _refined(find_scheme(name), limit, start, t, tol, most, seed)
        except ValueError as error:
            refused.append(str(error))
            continue
        if choice is not None:
            found = [choice]  # fewer steps than what was found before
    if not found:
        why = refused[0] if len(refused) == len(_CANDIDATES) else f"{_MOST_STEPS} steps do not suffice"
        raise ValueError(f"no scheme reaches tol = {tol:.2g}: {why}")
    return found[0]


def _refined(
    scheme: Scheme, limit: Limit, start: np.ndarray, t: float, tol: float, most: int, seed: int
) -> Choice | None:
    couple = scheme.couple(limit)
    assert scheme.weak_order is not None
    steps = 2
    while steps <= most:
        rng = np.random.Generator(np.random.SFC64([seed, steps]))
        x = np.array(np.broadcast_to(start, (PILOT, *start.shape)))
        fine, coarse = (y.reshape(PILOT, -1) for y in couple(x, 0.0, t / steps, steps, rng))
        bias = 0.0
        for power in (1, 2):
            gap, size = fine**power - coarse**power, np.abs((fine**power).mean(axis=0))
            left = (np.abs(gap.mean(axis=0)) + gap.std(axis=0) / np.sqrt(PILOT)) / (1 + size)
            bias = max(bias, float(left.max()) / (2.0 ** float(scheme.weak_order) - 1))
        if bias <= tol:
            return Choice(scheme, steps, bias)
        steps *= 2
    return None
