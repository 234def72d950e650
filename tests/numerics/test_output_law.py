"""The output's law against quadrature and against networks with readouts drawn, in every regime."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp
from scipy import integrate, stats

from derivations import (
    MLP,
    GatedBlock,
    MLPBlock,
    Network,
    ResNet,
    ShapedMLP,
    Weights,
    derive,
    epsilon,
    identity,
    layer_norm,
    relu,
    rms_norm,
    tanh,
)
from numerics import output_law, simulate_network, solve_flow
from numerics.densities import FrozenDistribution
from numerics.densities.scale_mixture import EvenMoments, HalfMixture

A, B = Weights("A"), Weights("B")


def two_matrices(width):
    return Network(lambda x: x + epsilon * A(relu(B(x))), width=width)


def log_normal(mean, variance):
    """Density and upper tail of √V Z by quadrature, V log-normal."""

    def of(term, y):
        def at(g):
            return stats.norm.pdf(g) * term(y, scale=np.exp((mean + np.sqrt(variance) * g) / 2))

        return integrate.quad(at, -12, 12, epsabs=0, epsrel=1e-11, limit=400)[0]

    return (lambda y: of(stats.norm.pdf, y)), (lambda y: of(stats.norm.sf, y))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("d", "t", "mean", "variance"),
    [
        (derive(MLP(relu, inputs=1), order="joint"), 0.1, -0.25, 0.5),
        (derive(two_matrices(4)), 0.5, 0.5 * (0.5 - 0.25), 0.25),
    ],
    ids=["depth and width", "width 4"],
)
def test_a_log_normal_norm(d, t, mean, variance):
    f = output_law(d, t=t)
    pdf, sf = log_normal(mean, variance)
    for y in (0.0, 0.4, 3.0, 9.0):
        assert f.pdf(y) == pytest.approx(pdf(y), rel=1e-9)
        assert f.sf(y) == pytest.approx(sf(y), rel=1e-9)
        assert f.cdf(-y) == pytest.approx(f.sf(y), rel=1e-12)
    assert f.pdf(3.0) != pytest.approx(log_normal(mean, 1.05 * variance)[0](3.0), rel=1e-3)
    for k in (1, 2, 3):
        odd = np.prod(np.arange(1, 2 * k, 2))
        assert f.moment(2 * k) == pytest.approx(odd * np.exp(k * mean + k**2 * variance / 2), rel=1e-10)
    q = np.array([1e-9, 0.02, 0.4, 0.77, 1 - 1e-7])
    np.testing.assert_allclose(f.cdf(f.ppf(q)), q, rtol=1e-9)
    np.testing.assert_allclose(f.sf(f.isf(q)), q, rtol=1e-9)
    assert f.expect(lambda x: x**2) == pytest.approx(f.var(), rel=1e-9)
    drawn = f.rvs(4000, random_state=0)
    assert stats.kstest(drawn, f.cdf).pvalue > 1e-3
    assert stats.kstest(1.15 * drawn, f.cdf).pvalue < 1e-3


def test_the_moment_of_a_linear_network_of_one_neuron():
    """dX = X dB: E f⁴ = 3 E X⁴ = 3 e^{6t}; readout of variance 2 and a bias of variance 1/2."""
    f = output_law(derive(ResNet(identity, width=1)), t=0.5, variance=2.0, bias_variance=0.5)
    assert f.moment(2) == pytest.approx(2 * np.exp(0.5) + 0.5)
    assert f.moment(4) == pytest.approx(3 * (4 * np.exp(3.0) + 2 * np.exp(0.5) + 0.25))
    assert f.moment(3) == 0


def test_where_the_state_is_zero_the_output_is_an_atom():
    f = output_law(derive(ResNet(sp.Symbol("x", real=True) ** 2, width=1)), x0=0.0, t=0.5)
    assert f.atoms == ((0.0, 1.0),)
    assert f.var() == 0


def test_at_infinite_width_the_output_is_gaussian():
    d = derive(ResNet(relu, width=sp.oo, inputs=2))
    x0 = np.array([[1.0, 0.5], [0.3, -1.0]])
    second = x0.T @ x0 / 2
    kernel = solve_flow(d.limit, second[np.triu_indices(2)], 0.7)(0.7)
    f = output_law(d, x0=x0, t=0.7, of=(1, -2), bias_variance=0.3)
    variance = kernel[0] - 4 * kernel[1] + 4 * kernel[2] + 0.3
    np.testing.assert_allclose(f.pdf([0.0, 1.5]), stats.norm.pdf([0.0, 1.5], scale=np.sqrt(variance)), rtol=1e-9)
    np.testing.assert_allclose(f.ppf([0.1, 0.9]), stats.norm.ppf([0.1, 0.9], scale=np.sqrt(variance)), rtol=1e-9)


def test_a_norm_that_is_held_gives_a_gaussian():
    d = derive(Network(lambda x: rms_norm(x + epsilon * A(relu(B(x)))), width=4))
    assert output_law(d, t=0.5).pdf(0.7) == pytest.approx(stats.norm.pdf(0.7), rel=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("network", "order", "x0"),
    [
        (ResNet(tanh, width=1), "depth", 1.0),
        (ResNet(relu, width=3), "depth", [1.0, -0.5, 0.8]),
        (Network(lambda x: x + epsilon * A(relu(B(layer_norm(x)))), width=4), "depth", [1.0, -0.5, 0.2, 0.8]),
        (ShapedMLP(tanh, inputs=1, a=1), "joint", 1.0),
    ],
    ids=["one neuron", "three neurons", "layer norm", "shaped"],
)
def test_outputs_of_networks_with_their_readout_drawn(network, order, x0):
    t, samples, depth = 0.5, 4000, 200
    f = output_law(derive(network, order=order), x0=x0, t=t, samples=5000, steps=200)
    if order == "joint":
        network, depth = ShapedMLP(tanh, inputs=1, a=1, width=64), 32
    n = int(network.width)
    start = np.broadcast_to(np.reshape(x0, (-1, 1)), (n, 1)).copy()
    scaled = t if order == "depth" else None
    x = simulate_network(network, depth=depth, samples=samples, x0=start, seed=3, **({"t": scaled} if scaled else {}))
    w = np.random.default_rng(4).normal(size=(samples, n))
    outputs = (x[:, :, 0] * w).sum(axis=1) / np.sqrt(n)
    # Kolmogorov's distance: sampling, the law's own error, and the network's depth
    bound = 1.95 / np.sqrt(samples) + 2 * f.error + 0.5 / depth
    assert stats.kstest(outputs, f.cdf).statistic < bound
    assert stats.kstest(1.25 * outputs, f.cdf).statistic > bound


@pytest.mark.parametrize(
    ("make", "options", "said"),
    [
        (lambda: derive(MLP(relu, inputs=2), order="joint"), {}, "the limit in q does not give the second moments"),
        (
            lambda: derive(Network(lambda x: rms_norm(x + epsilon * Weights("A")(relu(x))), width=sp.oo)),
            {},
            "nothing moves: every layer fixes the norm",
        ),
        (lambda: derive(ResNet(relu, width=sp.Symbol("n", integer=True, positive=True))), {}, "does not give"),
        (lambda: derive(ResNet(relu, width=sp.oo, inputs=2)), {"of": (1, 1)}, "two inputs or positions are parallel"),
        (
            lambda: derive(ResNet(relu, width=sp.oo, inputs=2)),
            {"of": (1,)},
            "one coefficient for each of the 2 outputs",
        ),
        (lambda: derive(GatedBlock(relu, width=sp.oo)), {"t": 3.0}, "times from 0 to 2, where it explodes, got 3"),
        (lambda: derive(ResNet(relu, width=2)), {"x0": [1.0, 2.0, 3.0]}, r"have the shape \(2,\)"),
        (lambda: derive(ResNet(relu, width=1)), {"variance": -1.0}, "variances of the readout"),
    ],
)
def test_what_has_no_output_law_says_why(make, options, said):
    with pytest.raises(ValueError, match=said):
        output_law(make(), **options)


@pytest.mark.parametrize("count", [400, 1500, 2000, 2500, 20_000])
def test_the_median_of_listed_variances_is_zero(count):
    """It was not a number for 2000: weights add up to 1 in another way than their logarithms do."""
    weights = np.full(count, 1 / count)
    deviations = np.exp(np.random.default_rng(count).normal(size=count))
    parts = tuple(HalfMixture(weights, deviations, sign) for sign in (-1, 1))
    law = FrozenDistribution("outputs", parts, EvenMoments(lambda order: 1.0))
    assert abs(law.ppf(0.5)) < 1e-12
    assert law.cdf(law.ppf([0.4999, 0.5001])) == pytest.approx([0.4999, 0.5001], rel=1e-9)


def test_probabilities_of_outputs_do_not_exceed_one():
    law = output_law(derive(ResNet(relu, width=2)), samples=10, steps=4)
    points = np.array([0.0, 1.0, 8.0, 1e3, 1e300, np.inf])
    for side in (law.cdf(points), law.sf(-points)):
        assert side.max() <= 1  # the sum over both halves was 1 + 4e-16
        assert (np.diff(side) >= 0).all()
    np.testing.assert_allclose(law.cdf(points) + law.sf(points), 1, rtol=1e-12)


def test_simulated_paths_are_counted():
    seen = []
    output_law(
        derive(MLPBlock("tanh", width=3, inputs=2)),
        x0=[[1, 0.5], [0.5, 1], [-0.3, 0]],
        samples=300,
        steps=20,
        progress=lambda *now: seen.append(now),
    )
    assert seen[-1] == (300, 300)
