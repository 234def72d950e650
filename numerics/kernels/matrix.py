r"""The front door: kernel matrices of network inputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import partial
from math import prod
from typing import Any, NoReturn

import numpy as np
from numpy.typing import ArrayLike, NDArray

from derivations.architectures import Recipe
from derivations.errors import shown, unknown
from derivations.kernels.flows import keeps_zero
from derivations.notation.printed import Legible
from numerics import given
from numerics.compile.jit import uses_jit
from numerics.kernels.agreement import largest_difference, require_agreement
from numerics.kernels.correlation import CorrelationMap, affine_map
from numerics.kernels.coupled import solve_coupled
from numerics.kernels.derived import DerivedFlow, derived_flow
from numerics.kernels.pairs import Inputs, solve_pairs
from numerics.kernels.tiles import empty, in_bands, on_executor, require_room
from numerics.linalg import one_thread
from numerics.networks import input_rows

Array = NDArray[np.float64]

KINDS = ("nngp", "ntk")
LEAST_TOLERANCE = 1e-11  #: Below it rounding decides.
_LARGEST = 1e150  # of an input, whose square a double holds
_PAIRS = 1 << 15  # in a band of rows
_ROUGH, _SURELY = 1e-3, 10.0  # a first tolerance; by how much the difference of two sets of points may fall with it


@dataclass(frozen=True, repr=False)
class Kernels(Legible):
    """Both kernels between two sets of inputs; ``ntk`` is None if it was not asked for.

    Examples
    --------
    >>> Kernels(np.eye(2), None)
    <Kernels: 2 by 2 inputs, nngp>
    """

    nngp: Array
    ntk: Array | None

    @property
    def headline(self) -> str:
        """Between how many inputs, and which."""
        rows, columns = self.nngp.shape
        return f"{rows} by {columns} inputs, {'nngp' if self.ntk is None else 'nngp and ntk'}"

    def __str__(self) -> str:
        return "\n".join(f"{kind}:\n{k}" for kind, k in (("nngp", self.nngp), ("ntk", self.ntk)) if k is not None)


@given.checked(architecture=given.network, tolerance=given.number)
def kernel_matrix(
    architecture: Recipe,
    X: ArrayLike,
    t: float = 1.0,
    kind: str = "nngp",
    other: ArrayLike | None = None,
    tolerance: float = 1e-9,
    workers: int | Executor = 1,
    pool: bool = False,
    backend: str = "auto",
    channels: str = "first",
) -> Array:
    r"""Kernel matrix of an infinitely wide network at infinite depth t.

    :math:`K_0 = XX^\top/\dim` (a first layer of weight variance 1), :math:`\Theta_0 = K_0`, weights in the tangent
    parameterisation; then the flows that :func:`derivations.kernels.ntk` derives, integrated to a relative error ``tolerance``
    per step. Memory is proportional to the matrix.

    Where layers draw factors, as dropout does, each row and each column has factors of its own, drawn once, and the diagonal without ``other`` is that
    of an input with itself under the same ones. Training draws them anew at each step; the regressors know that.

    Parameters
    ----------
    architecture : Recipe
        Any with ``width=oo``, a :class:`~derivations.Network` too, with numbers for its parameters; its ``inputs`` are ignored.
    X : array, shape (m, dim), or (m, channels, positions...) over a grid or a sequence
        Positions may meet in filters or in sums over positions such as attention. All pairs of positions of both inputs are followed there, and
        the derivation of p coupled positions takes like p⁴: linear attention 14 s at 8, softmax heads 5 s at 16. Pairs of inputs through a softmax
        are integrated one by one; what would take more than an hour is refused with its time.
    t : float
        Depth, at least 0.
    kind : {"nngp", "ntk"}
    other : array, optional
        Inputs of the columns; by default X.
    tolerance : float
        A softmax over more than two positions is known to about 1e-3, which has to be asked for.
    workers : int or Executor
        Threads, or an executor of :mod:`concurrent.futures` or of a Dask cluster (:func:`numerics.ensembles.dask_executor`), which takes
        blocks of 1000 inputs.
    pool : bool
        Over a grid: whether the readout averages over positions before its weights, or has weights for each.
    backend : {"auto", "numpy", "numba"}
        Arrays, or machine code (extra ``fast``) for flows over pairs with closed means: the same numbers to rounding.
        ``"auto"`` takes machine code where there are pairs enough to pay for its compilation.
    channels : {"first", "last"}
        Where the channels of an input over positions stand: ``"last"`` is (m, tokens, channels), as sequences are in PyTorch.

    Returns
    -------
    array, shape (m, m) or (m, other's m)

    Raises
    ------
    ValueError
        For an unknown kind, shapes that do not fit, numbers that are not finite, a t beyond the explosion, machine code
        where there is none, an infinite mean (the tangent kernel of an activation that jumps, or whose squared derivative
        has no Gaussian mean), or positions that are coupled in a way that is not followed.
    MemoryError
        For matrices that do not fit in memory, before any work.

    Examples
    --------
    >>> from derivations import ResNet, relu, symbols
    >>> kernel_matrix(ResNet(relu, width=float("inf")), [[1.0, 0.0], [0.0, 1.0]], t=2.0)
    array([[1.35914091, 0.34503029],
           [0.34503029, 1.35914091]])
    """
    if kind not in KINDS:
        raise ValueError(unknown("kind", kind, KINDS))
    kernels = kernel_matrices(architecture, X, t, other, tolerance, workers, pool, kind == "ntk", backend, channels)
    if kernels.ntk is not None:
        return kernels.ntk
    return kernels.nngp


@given.checked(t=given.time)
def kernel_matrices(
    architecture: Recipe,
    X: ArrayLike,
    t: float = 1.0,
    other: ArrayLike | None = None,
    tolerance: float = 1e-9,
    workers: int | Executor = 1,
    pool: bool = False,
    tangent: bool = True,
    backend: str = "auto",
    channels: str = "first",
) -> Kernels:
    """Both kernels at once, for the price of the second; parameters as in :func:`kernel_matrix`."""
    width: Any = architecture.width
    if getattr(width, "is_infinite", False) is not True:
        raise ValueError(f"a kernel is that of an infinitely wide network, got width={width}; use width=oo")
    if not LEAST_TOLERANCE <= tolerance < 1:
        raise ValueError(f"tolerance must be between {LEAST_TOLERANCE:g} and 1, got {tolerance}")
    given = channels_first(_inputs(X, "X"), channels)
    rows, count, columns = given, len(given), None
    if other is not None:
        columns = channels_first(_inputs(other, "other"), channels)
        if columns.shape[1:] != given.shape[1:]:
            raise ValueError(f"X and other must be inputs of one shape, got {given.shape[1:]} and {columns.shape[1:]}")
    require_room(1 + tangent, count, count if columns is None else len(columns))
    if isinstance(workers, Executor):
        block = partial(_block, architecture, t=t, tolerance=tolerance, pool=pool, tangent=tangent, backend=backend)
        both = on_executor(workers, block, 1 + tangent, given, columns)
        return Kernels(both[0], both[1] if tangent else None)
    if columns is not None:
        rows = np.concatenate([given, columns])
    single: Recipe = replace(architecture, inputs=1)
    features = input_rows(replace(architecture, inputs=len(rows)), rows)
    split, size = count if other is not None else None, prod(architecture.positions)
    if single.program().has_pairs:
        uses_jit(backend, 0, _no_kernel)
        with one_thread():
            found = solve_coupled(single, tangent, features, split, t, tolerance, pool)
        return _finite(found, tangent, t)
    flow = derived_flow(single, tangent)
    still = keeps_zero(single.program())
    zeros = np.array([still and not row.any() for row in rows])
    with one_thread():
        if flow.flow.linear or flow.flow.scale_free:
            uses_jit(backend, 0, _no_kernel)
            solve = _by_formula if flow.flow.linear else _by_correlation
            found = solve(flow, Inputs(features, split, 1), t, tolerance, workers)
        else:
            inputs = Inputs(features, split, size)
            solve = partial(
                solve_pairs, inputs=inputs, t=t, workers=workers, backend=backend, read_out=_read_out(size, pool)
            )
            if flow.from_points:
                found = _at_two_sets_of_points(solve, flow, derived_flow(single, tangent, 1), tolerance)
            else:
                found = solve(flow, tolerance=tolerance)
    for matrix in found if zeros.any() else ():  # networks put out 0 there, whatever the flow says of small inputs
        matrix[zeros[:split]] = 0.0
        matrix[:, zeros[split or 0 :]] = 0.0
    return _finite(found, tangent, t)


def steps_meet(architecture: Recipe, tangent: bool) -> bool:
    """Whether pairs are integrated together, at steps that all of them decide: neither by a formula, a shared map nor a softmax's points."""
    single: Recipe = replace(architecture, inputs=1)
    if single.program().has_pairs:
        return False
    flow = derived_flow(single, tangent).flow
    return not (flow.linear or flow.scale_free)


def _finite(found: Sequence[Array], tangent: bool, t: float) -> Kernels:
    """What was found, if a double can hold it."""
    if not all(np.isfinite(matrix).all() for matrix in found):
        raise ValueError(
            f"the kernel at t = {t:g} is larger than a double can be; choose a smaller t, smaller inputs or smaller variances"
        )
    return Kernels(found[0], found[1] if tangent else None)


def _block(architecture: Recipe, rows: Array, columns: Array | None, **options: Any) -> tuple[Array, ...]:
    """The kernels of a block of inputs, run by an executor."""
    found = kernel_matrices(architecture, rows, other=columns, **options)
    return (found.nngp,) if found.ntk is None else (found.nngp, found.ntk)


def _read_out(size: int, pool: bool) -> Callable[[Array], Array]:
    """From a kernel over coordinates to that of the readout."""

    def read_out(kernel: Array) -> Array:
        if size == 1:
            return kernel
        blocks = kernel.reshape(len(kernel) // size, size, -1, size)
        found: Array = blocks.mean(axis=(1, 3)) if pool else np.einsum("apbp->ab", blocks) / size
        return found

    return read_out


def _at_two_sets_of_points(
    solve: Callable[..., list[Array]], flow: DerivedFlow, other: DerivedFlow, tolerance: float
) -> list[Array]:
    """The mean over both; solved roughly first, where what the points do not give is seen too."""
    for rough in dict.fromkeys((max(tolerance, _ROUGH), tolerance)):
        found, again = (solve(each, tolerance=rough) for each in (flow, other))
        off = largest_difference(found, again)
        require_agreement(off, tolerance, "several Gaussian variables at once", 1.0 if rough == tolerance else _SURELY)
    return [(a + b) / 2 for a, b in zip(found, again, strict=True)]


def _no_kernel() -> NoReturn:
    raise ValueError(
        "only flows integrated pair by pair have a machine-code kernel, not grids, linear or homogeneous networks; "
        'use backend="auto"'
    )


def channels_first(inputs: Array, channels: str) -> Array:
    """Inputs with their channels before the positions.

    Raises
    ------
    ValueError
        If ``channels`` is neither "first" nor "last".
    """
    if channels not in ("first", "last"):
        raise ValueError(unknown("place of the channels", channels, ("first", "last")))
    return np.moveaxis(inputs, -1, 1) if channels == "last" else inputs


def _inputs(X: ArrayLike, name: str) -> Array:
    if not given.array.holds(X):
        raise ValueError(f"{name} must be an array of numbers, one input a row, got {shown(X)}")
    values = np.asarray(X, dtype=float)
    if values.ndim < 2 or not values.size or not np.all(np.isfinite(values)):
        raise ValueError(f"{name} must hold finite numbers, one input a row, got shape {values.shape}")
    largest = float(np.abs(values).max())
    if largest > _LARGEST:
        raise ValueError(
            f"{name} must hold numbers of at most {_LARGEST:g}, whose squares a double holds, got {largest:.3g}; scale the inputs"
        )
    return values


def _by_formula(flow: DerivedFlow, inputs: Inputs, t: float, tolerance: float, workers: int) -> list[Array]:
    """A linear activation inside: both kernels are affine in the inputs' inner products."""
    height, width = _shape(inputs)
    lines = affine_map(flow, t)

    def band(rows: slice, columns: slice) -> list[Array]:
        start = inputs.kernel(rows, columns)
        return [constant + factor * start for constant, factor in lines]

    return in_bands(empty(len(lines), height, width), inputs.split, _rows(width), workers, band)


def _shape(inputs: Inputs) -> tuple[int, int]:
    count, split = len(inputs.features), inputs.split
    return (count, count) if split is None else (split, count - split)


def _rows(width: int) -> int:
    """Rows of a band of which a processor's cache holds what is made on the way."""
    return max(1, _PAIRS // max(1, width))


def _by_correlation(flow: DerivedFlow, inputs: Inputs, t: float, tolerance: float, workers: int) -> list[Array]:
    """A homogeneous network: both kernels are functions of the angle between inputs."""
    features = inputs.features
    largest = np.max(np.abs(features), axis=1, keepdims=True)
    unit = np.divide(features, largest, out=np.zeros_like(features), where=largest > 0)  # squares of 1e-160 lose digits
    norms = largest[:, 0] * np.sqrt(np.mean(unit**2, axis=1))
    directions = np.divide(features, norms[:, None], out=np.zeros_like(features), where=norms[:, None] > 0)
    height, width = _shape(inputs)
    found = empty(1 + flow.tangent, height, width)
    solved = CorrelationMap.solve(flow, t, tolerance)

    def band(rows: slice, columns: slice) -> list[Array]:
        cosines = directions[rows] @ directions[columns].T / features.shape[1]
        if inputs.split is None:
            np.fill_diagonal(cosines, 1.0)
        scale = solved.growth * np.outer(norms[rows], norms[columns])
        return [values * scale for values in solved(cosines, flow.tangent) if values is not None]

    return in_bands(found, inputs.split, _rows(width), workers, band)
