"""Kernel matrices of programs against their flows written out here, integrated at 30 digits by mpmath: singular, near, large and small covariances.

Means that have no closed form are sums in doubles there, exact to rounding.
"""

from __future__ import annotations

import mpmath as mp
import numpy as np
import pytest
import sympy as sp

from derivations import Network, Weights, dropout, epsilon, erf, relu, rms_norm, silu, softplus, symbols, tanh
from numerics.kernels import kernel_matrices

n = symbols.width
A, B, C, D = (Weights(name) for name in "ABCD")
DEPTH = sp.Rational(1, 4)


def arc_cosine(a, c, b):
    """E relu relu and E of both slopes."""
    size = mp.sqrt(a * b)
    rho = c / size
    rho = max(min(rho, mp.mpf(1)), mp.mpf(-1))
    angle = mp.pi - mp.acos(rho)
    return size * (mp.sqrt((1 - rho) * (1 + rho)) + rho * angle) / (2 * mp.pi), angle / (2 * mp.pi)


def arc_sine(a, c, b):
    """E erf erf and E of both slopes."""
    product = (1 + 2 * a) * (1 + 2 * b)
    return 2 / mp.pi * mp.asin(2 * c / mp.sqrt(product)), 4 / mp.pi / mp.sqrt(product - 4 * c**2)


def by_trapezoid(f, slope):
    """Means of functions without closed ones, in doubles: exact to rounding for functions that are smooth on the scale of a step."""
    z = np.arange(-10, 10.1, 1 / 8)
    weight = np.exp(-z * z / 2) / 8 / np.sqrt(2 * np.pi)

    def means(a, c, b):
        u = float(mp.sqrt(a)) * z[:, None]
        v = float(c / mp.sqrt(a)) * z[:, None] + float(mp.sqrt(abs(b - c * c / a))) * z
        return tuple(mp.mpf(float(weight @ (g(u) * g(v)) @ weight)) for g in (f, slope))

    return means


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


MEANS = {
    "relu": (relu, arc_cosine),
    "erf": (erf, arc_sine),
    "tanh": (tanh, by_trapezoid(np.tanh, lambda x: 1 / np.cosh(x) ** 2)),
    "silu": (silu, by_trapezoid(lambda x: x * sigmoid(x), lambda x: sigmoid(x) * (1 + x * (1 - sigmoid(x))))),
    "softplus": (softplus, by_trapezoid(lambda x: np.logaddexp(0, x), sigmoid)),
}


def unit(law):
    a, c, b = law
    return mp.mpf(1), c / mp.sqrt(a * b), mp.mpf(1)


def dense(f, law, theta):
    force, slopes = f(*law)
    return force, force + slopes * (law[1] + theta)


def biased(f, law, theta):
    a, c, b = law
    inside = 2 * a + mp.mpf(1) / 3, 2 * c + mp.mpf(1) / 3, 2 * b + mp.mpf(1) / 3
    force, slopes = f(*inside)
    return 3 * force, 3 * force + 3 * slopes * (inside[1] + 2 * theta)


def gated(f, law, theta):
    force, slopes = f(*law)
    c = law[1]
    return force * c, force * c + slopes * (c + theta) * c + force * (c + theta)


def normed(f, law, theta):
    a, c, b = law
    force, slopes = f(*unit(law))
    size = mp.sqrt(a * b)
    return force, force + slopes * (c + theta) / size


def dropped(f, law, theta):
    force, slopes = f(*law)
    gain = 2 if law[0] == law[1] == law[2] else 1  # of an input with itself
    return gain * force, gain * (force + slopes * (law[1] + theta))


def parallel(f, law, theta):
    """A branch beside a linear one."""
    force, slopes = f(*unit(law))
    size = mp.sqrt(law[0] * law[2])
    c = law[1]
    return force + c / 2, force + slopes * (c + theta) / size + (c + theta) / 2


LAYERS = {
    "dense": (lambda f: lambda x: x + epsilon * A(f(B(x))), dense),
    "biased": (
        lambda f: (
            lambda x: (
                x + epsilon * Weights("A", variance=3)(f(Weights("B", variance=2, bias_variance=sp.Rational(1, 3))(x)))
            )
        ),
        biased,
    ),
    "gated": (lambda f: lambda x: x + epsilon * A(f(B(x)) * C(x)), gated),
    "rms": (lambda f: lambda x: x + epsilon * A(f(B(rms_norm(x)))), normed),
    "dropout": (lambda f: lambda x: x + epsilon * A(dropout(f(B(x)), sp.S.Half)), dropped),
    "parallel": (
        lambda f: lambda x: x + epsilon * A(f(B(rms_norm(x)))) + epsilon * Weights("D", variance=sp.S.Half)(x),
        parallel,
    ),
}


