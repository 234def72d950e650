r"""Phase diagrams of twenty kinds of layers against one layer's own mean and variance, by quadrature written from each formula with NumPy alone.

At sizes :math:`L^{-p}` all L layers add :math:`L\,\mathbb{E}\Delta` and :math:`L\,\mathrm{Var}\,\Delta` to a neuron. Their exponents in L, measured at
two depths, say whether the limit is trivial, has drift, noise or both, or whether the layer is too strong; `scalings` must say the same.
"""

from __future__ import annotations

import random
from itertools import product

import numpy as np
import pytest
import sympy as sp

from derivations import Network, Weights, average, layer_norm, rms_norm, scalings, silu, tanh

c, m, s = sp.symbols("c m s", positive=True)
A, B, C, W = (Weights(name) for name in "ABCW")
X = np.array([0.7, -0.4, 0.3])  # three neurons, no two alike
DEPTHS = 1e4, 1e6
ROUNDING = 1e-13  # of a mean beside a standard deviation
#: Exponents are multiples of 1/4, so that smaller terms are a share of 1e4^(-1/4) = 0.1 at most, times numbers of order 1.
APART = 0.08


def normals(count, points=10):
    """Points of so many standard normal numbers, and their weights."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(points)
    return (
        np.stack(np.meshgrid(*[nodes] * count, indexing="ij"), -1).reshape(-1, count),
        np.array([np.prod(w) for w in product(weights / weights.sum(), repeat=count)]),
    )


def moments(change, count, **options):
    """Mean and variance of the first neuron's change, a function of the random numbers."""
    z, w = normals(count, **options)
    delta = change(z) * np.ones(len(z))
    mean = w @ delta
    return mean, w @ (delta - mean) ** 2


def root(body):
    """The standard deviation of what a matrix of variance 1 makes of three neurons, the last axis."""
    return np.sqrt((body**2).mean(axis=-1))


def swish(u):
    return u / (1 + np.exp(-u))


def rms(x):
    return x / np.sqrt((x**2).mean(axis=-1, keepdims=True))


def centred(x):
    return (x - x.mean()) / x.std()


def two_matrices(z, x=X, hidden=np.tanh, first=1.0):
    """A body of three hidden neurons by three numbers, and the output by the fourth."""
    return root(hidden(first * root(x) * z[:, :3])) * z[:, 3]


def gated(z, c):
    h, g = root(X) * z[:, :2], root(X) * z[:, 2:4]  # two hidden neurons
    return c * root(np.tanh(h) * g) * z[:, 4]


def dropped(z, c, keep=0.5):
    """Both values of the mask of each of three neurons, as a sum over signs."""
    masks = np.array(list(product((0.0, 1 / keep), repeat=3)))
    variance = (np.tanh(X) ** 2 * masks**2).mean(axis=1).mean()
    return 0.0, c**2 * variance


def posted(z, c):
    body = np.sqrt((np.tanh(X) ** 2).mean()) * z
    return rms(X + c * body)[:, 0] - rms(X)[0]


