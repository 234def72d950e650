"""Means of sixty activations at variances of 1e-3 and 1e3 and correlations from -1 to 1, against a quadrature of their text that shares no code.

It is that of random formulas; at correlations 0, 1 and -1 it is over one number, where two rules must agree before either is believed (beside a
power of -4/5, and of waves of a wide law, they do not). Moderate variances, and numbers that nearly depend on each other, stand with thirty
digits in ``test_gaussian_means``.
"""

from __future__ import annotations

import ast
import json
import math
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

from derivations import parse_activation
from derivations.kernels import slope_of
from numerics.kernels.means import compile_means
from tests.numerics.kernels import test_random_means as quadrature

MEANS = json.loads((Path(__file__).parents[2] / "data" / "gaussian_means.json").read_text())
VARIANCES, CORRELATIONS = (1e-3, 1e3), (-1.0, -0.9, 0.0, 0.5, 1.0)
TOLERANCE = 1e-11  # of the mean square
FAST = ("tanh",)
MORE = {
    "heaviside": (lambda u: 1.0 * (u > 0), np.zeros_like),
    "sign": (np.sign, np.zeros_like),
    "cosh": (np.cosh, np.sinh),
    "asinh": (np.arcsinh, lambda u: 1 / np.sqrt(1 + u * u)),
}


def read(node, x, turns, inner=quadrature.read):
    """Value and slope of a syntax tree, also with signs, π and broken powers."""
    if isinstance(node, ast.UnaryOp):
        value, slope = read(node.operand, x, turns)
        return -value, -slope
    if isinstance(node, ast.Name) and node.id == "pi":
        return np.full_like(x, np.pi), np.zeros_like(x)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow):
        (a, da), (b, _) = read(node.left, x, turns), read(node.right, x, turns)
        power = b[0]
        if power == int(power):
            return a ** int(power), power * a ** (int(power) - 1) * da
        turns.append(a)
        return np.abs(a) ** power, power * np.abs(a) ** (power - 1) * da
    return inner(node, x, turns)


@lru_cache(maxsize=2)  # fifty megabytes each; most formulas turn at 0 alone, and share them
def densities(places, rho):
    """What the first number's law is at each node where the second one is known, on the finer rule."""
    z, _ = quadrature.rule(list(places), 16)
    left = 1 - rho * rho
    found = z[:, None] - rho * z
    np.square(found, out=found)  # in place: a page of memory costs as much as an exponential
    found /= -2 * left
    np.exp(found, out=found)
    found /= np.sqrt(2 * np.pi * left)
    return found


def own_means(text, variance):
    """Of f and of its slope: the mean of the product at U and V for each correlation; only the size where two rules over one number differ."""
    tree, deviation = ast.parse(text, mode="eval").body, np.sqrt(variance)
    with np.errstate(all="ignore"):
        places = np.array(quadrature.cuts(tree)) / deviation
        places = np.unique(np.concatenate([places, -places]))  # of the second number, too
        places = places[np.abs(places) < 0.99 * quadrature.REACH]
        places = tuple(places[np.concatenate([[True], np.diff(places) > 1e-13])])
        rules = []
        for points in (13, 16):
            z, w = quadrature.rule(list(places), points)
            law = w * np.exp(-z * z / 2) / np.sqrt(2 * np.pi)
            both = zip(*(read(tree, s * deviation * z, []) for s in (1, -1)), strict=True)
            rows = []
            for pair in both:
                f, mirrored = (np.nan_to_num(values, posinf=0, neginf=0) for values in pair)
                rows.append((f, {1.0: f * f @ law, -1.0: f * mirrored @ law, 0.0: (f @ law) ** 2}))
            rules.append(rows)
        return tuple(settled(rough, means, f, w, law, places) for (_, rough), (f, means) in zip(*rules, strict=True))


def settled(rough, means, f, w, law, places):
    """The means over one number, where both rules agree with those over two."""
    size = rough[1.0]
    if not np.isfinite(size) or any(abs(rough[rho] - means[rho]) > TOLERANCE / 10 * size for rho in rough):
        return {1.0: size}
    return means | {rho: (f * w) @ densities(places, rho) @ (f * law) for rho in (-0.9, 0.5)}


MOMENT = 2**-0.25 * math.gamma(1.25) / math.sqrt(math.pi)  # E U^(3/2) over U > 0


@pytest.mark.parametrize("name", [n if n in FAST else pytest.param(n, marks=pytest.mark.slow) for n in MEANS])
def test_means_of_small_and_large_variances(name, monkeypatch):
    monkeypatch.setattr(quadrature, "read", read)
    monkeypatch.setattr(quadrature, "STEP", 0.2)  # waves of a wide law
    monkeypatch.setattr(quadrature, "MEANING", quadrature.MEANING | MORE)
    monkeypatch.setattr(quadrature, "TURNING", quadrature.TURNING | {"heaviside", "sign"})
    text = MEANS[name][0]["formula"]
    activation, compared = parse_activation(text), 0
    text = text if "x" in text else f"{text}(x)"
    own = {variance: own_means(text, variance) for variance in VARIANCES}
    for which, key in enumerate(("nngp", "slope")):
        if MEANS[name][0][key] == "infinite":
            continue
        means = compile_means(slope_of(activation) if which else activation)
        for variance in VARIANCES:
            exact = own[variance][which]
            size = exact[1.0]
            if size == np.inf:
                with pytest.raises(ValueError, match="not finite"):
                    quadrature.pair_mean(means, variance, variance, 0.5)
                continue
            if size == 0 or len(exact) == 1:
                continue  # a dead zone of thirty deviations, or no number of this quadrature
            for rho in CORRELATIONS:
                value = quadrature.pair_mean(means, variance, variance, rho)
                assert abs(value - exact[rho]) < TOLERANCE * size, (which, variance, rho)
                assert abs(value + 1e-9 * size - exact[rho]) > TOLERANCE * size
                compared += 1
    assert compared >= 5 or name == "exponential gap"  # dead to one law, beyond doubles for the other


def test_a_root_on_one_side_at_correlation_minus_one():
    """sqrt(relu(U)) sqrt(relu(-U)) is 0: each factor is smooth on the side on which the other one is not (an AssertionError before)."""
    for text, exact in (("sqrt(max(x,0))", 0.0), ("x+sqrt(max(x,0))", -1.0 - 2 * MOMENT)):
        means = compile_means(parse_activation(text))
        assert quadrature.pair_mean(means, 1.0, 1.0, -1.0) == pytest.approx(exact, abs=1e-13)
