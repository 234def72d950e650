"""Whether attention explodes, by numbers of its Gram matrix that move by themselves, and networks drawn by hand."""

from __future__ import annotations

import time
import warnings

import numpy as np
import pytest
import sympy as sp
from scipy.integrate import quad

from derivations import AttentionBlock, ShapedAttention, derive
from derivations.diffusion import Diffusion
from derivations.existence.directions import closed_combination, kept_ray
from derivations.symbols import width as n

s = sp.Symbol("s", positive=True)


def _shaped(**options):
    return derive(ShapedAttention(width=100, **options))


@pytest.mark.slow
def test_the_distance_of_two_tokens_moves_by_itself_and_stays_finite():
    tau = sp.Symbol("tau", positive=True)
    d = _shaped(temperature=tau)
    (w,) = (number := closed_combination(d.limit, [1, -2, 1])).states
    assert number.drift[0] == w**3 / (16 * tau**2)
    assert sp.expand(number.covariance[0, 0] - 2 * w**2 - w**4 / (4 * tau**2)) == 0
    assert closed_combination(d.limit, [1, 2, 1]) is None  # the control: the length of the sum does not
    assert d.existence.explodes == "cannot"
    assert "V_11 - 2*V_12 + V_22, which moves by itself, does not reach infinity" in d.existence.reasons[1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "explodes"),
    [
        ({"positions": 1}, "cannot"),
        ({"inputs": 2}, "cannot"),
        ({"positions": 3}, "can"),
        # beyond a skip of the root of 1/2 a layer moves more by its mean than by its noise
        ({"skip": sp.Rational(7, 10)}, "cannot"),
        ({"skip": sp.Rational(71, 100)}, "can"),
    ],
    ids=str,
)
def test_more_tokens_or_a_large_skip_explode(options, explodes):
    found = _shaped(**options).existence
    assert found.explodes == explodes
    if explodes == "can":
        assert found.reasons[1].startswith("where all tokens but the first are 0 they stay so, and by Feller's test")


def _levels(p, skip, levels, neurons=4000, count=1500, start=4.0, seed=0):
    """The share of networks whose one token that is not 0 passes each level by t = 1, in law: of a row of the values' matrix, two parts."""
    rng, keep = np.random.default_rng(seed), np.sqrt(1 - skip**2)
    size = np.full(count, start)
    top = size.copy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # some networks overflow
        for _ in range(neurons):
            score = size * np.sqrt(rng.chisquare(neurons, count)) * rng.standard_normal(count) / neurons
            small = np.exp(-np.abs(score))
            share = np.where(score > 0, 1 / (1 + (p - 1) * small), small / (small + p - 1))
            mixing = keep * (1 + share - 1 / p)
            along = skip + mixing * rng.standard_normal(count) / np.sqrt(neurons)
            size = size * (along**2 + mixing**2 * rng.chisquare(neurons - 1, count) / neurons)
            np.maximum(top, size, out=top)
    return [int(np.sum(top > level)) for level in levels]


def _bound(limit, low, high):
    """At most this share of the paths of the ray that are at one level pass the other, by the scale function."""
    ray = kept_ray(limit, [1, 0], s)
    slope = sp.lambdify(s, sp.cancel(-2 * ray.drift[0] / ray.covariance[0, 0]))

    def scale(x):
        return quad(lambda y: np.exp(quad(slope, 0, y)[0]), 0, x, limit=200)[0]

    return scale(low) / scale(high)


@pytest.mark.slow
def test_networks_with_one_token_that_is_not_0_pass_high_levels_where_the_limit_explodes():
    bound = _bound(_shaped().limit, 16, 128)
    assert 0.25 < bound < np.sqrt(16 / 128)  # which it is between higher levels
    for p, skip, explodes in ((2, 0.0, False), (3, 0.0, True), (4, 0.0, True), (2, 0.9, True)):
        low, high = _levels(p, skip, (16, 128))
        error = np.sqrt(bound * (1 - bound) / low)
        assert (high / low > bound + 3 * error) == explodes, (p, skip, high / low)
        assert high / low < bound + 4 * error or explodes


@pytest.mark.slow
def test_linear_attention_of_three_neurons_explodes():
    found = derive(AttentionBlock(width=3, kind="linear")).existence
    assert found.explodes == "can"
    assert "where all tokens but the first are 0 they stay so" in found.reasons[1]
    biased = derive(AttentionBlock(width=3, kind="linear", bias_variance=1)).existence
    assert "where all tokens are equal they stay so" in biased.reasons[1]  # a bias moves tokens that are 0
    assert derive(AttentionBlock(width=2, kind="linear")).existence.explodes == "not known"  # on this ray it does not
    assert "explodes if n > 2" in derive(AttentionBlock(width=n, kind="linear")).existence.reasons[1]


def test_a_ray_is_kept_where_what_stands_beside_it_has_no_drift():
    x, y, z = sp.symbols("x y z", positive=True)
    noise = [[x**2, x * y, x * z], [x * y, y**2, y * z], [x * z, y * z, z**2]]
    kept = Diffusion((x, y, z), [x * z, y * z, z**2], noise)
    assert kept_ray(kept, [1, 2], s).drift[0] == 4 * s**2
    assert kept_ray(kept, [1, 2], s).covariance[0] == s**2
    assert kept_ray(kept, [0, 1], s).drift[0] == s**2
    for drift, vector in (([x, y, z + x], [1, 0]), ([x, 2 * y, z], [1, 1]), ([x, y, 2 * z], [1, 2])):
        assert kept_ray(Diffusion((x, y, z), drift, noise), vector, s) is None
        assert kept_ray(Diffusion((x, y, z), [x, y, z], noise), vector, s).drift[0] == s  # the control


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind",
    [lambda p: ShapedAttention(width=100, positions=p), lambda p: AttentionBlock(width=3, positions=p, kind="linear")],
)
def test_eight_tokens_are_answered_by_few_entries(kind):
    d = derive(kind(8))
    start = time.process_time()
    found = d.existence
    assert time.process_time() - start < 4  # half of it by itself; all entries of the noise took minutes
    few = derive(kind(3)).existence
    assert (found.explodes, found.unique, found.reasons) == (few.explodes, few.unique, few.reasons)
