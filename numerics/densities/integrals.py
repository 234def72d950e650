"""Integrals over panels that are halved until they settle."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

NODES, WEIGHTS = np.polynomial.legendre.leggauss(16)
_HALVINGS = 48
_MOST = (
    1 << 16
)  # panels that are halved at a time: more do not settle because of roundings, and halving them would take for ever
_LEFT_OVER = 1e-7  # relative error beyond which an integral is refused
_ROUNDED = (
    1e-9,
    1e-3,
)  # relative errors up to which panels are left as they are where halving all of them no longer helps, once or some times
_SOME_TIMES = 4
_OUTERMOST = 1e-6  # share of the outermost panel beyond which the integral does not end there
_BESIDE = (
    1e-9  # share of a panel from its edges at which it is looked at, too: Gauss's points leave out what happens there
)


def _to_edges() -> Array:
    """The polynomial through values at Gauss's points, at both places beside the edges: one row of weights for each."""
    legendre = np.polynomial.legendre.legvander
    places = np.array([-1.0, 1.0]) * (1 - 2 * _BESIDE)
    return np.asarray(np.linalg.solve(legendre(NODES, len(NODES) - 1).T, legendre(places, len(NODES) - 1).T).T)


_TO_EDGES = _to_edges()


def by_panels(
    integrand: Callable[[Array], Array], edges: Array, open_ends: tuple[bool, bool] = (True, True), rtol: float = 1e-13
) -> float:
    """An integral over the panels between edges, each halved until Gauss's rule has settled on it.

    A panel is settled where its halves agree with it, and values beside their edges with the polynomials through Gauss's points: a step
    close to an edge, as of tanh(1000 x) beside 0, lies between two such points and is seen from neither side.

    Parameters
    ----------
    integrand : callable
        Array of any shape to array.
    edges : array
        Increasing; kinks of the integrand are best among them.
    open_ends : pair of bool
        Whether the integral goes on beyond the first and the last edge, where the integrand must have faded.
    rtol : float
        Relative to the integral of the size.

    Raises
    ------
    ValueError
        If the integrand is not a number somewhere, or does not settle, or has not faded at an open end.

    Examples
    --------
    >>> by_panels(np.abs, np.array([-1.0, 1.0]), (False, False))
    1.0
    """
    low, high = edges[:-1], edges[1:]
    whole, size, _ = _rule(integrand, low, high)
    total, scale, owed = 0.0, float(size.sum()), 0.0
    outer, grows = [float(size[0]), float(size[-1])], (False, False)
    before, panels, stuck = np.inf, 0, 0
    for depth in range(_HALVINGS):
        middle = (low + high) / 2
        halves = np.concatenate([low, middle]), np.concatenate([middle, high])
        parts, sizes, hidden = _rule(integrand, *halves)
        count = low.size
        if depth == 0:
            grows = bool(sizes[0] > sizes[count] > 0), bool(sizes[-1] > sizes[count - 1] > 0)
        scale = max(scale, float(sizes.sum()))
        if not np.isfinite(scale):
            raise ValueError("the expectation is infinite or overflows: the function outgrows what the law gives it")
        gap = np.abs(parts[:count] + parts[count:] - whole)
        unseen = np.maximum(hidden[:count], hidden[count:])
        least = np.maximum(rtol * scale / 64, 4e-16 * (sizes[:count] + sizes[count:]))
        settled = (gap <= least) & (unseen <= np.maximum(least, rtol * scale))
        settled |= (middle <= low) | (middle >= high)
        left, remaining = float(gap[~settled].sum()), int(np.count_nonzero(~settled))
        # beside a jump one panel is left each time; where nearly all halves are, what they are off by is the integrand's rounding
        stuck = stuck + 1 if left > before / 4 and remaining > 1.5 * panels else 0
        rounded = stuck > 0 and left < _ROUNDED[int(stuck > _SOME_TIMES)] * scale
        if depth == _HALVINGS - 1 or remaining > _MOST or rounded:
            owed, settled = left, np.ones_like(settled)
        before, panels = left, remaining
        both = np.concatenate([settled, settled])
        total += float(parts[both].sum())
        if settled.all():
            break
        whole, low, high = parts[~both], halves[0][~both], halves[1][~both]
    if owed > _LEFT_OVER * scale:
        if stuck > _SOME_TIMES and owed < _ROUNDED[1] * scale:
            raise ValueError(
                f"the integral over the law is known to {owed / scale:.1g} of its size only: the law is so narrow, or the function "
                "changes so fast far out, that states in doubles leave it no more digits"
            )
        raise ValueError(
            "the integral over the law does not settle; give the states at which the function jumps or is singular as points="
        )
    if scale > 0 and any(
        o > _OUTERMOST * scale or up for o, up, is_open in zip(outer, grows, open_ends, strict=True) if is_open
    ):
        raise ValueError("the expectation is infinite or does not exist: the function outgrows the law's tail")
    return total


def _rule(integrand: Callable[[Array], Array], low: Array, high: Array) -> tuple[Array, Array, Array]:
    """Gauss's rule on panels, of the integrand and of its size, and what lies between the edges and the points next to them and is not seen."""
    half = (high - low) / 2
    values = integrand(low[:, None] + half[:, None] * (1 + NODES))
    if np.isnan(values).any():
        raise ValueError("the function is nan at states that the law reaches")
    with np.errstate(all="ignore"):
        beside = integrand(np.stack([low + 2 * half * _BESIDE, high - 2 * half * _BESIDE], axis=-1))
        off = np.abs(beside - values @ _TO_EDGES.T).max(axis=1) * half * (1 + NODES[0])
    return half * (values @ WEIGHTS), half * (np.abs(values) @ WEIGHTS), np.where(np.isfinite(off), off, 0.0)
