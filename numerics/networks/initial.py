r"""Where networks start: fixed states, network inputs through a first layer, or states with a given Gram matrix."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from derivations.architectures import Recipe
from derivations.errors import shown
from numerics.compile.programs import Array, MatrixNumbers
from numerics.given import array
from numerics.linalg import SMALL, semidefinite_factor
from numerics.networks.drawings import Drawing, column_factor


@dataclass(frozen=True)
class Start:
    r"""The initial states of networks, as values of all coordinates, or of the first input's and what the others differ by.

    Parameters
    ----------
    states : array, shape (n, columns) or (samples, n, columns), or None
        Fixed.
    rows : array, shape (columns, dim), or None
        What the first layer's weights :math:`N(0, v/\mathrm{dim})` multiply.
    variance : float
        v.
    rotated : bool
        Whether instead the states are :math:`\sqrt{n v/\mathrm{dim}}\,Q` times the rows, with Q uniform among the n × dim matrices with
        orthonormal columns: then :math:`X^\top X/n` is what it would be on average.
    """

    states: Array | None
    rows: Array | None
    variance: float = 1.0
    rotated: bool = False

    @property
    def is_moderate(self) -> bool:
        """Whether squares of all that is not 0 stay in the range of numbers, as machine code takes for granted."""
        size = np.abs(np.asarray(self.states if self.rows is None else self.rows))
        return bool(np.all((size == 0) | ((size > SMALL**0.5) & (size < SMALL**-0.5))))

    def in_differences(self, positions: int) -> Start:
        """The same, each input but the first by what it differs from the first."""

        def moved(values: Array, axis: int) -> Array:
            first, rest = np.split(values, [positions], axis=axis)
            tiles = [1] * values.ndim
            tiles[axis] = rest.shape[axis] // positions
            return np.concatenate([first, rest - np.tile(first, tiles)], axis=axis)

        states = None if self.states is None else moved(self.states, -1)
        return replace(self, states=states, rows=None if self.rows is None else moved(self.rows, 0))

    def matrix(self, width: int) -> MatrixNumbers:
        """The first layer's."""
        return MatrixNumbers(self.variance, 0.0, 0.0, 0.0, width, width if self.rows is None else self.rows.shape[1], 1)

    def block(self, drawing: Drawing, first: int, count: int, width: int, rng: np.random.Generator) -> Array:
        """The states of samples ``first`` …, shape (count, n, columns)."""
        if self.states is not None:
            here = self.states[first : first + count] if self.states.ndim == 3 else self.states
            return np.array(np.broadcast_to(here, (count, *here.shape[-2:])), dtype=float)
        assert self.rows is not None
        dim = self.rows.shape[1]
        if self.rotated:
            frames, lengths = column_factor(rng.standard_normal((count, width, dim)))
            frames = frames / np.einsum("bjj->bj", lengths)[:, None]
            return np.sqrt(self.variance * width / dim) * np.matmul(frames, self.rows.T)
        return drawing(self.matrix(width), count, rng)(self.rows.T[None], None)

    def rows_of_covariance(self, width: int) -> Array:
        r"""Rows whose Gram matrix, their sum of products, is the mean of :math:`X^\top X/n`; shape (samples or 1, k, columns)."""
        if self.rows is not None:
            return self.rows.T[None] * np.sqrt(self.variance / self.rows.shape[1])
        assert self.states is not None
        return (self.states if self.states.ndim == 3 else self.states[None]) / np.sqrt(width)


