"""Kinds of attention that no recipe has, said in the language, at infinite width, beside networks with weights drawn by hand."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest
import sympy as sp

from derivations import Network, Weights, attention, average, derive, epsilon, rms_norm
from derivations.language import normalised_sum, other, over_positions, position_matrix, rotary, softmax
from numerics.compile import compile_expression

GRAM = np.array([[1.0, 0.3], [0.3, 0.7]])
HALF = sp.Rational(1, 2)
O = Weights("O")  # noqa: E741  the letter of the output matrix


def _scores(x, end=""):
    return normalised_sum(Weights(f"Q{end}")(x) * other(Weights(f"K{end}")(x)))


def _values(shares, x, end=""):
    return over_positions(shares * other(Weights(f"V{end}")(x)))


def _plain(x):
    return O(_values(softmax(_scores(x)), x))


def _talking(x):
    one, two = _scores(x, "1"), _scores(x, "2")
    return sum(Weights(f"O{h}", variance=HALF)(_values(softmax(one + h * two / 2), x, str(h))) for h in (1, 2))


def _rotary(x):
    qc, qs, kc, ks = (Weights(name)(x) for name in ("Q1", "Q2", "K1", "K2"))
    same, turned = (position_matrix(lambda a, b, f=f: f(2 * (a - b))) for f in (sp.cos, sp.sin))
    scores = same * (normalised_sum(qc * other(kc)) + normalised_sum(qs * other(ks)))
    scores += turned * (normalised_sum(qs * other(kc)) - normalised_sum(qc * other(ks)))
    return O(_values(softmax(scores / sp.sqrt(2)), x))


def _turned(kind):
    def layer(x):
        scores = normalised_sum(rotary(Weights("Q")(x), [2, HALF]) * other(rotary(Weights("K")(x), [2, HALF])))
        return O(_values(kind(scores), x))

    return layer


def _over_all_heads(x):
    """One norm over the queries of both heads, and over their keys."""
    queries, keys = ([Weights(f"{c}{h}", variance=1 + 2 * h)(x) for h in (0, 1)] for c in "QK")
    queries, keys = ([u / sp.sqrt(sum(average(v**2) for v in side) / 2) for u in side] for side in (queries, keys))
    return sum(Weights(f"O{h}", variance=HALF)(attention(queries[h], keys[h], Weights(f"V{h}")(x))) for h in (0, 1))


def _before_the_output(x):
    """One norm over what both heads have put together, with keys and values that they share."""
    seen = [attention(Weights(f"Q{h}")(x), Weights("K")(x), Weights("V")(x)) for h in (0, 1)]
    size = sp.sqrt(sum(average(m**2) for m in seen) / 2)
    return sum(Weights(f"O{h}", variance=HALF)(m / size) for h, m in enumerate(seen))


def _sink(x):
    weights = sp.exp(_scores(x))
    return O(_values(weights, x) / (1 + over_positions(weights)))


KINDS = {
    "rotary positions": _rotary,
    "turned, with a cap": _turned(lambda y: softmax(2 * sp.tanh(y / 2))),
    "turned, without a softmax": _turned(lambda y: y),
    "talking heads": _talking,
    "a sink": _sink,
    "biases by distance": lambda x: O(_values(softmax(_scores(x) + position_matrix(lambda a, b: -sp.Abs(a - b))), x)),
    "difference of two": lambda x: O(_values(softmax(_scores(x, "1")) - softmax(_scores(x, "2")) / 2, x)),
    "sigmoid": lambda x: O(_values(1 / (1 + sp.exp(1 - _scores(x))), x)),
    "norms inside heads": lambda x: sum(
        Weights(f"O{h}", variance=HALF)(rms_norm(_values(softmax(_scores(x, str(h))), x, str(h)))) for h in (1, 2)
    ),
    "norms over the queries and keys of all heads": _over_all_heads,
    "a norm over all heads before the output": _before_the_output,
    "norms of queries and keys": lambda x: O(
        attention(rms_norm(Weights("Q")(x)), rms_norm(Weights("K")(x)), Weights("V")(x))
    ),
}


class _Drawn:
    """Many networks with 96 neurons everywhere, whose tokens have the given Gram matrix exactly."""

    def __init__(self, seed, neurons=96, samples=1500):
        self.rng, self.n, self.samples = np.random.default_rng(seed), neurons, samples
        start = self.rng.standard_normal((neurons, 2))
        whitened = start @ np.linalg.inv(np.linalg.cholesky(start.T @ start / neurons)).T
        self.x = whitened @ np.linalg.cholesky(GRAM).T

    def out(self):
        return np.stack([self.rng.standard_normal((self.n, self.n)) @ self.x for _ in range(self.samples)]) / np.sqrt(
            self.n
        )

    def scores(self, queries=None, keys=None):
        q, k = (self.out() if given is None else given for given in (queries, keys))
        return np.einsum("sia,sib->sab", q, k) / np.sqrt(self.n)

    def gram(self, shares, values=None, norm=lambda v: v):
        seen = norm(np.einsum("sab,sib->sia", shares, self.out() if values is None else values))
        return np.einsum("sia,sib->sab", seen, seen) / self.n


def _soft(scores):
    e = np.exp(scores - scores.max(axis=2, keepdims=True))
    return e / e.sum(axis=2, keepdims=True)


def _rms(v):
    return v / np.sqrt((v**2).mean(axis=1, keepdims=True))


def _drawn_rotary(d):
    (qc, qs, kc, ks), place = (d.out() for _ in range(4)), 2 * np.arange(2)
    c, s = np.cos(place), np.sin(place)
    turned = ((qc * c - qs * s, kc * c - ks * s), (qs * c + qc * s, ks * c + kc * s))
    return d.gram(_soft(sum(d.scores(q, k) for q, k in turned) / np.sqrt(2)))


def _drawn_turned(d, kind):
    theta = np.outer(np.resize([2, 0.5], d.n // 2), np.arange(2))

    def turned(u):
        first, second = np.split(u, 2, axis=1)
        c, s = np.cos(theta), np.sin(theta)
        return np.concatenate([c * first - s * second, s * first + c * second], axis=1)

    return d.gram(kind(d.scores(turned(d.out()), turned(d.out()))))


def _drawn_talking(d):
    one, two = d.scores(), d.scores()
    return (d.gram(_soft(one + two / 2)) + d.gram(_soft(one + two))) / 2


def _drawn_sink(d):
    weights = np.exp(d.scores())
    return d.gram(weights / (1 + weights.sum(axis=2, keepdims=True)))


def _drawn_over_all_heads(d):
    def sides():
        made = [np.sqrt(1 + 2 * h) * d.out() for h in (0, 1)]
        size = np.sqrt(sum((u**2).mean(axis=1, keepdims=True) for u in made) / 2)
        return [u / size for u in made]

    return sum(d.gram(_soft(d.scores(q, k))) for q, k in zip(sides(), sides(), strict=True)) / 2


def _drawn_before_the_output(d):
    keys, values = d.out(), d.out()
    seen = [np.einsum("sab,sib->sia", _soft(d.scores(keys=keys)), values) for _ in range(2)]
    size = np.sqrt(sum((m**2).mean(axis=1, keepdims=True) for m in seen) / 2)
    return sum(np.einsum("sia,sib->sab", m / size, m / size) for m in seen) / (2 * d.n)


DRAWN = {
    "rotary positions": _drawn_rotary,
    "turned, with a cap": lambda d: _drawn_turned(d, lambda y: _soft(2 * np.tanh(y / 2))),
    "turned, without a softmax": lambda d: _drawn_turned(d, lambda y: y),
    "talking heads": _drawn_talking,
    "a sink": _drawn_sink,
    "biases by distance": lambda d: d.gram(_soft(d.scores() - (1 - np.eye(2)))),
    "difference of two": lambda d: d.gram(_soft(d.scores()) - _soft(d.scores()) / 2),
    "sigmoid": lambda d: d.gram(1 / (1 + np.exp(1 - d.scores()))),
    "norms inside heads": lambda d: (d.gram(_soft(d.scores()), norm=_rms) + d.gram(_soft(d.scores()), norm=_rms)) / 2,
    "norms over the queries and keys of all heads": _drawn_over_all_heads,
    "a norm over all heads before the output": _drawn_before_the_output,
    "norms of queries and keys": lambda d: d.gram(_soft(d.scores(_rms(d.out()), _rms(d.out())))),
}


#: Kinds that are close to plain attention where the scores are small, and by how much their states are larger here.
LARGER = {
    "norms of queries and keys": 2.0,
    "norms over the queries and keys of all heads": 2.0,
    "rotary positions": 2.0,
    "turned, with a cap": 2.0,
}


@lru_cache
def _derived(layer, size):
    limit = derive(Network(lambda x: x + epsilon * layer(x), width=sp.oo, positions=2)).limit
    at = size**2 * GRAM[[0, 0, 1], [0, 1, 1]]
    return np.array([float(compile_expression(limit.states, entry)(*at)) for entry in limit.drift])


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_networks_of_each_kind(name):
    size = LARGER.get(name, 1.0)
    derived, plain = _derived(KINDS[name], size), _derived(_plain, size)
    drawn = _Drawn(seed=3)
    drawn.x *= size
    found = DRAWN[name](drawn)
    entries = np.stack([found[:, 0, 0], found[:, 0, 1], found[:, 1, 1]])
    error = entries.std(axis=1, ddof=1) / np.sqrt(entries.shape[1])
    room = 4.5 * error + derived / 96  # the width adds a term of order 1/n
    assert (np.abs(entries.mean(axis=1) - derived) < room).all()
    wrong = (
        plain if name != "talking heads" else 1.15 * derived
    )  # those that mix their scores are close to plain ones at any size
    assert (np.abs(entries.mean(axis=1) - wrong) > room).any()  # the control
