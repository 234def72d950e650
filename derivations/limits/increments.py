r"""One layer's conditional moments of the Gram matrix, in powers of the small parameters.

Given the past, the neurons of a layer are i.i.d. N(0, V) over the m inputs, with the Gram matrix V of the
layer as their covariance up to :math:`O(n^{-1/2})`. With :math:`x' = A x + B u`, :math:`u \sim N(0, G)` and
:math:`G = \sigma_w^2\,\mathbb{E}\,\psi(x)\psi(x)^\top`, the next Gram matrix :math:`\frac1n\sum_i x_i' x_i'^\top` has

.. math:: \mathbb{E}[V' \mid V] = A^2 V + B^2 G(V), \qquad
          \mathrm{Cov}[V' \mid V] = \tfrac1n\,\mathbb{E}_x \mathrm{Cov}_u[x'^\alpha x'^\beta, x'^\gamma x'^\delta] .
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import sympy as sp

from derivations.architectures.scaling import Scaling
from derivations.errors import DerivationError, NoLimit
from derivations.gaussian import expect, expect_pair
from derivations.limits.elimination.labels import by_pattern, matrix_labels
from derivations.limits.gram import gram_matrix, upper
from derivations.limits.wick import gaussian_mean
from derivations.piecewise import Piece, canonical, join, pieces
from derivations.symbols import noise, state

#: One formal parameter in front of every small parameter: powers of it are orders.
_ORDER = sp.Dummy("tau", positive=True)
_FEW = 4  # inputs of which the covariance of two entries of V is a formula
_MOST = 12  # the highest order of an expansion
_FIRST = 4  # to which a layer is expanded to see whether a term grows, where the order that matters is not known


@dataclass(frozen=True)
class GramMoments:
    r"""Conditional moments of :math:`V'` given V, order by order in the small parameters.

    Parameters
    ----------
    matrix : Matrix, shape (m, m)
        The symbols of V.
    activation : tuple of Expr
        :math:`\psi_0, \psi_1, \dots`: the Taylor coefficients of the activation, in ``symbols.state``, to the order that the rates ask for.
    gain : tuple of Expr
        Those of :math:`\sigma_w^2`.
    mean : tuple of Matrix
        Those of :math:`\mathbb{E}[V' \mid V]`.
    covariance : Matrix
        The leading term of :math:`n\,\mathrm{Cov}[V' \mid V]` in the upper triangle.
    order : int
        The order of that leading term.
    """

    matrix: sp.ImmutableMatrix
    activation: tuple[sp.Expr, ...]
    gain: tuple[sp.Expr, ...]
    mean: tuple[sp.ImmutableMatrix, ...]
    covariance: sp.ImmutableMatrix
    order: int

    def drift(self, a: int, b: int) -> sp.Expr:
        """The mean change of an entry beyond first order."""
        return sp.Add(*(mean[a, b] for mean in self.mean[2:]))


def order_of(scaling: Scaling) -> int | None:
    r"""The order to which a layer must be expanded: terms of size :math:`n^{-\sum_k j_k p_k}` matter up to :math:`n^{-\delta}`.

    None if it is not known, the rates being symbols without a sign, or if it is beyond what is expanded.

    Examples
    --------
    >>> from derivations.activations import tanh
    >>> from derivations.architectures.perceptron import ShapedMLP
    >>> [order_of(ShapedMLP(tanh, a=1, rate=p).scaling()) for p in (1, sp.Rational(1, 2), sp.Rational(1, 4))]
    [2, 2, 4]
    """
    shares = [sp.cancel(rate / scaling.depth_rate) for _, rate in scaling.sizes]  # both are positive
    for order in range(2, _MOST + 1):
        if all(((order + 1) * share - 1).is_positive for share in shares):
            return order
    return None


def taylor_coefficients(expr: sp.Expr, sizes: tuple[sp.Symbol, ...], order: int) -> tuple[sp.Expr, ...]:
    r"""Coefficients of orders 0 to ``order`` of a function of x in its small parameters, piece by piece.

    A pole :math:`1/\varepsilon` in front, as in :math:`\varphi(\varepsilon x)/\varepsilon`, must cancel.

    Raises
    ------
    NoLimit
        If the function diverges or is not smooth enough as the parameters vanish.

    Examples
    --------
    >>> from derivations.symbols import state, step
    >>> taylor_coefficients(sp.tanh(step * state) / step, (step,), 2)
    (x, 0, -varepsilon**2*x**3/3)
    """
    parts = pieces(expr, state)
    rows = [_taylor_of_piece(part.expr, sizes, order) for part in parts]
    return tuple(
        canonical(join(tuple(Piece(p.left, p.right, row[k]) for p, row in zip(parts, rows, strict=True)), state), state)
        for k in range(order + 1)
    )


def _taylor_of_piece(expr: sp.Expr, sizes: tuple[sp.Symbol, ...], order: int) -> list[sp.Expr]:
    scaled = expr.subs({size: _ORDER * size for size in sizes}, simultaneous=True)
    lifted, shift = scaled, 0
    if scaled.is_polynomial(_ORDER):
        return [sp.expand(scaled).coeff(_ORDER, k) for k in range(order + 1)]
    lifted, shift = sp.expand(_ORDER * scaled), 1
    found = []
    for k in range(order + shift + 1):
        value = sp.diff(lifted, _ORDER, k).subs(_ORDER, 0) / sp.factorial(k)
        if value.has(sp.nan, sp.zoo, sp.oo, -sp.oo):
            raise NoLimit(
                f"{expr} is not {order + 1} times differentiable in the small parameter at 0; "
                "choose an activation that is so at 0"
            )
        found.append(sp.expand(value))
    if shift and found[0] != 0:
        raise NoLimit(
            "the shaped activation is dominated by its value at 0, s φ(0): after one layer all inputs look the same; "
            "subtract φ(0) from the activation"
        )
    return found[shift:]


def product(first: tuple[sp.Expr, ...], second: tuple[sp.Expr, ...]) -> tuple[sp.Expr, ...]:
    """Taylor coefficients of a product."""
    return tuple(sp.Add(*(first[i] * second[k - i] for i in range(k + 1))) for k in range(len(first)))


def reciprocal(series: tuple[sp.Expr, ...]) -> tuple[sp.Expr, ...]:
    """Taylor coefficients of 1/f: the ones whose product with those of f is 1."""
    found = [1 / series[0]]
    for k in range(1, len(series)):
        found.append(sp.cancel(-sp.Add(*(series[i] * found[k - i] for i in range(1, k + 1))) / series[0]))
    return tuple(found)


@lru_cache(maxsize=64)
def gram_moments(scaling: Scaling, inputs: int) -> GramMoments:
    """Expand one layer and take its conditional moments.

    Raises
    ------
    NoLimit
        If the activation diverges or vanishes as its small parameters do.
    """
    if inputs > _FEW:
        return _for_many(gram_moments(scaling, _FEW), inputs)
    sizes, order = tuple(size for size, _ in scaling.sizes), order_of(scaling) or _FIRST
    matrix = gram_matrix(inputs)
    psi = taylor_coefficients(scaling.inner.expr, sizes, order)
    if psi[0] == 0:
        raise NoLimit(f"{scaling.inner} has slope 0 at 0: its shaping tends to 0 instead of a linear function")
    gain = _gain(scaling, psi, sizes, order)
    features = {pair: _feature(psi, matrix, *pair, scaling.normalised) for pair in upper(inputs)}
    skip, branch = _linear_part(scaling.update, sizes, order)
    skip2, branch2 = product(skip, skip), product(branch, branch)
    mean = []
    for pair in upper(inputs):
        covariance = product(gain, features[pair])
        mean.append([sp.expand(s * matrix[pair] + g) for s, g in zip(skip2, product(branch2, covariance), strict=True)])
    table = {pair: row for pair, row in zip(upper(inputs), mean, strict=True)}
    orders = tuple(
        sp.ImmutableMatrix(inputs, inputs, lambda a, b, k=k: table[min(a, b), max(a, b)][k]) for k in range(order + 1)
    )
    leading = sp.ImmutableMatrix(inputs, inputs, lambda a, b: sp.expand(gain[0] * features[min(a, b), max(a, b)][0]))
    noise_term, leading_order = _noise(matrix, leading, skip, branch)
    return GramMoments(matrix, psi, gain, orders, noise_term, leading_order)


def _for_many(generic: GramMoments, inputs: int) -> GramMoments:
    """The moments over any number of inputs from those over four: inputs are exchangeable."""
    matrix, place = gram_matrix(inputs), {pair: i for i, pair in enumerate(upper(_FEW))}
    renamed = matrix_labels((generic.matrix, matrix))

    def spread(mean: sp.ImmutableMatrix) -> sp.ImmutableMatrix:
        entry = by_pattern(lambda a, b: mean[a, b], renamed, always=True)
        return sp.ImmutableMatrix(inputs, inputs, lambda a, b: entry(min(a, b), max(a, b)))

    def noise(a: int, b: int, c: int, d: int) -> sp.Expr:
        return generic.covariance[place[min(a, b), max(a, b)], place[min(c, d), max(c, d)]]

    entry, pairs = by_pattern(noise, renamed, always=True), upper(inputs)
    table = {(i, j): entry(*pairs[i], *pairs[j]) for i in range(len(pairs)) for j in range(i + 1)}
    covariance = sp.ImmutableMatrix(len(pairs), len(pairs), lambda i, j: table[max(i, j), min(i, j)])
    means = tuple(spread(mean) for mean in generic.mean)
    return GramMoments(matrix, generic.activation, generic.gain, means, covariance, generic.order)


def _gain(scaling: Scaling, psi: tuple[sp.Expr, ...], sizes: tuple[sp.Symbol, ...], order: int) -> tuple[sp.Expr, ...]:
    if scaling.weight_variance is None:
        squares = _feature(psi, sp.ImmutableMatrix([[1]]), 0, 0, False)
        return reciprocal(squares)
    return taylor_coefficients(sp.sympify(scaling.weight_variance), sizes, order)


def _feature(
    psi: tuple[sp.Expr, ...], matrix: sp.ImmutableMatrix, a: int, b: int, normalised: bool
) -> tuple[sp.Expr, ...]:
    r"""Taylor coefficients of :math:`\mathbb{E}\,\psi(x^\alpha)\psi(x^\beta)`: expectation after expansion, term by term."""
    if normalised:
        one, rho = sp.S.One, matrix[a, b] / (sp.sqrt(matrix[a, a]) * sp.sqrt(matrix[b, b]))
        block = sp.Matrix([[one, rho], [rho, one]])
    else:
        block = sp.Matrix([[matrix[a, a], matrix[a, b]], [matrix[a, b], matrix[b, b]]])

    def mean(f: sp.Expr, g: sp.Expr) -> sp.Expr:
        if f == 0 or g == 0:
            return sp.S.Zero
        if a == b:
            return expect(f * g, state, variance=block[0, 0])
        return expect_pair(f, g, state, block)

    return tuple(sp.expand(sp.Add(*(mean(psi[i], psi[k - i]) for i in range(k + 1)))) for k in range(len(psi)))


def _linear_part(
    update: sp.Expr, sizes: tuple[sp.Symbol, ...], order: int
) -> tuple[tuple[sp.Expr, ...], tuple[sp.Expr, ...]]:
    """Taylor coefficients of A and B in x' = A x + B u."""
    expanded = sp.expand(update)
    skip, branch = sp.diff(expanded, state), sp.diff(expanded, noise)
    if sp.expand(skip * state + branch * noise - expanded) != 0 or (skip.free_symbols | branch.free_symbols) & {
        state,
        noise,
    }:
        raise DerivationError(
            f"when depth and width grow together a layer's update must be A x + B u with numbers A and B, got {update}"
        )
    return taylor_coefficients(skip, sizes, order), taylor_coefficients(branch, sizes, order)


