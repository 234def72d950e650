"""Moments of one layer's derivatives: samples of layers that are drawn, beside what is derived for them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import sympy as sp
from scipy.stats import norm

from derivations.architectures import Recipe
from derivations.backward import jacobian
from derivations.limits.depth import as_sums
from derivations.sums import written_out


def moments(
    net: Recipe,
    start: np.ndarray,
    samples: tuple[np.ndarray, np.ndarray, np.ndarray],
    squares: Mapping[str, np.ndarray] | None = None,
    seed: int = 0,
) -> Iterator[tuple[np.ndarray, float]]:
    """Each moment as samples and as a number.

    Parameters
    ----------
    net : Recipe
    start : array, shape (neurons, positions)
    samples : tuple of array
        To the first order in the small parameter the state, shape (samples, size), and the Jacobian, and to the second order the Jacobian.
    squares : mapping, optional
        Of each matrix products of the gradients in its weights, shape (samples, size, size), to the second order.
    seed : int
        Of two tangents.
    """
    (n, p), (moved, first, second), j = start.shape, samples, jacobian(net)
    layer, (v, w) = j.layer, np.random.default_rng(seed).normal(size=(2, n, p))
    rows, known = [[sp.Float(e) for e in (*start[i], *v[i], *w[i])] for i in range(n)], {}

    def opened(expr, symbols, numbers):
        if expr not in known:
            known[expr] = written_out(as_sums(layer.written_in({})(expr), symbols, layer.size), numbers)
        return known[expr]

    def number(expr, i=0, k=0):
        rule = dict(zip((*layer.moments.states, *layer.moments.other), (*rows[i], *rows[k]), strict=True))
        return float(opened(expr, layer.moments.states, rows).xreplace(rule).evalf(20, chop=True))

    letters = [sp.Symbol(f"x^{a + 1}" if p > 1 else "x", real=True) for a in range(p)]

    def of_state(expr, i):
        own = [row[:p] for row in rows]
        rule = dict(zip(letters, own[i], strict=True))
        return float(opened(sp.sympify(expr), tuple(letters), own).xreplace(rule).evalf(20, chop=True))

    v, w = v.ravel(), w.ravel()
    trace, turned = np.trace(first, axis1=1, axis2=2), np.swapaxes(first, 1, 2)
    yield np.trace(second, axis1=1, axis2=2), number(layer.trace)
    yield np.einsum("sij,sji->s", first, first), number(layer.square)
    yield trace**2, number(layer.variance)
    inverse = layer.transposed(tuple(q - a for q, a in zip(layer.squared, layer.drift, strict=True)))
    back, (own, apart) = np.swapaxes(first @ first - second, 1, 2), layer.transposed_covariance
    derived = {name: sp.Matrix(p, p, [q] if p == 1 else q) for name, q in j.weight_gradients.items()} if squares else {}
    for i, a in np.ndindex(n, p):
        yield (second @ v)[:, i * p + a], number(layer.drift[a], i)
        yield moved[:, i * p + a] * trace, number(layer.with_state(a), i)
        yield (back @ v)[:, i * p + a], number(inverse[a], i)
        for k, b in np.ndindex(n, p):
            of = (i * p + a, k * p + b)
            here = number(layer.covariance[a, b] if i == k else layer.between[a, b], i, k)
            yield (first @ v)[:, of[0]] * (first @ w)[:, of[1]], here
            yield (turned @ v)[:, of[0]] * (turned @ w)[:, of[1]], number(own[a, b] if i == k else apart[a, b], i, k)
            for name, square in derived.items():
                yield squares[name][:, *of], of_state(square[a, b], i) if i == k else 0.0


def assert_met(pairs: Iterator[tuple[np.ndarray, float]], relative: float = 1e-9, wrong: float = 1.3) -> None:
    """All samples have the derived means, and rates that are wrong by a factor do not.

    Parameters
    ----------
    pairs : iterator
        Of :func:`moments`.
    relative : float
        What samples may err by besides chance.
    wrong : float
        The factor of the control.
    """
    samples, derived = zip(*pairs, strict=True)
    means, derived = np.mean(samples, axis=1), np.array(derived)
    errors = np.std(samples, axis=1) / np.sqrt(len(samples[0])) + relative * (1 + np.abs(derived))
    bound = norm.isf(1e-4 / (2 * len(means)))
    assert np.max(np.abs(means - derived) / errors) < bound
    assert np.max(np.abs(means - wrong * derived) / errors) > bound
