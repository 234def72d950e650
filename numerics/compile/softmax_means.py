r"""Means of bilinear forms in shares of a softmax over scores, many at once, with an error.

Shares depend on differences of a row's scores. With roots :math:`Q = RR^\top` and :math:`DCD^\top = TT^\top` of the queries' covariance and of the
keys' differences to the last one, scores are :math:`Y = R U T^\top` for a matrix U whose law is free of parameters: entries are
standard normal for infinitely many keys, and :math:`N^{-1/2} g h^\top` for N. Means of queries and keys are one more column of R and T: turned so
that the first neuron has all of them, they meet :math:`\sqrt N`, and each other's first rows of g and h. Points U are spread once, so that a mean is a
smooth function of what it depends on; for two positions and infinitely many keys they are those of a
trapezoidal rule over two differences of scores. Scores whose neurons are turned by their positions have no such factors: they come from one
root of their whole covariance.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from typing import Any, NamedTuple

import numpy as np
import sympy as sp
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaincinv, ndtri
from scipy.stats import qmc

from derivations.gaussian.printed import read_node
from derivations.gaussian.softmax import SoftmaxMean
from numerics.compile.shares import second_moments, shares, table, table_of_function, table_of_slopes

Array = NDArray[np.float64]

_DIGITS, _REACH, _LEAST_STEP = (
    30.0,
    8.5,
    0.04,
)  # of a rule over two positions: minus the log of its error, its ends, and its least step
_LEAST_STEP_OF_FUNCTIONS, _AGREED = 0.02, 1e-12  # steps are halved until two grids agree
_SHARES, _FEWEST, _MOST, _SHIFTS = 2**20, 2**12, 2**16, 8
_MOST_VALUES = 1000  # at how many values of its parameters a mean is taken at once; each costs milliseconds
UNTURNED: Array = np.empty((0, 0))
_BLOCK = 2**22  # how many shares are kept at a time


class JointMean(NamedTuple):
    """A mean and what it may err by."""

    value: float
    error: float


class Group(NamedTuple):
    """What means have in common whose rows can be taken from the same scores."""

    queries: sp.ImmutableMatrix
    keys: sp.ImmutableMatrix
    mask: sp.ImmutableMatrix
    neurons: sp.Expr
    angles: sp.ImmutableMatrix
    heads: int
    means: tuple[sp.ImmutableMatrix, ...] = ()


def group_of(node: SoftmaxMean) -> Group:
    """The group of a mean."""
    return Group(node.queries, node.keys, node.mask, node.neurons, node.angles, node.heads, node.means)


def bilinear_means(
    pairs: Sequence[tuple[int, int, int, int, int]],
    forms: Sequence[Array],
    queries: Array,
    keys: Array,
    mask: Array,
    neurons: float,
    shift: int = 0,
    means: Sequence[Array] = (),
    functions: Sequence[Callable[..., Array]] = (),
    angles: Array = UNTURNED,
    heads: int = 1,
) -> Array:
    r"""Means :math:`\mathbb{E}\,a_\alpha^\top M a_\gamma` over the same scores, or of slopes, or of functions of the three forms of two rows.

    Parameters
    ----------
    pairs : sequence of (int, int, int, int, int)
        Two rows, which of the forms, which of them is T in a mean of slopes, else -1, and which of the functions, else -1.
    forms : sequence of array, shape (c, c)
    queries, keys : array, shape (c, c)
    mask : array, shape (p, p)
    neurons : float
        The number of keys, or infinity.
    shift : int
        Which of the independent sets of points.
    means : sequence of array, shape (c,)
        Of queries and of keys; empty where both are 0.
    functions : sequence of callable
        Of arrays of the forms of the first row, of both, and of the second.
    angles : array, shape (F, p)
        By which pairs of neurons are turned.
    heads : int
        Over how many independent ones functions take the average of each form.
    """
    c, p = len(queries), len(mask)
    if p == 2 and np.isinf(neurons) and heads == 1:
        return np.array([_of_two(pair, forms, queries, keys, mask, shift, functions, angles) for pair in pairs])
    rows = sorted({r for a, b, *_ in pairs for r in (a, b)})
    place = {r: k for k, r in enumerate(rows)}
    if len(angles):
        points, weights = _points(heads, c * (p - 1), p, neurons, shift)
        own = _root(_turned(queries, keys, angles)).reshape(c, p - 1, -1)[rows]
    else:
        points, weights = _points(heads * c, c // p * (p - 1), p, neurons, shift, bool(means))
        own = _factored(rows, queries, keys, p, means)
    seen = mask[[r % p for r in rows]]
    total = np.zeros(len(pairs))
    per = max(1, _BLOCK // (heads * len(rows) * p))
    drawn, own = points.reshape(heads, -1, len(weights)), own.reshape(len(rows) * (p - 1), -1)
    for first in range(0, len(weights), per):
        scores = (own @ drawn[:, :, first : first + per]).reshape(heads, len(rows), p - 1, -1)
        found = np.array([shares(one, seen) for one in scores])
        w = weights[first : first + per]
        for here, there in sorted({(a // p, b // p) for a, b, *_ in pairs}):
            inside = [(i, *pair) for i, pair in enumerate(pairs) if (pair[0] // p, pair[1] // p) == (here, there)]
            ones, others = sorted({a for _, a, *_ in inside}), sorted({b for _, _, b, *_ in inside})
            where = slice(here * p, here * p + p), slice(there * p, there * p + p)
            sides = [found[:, [place[r] for r in side]] for side in (ones, others)]
            table_of = _tables(sides[0], sides[1], w, functions)
            made = {which: table_of(forms, *which, *where) for which in sorted({tuple(pair[3:]) for pair in inside})}
            for i, a, b, *which in inside:
                total[i] += made[tuple(which)][ones.index(a), others.index(b)]
    return total


def _factored(rows: list[int], queries: Array, keys: Array, p: int, means: Sequence[Array]) -> Array:
    """By what the entries of U enter the scores of rows: one product of matrices for all of them."""
    contrast = _contrast(len(queries) // p, p)
    left, right = _root(queries)[rows], _root(contrast @ keys @ contrast.T)
    if means:
        left = np.column_stack([left, means[0][rows]])
        right = np.column_stack([right, contrast @ means[1]])
    own = [np.multiply.outer(right[r // p * (p - 1) :][: p - 1], left[k]) for k, r in enumerate(rows)]
    return np.array(own).swapaxes(2, 3)


def _contrast(inputs: int, p: int) -> Array:
    """Differences of an input's scores to the last one."""
    apart: Array = np.hstack([np.eye(p - 1), -np.ones((p - 1, 1))])
    return np.asarray(np.kron(np.eye(inputs), apart), dtype=float)