def _noise(
    matrix: sp.ImmutableMatrix,
    features: sp.ImmutableMatrix,
    skip: tuple[sp.Expr, ...],
    branch: tuple[sp.Expr, ...],
) -> tuple[sp.ImmutableMatrix, int]:
    r"""Leading term of :math:`\mathbb{E}_x \mathrm{Cov}_u` of the products :math:`x'^\alpha x'^\beta`, and its order.

    Wick's rule over u given x, then over x. A branch of order k leaves the skip as it is and enters squared at least.
    """
    m = matrix.rows
    order = next((k for k, c in enumerate(branch) if c != 0), None)
    if order is None:
        return sp.ImmutableMatrix.zeros(len(upper(m))), 0
    x, u = ([sp.Dummy(f"{s}{a}", real=True) for a in range(m)] for s in "xu")
    names = gram_matrix(m, "G")
    g = {(u[a], u[b]): names[a, b] for a in range(m) for b in range(m)}
    v = {(x[a], x[b]): matrix[a, b] for a in range(m) for b in range(m)}
    after = [skip[0] * x[a] + _ORDER * branch[order] * u[a] for a in range(m)]
    products = [sp.expand(after[a] * after[b]) for a, b in upper(m)]

    def covariance(i: int, j: int) -> sp.Expr:
        given = gaussian_mean(sp.expand(products[i] * products[j]), g)
        given -= gaussian_mean(products[i], g) * gaussian_mean(products[j], g)
        return sp.expand(gaussian_mean(sp.expand(given), v))

    raw = sp.ImmutableMatrix(len(products), len(products), lambda i, j: covariance(max(i, j), min(i, j)))
    power = min(p for entry in raw for p in range(5) if entry.coeff(_ORDER, p) != 0)
    leading = raw.subs(_ORDER, 1) if order == 0 else raw.applyfunc(lambda entry: entry.coeff(_ORDER, power))
    values = {names[p]: features[p] for p in upper(m)}
    return leading.xreplace(values).applyfunc(sp.expand), order * power
