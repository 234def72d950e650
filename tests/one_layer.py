"""One layer's derived moments as numbers, and how far those of drawn layers are from them."""

from __future__ import annotations

from functools import cache

import numpy as np
import sympy as sp

from derivations.language import program
from derivations.limits.elimination.averages import LayerAverage
from derivations.limits.elimination.moments import LayerMoments


@cache
def _moments(layer: sp.Expr, width: int, coordinates: int, positions: int) -> LayerMoments:
    moments = LayerMoments(program(layer, sp.Integer(width), positions=(positions,)), coordinates)
    moments.at_rest()
    return moments


def derived_moments(layer: sp.Expr, start: np.ndarray, positions: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Drift and covariance of all neurons and coordinates at a start of shape (neurons, coordinates)."""
    width, m = start.shape
    moments = _moments(layer, width, m, positions)

    def number(expr: sp.Expr, i: int, j: int = 0) -> float:
        while nodes := sorted(expr.atoms(LayerAverage), key=lambda v: len(v.atoms(LayerAverage))):
            values = [
                nodes[0].body.xreplace(dict(zip(moments.states, map(sp.Float, row), strict=True))) for row in start
            ]
            expr = expr.xreplace({nodes[0]: sum(values) / width})
        rule = dict(zip(moments.states, map(sp.Float, start[i]), strict=True))
        rule |= dict(zip(moments.other, map(sp.Float, start[j]), strict=True))
        return float(expr.xreplace(rule))

    drift = np.array([[number(moments.drift(a), i) for a in range(m)] for i in range(width)])
    covariance = np.empty((width, m, width, m))
    for a in range(m):
        for b in range(m):
            own, between = moments.covariance(a, b), moments.between(a, b) if width > 1 else sp.S.Zero
            for i in range(width):
                for j in range(width):
                    covariance[i, a, j, b] = number(own, i) if i == j else number(between, i, j)
    return drift, covariance


def worst_distance(
    sample: np.ndarray, start: np.ndarray, size: float, drift: np.ndarray, covariance: np.ndarray
) -> float:
    """The largest distance of the sample's moments from the derived ones, in standard errors."""
    step = (sample - start) / size
    count = len(step)
    flat = step.reshape(count, -1)
    mean = flat / size - drift.ravel()
    products = flat[:, :, None] * flat[:, None, :] - covariance.reshape(flat.shape[1], -1)
    off = []
    for values in (mean, products.reshape(count, -1)):
        error = values.std(axis=0) / np.sqrt(count)
        off.append(np.max(np.abs(values.mean(axis=0)) / np.maximum(error, 1e-12)))
    return float(max(off))
