"""Means of random formulas against a quadrature of their text that shares no code with the packages.

Values and slopes are read off the text by dual numbers; places where an absolute value, root, logarithm, quotient or maximum turns are found by sign
changes, and panels crowd there. Both axes of a pair are cut in the same way, so that a sum over both needs no conditional mean.
"""

from __future__ import annotations

import ast
import random
from itertools import pairwise

import numpy as np
import pytest
from scipy import special

from derivations import parse_activation
from derivations.errors import DerivationError, UnsafeExpression
from derivations.kernels import slope_of
from numerics.kernels.means import compile_means
from tests.derivations.activations.test_formulas import random_formula

REACH, STEP, LEVELS = 12.0, 0.45, 20
LAWS = ((1.0, 1.0, -0.8), (1.0, 1.0, 0.3), (0.5, 1.2, 0.85))
TOLERANCE = 2e-11  # of the roots of both mean squares
TURNING = {"abs", "relu", "sqrt", "log"}
MEANING = {
    "tanh": (np.tanh, lambda u: 1 / np.cosh(np.clip(u, -300, 300)) ** 2),
    "exp": (np.exp, np.exp),
    "sin": (np.sin, np.cos),
    "cos": (np.cos, lambda u: -np.sin(u)),
    "atan": (np.arctan, lambda u: 1 / (1 + u * u)),
    "sigmoid": (special.expit, lambda u: special.expit(u) * special.expit(-u)),
    "gelu": (lambda u: u * special.ndtr(u), lambda u: special.ndtr(u) + u * np.exp(-u * u / 2) / np.sqrt(2 * np.pi)),
    "silu": (lambda u: u * special.expit(u), lambda u: special.expit(u) * (1 + u * special.expit(-u))),
    "softplus": (lambda u: np.logaddexp(0, u), special.expit),
    "sqrt": (np.sqrt, lambda u: 0.5 / np.sqrt(u)),
    "log": (np.log, lambda u: 1 / u),
    "erf": (special.erf, lambda u: 2 / np.sqrt(np.pi) * np.exp(-u * u)),
    "relu": (lambda u: np.maximum(u, 0), lambda u: 1.0 * (u > 0)),
    "abs": (np.abs, np.sign),
}


def read(node, x, turns):
    """Value and slope of a syntax tree at x; what turns is listed on the way."""
    if isinstance(node, ast.Constant):
        return np.full_like(x, node.value), np.zeros_like(x)
    if isinstance(node, ast.Name):
        return x, np.ones_like(x)
    if isinstance(node, ast.BinOp):
        (a, da), (b, db) = read(node.left, x, turns), read(node.right, x, turns)
        if isinstance(node.op, ast.Pow):
            n = int(b[0])
            return a**n, n * a ** (n - 1) * da
        if isinstance(node.op, ast.Div):
            turns.append(b)
            return a / b, (da - a / b * db) / b
        sign = -1 if isinstance(node.op, ast.Sub) else 1
        return (a * b, a * db + b * da) if isinstance(node.op, ast.Mult) else (a + sign * b, da + sign * db)
    inner = [read(argument, x, turns) for argument in node.args]
    if node.func.id in ("max", "min"):
        (a, da), (b, db) = inner
        turns.append(a - b)
        first = (a > b) == (node.func.id == "max")
        return np.where(first, a, b), np.where(first, da, db)
    ((u, du),) = inner
    if node.func.id in TURNING:
        turns.append(u)
    value, slope = MEANING[node.func.id]
    return value(u), np.where(du == 0, 0.0, slope(u) * du)


def cuts(tree):
    """Where something turns: sign changes by bisection, with 0."""
    grid = np.linspace(-REACH, REACH, 6002)
    turns, found = [], [0.0]
    read(tree, grid, turns)
    for k, values in enumerate(turns):
        changes = np.flatnonzero(np.sign(values[:-1]) != np.sign(values[1:]))
        if len(changes) > 12:
            return None
        for i in changes:
            low, high = grid[i], grid[i + 1]
            while low < (middle := (low + high) / 2) < high:
                here = []
                read(tree, np.array([middle]), here)
                low, high = (middle, high) if np.sign(here[k][0]) == np.sign(values[i]) else (low, middle)
            found.append(low)
    found = np.unique(found)
    return found[np.concatenate([[True], np.diff(found) > 1e-13])]


