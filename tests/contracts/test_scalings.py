r"""Exponents against networks with weights drawn: what all layers add, at a depth and at four times it."""

from __future__ import annotations

import random
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import pytest
import sympy as sp

from derivations import MLP, Network, Weights, gelu, layer_norm, relu, rms_norm, scalings, shaped, silu, tanh
from derivations.architectures import Recipe
from derivations.exponents import Scalings
from numerics import simulate_network

c, m, s = sp.symbols("c m s", positive=True)
SIGMAS = 4.0
DEPTHS = (15, 60, 240)
SAMPLES = 1600


@dataclass(frozen=True)
class AtSizes(Recipe):
    """A layer with numbers for its sizes."""

    found: Scalings
    sizes: dict
    width: sp.Expr
    inputs: int = 1

    def expression(self):
        raise NotImplementedError

    def program(self):
        return self.found.family.program.xreplace(self.sizes)

    @classmethod
    def example(cls):
        raise NotImplementedError


def added(found, exponents, depth, seed):
    """The logarithm of the mean square that all layers add to the neurons, and its standard error."""
    sizes = {
        size.symbol: sp.Rational(Fraction(depth ** -float(exponents[size.exponent])).limit_denominator(10**12))
        for size in found.family.sizes
    }
    x = simulate_network(
        AtSizes(found, sizes, sp.Integer(6)),
        depth,
        SAMPLES,
        x0=np.linspace(0.5, 1.5, 6)[:, None],
        method="weights",
        seed=seed,
    )
    moved = ((x[:, :, 0] - np.linspace(0.5, 1.5, 6)) ** 2).mean(axis=1)
    return np.log(moved.mean()), moved.std(ddof=1) / np.sqrt(SAMPLES) / moved.mean()


def slope(found, exponents, seed=0, rate=1.0):
    """The measured exponent of the depth in what is added, its standard error, and what its extrapolation may leave.

    What is added is cL^e(1 + aL^-rate + …), so that the slope between L and 4L errs in proportion to L^-rate: two of them, of depths that are four
    times apart, take that off. The next order is the square of what was taken off at the smaller depth.
    """
    logs, errors = zip(*(added(found, exponents, depth, seed + k) for k, depth in enumerate(DEPTHS)), strict=True)
    share, ratio = 4.0**-rate, np.log(4)
    weights = np.array([share, -1 - share, 1]) / (1 - share) / ratio
    near = np.array([-1, 1, 0]) / ratio
    value = float(weights @ logs)
    return value, float(np.linalg.norm(weights * errors)), float((value - near @ logs) ** 2)


def random_network(rng):
    """A layer with one or two branches, with or without norms, gates, and a part without weights."""
    norm = rng.choice((lambda x: x, rms_norm, layer_norm))
    act, other = rng.choice((relu, tanh, gelu, silu)), rng.choice((relu, tanh, silu))
    A, B, C, D = Weights("A"), Weights("B", out=8), Weights("C", out=8), Weights("D")
    kind = rng.randrange(4)

    def layer(x):
        y = norm(x)
        first = c * A(act(B(y)) * C(rms_norm(x))) if kind == 1 else c * A(act(B(y)))
        second = {0: 0, 1: -m * x, 2: m * D(other(x)), 3: m * tanh(x)}[kind]
        return x + first + second

    return Network(layer, width=6, parameters=(c, m) if kind else (c,)), (c, m) if kind else (c,)


def members():
    rng = random.Random(11)
    return [random_network(rng) for _ in range(6)]


@pytest.mark.slow
@pytest.mark.parametrize("which", range(6))
def test_what_all_layers_add_is_the_same_at_every_depth_in_each_regime(which):
    net, small = members()[which]
    found = scalings(net, small=small)
    assert found.regimes
    for k, regime in enumerate(found.regimes):
        measured, error, left = slope(found, regime.example, seed=10 * which + k)
        assert abs(measured) < SIGMAS * error + left, (regime, measured, error, left)
        wrong = {e: p - sp.Rational(1, 5) for e, p in regime.example.items()}
        off, error, _ = slope(found, wrong, seed=10 * which + k)
        assert abs(off) > SIGMAS * error + left, (regime, off, error, left)


