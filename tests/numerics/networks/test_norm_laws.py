"""Exact laws of norms and neurons at finite width: the derived law against networks with every weight drawn here, and laws that must be rejected."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from scipy.special import gammaincc

from derivations import GatedBlock, MLPBlock, derive, relu, silu, tanh
from numerics import compile_law

DRAWN = {relu: lambda v: np.maximum(v, 0), tanh: np.tanh, silu: lambda v: v / (1 + np.exp(-v))}


def stack(block, start, depth, samples, seed, t=1.0):
    """The states after so many layers, shape (samples, neurons)."""
    rng, n, k = np.random.default_rng(seed), len(start), int(block.hidden)
    x = np.broadcast_to(np.asarray(start, dtype=float)[:, None], (samples, n, 1))
    for _ in range(depth):
        read = x
        if block.norm == "layer":
            read = read - read.mean(1, keepdims=True)
        if block.norm != "none":
            read = read / np.sqrt((read**2).mean(1, keepdims=True))
        hidden = DRAWN[block.activation](rng.standard_normal((samples, k, n)) @ read / np.sqrt(n))
        if isinstance(block, GatedBlock):
            hidden = hidden * (rng.standard_normal((samples, k, n)) @ read) / np.sqrt(n)
        x = x + np.sqrt(t / depth) * (rng.standard_normal((samples, n, k)) @ hidden) / np.sqrt(k)
    return x[:, :, 0]


def mean_square(x):
    return (x**2).mean(axis=-1)


def agrees(samples, law, wrong):
    """By the test of Kolmogorov and Smirnov, which rejects the control."""
    assert stats.kstest(samples, law).pvalue > 1e-3
    assert stats.kstest(samples, wrong).pvalue < 1e-3


@pytest.mark.parametrize(
    ("width", "hidden"),
    [(4, 3), pytest.param(1, 2, marks=pytest.mark.slow), pytest.param(2, 1, marks=pytest.mark.slow)],
)
def test_two_relu_matrices_have_a_log_normal_norm(width, hidden):
    block, start = MLPBlock(relu, width=width, hidden=hidden), np.linspace(0.5, 1.5, width)
    v = mean_square(stack(block, start, 200, 2000, seed=width))
    r, n = mean_square(start), width
    found = compile_law(derive(block).gram_law, x0=r, t=1.0)
    # log V/V_0 ~ N(1/2 - 1/n, 2/n), whatever the number of hidden neurons
    exact = stats.norm(1 / 2 - 1 / n, np.sqrt(2 / n))
    levels = np.array([0.3, 1.0, 4.0])
    assert np.allclose(found.cdf(levels), exact.cdf(np.log(levels / r)), atol=1e-10)
    agrees(v, found.cdf, lambda v: stats.norm(1 / 2 - 1 / n, 1.15 * np.sqrt(2 / n)).cdf(np.log(v / r)))


@pytest.mark.parametrize(
    ("activation", "norm"),
    [
        (relu, "rms"),
        pytest.param(tanh, "rms", marks=pytest.mark.slow),
        pytest.param(silu, "layer", marks=pytest.mark.slow),
    ],
    ids=["relu", "tanh", "layer norm"],
)
def test_pre_norm_makes_neurons_brownian_and_the_norm_a_squared_bessel_process(activation, norm):
    block, start = MLPBlock(activation, width=3, hidden=2, norm=norm), np.array([0.5, 1.0, -1.5])
    x = stack(block, start, 100, 3000, seed=4)
    points, weights = np.polynomial.hermite_e.hermegauss(120)
    g = weights @ DRAWN[activation](points) ** 2 / weights.sum()
    for i in range(3):
        agrees(x[:, i], stats.norm(start[i], np.sqrt(g)).cdf, stats.norm(start[i], 1.15 * np.sqrt(g)).cdf)
    # neurons are independent: products have mean 0, the control has a correlation of 1/5
    apart = (x - start) / np.sqrt(g)
    off = apart[:, 0] * apart[:, 1]
    assert abs(off.mean()) < 4 * off.std() / np.sqrt(len(off)) < 0.2
    law = compile_law(derive(block).gram_law, x0=mean_square(start), t=1.0)
    # |X|²/g is a noncentral χ² of dimension 3
    exact = stats.ncx2(3, 3 * mean_square(start) / g, scale=g / 3)
    levels = np.array([0.5, 1.0, 2.0])
    assert np.allclose(law.cdf(levels), exact.cdf(levels), atol=1e-8 if activation is not relu else 1e-3)
    agrees(mean_square(x), law.cdf, lambda v: law.cdf(v / 1.15))


@pytest.mark.slow
@pytest.mark.parametrize("width", [3, 5])
def test_a_gate_explodes_with_the_probability_of_its_law(width):
    block, v0 = GatedBlock(relu, width=width, hidden=2), 2.0
    d = derive(block)
    assert d.existence.explodes == "can"
    law = compile_law(d.gram_law, x0=v0, t=1.0)
    # 2n/V is a squared Bessel process of dimension 4 - n, which is 0 after the time n/V_0 over a Gamma(n/2 - 1) variable
    exploded = gammaincc(width / 2 - 1, width / v0)
    assert abs(1 - law.cdf(1e300) - exploded) < 1e-9
    with np.errstate(all="ignore"):
        near, far = (mean_square(stack(block, np.full(width, np.sqrt(v0)), L, 3000, seed=L)) for L in (800, 200))
    finite = np.where(np.isfinite(near), near, np.inf)
    error = 0.5 / np.sqrt(len(near))
    later = compile_law(d.gram_law, x0=v0, t=2.0)
    for level in (1.0, 4.0):
        assert abs((finite < level).mean() - law.cdf(level)) < 4 * error
    assert abs((finite < 4.0).mean() - later.cdf(4.0)) > 4 * error
    # few layers leave a path at large V behind; what they do falls with the root of their number
    shares = [(~(v < 1e8)).mean() for v in (near, far)]
    assert abs(shares[0] - exploded) < 4 * error + abs(shares[0] - shares[1])
    # after a norm none does
    tame = stack(GatedBlock(relu, width=width, hidden=2, norm="rms"), np.full(width, np.sqrt(v0)), 200, 3000, seed=9)
    assert mean_square(tame).max() < 100


@pytest.mark.slow
def test_a_wide_gate_follows_its_flow_towards_the_explosion():
    # K' = K²/2 from 1 is 2/(2 - t), infinite at 2; depth and width add terms of the order of their inverses
    t, samples, means = 0.75, 4000, []
    for width, depth, seed in ((32, 75, 1), (64, 150, 2)):
        rng, v, step = np.random.default_rng(seed), np.ones(samples), t / depth
        for _ in range(depth):  # given the state, hidden neurons are Gaussian, and so is what is added
            gate, value = rng.standard_normal((2, samples, width))
            f = v**2 * (np.maximum(gate, 0) ** 2 * value**2).mean(axis=1)
            along, rest = rng.standard_normal(samples), rng.chisquare(width - 1, samples)
            v = v + 2 * np.sqrt(step * v * f / width) * along + step * f * (along**2 + rest) / width
        means.append((v.mean(), v.std() / np.sqrt(samples)))
    found, error = 2 * means[1][0] - means[0][0], np.hypot(2 * means[1][1], means[0][1])
    assert abs(found - 2 / (2 - t)) < 4 * error
    assert abs(found - np.exp(t / 2)) > 4 * error  # the flow without the square