K2 = Weights("B", out=2)
LAYERS = {
    "two matrices": (lambda x: x + c * A(tanh(B(x))), "c", lambda c: moments(lambda z: c * two_matrices(z), 4)),
    "gate": (lambda x: x + c * A(tanh(K2(x)) * Weights("C", out=2)(x)), "c", lambda c: moments(lambda z: gated(z, c), 5, points=10)),
    "norm before": (lambda x: x + c * A(tanh(B(rms_norm(x)))), "c", lambda c: moments(lambda z: c * two_matrices(z, rms(X)), 4)),
    "norm after": (lambda x: rms_norm(x + c * A(tanh(x))), "c", lambda c: moments(lambda z: posted(z, c), 3)),
    "constant skip": (lambda x: sp.sqrt(1 - c**2) * x + c * A(tanh(x)), "c", lambda c: (X[0] * (np.sqrt(1 - c**2) - 1), c**2 * root(np.tanh(X)) ** 2)),
    "skip that forgets": (lambda x: (1 - c) * x + s * A(tanh(x)), "cs", lambda c, s: (-c * X[0], s**2 * root(np.tanh(X)) ** 2)),
    "shaped outside": (lambda x: x + c * silu(s * W(x)) / s, "cs", lambda c, s: moments(lambda z: c * swish(s * root(X) * z[:, 0]) / s, 1, points=60)),
    "shaped inside": (lambda x: x + c * A(silu(s * x) / s), "cs", lambda c, s: (0.0, c**2 * root(swish(s * X) / s) ** 2)),
    "biases": (lambda x: x + c * Weights("A", bias_variance=s**2)(tanh(m * x)), "cms", lambda c, m, s: (0.0, c**2 * (s**2 + root(np.tanh(m * X)) ** 2))),
    "mean of biases": (
        lambda x: x + c * Weights("A", bias_mean=m)(tanh(layer_norm(x))), "cm", lambda c, m: (c * m, c**2 * root(np.tanh(centred(X))) ** 2)
    ),
    "mean of weights": (lambda x: x + c * Weights("A", mean=m)(silu(x)), "cm", lambda c, m: (c * m * swish(X).mean(), c**2 * root(swish(X)) ** 2)),
    "mean inside a function": (  # a variance that is small beside a mean
        lambda x: x + silu(Weights("W", mean=m, variance=s**2)(x)),
        "ms",
        lambda m, s: moments(lambda z: swish(m * X.mean() + s * root(X) * z[:, 0]), 1, points=60),
    ),
    "odd function": (lambda x: x + c * tanh(s * W(x)), "cs", lambda c, s: moments(lambda z: c * np.tanh(s * root(X) * z[:, 0]), 1, points=60)),
    "even function": (lambda x: x + c * tanh(s * W(x)) ** 2, "cs", lambda c, s: moments(lambda z: c * np.tanh(s * root(X) * z[:, 0]) ** 2, 1, points=60)),
    "two branches": (lambda x: x + c * A(tanh(x)) + s * W(x), "cs", lambda c, s: (0.0, c**2 * root(np.tanh(X)) ** 2 + s**2 * root(X) ** 2)),
    "average that pulls": (
        lambda x: x - c * average(x**2) * x + s * A(tanh(x)), "cs", lambda c, s: (-c * (X**2).mean() * X[0], s**2 * root(np.tanh(X)) ** 2)
    ),
    "branches that multiply": (
        lambda x: x + c * W(x) * (1 + s * A(x)),
        "cs",
        lambda c, s: moments(lambda z: c * root(X) * z[:, 0] * (1 + s * root(X) * z[:, 1]), 2),
    ),
    "square of a branch": (lambda x: x + (c * W(x) + s) ** 2, "cs", lambda c, s: moments(lambda z: (c * root(X) * z[:, 0] + s) ** 2, 1)),
    "sizes in a product": (lambda x: x + c * s * A(tanh(x)), "cs", lambda c, s: (0.0, (c * s) ** 2 * root(np.tanh(X)) ** 2)),
    "drift in the update": (
        lambda x: x + c * tanh(x) + m * A(silu(s * B(x))),
        "cms",
        lambda c, m, s: moments(lambda z: c * np.tanh(X[0]) + m * two_matrices(z, hidden=swish, first=s), 4),
    ),
}  # fmt: skip


def measured(layer, values):
    """The exponents of the depth in what all layers add to the mean and to the variance; −∞ where it is nothing but rounding."""
    found = []
    for depth in DEPTHS:
        mean, variance = layer(**{k: depth ** -float(p) for k, p in values.items()})
        found.append((depth * (abs(mean) if abs(mean) > ROUNDING * np.sqrt(variance) else 0), depth * variance))
    ratio = np.log(DEPTHS[1] / DEPTHS[0])
    return [np.log(b / a) / ratio if a and b else -np.inf for a, b in zip(*found, strict=True)]


def kind(drift, noise):
    top = max(drift, noise)
    if abs(top) > APART:
        return "too strong" if top > 0 else "identity"
    return "drift and noise" if abs(drift - noise) < APART else "drift only" if drift > noise else "noise only"


@pytest.mark.slow
@pytest.mark.parametrize("name", LAYERS)
def test_the_phase_diagram_is_that_of_one_layer(name):
    make, letters, layer = LAYERS[name]
    sizes = tuple(sp.Symbol(letter, positive=True) for letter in letters)
    found = scalings(Network(make, width=3, parameters=sizes), small=sizes, means=False)
    rng, seen = random.Random(0), set()
    points = [
        dict(zip(letters, p, strict=True)) for p in product(*[[sp.Rational(k, 4) for k in range(1, 5)]] * len(letters))
    ]
    for exponents in rng.sample(points, min(len(points), 12)):
        verdict = found.at({sp.Symbol(k, positive=True): v for k, v in exponents.items()})
        theirs = measured(layer, exponents)
        assert abs(float(verdict.excess) - max(theirs)) < APART, (exponents, verdict.excess, theirs)
        said = verdict.regime.kind if verdict.kind == "limit" else verdict.kind
        assert said == kind(*theirs), (exponents, said, theirs)
        seen.add(said)
    assert len(seen) >= 2  # control: one answer for all would not do