def checked_start(
    x0: ArrayLike | None, inputs: ArrayLike | None, variance: float, samples: int, width: int, architecture: Recipe
) -> Start:
    """The start that a user gave.

    Raises
    ------
    ValueError
        If it is not one of both, does not fit, or is not finite.
    """
    m = architecture.coordinates
    if not (np.isfinite(variance) and variance >= 0):
        raise ValueError(f"input_weight_variance must be finite and at least 0, got {variance}")
    if (x0 is None) == (inputs is None):
        given = "neither" if x0 is None else "both"
        raise ValueError(f"expected either x0, a fixed start, or inputs, network inputs of shape (m, dim), got {given}")
    if inputs is not None:
        return Start(None, input_rows(architecture, inputs), float(variance))
    states = finite_array(x0, "x0")
    if m == 1 and states.shape not in ((width,), (width, m)) and states.size == samples * width:
        states = states.reshape(samples, width, m) if states.shape in ((samples,), (samples, width)) else states
    if states.shape not in ((), (width,), (width, m), (samples, width, m)):
        raise ValueError(
            f"x0 must be a number or have shape ({width},), ({width}, {m}) or ({samples}, {width}, {m}), "
            f"got shape {states.shape}"
        )
    column = states[:, None] if states.ndim == 1 else states
    return Start(column if column.ndim == 3 else np.broadcast_to(column, (width, m)), None)


def input_rows(architecture: Recipe, inputs: ArrayLike) -> Array:
    """Network inputs as one row per coordinate of a neuron's state: what the first layer's weights multiply.

    Parameters
    ----------
    architecture : Recipe
    inputs : array, shape (m, dim), or (m, channels, positions...) over a grid

    Returns
    -------
    array, shape (coordinates, dim or channels)

    Raises
    ------
    ValueError
        If the shape does not fit the architecture.
    """
    given, grid = finite_array(inputs, "inputs"), architecture.positions
    if given.ndim != 2 + len(grid) or given.shape[1] < 1 or given.shape[2:] != grid:
        shape = f"(m, channels, {', '.join(map(str, grid))})" if grid else "(m, dim), one network input a row"
        raise ValueError(f"inputs must have shape {shape}, got shape {given.shape}")
    if given.shape[0] != architecture.inputs:
        raise ValueError(
            f"the architecture follows {architecture.inputs} inputs jointly, got {given.shape[0]} rows; "
            f"set inputs={given.shape[0]} in the architecture"
        )
    rows: Array = np.moveaxis(given, 1, -1).reshape(-1, given.shape[1])
    return rows


def gram_start(gram: ArrayLike, inputs: int, width: int, rotated: bool) -> Start:
    r"""States whose Gram matrix :math:`X^\top X/n` is as given: exactly and else uniformly rotated, or on average and i.i.d.

    Raises
    ------
    ValueError
        If it is no covariance of so many inputs, or there are fewer neurons than inputs.
    """
    given = np.asarray(gram, dtype=float)
    if (
        given.shape != (inputs, inputs)
        or not np.allclose(given, given.T, rtol=1e-12, atol=0)
        or not np.isfinite(given).all()
    ):
        raise ValueError(
            f"start must be a symmetric matrix of shape ({inputs}, {inputs}), the Gram matrix of {inputs} inputs, got {gram!r}"
        )
    if np.linalg.eigvalsh(given)[0] < -1e-12 * np.trace(given):
        raise ValueError(f"start must be positive semi-definite, got the eigenvalues {np.linalg.eigvalsh(given)}")
    return factor_start(semidefinite_factor(given), width, rotated)


def factor_start(factor: Array, width: int, rotated: bool) -> Start:
    """The same by a factor of the Gram matrix."""
    if rotated and width < factor.shape[1]:
        raise ValueError(
            f"{factor.shape[1]} inputs have no given Gram matrix in {width} neurons; take at least as many neurons as inputs"
        )
    return Start(None, factor, float(factor.shape[1]), rotated)


def finite_array(given: ArrayLike | None, name: str) -> Array:
    """Numbers, none of which is infinite or nan."""
    if not array.holds(given):
        raise ValueError(f"{name} must be an array of numbers, got {shown(given)}")
    values = np.asarray(given, dtype=float)
    if not np.all(np.isfinite(values)):
        raise ValueError(f"{name} must be finite, got {np.count_nonzero(~np.isfinite(values))} values that are not")
    return values