@pytest.mark.slow
@pytest.mark.parametrize("which", range(6))
def test_the_exponent_of_what_vanishes(which):
    net, small = members()[which]
    rng = random.Random(100 + which)
    found = scalings(net, small=small)
    exponents = {size.exponent: sp.Rational(rng.randrange(5, 9), 4) for size in found.family.sizes}
    verdict = found.at(exponents)
    assert verdict.kind == "identity" or verdict.excess == 0
    sizes = verdict.sizes
    noise = [sizes[p] for p in found.terms.noise]
    drift = [2 * sizes[p] for p in found.terms.drift]
    expected, *smaller = sorted({float(e) for e in noise + drift}, reverse=True)
    # the next term adds a share of L^-rate, what a term has done by then changes the others by its own size, and the chain itself by 1/L
    rate = min(
        [1.0, *(expected - e for e in smaller), *(-float(sizes[p]) for p in (*found.terms.noise, *found.terms.drift))]
    )
    measured, error, left = slope(found, exponents, seed=which, rate=rate)
    assert abs(measured - expected) < SIGMAS * error + left, (measured, expected, error, left)
    assert abs(measured - expected - 0.25) > SIGMAS * error + left


@pytest.mark.slow
def test_deepnorm_by_networks():
    alpha, beta = sp.symbols("alpha beta", positive=True)
    A, B = Weights("A"), Weights("B", out=8)
    net = Network(lambda x: rms_norm(x + beta**2 / alpha * A(relu(B(x)))), width=6, parameters=(alpha, beta))
    found = scalings(net, small={alpha: -sp.Rational(1, 4), beta: sp.Rational(1, 4)})
    # from a state of mean square 1, which the norm keeps
    sizes = [
        {alpha: sp.Integer(d) ** sp.Rational(1, 4), beta: sp.Integer(d) ** -sp.Rational(1, 4)} for d in (256, 4096)
    ]
    start = np.array([1.0, -1.0, 1.0, 1.0, -1.0, 1.0])[:, None]
    moved = []
    for depth, values in zip((256, 4096), sizes, strict=True):
        x = simulate_network(AtSizes(found, values, sp.Integer(6)), depth, 400, x0=start, seed=depth)
        moved.append(((x - start) ** 2).mean(axis=(1, 2)))
    ratio = moved[1].mean() / moved[0].mean()
    error = ratio * np.hypot(*(v.std() / v.mean() / 20 for v in moved))
    assert abs(ratio - 1 / 4) < SIGMAS * error + 0.01  # 16^(-1/2); the added variance at 256 layers is a few per cent
    assert abs(ratio - 1 / 2) > SIGMAS * error  # 16^(-1/4), were the branch of size L^(-5/8)


@pytest.mark.slow
def test_shaping_at_the_root_of_the_width_by_networks():
    def mean(rate, width, seed):
        net = MLP(shaped(relu, c_plus=0, c_minus=-1, rate=rate), width=width, inputs=2)
        v = simulate_network(net, width // 2, 3000, inputs=[[1.0, 0.0], [0.3, np.sqrt(0.91)]], record="gram", seed=seed)
        rho = v[:, 0, 1] / np.sqrt(v[:, 0, 0] * v[:, 1, 1])
        return rho.mean(), rho.std() / np.sqrt(3000)

    (a, da), (b, db) = mean(sp.Rational(1, 2), 40, 0), mean(sp.Rational(1, 2), 160, 1)
    assert abs(a - b) < SIGMAS * np.hypot(da, db) + 1 / 40
    (a, da), (b, db) = mean(sp.Rational(1, 4), 40, 0), mean(sp.Rational(1, 4), 160, 1)
    assert b - a > SIGMAS * np.hypot(da, db) + 1 / 40
