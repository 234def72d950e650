r"""Statements about pairs of positions on arrays: averages of each pair, sums over the other position, shares of a softmax."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import sympy as sp
from numpy.typing import NDArray

from derivations.language import Program
from derivations.language.statements import Between, Mean, Mix, Shares
from derivations.symbols import state, step

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

    def body(expr: sp.Expr, rows: int) -> Array:
        at = {
            s: on_pairs(values[others.get(s, s)], s in others, coordinates, p) for s in expr.free_symbols if s != step
        }
        return evaluated(expr, at, (samples, rows, coordinates // p, p, p))

    if isinstance(statement, Shares):
        return shares(body(statement.body, 1), body(statement.mask, 1))
    found = body(statement.body, 1 if statement.over is None else int(statement.over.size))
    return over_pairs(statement, found)


def on_pairs(value: Array, other: bool, coordinates: int, positions: int, trailing: int = 0) -> Array:
    """A value at each pair of positions, as that of the one or of the other; axes after the coordinates' may trail."""
    if value.ndim == 5 + trailing:
        return value
    lead, tail, xp = value.shape[:2], value.shape[3:], value.__array_namespace__()
    grid = xp.broadcast_to(value, (*lead, coordinates, *tail)).reshape(*lead, -1, positions, *tail)
    expanded: Array = xp.expand_dims(grid, axis=3 if other else 4)
    return expanded


def over_pairs(statement: Mean | Mix, found: Array) -> Array:
    """The sum over the other position, or the average over neurons, of a body at pairs."""
    if isinstance(statement, Mix):
        total: Array = found.sum(axis=4)
        return total.reshape(*found.shape[:2], -1, *found.shape[5:])
    averaged: Array = found.mean(axis=1, keepdims=True) * float(statement.root)
    return averaged


def shares(scores: Array, mask: Array) -> Array:
    """Of the last axis; scores are taken less the largest one that is not masked out."""
    xp = scores.__array_namespace__()
    top = xp.max(xp.where(mask > 0, scores, -np.inf), axis=-1, keepdims=True)
    weights = xp.where(mask > 0, mask * xp.exp(xp.minimum(scores - top, 0.0)), 0.0)
    normed: Array = weights / weights.sum(axis=-1, keepdims=True)
    return normed
