r"""Statements about pairs of positions on arrays: averages of each pair, sums over the other position, shares of a softmax."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, TypeAlias

import numpy as np
import sympy as sp
from numpy.typing import NDArray

from derivations.language import Program
from derivations.language.statements import Between, Mean, Mix, Shares
from derivations.symbols import state, step
from numerics.compile.turned_scores import require_pairs

Array = NDArray[np.float64]
#: A formula at arrays, brought to a shape.
Evaluated: TypeAlias = Callable[[sp.Expr, dict[sp.Symbol, Any], tuple[int, ...]], Array]


def pair_values(
    statement: Mean | Mix | Shares | Between, values: dict[sp.Symbol, Any], program: Program, evaluated: Evaluated
) -> Array:
    """What a statement makes, from the values of earlier ones.

    Parameters
    ----------
    values : dict
        Arrays of shape (samples, neurons or 1, coordinates or 1), or (samples, 1, inputs, positions, positions) for pairs.
    program : Program
    evaluated : callable

    Returns
    -------
    array
        Of the one shape or the other.
    """
    p, others = program.positions, dict(program.others)
    samples, _, coordinates = values[state].shape
    if isinstance(statement, Between):
        entries = np.array([float(e) for e in statement.entries(p)]).reshape(p, p)
        xp = values[state].__array_namespace__()
        return xp.broadcast_to(xp.asarray(entries), (samples, 1, coordinates // p, p, p))

    if isinstance(statement, Mean) and statement.angles is not None:
        sides = statement.sides(others)
        if not any(values[s].ndim == 5 for side in sides for s in side.free_symbols if s != step):
            return _products(statement, statement.angles, sides, values, evaluated)

    def body(expr: sp.Expr, rows: int, partners: bool = False) -> Array:
        at = {
            s: on_pairs(values[others.get(s, s)], s in others, coordinates, p) for s in expr.free_symbols if s != step
        }
        at = {s: partners_of(v) if partners and s in others else v for s, v in at.items()}
        return evaluated(expr, at, (samples, rows, coordinates // p, p, p))

    if isinstance(statement, Shares):
        return shares(body(statement.body, 1), body(statement.mask, 1))
    rows = 1 if statement.over is None else int(statement.over.size)
    return over_pairs(statement, partial(body, statement.body, rows))


def _products(
    statement: Mean,
    angles: sp.ImmutableMatrix,
    sides: tuple[sp.Expr, sp.Expr],
    values: dict[sp.Symbol, Any],
    evaluated: Evaluated,
) -> Array:
    """Turned scores as products of matrices: queries and keys are turned before."""
    samples, _, coordinates = values[state].shape
    rows, p = int(statement.over.size), angles.cols
    cosine, sine = (part[:, None, :] for part in _turns_of(angles, rows))
    made = []
    for side in sides:
        at = {s: values[s] for s in side.free_symbols if s != step}
        own = evaluated(side, at, (samples, rows, coordinates)).reshape(samples, rows, -1, p)
        first, second, xp = own[:, : rows // 2], own[:, rows // 2 :], own.__array_namespace__()
        turned = xp.concat([cosine * first - sine * second, sine * first + cosine * second], axis=1)
        made.append(xp.moveaxis(turned, 1, -1))
    queries, keys = made
    scores: Array = queries @ keys.swapaxes(-1, -2)
    return scores[:, None] * (float(statement.root) / rows)


def on_pairs(value: Array, other: bool, coordinates: int, positions: int, trailing: int = 0) -> Array:
    """A value at each pair of positions, as that of the one or of the other; axes after the coordinates' may trail."""
    if value.ndim == 5 + trailing:
        return value
    lead, tail, xp = value.shape[:2], value.shape[3:], value.__array_namespace__()
    grid = xp.broadcast_to(value, (*lead, coordinates, *tail)).reshape(*lead, -1, positions, *tail)
    expanded: Array = xp.expand_dims(grid, axis=3 if other else 4)
    return expanded


def over_pairs(statement: Mean | Mix, body: Callable[[bool], Array]) -> Array:
    """The sum over the other position, or the average over neurons, of a body at pairs.

    ``body(True)`` is the one in which each neuron meets its partner at the other position, for neurons that are turned in pairs.
    """
    found = body(False)
    if isinstance(statement, Mix):
        total: Array = found.sum(axis=4)
        return total.reshape(*found.shape[:2], -1, *found.shape[5:])
    if statement.angles is not None:
        cosine, sine = _turns(statement.angles, found.shape[1])
        trailing = (np.newaxis,) * (found.ndim - 5)
        found = cosine[(..., *trailing)] * found + sine[(..., *trailing)] * body(True)
    averaged: Array = found.mean(axis=1, keepdims=True) * float(statement.root)
    return averaged


def partners_of(value: Array) -> Array:
    """The values of each neuron's partner in its pair, the one half of the neurons further on; numbers for all neurons stay."""
    half, xp = value.shape[1] // 2, value.__array_namespace__()
    return value if value.shape[1] == 1 else xp.concat([value[:, half:], value[:, :half]], axis=1)


@lru_cache(maxsize=64)
def _turns_of(angles: sp.ImmutableMatrix, neurons: int) -> tuple[Array, Array]:
    """Cosines and sines of each pair of neurons at each position, shape (neurons / 2, positions).

    Raises
    ------
    ValueError
        If neurons are not as many pairs of each kind, or an angle is no number.
    """
    kinds = angles.rows
    require_pairs(kinds, neurons)
    if angles.free_symbols:
        raise ValueError(
            f"the angles of rotary positions hold {', '.join(sorted(map(str, angles.free_symbols)))}; give them values"
        )
    theta = np.tile(np.array(angles.evalf(20), dtype=float), (neurons // (2 * kinds), 1))
    return np.cos(theta), np.sin(theta)


def _turns(angles: sp.ImmutableMatrix, neurons: int) -> tuple[Array, Array]:
    """By what products of neurons, and of neurons with their partners, enter turned scores: shape (1, neurons, 1, positions, positions)."""
    cosine, sine = _turns_of(angles, neurons)
    turn = (cosine + 1j * sine)[:, :, None] * (cosine - 1j * sine)[:, None, :]
    both = np.concatenate([turn, turn.conj()])[None, :, None]
    return both.real, both.imag


def shares(scores: Array, mask: Array) -> Array:
    """Of the last axis; scores are taken less the largest one that is not masked out."""
    xp = scores.__array_namespace__()
    top = xp.max(xp.where(mask > 0, scores, -np.inf), axis=-1, keepdims=True)
    weights = xp.where(mask > 0, mask * xp.exp(xp.minimum(scores - top, 0.0)), 0.0)
    normed: Array = weights / weights.sum(axis=-1, keepdims=True)
    return normed