def _turned(queries: Array, keys: Array, angles: Array) -> Array:
    """The covariance of all rows' differences of scores, each row with the keys of its own input."""
    c, p = len(queries), angles.shape[1]
    waves = np.exp(1j * np.repeat(angles[:, None, :], c // p, axis=1).reshape(len(angles), c))
    turn = np.einsum("fa,fc,fb,fd->abcd", waves, waves.conj(), waves[:, :p].conj(), waves[:, :p], optimize=True)
    blocks = keys.reshape(c // p, p, c // p, p).repeat(p, axis=0).repeat(p, axis=2)
    whole = queries[:, None, :, None] * blocks * turn.real / len(angles)
    contrast = _contrast(1, p)
    return np.einsum("xb,abcd,yd->axcy", contrast, whole, contrast, optimize=True).reshape(c * (p - 1), -1)


def _tables(
    one: Array, other: Array, weights: Array, functions: Sequence[Callable[..., Array]]
) -> Callable[..., Array]:
    """Weighted sums of forms, slopes or functions, asked for by their places and the blocks of two inputs; shares are of each head."""
    moments = cache(lambda: second_moments(one[0], other[0], weights))

    def made(forms: Sequence[Array], form: int, moved: int, f: int, *where: slice) -> Array:
        if f >= 0:
            return table_of_function(one, other, weights, _blocks(forms[form], *where), functions[f])
        if moved < 0:
            return table(moments(), forms[form][where])
        return table_of_slopes(one[0], other[0], weights, moments(), forms[form][where], forms[moved][where])

    return made


def _of_two(
    pair: tuple[int, int, int, int, int],
    forms: Sequence[Array],
    queries: Array,
    keys: Array,
    mask: Array,
    shift: int,
    functions: Sequence[Callable[..., Array]],
    angles: Array,
) -> float:
    """A mean over two positions, by the trapezoidal rule over both rows' differences of scores; sets of points are half a step apart.

    A share is analytic up to an imaginary difference of π, so that the rule is off by the exponential of minus 2π² over the step in scores.
    """
    a, b, *which = pair
    contrast = np.array([1.0, -1.0])
    blocks = [slice(r - r % 2, r - r % 2 + 2) for r in (a, b)]
    left, across, right = (
        queries[i, j] * (contrast @ (keys[blocks[x], blocks[y]] * _turn(angles, i % 2, j % 2)) @ contrast)
        for i, j, x, y in ((a, a, 0, 0), (a, b, 0, 1), (b, b, 1, 1))
    )
    sizes = [float(np.sqrt(max(v, 0.0))) for v in (left, right)]
    rho = float(np.clip(across / (sizes[0] * sizes[1]), -1.0, 1.0)) if min(sizes) > 0 else 0.0
    step = max(min(0.4, 2 * np.pi**2 / (_DIGITS * max(*sizes, 1e-300))), _LEAST_STEP)

    def value(step: float, shift: int) -> float:
        z = step * (np.arange(-np.ceil(_REACH / step), np.ceil(_REACH / step) + 1) + (shift % 2) / 2)
        w = np.exp(-z * z / 2)
        w /= w.sum()
        weights = np.outer(w, w).ravel()
        one = sizes[0] * np.repeat(z, len(z))
        other = sizes[1] * (rho * np.repeat(z, len(z)) + np.sqrt((1 - rho) * (1 + rho)) * np.tile(z, len(z)))
        first, second = (shares(d[None, None, :], mask[[r % 2]]) for d, r in ((one, a), (other, b)))
        return float(_tables(first[None], second[None], weights, functions)(forms, *which, *blocks)[0, 0])

    if which[-1] >= 0:  # a form is 0 closer to the real line than a share is infinite
        while step > _LEAST_STEP_OF_FUNCTIONS and abs(value(step, 0) - value(step, 1)) > _AGREED:
            step /= 2
    return value(step, shift)


def _turn(angles: Array, a: int, c: int) -> Any:
    """By what turning multiplies the covariance of the scores of two positions with keys."""
    if not len(angles):
        return 1.0
    waves = np.exp(1j * angles)
    return np.einsum("f,fb,fd->bd", waves[:, a] * waves[:, c].conj(), waves.conj(), waves).real / len(angles)


def _blocks(form: Array, one: slice, other: slice) -> tuple[Array, Array, Array]:
    """Of the first row's input, of both, and of the second's."""
    return form[one, one], form[one, other], form[other, other]


def _root(matrix: Array) -> Array:
    """The symmetric root of a covariance."""
    sizes, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
    root: Array = (vectors * np.sqrt(np.maximum(sizes, 0.0))) @ vectors.T
    return root


@lru_cache(maxsize=16)
def _points(
    rows: int, columns: int, positions: int, neurons: float, shift: int, means: bool = False
) -> tuple[Array, Array]:
    """Entries of points U row by row, shape (rows * columns, points), and weights; with one more row and column for means."""
    if means:
        count = int(np.clip(_SHARES // ((rows + 1) * (columns + 1)), _FEWEST, _MOST))
        drawn = _with_means(1 << (count.bit_length() - 1), rows, columns, int(neurons), shift)
        return np.ascontiguousarray(drawn.reshape(len(drawn), -1).T), np.full(len(drawn), 1 / len(drawn))
    count = int(np.clip(_SHARES // (rows * columns), _FEWEST, _MOST))
    half = _drawn(1 << (count.bit_length() - 2), rows, columns, neurons, shift)
    both = np.concatenate([half, -half])  # odd moments are 0
    flat = both.reshape(len(both), -1)
    if 4 * flat.shape[1] < len(flat):  # and second moments are what they are
        flat = flat @ np.linalg.inv(np.linalg.cholesky(flat.T @ flat / len(flat))).T
    return np.ascontiguousarray(flat.T), np.full(len(flat), 1 / len(flat))


def _drawn(count: int, rows: int, columns: int, neurons: float, shift: int) -> Array:
    """U for some number of keys."""
    if np.isinf(neurons):
        return _normal(_spread(count, rows * columns, shift)).reshape(-1, rows, columns)
    return _of_keys(_spread(count, _dimension(rows, columns, int(neurons)), shift), rows, columns, int(neurons))


def _with_means(count: int, rows: int, columns: int, k: int, shift: int) -> Array:
    """U for k keys, and beside it what means meet: the first rows of g and h, and the root of k."""
    rest = _dimension(rows, columns, k - 1)
    uniform = _spread(count, rest + rows + columns, shift)
    first = _normal(uniform[:, rest:])
    g, h = first[:, :rows, None], first[:, None, rows:]
    found = np.empty((count, rows + 1, columns + 1))
    others = np.sqrt(k - 1) * _of_keys(uniform[:, :rest], rows, columns, k - 1) if k > 1 else 0.0
    found[:, :rows, :columns] = (g * h + others) / np.sqrt(k)
    found[:, :rows, columns:], found[:, rows:, :columns], found[:, rows, columns] = g, h, np.sqrt(k)
    return found


def _dimension(rows: int, columns: int, k: int) -> int:
    """How many numbers U is made of for k keys."""
    size = min(rows, columns)
    return k * (rows + columns) if k <= size else size * (size + 1) // 2 + rows * columns


def _of_keys(uniform: Array, rows: int, columns: int, k: int) -> Array:
    """U for k keys, of numbers in the unit cube."""
    count, size = len(uniform), min(rows, columns)
    if k <= size:
        numbers = _normal(uniform)
        g, h = numbers[:, : k * rows].reshape(-1, rows, k), numbers[:, k * rows :].reshape(-1, k, columns)
        found: Array = g @ h / np.sqrt(k)
        return found
    # Bartlett: a Gaussian g of k columns is a triangle times orthogonal rows
    below = size * (size - 1) // 2
    triangle = np.zeros((count, size, size))
    diagonal, lower = np.arange(size), np.tril_indices(size, -1)
    triangle[:, diagonal, diagonal] = np.sqrt(2 * gammaincinv((k - diagonal) / 2, uniform[:, :size]))
    triangle[(slice(None), *lower)] = _normal(uniform[:, size : size + below])
    normal = _normal(uniform[:, size + below :]).reshape(-1, rows, columns)
    found = triangle @ normal if rows <= columns else normal @ np.swapaxes(triangle, 1, 2)
    return found / np.sqrt(k)


def _spread(count: int, dimension: int, shift: int) -> Array:
    """Points in the unit cube; in many dimensions a Sobol sequence is no better than independent points."""
    rng = np.random.default_rng([shift, dimension])
    uniform: Array = (
        qmc.Sobol(dimension, rng=rng).random(count) if dimension <= 1024 else rng.random((count, dimension))
    )
    return np.clip(uniform, 1e-16, 1 - 1e-16)


def _normal(uniform: Array) -> Array:
    normal: Array = ndtri(uniform)
    return normal


def softmax_mean_value(node: sp.Expr) -> JointMean:
    """A mean without parameters, and three standard errors of it over independent sets of points, or the difference of two grids.

    Raises
    ------
    ValueError
        If it has parameters.

    Examples
    --------
    >>> from derivations.gaussian import softmax_mean
    >>> one = sp.ones(2)
    >>> mean, error = softmax_mean_value(softmax_mean(0, 0, sp.eye(2), sp.eye(2), sp.eye(2), one))
    >>> round(mean, 9), error < 1e-9
    (0.636838154, True)
    """
    if node.is_number and not isinstance(node, SoftmaxMean):  # shares that add up to one
        return JointMean(float(node), 0.0)
    if node.free_symbols:
        raise ValueError(
            f"expected numbers in the mean, got {', '.join(sorted(map(str, node.free_symbols)))}; substitute values"
        )
    form, queries, keys, mask = (np.array(part.evalf(20), dtype=float) for part in node.args[2:6])
    functions = [] if node.function is None else [_as_function(node.function)]
    means = [np.array(part.evalf(20), dtype=float)[:, 0] for part in node.means]
    angles = np.array(node.angles.evalf(20), dtype=float).reshape(node.angles.shape)

    forms = [form] if node.moved is None else [form, np.array(node.moved.evalf(20), dtype=float)]
    pair = (*node.rows, 0, -1 if node.moved is None else 1, len(functions) - 1)

    def value(shift: int) -> float:
        law = queries, keys, mask, float(node.neurons)
        return float(bilinear_means([pair], forms, *law, shift, means, functions, angles, node.heads)[0])

    if len(queries) == len(mask) == 2 and node.neurons == sp.oo and node.heads == 1:
        return JointMean(value(0), abs(value(0) - value(1)) + 1e-15)
    every = np.array([value(shift) for shift in range(_SHIFTS)])
    return JointMean(float(every.mean()), float(3 * every.std(ddof=1) / np.sqrt(len(every))))


def _as_function(function: sp.Lambda) -> Callable[..., Array]:
    made: Callable[..., Array] = sp.lambdify(function.variables, function.expr, "numpy")
    return made


def softmax_value(text: str, *values: ArrayLike) -> Any:
    """A mean at arrays of its parameters: what SymPy's ``lambdify`` prints for one."""
    node, *parameters = _read(text)
    return grouped_means((node,), tuple(parameters))(*values)[0]


@lru_cache(maxsize=64)
def _read(text: str) -> sp.Tuple:
    return read_node(text)


class GroupedMeans:
    """All softmax means of some formulas as functions of the same arguments; those over the same scores are taken together.

    Parameters
    ----------
    nodes : sequence of SoftmaxMean
    arguments : sequence of Symbol
    points : int
        Which of the independent sets of points.
    """

    def __init__(self, nodes: Sequence[SoftmaxMean], arguments: Sequence[sp.Symbol], points: int = 0) -> None:
        self.groups: dict[Group, list[int]] = {}
        self.nodes, self.points = tuple(nodes), points
        for k, node in enumerate(self.nodes):
            if node.means and node.neurons == sp.oo:
                node.joint()  # says why there is none
            if node.neurons != sp.oo and not node.neurons.is_Integer:
                raise ValueError(f"the number of keys {node.neurons} must be a number here; substitute one")
            self.groups.setdefault(group_of(node), []).append(k)
        self.tables = {}
        for group, members in self.groups.items():
            nodes = [self.nodes[k] for k in members]
            forms = list(dict.fromkeys(m for node in nodes for m in (node.form, node.moved) if m is not None))
            functions = list(dict.fromkeys(node.function for node in nodes if node.function is not None))

            def place(found: object, among: list[Any]) -> int:
                return -1 if found is None else among.index(found)

            pairs = [
                (*node.rows, forms.index(node.form), place(node.moved, forms), place(node.function, functions))
                for node in nodes
            ]
            matrices = *forms, group.queries, group.keys, *group.means, group.angles
            flat = [entry for matrix in matrices for entry in matrix]
            different = list(dict.fromkeys(flat))
            where = {entry: k for k, entry in enumerate(different)}
            value = sp.lambdify(list(arguments), different, "numpy", cse=len(different) > 8)
            order = np.array([where[entry] for entry in flat])
            mask = np.array(group.mask, dtype=float)
            self.tables[group] = pairs, value, order, mask, [*map(_as_function, functions)]

    def __call__(self, *values: ArrayLike) -> list[Array]:
        """Of each node, at arrays that broadcast."""
        arrays = np.broadcast_arrays(*values) if values else []
        shape = arrays[0].shape if arrays else ()
        if np.prod(shape, dtype=float) > _MOST_VALUES:
            raise ValueError(
                f"means over a softmax at {int(np.prod(shape))} states at once take too long, each has a rule of thousands of points; "
                f"take at most {_MOST_VALUES} samples, or infinite width, where they move as one"
            )
        found = np.empty((len(self.nodes), *shape))
        for index in np.ndindex(shape):
            at = [array[index] for array in arrays]
            for group, members in self.groups.items():
                pairs, value, order, mask, functions = self.tables[group]
                c, count = group.queries.rows, len(group.means)
                numbers = np.array(value(*at), dtype=float)[order]
                turns = group.angles.rows * group.angles.cols
                squares, means, angles = np.split(numbers, [len(numbers) - count * c - turns, len(numbers) - turns])
                *forms, queries, keys = squares.reshape(-1, c, c)
                law = queries, keys, mask, float(group.neurons), self.points, [*means.reshape(count, c)]
                found[(members, *index)] = bilinear_means(
                    pairs, forms, *law, functions, angles.reshape(group.angles.shape), group.heads
                )
        return [row[()] for row in found]


@lru_cache(maxsize=64)
def grouped_means(nodes: tuple[SoftmaxMean, ...], arguments: tuple[sp.Symbol, ...]) -> GroupedMeans:
    """The same, kept."""
    return GroupedMeans(nodes, arguments)