def pair(kind, normed=False):
    """Two inputs; behind a norm small ones move at once, which the recursion follows so far only."""
    rng = np.random.default_rng(sum(map(ord, kind)))
    first, second = rng.normal(size=(2, 3))
    if kind == "parallel":
        second = -1.5 * first
    elif kind == "near":
        aside = np.cross(first, second)
        second = first + np.sqrt(2e-14) * aside * np.linalg.norm(first) / np.linalg.norm(aside)
    elif kind == "large":
        first, second = 1e3 * first, 1e3 * second
    elif kind == "small":
        first, second = (0.3 if normed else 1e-3) * np.array([first, second])
    elif kind == "uneven":
        first, second = (3 * first, second) if normed else (30 * first, second / 30)
    return np.array([first, second])


def exact(velocity, f, inputs, steps):
    """K and Θ of a pair by Gragg's midpoint rule, extrapolated, and with one column less."""
    exactly = [[mp.mpf(float(x)) for x in row] for row in inputs]
    k = [mp.fsum(a * b for a, b in zip(exactly[i], exactly[j], strict=True)) / 3 for i, j in ((0, 0), (0, 1), (1, 1))]
    start = [*k, *k]

    def rates(y):
        own = [velocity(f, (y[i], y[i], y[i]), y[3 + i]) for i in (0, 2)]
        both = velocity(f, (y[0], y[1], y[2]), y[4])
        return [own[0][0], both[0], own[1][0], own[0][1], both[1], own[1][1]]

    # from correlation -1 ReLU starts like the root of the depth, and behind a norm small inputs move at once: steps are even in u^4
    def at(u, y):
        return [4 * u**3 * v for v in rates(y)]

    depth = (mp.mpf(DEPTH.p) / DEPTH.q) ** mp.mpf("0.25")
    table = []
    for k in range(1, steps + 1):
        count = 2 * k
        h = depth / count
        before, now = start, [y + h * v for y, v in zip(start, at(mp.mpf(0), start), strict=True)]
        for i in range(1, count):
            before, now = now, [y + 2 * h * v for y, v in zip(before, at(i * h, now), strict=True)]
        last = [(a + b + h * v) / 2 for a, b, v in zip(now, before, at(depth, now), strict=True)]
        row = [last]
        for j, older in enumerate(table[-1] if table else []):
            ratio = (mp.mpf(k) / (k - j - 1)) ** 2 - 1
            row.append([a + (a - b) / ratio for a, b in zip(row[j], older, strict=True)])
        table.append(row)
    return table[-1][-1], table[-2][-1]


KINDS = ("plain", "parallel", "near", "large", "small", "uneven")
CASES = [(layer, name, kind) for layer in LAYERS for name in ("relu", "erf") for kind in KINDS] + [
    ("dense", "silu", "plain"),
    ("biased", "softplus", "near"),
    ("gated", "tanh", "plain"),
    ("rms", "silu", "uneven"),
    ("dropout", "softplus", "small"),
    ("parallel", "tanh", "parallel"),
]
FAST = {
    ("dense", "erf", "near"),
    ("rms", "relu", "parallel"),
    ("gated", "erf", "small"),
    ("parallel", "erf", "uneven"),
} | {("dense", "silu", "plain")}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("layer", "name", "kind"), [pytest.param(*c, marks=[] if c in FAST else [pytest.mark.slow]) for c in CASES]
)
def test_kernels_have_the_digits_of_a_recursion_at_thirty(layer, name, kind):
    made, velocity = LAYERS[layer]
    f, means = MEANS[name]
    inputs = pair(kind, normed=velocity in (normed, parallel))
    if layer == "gated" and (kind in {"large", "uneven"} or (name == "relu" and kind == "plain")):
        inputs = inputs / np.abs(inputs).max()  # a gate explodes
    found = kernel_matrices(Network(made(f), width=sp.oo), inputs, float(DEPTH), tolerance=1e-10)
    with mp.workdps(30):
        values, rougher = exact(velocity, means, inputs, 12)
        for which, matrix in enumerate((found.nngp, found.ntk)):
            entries, less = values[3 * which : 3 * which + 3], rougher[3 * which : 3 * which + 3]
            # slopes of a kink see the angle between both inputs, of which a double's correlation knows the square only
            known = mp.sqrt(2e-14) if which and name == "relu" and kind in {"near", "parallel"} else mp.mpf(3e-10)
            for at, i, j, entry, rough in zip(
                ((0, 0), (0, 1), (1, 1)), (0, 0, 2), (0, 2, 2), entries, less, strict=True
            ):
                size = mp.sqrt(entries[i] * entries[j])
                own = abs(entry - rough) / size  # what the recursion may be off
                assert own < 1e-9
                assert abs(matrix[at] - entry) < (known + own) * size
                assert abs(matrix[at] + 1e-6 * float(size) - entry) > (known + own) * size  # the control
