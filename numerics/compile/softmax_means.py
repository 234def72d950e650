r"""Means of bilinear forms in shares of a softmax over scores, many at once, with an error.

Shares depend on differences of a row's scores. With roots :math:`Q = RR^\top` and :math:`DCD^\top = TT^\top` of the queries' covariance and of the
keys' differences to the last one, scores are :math:`Y = R U T^\top` for a matrix U whose law is free of parameters: entries are
standard normal for infinitely many keys, and :math:`N^{-1/2} g h^\top` for N. Means of queries and keys are one more column of R and T: turned so
that the first neuron has all of them, they meet :math:`\sqrt N`, and each other's first rows of g and h. Points U are spread once, so that a mean is a
smooth function of what it depends on; for two positions and infinitely many keys they are those of a
trapezoidal rule over two differences of scores. Scores whose neurons are turned by their positions have no such factors: they come from one
root of their whole covariance, or from all neurons of finitely many keys.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from typing import Any, NamedTuple

import numpy as np
import sympy as sp
from numpy.typing import ArrayLike, NDArray

from derivations.gaussian.printed import read_node
from derivations.gaussian.softmax import SoftmaxMean
from numerics.compile.score_points import scores_at_points
from numerics.compile.shares import second_moments, shares, table, table_of_function, table_of_slopes
from numerics.compile.turned_scores import turn_of

Array = NDArray[np.float64]

_DIGITS, _REACH, _LEAST_STEP = (
    30.0,
    8.5,
    0.04,
)  # of a rule over two positions: minus the log of its error, its ends, and its least step
_LEAST_STEP_OF_FUNCTIONS, _AGREED = 0.02, 1e-12  # steps are halved until two grids agree
_SHIFTS = 8
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
    p = len(mask)
    if p == 2 and np.isinf(neurons) and heads == 1:
        return np.array([_of_two(pair, forms, queries, keys, mask, shift, functions, angles) for pair in pairs])
    rows = sorted({r for a, b, *_ in pairs for r in (a, b)})
    place = {r: k for k, r in enumerate(rows)}
    scores, weights = scores_at_points(rows, queries, keys, p, neurons, shift, means, angles, heads)
    seen = mask[[r % p for r in rows]]
    total = np.zeros(len(pairs))
    per = max(1, _BLOCK // (heads * len(rows) * p))
    for first in range(0, len(weights), per):
        block = slice(first, first + per)
        found = np.array([shares(one, seen) for one in scores(block)])
        w = weights[block]
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
        queries[i, j] * (contrast @ (keys[blocks[x], blocks[y]] * turn_of(angles, i % 2, j % 2)) @ contrast)
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


def _blocks(form: Array, one: slice, other: slice) -> tuple[Array, Array, Array]:
    """Of the first row's input, of both, and of the second's."""
    return form[one, one], form[one, other], form[other, other]


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
