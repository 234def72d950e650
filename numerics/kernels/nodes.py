"""Gaussian means that a formula holds without a closed form, at arrays of their parameters: what array code calls for such a node."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from derivations.activations import Activation
from derivations.errors import DerivationError
from derivations.gaussian.printed import read_node
from derivations.kernels.standard_form import standard_form
from numerics import quadrature
from numerics.compile import compile_expression
from numerics.kernels.means import LEAST, CompiledMeans
from numerics.kernels.panels import panels_of
from numerics.kernels.series import Side as Series
from numerics.kernels.series import listed_means

Array = NDArray[np.float64]
_SOME = 4096  # means evaluated together


class Side(NamedTuple):
    """One function of a Gaussian number, with its mean and variance."""

    means: CompiledMeans
    mean: Array
    variance: Array


def gaussian_values(text: str, *values: ArrayLike) -> Array:
    """An unevaluated mean of one or two Gaussian numbers at arrays of its parameters, to about twelve digits.

    Parameters
    ----------
    text : str
        The mean and its parameters, as :mod:`derivations.gaussian.printed` writes them.
    values : array
        Of the parameters; they broadcast.
    """
    parts = _parts(text)
    if parts is None:  # a parameter enters the function in a way of its own
        return quadrature.gaussian_values(text, *values)
    functions, law = parts
    numbers = [np.asarray(value, dtype=float) for value in values]
    shape = np.broadcast_shapes(*(v.shape for v in numbers))
    flat = [np.broadcast_to(v, shape).ravel() for v in numbers]
    size = flat[0].size if flat else 1
    found = np.full(size, np.nan)
    with np.errstate(all="ignore"):
        known = np.isfinite([np.zeros(size) + entry for entry in law(*flat)]).all(axis=0)
    places = np.flatnonzero(known)  # samples that have exploded have no mean
    for first in range(0, places.size, _SOME):
        here = places[first : first + _SOME]
        some, zero = [v[here] for v in flat], np.zeros(here.size)
        factor, *rest = (zero + entry for entry in law(*some))
        sides = [Side(m, rest[2 * k], np.maximum(rest[2 * k + 1], 0.0)) for k, m in enumerate(functions)]
        mean = sides[0].means.first(*sides[0][1:]) if len(sides) == 1 else pair_values(sides[0], sides[1], rest[-1])
        found[here] = factor * mean
    result: Array = found.reshape(shape)[()]
    return result


@lru_cache(maxsize=64)
def _parts(text: str) -> tuple[list[CompiledMeans], Any] | None:
    node, *parameters = read_node(text)
    entries, functions, total = [], [], 1
    slopes: list[Any] = []
    own = node.args[1:] if len(node.functions) == 1 else (0, node.args[2], 0, node.args[4])
    for k, said in enumerate(node.functions):
        try:
            factor, function, slope, shift = standard_form(said)
        except DerivationError:
            return None
        mean, variance = own[2 * k : 2 * k + 2]
        (z,) = function.free_symbols or said.variables
        functions.append(CompiledMeans(panels_of(Activation("f", function, z))))
        entries += [slope * mean + shift, slope**2 * variance]
        total, slopes = total * factor, [*slopes, slope]
    across = [] if len(slopes) == 1 else [slopes[0] * slopes[1] * node.args[3]]
    return functions, compile_expression(parameters, [total, *entries, *across])


def pair_values(left: Side, right: Side, covariance: Array) -> Array:
    """E f(U) g(V) for pairs side by side: the Hermite series in the correlation, and an integral where that leaves too much out."""
    deviations = [np.sqrt(np.maximum(side.variance, LEAST)) for side in (left, right)]
    found = [Series.of(side.means.panels, side.mean, d) for side, d in zip((left, right), deviations, strict=True)]
    rho = np.clip(covariance / (deviations[0] * deviations[1]), -1.0, 1.0)
    every = np.arange(len(rho))
    return listed_means(found[0], found[1], every, every, rho)