def rule(places, points):
    """Nodes and weights on panels that shrink by four towards each place."""
    t, w = np.polynomial.legendre.leggauss(points)
    nodes, weights = [], []
    for a, b in pairwise([-REACH, *places, REACH]):
        half = (b - a) / 2
        first = min(half, STEP)
        crowded = [0.0, *(first * 4.0**-k for k in range(LEVELS, 0, -1))]
        edges = np.array([*crowded, *np.linspace(first, half, 1 + int(np.ceil((half - first) / STEP)))])
        d = edges[:-1, None] + np.diff(edges)[:, None] * (1 + t) / 2
        weight = np.diff(edges)[:, None] * w / 2
        nodes += [(a + d).ravel(), (b - d).ravel()]
        weights += [weight.ravel()] * 2
    return np.concatenate(nodes), np.concatenate(weights)


def own_means(tree):
    """Of the function and of its slope, E f(U) f(V) of each law and the size, or None where two rules differ."""
    places = cuts(tree)
    if places is None:
        return None, None
    found = []
    for points in (12, 15):
        x, w = rule(places, points)
        both = [f if np.isfinite(f).all() else None for f in read(tree, x, [])]
        found.append(means_at(both, x, w))
    return tuple(None if None in rules else agreed(*rules) for rules in zip(*found, strict=True))


def means_at(functions, x, w):
    """Rows of mean and size for each function, or None; both share the densities of a pair, which is what takes time."""
    rows = [None if f is None else [] for f in functions]
    for a, b, rho in LAWS:
        left, right, left_over = np.sqrt(a), np.sqrt(b), np.sqrt(1 - rho * rho)
        density = np.exp(-(((x[:, None] / left - rho * x / right) / left_over) ** 2) / 2)
        for f, row in zip(functions, rows, strict=True):
            if f is None:
                continue
            one, other = f * w * np.exp(-x * x / 2 / a), f * w * np.exp(-x * x / 2 / b)
            size = np.sqrt((one @ f) * (other @ f) / (2 * np.pi * left * right))
            row.append((f * w @ density @ other / (2 * np.pi * left * right * left_over), size))
    far = np.abs(x) > 0.9 * REACH
    return [
        row  # unless it grows too fast for this reach
        if row and np.max(f[far] ** 2 * np.exp(-(x[far] ** 2) / 2 / 1.2)) < 1e-13 * row[0][1]
        else None
        for f, row in zip(functions, rows, strict=True)
    ]


def agreed(first, second):
    """The first rule's means, if those of the second are the same."""
    agree = all(
        abs(p - q) < TOLERANCE / 10 * s and abs(s - r) < TOLERANCE / 10 * s
        for (p, s), (q, r) in zip(first, second, strict=True)
    )
    return first if agree else None


def differing(seed, first, last):
    """Members that differ from the quadrature by more than the tolerance, how many were compared, and how many of a millionth more."""
    draw, compared, controls, wrong = random.Random(seed), 0, 0, []
    texts = [random_formula(draw) for _ in range(last)]
    for text in texts[first:]:
        try:
            activation = parse_activation(text)
            tree = ast.parse(text, mode="eval").body
            if not activation.expr.free_symbols:
                continue
            with np.errstate(all="ignore"):
                expected = own_means(tree)
        except (UnsafeExpression, KeyError, AttributeError, IndexError):
            continue
        for which, rows in enumerate(expected):
            if rows is None:
                continue
            try:
                means = compile_means(slope_of(activation) if which else activation)
                found = [pair_mean(means, *law) for law in LAWS]
            except (DerivationError, ValueError) as error:
                wrong.append((text, which, str(error)))
                continue
            for law, value, (true, size) in zip(LAWS, found, rows, strict=True):
                compared += 1
                controls += not abs(value * (1 + 1e-6) + 1e-9 * size - true) <= TOLERANCE * size
                if not abs(value - true) <= TOLERANCE * size:
                    wrong.append((text, which, law, value, true, size))
    return wrong, compared, controls


def pair_mean(means, a, b, rho):
    variance = np.array([a, b])
    product = means.trusted(variance).pairs(np.zeros(2), variance)
    with np.errstate(all="ignore"):
        return product(slice(0, 1), slice(1, 2), np.array([[rho * np.sqrt(a * b)]]))[0, 0]


@pytest.mark.parametrize(
    ("first", "last", "least"), [(2, 4, 9), pytest.param(0, 9, 24, marks=pytest.mark.slow)], ids=["few", "more"]
)
def test_means_of_random_formulas(first, last, least):
    wrong, compared, controls = differing(5, first, last)
    assert not wrong
    assert compared >= least
    assert controls >= 0.9 * compared
