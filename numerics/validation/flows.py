"""A flow against networks: the means of their second moments are its solution."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from numerics.ensembles import Seed
from numerics.statistics import Estimate, z_error
from numerics.validation.base import CONTROL_LEVEL, Array, Row, number_row, spawn
from numerics.validation.extrapolation import LARGER, extrapolated, network_sizes
from numerics.validation.subjects import Setting

#: Networks from which it is seen how their spread falls with the size, and by how much more it may be.
_TRIED, _SURELY = 400, 1.1


def flow_of_networks(s: Setting, seed: Seed) -> Iterator[Row]:
    """The means of networks' second moments are the solution of the flow, and not that of one 5 % faster."""
    pilot, main = spawn(seed, 2)
    right, wrong = s.solutions()
    moved = np.abs(wrong - right)
    flat: Callable[[Array], Array] = lambda x: x.reshape(len(x), -1)  # noqa: E731
    tried = zip((s.smallest, s.smallest * s.ratio), (pilot, *spawn(pilot, 1)), strict=True)
    with np.errstate(all="ignore"):
        spread, next_spread = [flat(s.networks(size, _TRIED, one)).std(axis=0) for size, one in tried]
    shown = [k for k in range(len(right)) if moved[k] > 1e-3 * max(spread[k], np.abs(right[k]))]
    if not shown:
        if np.any(moved > 1e-3 * np.abs(right)):
            raise _unseen(s, spread, moved)
        raise ValueError(
            "nothing moves: the flow's solution at t hardly differs from its start; choose another start or a longer time"
        )
    # of a flow that networks follow without noise, such as one neuron's, two samples say all
    asked = np.array([z_error(moved[k], CONTROL_LEVEL) for k in shown])
    wanted = float(np.max(spread[shown] / asked)) ** 2
    # wider networks differ less from each other: no more of them are drawn than the error asks
    fall = min(1.0, _SURELY * float(np.max(next_spread[shown] / np.maximum(spread[shown], 1e-300))))
    for larger in range(LARGER):
        sizes = network_sizes(s, wanted, larger, fall)
        (found,) = extrapolated(s.networks, [flat], sizes, main)
        errors = np.sqrt(np.diag(found.covariance))
        if not np.all(np.isfinite(errors[shown])):
            raise _unseen(s, spread, moved)
        left = np.abs(found.left)
        if s.depth or np.all(left[shown] < np.maximum(errors, 1e-2 * moved)[shown] / 4):
            break
        wanted *= min(1.0, float(np.max(errors[shown] / asked)) ** 2) * fall**2
    for k in shown:
        error, bias = float(errors[k]), float(left[k])
        if spread[k] < 1e-9 * moved[k]:  # networks without noise: what is left over is the only error
            error, bias = bias, 0.0
        claim = f"{s.limit.states[k]} of the flow: networks of {' and '.join(map(s.sized, sizes.sizes))}, extrapolated"
        yield number_row(claim, Estimate(float(found.mean[k]), error), float(right[k]), float(wrong[k]), bias)


def _unseen(s: Setting, spread: Array, moved: Array) -> ValueError:
    return ValueError(
        f"networks of {s.sized(s.smallest)} differ from each other by {np.max(spread):.1g} and more, where the flow and its control differ by "
        f"{np.max(moved):.1g}: their mean is not seen, as where some grow without bound before the flow does; take a shorter time"
    )
